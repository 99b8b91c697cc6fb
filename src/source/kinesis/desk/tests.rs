//! What may be lent, and whose ends count.

use std::sync::OnceLock;

use super::*;
use crate::source::kinesis::keep::Ledger;
use crate::source::new_id;
use crate::state::Store;

const MINUTE: Duration = Duration::from_secs(60);

fn ledger() -> Ledger {
    Ledger::of(Store::in_memory(&Clock::System).unwrap().into(), "main", "stream")
}

fn piece(holding: u64, slot: Slot) -> Piece {
    let at: (Arc<str>, Option<u32>) = ("7".into(), None);
    let span = Span { first: at.clone(), last: at, came: 0, failures: 0 };
    Piece { shard: "s".into(), holding, slot, span, bytes: Bytes::new() }
}

fn place() -> Place {
    Place { sequence: "7".into(), sub: None, arrival: 5 }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_or_lent_of_a_shard_whose_lease_may_be_over() {
    let desk = Desk::new("stream", &Clock::System, Keep::Leases(OnceLock::new(), ledger()));
    let shard: Arc<str> = "s".into();
    let (number, _) = desk.hold(&shard, &Checkpoint::default(), Some(Instant::now() + MINUTE));
    let slot = desk.cut("s", number, place(), piece(number, 0).span).unwrap();
    assert!(desk.is_held("s", number) && desk.lend(new_id(), &piece(number, slot)));
    tokio::time::advance(MINUTE).await;
    assert!(!desk.is_held("s", number) && !desk.lend(new_id(), &piece(number, slot)));
    // Somebody else had it, and it is ours again: what was read before is not what is lent now.
    desk.lose("s");
    assert_eq!(desk.cut("s", number, place(), piece(number, 0).span), None);
    let (again, _) = desk.hold(&shard, &Checkpoint::default(), Some(Instant::now() + MINUTE));
    assert!(!desk.lend(new_id(), &piece(number, slot)) && desk.is_held("s", again));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_loan_of_an_earlier_holding_says_nothing() {
    let desk = Desk::new("stream", &Clock::System, Keep::Leases(OnceLock::new(), ledger()));
    let shard: Arc<str> = "s".into();
    let end = |id, verdict| Settled {
        id,
        key: crate::pipeline::outcomes::DeliveryKey::default(),
        verdict,
        note: Note::None,
        books: crate::pipeline::books::Books::default(),
    };
    let (number, _) = desk.hold(&shard, &Checkpoint::default(), None);
    let slot = desk.cut("s", number, place(), piece(number, 0).span).unwrap();
    let id = new_id();
    assert!(desk.lend(id, &piece(number, slot)));
    desk.lose("s");
    let (number, _) = desk.hold(&shard, &Checkpoint::default(), None);
    desk.cut("s", number, place(), piece(number, 0).span).unwrap();
    desk.settle(vec![end(id, Verdict::Delivered)]).await.unwrap();
    assert!(!desk.is_settled("s", number), "the new holding's first piece has the same number");
    // One that failed is read again, soon.
    let id = new_id();
    assert!(desk.lend(id, &piece(number, slot)));
    desk.settle(vec![end(id, Verdict::Failed)]).await.unwrap();
    assert!(desk.again("s", number).unwrap_err().is_some());
    tokio::time::advance(AGAIN * 2).await;
    assert_eq!(desk.again("s", number).unwrap().slot, slot);
}
