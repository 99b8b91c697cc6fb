//! The books: where every record went.
//!
//! `read + added = filtered + sampled + duplicate + rolled up + rejected + offered`, and for each sink
//! `offered = not matched + delivered + rejected + failed`. Checked whenever a delivery is settled.

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
    /// Per sink, in the pipeline's order.
    pub sinks: Vec<SinkBooks>,
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
}
