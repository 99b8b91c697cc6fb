//! Pulls CloudTrail's event history (LookupEvents), for an account that has no trail.
//!
//! ```toml
//! [sources.history]
//! type = "event_history"
//! regions = ["us-east-1", "eu-west-1"]
//! ```
//!
//! Each region is read by itself, in closed windows that end some minutes ago, oldest first (`pull.rs`): LookupEvents gives
//! the newest event first, and more appear while it is asked. It answers two requests a second in a region, 50 events each,
//! and knows management events of the last 90 days only; how long that takes is estimated at start (`event_history/estimate.rs`).

mod estimate;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cloudwatch_logs::millis;
use super::figures::Figures;
use super::files::Limits;
use super::pull::{Ask, Event, Pace, Page, Place, Pull, Range, Refused, Rules, Settings};
use super::{Build, BuildError, Delivery, Source, SourceError};
use crate::ack::Settled;
use crate::aws::{Aws, Kind, Refusal};
use crate::clock::Timestamp;
use crate::config::{At, Since};

/// The first part of the names of the state's spaces.
pub const SPACES: &str = "event_history/";
/// Bytes of memory that a page takes: 50 events, as JSON and as text; larger ones take more.
const PAGE: usize = 1 << 20;
/// Events in a page, at most.
pub(crate) const EVENTS: u32 = 50;
/// Requests that a region answers in a second, to all who ask for an account.
pub(crate) const REQUESTS: u32 = 2;
/// How long events are kept.
const OLDEST: i64 = 90 * 24 * HOUR;
/// How soon the estimate is tried again, at first; doubles, and then there is none.
const ESTIMATE_AGAIN: Duration = Duration::from_secs(1);
const ESTIMATE_LONGEST: Duration = Duration::from_secs(8);
const HOUR: i64 = 3_600_000;

/// Pulls CloudTrail's event history, for an account that has no trail: management events of the last 90 days.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceEventHistory")]
pub struct Config {
    /// The regions. Events of global services are in us-east-1. Default: the region of the AWS configuration.
    #[serde(default)]
    pub regions: Vec<At<String>>,
    /// From when on events are shipped the first time: a duration before now, a day, a time, or `beginning`; at most 90 days
    /// ago. Later runs go on where the last one was.
    #[serde(default = "since")]
    pub since: At<Since>,
    /// Until when. Then the source ends, and its cursors stand apart from those of a source without `until`. Default: it goes
    /// on.
    #[serde(default)]
    pub until: Option<At<Since>>,
    /// Only events with one attribute, as the API looks them up: `{ EventName = "ConsoleLogin" }`. Default: all.
    #[serde(default)]
    pub lookup: Option<At<Lookup>>,
    /// How long before now each look ends: events are there some minutes after they happened.
    #[serde(default = "delay")]
    pub delay: At<crate::config::Duration>,
    /// How much later than `delay` an event may appear and is still found: so often twice as much is read again.
    #[serde(default = "overlap")]
    pub overlap: At<crate::config::Duration>,
    /// How often new events are asked for.
    #[serde(default = "every")]
    pub every: At<crate::config::Duration>,
    /// Requests in a second, at most, in each region. A count. AWS answers 2, to all who ask for an account.
    #[serde(default = "requests_per_second")]
    pub requests_per_second: At<NonZeroU32>,
    /// How AWS is reached.
    #[serde(default)]
    pub aws: Aws,
    /// How much one delivery may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

/// One attribute of events, by the API's own names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Lookup")]
pub struct Lookup {
    /// The access key that was used.
    #[serde(rename = "AccessKeyId")]
    pub access_key_id: Option<At<String>>,
    /// One event.
    #[serde(rename = "EventId")]
    pub event_id: Option<At<String>>,
    /// The action.
    #[serde(rename = "EventName")]
    pub event_name: Option<At<String>>,
    /// The service.
    #[serde(rename = "EventSource")]
    pub event_source: Option<At<String>>,
    /// Whether nothing was changed: `"true"` or `"false"`.
    #[serde(rename = "ReadOnly")]
    pub read_only: Option<At<String>>,
    /// What was acted on.
    #[serde(rename = "ResourceName")]
    pub resource_name: Option<At<String>>,
    /// The type of what was acted on.
    #[serde(rename = "ResourceType")]
    pub resource_type: Option<At<String>>,
    /// Who acted.
    #[serde(rename = "Username")]
    pub username: Option<At<String>>,
}

impl Lookup {
    /// The names that are given, with their values.
    pub(crate) fn given(&self) -> Vec<(LookupAttributeKey, &At<String>)> {
        let all = [
            (LookupAttributeKey::AccessKeyId, &self.access_key_id),
            (LookupAttributeKey::EventId, &self.event_id),
            (LookupAttributeKey::EventName, &self.event_name),
            (LookupAttributeKey::EventSource, &self.event_source),
            (LookupAttributeKey::ReadOnly, &self.read_only),
            (LookupAttributeKey::ResourceName, &self.resource_name),
            (LookupAttributeKey::ResourceType, &self.resource_type),
            (LookupAttributeKey::Username, &self.username),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).collect()
    }
}

fn since() -> At<Since> {
    Since::Ago(crate::config::Duration::days(90)).into()
}

fn delay() -> At<crate::config::Duration> {
    crate::config::Duration::minutes(5).into()
}

fn overlap() -> At<crate::config::Duration> {
    crate::config::Duration::minutes(15).into()
}

fn every() -> At<crate::config::Duration> {
    crate::config::Duration::seconds(60).into()
}

fn requests_per_second() -> At<NonZeroU32> {
    NonZeroU32::MIN.saturating_add(REQUESTS - 1).into()
}

/// The source.
pub struct EventHistory {
    config: Config,
    name: String,
    pull: Pull,
}

impl EventHistory {
    /// Reads where the runs before left it. AWS is asked when the first deliveries are.
    ///
    /// # Errors
    /// The state cannot be read, or the range of time is empty.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<EventHistory, BuildError> {
        let rules = Rules {
            overlap: millis(*config.overlap.value()),
            delay: millis(*config.delay.value()),
            every: millis(*config.every.value()),
            unit: 1000,
            oldest: Some(OLDEST),
            windows: (HOUR, 7 * 24 * HOUR),
            ..Rules::default()
        };
        let settings = Settings {
            spaces: SPACES,
            of: "",
            since: *config.since.value(),
            until: config.until.as_ref().map(|until| *until.value()),
            page: PAGE,
        };
        let pull = Pull::build(&settings, rules, build)?;
        Ok(EventHistory { config: config.clone(), name: build.name.to_owned(), pull })
    }

