//! The table of metrics: every name, its help, and where its value is read. Each part of the program adds its rows here.
//!
//! Nothing is counted for a metric alone: at each scrape the engine is looked at ([`Snapshot`]) and every row reads what
//! it shows. Labels are names of the configuration, never text of events. A name that ends in `_total` is a counter, the
//! others are gauges.

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::pipeline::watched::{PipelineShot, SinkShot, Snapshot, SourceShot, StepShot};
use crate::source::figures::{LIST_PRICE, ShardLag};
use crate::source::firehose::Outcome;

/// One metric.
pub struct Row {
    /// Its name, by Prometheus's conventions: base units, unit at the end.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Where its value is read.
    pub read: Read,
}

/// Reads a value of a whole thing; `None`: it has none now.
type Of<T> = fn(&T) -> Option<f64>;

/// What a metric is read of, which is also what its labels are.
#[derive(Clone, Copy)]
pub enum Read {
    /// The build: label `version`.
    Build,
    /// The program: no label.
    Program(Of<Snapshot>),
    /// Each pipeline: label `pipeline`. The second argument is the moment.
    Pipeline(fn(&PipelineShot, &Snapshot) -> Option<f64>),
    /// Each source of each pipeline: labels `pipeline` and `source`.
    Source(Of<SourceShot>),
    /// The shards of each source: labels `pipeline`, `source` and `shard`; of many shards, those farthest behind.
    Shard(fn(&ShardLag) -> f64),
    /// The same by outcome: labels `pipeline`, `source` and `outcome`.
    SourceBy(fn(&SourceShot) -> Vec<(&'static str, u64)>),
    /// Each transform of each pipeline: labels `pipeline` and `transform`.
    Transform(Of<StepShot>),
    /// Each sink of each pipeline: labels `pipeline` and `sink`.
    Sink(Of<SinkShot>),
    /// The same by reason: labels `pipeline`, `sink` and `reason`.
    SinkBy(fn(&SinkShot) -> Vec<(&'static str, u64)>),
}

use Read::{Build, Pipeline, Program, Shard, Sink, SinkBy, Source, SourceBy, Transform};

/// Shards of a source with values of their own, at most.
const MOST_SHARDS: usize = 200;

const fn row(name: &'static str, help: &'static str, read: Read) -> Row {
    Row { name, help, read }
}

/// All metrics.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("trailship_build_info", "The version; always 1.", Build),
    row("process_start_time_seconds", "When the program started, seconds since 1970.", Program(|all| seconds(all.began.0))),
    row("trailship_ready", "Whether everything that is configured can be read and shipped (1), as /readyz says.", Program(|all| n(u64::from(all.ready)))),
    row("trailship_memory_limit_bytes", "The budget of everything in flight (`memory`).", Program(|all| n(all.memory as u64))),
    row("trailship_rejects_stored_bytes", "Bytes in rejects.", Program(|all| n(all.rejects))),
    row("trailship_rejects_limit_bytes", "Bytes that rejects may take (`rejects.max_size`).", Program(|all| n(all.most_rejects))),

    row("trailship_records_read_total", "Records found in settled deliveries; a damaged range counts as one.", Pipeline(|at, _| n(at.totals.books.read))),
    row("trailship_records_added_total", "Records that transforms made.", Pipeline(|at, _| n(at.totals.books.added))),
    row("trailship_records_filtered_total", "Records left out by filters, and digests.", Pipeline(|at, _| n(at.totals.books.filtered))),
    row("trailship_records_sampled_total", "Records left out by sampling.", Pipeline(|at, _| n(at.totals.books.sampled))),
    row("trailship_records_duplicate_total", "Records left out as copies.", Pipeline(|at, _| n(at.totals.books.duplicate))),
    row("trailship_records_rolled_up_total", "Records left out because a summary stands for them.", Pipeline(|at, _| n(at.totals.books.rolled_up))),
    row("trailship_records_rejected_total", "Records put into rejects before any sink saw them.", Pipeline(|at, _| n(at.totals.books.rejected))),
    row("trailship_records_offered_total", "Records handed to the sinks. read + added = filtered + sampled + duplicate + rolled up + rejected + offered.", Pipeline(|at, _| n(at.totals.books.offered))),
    row("trailship_records_unrouted_total", "Of the offered: matched no sink.", Pipeline(|at, _| n(at.totals.books.unrouted))),
    row("trailship_records_given_back_total", "Records read of deliveries that failed and are lent again; in none of the other columns.", Pipeline(|at, _| n(at.totals.given_back.read))),
    row("trailship_records_unprotected_total", "Records that an exception (`protect.except`) left unprotected.", Pipeline(|at, _| n(at.excepted))),
    row("trailship_digests_left_out_total", "Of the filtered: digests and control messages.", Pipeline(|at, _| n(at.totals.left_out))),
    row("trailship_deliveries_settled_total", "Deliveries that ended well: delivered or in rejects.", Pipeline(|at, _| n(at.totals.deliveries))),
    row("trailship_deliveries_failed_total", "Deliveries that failed and were given back to their source.", Pipeline(|at, _| n(at.totals.failed))),
    row("trailship_deliveries_on_loan", "Deliveries that wait for a worker or for the sinks.", Pipeline(|at, _| n(at.on_loan as u64))),
    row("trailship_delivery_oldest_age_seconds", "How long the oldest delivery has been waiting to be settled; 0: none waits.", Pipeline(|at, _| Some(at.oldest.map_or(0.0, |age| age.as_secs_f64())))),
    row("trailship_newest_event_timestamp_seconds", "Event time of the newest record delivered, seconds since 1970; at most the time of its delivery.", Pipeline(|at, _| at.totals.books.newest.map(|time| time as f64))),
    row("trailship_lag_seconds", "How old the newest record delivered is now, by its event time.", Pipeline(lag)),
    row("trailship_read_stored_bytes_total", "Bytes of objects read, as stored.", Pipeline(|at, _| n(at.totals.stored_bytes))),
    row("trailship_read_bytes_total", "Bytes of objects read, decompressed.", Pipeline(|at, _| n(at.totals.bytes))),
    row("trailship_memory_in_flight_bytes", "Bytes of objects, windows and payloads held.", Pipeline(|at, _| n(at.held as u64))),
    row("trailship_answers_forgotten_total", "Answers of sinks forgotten early: those records may arrive twice.", Pipeline(|at, _| n(at.forgotten))),

    row("trailship_source_newest_event_timestamp_seconds", "Event time of the newest record that came by this source, copies too, seconds since 1970.", Source(|at| Some(at.road?.newest as f64))),
    row("trailship_source_delay_seconds", "How old the newest record of its last delivery was when that was settled: how slow this road is.", Source(|at| Some(at.road?.delay as f64))),
    row("trailship_source_partitions", "Partitions of a bucket (account, kind, region) that are listed.", Source(|at| n(at.figures.partitions?))),
    row("trailship_source_lists_total", "LIST requests made.", Source(|at| n(at.figures.lists?))),
    row("trailship_source_lists_per_month", "Estimate: LIST requests a month at the pace of now.", Source(|at| at.figures.lists_a_month)),
    row("trailship_source_lists_dollars_per_month", "Estimate: what these cost, in us-east-1.", Source(|at| Some(at.figures.lists_a_month? * LIST_PRICE))),
    row("trailship_source_other_keys_total", "Keys listed or told of that are no log objects; listed ones of the last hours count at each look.", Source(|at| n(at.figures.others?))),
    row("trailship_source_late_objects_total", "Objects that came later than they were looked for, and were found by a sweep.", Source(|at| n(at.figures.late?))),
    row("trailship_source_lateness_seconds", "The largest lateness of an object: so far is looked back at each poll.", Source(|at| n(at.figures.lateness?))),
    row("trailship_source_messages_held", "Messages of a queue that are ours now.", Source(|at| n(at.figures.held?))),
    row("trailship_source_messages_left_total", "Times a message was left on the queue: not understood, or of a bucket that is not read.", Source(|at| n(at.figures.left?))),
    row("trailship_source_shards", "Shards of a stream that are read.", Source(|at| n(at.figures.shards?))),
    row("trailship_source_shard_lag_seconds", "How far what is settled of a shard is behind its newest record; of many shards, those farthest behind.", Shard(|at| at.seconds)),
    row("trailship_source_lag_seconds", "The largest lag of a stream's shards.", Source(|at| at.figures.shard_lag())),
    row("trailship_source_stream_records_total", "Records of a stream that were read; an aggregated one counts once.", Source(|at| n(at.figures.stream_records?))),
    row("trailship_source_trimmed_total", "Times that a stream had trimmed records before they were read: they are lost.", Source(|at| n(at.figures.trimmed?))),
    row("trailship_source_throttled_total", "Requests refused because too much was asked, by us and others together.", Source(|at| n(at.figures.throttled?))),
    row("trailship_source_requests_total", "Requests made for events of a log group or of the event history.", Source(|at| n(at.figures.requests?))),
    row("trailship_source_behind_seconds", "How long ago everything that had happened was settled, in the log group or region that is farthest behind.", Source(|at| n(at.figures.behind?))),
    row("trailship_source_events_seen_again_total", "Events that were read again and left out: overlaps are.", Source(|at| n(at.figures.seen_again?))),
    row("trailship_source_late_events_total", "Events that appeared after they were looked for, and were found all the same.", Source(|at| n(at.figures.late_events?))),
    row("trailship_source_ids_forgotten_total", "Ids of events forgotten too early: those events may be shipped again.", Source(|at| n(at.figures.ids_forgotten?))),

    row("trailship_source_endpoint_requests_total", "Requests that came to an endpoint, by how they ended: `delivered` and `remembered` were answered 200.", SourceBy(outcomes)),
    row("trailship_source_endpoint_bytes_total", "Bytes of their bodies, as sent.", Source(|at| n(at.figures.endpoint?.bytes))),
    row("trailship_source_endpoint_forgotten_total", "Requests forgotten before their time, because there were too many: sent again, they are shipped again.", Source(|at| n(at.figures.endpoint?.forgotten))),
    row("trailship_source_endpoint_connections", "Connections open at an endpoint.", Source(|at| n(at.figures.endpoint?.connections))),
    row("trailship_source_endpoint_connections_closed_total", "Connections closed because their peer had too many.", Source(|at| n(at.figures.endpoint?.turned_away))),

    row("trailship_transform_records_filtered_total", "Records it left out on purpose.", Transform(|at| n(at.books.filtered))),
    row("trailship_transform_records_sampled_total", "Records it left out, and the kept ones stand for them.", Transform(|at| n(at.books.sampled))),
    row("trailship_transform_records_duplicate_total", "Records it left out as copies.", Transform(|at| n(at.books.duplicate))),
    row("trailship_transform_records_rolled_up_total", "Records it left out because a summary stands for them.", Transform(|at| n(at.books.rolled_up))),
    row("trailship_transform_records_rejected_total", "Records it put into rejects.", Transform(|at| n(at.books.rejected))),
    row("trailship_transform_unknown_accounts_total", "Records whose account is not in its table.", Transform(|at| n(at.unknown_accounts?))),
    row("trailship_transform_ids_remembered", "Ids that `dedupe` remembers.", Transform(|at| n(at.ids?.0))),
    row("trailship_transform_ids_forgotten_total", "Ids that `dedupe` forgot before its window had passed: copies of them are shipped.", Transform(|at| n(at.ids?.1))),

    row("trailship_sink_records_not_matched_total", "Offered records that its `match` left out.", Sink(|at| n(at.books.not_matched))),
    row("trailship_sink_records_delivered_total", "Records that it has. offered = not matched + delivered + rejected.", Sink(|at| n(at.books.delivered))),
    row("trailship_sink_records_rejected_total", "Records that it refused for good: they are in rejects.", Sink(|at| n(at.books.rejected))),
    row("trailship_sink_records_failed_total", "Records that it did not take and whose delivery is lent again; not among the offered.", Sink(|at| n(at.failed))),
    row("trailship_sink_payloads_total", "Payloads that it took.", Sink(|at| n(at.meter.payloads))),
    row("trailship_sink_encoded_bytes_total", "Bytes of these payloads before compression.", Sink(|at| n(at.meter.raw_bytes))),
    row("trailship_sink_sent_bytes_total", "Bytes of these payloads as they were sent.", Sink(|at| n(at.meter.sent_bytes))),
    row("trailship_sink_retries_total", "Times it did not take a payload, which is then tried again.", Sink(|at| n(at.meter.retries))),
    row("trailship_sink_payloads_retrying", "Payloads that are being tried again now.", Sink(|at| n(at.meter.retrying))),
    row("trailship_sink_payloads_paused", "Payloads that wait because the sink is paused: its credentials or settings are refused.", Sink(|at| n(at.meter.paused))),
    row("trailship_sink_requests_total", "Requests sent.", Sink(|at| n(at.delivery.as_ref()?.requests))),
    row("trailship_sink_request_bytes_total", "Bytes of their bodies, as sent.", Sink(|at| n(at.delivery.as_ref()?.request_bytes))),
    row("trailship_sink_request_seconds_total", "How long their answers took, together.", Sink(|at| Some(at.delivery.as_ref()?.request_time.as_secs_f64()))),
    row("trailship_sink_request_wait_seconds_total", "How long requests waited for their turn, together.", Sink(|at| Some(at.delivery.as_ref()?.waited.as_secs_f64()))),
    row("trailship_sink_concurrency_limit", "Requests that may be on their way at a time, as the server's answers allow.", Sink(|at| n(at.delivery.as_ref()?.limit))),
    row("trailship_sink_refusals_total", "Requests and single records that were not taken, by status or what happened.", SinkBy(|at| at.delivery.as_ref().map(|delivery| delivery.refusals.clone()).unwrap_or_default())),
    row("trailship_sink_records_retried_total", "Records of requests taken in part that were sent again.", Sink(|at| n(at.delivery.as_ref()?.retried_records))),
    row("trailship_sink_documents_changed_total", "Values of events that were wrapped, moved beside or renamed so that an index takes them, by what was done.", SinkBy(|at| at.delivery.as_ref().map(|delivery| delivery.changes.clone()).unwrap_or_default())),
    row("trailship_sink_possible_duplicates_total", "Records sent again though the server may have them: no answer came.", Sink(|at| n(at.delivery.as_ref()?.possible_duplicates))),
    row("trailship_sink_unconfirmed_records", "Records that the server has received and has not confirmed yet (Splunk: not yet indexed).", Sink(|at| n(at.delivery.as_ref()?.unconfirmed))),
    row("trailship_sink_paths_invalid_total", "Records with `_invalid` in their path.", Sink(|at| n(at.paths?.invalid))),
    row("trailship_sink_paths_overflow_total", "Records with `_overflow` in their path: too many different ones.", Sink(|at| n(at.paths?.overflow))),
    row("trailship_sink_paths_out_of_range_total", "Records with `out-of-range` in their path: too old, or of the future.", Sink(|at| n(at.paths?.out_of_range))),
];

#[expect(clippy::unnecessary_wraps, reason = "the rows of the table say `Option`")]
fn n(number: u64) -> Option<f64> {
    Some(number as f64)
}

#[expect(clippy::unnecessary_wraps, reason = "the rows of the table say `Option`")]
fn seconds(nanos: i64) -> Option<f64> {
    Some(nanos as f64 / 1e9)
}

fn outcomes(at: &SourceShot) -> Vec<(&'static str, u64)> {
    let names = Outcome::ALL.map(Outcome::name);
    at.figures.endpoint.map(|requests| names.into_iter().zip(requests.outcomes).collect()).unwrap_or_default()
}

fn lag(at: &PipelineShot, all: &Snapshot) -> Option<f64> {
    let newest = at.totals.books.newest?;
    Some((all.now.0 as f64 / 1e9 - newest as f64).max(0.0))
}

impl Row {
    /// The names of its labels.
    pub const fn labels(&self) -> &'static [&'static str] {
        match self.read {
            Build => &["version"],
            Program(_) => &[],
            Pipeline(_) => &["pipeline"],
            Source(_) => &["pipeline", "source"],
            Shard(_) => &["pipeline", "source", "shard"],
            SourceBy(_) => &["pipeline", "source", "outcome"],
            Transform(_) => &["pipeline", "transform"],
            Sink(_) => &["pipeline", "sink"],
            SinkBy(_) => &["pipeline", "sink", "reason"],
        }
    }

    /// Whether it only grows.
    pub fn is_counter(&self) -> bool {
        self.name.ends_with("_total")
    }

    /// Its values now.
    fn family(&self, all: &Snapshot) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(if self.is_counter() { MetricType::COUNTER } else { MetricType::GAUGE });
        let mut values = Vec::new();
        let mut add = |labels: &[&str], value: Option<f64>| {
            values.extend(value.map(|value| self.metric(labels, value)));
        };
        match self.read {
            Build => add(&[env!("CARGO_PKG_VERSION")], Some(1.0)),
            Program(read) => add(&[], read(all)),
            Pipeline(read) => all.pipelines.iter().for_each(|at| add(&[&at.name], read(at, all))),
            Source(read) => {
                for at in &all.pipelines {
                    at.sources.iter().for_each(|source| add(&[&at.name, &source.name], read(source)));
                }
            }
            Shard(read) => {
                for at in &all.pipelines {
                    for source in &at.sources {
                        for lag in source.figures.farthest_behind(MOST_SHARDS) {
                            add(&[&at.name, &source.name, &lag.shard], Some(read(lag)));
                        }
                    }
                }
            }
            SourceBy(read) => {
                for (at, source) in
                    all.pipelines.iter().flat_map(|at| at.sources.iter().map(move |source| (at, source)))
                {
                    for (value, number) in read(source) {
                        add(&[&at.name, &source.name, value], n(number));
                    }
                }
            }
            Transform(read) => {
                for at in &all.pipelines {
                    at.steps.iter().for_each(|step| add(&[&at.name, &step.name], read(step)));
                }
            }
            Sink(read) => {
                for at in &all.pipelines {
                    at.sinks.iter().for_each(|sink| add(&[&at.name, &sink.name], read(sink)));
                }
            }
            SinkBy(read) => {
                for (at, sink) in
                    all.pipelines.iter().flat_map(|at| at.sinks.iter().map(move |sink| (at, sink)))
                {
                    for (value, number) in read(sink) {
                        add(&[&at.name, &sink.name, value], n(number));
                    }
                }
            }
        }
        family.set_metric(values);
        family
    }

    fn metric(&self, labels: &[&str], value: f64) -> Metric {
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::from_label(self.labels().iter().zip(labels).map(pair).collect());
        if self.is_counter() {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

/// All metrics in Prometheus's text format.
///
/// # Errors
/// What the encoder says; it does not happen for the table above.
pub fn exposition(all: &Snapshot) -> Result<String, prometheus::Error> {
    let families = TABLE.iter().map(|row| row.family(all));
    let families: Vec<MetricFamily> = families.filter(|family| !family.get_metric().is_empty()).collect();
    TextEncoder::new().encode_to_string(&families)
}

#[cfg(test)]
mod tests;
