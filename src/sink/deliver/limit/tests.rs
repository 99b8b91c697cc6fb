//! Against a simulated server, on a clock that stands still.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::testing::contract::Chance;

/// Workers that take about 50 ms each, a queue of 50, a refusal when it is full.
struct Server {
    workers: usize,
    busy: usize,
    queue: std::collections::VecDeque<oneshot::Sender<()>>,
    chance: Chance,
    done: u64,
    refused: u64,
}

const WORK: u64 = 50;

async fn request(server: &RefCell<Server>) -> bool {
    let turn = {
        let mut server = server.borrow_mut();
        if server.busy < server.workers {
            server.busy += 1;
            None
        } else if server.queue.len() < 50 {
            let (sender, turn) = oneshot::channel();
            server.queue.push_back(sender);
            Some(turn)
        } else {
            server.refused += 1;
            return false;
        }
    };
    if let Some(turn) = turn {
        turn.await.unwrap();
    }
    let work = WORK - 5 + server.borrow_mut().chance.below(11);
    tokio::time::sleep(Duration::from_millis(work)).await;
    let mut server = server.borrow_mut();
    server.done += 1;
    server.busy -= 1;
    while server.busy < server.workers
        && let Some(next) = server.queue.pop_front()
    {
        if next.send(()).is_ok() {
            server.busy += 1;
        }
    }
    true
}

/// Sends for this long as fast as it may; tells how much was done of what could be, in the last half, and how much was refused.
async fn send(limit: &Limit, server: &Rc<RefCell<Server>>, seconds: u64) -> (f64, f64) {
    let (workers, end) = (server.borrow().workers, Instant::now() + Duration::from_secs(seconds));
    let mut sending = FuturesUnordered::new();
    let begin = |server: &RefCell<Server>| (server.borrow().done, server.borrow().refused);
    let (first, half) = (begin(server), Instant::now() + Duration::from_secs(seconds / 2));
    let mut at_half = None;
    while Instant::now() < end {
        while sending.len() < 200 {
            sending.push(async {
                let slot = limit.enter(1000).await;
                let taken = request(server).await;
                slot.ended(if taken { Ended::Answered } else { Ended::Overloaded });
                if !taken {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        sending.next().await;
        if at_half.is_none() && Instant::now() >= half {
            at_half = Some(begin(server));
        }
    }
    let (last, (done, _)) = (begin(server), at_half.unwrap());
    while sending.next().await.is_some() {}
    let could = workers as f64 * (seconds / 2) as f64 * 1000.0 / WORK as f64;
    let all = (last.0 - first.0 + last.1 - first.1) as f64;
    ((last.0 - done) as f64 / could, (last.1 - first.1) as f64 / all)
}

#[tokio::test(start_paused = true)]
async fn the_limit_finds_the_capacity_and_follows_it() {
    for seed in 1..=3 {
        let server = Server {
            workers: 10,
            busy: 0,
            queue: Default::default(),
            chance: Chance::new(seed),
            done: 0,
            refused: 0,
        };
        let (limit, server) = (Limit::adaptive(200), Rc::new(RefCell::new(server)));
        for workers in [10, 5, 20] {
            server.borrow_mut().workers = workers;
            let (capacity, refused) = send(&limit, &server, 60).await;
            assert!(capacity >= 0.9, "seed {seed}, {workers} workers: {capacity}, limit {}", limit.current());
            assert!(refused <= 0.02, "seed {seed}, {workers} workers: {refused} refused");
        }
        // For long: the queue that we make ourselves is not taken for the server's pace.
        let (capacity, refused) = send(&limit, &server, 1200).await;
        assert!(capacity >= 0.9 && refused <= 0.02, "seed {seed}: {capacity}, {refused}");
        assert!((20..40).contains(&limit.current()), "seed {seed}: {}", limit.current());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_cuts_once_a_round_and_a_lost_answer_cuts_deeper() {
    let limit = Limit::new(16.0, 64, true);
    let mut slots = Vec::new();
    for _ in 0..16 {
        slots.push(limit.enter(1).await);
    }
    limit.lock().usual = Duration::from_millis(50);
    for slot in slots {
        slot.ended(Ended::Overloaded);
    }
    assert_eq!(limit.current(), 11);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let mut slots = Vec::new();
    for _ in 0..11 {
        slots.push(limit.enter(1).await);
    }
    slots.pop().unwrap().ended(Ended::Lost);
    assert_eq!(limit.current(), 5);
    drop(slots);
    assert_eq!((limit.current(), limit.lock().in_flight), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_limit_stays_and_is_kept() {
    let limit = Limit::fixed(2);
    let first = limit.enter(1).await;
    let second = limit.enter(1).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), limit.enter(1)).await.is_err());
    first.ended(Ended::Overloaded);
    drop(second);
    let _again = limit.enter(1).await;
    assert_eq!(limit.current(), 2);
}
