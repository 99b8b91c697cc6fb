//! Checks across parts of the configuration: plain functions from what was read to problems.

mod aws;
mod endpoint;
mod files;
mod memory;
mod paths;
mod pulled;

use super::at::At;
use super::matching::{Match, PathSegment};
use super::problem::Problem;
use super::resolve::{Plan, shape_of};
use super::suggest::{all_of, closest, one_of};
use super::{Except, Globals, Raw, SinkConfig, SourceConfig, Surroundings, TransformConfig};
use crate::clock::Timestamp;
use crate::pattern::Pattern;
use crate::pattern::family::SHIPPED;
use std::ops::Range;
use std::path::Path;

/// Names in `[protect] except` that stand for a class of records.
pub const PROTECTED_CLASSES: [&str; 8] =
    ["errors", "signin", "sts", "root", "writes", "network", "insights", "addenda"];

/// Keys of a CloudTrail record that `field` must not hide.
/// Source: CloudTrail User Guide, "CloudTrail record contents for management, data, and network activity events".
const RECORD_KEYS: [&str; 28] = [
    "additionalEventData",
    "addendum",
    "apiVersion",
    "awsRegion",
    "edgeDeviceDetails",
    "errorCode",
    "errorMessage",
    "eventCategory",
    "eventContext",
    "eventID",
    "eventName",
    "eventSource",
    "eventTime",
    "eventType",
    "eventVersion",
    "managementEvent",
    "readOnly",
    "recipientAccountId",
    "requestID",
    "requestParameters",
    "resources",
    "responseElements",
    "serviceEventDetails",
    "sessionCredentialFromConsole",
    "sharedEventID",
    "sourceIPAddress",
    "tlsDetails",
    "userIdentity",
];

/// Runs every check.
pub(super) fn all(
    raw: &Raw,
    plans: &[Plan],
    globals: &Globals,
    data_dir: Option<&Path>,
    around: &Surroundings<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_globals(globals, &mut problems);
    check_patterns(raw, &mut problems);
    check_sources(raw, (around.now)(), &mut problems);
    endpoint::check_all(raw, globals, &mut problems);
    check_transforms(raw, &mut problems);
    check_shapes_of_sinks(raw, &mut problems);
    let sinks = raw.sinks.iter().filter_map(|named| named.config.whole());
    problems.extend(sinks.flat_map(SinkConfig::problems));
    files::check(raw, around, &mut problems);
    check_splunk(raw, plans, &mut problems);
    check_pipelines(raw, plans, &mut problems);
    paths::check(raw, data_dir.filter(|_| raw.globals.whole().is_some()), globals, around, &mut problems);
    if raw.globals.whole().is_some() {
        memory::check(raw, plans, globals, &mut problems);
    }
    problems
}

fn check_globals(globals: &Globals, problems: &mut Vec<Problem>) {
    let field = &globals.field;
    if field.is_empty() || field.contains(['.', '"', '\\']) || field.chars().any(char::is_control) {
        let label = "write one plain name, without dots or quotes";
        problems.push(Problem::error(field.span(), "`field` is not a plain name", label));
    } else if RECORD_KEYS.contains(&field.value().as_str()) {
        let message = format!("`field` cannot be `{}`: CloudTrail has a key of that name", field.value());
        problems.push(Problem::error(
            field.span(),
            message,
            "write another name, as the default \"trailship\"",
        ));
    }
}

/// Compiles every pattern there is, also those of parts with other mistakes.
fn check_patterns(raw: &Raw, problems: &mut Vec<Problem>) {
    let mut patterns: Vec<&Match> = Vec::new();
    if let Some(globals) = raw.globals.any() {
        patterns.extend(globals.protect.also.iter().flat_map(|patterns| patterns.iter()));
        for except in &globals.protect.except {
            match except {
                Except::Pattern(pattern) => patterns.push(pattern),
                Except::Name(name) => check_class(name, problems),
            }
        }
    }
    patterns.extend(
        raw.transforms.iter().filter_map(|named| named.config.any()).flat_map(|config| config.matching()),
    );
    patterns.extend(raw.sinks.iter().filter_map(|named| named.config.any()?.matching()));
    patterns.into_iter().for_each(|pattern| check_pattern(pattern, problems));
}

