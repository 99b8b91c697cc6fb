//! The books: where every record went.
//!
//! `read + added = filtered + sampled + duplicate + rolled up + rejected + offered`, and for each sink
//! `offered = not matched + delivered + rejected + failed`. Checked whenever a delivery is settled.

use crate::transform::Decision;

/// What happened to records: of one window, one delivery, or one pipeline since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Records found in objects; a damaged byte range counts as one.
    pub read: u64,
    /// Records that transforms made.
    pub added: u64,
    /// Left out by `filter`, and digests.
    pub filtered: u64,
    /// Left out by `sample`.
    pub sampled: u64,
    /// Left out as copies.
    pub duplicate: u64,
    /// Left out because a summary stands for them.
    pub rolled_up: u64,
    /// Stored in rejects before any sink saw them.
    pub rejected: u64,
    /// Handed to every sink.
    pub offered: u64,
    /// Of the offered: matched no sink at all.
    pub unrouted: u64,
    /// Per transform, in the pipeline's order; as far as the last that did anything.
    pub steps: Vec<StepBooks>,
    /// Per sink, in the pipeline's order.
    pub sinks: Vec<SinkBooks>,
    /// Event time of the newest of the offered, seconds since 1970.
    pub newest: Option<i64>,
}

/// What one transform did: its part of the columns above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepBooks {
    /// Records it left out on purpose.
    pub filtered: u64,
    /// Records it left out, and the kept ones stand for them.
    pub sampled: u64,
    /// Records it left out as copies.
    pub duplicate: u64,
    /// Records it left out because a summary stands for them.
    pub rolled_up: u64,
    /// Records it refused.
    pub rejected: u64,
}

/// What became of the offered records at one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkBooks {
    /// The sink's `match` left them out.
    pub not_matched: u64,
    /// The sink has them.
    pub delivered: u64,
    /// The sink refused them for good; they are in rejects.
    pub rejected: u64,
    /// Neither; the delivery will be lent again.
    pub failed: u64,
}

impl Books {
    /// Books with a page for each of `sinks` sinks.
    pub fn with_sinks(sinks: usize) -> Books {
        Books { sinks: vec![SinkBooks::default(); sinks], ..Books::default() }
    }

    /// The page of a sink, made when it is not there.
    pub fn sink(&mut self, number: usize) -> &mut SinkBooks {
        if self.sinks.len() <= number {
            self.sinks.resize(number + 1, SinkBooks::default());
        }
        &mut self.sinks[number]
    }

    /// The page of a transform, made when it is not there.
    pub fn step(&mut self, number: usize) -> &mut StepBooks {
        if self.steps.len() <= number {
            self.steps.resize(number + 1, StepBooks::default());
        }
        &mut self.steps[number]
    }

    /// Enters what a transform decided about one record.
    pub fn decided(&mut self, step: usize, decision: &Decision) {
        self.step(step);
        let page = &mut self.steps[step];
        let (own, all) = match decision {
            Decision::Keep => return,
            Decision::Filter => (&mut page.filtered, &mut self.filtered),
            Decision::Sample => (&mut page.sampled, &mut self.sampled),
            Decision::Duplicate => (&mut page.duplicate, &mut self.duplicate),
            Decision::RollUp => (&mut page.rolled_up, &mut self.rolled_up),
            Decision::Reject(_) => (&mut page.rejected, &mut self.rejected),
        };
        *own += 1;
        *all += 1;
    }

    /// Adds another set of books to this one.
    pub fn add(&mut self, other: &Books) {
        self.read += other.read;
        self.added += other.added;
        self.filtered += other.filtered;
        self.sampled += other.sampled;
        self.duplicate += other.duplicate;
        self.rolled_up += other.rolled_up;
        self.rejected += other.rejected;
        self.offered += other.offered;
        self.unrouted += other.unrouted;
        self.newest = self.newest.max(other.newest);
        for (number, page) in other.steps.iter().enumerate() {
            let mine = self.step(number);
            mine.filtered += page.filtered;
            mine.sampled += page.sampled;
            mine.duplicate += page.duplicate;
            mine.rolled_up += page.rolled_up;
            mine.rejected += page.rejected;
        }
        for (number, page) in other.sinks.iter().enumerate() {
            let mine = self.sink(number);
            mine.not_matched += page.not_matched;
            mine.delivered += page.delivered;
            mine.rejected += page.rejected;
            mine.failed += page.failed;
        }
    }

    /// Checks both equations.
    ///
    /// # Errors
    /// The difference, in words.
    pub fn balance(&self) -> Result<(), String> {
        let came = self.read + self.added;
        let went =
            self.filtered + self.sampled + self.duplicate + self.rolled_up + self.rejected + self.offered;
        if came != went {
            return Err(format!("{came} records read or added, {went} accounted for ({self:?})"));
        }
        for (number, page) in self.sinks.iter().enumerate() {
            let answered = page.not_matched + page.delivered + page.rejected + page.failed;
            if answered != self.offered {
                return Err(format!(
                    "sink {number}: {} records offered, {answered} accounted for ({self:?})",
                    self.offered
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_equations_are_checked() {
        let mut books =
            Books { read: 5, added: 1, filtered: 1, sampled: 2, rejected: 1, offered: 2, ..Books::default() };
        assert_eq!(books.balance(), Ok(()));
        books.sink(0).delivered = 1;
        assert!(books.balance().is_err_and(|difference| difference.contains("sink 0: 2 records offered, 1")));
        books.sink(0).not_matched = 1;
        assert_eq!(books.balance(), Ok(()));
        books.read += 1;
        assert!(books.balance().is_err_and(|difference| difference.contains("7 records read or added, 6")));
    }

    #[test]
    fn what_a_transform_decides_stands_on_its_page_and_in_the_column() {
        let mut books = Books { read: 4, offered: 1, newest: Some(5), ..Books::default() };
        books.decided(1, &Decision::Sample);
        books.decided(1, &Decision::Reject("no".into()));
        books.decided(0, &Decision::Filter);
        books.decided(0, &Decision::Keep);
        let mut sum = Books { newest: Some(9), ..Books::default() };
        sum.add(&books);
        assert_eq!(sum.balance(), Ok(()));
        assert_eq!(sum.steps[0], StepBooks { filtered: 1, ..StepBooks::default() });
        assert_eq!(sum.steps[1], StepBooks { sampled: 1, rejected: 1, ..StepBooks::default() });
        assert_eq!((sum.filtered, sum.sampled, sum.rejected, sum.newest), (1, 1, 1, Some(9)));
    }
}
