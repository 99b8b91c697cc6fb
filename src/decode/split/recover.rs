//! What is not the ordinary walk: values that are passed over, records over the limit, damage.

use super::{Expect, Frame, Mode, Split, Step, span};
use crate::decode::inflate::Ending;
use crate::decode::resync::{self, Found};
use crate::decode::{Damage, Format, Item, Space};
use crate::record::Scanner;

impl Split {
    /// Passes over a value that is not wanted.
    pub(super) fn skip(&mut self, text: &[u8], eof: bool) -> Option<Step> {
        let Mode::Skip { skip, what } = &mut self.mode else { return None };
        let what = *what;
        let Some(length) = skip.feed(text.get(self.at..).unwrap_or_default()) else {
            self.at = text.len();
            if !eof {
                return Some(Step::Need);
            }
            // An open container: the end of the segment says so.
            self.frames.push(Frame::Object);
            self.mode = Mode::Walk;
            return None;
        };
        self.at += length;
        self.mode = Mode::Walk;
        self.value_ended();
        what.map(|what| Step::Item(Item::LeftOut { what }))
    }

    /// Streams out a record over the limit.
    pub(super) fn oversize(&mut self, text: &[u8], ending: Option<&Ending>) -> Step {
        let Mode::Oversize(skip) = &mut self.mode else { return Step::Need };
        let from = self.at;
        let length = skip.feed(text.get(from..).unwrap_or_default());
        let to = length.map_or(text.len(), |length| from + length);
        let reason = self.too_long();
        self.at = to;
        let Some(ending) = ending.filter(|_| length.is_none()) else {
            if length.is_some() {
                self.mode = Mode::Walk;
                self.value_ended();
            } else if from == to {
                return Step::Need;
            }
            return self.damage(from, to, reason, length.is_none());
        };
        self.mode = Mode::Walk;
        self.frames.clear();
        self.value_ended();
        self.torn = true;
        self.told = true;
        self.damage(from, to, ending.reason.clone().unwrap_or(reason), ending.follows)
    }

    /// Goes on with damage up to the next record.
    pub(super) fn resync(&mut self, scanner: &mut Scanner, text: &[u8], ending: Option<&Ending>) -> Step {
        let Mode::Resync { from, reason } = std::mem::replace(&mut self.mode, Mode::Walk) else {
            return Step::Need;
        };
        let start = self.at;
        let search = (start, from.max(start));
        let found = resync::find(scanner, text, search, self.lines, ending.is_some(), self.limits.record);
        let next = match found {
            Found::Hold { .. } if let Some(ending) = ending => {
                self.at = text.len();
                self.frames.clear();
                self.value_ended();
                self.told = true;
                let reason = ending.reason.clone().unwrap_or(reason);
                return self.damage(start, text.len(), reason, ending.follows);
            }
            Found::Hold { keep, from } => {
                let damage = (keep > start).then(|| self.damage(start, keep, reason.clone(), true));
                self.at = keep.max(start);
                self.mode = Mode::Resync { from, reason };
                return damage.unwrap_or(Step::Need);
            }
            Found::Element(next) => {
                if self.frames.is_empty() {
                    self.frames.push(Frame::Object);
                }
                if self.frames.last() == Some(&Frame::Object) {
                    self.frames.push(Frame::Array { records: true });
                }
                next
            }
            Found::Records(next) => {
                self.recognised(Format::Records);
                self.frames.clear();
                self.frames.extend([Frame::Object, Frame::Array { records: true }]);
                next
            }
            Found::Line(next) => {
                self.frames.clear();
                self.tops += 1;
                self.newline = true;
                next
            }
        };
        self.guessed = !self.frames.is_empty();
        self.expect = Expect::Value;
        self.at = next;
        // The comma and the blanks before what was found are not part of the damage.
        let damaged = text.get(start..next).unwrap_or_default().trim_ascii_end();
        let damaged = damaged.strip_suffix(b",").unwrap_or(damaged).trim_ascii_end();
        self.damage(start, start + damaged.len(), reason, false)
    }

    /// The segment is used up: what is to be told of how it ended.
    pub(super) fn segment_ends(&mut self, ending: &Ending) -> Option<Item> {
        let open = !self.frames.is_empty() && !self.guessed;
        let told = std::mem::take(&mut self.told);
        self.frames.clear();
        self.guessed = false;
        self.expect = Expect::Value;
        self.mode = Mode::Walk;
        self.torn |= open && ending.reason.is_none();
        if told || ending.follows {
            return None;
        }
        let reason = match &ending.reason {
            Some(reason) => reason.clone(),
            None if open => "the object ends before its JSON does".into(),
            None => return None,
        };
        self.told = true;
        match self.damage(self.at, self.at, reason, false) {
            Step::Item(item) => Some(item),
            _ => None,
        }
    }

    /// The object at `start` is wrong at `fault`: what is damaged is found out next.
    pub(super) fn broken(&mut self, text: &[u8], start: usize, fault: usize, reason: &str) -> Option<Step> {
        self.at = start;
        if self.depth > 0 {
            // One message of many: nothing to find in its rest.
            self.at = text.len();
            self.frames.clear();
            self.value_ended();
            return Some(self.damage(start, text.len(), reason.into(), false));
        }
        let from = if self.lines { start + 1 } else { resync::search_from(text, start, fault) };
        let reason = format!("{reason}, at byte {}", self.base.wrapping_add(fault as u64));
        self.mode = Mode::Resync { from, reason };
        None
    }

    pub(super) fn too_long(&self) -> String {
        format!("a record over the limit of {} bytes", self.limits.record)
    }

    pub(super) fn damage(&self, from: usize, to: usize, reason: String, more: bool) -> Step {
        let offset = self.base.wrapping_add(from as u64);
        let damage = Damage { space: Space::Decompressed, offset, length: (to - from) as u64, reason };
        Step::Item(Item::Damage { number: 0, damage, bytes: span(from, to), more })
    }
}
