//! How far one lane is: what is read, what is on its way, what was seen. Nothing here does I/O; the time is handed in.
//!
//! All times are milliseconds since 1970. Everything before `edge` was read or is about to be (`todo`); everything before the
//! cursor's `done` is settled. What appears late is found by reading again what stands up to [`Rules::reach`] before `edge`,
//! every [`Rules::overlap`]: so whatever appears at most that long after its time is found. A run begins with the same look
//! before `done`, so that a late event on its way holds `done` back by that much less.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::ledger::{Kept, Known, Seen};
use super::{Event, Range};

/// Ids remembered at a time by one source, at most: 20 MiB. Beyond, the oldest are forgotten, and what is then read again is
/// shipped again.
pub(super) const MOST_SEEN: usize = 1 << 20;
/// Events on their way, at most; then nothing more is asked for.
const MOST_EVENTS: usize = 100_000;
/// Deliveries on their way, at most.
const MOST_FLIGHTS: usize = 1000;
/// Pages that a window should have: windows grow and shrink towards it.
const PAGES: u32 = 20;
/// Pages after which a window that is read backwards is split.
const MOST_PAGES: u32 = 60;
/// So much before the API forgets is the oldest time that is asked for.
pub(super) const MARGIN: i64 = 60_000;
const MINUTE: i64 = 60_000;

/// What the state keeps of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// What it is of: the log group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// What happened before this is not ours.
    pub floor: i64,
    /// Everything that happened before this, and was there, is settled. Milliseconds since 1970.
    pub done: i64,
}

impl Cursor {
    /// A cursor as the state holds it.
    pub fn read(value: &[u8]) -> Option<Cursor> {
        serde_json::from_slice(value).ok()
    }
}

/// How a lane is read.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Rules {
    /// How late something may appear and is found all the same.
    pub(in crate::source) overlap: i64,
    /// How far before the end each look begins.
    pub(in crate::source) near: i64,
    /// How long before now each look ends.
    pub(in crate::source) delay: i64,
    /// Between two looks.
    pub(in crate::source) every: i64,
    /// The API's own unit: 1000 where it counts seconds.
    pub(in crate::source) unit: i64,
    /// Whether the oldest events of a window come first.
    pub(in crate::source) ascending: bool,
    /// How long ago events are forgotten by the API.
    pub(in crate::source) oldest: Option<i64>,
    /// Windows of a range that is read for the first time, at first and at most.
    pub(in crate::source) windows: (i64, i64),
    /// Where it ends.
    pub(in crate::source) end: Option<i64>,
    /// It ends when it has seen what was there at its start.
    pub(in crate::source) once: bool,
}

impl Rules {
    /// How far before the edge is looked again.
    fn reach(&self) -> i64 {
        self.overlap.saturating_mul(2)
    }
}

/// A part of the time that is being read.
#[derive(Clone, Debug)]
struct Window {
    range: Range,
    /// Where it is begun again without a token.
    resume: i64,
    /// `done` is not beyond this as long as it is not read.
    hold: i64,
    /// What is before was read before.
    edge: i64,
    pages: u32,
    /// When it was planned.
    began: i64,
    /// Read for the first time, and not a part of another.
    is_new: bool,
}

impl Window {
    fn new(range: Range, edge: i64, now: i64, is_new: bool) -> Window {
        Window { range, resume: range.from, hold: edge, edge, pages: 0, began: now, is_new }
    }
}

/// Events on their way.
#[derive(Debug)]
struct Flight {
    hold: i64,
    seen: Seen,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask for this, or for its next page.
    Read(Range),
    /// Nothing for so long.
    Wait(Duration),
    /// Too much is on its way.
    Full,
    /// Everything was read.
    End,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    rules: Rules,
    cursor: Cursor,
    edge: i64,
    /// What is before this was old when it was read: nothing appears there any more.
    calm: i64,
    /// When it was looked back last; `None`: not yet.
    looked: Option<i64>,
    todo: VecDeque<Window>,
    flights: HashMap<u64, Flight>,
    on_their_way: usize,
    next_flight: u64,
    length: i64,
    ids: Ids,
    /// Entries of the state.
    known: BTreeSet<Known>,
    /// Events that were read again.
    pub(super) twice: u64,
    /// Events that appeared after they were looked for.
    pub(super) late: u64,
    /// Time that the API forgot before it was read, milliseconds.
    pub(super) lost: i64,
}

