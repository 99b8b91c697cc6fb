//! The numbers that Splunk gives to the requests of one channel, and whether they still mean what they meant.
//!
//! A server that was restarted numbers from 0 again and does not say so. What it then says of a number is about another
//! request than ours: it must not be believed. Two things give it away. A request that was begun when some number was known
//! has a higher one; and no number is given twice. So what is said of a number is believed when all requests that were on
//! their way at that time have been answered, with numbers that are new: had one of them taken the number over, it would be
//! known by then.
//!
//! Of a request that was never answered that cannot be known, but of the next one, begun after it: had the numbers begun anew,
//! its number would be among the known ones, unless all of these had gone to requests without an answer. Where more numbers
//! are known than requests may have taken unseen, that is impossible; where not, everything of the channel is sent again.

use std::collections::{BTreeMap, BTreeSet};

/// The numbers of one channel.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Requests that were begun.
    begun: u64,
    /// Those on their way, by their place among the begun, with the highest number that was known then.
    on_their_way: BTreeMap<u64, Option<u64>>,
    highest: Option<u64>,
    /// Those given that a request on its way could get for a second time without it being seen by its height.
    given: BTreeSet<u64>,
    /// How many were given.
    known: usize,
    /// Requests that were never answered.
    lost: usize,
    /// A request that was begun as this one or later has to be answered before anything is believed.
    doubt: Option<u64>,
}

/// They began anew, or nobody can know whether they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anew;

impl Numbers {
    /// A request is sent; returns what it is called here.
    pub(super) fn begin(&mut self) -> u64 {
        let request = self.begun;
        self.begun += 1;
        self.on_their_way.insert(request, self.highest);
        request
    }

    /// A request ended and has no number.
    pub(super) fn none(&mut self, request: u64) {
        self.on_their_way.remove(&request);
        self.forget();
    }

    /// A request was given a number.
    pub(super) fn given(&mut self, request: u64, number: u64) -> Result<(), Anew> {
        let known = self.on_their_way.remove(&request).flatten();
        if known.is_some_and(|known| number <= known) || !self.given.insert(number) {
            return Err(Anew);
        }
        if self.doubt.is_some_and(|doubt| request >= doubt) && self.is_conclusive() {
            self.doubt = None;
        }
        self.known += 1;
        self.highest = self.highest.max(Some(number));
        self.forget();
        Ok(())
    }

    /// A request was not answered: it may have a number.
    pub(super) fn lost(&mut self, request: u64) -> Result<(), Anew> {
        self.on_their_way.remove(&request);
        self.forget();
        self.lost += 1;
        self.doubt = Some(self.begun);
        if self.is_conclusive() { Ok(()) } else { Err(Anew) }
    }

    /// What is said of numbers now may be believed as soon as this is over: see [`Numbers::is_over`].
    pub(super) fn now(&self) -> u64 {
        self.begun
    }

    /// Whether all requests are answered that were on their way then.
    pub(super) fn is_over(&self, then: u64) -> bool {
        self.doubt.is_none() && self.on_their_way.keys().next().is_none_or(|first| *first >= then)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.on_their_way.is_empty()
    }

    /// Whether more numbers are known than can have gone unseen.
    fn is_conclusive(&self) -> bool {
        self.known > self.lost + self.on_their_way.len()
    }

