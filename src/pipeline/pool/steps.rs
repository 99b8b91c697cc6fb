//! A pool without threads: a simulation decides who does what next.

use super::{Begun, Pool, wake};
use crate::pipeline::hands::Hands;
use crate::pipeline::job::Ran;

impl Pool {
    /// Takes the next job, as a worker would.
    pub(in crate::pipeline) fn begin(&self) -> Option<Begun> {
        self.take(&mut self.lock())
    }

    /// Works on a job as far as it goes. Returns it when it only gave way to others: then it is still in this worker's
    /// hand, as it would be on a thread that the system holds up.
    pub(in crate::pipeline) fn step(
        &self,
        mut begun: Begun,
        hands: &mut Hands,
        gave_way: impl FnOnce() -> bool,
    ) -> Option<Begun> {
        begun.epoch = self.freed.of(begun.lane);
        let left = match begun.job.run(hands) {
            Ran::Done => None,
            Ran::NoMemory(job) if gave_way() => return Some(Begun { job: *job, ..begun }),
            Ran::NoMemory(job) => Some(self.refused(*job, hands)),
        };
        self.put_by(begun.lane, begun.epoch, left);
        None
    }

    /// What a worker does when no lane has work; and it has slept.
    pub(in crate::pipeline) fn nothing_to_do(&self, hands: &mut Hands) {
        let (resting, draining) = {
            let state = self.lock();
            (state.lanes.iter().any(|lane| lane.resting), state.draining)
        };
        self.idle(hands, draining);
        if resting {
            wake(&mut self.lock());
        }
    }
}
