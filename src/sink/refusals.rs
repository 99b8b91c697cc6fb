//! Which records were refused for good, and why: a byte for each record, and a bounded number of texts.
//!
//! A server may refuse every one of very many records, and each in other words (most name the record). All of them are
//! refused, but only the first texts are kept: the others share one that says so.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Different texts kept here, at most: a byte names one of them, none, or the general one.
const TEXTS: usize = 254;
/// Bytes of these, at most.
const TEXT_BYTES: usize = 16 << 10;
/// The same, of a text.
const LONGEST: usize = 1000;
/// The code of what has the general text.
const GENERAL: u8 = 255;

/// Refused records, by position.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// For each position: 0, or the number of its text, from 1.
    codes: Vec<u8>,
    texts: Vec<Arc<str>>,
    bytes: usize,
    general: Option<Arc<str>>,
    count: usize,
}

impl Refusals {
    /// All of so many records, for one reason.
    pub fn all(records: u32, reason: &str) -> Refusals {
        let mut refusals = Refusals::default();
        (0..records).for_each(|at| refusals.refuse(at, reason));
        refusals
    }

    /// The record at this position is refused; what was said first stands.
    pub fn refuse(&mut self, at: u32, reason: &str) {
        self.refuse_keeping(at, reason, |text| text.into());
    }

    /// The same; a text that is not known here is kept as `keep` makes it.
    pub fn refuse_keeping(&mut self, at: u32, reason: &str, keep: impl FnOnce(&str) -> Arc<str>) {
        let code = self.code(&reason[..reason.floor_char_boundary(LONGEST)], keep);
        let at = at as usize;
        if at >= self.codes.len() {
            self.codes.resize(at + 1, 0);
        }
        if let Some(of_record @ 0) = self.codes.get_mut(at) {
            *of_record = code;
            self.count += 1;
        }
    }

    fn code(&mut self, reason: &str, keep: impl FnOnce(&str) -> Arc<str>) -> u8 {
        let number = |texts: &[Arc<str>], text: &str| {
            texts.iter().position(|known| **known == *text).and_then(|at| u8::try_from(at + 1).ok())
        };
        if let Some(known) = number(&self.texts, reason) {
            return known;
        }
        if self.texts.len() < TEXTS && self.bytes + reason.len() <= TEXT_BYTES {
            let text = keep(reason);
            if let Some(known) = number(&self.texts, &text) {
                return known;
            }
            self.bytes += text.len();
            self.texts.push(text);
            return u8::try_from(self.texts.len()).unwrap_or(GENERAL);
        }
        self.general.get_or_insert_with(|| general(reason));
        GENERAL
    }

    /// Why the record at this position is refused; `None`: it is not.
    pub fn reason(&self, at: u32) -> Option<&str> {
        match self.codes.get(at as usize)? {
            0 => None,
            &GENERAL => self.general.as_deref(),
            number => self.texts.get(usize::from(*number) - 1).map(|text| &**text),
        }
    }

    /// Those of a range of positions, in order.
    pub fn within(&self, range: Range<u32>) -> impl Iterator<Item = (u32, &str)> {
        range.filter_map(|at| Some((at, self.reason(at)?)))
    }

    /// The text that was kept first.
    pub fn first(&self) -> Option<&str> {
        self.texts.first().map(|text| &**text)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The memory it takes but for its texts, bytes.
    pub fn size(&self) -> usize {
        size_of::<Refusals>() + self.codes.capacity() + self.texts.capacity() * size_of::<Arc<str>>()
    }
}

/// What stands for the texts that are not kept.
fn general(one: &str) -> Arc<str> {
    format!("refused, for one of more different reasons than are kept; one of these: {one}").into()
}

/// Texts that are shared, up to a number of bytes; those that nobody holds any more give way to others.
#[derive(Debug)]
pub struct Texts {
    known: HashSet<Arc<str>>,
    bytes: usize,
    most: usize,
    general: Option<Arc<str>>,
    /// Some may be held by nobody.
    stale: bool,
}

impl Texts {
    /// Of at most so many bytes.
    pub fn within(most: usize) -> Texts {
        Texts { known: HashSet::new(), bytes: 0, most, general: None, stale: false }
    }

    /// The text, or the general one where it is one too many.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.bytes + text.len() > self.most && std::mem::take(&mut self.stale) {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.bytes = self.known.iter().map(|text| text.len()).sum();
        }
        if self.bytes + text.len() > self.most {
            return self.general.get_or_insert_with(|| general(text)).clone();
        }
        let shared: Arc<str> = text.into();
        self.bytes += shared.len();
        self.known.insert(shared.clone());
        shared
    }

    /// Somebody holds some of them no more.
    pub fn released(&mut self) {
        self.stale = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_keeps_its_reason() {
        let mut refusals = Refusals::default();
        for (at, reason) in [(7, "too old"), (2, "too odd"), (9, "too old"), (7, "later")] {
            refusals.refuse(at, reason);
        }
        let told: Vec<(u32, &str)> = refusals.within(0..100).collect();
        assert_eq!(told, [(2, "too odd"), (7, "too old"), (9, "too old")]);
        assert_eq!((refusals.len(), refusals.first()), (3, Some("too old")));
        assert_eq!((refusals.reason(1), refusals.reason(10)), (None, None));
        assert_eq!(refusals.within(3..9).count(), 1);
        assert_eq!(Refusals::all(3, "no").within(0..9).count(), 3);
    }

    #[test]
    fn of_very_many_reasons_the_first_are_kept_and_all_are_refused() {
        for long in [0, 80, 5_000] {
            let mut refusals = Refusals::default();
            let reason = |at: u32| format!("document {at} is odd{}", "é".repeat(long));
            (0..100_000).for_each(|at| refusals.refuse(at, &reason(at)));
            assert_eq!(refusals.len(), 100_000);
            assert!(reason(0).starts_with(refusals.reason(0).unwrap()));
            assert!((0..100_000).all(|at| refusals.reason(at).is_some_and(|reason| !reason.is_empty())));
            assert!(refusals.reason(99_999).unwrap().starts_with("refused, for one of more"));
            assert!(refusals.bytes <= TEXT_BYTES && refusals.texts.len() <= TEXTS);
            assert!(refusals.size() < 300_000, "{}", refusals.size());
        }
    }

    #[test]
    fn texts_are_shared_and_give_way_when_nobody_holds_them() {
        let mut texts = Texts::within(100);
        let held: Vec<Arc<str>> = (10..30).map(|number| texts.share(&format!("text {number}"))).collect();
        assert!(Arc::ptr_eq(&texts.share("text 10"), &held[0]));
        assert!(Arc::ptr_eq(&held[18], &held[19]), "the general one");
        assert!(texts.bytes <= 100);
        drop(held);
        assert!(texts.share("another").starts_with("refused"), "nobody has said so");
        texts.released();
        assert_eq!(&*texts.share("another"), "another");
        assert_eq!((texts.known.len(), texts.bytes), (1, 7));
    }
}
