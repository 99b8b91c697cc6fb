//! Checks of what reads from AWS: values that would match nothing, or be refused much later.

use super::pulled::{check_begin, check_range};
use crate::aws::Aws;
use crate::clock::Timestamp;
use crate::config::at::At;
use crate::config::problem::Problem;
use crate::source::{kinesis, s3, sqs};

/// Kinds of folders that hold logs.
const KINDS: [&str; 4] =
    ["CloudTrail", "CloudTrail-Insight", "CloudTrail-NetworkActivity", "CloudTrail-Aggregated"];

/// Checks a bucket.
pub(super) fn check_bucket(config: &s3::Config, now: Timestamp, problems: &mut Vec<Problem>) {
    let mut wrong = |at: &At<String>, what: &str, label: &str| {
        problems.push(Problem::error(at.span(), format!("{what} `{}`", at.value()), label));
    };
    if !is_bucket(config.bucket.value()) {
        wrong(&config.bucket, "there can be no bucket", "write its name alone, and folders in `prefix`");
    }
    let names = |names: &s3::Names| names.include.iter().chain(&names.exclude).cloned().collect::<Vec<_>>();
    for account in names(&config.accounts).iter().chain(&config.owner) {
        let digits = account.value();
        if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            wrong(account, "there can be no account", "write its 12 digits");
        }
    }
    for region in names(&config.regions) {
        // New ones come, so the names are not known; how they look is.
        let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !region.value().contains('-') || !region.value().bytes().all(is_region) {
            wrong(&region, "there can be no region", "write it as in eu-west-1");
        }
    }
    for kind in names(&config.kinds).iter().filter(|kind| !KINDS.contains(&kind.value().as_str())) {
        wrong(kind, "there is no kind", &format!("expected one of {}", KINDS.join(", ")));
    }
    if !(1..=86_400).contains(&config.every.get().as_secs()) {
        problems.push(Problem::error(config.every.span(), "`every` is out of range", "write 1 s to 1 d"));
    }
    check_range(("since", &config.since), config.until.as_ref(), now, problems);
    check_aws(&config.aws, problems);
}

/// Checks a queue.
pub(super) fn check_queue(config: &sqs::Config, problems: &mut Vec<Problem>) {
    if !is_url(config.queue_url.value()) {
        let message = format!("there can be no queue at `{}`", config.queue_url.value());
        let label = "write its URL: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";
        problems.push(Problem::error(config.queue_url.span(), message, label));
    }
    for bucket in config.buckets.iter().filter(|bucket| !is_bucket(bucket.value())) {
        let message = format!("there can be no bucket `{}`", bucket.value());
        problems.push(Problem::error(bucket.span(), message, "write its name alone"));
    }
    if !(2..=11 * 3600).contains(&config.lease.get().as_secs()) {
        let message = "`lease` has to be from 2 s to 11 h";
        problems.push(Problem::error(config.queue_url.span(), message, "of this queue"));
    }
    check_aws(&config.aws, problems);
}

/// Checks a stream.
pub(super) fn check_stream(config: &kinesis::Config, now: Timestamp, problems: &mut Vec<Problem>) {
    let stream = config.stream.value();
    let is_arn = stream.starts_with("arn:") && stream.contains(":kinesis:") && stream.contains(":stream/");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !is_arn && (stream.is_empty() || stream.len() > 128 || !stream.bytes().all(is_name)) {
        let message = format!("there can be no stream `{stream}`");
        let label = "write its name, or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";
        problems.push(Problem::error(config.stream.span(), message, label));
    }
    if let kinesis::Begin::At(since) = config.from.value() {
        check_begin("from", &At::new(*since, config.from.span()), now, problems);
    }
    if let Some(leases) = &config.leases {
        let table = leases.table.value();
        if !(3..=255).contains(&table.len()) || !table.bytes().all(is_name) {
            let message = format!("there can be no table `{table}`");
            problems.push(Problem::error(
                leases.table.span(),
                message,
                "write its name: 3 to 255 of A-Z a-z 0-9 _ . -",
            ));
        }
        if !kinesis::LASTS.contains(&leases.duration.get()) {
            let message = "`duration` is out of range";
            problems.push(Problem::error(leases.duration.span(), message, "write 2 s to 10 min"));
        }
    }
    check_aws(&config.aws, problems);
}

pub(super) fn check_aws(aws: &Aws, problems: &mut Vec<Problem>) {
    if let (None, Some(id)) = (&aws.role_arn, &aws.external_id) {
        let message = "`external_id` without `role_arn` does nothing";
        problems.push(Problem::warning(id.span(), message, "add the role that asks for it"));
    }
    if let Some(role) = &aws.role_arn
        && !(role.value().starts_with("arn:") && role.value().contains(":role/"))
    {
        let message = format!("there can be no role `{}`", role.value());
        problems.push(Problem::error(role.span(), message, "write arn:aws:iam::ACCOUNT:role/NAME"));
    }
    if let Some(endpoint) = &aws.endpoint
        && !is_url(endpoint.value())
    {
        let message = format!("there can be no endpoint `{}`", endpoint.value());
        problems.push(Problem::error(endpoint.span(), message, "begin it with https:// or http://"));
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// A name, or the ARN of an access point.
fn is_bucket(text: &str) -> bool {
    let is_access_point = text.starts_with("arn:") && text.contains("accesspoint/");
    is_access_point || !(text.is_empty() || text.contains(['/', ':']))
}
