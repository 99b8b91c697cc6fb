//! Tables of leases, against a fake that breaks off wherever it is told to.

#[path = "../../../../tests/support/fake_dynamodb.rs"]
mod fake_dynamodb;

use serde_json::{Value, json};

use self::fake_dynamodb::FakeDynamodb;
use super::*;
use crate::source::kinesis::keep::{Begun, Kept};
use crate::source::kinesis::stream::Stream;
use crate::source::pull::fake_json;

/// When the run that knows began; those that know nothing began later.
const OURS: i64 = 1_000;
const LATER: i64 = 5_000;

fn table(fake: &FakeDynamodb) -> Table {
    let loaded = Stream::fake(&format!("http://{}", fake.address)).loaded;
    Table::new(&crate::aws::Aws::default(), &loaded, "leases", Duration::from_secs(30), ("main", "stream"))
}

fn begun(from: i64, id: Option<&str>) -> Begun {
    let table = id.map(|id| Kept { name: "leases".to_owned(), ids: vec![id.to_owned()] });
    Begun { stream: "trail".to_owned(), from: Some(from), table }
}

/// A table that others have begun later, with their checkpoints.
fn of_others() -> Vec<Value> {
    let of_shard = |shard: &str| {
        json!({ "shard": { "S": format!("main/stream/{shard}") }, "counter": { "N": "7" },
            "owner": { "S": "them" }, "sequence": { "S": "99" } })
    };
    let row = json!({ "shard": { "S": "main/stream" }, "stream": { "S": "trail" },
        "from": { "N": LATER.to_string() }, "id": { "S": "theirs" } });
    vec![row, of_shard("shard-0"), of_shard("shard-1")]
}

/// What a run does before it reads anything: with the table that is there, as one process and at its pace.
async fn joins(fake: &FakeDynamodb, known: &Begun, remembered: bool) -> Joined {
    let table = table(fake);
    table.find().await.unwrap();
    table.join(known, remembered).await.unwrap()
}

/// No checkpoint is left that says nothing of what came before it.
fn is_read_again(fake: &FakeDynamodb) -> bool {
    fake.rows().values().all(|row| !row.contains_key("sequence"))
}

/// A process is killed anywhere in what it does about a table that does not hold its checkpoints: whoever comes next, and
/// whether or not it has kept what it found, the stream is read since the first run began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_that_is_broken_off_anywhere_loses_nothing() {
    let others = of_others();
    let tables: [Option<&[Value]>; 4] = [None, Some(&[]), Some(&others), Some(&others[..1])];
    let mut broken = 0;
    for before in tables {
        for carried_out in [false, true] {
            for answered in 0.. {
                let fake = FakeDynamodb::start().await;
                fake.set(before);
                fake.breaks(Some((answered, carried_out)));
                let known = begun(OURS, Some("ours"));
                let ended = tokio::select! {
                    joined = joins(&fake, &known, true) => Some(joined),
                    () = fake.broken() => None,
                };
                fake.breaks(None);
                broken += u32::from(ended.is_none());
                // Another that knows nothing, or knows only theirs, begins before we do again.
                let other = match answered % 3 {
                    0 => None,
                    1 => Some(joins(&fake, &begun(LATER, None), false).await),
                    _ => Some(joins(&fake, &begun(LATER, Some("theirs")), true).await),
                };
                // The state still says what it said before.
                let again = joins(&fake, &known, true).await;
                let what = format!("{before:?}, {answered} answered, {carried_out}, {other:?}");
                assert_eq!(again.begun.from, Some(OURS), "{what}");
                assert!(is_read_again(&fake), "{what}: {:?}", fake.rows());
                assert!(!fake.rows()["main/stream"].contains_key("pending"), "{what}");
                // Whoever began meanwhile sees that the checkpoints are others now, and finds the same.
                if let Some(other) = other {
                    let other = joins(&fake, &other.begun, true).await;
                    assert_eq!(
                        (other.begun.from, other.begun.id()),
                        (Some(OURS), again.begun.id()),
                        "{what}"
                    );
                }
                // Then it goes on as ever.
                let kept = joins(&fake, &again.begun, true).await;
                assert_eq!((kept.lost, kept.begun.id()), (false, again.begun.id()), "{what}");
                if ended.is_some() {
                    break;
                }
            }
        }
    }
    assert!(broken > 30, "{broken}");
}

/// A write of before the reset, that comes when the shard is ours again by the new table: it says nothing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_before_a_reset_is_not_written_into_the_new_table() {
    let fake = FakeDynamodb::start().await;
    let row = |owner: &str, counter: u64| json!({ "shard": { "S": "main/stream/s" }, "owner": { "S": owner }, "counter": { "N": counter.to_string() } });
    let table = table(&fake);
    let shard: Arc<str> = "s".into();
    let old = Checkpoint { sequence: Some("99".to_owned()), ..Checkpoint::default() };
    table.counters().insert(shard.clone(), 7);
    // It was taken anew, and is ours: once.
    fake.set(Some(&[row(&table.me, 1)]));
    assert_eq!(table.write(&shard, &old, false).await, Ok(Change::Lost));
    assert!(is_read_again(&fake));
    // An answer that was lost on its way is another thing: it is ours, and one further.
    table.counters().insert(shard.clone(), 7);
    fake.set(Some(&[row(&table.me, 8)]));
    assert_eq!(table.write(&shard, &old, false).await, Ok(Change::Made));
    assert!(!is_read_again(&fake));
}
