//! Following a tree, and files that are not complete, change, or fail.

use super::*;
use std::io::Write as _;

const SOON: Duration = Duration::from_millis(500);

/// A source that follows the tree, and what it has lent.
struct Following<'w> {
    world: &'w World,
    files: Files,
    held: VecDeque<Delivery>,
}

impl<'w> Following<'w> {
    fn new(world: &'w World) -> Following<'w> {
        Following { world, files: world.files(false), held: VecDeque::new() }
    }

    /// The next delivery, if one comes within this time.
    async fn next(&mut self, within: Duration) -> Option<Delivery> {
        self.world.run(next_within(&self.files, within, &mut self.held)).await
    }

    /// Ships what comes within this time; returns the names.
    async fn ship(&mut self, within: Duration) -> Vec<String> {
        let end = tokio::time::Instant::now() + within;
        let mut shipped = Vec::new();
        while let Some(delivery) = self.next(end - tokio::time::Instant::now()).await {
            let end = work(&delivery);
            if end.verdict != Verdict::Failed {
                shipped.push(path_of(&delivery));
            }
            self.files.settle(vec![end]).await.unwrap();
        }
        self.world.names(&shipped)
    }
}

#[tokio::test(start_paused = true)]
async fn new_files_are_lent_when_they_are_closed_moved_in_or_linked() {
    let world = World::new();
    world.write("old", "{}");
    let mut following = Following::new(&world);
    assert_eq!(following.ship(SOON).await, ["old"]);
    world.write("closed", "{}");
    assert_eq!(following.ship(SOON).await, ["closed"]);
    fs::write(world.folder.path().join("aside"), "{}").unwrap();
    fs::rename(world.folder.path().join("aside"), world.path("moved")).unwrap();
    assert_eq!(following.ship(SOON).await, ["moved"]);
    fs::write(world.folder.path().join("aside"), "{}").unwrap();
    fs::hard_link(world.folder.path().join("aside"), world.path("linked")).unwrap();
    assert_eq!(following.ship(SOON).await, ["linked"]);
    world.write("new/deep/folder", "{}");
    assert_eq!(following.ship(SOON).await, ["new/deep/folder"]);
    world.write("new/deep/again", "{}");
    assert_eq!(following.ship(SOON).await, ["new/deep/again"]);
    // Known by what it is, not by where it is.
    fs::rename(world.path("new"), world.path("newer")).unwrap();
    assert_eq!(following.ship(SOON).await, [""; 0]);
    world.write("newer/deep/there", "{}");
    assert_eq!(following.ship(SOON).await, ["newer/deep/there"]);
    assert_eq!(following.ship(Duration::from_secs(300)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_no_notice_told_is_found_by_the_next_search() {
    let world = World::new();
    let mut following = Following::new(&world);
    // As if all notices were lost.
    following.files.watch_nothing();
    following.ship(SOON).await;
    world.write("a", "{}");
    world.write_aged("young", b"{}", 0);
    assert_eq!(following.ship(Duration::from_secs(55)).await, [""; 0]);
    assert_eq!(following.ship(Duration::from_secs(6)).await, ["a", "young"]);
    // It may be being written just now.
    world.write_aged("a", b"{\"more\":1}", 0);
    world.clock.advance(Duration::from_secs(58));
    world.age("a", 0);
    assert_eq!(following.ship(Duration::from_secs(9)).await, [""; 0]);
    assert_eq!(following.ship(Duration::from_secs(4)).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_object_waits_10_minutes_and_is_then_judged() {
    let world = World::new();
    world.write_aged("young.gz", &gzip("{}")[..10], 60);
    world.write_aged("old.gz", &gzip("{}")[..10], 601);
    let mut following = Following::new(&world);
    // The old one is judged at once; in this test that means shipped.
    assert_eq!(following.ship(Duration::from_secs(530)).await, ["old.gz"]);
    assert_eq!(following.ship(Duration::from_secs(20)).await, ["young.gz"]);
    assert_eq!(following.ship(Duration::from_secs(1000)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_object_is_lent_again_when_it_has_grown_under_the_same_identity() {
    let world = World::new();
    world.write_aged("a", b"{\"Records\":[", 1);
    let mut following = Following::new(&world);
    let first = following.next(SOON).await.unwrap();
    assert!(first.growing);
    following.files.settle(vec![work(&first)]).await.unwrap();
    File::options().append(true).open(world.path("a")).unwrap().write_all(b"1,").unwrap();
    let second = following.next(SOON).await.unwrap();
    assert!(second.growing);
    assert_eq!(first.identity, second.identity);
    following.files.settle(vec![work(&second)]).await.unwrap();
    // Rewritten from the start, it is another.
    world.write_aged("a", b"{\"records\":[], \"x\": 1}", 0);
    let third = following.next(SOON).await.unwrap();
    assert_ne!(third.identity, first.identity);
    following.files.settle(vec![work(&third)]).await.unwrap();
    assert_eq!(following.ship(Duration::from_secs(1000)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_does_not_end_waits_10_seconds() {
    let world = World::new();
    world.write_aged("a", b"{\"a\":1}\n{\"b\":2", 2);
    let mut following = Following::new(&world);
    assert_eq!(following.ship(Duration::from_secs(7)).await, [""; 0]);
    assert_eq!(following.ship(Duration::from_secs(2)).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_waits_10_seconds_for_young_files_and_says_what_it_left() {
    let world = World::new();
    world.write_aged("growing.gz", &gzip("{}")[..10], 60);
    world.write_aged("nearly.gz", &gzip("{}")[..10], 595);
    world.write_aged("lines", b"{\"a\":1}\n{\"b", 3);
    world.write("whole", "{}");
    let files = world.files(true);
    let start = tokio::time::Instant::now();
    let shipped = world.run(ship_all(&files)).await;
    assert_eq!(world.names(&shipped), ["whole", "nearly.gz", "lines"]);
    let took = start.elapsed().as_secs_f64();
    assert!((9.9..11.5).contains(&took), "{took}");
    assert_eq!(files.unsettled(), [world.path("growing.gz").display().to_string()]);
    drop(files);
    // Nothing is lost: it is there for the next run.
    world.write_aged("growing.gz", b"{\"done\":1}", HOUR);
    assert_eq!(world.ship().await, ["growing.gz"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_ships_a_file_that_is_completed_while_it_waits() {
    let world = World::new();
    world.write_aged("a.json", b"{\"Records\":[", 60);
    let files = world.files(true);
    let lent = world.run(files.next(9)).await.unwrap().unwrap();
    files.settle(lent.iter().map(work).collect()).await.unwrap();
    File::options().append(true).open(world.path("a.json")).unwrap().write_all(b"]}").unwrap();
    assert_eq!(world.names(&world.run(ship_all(&files)).await), ["a.json"]);
    assert!(files.unsettled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_that_disappear_shrink_or_are_replaced_while_read_are_looked_at_again() {
    let world = World::new();
    for name in ["gone", "replaced", "shrunk"] {
        world.write(name, "{\"a\":1}{}");
    }
    let files = world.files(true);
    let mut lent = world.run(files.next(9)).await.unwrap().unwrap();
    while lent.len() < 3 {
        lent.extend(world.run(files.next(9)).await.unwrap().unwrap());
    }
    fs::remove_file(world.path("gone")).unwrap();
    world.write("new", "{}");
    fs::rename(world.path("new"), world.path("replaced")).unwrap();
    world.write("shrunk", "{}");
    let ends: Vec<Settled> = lent.iter().map(work).collect();
    assert!(ends.iter().all(|end| matches!(end.note, Note::Changed(_))), "{ends:?}");
    files.settle(ends).await.unwrap();
    let mut shipped = world.names(&world.run(ship_all(&files)).await);
    shipped.sort_unstable();
    assert_eq!(shipped, ["replaced", "shrunk"]);
    assert!(files.unsettled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_file_is_lent_again_ever_more_slowly() {
    let world = World::new();
    world.write("a", "{}");
    let mut following = Following::new(&world);
    let start = tokio::time::Instant::now();
    let mut times = Vec::new();
    for _ in 0..9 {
        let delivery = following.next(Duration::from_secs(70)).await.unwrap();
        times.push(start.elapsed().as_secs_f64());
        let end = settled(&delivery, Verdict::Failed, Note::Why("the sink is away".into()));
        following.files.settle(vec![end]).await.unwrap();
    }
    let pauses: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).round()).collect();
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_leaves_a_file_that_fails_again_and_again() {
    let world = World::new();
    world.write("a", "{}");
    let files = world.files(true);
    let mut lent = 0;
    while let Some(deliveries) = world.run(files.next(9)).await.unwrap() {
        lent += deliveries.len();
        let ends = deliveries.iter().map(|one| settled(one, Verdict::Failed, Note::None)).collect();
        files.settle(ends).await.unwrap();
    }
    assert_eq!(lent, 4);
    assert_eq!(files.unsettled(), [world.path("a").display().to_string()]);
}

#[tokio::test(start_paused = true)]
async fn a_file_on_loan_that_changes_is_lent_again_after_it_was_settled() {
    let world = World::new();
    world.write("a", "{}");
    let mut following = Following::new(&world);
    let delivery = following.next(SOON).await.unwrap();
    let end = work(&delivery);
    world.write_aged("a", b"{\"more\":1}", 1);
    assert!(following.next(SOON).await.is_none());
    following.files.settle(vec![end]).await.unwrap();
    assert_eq!(following.ship(SOON).await, ["a"]);
    assert_eq!(following.ship(Duration::from_secs(200)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn next_may_be_cancelled_at_any_moment() {
    let world = World::new();
    for number in 0..200 {
        world.write(&format!("{number:03}"), "{}");
    }
    let mut following = Following::new(&world);
    let mut shipped = Vec::new();
    while shipped.len() < 200 {
        shipped.extend(following.ship(Duration::from_millis(1)).await);
    }
    assert_eq!(following.ship(SOON).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_shipped_files_are_looked_through_without_lending() {
    let world = World::new();
    for number in 0..10_000 {
        let path = world.path(&format!("{:03}/{number:05}", number / 100));
        if number % 100 == 0 {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        fs::write(path, "{}").unwrap();
    }
    assert_eq!(world.ship().await.len(), 10_000);
    let mut following = Following::new(&world);
    assert_eq!(following.ship(Duration::from_secs(120)).await, [""; 0]);
    let desk = lock(&following.files.shared.desk);
    assert_eq!(desk.known.len(), 10_000);
    assert!(desk.known.bytes() < 2 << 20, "{}", desk.known.bytes());
}
