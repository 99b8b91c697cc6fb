//! The windows of one delivery on their way, in spans that are settled one after the other.
//!
//! A span is one or more consecutive windows. It may be settled when it has an end that the source can go on from, no
//! share of it is out, and everything before it is settled. Where a window has no such end (whole-object formats have
//! none), the next belongs to the same span; and where many spans are open, windows join the last: what is kept does not
//! grow with the length of the object.

use std::collections::VecDeque;

use super::{Reached, Verdict};
use crate::pipeline::books::Books;

/// Spans open at a time, at most.
const MOST: usize = 256;

#[derive(Debug, Default)]
struct Span {
    /// Shares that are out.
    shares: u32,
    /// Of these: wait for other deliveries.
    waits: u32,
    failed: bool,
    /// The worst verdict of those that do not wait.
    own: Verdict,
    /// It was told that those have ended.
    is_told: bool,
    /// Where it ends, once its last window has ended well.
    end: Option<Reached>,
    books: Books,
}

/// Which span's own shares have ended (`None`: the whole delivery's), and the worst verdict of them.
pub(super) type Own = (Option<u64>, Verdict);

impl Span {
    /// What is to be told of its own shares, once.
    fn own_ended(&mut self, number: u64) -> Option<Own> {
        let ended = self.end.is_some() && self.shares == self.waits && !self.is_told;
        self.is_told |= ended;
        ended.then_some((Some(number), self.own))
    }
}

/// All spans that are not settled.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// The number of the first.
    first: u64,
    open: VecDeque<Span>,
}

impl Spans {
    /// The number of the span that the window in hand belongs to; begins one where the last has ended.
    pub(super) fn current(&mut self) -> u64 {
        let may_begin = self.open.len() < MOST;
        match self.open.back_mut() {
            Some(last) if last.end.is_none() || !may_begin => (last.end, last.is_told) = (None, false),
            _ => self.open.push_back(Span::default()),
        }
        self.first + self.open.len() as u64 - 1
    }

    fn span(&mut self, number: u64) -> Option<&mut Span> {
        self.open.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// A share goes out: of the span it says, else of the window in hand; `waits`: for another delivery. Returns its span.
    pub(super) fn fork(&mut self, span: Option<u64>, waits: bool) -> u64 {
        let number = span.unwrap_or_else(|| self.current());
        if let Some(span) = self.span(number) {
            span.shares += 1;
            span.waits += u32::from(waits);
        }
        number
    }

    /// Adds to the books of a span, or of the window in hand.
    pub(super) fn enter(&mut self, span: Option<u64>, books: &Books) {
        let number = span.unwrap_or_else(|| self.current());
        if let Some(span) = self.span(number) {
            span.books.add(books);
        }
    }

    /// A share has come back. What is to be told of the span's own shares, if it was the last of them.
    pub(super) fn finish(&mut self, number: u64, verdict: Verdict, waits: bool) -> Option<Own> {
        let span = self.span(number)?;
        span.shares = span.shares.saturating_sub(1);
        span.failed |= verdict == Verdict::Failed;
        if waits {
            span.waits = span.waits.saturating_sub(1);
            return None;
        }
        span.own = span.own.max(verdict);
        span.own_ended(number)
    }

    /// The window in hand has ended: `reached`, or where the source cannot go on from. The same as for a share.
    pub(super) fn end(&mut self, reached: Option<Reached>, failed: bool) -> Option<Own> {
        let number = self.current();
        let span = self.span(number)?;
        if failed {
            (span.failed, span.own) = (true, Verdict::Failed);
        }
        span.end = reached;
        span.own_ended(number)
    }

    /// Takes out the spans at the front that are settled: where they end, and their books.
    ///
    /// # Errors
    /// The books of one do not balance; it counts as failed.
    pub(super) fn settled(&mut self) -> Result<Option<(Reached, Books)>, String> {
        let mut all: Option<(Reached, Books)> = None;
        while let Some(span) = self.open.front_mut()
            && let (0, false, Some(end)) = (span.shares, span.failed, span.end)
        {
            if let Err(difference) = span.books.balance() {
                span.failed = true;
                return if all.is_some() { Ok(all) } else { Err(difference) };
            }
            let books = std::mem::take(&mut span.books);
            self.open.pop_front();
            self.first += 1;
            let (reached, sum) = all.get_or_insert_with(|| (end, Books::default()));
            *reached = end;
            sum.add(&books);
        }
        Ok(all)
    }

    /// The books of all that was not settled.
    pub(super) fn rest(&mut self) -> Books {
        let mut sum = Books::default();
        self.open.drain(..).for_each(|span| sum.add(&span.books));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Option<Reached> {
        Some(Reached { offset, ..Reached::default() })
    }

    fn read(records: u64) -> Books {
        Books { read: records, filtered: records, ..Books::default() }
    }

    fn settled(spans: &mut Spans) -> Option<(u64, u64)> {
        spans.settled().unwrap().map(|(reached, books)| (reached.offset, books.read))
    }

    #[test]
    fn a_span_is_settled_after_its_shares_and_those_before_it() {
        let mut spans = Spans::default();
        let first = spans.fork(None, false);
        spans.enter(None, &read(1));
        spans.end(at(10), false);
        let second = spans.fork(None, false);
        spans.enter(None, &read(2));
        assert_ne!(first, second);
        spans.finish(second, Verdict::Delivered, false);
        spans.end(at(20), false);
        assert_eq!(settled(&mut spans), None);
        spans.finish(first, Verdict::Rejected, false);
        assert_eq!(settled(&mut spans), Some((20, 3)));
        assert_eq!(settled(&mut spans), None);
        // Nothing of it went anywhere.
        spans.enter(None, &read(4));
        spans.end(at(30), false);
        assert_eq!(settled(&mut spans), Some((30, 4)));
    }

    #[test]
    fn what_failed_and_what_follows_it_is_never_settled() {
        let mut spans = Spans::default();
        let first = spans.fork(None, false);
        spans.end(at(10), false);
        spans.enter(None, &read(2));
        spans.end(at(20), false);
        spans.finish(first, Verdict::Failed, false);
        assert_eq!(settled(&mut spans), None);
        assert_eq!(spans.rest().read, 2);
        let mut spans = Spans::default();
        spans.end(at(10), true);
        assert_eq!(settled(&mut spans), None);
    }

    #[test]
    fn a_window_without_an_end_to_go_on_from_is_settled_with_the_next() {
        let mut spans = Spans::default();
        spans.enter(None, &read(1));
        spans.end(None, false);
        assert_eq!(settled(&mut spans), None);
        spans.enter(None, &read(1));
        spans.end(at(20), false);
        assert_eq!(settled(&mut spans), Some((20, 2)));
    }

    #[test]
    fn many_open_spans_become_one() {
        let mut spans = Spans::default();
        let shares: Vec<u64> = (1..=100_000)
            .map(|window| {
                let share = spans.fork(None, false);
                spans.enter(None, &read(1));
                spans.end(at(window), false);
                share
            })
            .collect();
        assert_eq!(spans.open.len(), MOST);
        for (number, share) in shares.iter().enumerate().rev() {
            assert_eq!(settled(&mut spans), None, "{number}");
            spans.finish(*share, Verdict::Delivered, false);
        }
        assert_eq!(settled(&mut spans), Some((100_000, 100_000)));
    }

    #[test]
    fn books_that_do_not_balance_settle_nothing() {
        let mut spans = Spans::default();
        spans.enter(None, &Books { read: 1, ..Books::default() });
        spans.end(at(10), false);
        assert!(spans.settled().is_err());
        assert_eq!(settled(&mut spans), None);
    }
}