/// Ids, by the minute of their events.
#[derive(Debug, Default)]
struct Ids {
    minutes: BTreeMap<i64, HashSet<u64, FixedState>>,
    count: usize,
    most: usize,
    forgotten: u64,
}

impl Ids {
    /// `false`: it was there.
    fn insert(&mut self, time: i64, id: u64) -> bool {
        let is_new = self.minutes.entry(time.div_euclid(MINUTE)).or_default().insert(id);
        self.count += usize::from(is_new);
        while self.count > self.most.max(1) && self.minutes.len() > 1 {
            let Some((_, oldest)) = self.minutes.pop_first() else { break };
            self.count -= oldest.len();
            self.forgotten += oldest.len() as u64;
        }
        is_new
    }

    fn forget_before(&mut self, minute: i64) {
        while let Some(entry) = self.minutes.first_entry().filter(|entry| *entry.key() < minute) {
            self.count -= entry.remove().len();
        }
    }
}

/// What tells one event from all others.
fn id_of(event: &Event) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for part in [&event.id, &event.stream] {
        hasher.update(part.as_bytes());
        hasher.update(&[0xff]);
    }
    if event.id.is_empty() {
        hasher.update(event.text.as_bytes());
    }
    hasher.update(&event.time.to_be_bytes());
    hasher.digest()
}

impl Lane {
    /// A lane as the state has it; `most`: ids to remember.
    pub(super) fn new(rules: Rules, kept: Kept, most: usize) -> Lane {
        let Kept { cursor, seen } = kept;
        let length = rules.windows.0;
        let mut ids = Ids { most, ..Ids::default() };
        let mut known = BTreeSet::new();
        for seen in seen {
            known.insert(seen.known());
            for (time, id) in &seen.events {
                ids.insert(*time, *id);
            }
        }
        Lane {
            edge: cursor.done,
            calm: cursor.floor,
            looked: None,
            todo: VecDeque::new(),
            flights: HashMap::new(),
            on_their_way: 0,
            next_flight: 0,
            length,
            ids,
            known,
            twice: 0,
            late: 0,
            lost: 0,
            rules,
            cursor,
        }
    }

    /// What to do next.
    pub(super) fn next(&mut self, now: i64) -> Next {
        if self.on_their_way >= MOST_EVENTS || self.flights.len() >= MOST_FLIGHTS {
            return Next::Full;
        }
        while self.todo.is_empty() {
            self.plan(now);
            if self.todo.is_empty() {
                break;
            }
            self.give_up_what_is_gone(now);
        }
        self.give_up_what_is_gone(now);
        if let Some(window) = self.todo.front() {
            return Next::Read(window.range);
        }
        let (rules, looks) = (&self.rules, self.rules.overlap > 0 && self.calm < self.edge);
        if let Some(end) = rules.end.filter(|end| self.edge >= *end) {
            let looked = self.looked.is_some_and(|looked| looked >= end.saturating_add(rules.overlap));
            if rules.once || !looks || looked {
                return Next::End;
            }
        }
        let next = self.edge + rules.delay + rules.every;
        let next = if rules.end.is_some_and(|end| self.edge >= end) { i64::MAX } else { next };
        let look =
            self.looked.filter(|_| looks).map_or(i64::MAX, |looked| looked.saturating_add(rules.overlap));
        let wait = next.min(look).saturating_sub(now).clamp(10, 3_600_000);
        Next::Wait(Duration::from_millis(u64::try_from(wait).unwrap_or_default()))
    }

