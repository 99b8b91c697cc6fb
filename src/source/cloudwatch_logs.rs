//! Pulls the events of a CloudWatch Logs log group, without a subscription: for a trial, and for what is there already.
//!
//! ```toml
//! [sources.group]
//! type = "cloudwatch_logs"
//! log_group = "CloudTrail/logs"
//! since = "7 d"
//! ```
//!
//! The group is read in windows of time, oldest first (`pull.rs`). Events over 256 KB never reach a log group, and what could
//! not be put there for 24 h never does: only the bucket of the trail is complete.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::files::Limits;
use super::pull::{Ask, Event, Pace, Page, Place, Pull, Range, Refused, Rules, Settings};
use super::{Build, BuildError, Delivery, Source, SourceError};
use crate::ack::Settled;
use crate::aws::{Aws, Refusal};
use crate::config::{At, Since};

/// The first part of the names of the state's spaces.
pub const SPACES: &str = "cloudwatch_logs/";
/// Bytes of memory that a page takes: 1 MB of events, as JSON and as text.
const PAGE: usize = 4 << 20;
/// How far before the newest time each look begins: what was written just now appears in any order.
const NEAR: i64 = 60_000;
const HOUR: i64 = 3_600_000;

/// Pulls the events of a CloudWatch Logs log group.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceCloudwatchLogs")]
pub struct Config {
    /// The log group's name, or its ARN where it is another account's. Required.
    pub log_group: At<String>,
    /// Only these log streams; at most 100. Default: all.
    #[serde(default)]
    pub streams: Vec<At<String>>,
    /// Only log streams whose names begin so. Default: all.
    #[serde(default)]
    pub stream_prefix: Option<At<String>>,
    /// From when on events are shipped the first time: a duration before now, a day, a time, or `beginning`. Later runs go on
    /// where the last one was.
    #[serde(default = "since")]
    pub since: At<Since>,
    /// Until when. Then the source ends, and its cursor stands apart from that of a source without `until`. Default: it goes
    /// on.
    #[serde(default)]
    pub until: Option<At<Since>>,
    /// How late an event may appear and is still found: so often twice as much is read again, and ids are remembered as long.
    #[serde(default = "overlap")]
    pub overlap: At<crate::config::Duration>,
    /// How often new events are asked for.
    #[serde(default = "every")]
    pub every: At<crate::config::Duration>,
    /// Requests in a second, at most. A count. Default: 12 in us-east-1, 4 elsewhere; AWS answers 25 in us-east-1, 5 or 10
    /// elsewhere, to all who ask for an account.
    #[serde(default)]
    pub requests_per_second: Option<NonZeroU32>,
    /// How AWS is reached.
    #[serde(default)]
    pub aws: Aws,
    /// How much one delivery may be or hold before it goes to rejects.
    #[serde(default)]
    pub limits: Limits,
}

impl Config {
    /// Whether only what is new is read: neither a range of time nor more of the past than event times are believed.
    pub(crate) fn is_live(&self) -> bool {
        let young = |age: Duration| age <= Duration::from_secs(400 * 86_400);
        self.until.is_none() && matches!(self.since.value(), Since::Ago(age) if young(age.get()))
    }
}

fn since() -> At<Since> {
    Since::Ago(crate::config::Duration::minutes(60)).into()
}

fn overlap() -> At<crate::config::Duration> {
    crate::config::Duration::minutes(15).into()
}

fn every() -> At<crate::config::Duration> {
    crate::config::Duration::seconds(10).into()
}

/// Milliseconds of a duration.
pub(super) fn millis(duration: crate::config::Duration) -> i64 {
    i64::try_from(duration.get().as_millis()).unwrap_or(i64::MAX / 4)
}

/// Requests in a second, where nothing else is said: less than AWS answers, so that others in the account find room. Outside
/// us-east-1 that is 5 in some regions and 10 in others.
fn requests_in(region: &str) -> u32 {
    if region == "us-east-1" { 12 } else { 4 }
}

/// The source.
pub struct CloudwatchLogs {
    config: Config,
    pull: Pull,
}

