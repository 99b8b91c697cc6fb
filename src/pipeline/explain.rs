//! What happens to one record, step by step and with the reasons: collected while it goes through its [`Chain`].

use std::rc::Rc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::chain::{Became, Chain, Place, Witness};
use super::line::Step;
use super::protector::Protector;
use super::through::{Onlooker, ends};
use crate::pattern::compile::MatchScratch;
use crate::pattern::family::Family;
use crate::record::identity::EventKind;
use crate::record::overlay::{Fragment, Parent};
use crate::record::protect::Protection;
use crate::record::{Record, Scan};
use crate::transform::{Context, Decision, Transform as _, Why};

/// What a record was recognised as.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recognised {
    /// The key of sampling, of dedupe and of `_id`: 32 hexadecimal digits.
    pub record_id: String,
    /// Whether it is a hash of the record's bytes, because the record has no id.
    pub derived: bool,
    /// `eventID`, or what it is called in this record.
    pub event_id: Option<String>,
    /// Management, Data, Insight, …
    pub kind: String,
    /// The event's name.
    pub name: Option<String>,
    /// The service.
    pub source: Option<String>,
    /// RFC 3339.
    pub time: Option<String>,
    /// The account it was recorded in.
    pub account: Option<String>,
    /// The caller's account.
    pub caller: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Who did it.
    pub principal: Option<String>,
}

/// Why a record is protected, or is not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Protected {
    /// Whether no rule may thin it.
    pub protected: bool,
    /// The rules that say so, each with the values that decide.
    pub reasons: Vec<Reason>,
    /// Rules that would say so, but for an exception.
    pub excepted: Vec<Reason>,
}

/// One rule of protection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reason {
    /// The name that `[protect] except` knows: `errors`, `writes`, a family's.
    pub rule: String,
    /// In words.
    pub said: String,
    /// The fields that decide, as the record has them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// What one transform did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stepped {
    /// Its name in the configuration.
    pub name: String,
    /// Its `type`.
    pub r#type: &'static str,
    /// `kept`, `sampled`, `filtered`, …
    pub decision: &'static str,
    /// Whether the record's way ends here.
    pub ends: bool,
    /// The rule behind it.
    #[serde(flatten)]
    pub why: Why,
    /// What was added under the top-level key.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub added: Map<String, Value>,
    /// Values that were replaced, by path.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub replaced: Map<String, Value>,
    /// Paths that were removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// Everything that happens to one record in one pipeline.
#[derive(Debug, Default)]
pub struct Explanation {
    /// What it is.
    pub recognised: Recognised,
    /// Whether it may be thinned.
    pub protection: Protected,
    /// The transforms, as far as it came.
    pub steps: Vec<Stepped>,
    /// What became of it.
    pub became: Option<Became>,
}

impl Explanation {
    /// Takes a record through a chain and writes down what happens. `also` and `except`: the patterns of `[protect]`, as JSON.
    ///
    /// # Errors
    /// It is not one JSON object.
    pub fn of(
        chain: &mut Chain,
        event: &[u8],
        place: &Place,
        families: &[Family],
        [also, except]: [&[String]; 2],
    ) -> Result<Explanation, Scan> {
        let event_tree = serde_json::from_slice(event).unwrap_or_default();
        let mut collector = Collector {
            event: event_tree,
            families,
            also,
            except,
            explanation: Explanation::default(),
            added: Vec::new(),
            changed: Vec::new(),
            why: Why::default(),
        };
        let became = chain.run(event, place, &mut collector)?;
        Ok(Explanation { became: Some(became), ..collector.explanation })
    }
}

struct Collector<'c> {
    /// The event as a tree.
    event: Value,
    families: &'c [Family],
    also: &'c [String],
    except: &'c [String],
    explanation: Explanation,
    /// What was added before the step that is under way.
    added: Vec<(Parent, Rc<Fragment>)>,
    /// Leaves that were changed before it.
    changed: Vec<u32>,
    why: Why,
}

impl Collector<'_> {
    /// A rule by its name, with the fields that decide.
    fn reason(&self, rule: &str) -> Reason {
        let (said, paths) = Protection::rule(rule);
        let fields =
            paths.iter().filter_map(|path| Some(((*path).to_owned(), at(&self.event, path)?.clone())));
        Reason { rule: rule.to_owned(), said: said.to_owned(), fields: fields.collect() }
    }

    fn family(&self, number: usize) -> Reason {
        let family = self.families.get(number);
        Reason {
            rule: family.map_or_else(String::new, |family| family.name.clone()),
            said: family
                .map_or_else(String::new, |family| format!("a signal family: {}", family.description)),
            fields: Map::new(),
        }
    }
}

/// The value at a dotted path of an event, whose own keys have no dots.
fn at<'e>(event: &'e Value, path: &str) -> Option<&'e Value> {
    path.split('.').try_fold(event, |value, key| value.get(key))
}