    /// Puts windows on the list, where it is time.
    fn plan(&mut self, now: i64) {
        let Rules { overlap, near, every, delay, unit, once, .. } = self.rules;
        let reach = self.rules.reach();
        if self.looked.is_none_or(|looked| now >= looked.saturating_add(overlap)) && overlap > 0 {
            let from = (self.edge - reach).max(self.calm);
            self.looked = Some(now);
            self.look_again(from, now);
        }
        if !self.todo.is_empty() {
            return;
        }
        let until_now = if once { now } else { now - delay };
        let end = self.rules.end.map_or(until_now, |end| end.min(until_now));
        let end = if once { end } else { end.div_euclid(unit) * unit };
        let is_last = self.rules.end == Some(end);
        let ready = end - self.edge;
        if ready > 0 && (ready >= every || is_last) {
            let to = self.edge.saturating_add(self.length).min(end);
            let from = (self.edge - near).max(self.calm).min(self.edge);
            self.todo.push_back(Window::new(Range { from, to }, self.edge, now, true));
            self.edge = to;
        }
    }

    fn look_again(&mut self, mut from: i64, now: i64) {
        while from < self.edge {
            let to = from.saturating_add(self.length).min(self.edge);
            self.todo.push_back(Window::new(Range { from, to }, self.edge, now, false));
            from = to;
        }
    }

    /// Leaves out what the API has forgotten.
    fn give_up_what_is_gone(&mut self, now: i64) {
        let Some(oldest) = self.rules.oldest.map(|oldest| now - oldest + MARGIN / 2) else { return };
        while let Some(window) =
            self.todo.front_mut().filter(|window| window.pages == 0 && window.range.from < oldest)
        {
            let Range { from, to } = window.range;
            self.lost += (to.min(oldest) - from.max(window.hold)).max(0);
            (window.range.from, window.resume) = (oldest, oldest);
            window.hold = window.hold.max(oldest);
            if oldest >= to {
                self.todo.pop_front();
            }
        }
    }

    /// The window is read again without a token, from where it is.
    pub(super) fn restarts(&mut self) {
        if let Some(window) = self.todo.front_mut() {
            window.pages = 0;
            window.range.from = window.resume;
        }
    }

    /// Those of a page's events that were not seen before.
    pub(super) fn fresh(&mut self, events: Vec<Event>) -> Vec<(u64, Event)> {
        let edge = self.todo.front().map_or(i64::MAX, |window| window.edge);
        let mut fresh = Vec::new();
        for event in events {
            let id = id_of(&event);
            if self.ids.insert(event.time, id) {
                self.late += u64::from(event.time < edge);
                fresh.push((id, event));
            } else {
                self.twice += 1;
            }
        }
        fresh
    }

    /// Events of the page go on their way together; the number to settle them by.
    pub(super) fn flies(&mut self, events: Vec<(i64, u64)>) -> u64 {
        let edge = self.todo.front().map_or(self.edge, |window| window.edge);
        let reach = self.rules.reach();
        let holds =
            events.iter().map(|(time, _)| if *time < edge { time.saturating_add(reach) } else { *time });
        let hold = holds.min().unwrap_or(i64::MAX).max(self.cursor.done);
        let number = self.next_flight;
        self.next_flight += 1;
        self.on_their_way += events.len();
        self.flights.insert(number, Flight { hold, seen: Seen { events } });
        number
    }

