//! A collector that does whatever chance says: every event arrives, or is found in rejects where it was refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::events::{balanced, put, to};
use crate::hec::{Acks, Hec, Manners};

fn round(seed: u64) {
    let acks = Acks { after: Duration::from_millis(100), lost: 10 };
    let manners = Manners {
        seed,
        invalid: 30,
        keeps_before: seed.is_multiple_of(2),
        busy: 10,
        hangs: 5,
        dies: 5,
        acks: seed.is_multiple_of(3).then_some(acks),
        ..Manners::default()
    };
    let hec = Hec::start(manners);
    let compression = if seed.is_multiple_of(5) { "none" } else { "gzip" };
    let more = format!(
        "ack_poll = \"100ms\"\nack_timeout = \"2s\"\nbatch = {{ events = 40, compression = \"{compression}\" }}\nconnection = {{ timeout = \"700ms\" }}"
    );
    let here = to(&[&hec], &more);
    let mut ids = put(&here, "a", 150);
    ids.extend(put(&here, "b", 150));
    let (wrong, right): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| hec.refuses(id));
    let ran = here.once();
    balanced(&ran);
    let mut arrived = hec.ids();
    arrived.dedup();
    assert_eq!(arrived, right, "seed {seed}");
    let mut refused: Vec<String> = here
        .rejects()
        .iter()
        .map(|reject| crate::here::id(std::str::from_utf8(&reject.bytes).unwrap()))
        .collect();
    refused.sort();
    assert_eq!(refused, wrong, "seed {seed}");
}

#[test]
fn every_event_arrives_or_is_found_in_rejects() {
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    match next.fetch_add(1, Ordering::SeqCst) {
                        seed @ 1..=20 => round(seed),
                        _ => return,
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_not_acknowledged_when_the_program_was_killed_is_sent_again() {
    let acks = Acks { after: Duration::from_millis(400), lost: 0 };
    let hec = Hec::start(Manners { acks: Some(acks), takes: Duration::from_millis(5), ..Manners::default() });
    let here = to(&[&hec], "ack_poll = \"100ms\"\nbatch = { events = 20 }");
    let mut ids = Vec::new();
    for round in 0..8_u64 {
        ids.extend(put(&here, &format!("{round}"), 100));
        let before = hec.asked().len();
        let mut running = here.start(&["run"]);
        // At another point each time: when this many requests have come, all of them not yet acknowledged or some.
        running.until("requests come", |_| hec.asked().len() > before + usize::try_from(round).unwrap());
        running.signal(nix::sys::signal::Signal::SIGKILL);
        drop(running);
        // What was received and never indexed is lost with the collector, too.
        hec.restart();
    }
    here.once().ended(0);
    let mut arrived = hec.ids();
    arrived.dedup();
    assert_eq!(arrived, ids);
}