impl CloudwatchLogs {
    /// Reads where the runs before left it. AWS is asked when the first deliveries are.
    ///
    /// # Errors
    /// The state cannot be read or is of another group, or the range of time is empty.
    pub fn build(config: &Config, build: &Build<'_>) -> Result<CloudwatchLogs, BuildError> {
        let rules = Rules {
            overlap: millis(*config.overlap.value()),
            near: NEAR.min(millis(*config.overlap.value())),
            every: millis(*config.every.value()),
            unit: 1,
            ascending: true,
            windows: (HOUR, 24 * HOUR),
            ..Rules::default()
        };
        let settings = Settings {
            spaces: SPACES,
            of: config.log_group.value(),
            since: *config.since.value(),
            until: config.until.as_ref().map(|until| *until.value()),
            page: PAGE,
        };
        Ok(CloudwatchLogs { config: config.clone(), pull: Pull::build(&settings, rules, build)? })
    }

    /// Finds out whom to ask.
    async fn places(&self) -> Vec<Place> {
        let config = &self.config;
        let group = config.log_group.value().trim_end_matches(":*");
        let of_arn = group.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2));
        let loaded = config.aws.load(of_arn.filter(|_| config.aws.region.is_none())).await;
        let region = loaded.region().map(ToString::to_string).unwrap_or_default();
        let most = config.requests_per_second.map_or_else(|| requests_in(&region), NonZeroU32::get);
        let who = config.aws.who();
        let endpoint = config.aws.endpoint.as_ref().map_or("", |at| at.value());
        let pace = Pace::of(&format!("logs {region} {who} {endpoint}"), Duration::from_secs(1) / most.max(1));
        let ask = Group {
            client: config.aws.cloudwatch_logs(&loaded),
            name: group.to_owned(),
            is_arn: of_arn.is_some(),
            streams: config.streams.iter().map(|at| at.value().clone()).collect(),
            prefix: config.stream_prefix.as_ref().map(|at| at.value().clone()),
            who,
            region,
        };
        vec![Place { name: String::new(), ask: Arc::new(ask), pace }]
    }
}

impl Source for CloudwatchLogs {
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

/// A log group, and how to ask for its events.
struct Group {
    client: Client,
    name: String,
    is_arn: bool,
    streams: Vec<String>,
    prefix: Option<String>,
    who: String,
    region: String,
}

impl Group {
    async fn ask(&self, range: Range, token: Option<&str>) -> Result<Page, Refused> {
        let (name, arn) = if self.is_arn { (None, Some(&self.name)) } else { (Some(&self.name), None) };
        let asked = self.client.filter_log_events().set_log_group_name(name.cloned());
        let asked = asked
            .set_log_group_identifier(arn.cloned())
            .set_log_stream_names((!self.streams.is_empty()).then(|| self.streams.clone()))
            .set_log_stream_name_prefix(self.prefix.clone())
            .start_time(range.from)
            // Inclusive.
            .end_time(range.to - 1)
            .set_next_token(token.map(str::to_owned));
        // AWS does it without being told, other servers do not.
        #[expect(deprecated, reason = "the order of a page's events decides how far a window is read")]
        let asked = asked.interleaved(true);
        let output = asked.send().await.map_err(|error| {
            let refusal = Refusal::of(&error);
            let what = format!("log group {} in {}", self.name, self.region);
            let is_token = token.is_some() && refusal.said.contains("InvalidParameter");
            Refused {
                kind: refusal.kind,
                text: refusal.advice(&what, &self.who, "logs:FilterLogEvents"),
                is_token,
            }
        })?;
        let Some(events) = output.events else {
            // Time would be passed over for good.
            let text = format!(
                "log group {}: the answer holds no list of events, as if something else had answered",
                self.name
            );
            return Err(Refused { kind: crate::aws::Kind::Transient, text, is_token: false });
        };
        let events = events.into_iter().map(|event| Event {
            time: event.timestamp.unwrap_or(range.from),
            id: event.event_id.unwrap_or_default(),
            stream: event.log_stream_name.unwrap_or_default(),
            text: event.message.unwrap_or_default(),
        });
        Ok(Page { events: events.collect(), token: output.next_token })
    }
}

impl Ask for Group {
    fn page<'a>(&'a self, range: Range, token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Refused>> {
        Box::pin(self.ask(range, token))
    }

    fn address(&self, first: &Event, last: &Event) -> String {
        let one = format!("logs://{}/{}#{}", self.name, first.stream, first.id);
        if first.id == last.id { one } else { format!("{one}..{}", last.id) }
    }
}

#[cfg(test)]
mod tests;
