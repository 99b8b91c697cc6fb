//! Whether `memory` has room for what the configuration asks for.

use std::ops::Range;

use crate::config::at::At;
use crate::config::problem::Problem;
use crate::config::resolve::{Plan, Resolved};
use crate::config::{ByteSize, Globals, Raw, SinkConfig, SourceConfig};
use crate::decode::Limits;
use crate::encode::packer::Packer;
use crate::pipeline::parts;
use crate::sink::{AnySink, stdout};

/// Requests above this size are named where `memory` is too small, bytes.
const LARGE_REQUEST: u64 = 32 << 20;

/// Returns what a pipeline must be able to hold of records and payloads, whatever comes, in bytes.
fn in_flight(raw: &Raw, plan: &Plan) -> u64 {
    let sources = plan.sources.iter().filter_map(|index| raw.sources.get(*index)?.config.whole());
    let limits = sources.map(SourceConfig::limits).reduce(parts::widest).unwrap_or_default();
    // Where a record may be larger than its object, that is said already.
    let limits =
        Limits { record: limits.record.min(usize::try_from(limits.object).unwrap_or(usize::MAX)), ..limits };
    let sinks = plan.sinks.iter().filter_map(|index| raw.sinks.get(*index)?.config.whole());
    let mut packings: Vec<_> = sinks.map(AnySink::packing).collect();
    if raw.sinks.is_empty() {
        packings.push(AnySink::packing(&SinkConfig::Stdout(stdout::Config::default())));
    }
    parts::reserve_of(&limits, packings.iter()).total() as u64
}

/// Returns the places where the size of requests is stated, each with what one may need, in bytes.
fn requests(raw: &Raw) -> Vec<(Range<usize>, u64)> {
    let sinks = raw.sinks.iter().filter_map(|named| named.config.whole());
    let request = |config: &SinkConfig| {
        Some((config.batch()?.place()?, Packer::reserve(&AnySink::packing(config)) as u64))
    };
    sinks.filter_map(request).collect()
}

/// Compares `memory` with what is configured: each request alone, then all there is.
pub(super) fn check(raw: &Raw, plans: &[Plan], globals: &Globals, problems: &mut Vec<Problem>) {
    let memory = &globals.memory;
    let requests = requests(raw);
    let before = problems.len();
    for (span, needed) in requests.iter().filter(|(_, needed)| *needed > memory.get()) {
        let message =
            format!("a request may need {}, and `memory` is {}", in_mebibytes(*needed), memory.value());
        problems.push(Problem::error(span.clone(), message, "write less here, or more memory = \"…\""));
    }
    if problems.len() > before {
        return;
    }
    let reserve = |plan: &Plan| in_flight(raw, plan).saturating_add(remembered(raw, plan));
    let reserves: Vec<_> = plans.iter().map(|plan| (plan.name.value().as_str(), reserve(plan))).collect();
    if let Some(mut problem) = too_small(memory, &reserves) {
        for (span, needed) in requests.into_iter().filter(|(_, needed)| *needed > LARGE_REQUEST) {
            problem = problem.and(span, format!("a request may need {}", in_mebibytes(needed)));
        }
        problems.push(problem);
    }
}

/// A number of bytes, for people: whole mebibytes, not less.
fn in_mebibytes(bytes: u64) -> ByteSize {
    ByteSize::bytes(bytes.div_ceil(1 << 20).saturating_mul(1 << 20))
}

/// Returns what the transforms of a pipeline may hold beside what is in flight, in bytes.
fn remembered(raw: &Raw, plan: &Plan) -> u64 {
    let transforms = plan.transforms.iter().filter_map(|index| raw.transforms.get(*index)?.config.whole());
    transforms.fold(0, |sum, config| sum.saturating_add(config.memory()))
}

/// Compares `memory` with what the pipelines hold in reserve, each a name and bytes.
///
/// The wiring calls it again, with the sinks that are implied.
fn too_small(memory: &At<ByteSize>, reserves: &[(&str, u64)]) -> Option<Problem> {
    let needed = reserves.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if memory.get() >= needed {
        return None;
    }
    let needed = in_mebibytes(needed);
    let message = format!("`memory` is below what the pipelines hold in reserve, {needed}");
    let label = match memory.span().is_empty() {
        true => format!("it is {} by default: add memory = \"{needed}\" or more", memory.value()),
        false => format!("write at least \"{needed}\""),
    };
    let problem = Problem::error(memory.span(), message, label);
    let each =
        reserves.iter().map(|(name, bytes)| format!("{name} {}", in_mebibytes(*bytes))).collect::<Vec<_>>();
    Some(problem.note(format!(
        "a reserve is one largest window, one payload for each sink, and what `dedupe` remembers: {}",
        each.join(", ")
    )))
}

impl Resolved {
    /// Compares `memory` with the reserves of the pipelines: what is in flight and what is remembered, by pipeline.
    pub fn check_memory(&self, reserves: &[(&str, u64)]) -> Option<Problem> {
        too_small(&self.globals.memory, reserves)
    }
}
