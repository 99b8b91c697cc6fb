//! What answers do: refusals, hangs, disconnections, pauses.

use std::time::Duration;

use crate::fake_http::{Reply, Server};
use crate::formats::{ids, records, sending, sorted};
use crate::here::{Here, log_file, record};

/// Numbers by chance, from a seed.
fn chance(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn every_event_arrives_at_a_server_that_refuses_hangs_and_leaves() {
    for seed in 1..=20 {
        let draw = std::sync::Mutex::new(chance(seed));
        let server = Server::start(move |number, _| {
            let drawn = if number < 200 { (*draw.lock().unwrap())(100) } else { 99 };
            match drawn {
                0..15 => Reply::status(503),
                15..30 => Reply::Answer(429, vec![("retry-after", "0".into())], "slow down".into()),
                30..35 => Reply::Hang,
                35..38 => Reply::Leave,
                38..40 => Reply::TakeAndLeave,
                _ => Reply::Take,
            }
        });
        let here = sending(&server, "batch = { events = 10 }\nconnection = { timeout = \"300ms\" }");
        let expected = records(&here, 500);
        let ran = here.once();
        ran.ended(0);
        let mut found = ids(&server.taken());
        found.dedup();
        assert_eq!(found, sorted(expected), "seed {seed}");
        assert_eq!(ran.books().delivered, 500);
    }
}

#[test]
fn what_is_refused_is_found_and_goes_to_rejects_with_the_servers_reason() {
    let server =
        Server::start(|_, seen| match seen.body.contains("\"r7\"") || seen.body.contains("\"r33\"") {
            true => Reply::Answer(400, vec![], "field `x` is \u{7} no number".into()),
            false => Reply::Take,
        });
    let here = sending(&server, "");
    let mut expected = records(&here, 40);
    let ran = here.once();
    ran.ended(3);
    expected.retain(|id| id != "r7" && id != "r33");
    assert_eq!(ids(&server.taken()), sorted(expected));
    let rejects = here.rejects();
    assert_eq!(rejects.len(), 2);
    for reject in rejects {
        assert!(
            reject.reason.contains("400 Bad Request: field `x` is \\u{7} no number"),
            "{}",
            reject.reason
        );
        assert!(!reject.reason.contains("/in"), "{}", reject.reason);
    }
}

#[test]
fn what_is_too_large_goes_in_halves_and_alone_to_rejects() {
    let server = Server::start(|_, seen| match seen.body.len() > 2000 {
        true => Reply::Answer(413, vec![], "<html>too large</html>".into()),
        false => Reply::Take,
    });
    let here = sending(&server, "batch = { compression = \"gzip\" }");
    let mut texts: Vec<String> = (0..30).map(|number| record(&format!("r{number}"), "")).collect();
    texts.insert(11, record("large", &format!(",\"pad\":\"{}\"", "x".repeat(3000))));
    here.put("trail/a.json", log_file(&texts));
    here.once().ended(3);
    assert_eq!(ids(&server.taken()), sorted((0..30).map(|number| format!("r{number}")).collect()));
    assert_eq!(here.rejects().len(), 1);
    assert!(here.rejects()[0].reason.contains("413 Payload Too Large"), "{}", here.rejects()[0].reason);
}

#[test]
fn refused_credentials_pause_the_sink_until_they_are_mended() {
    let server = Server::start(|_, seen| match seen.header("authorization") {
        Some("Bearer new") => Reply::Take,
        _ => Reply::Answer(401, vec![], "token expired".into()),
    });
    let here = sending(&server, "auth = { type = \"bearer\", token = { file = \"token\" } }");
    here.put("token", "old");
    let expected = records(&here, 10);
    let mut running = here.start(&["run"]);
    running.until("it says that it is not let in", |said| {
        said.contains("paused: credentials refused (401) at http://127.0.0.1:")
            && said.contains("401 Unauthorized: token expired")
            && said.contains("nothing is acknowledged")
    });
    assert!(!running.said().contains("/in?"), "the path may be a secret: {}", running.said());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((server.taken().len(), server.seen().len()), (0, 1));
    here.put("token", "new");
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.until("it is let in", |said| said.contains("the sink takes records again"));
    let ran = running.stop();
    assert_eq!((ids(&server.taken()), here.rejects().len()), (sorted(expected), 0));
    assert!(!ran.said.contains("Bearer"), "{}", ran.said);
}

#[test]
fn a_redirect_is_not_followed_and_pauses() {
    let other = Server::start(|_, _| Reply::Take);
    let to = other.url("/elsewhere");
    let server = Server::start(move |_, _| Reply::Answer(307, vec![("location", to.clone())], String::new()));
    let here = sending(&server, "");
    records(&here, 3);
    let mut running = here.start(&["run"]);
    running.until("it pauses", |said| said.contains("307 Temporary Redirect"));
    running.stop();
    assert_eq!((other.seen().len(), server.taken().len()), (0, 0));
}

#[test]
fn a_server_that_says_when_is_asked_then() {
    let server = Server::start(|number, _| match number {
        0 => Reply::Answer(503, vec![("retry-after", "2".into())], String::new()),
        _ => Reply::Take,
    });
    let here = sending(&server, "batch = { events = 5 }");
    let expected = records(&here, 20);
    here.once().ended(0);
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(2));
    assert_eq!(ids(&server.taken()), sorted(expected));
}

