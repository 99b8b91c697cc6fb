//! What is known of a crash: the log never says that less was shipped again than was.

use futures_util::FutureExt as _;

use super::*;
use crate::pipeline::books::SinkBooks;

/// Lends so many files.
async fn lend(world: &World, files: &Files, many: usize) -> Vec<Delivery> {
    let mut lent = Vec::new();
    while lent.len() < many {
        lent.extend(world.run(files.next(100)).await.unwrap().unwrap());
    }
    lent.sort_by_key(path_of);
    lent
}

/// What a run after a crash knows of it: files that are shipped again; files and records that were.
fn known(files: &Files) -> (usize, u64, u64) {
    let desk = lock(&files.shared.desk);
    (desk.crash.open.len(), desk.crash.files, desk.crash.records)
}

#[tokio::test(start_paused = true)]
async fn what_crashes_again_before_it_was_told_is_counted_for_every_crash() {
    let world = World::new();
    ["a", "b", "c"].iter().for_each(|name| world.write(name, "{}"));
    let files = world.files(true);
    lend(&world, &files, 3).await;
    drop(files);
    let files = world.files(true);
    let lent = lend(&world, &files, 3).await;
    files.settle(vec![work(&lent[0])]).await.unwrap();
    assert_eq!(known(&files), (2, 1, 3));
    drop(files);
    let files = world.files(true);
    assert_eq!(known(&files), (2, 1, 3), "what was counted and not told");
    let lent = lend(&world, &files, 2).await;
    files.settle(vec![work(&lent[0])]).await.unwrap();
    assert_eq!(known(&files), (1, 2, 9), "two runs may have shipped it");
    files.settle(vec![work(&lent[1])]).await.unwrap();
    assert_eq!(known(&files), (0, 0, 0), "told");
    drop(files);
    assert_eq!(known(&world.files(true)), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_loan_that_failed_counts_only_while_something_of_it_came_out() {
    for (came_out, open) in [(0, 0), (1, 1)] {
        let world = World::new();
        world.write("a", "{}");
        let fail = async |files: &Files| {
            let lent = lend(&world, files, 1).await;
            let mut failed = settled(&lent[0], Verdict::Failed, Note::Why("one sink lost it".into()));
            failed.books.sinks = vec![SinkBooks { delivered: came_out, ..SinkBooks::default() }];
            files.settle(vec![failed]).await.unwrap();
        };
        let files = world.files(true);
        fail(&files).await;
        drop(files);
        let files = world.files(true);
        assert_eq!(known(&files).0, open, "killed before it was lent again");
        fail(&files).await;
        assert_eq!(world.run(ship_all(&files)).await.len(), 1);
        drop(files);
        assert_eq!(known(&world.files(true)).0, 0, "it was settled after all");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_lent_in_the_end_is_not_on_loan() {
    let world = World::new();
    world.write("a", "{}");
    let files = world.files(true);
    let mut lent = lend(&world, &files, 1).await;
    // The run is to end while the note is written, which may be written before it is looked for.
    while let Some(noted) = lending::noted(&files.shared, lent).now_or_never() {
        lent = noted;
    }
    assert!(lock(&files.shared.desk).is_idle());
    files.shared.ledger.commit().unwrap();
    assert!(files.shared.ledger.load().unwrap().crash.open.is_empty());
    assert_eq!(lend(&world, &files, 1).await.len(), 1, "if it is asked again after all");
}
