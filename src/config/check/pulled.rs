//! Checks of what is pulled from an API: values that would match nothing, or be refused much later.

use super::aws::check_aws;
use crate::clock::Timestamp;
use crate::config::at::At;
use crate::config::problem::Problem;
use crate::config::{Duration, Since};
use crate::source::{cloudwatch_logs, event_history};

/// Log streams that may be named.
const MOST_STREAMS: usize = 100;

/// Checks a log group.
pub(super) fn check_group(config: &cloudwatch_logs::Config, now: Timestamp, problems: &mut Vec<Problem>) {
    let group = config.log_group.value();
    let is_name = |name: &str| {
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
        (1..=512).contains(&name.len()) && name.bytes().all(may_be)
    };
    let arn: Vec<&str> = group.trim_end_matches(":*").split(':').collect();
    let is_arn = matches!(arn[..], ["arn", _, "logs", region, account, "log-group", name]
        if region.contains('-') && account.len() == 12 && is_name(name));
    if !is_arn && !is_name(group) {
        let message = format!("there can be no log group `{group}`");
        let label = "write its name, or arn:aws:logs:REGION:ACCOUNT:log-group:NAME";
        problems.push(Problem::error(config.log_group.span(), message, label));
    }
    if let (Some(first), Some(prefix)) = (config.streams.first(), &config.stream_prefix) {
        let message = "`streams` and `stream_prefix` cannot both choose";
        problems
            .push(Problem::error(prefix.span(), message, "leave one out").and(first.span(), "named here"));
    }
    if let Some(one) = config.streams.get(MOST_STREAMS) {
        let message = format!("more than {MOST_STREAMS} `streams`");
        problems.push(Problem::error(one.span(), message, "name what they begin with in `stream_prefix`"));
    }
    for stream in config.streams.iter().chain(&config.stream_prefix) {
        if stream.value().is_empty() || stream.value().contains([':', '*']) {
            let message = format!("there can be no log stream `{}`", stream.value());
            problems.push(Problem::error(stream.span(), message, "write its name, without `:` and `*`"));
        }
    }
    check_pace("every", &config.every, 1, problems);
    check_pace("overlap", &config.overlap, 0, problems);
    check_range(("since", &config.since), config.until.as_ref(), now, problems);
    check_aws(&config.aws, problems);
}

/// Checks an event history.
pub(super) fn check_history(config: &event_history::Config, now: Timestamp, problems: &mut Vec<Problem>) {
    for (number, region) in config.regions.iter().enumerate() {
        if !is_region(region.value()) {
            let message = format!("there can be no region `{}`", region.value());
            problems.push(Problem::error(region.span(), message, "write it as in eu-west-1"));
        }
        if let Some(first) = config.regions.iter().take(number).find(|first| first.value() == region.value())
        {
            let message = format!("region `{}` stands there twice", region.value());
            problems
                .push(Problem::error(region.span(), message, "leave it out").and(first.span(), "named here"));
        }
    }
    if let Some(lookup) = &config.lookup {
        let given = lookup.given();
        match given[..] {
            [] => {
                let message = "`lookup` names no attribute: all events are read";
                let label = "name one, as in { EventName = \"ConsoleLogin\" }";
                problems.push(Problem::warning(lookup.span(), message, label));
            }
            [(_, value)] if value.value().is_empty() || value.value().len() > 2000 => {
                let message = "the value of `lookup` is empty or over 2,000 bytes";
                problems.push(Problem::error(value.span(), message, "write what to look up"));
            }
            [_] => {}
            [(_, first), (_, second), ..] => {
                let message = "`lookup` names several attributes";
                let label = "LookupEvents takes one: leave this to a `filter`";
                problems.push(Problem::error(second.span(), message, label).and(first.span(), "the first"));
            }
        }
    }
    let at = &config.requests_per_second;
    if at.get() > event_history::REQUESTS {
        let message = "LookupEvents answers 2 requests a second in a region";
        problems.push(Problem::warning(at.span(), message, "the others are refused and asked again"));
    }
    check_pace("every", &config.every, 1, problems);
    check_pace("delay", &config.delay, 0, problems);
    check_pace("overlap", &config.overlap, 0, problems);
    check_range(("since", &config.since), config.until.as_ref(), now, problems);
    if let Since::Ago(age) = *config.since.value()
        && age.get().as_secs() > 90 * 86_400
    {
        let message = "the event history goes back 90 days";
        problems.push(Problem::warning(
            config.since.span(),
            message,
            "older events are in a trail's bucket only",
        ));
    }
    check_aws(&config.aws, problems);
}

/// New ones come, so the names are not known; how they look is.
fn is_region(text: &str) -> bool {
    let may_be = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.contains('-') && text.bytes().all(may_be)
}

/// Checks a duration that may be from `least` seconds to a day.
fn check_pace(name: &str, at: &At<Duration>, least: u64, problems: &mut Vec<Problem>) {
    if !(least..=86_400).contains(&at.get().as_secs()) {
        let message = format!("`{name}` is out of range");
        problems.push(Problem::error(at.span(), message, format!("write {least} s to 1 d")));
    }
}

/// Checks a range of time, of which `since` is one end by that name. What is wrong today and may be right tomorrow, or the
/// other way round, because one end moves and the other does not, is only warned about.
pub(super) fn check_range(
    (name, since): (&str, &At<Since>),
    until: Option<&At<Since>>,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) {
    check_begin(name, since, now, problems);
    let Some(until) = until else { return };
    if until.value().time(now) > since.value().time(now) {
        return;
    }
    let message = format!("`until` is not after `{name}`");
    let problem = match (since.value(), until.value()) {
        (Since::Ago(_), Since::At(_)) | (Since::At(_), Since::Ago(_)) => {
            Problem::warning(until.span(), message, "nothing is read when it is so the first time")
        }
        _ => Problem::error(until.span(), message, "write a later time"),
    };
    problems.push(match since.span().is_empty() {
        true => problem,
        false => problem.and(since.span(), name),
    });
}

/// Checks that what is read begins before now.
pub(super) fn check_begin(name: &str, since: &At<Since>, now: Timestamp, problems: &mut Vec<Problem>) {
    if since.value().time(now) > now {
        let message = format!("`{name}` is in the future");
        problems.push(Problem::error(since.span(), message, "write a time that has passed"));
    }
}
