//! Standard input: one object, lent once. It cannot be lent again, so what fails of it is named at the end.

use crate::ack::{DeliveryId, Reached, Settled, Verdict};
use crate::source::piped::Piped;
use crate::source::{Body, Delivery, Origin, new_id};

/// What became of it.
pub(super) enum Stdin {
    /// It is not read here, or no longer.
    Done,
    /// Not lent yet.
    Unread(Piped),
    /// On loan.
    Lent(DeliveryId),
}

impl Stdin {
    /// Lends it, if it was not lent yet.
    pub(super) fn lend(&mut self) -> Option<Delivery> {
        if !matches!(self, Stdin::Unread(_)) {
            return None;
        }
        let id = new_id();
        let Stdin::Unread(piped) = std::mem::replace(self, Stdin::Lent(id)) else { return None };
        Some(Delivery {
            id,
            identity: "".into(),
            origin: Origin { address: "-".into(), ..Origin::default() },
            body: Body::Stream(piped),
            failures: 0,
            growing: false,
            again: None,
            // Nothing of it is lent again, so what is settled can be told at once.
            from: Some(Reached::default()),
        })
    }

    /// Whether it is not lent, or on loan.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Stdin::Done)
    }

    /// A loan has ended. Whether it was this one, and records of it are lost.
    pub(super) fn settled(&mut self, settled: &Settled) -> bool {
        let mine = matches!(self, Stdin::Lent(id) if *id == settled.id);
        if mine {
            *self = Stdin::Done;
        }
        mine && settled.verdict == Verdict::Failed
    }
}
