//! Files that are settled in part: where the next loan of them begins.

use super::*;
use crate::ack::{Reached, SettledPart};

fn reached(offset: u64) -> Reached {
    Reached { offset, windows: 2, records: 7 }
}

/// Opens the file as a worker does, and settles it up to an offset.
async fn settle_up_to(files: &Files, delivery: &Delivery, offset: u64) {
    let Body::File { path, check, .. } = &delivery.body else { panic!("not a file") };
    check(&File::open(path).unwrap()).unwrap();
    let books = Books { read: 10, filtered: 10, ..Books::default() };
    let key = DeliveryKey::of(&delivery.identity);
    files
        .settle_part(vec![SettledPart { id: delivery.id, key, reached: reached(offset), books }])
        .await
        .unwrap();
}

async fn one(world: &World, files: &Files) -> Delivery {
    world.run(files.next(1)).await.unwrap().unwrap().pop().unwrap()
}

/// What happens to a file that was settled up to a place, before the next run, and where that begins.
#[tokio::test(start_paused = true)]
async fn a_file_is_gone_on_with_only_while_its_content_is_the_same() {
    type Change = fn(&World);
    let table: [(&str, Change, u64); 7] = [
        ("nothing", |_| {}, 6),
        ("renamed", |world| fs::rename(world.path("a"), world.path("z")).unwrap(), 6),
        ("linked", |world| fs::hard_link(world.path("a"), world.path("a0")).unwrap(), 6),
        ("touched", |world| world.age("a", HOUR + 1), 0),
        ("appended to", |world| world.write("a", "{\"a\":1}\n{\"a\":2}\n{}\n"), 0),
        ("rewritten with its size and time as before", |world| world.write("a", "{\"b\":1}\n{\"b\":2}\n"), 0),
        (
            "replaced",
            |world| {
                world.write("new", "{\"b\":1}\n{\"b\":2}\n");
                fs::rename(world.path("new"), world.path("a")).unwrap();
            },
            0,
        ),
    ];
    for (what, change, from) in table {
        let world = World::new();
        world.write("a", "{\"a\":1}\n{\"a\":2}\n");
        let files = world.files(true);
        let delivery = one(&world, &files).await;
        assert_eq!(delivery.from, Some(Reached::default()));
        settle_up_to(&files, &delivery, 3).await;
        settle_up_to(&files, &delivery, 6).await;
        files.settle(vec![settled(&delivery, Verdict::Failed, Note::Stopped)]).await.unwrap();
        assert_eq!(files.unsettled(), [""; 0]);
        drop(files);
        change(&world);
        let files = world.files(true);
        assert!(lock(&files.shared.desk).crash.open.is_empty(), "{what}: no crash");
        let again = one(&world, &files).await;
        let begins = if from > 0 { reached(from) } else { Reached::default() };
        assert_eq!(again.from, Some(begins), "{what}");
        files.settle(vec![work(&again)]).await.unwrap();
        assert_eq!(world.run(ship_all(&files)).await.len(), 0, "{what}");
        drop(files);
        assert_eq!(world.ship().await, [""; 0], "{what}: once more");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_or_has_grown_is_lent_again_from_where_it_was_settled() {
    let world = World::new();
    world.write_aged("a", b"{\"a\":1}\n{\"a\":2", 0);
    let files = world.files(false);
    let delivery = one(&world, &files).await;
    settle_up_to(&files, &delivery, 7).await;
    files
        .settle(vec![settled(&delivery, Verdict::Failed, Note::Why("the sink is away".into()))])
        .await
        .unwrap();
    let again = one(&world, &files).await;
    assert_eq!((again.from, &again.identity), (Some(reached(7)), &delivery.identity));
    settle_up_to(&files, &again, 8).await;
    files.settle(vec![settled(&again, Verdict::Failed, Note::Incomplete)]).await.unwrap();
    use std::io::Write as _;
    File::options().append(true).open(world.path("a")).unwrap().write_all(b"}\n").unwrap();
    let grown = one(&world, &files).await;
    assert_eq!((grown.from, &grown.identity), (Some(reached(8)), &delivery.identity));
    files.settle(vec![work(&grown)]).await.unwrap();
    drop(files);
    assert_eq!(world.ship().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_only_what_follows_is_counted_as_shipped_again() {
    let world = World::new();
    world.write("a", "{\"a\":1}\n{\"a\":2}\n");
    let files = world.files(true);
    let delivery = one(&world, &files).await;
    settle_up_to(&files, &delivery, 6).await;
    drop(files);
    let files = world.files(true);
    assert_eq!(lock(&files.shared.desk).crash.open.len(), 1);
    let again = one(&world, &files).await;
    assert_eq!(again.from, Some(reached(6)));
    settle_up_to(&files, &again, 9).await;
    assert_eq!(lock(&files.shared.desk).crash.records, 10);
    files.settle(vec![work(&again)]).await.unwrap();
    assert!(lock(&files.shared.desk).crash.open.is_empty());
    assert!(files.shared.ledger.load().unwrap().crash.open.is_empty());
}
