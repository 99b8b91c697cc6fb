//! `enqueue`: lists a range of time of a bucket into a queue, as ordinary notifications, for many workers to share.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::progress::Progress;
use super::text::count;
use super::{Outcome, Surroundings, Wrong};
use crate::ack::{Note, Settled, Verdict};
use crate::aws::{Aws, Refusal};
use crate::config::Since;
use crate::pipeline::books::Books;
use crate::pipeline::outcomes::DeliveryKey;
use crate::pipeline::room::Room;
use crate::source::piped::Pipe;
use crate::source::s3::{Config, S3};
use crate::source::{Build, Delivery, Source as _};
use crate::state::Store;

/// Messages of a request.
const BATCH: usize = 10;
/// What stays as it is in the key of a notification.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');
/// How often a message is sent before it is given up.
const TRIES: u32 = 8;

/// Lists a range of time of a bucket into a queue, for many workers to share
///
/// Each object becomes an ordinary S3 notification, so that any number of `run`s with an `sqs` source ship them. With
/// `--data-dir` what was sent is remembered, and the same command goes on where it ended.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  trailship enqueue s3://acme-org-trail --since 2026-01-01 --until 2026-02-01 \\
      --queue https://sqs.eu-west-1.amazonaws.com/123456789012/backfill --data-dir ./backfill")]
pub(super) struct Args {
    /// s3://BUCKET[/PREFIX]
    #[arg(value_name = "WHERE")]
    place: String,
    /// The queue's URL
    #[arg(short, long, value_name = "URL")]
    queue: String,
    /// From when on, by the time in the names: a duration (7d), a time or `beginning`
    #[arg(short, long, value_name = "WHEN", value_parser = super::text::since)]
    since: Since,
    /// Until when; without it: now
    #[arg(short, long, value_name = "WHEN", value_parser = super::text::since)]
    until: Option<Since>,
    /// Messages in a second, at most
    #[arg(short, long, value_name = "NUMBER", default_value = "1000")]
    rate: NonZeroU32,
    /// Where to remember what was sent
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &Args, around: &Surroundings) -> anyhow::Result<Outcome> {
    let place = args.place.strip_prefix("s3://").filter(|place| !place.is_empty());
    let place =
        place.ok_or_else(|| Wrong(format!("`{}` is no bucket: write s3://BUCKET[/PREFIX]", args.place)))?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let mut config: Config = toml::from_str("bucket = \"\"")?;
    config.bucket = bucket.to_owned().into();
    config.prefix = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()).map(Into::into);
    config.since = args.since.into();
    config.until = args.until.map(Into::into);
    let store = Arc::new(match &args.data_dir {
        Some(data_dir) => Store::open(data_dir, &around.clock)?,
        None => Store::in_memory(&around.clock)?,
    });
    let build = Build {
        pipeline: "enqueue",
        name: bucket,
        store,
        clock: around.clock.clone(),
        once: true,
        stdin: Pipe::empty(),
        room: Room::apart(64 << 20),
    };
    let source = S3::build(&config, &build)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime.block_on(Box::pin(send(args, bucket, &source, around)))?;
    around.console.line(&format!("{} objects are on the queue", count(sent)));
    Ok(Outcome::Done)
}

async fn send(args: &Args, bucket: &str, source: &S3, around: &Surroundings) -> anyhow::Result<u64> {
    let aws = Aws::default();
    let queue = aws_sdk_sqs::Client::new(&aws.load(crate::source::sqs::region_of(&args.queue)).await);
    let mut progress = Progress::new("sending", None, &around.console, &around.clock);
    let mut pace = tokio::time::interval(Duration::from_secs(1) * 10 / args.rate.get().max(1));
    let mut sent = 0;
    while let Some(deliveries) = source.next(BATCH).await? {
        pace.tick().await;
        let settled = batch(args, bucket, &queue, deliveries).await?;
        sent += settled.len() as u64;
        source.settle(settled).await?;
        progress.at(sent, || format!("{} objects", count(sent)));
    }
    Ok(sent)
}

/// Sends messages, again and again where some were refused.
async fn batch(
    args: &Args,
    bucket: &str,
    queue: &aws_sdk_sqs::Client,
    deliveries: Vec<Delivery>,
) -> anyhow::Result<Vec<Settled>> {
    let mut left: Vec<(usize, String)> =
        deliveries.iter().map(|delivery| message(bucket, delivery)).enumerate().collect();
    let mut pause = Duration::from_millis(200);
    for _ in 0..TRIES {
        let entries = left.iter().map(|(number, body)| {
            SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(body).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        match queue.send_message_batch().queue_url(&args.queue).set_entries(Some(entries)).send().await {
            Ok(output) => {
                let failed =
                    |number: usize| output.failed().iter().any(|failed| failed.id() == number.to_string());
                left.retain(|(number, _)| failed(*number));
            }
            Err(error) => {
                let refusal = Refusal::of(&error);
                let text = refusal.advice(
                    &format!("sending to {}", args.queue),
                    &Aws::default().who(),
                    "sqs:SendMessage",
                );
                if !matches!(refusal.kind, crate::aws::Kind::Transient | crate::aws::Kind::Slow) {
                    anyhow::bail!(text);
                }
                tracing::warn!("{text}: trying again");
            }
        }
        if left.is_empty() {
            let settled = deliveries.iter().map(|delivery| Settled {
                id: delivery.id,
                key: DeliveryKey::default(),
                verdict: Verdict::Delivered,
                note: Note::None,
                books: Books::default(),
            });
            return Ok(settled.collect());
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    anyhow::bail!("{} did not take {} messages: run the same command again", args.queue, left.len())
}

/// The notification that S3 would have sent.
fn message(bucket: &str, delivery: &Delivery) -> String {
    let address = delivery.origin.address.strip_prefix("s3://").unwrap_or_default();
    let key = address.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    let tag = delivery.identity.rsplit_once('#').map_or("", |(_, tag)| tag).trim_matches('"');
    json!({
        "Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": { "name": bucket },
                "object": {
                    "key": utf8_percent_encode(key, KEY).to_string(),
                    "size": delivery.body.size(),
                    "eTag": tag,
                },
            },
        }],
    })
    .to_string()
}
