//! An explanation as text, and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::find::Found;
use crate::cli::style::Style;
use crate::cli::text::count;
use crate::config::Resolved;
use crate::decode::{Format, Packing};
use crate::pipeline::chain::{Chain, Written};
use crate::pipeline::explain::{Explanation, Protected, Reason, Stepped};
use crate::telemetry::{escaped, escaped_json};

/// What there is to show.
pub(super) struct Shown<'s> {
    pub(super) found: &'s Found,
    /// The configuration's file; `None`: the default chain.
    pub(super) configuration: Option<&'s str>,
    pub(super) resolved: &'s Resolved,
    pub(super) chains: &'s [Chain],
    /// One for each chain.
    pub(super) explained: &'s [Explanation],
}

/// What stands where no configuration is found.
pub(super) const DEFAULT_SAID: &str = "none found, so a default chain: every signal family is tagged, session tokens are removed, nothing is thinned";

impl Shown<'_> {
    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let Shown { found, .. } = self;
        let _ = writeln!(
            out,
            "{}: record {}, {} bytes at {}; {}{}",
            style.heading(&escaped(&found.place.origin.address)),
            count(found.place.number),
            count(found.text.len() as u64),
            count(found.offset),
            format(found.format),
            packing(found.packing),
        );
        let _ = writeln!(out, "configuration: {}", escaped(self.configuration.unwrap_or(DEFAULT_SAID)));
        if found.place.marks.later_member {
            let _ =
                writeln!(out, "marked: it stands behind the first gzip member, where CloudTrail writes none");
        }
        if let Some(first) = self.explained.first() {
            recognised(first, style, &mut out);
            protection(&first.protection, style, &mut out);
        }
        for (chain, explained) in self.chains.iter().zip(self.explained) {
            let _ = writeln!(out, "\n{}", style.heading(&format!("Pipeline {}", escaped(&chain.name))));
            for (number, step) in (1..).zip(&explained.steps) {
                self::step(number, step, &chain.field, style, &mut out);
            }
            for (number, step) in (1..).zip(&chain.steps).skip(explained.steps.len()) {
                let (name, kind) = (escaped(&step.name), step.transform.kind());
                let _ = writeln!(out, "  {number} {name} ({kind}): not reached");
            }
            self.sinks(explained, style, &mut out);
        }
        out
    }

    fn sinks(&self, explained: &Explanation, style: Style, out: &mut String) {
        let Some(became) = &explained.became else { return };
        if became.added > 0 {
            let _ = writeln!(out, "  transforms made {} further records of it", became.added);
        }
        let mut anywhere = false;
        for written in &became.sinks {
            let (kind, shape, only) = self.sink(written);
            let _ = write!(out, "  sink {} ({kind}, {shape}): ", escaped(&written.sink));
            if let Some((by, decision)) = &became.ended {
                let _ = writeln!(
                    out,
                    "{}",
                    style.less(&format!("nothing: {} by {}", decision.name(), escaped(by)))
                );
                continue;
            }
            if !written.matched {
                let _ = writeln!(out, "{}", style.less("nothing"));
                line(out, &format!("its `match` does not hold: {only}"));
                continue;
            }
            anywhere = true;
            let place = if written.place.is_empty() {
                String::new()
            } else {
                format!(" for {}", escaped(&written.place))
            };
            let _ = writeln!(out, "{}", style.good(&format!("{} bytes{place}", count(bytes(written)))));
            if !only.is_empty() {
                line(out, &format!("its `match` holds: {only}"));
            }
            let _ = writeln!(out, "      {}", escaped_json(&written.text));
        }
        if !anywhere && became.ended.is_none() {
            let _ = writeln!(out, "  {}", style.bad("no sink takes it: it is counted as unrouted"));
        }
    }

    /// Type, shape and `match` of a sink.
    fn sink(&self, written: &Written) -> (&'static str, String, String) {
        let component = self.resolved.sinks.iter().find(|sink| *sink.name.value() == *written.sink);
        let Some(component) = component else { return ("", String::new(), String::new()) };
        let mut ends = self.resolved.pipelines.iter().flat_map(|pipeline| &pipeline.sinks);
        let named = |sink: usize| self.resolved.sinks.get(sink).map(|sink| sink.name.value().as_str());
        let shape = ends.find(|end| named(end.sink) == Some(&*written.sink)).map(|end| end.shape.to_string());
        let only = component.config.matching().map(|pattern| pattern.value().to_string());
        (component.config.kind(), shape.unwrap_or_default(), only.unwrap_or_default())
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Shown { found, .. } = self;
        let pipelines = self.chains.iter().zip(self.explained).map(|(chain, explained)| {
            let became = explained.became.as_ref();
            let ended = became.and_then(|became| became.ended.as_ref());
            let sinks = became.iter().flat_map(|became| &became.sinks).map(|written| {
                let (kind, shape, only) = self.sink(written);
                let receives = written.matched && ended.is_none();
                let mut sink = json!({
                    "name": &*written.sink,
                    "type": kind,
                    "shape": shape,
                    "receives": receives,
                    "matched": written.matched,
                });
                if !only.is_empty() {
                    sink["match"] = serde_json::from_str(&only).unwrap_or_default();
                }
                if receives {
                    sink["place"] = written.place.as_str().into();
                    sink["bytes"] = bytes(written).into();
                    sink["text"] = written.text.as_str().into();
                }
                sink
            });
            json!({
                "name": &*chain.name,
                "steps": explained.steps,
                "ended": ended.map(|(by, decision)| json!({ "by": &**by, "decision": decision.name() })),
                "sinks": sinks.collect::<Vec<_>>(),
            })
        });
        let first = self.explained.first();
        json!({
            "event": {
                "object": &*found.place.origin.address,
                "record": found.place.number,
                "offset": found.offset,
                "bytes": found.text.len(),
                "format": format(found.format),
                "packing": format!("{:?}", found.packing).to_lowercase(),
                "later_gzip_member": found.place.marks.later_member,
            },
            "configuration": self.configuration,
            "recognised": first.map(|explained| &explained.recognised),
            "protection": first.map(|explained| &explained.protection),
            "pipelines": pipelines.collect::<Vec<_>>(),
        })
    }
}