    /// Finds out whom to ask.
    async fn places(&self) -> Vec<Place> {
        let config = &self.config;
        let mut regions: Vec<Option<&str>> =
            config.regions.iter().map(|region| Some(region.value().as_str())).collect();
        if regions.is_empty() {
            regions.push(None);
        }
        let mut places = Vec::new();
        for region in regions {
            let loaded = config.aws.load(region).await;
            let region = loaded.region().map(ToString::to_string).unwrap_or_default();
            let endpoint = config.aws.endpoint.as_ref().map_or("", |at| at.value());
            places.push(self.place(config.aws.cloudtrail(&loaded), &region, endpoint));
        }
        places
    }

    fn place(&self, client: Client, region: &str, endpoint: &str) -> Place {
        let most = self.config.requests_per_second.get();
        let who = self.config.aws.who();
        // A little slower than is answered: requests do not come as evenly as they were sent.
        let gap = Duration::from_millis(u64::from(1000_u32.div_ceil(most) + 10 / most));
        let given = self.config.lookup.as_ref().map(|lookup| lookup.given()).unwrap_or_default();
        let lookup = given.first().map(|(key, value)| (key.clone(), value.value().clone()));
        let ask = Region {
            client,
            source: self.name.clone(),
            region: region.to_owned(),
            lookup,
            who: who.clone(),
            ceiling: EVENTS * most,
        };
        Place {
            name: region.to_owned(),
            ask: Arc::new(ask),
            pace: Pace::of(&format!("history {region} {who} {endpoint}"), gap),
        }
    }
}

impl Source for EventHistory {
    async fn next(&self, most: usize) -> Result<Option<Vec<Delivery>>, SourceError> {
        self.pull.next(most, async || Ok(self.places().await)).await
    }

    async fn settle(&self, settled: Vec<Settled>) -> Result<(), SourceError> {
        self.pull.settle(settled).await
    }