impl Witness for Collector<'_> {
    fn recognised(&mut self, record: &Record<'_>, protector: &Protector, matching: &mut MatchScratch) {
        let (identity, buffer) = (&record.identity, record.buffer);
        let text = |key: &str| at(&self.event, key).and_then(Value::as_str).map(str::to_owned);
        let span = |span: Option<crate::record::Span>| {
            span.map(|span| String::from_utf8_lossy(span.of(buffer)).into_owned())
        };
        let stamp = |time: i64| Some(jiff::Timestamp::from_second(time).ok()?.to_string());
        self.explanation.recognised = Recognised {
            record_id: identity.id.to_string(),
            derived: identity.derived,
            event_id: text("eventID").or_else(|| text("eventId")),
            kind: kind(identity.kind).to_owned(),
            name: span(identity.name),
            source: text("eventSource"),
            time: identity.time.and_then(stamp),
            account: identity.account.map(|account| account.to_string()),
            caller: identity.caller.map(|account| account.to_string()),
            region: span(identity.region),
            principal: span(identity.principal),
        };
        let judged = protector.explain(record, matching);
        let numbers = |bits: u64| (0..64usize).filter(move |number| bits >> number & 1 == 1);
        let pattern = |rule: &str, list: &[String], number: usize| Reason {
            rule: rule.to_owned(),
            said: format!(
                "a pattern of `[protect] {rule}` matches: {}",
                list.get(number).map_or("", |text| text)
            ),
            fields: Map::new(),
        };
        let mut all: Vec<(Reason, bool)> = Vec::new();
        let signal = Protection::SIGNAL;
        for name in judged.found.without(signal).names() {
            let kept = judged.reasons.names().any(|left| left == name);
            all.push((self.reason(name), kept));
        }
        for number in numbers(judged.families) {
            let kept = judged.reasons.has(signal) && judged.except_families >> number & 1 == 0;
            all.push((self.family(number), kept));
        }
        all.extend(judged.also.iter().map(|&number| (pattern("also", self.also, number), true)));
        let (reasons, mut excepted): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, kept)| *kept);
        for (reason, _) in &mut excepted {
            let named = judged.except_reasons.names().any(|name| name == reason.rule)
                || numbers(judged.except_families)
                    .any(|number| self.families.get(number).is_some_and(|family| family.name == reason.rule));
            let by = match (named, judged.except.first()) {
                (false, Some(&number)) => pattern("except", self.except, number).said,
                _ => format!("`[protect] except` names `{}`", reason.rule),
            };
            reason.said = format!("{}; but {by}", reason.said);
        }
        self.explanation.protection = Protected {
            protected: judged.reasons.any(),
            reasons: reasons.into_iter().map(|(reason, _)| reason).collect(),
            excepted: excepted.into_iter().map(|(reason, _)| reason).collect(),
        };
    }
}

impl Onlooker for Collector<'_> {
    fn before(&mut self, step: &Step, record: &Record<'_>, context: &mut Context<'_>) {
        let overlay = &record.overlay;
        self.added.clone_from(&overlay.added);
        self.changed =
            overlay.replaced.iter().map(|(leaf, _)| *leaf).chain(overlay.removed.clone()).collect();
        self.why = step.transform.explain(record, context);
    }

    fn after(&mut self, step: &Step, record: &Record<'_>, decision: &Decision) {
        let mut added = Map::new();
        let known = |one: &Rc<Fragment>| self.added.iter().any(|(_, other)| Rc::ptr_eq(one, other));
        for (parent, fragment) in record.overlay.added.iter().filter(|(_, fragment)| !known(fragment)) {
            let text = format!("{{{}}}", String::from_utf8_lossy(&fragment.members));
            let Ok(Value::Object(members)) = serde_json::from_str(&text) else { continue };
            match parent {
                Parent::Root => added.extend(members),
                Parent::Account => _ = added.insert("account".into(), members.into()),
                Parent::Caller => _ = added.insert("caller".into(), members.into()),
            }
        }
        let path = |position: u32| {
            let leaf = record.index.leaves().get(position as usize)?;
            Some(record.index.paths().dotted(record.index.path(*leaf)))
        };
        let fresh = |position: &u32| !self.changed.contains(position);
        let replaced = record.overlay.replaced.iter().filter(|(position, _)| fresh(position));
        let replaced = replaced.filter_map(|(position, value)| {
            let value = serde_json::from_slice(value).unwrap_or(json!(null));
            Some((path(*position)?, value))
        });
        let removed = record.overlay.removed.iter().filter(|position| fresh(position));
        self.explanation.steps.push(Stepped {
            name: step.name.to_string(),
            r#type: step.transform.kind(),
            decision: decision.name(),
            ends: ends(decision, record),
            why: std::mem::take(&mut self.why),
            added,
            replaced: replaced.collect(),
            removed: removed.filter_map(|position| path(*position)).collect(),
        });
    }
}

const fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Management => "Management",
        EventKind::Data => "Data",
        EventKind::Insight => "Insight",
        EventKind::NetworkActivity => "NetworkActivity",
        EventKind::Aggregated => "Aggregated",
        EventKind::Other => "Other",
    }
}