fn check_class(name: &At<String>, problems: &mut Vec<Problem>) {
    let families = SHIPPED.iter().map(|family| family.folder);
    let known: Vec<&str> = PROTECTED_CLASSES.into_iter().chain(families).collect();
    if known.contains(&name.value().as_str()) {
        return;
    }
    let label = match closest(name, known) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => format!("names are {} and the signal families", all_of(&PROTECTED_CLASSES)),
    };
    let message = format!("nothing that is protected is called `{}`", name.value().escape_debug());
    problems.push(Problem::error(name.span(), message, label));
}

/// Checks the name of a signal family, or of a finer tag below one (`family.fine`).
fn check_signal(name: &At<String>, problems: &mut Vec<Problem>) {
    let families: Vec<&str> = SHIPPED.iter().map(|family| family.folder).collect();
    let family = name.split_once('.').map_or(name.value().as_str(), |(family, _)| family);
    if families.contains(&family) {
        return;
    }
    let message = format!("no signal family is called `{}`", family.escape_debug());
    problems.push(match closest(family, families.iter().copied()) {
        Some(close) => Problem::error(name.span(), message, format!("did you mean \"{close}\"?")),
        None => Problem::error(name.span(), message, "").note(format!("families are {}", all_of(&families))),
    });
}

/// Compiles a pattern and points at the parts that are wrong.
fn check_pattern(pattern: &Match, problems: &mut Vec<Problem>) {
    for error in pattern.compile().err().unwrap_or_default() {
        problems.push(Problem::error(
            place_of(pattern, &error.path),
            error.message,
            error.hint.unwrap_or_default(),
        ));
    }
}

/// Returns the place of a part of a pattern: a leaf itself, of anything larger its key.
fn place_of(pattern: &Match, path: &[String]) -> Range<usize> {
    let mut value = pattern.value();
    let mut segments = Vec::new();
    for step in path {
        let (segment, inner) = match (value, step.parse::<usize>()) {
            (serde_json::Value::Array(items), Ok(index)) => (PathSegment::Index(index), items.get(index)),
            _ => (PathSegment::Key(step.clone()), value.get(step)),
        };
        let Some(inner) = inner else { break };
        segments.push(segment);
        value = inner;
    }
    match value.is_object() || value.is_array() {
        true => pattern.locate_key(&segments),
        false => pattern.locate(&segments),
    }
}

