//! Checks of what listens: who may come in, and whether anybody could.

use std::time::Duration;

use crate::config::problem::Problem;
use crate::config::{Globals, Raw, SourceConfig};
use crate::source::firehose::Config;

/// Firehose waits for an answer for so long.
const FIREHOSE_WAITS: Duration = Duration::from_secs(180);

/// Checks an endpoint of Firehose.
pub(super) fn check_firehose(config: &Config, problems: &mut Vec<Problem>) {
    let listen = &config.listen;
    let mut wrong = |span, message: &str, label: &str| problems.push(Problem::error(span, message, label));
    if !listen.get().ip().is_loopback() {
        if config.access_key.is_none() {
            let message =
                format!("whoever reaches {} could ship events: there is no `access_key`", listen.value());
            wrong(
                listen.span(),
                &message,
                "add access_key = { env = \"NAME\" }, and the same key in the stream",
            );
        }
        if config.tls.is_none() && !config.behind_proxy {
            let message = format!(
                "events and the access key would cross the network to {} as they are",
                listen.value()
            );
            let label = "add tls = { certificate = \"…\", key = \"…\" }, or behind_proxy = true where a proxy speaks TLS";
            wrong(listen.span(), &message, label);
        }
    }
    for key in config.access_key.iter().flat_map(|keys| keys.iter()) {
        if key.value().reveal().is_empty() {
            wrong(
                key.span(),
                "`access_key` is empty",
                "set the variable or fill the file; its text is the key",
            );
        } else if key.value().reveal().len() > 4096 {
            wrong(key.span(), "`access_key` is longer than Firehose's keys can be", "up to 4,096 bytes");
        } else if key.value().reveal().trim() != key.value().reveal() {
            wrong(key.span(), "`access_key` has white space at an end", "no header can carry that");
        }
    }
    for arn in config.source_arns.iter().flat_map(|arns| arns.iter()) {
        if !(arn.starts_with("arn:") && arn.contains(":firehose:") && arn.contains(":deliverystream/")) {
            let message = format!("there can be no stream `{}`", arn.value().escape_debug());
            wrong(arn.span(), &message, "write arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME");
        }
    }
    if let Some(arns) = config.source_arns.as_ref().filter(|arns| arns.is_empty()) {
        let label =
            "name those that may deliver, or leave `source_arns` out: all that know the access key may";
        wrong(arns.span(), "`source_arns` names no stream", label);
    }
    let within = &config.answer_within;
    if within.get() >= FIREHOSE_WAITS || within.get() < Duration::from_millis(100) {
        wrong(
            within.span(),
            "`answer_within` is out of range",
            "Firehose waits for 3 minutes: write up to 170s",
        );
    }
    let body = &config.max_body;
    if body.get() == 0 || body.as_usize() > 64 << 20 {
        wrong(body.span(), "`max_body` is out of range", "Firehose sends up to 64 MiB");
    }
    if config.timeout.get() < Duration::from_millis(100) {
        wrong(config.timeout.span(), "`timeout` is too short", "write a few seconds");
    }
}

/// Finds addresses that are listened on twice, and bodies that `memory` has no room for.
pub(super) fn check_all(raw: &Raw, globals: &Globals, problems: &mut Vec<Problem>) {
    let telemetry = globals.telemetry.listen.iter().map(|listen| (listen.get(), listen.span()));
    let mut taken: Vec<_> = telemetry.collect();
    for named in &raw.sources {
        let Some(SourceConfig::Firehose(config)) = named.config.whole() else { continue };
        let (address, span) = (config.listen.get(), config.listen.span());
        if let Some((_, first)) = taken.iter().find(|(other, _)| *other == address && address.port() != 0) {
            let message = format!("two things listen on {address}");
            let label = "give each a port of its own; several streams may share one source";
            problems.push(Problem::error(span.clone(), message, label).and(first.clone(), "the first"));
        }
        taken.push((address, span));
        let (body, memory) = (&config.max_body, &globals.memory);
        if body.get() > memory.get() / 4 {
            let message = format!(
                "a request may have {} and `memory` has room for {}",
                body.value(),
                crate::config::ByteSize::bytes(memory.get() / 4)
            );
            let label = "a larger request than there is room for is answered 503 for ever: make the stream's buffer smaller";
            let at = if memory.span().is_empty() { body.span() } else { memory.span() };
            problems.push(Problem::warning(at, message, label));
        }
    }
}
