//! What the engine does as time passes.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::encode::compress::Compressor;
use crate::encode::packer::Due;
use crate::pipeline::line::Pipeline;
use crate::pipeline::pool::Pool;
use crate::pipeline::watched::Pulse;
use crate::transform::Transform as _;

/// How often transforms are told the time, and chunks are looked at for their age.
const TICK: Duration = Duration::from_secs(1);
/// How often old rejects are tidied away.
const TIDY: Duration = Duration::from_secs(3600);

/// Tells transforms the time, sends chunks that are old enough, tidies rejects.
///
/// `ends`: a source ends when all that it lent is settled, so it is not waited for chunks to be old enough when no more work
/// comes.
pub(super) async fn tick(
    pipelines: Vec<Arc<Pipeline>>,
    pool: Arc<Pool>,
    clock: Clock,
    pulse: Arc<Pulse>,
    ends: bool,
) {
    let mut tidied = clock.now();
    let mut told = clock.now();
    let mut worked = 0;
    loop {
        tokio::time::sleep(TICK).await;
        pulse.beat();
        let now = clock.now();
        let before = std::mem::replace(&mut worked, pool.worked());
        let waits = ends && worked == before && pool.is_idle();
        let due = move |pipeline: &Pipeline, sink: usize| {
            let packer = &pipeline.sinks[sink].packer;
            if waits {
                return packer.oldest().map(|_| Due::All);
            }
            let age = i64::try_from(packer.packing().max_age.as_nanos()).unwrap_or(i64::MAX);
            let before = Timestamp(now.0.saturating_sub(age));
            packer.oldest().filter(|oldest| *oldest <= before).map(|_| Due::OpenedBefore(before))
        };
        let is_due =
            |pipeline: &Arc<Pipeline>| (0..pipeline.sinks.len()).any(|sink| due(pipeline, sink).is_some());
        if pipelines.iter().any(is_due) {
            // Compression is CPU work; it may not run on the reactor.
            let pool = pool.clone();
            let send = move || pool.send_due(&mut Compressor::default(), due);
            let _ = tokio::task::spawn_blocking(send).await;
        }
        if pool.is_idle() {
            pool.clear_spare();
        }
        if now.since(told) >= Duration::from_secs(1) {
            told = now;
            for step in pipelines.iter().flat_map(|pipeline| &pipeline.steps) {
                step.transform.tick(now);
            }
        }
        if now.since(tidied) >= TIDY {
            tidied = now;
            if let Some(pipeline) = pipelines.first() {
                let rejects = pipeline.rejects.clone();
                let removed = tokio::task::spawn_blocking(move || rejects.tidy(now)).await.unwrap_or(0);
                if removed > 0 {
                    tracing::warn!(removed, "rejects older than `rejects.max_age` were deleted");
                }
            }
        }
    }
}