fn check_sources(raw: &Raw, now: Timestamp, problems: &mut Vec<Problem>) {
    for named in &raw.sources {
        match named.config.whole() {
            Some(SourceConfig::Kinesis(config)) => aws::check_stream(config, now, problems),
            Some(SourceConfig::S3(config)) => aws::check_bucket(config, now, problems),
            Some(SourceConfig::Sqs(config)) => aws::check_queue(config, problems),
            Some(SourceConfig::Firehose(config)) => endpoint::check_firehose(config, problems),
            Some(SourceConfig::CloudwatchLogs(config)) => pulled::check_group(config, now, problems),
            Some(SourceConfig::EventHistory(config)) => pulled::check_history(config, now, problems),
            _ => {}
        }
    }
    let mut places: Vec<(&'static str, &At<String>)> = Vec::new();
    for named in &raw.sources {
        let Some((what, place)) = named.config.whole().and_then(SourceConfig::place) else { continue };
        if let Some((_, first)) =
            places.iter().find(|(kind, first)| (*kind, first.value()) == (what, place.value()))
        {
            let message = format!("{what} `{}` is read by two sources", place.value());
            let label = "name one source in both pipelines: it is read once, and lent to all";
            let problem = Problem::error(place.span(), message, label);
            problems.push(problem.and(first.span(), "read here already"));
        }
        places.push((what, place));
    }
    for named in &raw.sources {
        let Some(SourceConfig::Files(config)) = named.config.whole() else { continue };
        let limits = &config.limits;
        if *limits.record > *limits.object {
            let (at, other) = stated_of(&limits.record, &limits.object);
            let message = format!(
                "a record may be {} and an object only {}",
                limits.record.value(),
                limits.object.value()
            );
            let problem = Problem::error(at, message, "`record` cannot be over `object`");
            problems.push(match other {
                Some(other) => problem.and(other, "`object` is here"),
                None => problem,
            });
        }
        for path in config.path.iter().filter(|path| path.is_empty()) {
            problems.push(Problem::error(
                path.span(),
                "`path` is empty",
                "write a directory, a glob, a file or \"-\"",
            ));
        }
        for path in config.path.iter().filter(|path| paths::is_glob(path)) {
            if let Err(error) = paths::glob(path) {
                let message = format!("`path` is not a glob: {}", error.kind());
                problems.push(Problem::error(
                    path.span(),
                    message,
                    "put [ ] around a character that is meant as it is: \"[*]\"",
                ));
            }
        }
        if let Some(path) = config.path.iter().find(|path| path.contains("://")) {
            let label = match path.starts_with("s3://") {
                true => "a `files` source reads the file system only",
                false => "write a path",
            };
            problems.push(Problem::error(path.span(), "`path` is not a path but a URL", label));
        }
    }
}

/// Returns the place of the first value that the file states, and of the second where both are stated.
fn stated_of<A, B>(first: &At<A>, second: &At<B>) -> (Range<usize>, Option<Range<usize>>) {
    match (first.span().is_empty(), second.span().is_empty()) {
        (false, false) => (first.span(), Some(second.span())),
        (true, _) => (second.span(), None),
        (_, true) => (first.span(), None),
    }
}

fn check_transforms(raw: &Raw, problems: &mut Vec<Problem>) {
    for named in &raw.transforms {
        let (name, at) = (named.name.value(), named.name.span());
        match named.config.whole() {
            Some(TransformConfig::Filter(config)) => match (&config.keep, &config.drop) {
                (None, None) => problems.push(Problem::error(
                    at,
                    format!("filter `{name}` says neither what to keep nor what to drop"),
                    "add keep = { … } or drop = { … }, an event pattern",
                )),
                (Some(_), Some(drop)) => problems.push(Problem::error(
                    drop.first().map_or(at, Match::span),
                    format!("filter `{name}` has both `keep` and `drop`"),
                    "make two filters, one after the other: which goes first matters",
                )),
                _ => {}
            },
            Some(TransformConfig::Dedupe(config)) => problems.extend(config.problems()),
            Some(TransformConfig::Environment(config)) if config.rules.is_empty() => {
                let message = format!("environment `{name}` has no rules");
                let label = format!("add [[transforms.{name}.rules]] with set = \"…\" and match = {{ … }}");
                problems.push(Problem::error(config.rules.span(), message, label));
            }
            Some(TransformConfig::Signals(config)) => {
                let names = config.only.iter().flatten().chain(&config.except);
                names.for_each(|name| check_signal(name, problems));
                if let (Some(_), Some(except)) = (&config.only, config.except.first()) {
                    let message = format!("signals `{name}` has both `only` and `except`");
                    problems.push(Problem::error(except.span(), message, "keep one of them"));
                }
            }
            Some(TransformConfig::Redact(config)) => problems.extend(config.problems(&named.name)),
            Some(TransformConfig::Flatten(config)) if config.separator.is_empty() => {
                let message = "an empty `separator` makes one key of `a.bc` and `ab.c`";
                problems.push(Problem::error(config.separator.span(), message, "write \".\" or \"_\""));
            }
            _ => {}
        }
    }
}

fn check_shapes_of_sinks(raw: &Raw, problems: &mut Vec<Problem>) {
    for sink in &raw.sinks {
        let Some(shape) = shape_of(sink) else { continue };
        let name = shape.value().as_str();
        match raw.transforms.iter().find(|named| named.name.value() == name).map(|named| named.config.whole())
        {
            Some(Some(transform)) if !transform.is_shape() => {
                let message = format!("`{name}` is no shape but a `{}`", transform.kind());
                problems.push(Problem::error(
                    shape.span(),
                    message,
                    "write \"nested\", \"flat\" or the name of a `flatten`",
                ));
            }
            None if name != "nested" && name != "flat" => {
                let mut names = vec!["nested", "flat"];
                for named in &raw.transforms {
                    let own = named.name.value().as_str();
                    if named.config.whole().is_some_and(TransformConfig::is_shape) && !names.contains(&own) {
                        names.push(own);
                    }
                }
                let label = match closest(name, names.iter().copied()) {
                    Some(close) => format!("did you mean \"{close}\"?"),
                    None => format!("write {}", one_of(&names)),
                };
                problems.push(Problem::error(
                    shape.span(),
                    format!("unknown shape `{}`", name.escape_debug()),
                    label,
                ));
            }
            _ => {}
        }
    }
}

/// Splunk's AWS add-on knows events as AWS wrote them: a shape hides them from it.
fn check_splunk(raw: &Raw, plans: &[Plan], problems: &mut Vec<Problem>) {
    for (index, sink) in raw.sinks.iter().enumerate() {
        let Some(SinkConfig::SplunkHec(_)) = sink.config.whole() else { continue };
        let (name, at) = (sink.name.value(), sink.name.span());
        let message = format!("Splunk's AWS add-on will not understand the events of `{name}`");
        match shape_of(sink) {
            Some(shape) if shape.value() != "nested" => {
                let label = "it knows the record as AWS wrote it: write \"nested\"";
                problems.push(Problem::warning(shape.span(), message, label));
            }
            Some(_) => {}
            None => {
                let flat =
                    plans.iter().filter(|plan| plan.sinks.contains(&index)).find_map(|plan| plan.shape);
                let Some(flat) = flat.and_then(|flat| raw.transforms.get(flat)) else { continue };
                let label = "it knows the record as AWS wrote it: add shape = \"nested\" to the sink";
                let problem = Problem::warning(at, message, label);
                problems.push(problem.and(flat.name.span(), "this shape stands before it"));
            }
        }
    }
}

fn check_pipelines(raw: &Raw, plans: &[Plan], problems: &mut Vec<Problem>) {
    for (index, plan) in plans.iter().enumerate() {
        let name = plan.name.value();
        let twin = plans.iter().take(index).find(|other| {
            (&other.sources, &other.transforms, other.shape, &other.sinks)
                == (&plan.sources, &plan.transforms, plan.shape, &plan.sinks)
        });
        if let Some(twin) = twin.filter(|_| !plan.sources.is_empty()) {
            let message = format!("pipelines `{}` and `{name}` are the same", twin.name.value());
            let label = "every record would be written twice: remove one";
            problems.push(
                Problem::error(plan.name.span(), message, label).and(twin.name.span(), "the same as this"),
            );
        }
        let kinds: Vec<_> = plan.transforms.iter().filter_map(|index| raw.transforms.get(*index)).collect();
        let tags = kinds
            .iter()
            .position(|named| matches!(named.config.whole(), Some(TransformConfig::AccountTags(_)) | None));
        for (at, named) in kinds.iter().enumerate() {
            let Some(TransformConfig::Environment(config)) = named.config.whole() else { continue };
            let asks = config.rules.iter().any(|rule| {
                rule.r#match.value().as_object().is_some_and(|keys| keys.keys().any(|key| key != "id"))
            });
            if asks && tags.is_none_or(|tags| tags > at) {
                let message =
                    format!("environment `{}` knows no account in pipeline `{name}`", named.name.value());
                let label = "put an `account_tags` before it: names and tags come from there";
                problems.push(Problem::warning(named.name.span(), message, label));
            }
        }
    }
    for (index, source) in raw.sources.iter().enumerate() {
        let (at, what) = match source.config.whole() {
            Some(SourceConfig::Files(config)) => {
                let stdin = config.path.iter().find(|path| path.value() == "-");
                (stdin.map(At::span), "standard input".to_owned())
            }
            Some(config) if config.is_shared() => {
                (Some(source.name.span()), format!("source `{}`", source.name.value()))
            }
            _ => continue,
        };
        let users: Vec<_> = plans
            .iter()
            .filter(|plan| plan.sources.contains(&index))
            .map(|plan| plan.name.value().as_str())
            .collect();
        if let Some(at) = at.filter(|_| users.len() > 1) {
            let message = format!("pipelines {} share the fate of {what}", all_of(&users));
            let label = "it is read once: what holds up one of them holds up all";
            problems.push(Problem::warning(at, message, label));
        }
    }
}

impl Match {
    /// Compiles the pattern.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the path to its place.
    pub fn compile(&self) -> Result<Pattern, Vec<crate::pattern::PatternError>> {
        match self.text() {
            Some(text) => Pattern::parse_json(text),
            None => Pattern::parse(self.value()),
        }
    }
}
