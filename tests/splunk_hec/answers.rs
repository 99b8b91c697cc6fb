//! What answers do.

use nix::sys::signal::Signal;

use crate::events::{balanced, put, to};
use crate::hec::{Hec, Manners};

fn code(code: i64) -> String {
    format!(r#"{{"text":"so it is \u001b[31m","code":{code}}}"#)
}

/// Orders one answer; nothing is acknowledged before somebody mends it, and everything is there afterwards.
fn pauses(status: u16, body: &str, advice: &str) {
    let hec = Hec::start(Manners::default());
    hec.order(status, body, false);
    let here = to(&[&hec], "index = \"main\"");
    let ids = put(&here, "a", 5);
    let mut running = here.start(&["run", "--once"]);
    running.until("it was refused", |said| said.contains(advice) && said.contains("nothing is acknowledged"));
    assert_eq!(hec.ids(), [""; 0]);
    running.signal(Signal::SIGHUP);
    let ran = running.end();
    ran.ended(0).books();
    assert_eq!(hec.ids(), ids, "{status} {body}");
    assert!(here.rejects().is_empty());
    assert!(!ran.said.contains('\u{1b}'));
}

#[test]
fn what_somebody_has_to_mend_pauses_the_sink_and_loses_nothing() {
    let token = "look at `token`, and whether Splunk has it enabled";
    let acknowledgment = "look at the token's indexer acknowledgment";
    let cases: Vec<(u16, String, &str)> = vec![
        (403, code(1), token),
        (403, code(4), token),
        (401, code(2), token),
        (401, code(3), token),
        (400, code(7), "let the token write to the index `main`, or change `index`"),
        (400, code(10), acknowledgment),
        (400, code(11), acknowledgment),
        (400, code(14), acknowledgment),
        (400, code(16), "400 Bad Request"),
        (400, code(21), token),
        (400, code(22), token),
        (404, "<html>".to_owned(), "it is that of the collector, with its port"),
        (302, String::new(), "no redirect is followed"),
        (200, "<html>sign in".to_owned(), "that is no answer of an HTTP Event Collector"),
    ];
    std::thread::scope(|scope| {
        for (status, body, advice) in &cases {
            scope.spawn(move || pauses(*status, body, advice));
        }
    });
}

#[test]
fn what_passes_is_tried_again_and_arrives_once() {
    let hec = Hec::start(Manners::default());
    for (status, codes) in [(500, &[8][..]), (503, &[9, 18, 19, 20, 23]), (429, &[26, 27])] {
        codes.iter().for_each(|number| hec.order(status, &code(*number), false));
    }
    hec.order(502, "<html>no node</html>", false);
    hec.order_with(429, &code(26), &[("retry-after", "1")]);
    let here = to(&[&hec], "");
    let ids = put(&here, "a", 20);
    here.once().ended(0).books();
    assert_eq!((hec.ids(), hec.asked().len()), (ids, 11));
}

#[test]
fn a_collector_that_is_nearly_full_has_taken_the_events() {
    for number in [24, 25] {
        let hec = Hec::start(Manners::default());
        hec.order(200, &code(number), true);
        let here = to(&[&hec], "");
        let ids = put(&here, "a", 20);
        here.once().ended(0).books();
        assert_eq!((hec.ids(), hec.asked().len()), (ids, 1));
    }
}

#[test]
fn an_event_that_is_invalid_goes_to_rejects_and_the_rest_arrives() {
    for keeps_before in [false, true] {
        let hec = Hec::start(Manners { invalid: 10, keeps_before, ..Manners::default() });
        let here = to(&[&hec], "");
        let ids = put(&here, "a", 200);
        let (wrong, right): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| hec.refuses(id));
        assert!(wrong.len() > 5, "{}", wrong.len());
        balanced(&here.once());
        let mut arrived = hec.ids();
        let all = arrived.len();
        arrived.dedup();
        assert_eq!(arrived, right);
        // What is not known to be there is sent again: then it may be there twice.
        assert_eq!(all > right.len(), keeps_before, "{all}");
        let rejects = here.rejects();
        let mut refused: Vec<String> = rejects
            .iter()
            .map(|reject| crate::here::id(std::str::from_utf8(&reject.bytes).unwrap()))
            .collect();
        refused.sort();
        assert_eq!(refused, wrong);
        assert!(rejects.iter().all(|reject| reject.reason.contains("Invalid data format")));
    }
}
