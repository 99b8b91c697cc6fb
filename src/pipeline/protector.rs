//! Protection, evaluated on every record before any transform: the engine's, whether or not anything is configured.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pattern::Pattern;
use crate::pattern::compile::{MatchScratch, PatternSet};
use crate::pattern::view::Written;
use crate::record::protect::{ProtectSlots, Protection};
use crate::record::{Record, Slots};

/// What is protected beyond the built-in reasons, and what is excepted.
#[derive(Debug, Default)]
pub struct Settings {
    /// `[protect] also`.
    pub also: Vec<Pattern>,
    /// `[protect] except`, the reasons.
    pub except_reasons: Protection,
    /// `[protect] except`, the signal families, by number; bit by bit.
    pub except_families: u64,
    /// `[protect] except`, the patterns.
    pub except: Vec<Pattern>,
}

/// Judges records.
#[derive(Debug)]
pub struct Protector {
    slots: ProtectSlots,
    set: PatternSet,
    families: usize,
    also: usize,
    except_reasons: Protection,
    except_families: u64,
    excepted: AtomicU64,
}

/// What is known of one record when everything was looked at.
struct Weighed<'s> {
    found: Protection,
    reasons: Protection,
    families: u64,
    excepted: bool,
    matched: &'s [u64],
}

/// Why a record is protected, or is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// The reasons before exceptions, without `also`.
    pub found: Protection,
    /// The reasons that count.
    pub reasons: Protection,
    /// The signal families it belongs to, bit by bit.
    pub families: u64,
    /// Those of them that `[protect] except` names.
    pub except_families: u64,
    /// Those of the reasons found that `[protect] except` names.
    pub except_reasons: Protection,
    /// The patterns of `[protect] also` that match, from 0.
    pub also: Vec<usize>,
    /// The patterns of `[protect] except` that match, from 0.
    pub except: Vec<usize>,
}

fn holds(matched: &[u64], bit: usize) -> bool {
    matched.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

impl Protector {
    /// A protector over the shipped `families` (at most 64), in their order.
    pub fn build(families: &[&Pattern], settings: &Settings, slots: &mut Slots) -> Protector {
        let all: Vec<&Pattern> =
            families.iter().take(64).copied().chain(&settings.also).chain(&settings.except).collect();
        Protector {
            slots: ProtectSlots::want(slots),
            set: PatternSet::compile(&all, slots),
            families: families.len().min(64),
            also: settings.also.len(),
            except_reasons: settings.except_reasons,
            except_families: settings.except_families,
            excepted: AtomicU64::new(0),
        }
    }

    /// Sets the record's protection and the families it belongs to.
    pub fn judge(&self, record: &mut Record<'_>, matching: &mut MatchScratch) {
        let weighed = self.weigh(record, matching);
        if weighed.excepted && !weighed.reasons.any() {
            self.excepted.fetch_add(1, Ordering::Relaxed);
        }
        (record.families, record.protection) = (weighed.families, weighed.reasons);
    }

    /// Why [`judge`](Protector::judge) decides as it does: what was found before exceptions, and which exceptions hold.
    pub fn explain(&self, record: &Record<'_>, matching: &mut MatchScratch) -> Explained {
        let weighed = self.weigh(record, matching);
        let hold = |range: Range<usize>| {
            let start = range.start;
            range.filter(|&bit| holds(weighed.matched, bit)).map(|bit| bit - start).collect()
        };
        Explained {
            found: weighed.found,
            reasons: weighed.reasons,
            families: weighed.families,
            except_families: weighed.families & self.except_families,
            except_reasons: Protection(weighed.found.0 & self.except_reasons.0),
            also: hold(self.families..self.families + self.also),
            except: hold(self.families + self.also..self.set.len()),
        }
    }

    #[inline]
    fn weigh<'s>(&self, record: &Record<'_>, matching: &'s mut MatchScratch) -> Weighed<'s> {
        let mut reasons = self.slots.read(record.index, record.buffer, &record.identity);
        let matched = self.set.matches(&Written::new(record.buffer, record.index), matching);
        let first = matched.first().copied().unwrap_or(0);
        let families = if self.families == 64 { first } else { first & ((1 << self.families) - 1) };
        if families & !self.except_families != 0 {
            reasons = reasons.with(Protection::SIGNAL);
        }
        let found = reasons;
        let mut excepted = self.except_reasons.any() && reasons.without(self.except_reasons) != reasons;
        reasons = reasons.without(self.except_reasons);
        if self.set.len() > self.families {
            let held = |range: Range<usize>| range.into_iter().any(|bit| holds(matched, bit));
            if held(self.families + self.also..self.set.len()) {
                excepted |= reasons.any();
                reasons = Protection::default();
            }
            if held(self.families..self.families + self.also) {
                reasons = reasons.with(Protection::ALSO);
            }
        }
        Weighed { found, reasons, families, excepted, matched }
    }

    /// Records that only an exception took out of protection, since the start.
    pub fn excepted(&self) -> u64 {
        self.excepted.load(Ordering::Relaxed)
    }
}
