//! Several endpoints.

use crate::events::{put, to};
use crate::hec::{Acks, Hec, Manners};
use std::time::Duration;

#[test]
fn endpoints_take_turns_and_acknowledgements_belong_to_their_endpoint() {
    let manners =
        Manners { acks: Some(Acks { after: Duration::from_millis(700), lost: 0 }), ..Manners::default() };
    let (first, second) = (Hec::start(manners.clone()), Hec::start(manners));
    let more = "ack_poll = \"300ms\"\nbatch = { events = 10 }\nconnection = { concurrency = 1 }";
    let here = to(&[&first, &second], more);
    let ids = put(&here, "a", 100);
    here.once().ended(0).books();
    let mut arrived = first.ids();
    arrived.extend(second.ids());
    arrived.sort();
    assert_eq!(arrived, ids);
    assert_eq!((first.asked().len(), second.asked().len()), (5, 5));
    assert_ne!(first.asked()[0].channel, second.asked()[0].channel);
}

#[test]
fn one_that_is_not_there_is_left_out() {
    let gone = Hec::start(Manners::default());
    let there = Hec::start(Manners::default());
    let here = to(&[&gone, &there], "batch = { events = 5 }");
    drop(gone);
    let ids = put(&here, "a", 100);
    let ran = here.once();
    ran.ended(0).books();
    assert_eq!(there.ids(), ids);
}

#[test]
fn one_that_lets_nobody_in_is_left_out_and_all_of_them_pause_the_sink() {
    let (first, second) = (Hec::start(Manners::default()), Hec::start(Manners::default()));
    first.behave(|manners| manners.locked = true);
    let here = to(&[&first, &second], "batch = { events = 5 }\nconnection = { concurrency = 1 }");
    let mut ids = put(&here, "a", 100);
    let ran = here.once();
    ran.ended(0);
    assert_eq!((second.ids(), first.asked().len()), (ids.clone(), 1));
    let refused = format!("credentials refused (403) at {}: 403 Forbidden", first.url());
    assert_eq!(ran.told(&refused).len(), 1, "{}", ran.said);
    assert!(!ran.said.contains("paused"), "{}", ran.said);
    // Both of them.
    second.behave(|manners| manners.locked = true);
    ids.extend(put(&here, "b", 5));
    let mut running = here.start(&["run"]);
    running.until("it pauses", |said| said.contains("paused: credentials refused (403)"));
    first.behave(|manners| manners.locked = false);
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.until("all is there", |_| first.ids().len() + second.ids().len() == ids.len());
    running.stop().ended(0);
    assert_eq!(here.rejects().len(), 0);
}

#[test]
fn one_that_is_full_is_left_out_until_it_is_healthy_again() {
    let full = r#"{"text":"HEC is unhealthy, queues are full","code":18}"#;
    let (first, second) = (Hec::start(Manners::default()), Hec::start(Manners::default()));
    first.behave(|manners| manners.health = (503, 18));
    (0..3).for_each(|_| first.order(503, full, false));
    let here = to(&[&first, &second], "");
    let mut running = here.start(&["run"]);
    let mut ids = Vec::new();
    let mut file = 0;
    // Files come in until it was asked how it is.
    running.until("its health is asked for", |_| {
        if second.ids().len() >= ids.len() {
            ids.extend(put(&here, &format!("{file:04}"), 3));
            file += 1;
        }
        first.health() > 0
    });
    assert!(first.ids().is_empty());
    first.behave(|manners| manners.health = (200, 17));
    running.until("it gets its turn again", |_| {
        if first.ids().len() + second.ids().len() >= ids.len() {
            ids.extend(put(&here, &format!("{file:04}"), 3));
            file += 1;
        }
        !first.ids().is_empty()
    });
    running.until("all is there", |_| first.ids().len() + second.ids().len() >= ids.len());
    running.stop().ended(0);
    let mut arrived = first.ids();
    arrived.extend(second.ids());
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, ids);
}