    fn trouble(&self) -> Option<String> {
        self.pull.trouble()
    }

    fn figures(&self) -> Figures {
        self.pull.figures()
    }
}

/// The history of one region.
struct Region {
    client: Client,
    source: String,
    region: String,
    lookup: Option<(LookupAttributeKey, String)>,
    who: String,
    /// Events in a second, at most.
    ceiling: u32,
}

impl Region {
    async fn ask(&self, range: Range, token: Option<&str>) -> Result<Page, Refused> {
        let attribute = match &self.lookup {
            None => None,
            Some((key, value)) => {
                let attribute = LookupAttribute::builder().attribute_key(key.clone()).attribute_value(value);
                Some(vec![attribute.build().map_err(|error| Refused {
                    kind: Kind::Transient,
                    text: error.to_string(),
                    is_token: false,
                })?])
            }
        };
        let asked = self
            .client
            .lookup_events()
            .set_lookup_attributes(attribute)
            .start_time(DateTime::from_secs(range.from.div_euclid(1000)))
            // Inclusive.
            .end_time(DateTime::from_secs((range.to - 1).div_euclid(1000)))
            .max_results(i32::try_from(EVENTS).unwrap_or(50))
            .set_next_token(token.map(str::to_owned));
        let output = asked.send().await.map_err(|error| {
            let refusal = Refusal::of(&error);
            let what = format!("the event history of {}", self.region);
            let is_token = token.is_some() && refusal.said.contains("InvalidNextToken");
            let mut text = refusal.advice(&what, &self.who, "cloudtrail:LookupEvents");
            let is_unknown_here =
                ["UnrecognizedClient", "InvalidClientTokenId"].iter().any(|code| refusal.said.contains(code));
            if is_unknown_here {
                text.push_str("; a region that is not enabled for the account says that, too");
            }
            Refused { kind: refusal.kind, text, is_token }
        })?;
        let Some(events) = output.events else {
            // Time would be passed over for good.
            let text = format!(
                "the event history of {}: the answer holds no list of events, as if something else had answered",
                self.region
            );
            return Err(Refused { kind: crate::aws::Kind::Transient, text, is_token: false });
        };
        let events = events.into_iter().map(|event| Event {
            time: event.event_time.map_or(range.from, |time| time.secs().saturating_mul(1000)),
            id: event.event_id.unwrap_or_default(),
            stream: String::new(),
            text: event.cloud_trail_event.unwrap_or_default(),
        });
        Ok(Page { events: events.collect(), token: output.next_token })
    }
}

/// The account that a record is of.
fn account(record: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Account {
        #[serde(rename = "recipientAccountId")]
        id: String,
    }
    let account = serde_json::from_str::<Account>(record).ok()?;
    (account.id.len() == 12 && account.id.bytes().all(|byte| byte.is_ascii_digit())).then_some(account.id)
}

impl Ask for Region {
    fn page<'a>(&'a self, range: Range, token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Refused>> {
        Box::pin(self.ask(range, token))
    }

    fn address(&self, first: &Event, last: &Event) -> String {
        let account = account(&first.text).unwrap_or_else(|| "unknown".to_owned());
        let one = format!("history://{account}/{}#{}", self.region, first.id);
        if first.id == last.id { one } else { format!("{one}..{}", last.id) }
    }

    fn begin<'a>(&'a self, range: Range, pace: &'a Pace) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut pause = ESTIMATE_AGAIN;
            let estimate = loop {
                match estimate::look(self, range, pace).await {
                    Ok(Some(estimate)) => break estimate,
                    Ok(None) => return,
                    Err(refused)
                        if matches!(refused.kind, Kind::Slow | Kind::Transient)
                            && pause < ESTIMATE_LONGEST =>
                    {
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                    }
                    Err(refused) => {
                        let (source, region) = (&self.source, &self.region);
                        tracing::warn!(
                            source,
                            region,
                            "{}: no estimate of how far behind it is",
                            refused.text
                        );
                        return;
                    }
                }
            };
            let since = Timestamp(range.from.saturating_mul(1_000_000));
            match estimate.words(self.ceiling) {
                Ok(words) => {
                    tracing::info!(source = self.source, region = self.region, %since, "estimate: {words}")
                }
                Err(words) => {
                    tracing::warn!(source = self.source, region = self.region, %since, "estimate: {words}")
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