#[test]
fn a_dead_server_keeps_everything_and_holds_up_no_other_sink() {
    let server = Server::start(|_, _| Reply::Hang);
    let sink = format!("[sinks.lake]\ntype = \"http\"\nurl = \"{}\"\n", server.url("/"));
    let pipelines = "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\nrotate_age = \"1s\"\n[pipelines.one]\nsinks = [\"lake\"]\n[pipelines.two]\nsinks = [\"archive\"]\n";
    let here = Here::with(&format!("{sink}{pipelines}"));
    here.set("stop_deadline = \"1s\"");
    let expected = records(&here, 100);
    let mut running = here.start(&["run"]);
    running.until("it says so", |said| said.contains("no answer for 10 s"));
    assert_eq!(here.ids("out"), sorted(expected));
    running.stop();
}

/// A server that refuses what is too large as many do: by closing the connection, without a word.
#[test]
fn what_is_too_large_goes_in_smaller_pieces_where_the_server_only_closes_the_connection() {
    let server = Server::start(|_, seen| match seen.body.len() > 2000 {
        true => Reply::Leave,
        false => Reply::Take,
    });
    let here = sending(&server, "");
    let expected = records(&here, 40);
    here.once().ended(0);
    assert_eq!(ids(&server.taken()), sorted(expected));
}

/// A source ends when all is settled: nothing waits for more to come.
#[test]
fn a_run_that_ends_does_not_wait_until_a_request_is_old_enough() {
    let server = Server::start(|_, _| Reply::Take);
    let here = sending(&server, "batch = { age = \"1 h\" }");
    let expected = records(&here, 20);
    here.start(&["run", "--once"]).end().ended(0);
    assert_eq!(ids(&server.taken()), sorted(expected));
}

/// However many are refused in a row, none that was not refused itself goes to rejects.
#[test]
fn only_what_is_refused_itself_goes_to_rejects() {
    let wrong = |id: usize| id < 70;
    let server = Server::start(move |_, seen| {
        let number = |line| crate::here::id(line)[1..].parse().unwrap();
        if seen.body.lines().any(|line| wrong(number(line))) { Reply::status(400) } else { Reply::Take }
    });
    let here = sending(&server, "");
    let expected: Vec<String> = records(&here, 100).into_iter().skip(70).collect();
    here.once().ended(3);
    assert_eq!((ids(&server.taken()), here.rejects().len()), (sorted(expected), 70));
}
