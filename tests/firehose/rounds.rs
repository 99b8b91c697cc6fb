//! `kill -9` at moments that chance picks, while requests are delivered: every record arrives.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::client::Client;
use crate::here::Here;
use crate::scene::{ACCESS_KEY, PROMPT, batch};

/// Who delivers at the same time.
const SENDERS: u64 = 4;

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn nothing_that_is_delivered_is_lost_whenever_it_is_killed() {
    let rounds = number("TRAILSHIP_CRASH_BUCKET_ROUNDS").unwrap_or(20);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("TRAILSHIP_CRASH_SEED").unwrap_or(now.as_secs());
    eprintln!("firehose: {rounds} rounds, TRAILSHIP_CRASH_SEED={seed}");
    // Every run listens at the same place, as the stream knows only one.
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = format!(
        "type = \"firehose\"\nlisten = \"{address}\"\naccess_key = {{ env = \"ACCESS_KEY\" }}\nanswer_within = \"1700ms\""
    );
    let here = Here::with("").reading(&source, PROMPT).knowing([("ACCESS_KEY", ACCESS_KEY)]);
    let (began, over) = (Instant::now(), AtomicBool::new(false));
    let mut expected = BTreeSet::new();
    let mut in_time = 0;
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mut client = Client::new(address, ACCESS_KEY);
                (client.kills, client.scale) = (10, 0.01);
                let over = &over;
                scope.spawn(move || {
                    let mut chance = Chance::seed_from_u64(seed.wrapping_add(sender));
                    let (mut sent, mut line) = (Vec::new(), None);
                    for request in 0.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let records = 1 + usize::try_from(chance.next_u64() % 9).unwrap();
                        let (batch, ids) = batch(&format!("{sender}-{request}"), chance.next_u64(), records);
                        let taken = client.deliver(&mut line, &batch, &mut chance, Duration::from_secs(120));
                        assert!(taken.is_some(), "{} was never taken", batch.id);
                        sent.extend(ids);
                    }
                    sent
                })
            })
            .collect();
        let mut chance = Chance::seed_from_u64(seed);
        for _ in 0..rounds {
            let mut running = here.start(&["run"]);
            std::thread::sleep(Duration::from_millis(chance.next_u64() % 2500));
            in_time += u64::from(!running.has_ended());
            running.signal(Signal::SIGKILL);
            let ran = running.end();
            assert!(!ran.said.contains("panicked") && !ran.said.contains("do not balance"), "{}", ran.said);
        }
        over.store(true, Ordering::Relaxed);
        // The last run takes what is on its way.
        let running = here.start(&["run"]);
        for sender in senders {
            expected.extend(sender.join().unwrap());
        }
        running.stop().ended(0);
    });
    let got = here.ids("out");
    let there: BTreeSet<String> = got.iter().cloned().collect();
    let copies = got.len() - there.len();
    eprintln!(
        "firehose: {rounds} rounds in {:.0?}, {} records, {copies} copies",
        began.elapsed(),
        there.len()
    );
    let missing: Vec<_> = expected.difference(&there).take(20).collect();
    assert!(missing.is_empty(), "answered 200 and missing: {missing:?}");
    assert!(there.is_subset(&expected) && in_time * 2 > rounds);
    assert!(here.rejects().is_empty());
}