    fn forget(&mut self) {
        match self.on_their_way.values().next() {
            // Whoever is begun from now on knows the highest.
            None => self.given.clear(),
            Some(None) => {}
            Some(Some(known)) => self.given = self.given.split_off(&(known.saturating_add(1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_may_come_out_of_turn_but_not_twice_and_not_below_what_was_known() {
        let mut numbers = Numbers::default();
        let three = [numbers.begin(), numbers.begin(), numbers.begin()];
        for (request, number) in three.into_iter().zip([2, 0, 1]) {
            numbers.given(request, number).unwrap();
        }
        // Two at the same time, with the same number; one with a number below what was known when it was begun.
        let two = [numbers.begin(), numbers.begin()];
        numbers.given(two[0], 3).unwrap();
        assert_eq!(numbers.given(two[1], 3), Err(Anew));
        let late = numbers.begin();
        assert_eq!(numbers.given(late, 1), Err(Anew));
        assert!(numbers.given.len() < 2, "what is remembered is bounded by what is on its way");
    }

    #[test]
    fn nothing_is_believed_while_an_older_request_is_on_its_way() {
        let mut numbers = Numbers::default();
        let (first, second) = (numbers.begin(), numbers.begin());
        numbers.given(first, 0).unwrap();
        let then = numbers.now();
        let later = numbers.begin();
        assert!(!numbers.is_over(then));
        numbers.given(second, 1).unwrap();
        assert!(numbers.is_over(then) && !numbers.is_over(numbers.now()));
        numbers.none(later);
        assert!(numbers.is_over(numbers.now()));
    }

    #[test]
    fn a_request_without_an_answer_leaves_a_doubt_until_the_next_one() {
        let mut numbers = Numbers::default();
        for number in 0..3 {
            let request = numbers.begin();
            numbers.given(request, number).unwrap();
        }
        let (older, lost) = (numbers.begin(), numbers.begin());
        numbers.lost(lost).unwrap();
        numbers.given(older, 3).unwrap();
        assert!(!numbers.is_over(numbers.now()));
        let next = numbers.begin();
        numbers.given(next, 5).unwrap();
        assert!(numbers.is_over(numbers.now()));
        // Of a young channel nobody can know.
        let mut numbers = Numbers::default();
        let request = numbers.begin();
        numbers.given(request, 0).unwrap();
        let lost = numbers.begin();
        assert_eq!(numbers.lost(lost), Err(Anew));
    }

    /// A server that forgets, and what a client hears of it.
    #[derive(Default)]
    struct World {
        numbers: Numbers,
        /// Requests on their way: what they are called, their events, and the number that they got, if they arrived.
        on_their_way: Vec<(u64, usize, Option<u64>)>,
        /// The server's: number, events.
        pending: BTreeMap<u64, usize>,
        next: u64,
        indexed: BTreeSet<usize>,
        /// The client's: number, events; and what was said of it and is not believed yet.
        waiting: BTreeMap<u64, usize>,
        heard: Vec<(u64, usize)>,
        sent: usize,
    }

    impl World {
        fn step(&mut self, (what, which): (u8, usize)) -> Result<(), Anew> {
            let some = |count: usize| (count > 0).then(|| which % count.max(1));
            match what {
                0 | 1 => {
                    let request = self.numbers.begin();
                    self.on_their_way.push((request, self.sent, None));
                    self.sent += 1;
                }
                2 | 3 => {
                    let Some(at) = some(self.on_their_way.len()) else { return Ok(()) };
                    let (_, events, number) = &mut self.on_their_way[at];
                    if number.is_none() {
                        *number = Some(self.next);
                        self.pending.insert(self.next, *events);
                        self.next += 1;
                    }
                }
                4 | 5 => {
                    let Some(at) = some(self.on_their_way.len()) else { return Ok(()) };
                    if let (request, events, Some(number)) = self.on_their_way[at] {
                        self.on_their_way.remove(at);
                        self.numbers.given(request, number)?;
                        self.waiting.insert(number, events);
                    }
                }
                6 => {
                    let Some(at) = some(self.on_their_way.len()) else { return Ok(()) };
                    let (request, ..) = self.on_their_way.remove(at);
                    self.numbers.lost(request)?;
                }
                7 => {
                    self.pending.clear();
                    self.next = 0;
                }
                _ => {
                    // All that is pending is indexed, and asked for.
                    let then = self.numbers.now();
                    self.indexed.extend(self.pending.values());
                    let pending = std::mem::take(&mut self.pending);
                    for (number, events) in pending {
                        match self.waiting.remove(&number) {
                            Some(ours) => self.heard.push((then, ours)),
                            None => drop(self.pending.insert(number, events)),
                        }
                    }
                }
            }
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is answered when, lost or forgotten: what is believed to be indexed is.
        #[test]
        fn what_is_believed_is_so(steps in prop::collection::vec((0u8..10, 0usize..6), 0..80)) {
            let mut world = World::default();
            for step in steps {
                if world.step(step).is_err() {
                    // Everything is sent again, on another channel.
                    break;
                }
                let (believed, heard) = std::mem::take(&mut world.heard)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(then, _)| world.numbers.is_over(*then));
                world.heard = heard;
                for (_, events) in believed {
                    prop_assert!(world.indexed.contains(&events), "{events} is lost");
                }
            }
        }
    }
}