    /// The page was read, and its events are on their way; `last`: the time of the newest of them. Returns whether the window
    /// goes on with the next page.
    pub(super) fn turns(&mut self, more: bool, times: Option<(i64, i64)>) -> bool {
        let Rules { ascending, unit, overlap, .. } = self.rules;
        let Some(window) = self.todo.front_mut() else { return false };
        window.pages += 1;
        if !more {
            let (pages, length) = (window.pages, self.length);
            if window.is_new && window.range.to.saturating_add(overlap) <= window.began {
                self.calm = self.calm.max(window.range.to);
            }
            let is_whole = window.is_new && window.range.to - window.range.from >= length;
            self.todo.pop_front();
            self.length = match pages {
                _ if pages > PAGES => length / i64::from(pages / PAGES + 1),
                _ if is_whole && pages <= PAGES / 4 => length.saturating_mul(4),
                _ if is_whole && pages <= PAGES / 2 => length.saturating_mul(2),
                _ => length,
            };
            self.length = self.length.clamp(unit.max(1000), self.rules.windows.1);
            return false;
        }
        if let (true, Some((_, newest))) = (ascending, times) {
            window.resume = newest.clamp(window.resume, window.range.to - 1);
            window.hold = window.hold.max(window.resume);
        }
        if let (false, Some((oldest, _))) = (ascending, times)
            && window.pages >= MOST_PAGES
        {
            // The rest, the unit of its last event included: two halves, the older first.
            let to = (oldest.div_euclid(unit) + 1).saturating_mul(unit).min(window.range.to);
            let half = (window.range.from + (to - window.range.from) / 2).div_euclid(unit) * unit;
            if half > window.range.from && half < to {
                let (mut older, mut newer) = (window.clone(), window.clone());
                older.range.to = half;
                newer.range = Range { from: half, to };
                (newer.resume, newer.hold) = (half, newer.hold.max(half));
                (older.pages, newer.pages, older.is_new) = (0, 0, false);
                self.todo.pop_front();
                self.todo.push_front(newer);
                self.todo.push_front(older);
                self.length = (self.length / 4).max(unit.max(1000));
                return false;
            }
        }
        true
    }

    /// Events are settled; what the state is to keep of them.
    pub(super) fn settled(&mut self, number: u64) -> Option<Seen> {
        let flight = self.flights.remove(&number)?;
        self.on_their_way -= flight.seen.events.len();
        self.known.insert(flight.seen.known());
        Some(flight.seen)
    }

    /// Up to where everything is settled.
    pub(super) fn done(&self) -> i64 {
        let reading = self.todo.iter().map(|window| window.hold);
        let flying = self.flights.values().map(|flight| flight.hold);
        reading.chain(flying).chain([self.edge]).min().unwrap_or(self.edge).max(self.cursor.done)
    }

    /// The cursor takes up how far everything is settled; the entries of the state that nobody needs any more.
    pub(super) fn write(&mut self) -> Vec<Known> {
        self.cursor.done = self.done();
        let before = (self.cursor.done - self.rules.reach()).div_euclid(MINUTE);
        self.ids.forget_before(before);
        let kept = self.known.split_off(&Known { minute: before, hash: 0 });
        std::mem::replace(&mut self.known, kept).into_iter().collect()
    }

    /// How much of the time that is settled the state does not know of, milliseconds.
    pub(super) fn untold(&self) -> i64 {
        self.done() - self.cursor.done
    }

    pub(super) const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What is going to be read first, up to now.
    pub(super) fn ahead(&self, now: i64) -> Range {
        Range { from: self.edge, to: self.rules.end.unwrap_or(now).min(now) }
    }

    /// Whether it ends when everything was read.
    pub(super) const fn ends(&self) -> bool {
        self.rules.end.is_some()
    }

    /// Ids that were forgotten too early.
    pub(super) const fn forgotten(&self) -> u64 {
        self.ids.forgotten
    }

    /// How much of the whole time is read, in minutes, and how much there is; where it ends.
    pub(super) fn way(&self) -> (u64, u64) {
        let minutes = |millis: i64| u64::try_from(millis / MINUTE).unwrap_or_default();
        let end = self.rules.end.unwrap_or(self.edge);
        let at = self.todo.iter().map(|window| window.hold).min().unwrap_or(self.edge);
        (minutes(at - self.cursor.floor), minutes(end - self.cursor.floor).max(1))
    }
}

#[cfg(test)]
mod tests;
