//! What is read when, and how far everything is settled.

use super::*;

const SECOND: i64 = 1000;

fn rules(ascending: bool) -> Rules {
    Rules {
        overlap: 600 * SECOND,
        near: 60 * SECOND,
        every: 10 * SECOND,
        unit: SECOND,
        ascending,
        windows: (3600 * SECOND, 86_400 * SECOND),
        ..Rules::default()
    }
}

fn lane(rules: Rules, done: i64) -> Lane {
    let cursor = Cursor { of: String::new(), floor: done, done };
    Lane::new(rules, Kept { cursor, seen: Vec::new() }, 1000)
}

fn event(time: i64, id: &str) -> Event {
    Event { id: id.to_owned(), stream: String::new(), time, text: "{}".to_owned() }
}

/// A page of the window in hand: its new events go on their way together.
fn page(lane: &mut Lane, events: &[(i64, &str)], more: bool) -> Option<u64> {
    let times = events.iter().map(|(time, _)| *time);
    let times = times.clone().min().zip(times.max());
    let fresh = lane.fresh(events.iter().map(|(time, id)| event(*time, id)).collect());
    let flight =
        (!fresh.is_empty()).then(|| lane.flies(fresh.iter().map(|(id, event)| (event.time, *id)).collect()));
    lane.turns(more, times);
    flight
}