/// What the sink receives, line break included, before it is compressed.
fn bytes(written: &Written) -> u64 {
    written.text.len() as u64 + 1
}

fn recognised(explained: &Explanation, style: Style, out: &mut String) {
    let _ = writeln!(out, "\n{}", style.heading("Recognised"));
    let it = &explained.recognised;
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<10} {}", escaped(value));
    };
    row("kind", &it.kind);
    let none = "(none)";
    let source = it.source.as_ref().map_or_else(String::new, |source| format!(" of {source}"));
    row("event", &format!("{}{source}", it.name.as_deref().unwrap_or(none)));
    row("id", it.event_id.as_deref().unwrap_or(none));
    let of = if it.derived { "a hash of its bytes: it has no id" } else { "a hash of its id and account" };
    row("record id", &format!("{} ({of})", it.record_id));
    row("time", it.time.as_deref().unwrap_or(none));
    row("account", it.account.as_deref().unwrap_or(none));
    row("caller", it.caller.as_deref().unwrap_or(none));
    row("region", it.region.as_deref().unwrap_or(none));
    row("principal", it.principal.as_deref().unwrap_or(none));
}

fn protection(protection: &Protected, style: Style, out: &mut String) {
    let _ = writeln!(out, "\n{}", style.heading("Protection"));
    let said = match protection.protected {
        true => style.good("protected: no rule may thin it"),
        false => style.less("not protected: rules may thin it"),
    };
    let _ = writeln!(out, "  {said}");
    let mut row = |reason: &Reason| {
        line(out, &format!("{}: {}{}", reason.rule, reason.said, fields(&reason.fields)));
    };
    protection.reasons.iter().for_each(&mut row);
    protection.excepted.iter().for_each(&mut row);
}

fn step(number: usize, step: &Stepped, field: &str, style: Style, out: &mut String) {
    let decision = match (step.ends, step.decision) {
        (false, "kept") => style.good("kept"),
        (false, other) => style.good(&format!("kept, though it says {other}: the record is protected")),
        (true, "rejected") => style.bad("rejected"),
        (true, other) => style.less(other),
    };
    let _ = writeln!(out, "  {number} {} ({}): {decision}", escaped(&step.name), step.r#type);
    for said in &step.why.said {
        line(out, said);
    }
    if !step.added.is_empty() {
        line(out, &format!("adds {field} {}", Value::from(step.added.clone())));
    }
    for (path, value) in &step.replaced {
        line(out, &format!("replaces {path} by {value}"));
    }
    for path in &step.removed {
        line(out, &format!("removes {path}"));
    }
}

/// The values that decide, behind a rule.
fn fields(fields: &Map<String, Value>) -> String {
    let shown: Vec<String> = fields.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "      {}", escaped(text));
}

const fn format(format: Format) -> &'static str {
    match format {
        Format::Unknown => "nothing known",
        Format::Records => "a CloudTrail log file",
        Format::Lookup => "an answer of LookupEvents",
        Format::Array => "an array of records",
        Format::Bare => "a bare record",
        Format::Lines => "records on lines",
        Format::EventBridge => "an EventBridge event",
        Format::CloudWatchLogs => "a CloudWatch Logs subscription payload",
        Format::Wrapped => "a record in a message",
        Format::Digest => "a digest",
    }
}

const fn packing(packing: Packing) -> &'static str {
    match packing {
        Packing::Plain => "",
        Packing::Gzip => ", gzip",
        Packing::Zstd => ", zstd",
    }
}
