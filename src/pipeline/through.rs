//! One record through the transforms of a chain: the same steps in a run, in `explain` and in tests.

use bytes::Bytes;

use super::line::Step;
use crate::ack::DeliveryId;
use crate::clock::Timestamp;
use crate::pattern::compile::MatchScratch;
use crate::record::Record;
use crate::transform::{Context, Decision, Loan, Local, Transform as _};

/// What a record has with it on its way.
pub struct Way<'a> {
    /// The delivery it belongs to.
    pub delivery: DeliveryId,
    /// The same, where it is a source's.
    pub loan: Option<Loan<'a>>,
    /// The time.
    pub now: Timestamp,
    /// The top-level key of what is added.
    pub field: &'a str,
    /// Where transforms put records they make.
    pub added: &'a mut Vec<Bytes>,
    /// Memory for matching patterns.
    pub matching: &'a mut MatchScratch,
    /// What each transform of the program keeps on this thread.
    pub locals: &'a mut [Local],
}

/// Looks on while a record goes through. A run has nobody looking on, and pays nothing for it.
pub trait Onlooker {
    /// The step is about to decide.
    fn before(&mut self, step: &Step, record: &Record<'_>, context: &mut Context<'_>) {
        let _ = (step, record, context);
    }

    /// The step has decided.
    fn after(&mut self, step: &Step, record: &Record<'_>, decision: &Decision) {
        let _ = (step, record, decision);
    }
}

impl Onlooker for () {}

/// Takes a record through the steps from `first` on. Returns where it ended and how; `None`: it went through.
#[inline]
pub fn through<O: Onlooker>(
    steps: &[Step],
    first: usize,
    record: &mut Record<'_>,
    way: &mut Way<'_>,
    onlooker: &mut O,
) -> Option<(usize, Decision)> {
    for (at, step) in steps.iter().enumerate().skip(first) {
        let mut context = Context {
            delivery: way.delivery,
            loan: way.loan,
            now: way.now,
            field: way.field,
            added: way.added,
            matching: way.matching,
            local: &mut way.locals[step.global],
        };
        onlooker.before(step, record, &mut context);
        let decision = step.transform.apply(record, &mut context);
        onlooker.after(step, record, &decision);
        if ends(&decision, record) {
            return Some((at, decision));
        }
    }
    None
}

/// Whether a decision ends a record's way. Whatever a transform thinks, a protected record is never thinned.
#[inline]
pub fn ends(decision: &Decision, record: &Record<'_>) -> bool {
    let thins = matches!(decision, Decision::Sample | Decision::RollUp);
    *decision != Decision::Keep && !(thins && record.protection.any())
}