fn read(lane: &mut Lane, now: i64) -> Range {
    match lane.next(now) {
        Next::Read(range) => range,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_is_settled_up_to_what_is_on_its_way() {
    let (start, now) = (1_000_000 * SECOND, 1_010_000 * SECOND);
    let mut lane = lane(rules(false), start);
    assert_eq!(read(&mut lane, now), Range { from: start, to: start + 3600 * SECOND });
    let first = page(&mut lane, &[(start + 50 * SECOND, "b"), (start + 20 * SECOND, "a")], false).unwrap();
    // The next window begins where the first ends; one that held little may be longer.
    let Range { from, to } = read(&mut lane, now);
    assert_eq!((from, to), (start + 3600 * SECOND, now));
    assert_eq!(lane.done(), start + 20 * SECOND, "the oldest on its way");
    assert!(lane.settled(first).is_some() && lane.settled(first).is_none());
    assert_eq!(lane.done(), start + 3600 * SECOND, "what is being read");
    assert_eq!(page(&mut lane, &[], false), None);
    assert_eq!((lane.done(), lane.untold()), (now, now - start));
    lane.write();
    assert_eq!(lane.untold(), 0);
}

#[test]
fn it_is_looked_back_and_what_is_late_holds_nothing_up() {
    let start = 1_000_000 * SECOND;
    let mut lane = lane(rules(true), start);
    let mut now = start + 10 * SECOND;
    assert_eq!(read(&mut lane, now), Range { from: start, to: now });
    let one = page(&mut lane, &[(start + SECOND, "one")], false).unwrap();
    lane.settled(one);
    let (mut looks, mut near) = (Vec::new(), 0);
    // An hour: each ten seconds what is new, each ten minutes what is not longer ago than twenty.
    while now < start + 3600 * SECOND {
        match lane.next(now) {
            Next::Read(range) => {
                let edge = lane.todo[0].edge;
                if lane.todo[0].is_new {
                    near += 1;
                    assert_eq!(range.from, (edge - 120 * SECOND / 2).max(start));
                } else {
                    looks.push((now - start, range));
                    assert_eq!(range.to, edge);
                }
                page(&mut lane, &[(start + SECOND, "one")], false);
            }
            Next::Wait(wait) => now += i64::try_from(wait.as_millis()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(looks.len(), 5, "{looks:?}");
    assert!(near > 300, "{near}");
    let (_, last) = looks[4];
    assert_eq!(last.to - last.from, 1200 * SECOND);
    // Something late is found: the state may say that everything is settled, for the next run looks back to it.
    let done = lane.done();
    now += 600 * SECOND;
    let range = loop {
        match lane.next(now) {
            Next::Read(range) if !lane.todo[0].is_new => break range,
            Next::Read(_) => _ = page(&mut lane, &[], false),
            other => panic!("{other:?}"),
        }
    };
    let late = page(&mut lane, &[(range.from + SECOND, "late")], false).unwrap();
    assert_eq!((lane.late, page(&mut lane, &[], false)), (1, None));
    assert!(lane.done() >= done && lane.done() - lane.rules.reach() <= range.from + SECOND);
    lane.settled(late);
}

#[test]
fn the_next_run_reads_again_and_ships_nothing_twice() {
    let start = 1_000_000 * SECOND;
    let mut lane = lane(rules(false), start);
    let now = start + 3000 * SECOND;
    read(&mut lane, now);
    let times: Vec<(i64, String)> = (0..100).map(|at| (start + at * 30 * SECOND, format!("{at}"))).collect();
    let events: Vec<(i64, &str)> = times.iter().map(|(time, id)| (*time, id.as_str())).collect();
    let mut kept = Vec::new();
    for part in events.chunks(10) {
        let flight = page(&mut lane, part, true).unwrap();
        // One of them is still on its way when the run ends.
        if part[0].0 != start + 60 * 30 * SECOND {
            kept.extend(lane.settled(flight));
        }
    }
    page(&mut lane, &[], false);
    let forgotten = lane.write();
    kept.retain(|seen| !forgotten.contains(&seen.known()));
    let cursor = lane.cursor().clone();
    assert_eq!(cursor.done, start + 60 * 30 * SECOND);
    let mut next = Lane::new(rules(false), Kept { cursor, seen: kept }, 1000);
    let (mut shipped, mut from) = (Vec::new(), i64::MAX);
    while let Next::Read(range) = next.next(now) {
        from = from.min(range.from);
        let inside = events.iter().filter(|(time, _)| (range.from..range.to).contains(time));
        let fresh = next.fresh(inside.map(|(time, id)| event(*time, id)).collect());
        shipped.extend(fresh.into_iter().map(|(_, event)| event.id));
        next.turns(false, None);
    }
    assert_eq!(from, start + (60 * 30 - 1200) * SECOND);
    assert_eq!(shipped, (60..70).map(|at| at.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_long_chain_of_pages_read_backwards_is_split_and_windows_become_shorter() {
    let start = 1_000_000 * SECOND;
    let mut lane = lane(rules(false), start);
    let now = start + 3600 * SECOND;
    // One event a second, of which a page holds fifty.
    let (mut pages, mut longest, mut chain, mut got) = (0, 0, 0, HashSet::new());
    let (mut token, mut window) = (None, None);
    while let Next::Read(range) = lane.next(now) {
        if window != Some(range) {
            (window, token, chain) = (Some(range), None, 0);
        }
        let last = token.unwrap_or(range.to / SECOND - 1);
        let first = (last - 49).max(range.from / SECOND);
        let names: Vec<(i64, String)> =
            (first..=last).rev().map(|at| (at * SECOND, at.to_string())).collect();
        let events: Vec<(i64, &str)> = names.iter().map(|(time, id)| (*time, id.as_str())).collect();
        got.extend(names.iter().map(|(time, _)| *time));
        if let Some(flight) = page(&mut lane, &events, first > range.from / SECOND) {
            lane.settled(flight);
        }
        token = Some(first - 1);
        (pages, chain) = (pages + 1, chain + 1);
        longest = longest.max(chain);
        assert!(pages < 400, "{pages}");
    }
    assert_eq!((got.len(), lane.done()), (3600, now));
    assert!(longest <= MOST_PAGES && pages < 80, "{longest} {pages}");
    assert!(lane.length < 3600 * SECOND, "{}", lane.length);
}

#[test]
fn too_much_on_its_way_stops_reading_and_ids_are_forgotten_beyond_the_bound() {
    let start = 1_000_000 * SECOND;
    let mut lane = lane(rules(true), start);
    read(&mut lane, start + 3600 * SECOND);
    let mut flights = Vec::new();
    for number in 0..MOST_FLIGHTS {
        let at = start + i64::try_from(number).unwrap() * 3 * SECOND;
        flights.extend(page(&mut lane, &[(at, "a"), (at, "b")], true));
    }
    assert_eq!(lane.next(start + 3600 * SECOND), Next::Full);
    lane.settled(flights[0]);
    assert!(matches!(lane.next(start + 3600 * SECOND), Next::Read(_)));
    assert!(lane.ids.count <= 1000 && lane.forgotten() >= 1000, "{}", lane.forgotten());
}

#[test]
fn what_the_api_has_forgotten_is_left_out_and_counted() {
    let mut rules = rules(false);
    rules.oldest = Some(86_400 * SECOND);
    let start = 1_000_000 * SECOND;
    let mut lane = lane(rules, start);
    let now = start + (86_400 + 7200) * SECOND;
    let Range { from, to } = read(&mut lane, now);
    assert_eq!(from, now - 86_400 * SECOND + MARGIN / 2);
    assert!(from < to && lane.lost == from - start, "{from} {to} {}", lane.lost);
}

#[test]
fn a_range_ends_when_what_may_come_late_has_come() {
    let start = 1_000_000 * SECOND;
    let end = start + 100 * SECOND;
    let mut rules = rules(false);
    rules.end = Some(end);
    let mut lane = lane(rules.clone(), start);
    let mut now = start + 50 * SECOND;
    let mut looked = 0;
    loop {
        match lane.next(now) {
            Next::Read(range) => {
                assert!(range.to <= end);
                looked = now;
                page(&mut lane, &[], false);
            }
            Next::Wait(wait) => now += i64::try_from(wait.as_millis()).unwrap(),
            Next::End => break,
            Next::Full => panic!("full"),
        }
    }
    assert!(looked >= end + 600 * SECOND && now < end + 1500 * SECOND, "{now}");
    // Long ago: at once.
    let mut lane = self::lane(rules, start);
    while let Next::Read(_) = lane.next(end + 3600 * SECOND) {
        page(&mut lane, &[], false);
    }
    assert_eq!(lane.next(end + 3600 * SECOND), Next::End);
}
