//! Which file is the same file: across renames, changes, restarts and crashes.

use super::*;

/// What happens to a shipped file before the next run, and what the next run ships.
#[tokio::test(start_paused = true)]
async fn a_file_is_shipped_again_only_when_its_content_may_be_another() {
    type Change = fn(&World);
    let table: [(&str, Change, &[&str]); 12] = [
        ("nothing", |_| {}, &[]),
        ("renamed", |world| fs::rename(world.path("a"), world.path("z")).unwrap(), &[]),
        ("linked", |world| fs::hard_link(world.path("a"), world.path("z")).unwrap(), &[]),
        (
            "its mode set",
            |world| {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o400)).unwrap();
            },
            &[],
        ),
        ("read", |world| drop(fs::read(world.path("a")).unwrap()), &[]),
        (
            "appended to",
            |world| {
                use std::io::Write as _;
                File::options().append(true).open(world.path("a")).unwrap().write_all(b"{}").unwrap();
            },
            &["a"],
        ),
        ("rewritten", |world| world.write_aged("a", b"{22}", HOUR + 1), &["a"]),
        ("touched", |world| world.age("a", HOUR + 1), &["a"]),
        (
            "replaced",
            |world| {
                world.write("new", "{22}");
                fs::rename(world.path("new"), world.path("a")).unwrap();
            },
            &["a"],
        ),
        ("copied", |world| assert_eq!(fs::copy(world.path("a"), world.path("z")).unwrap(), 4), &["z"]),
        ("removed", |world| fs::remove_file(world.path("a")).unwrap(), &[]),
        ("rewritten with its size and time as before", |world| world.write("a", "{22}"), &["a"]),
    ];
    for (what, change, again) in table {
        let world = World::new();
        world.write("a", "{11}");
        assert_eq!(world.ship().await, ["a"], "{what}");
        change(&world);
        assert_eq!(world.ship().await, again, "{what}");
        assert_eq!(world.ship().await, [""; 0], "{what}: once more");
    }
}

#[tokio::test(start_paused = true)]
async fn orderly_restarts_ship_nothing_twice() {
    let world = World::new();
    for number in 0..300 {
        world.write(&format!("day{}/{number:04}", number % 7), "{}");
    }
    assert_eq!(world.ship().await.len(), 300);
    world.write("day3/new", "{}");
    assert_eq!(world.ship().await, ["day3/new"]);
    assert_eq!(world.ship().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_unsettled_is_shipped_again_and_counted() {
    let world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.write(name, "{}");
    }
    let files = world.files(true);
    let lent = world.run(files.next(100)).await.unwrap().unwrap();
    let mut held: VecDeque<Delivery> = lent.into();
    while held.len() < 4 {
        held.extend(world.run(files.next(100)).await.unwrap().unwrap());
    }
    let first = held.pop_front().unwrap();
    files.settle(vec![work(&first)]).await.unwrap();
    assert_eq!(path_of(&first), world.path("a"));
    // The program is killed; meanwhile one of the files goes.
    drop(files);
    fs::remove_file(world.path("d")).unwrap();
    let files = world.files(true);
    assert_eq!(lock(&files.shared.desk).crash.open.len(), 3);
    let lent = world.run(files.next(100)).await.unwrap().unwrap();
    let mut again = world.names(&lent.iter().map(path_of).collect::<Vec<_>>());
    files.settle(lent.iter().take(1).map(work).collect()).await.unwrap();
    {
        let desk = lock(&files.shared.desk);
        assert_eq!((desk.crash.files, desk.crash.records), (1, 3));
    }
    files.settle(lent.iter().skip(1).map(work).collect()).await.unwrap();
    again.extend(world.names(&world.run(ship_all(&files)).await));
    assert_eq!(again, ["b", "c"]);
    assert!(lock(&files.shared.desk).crash.open.is_empty());
    drop(files);
    let files = world.files(true);
    assert!(lock(&files.shared.desk).crash.open.is_empty());
    assert_eq!(world.run(ship_all(&files)).await, [""; 0].map(PathBuf::from));
}

#[tokio::test(start_paused = true)]
async fn pipelines_have_progress_of_their_own() {
    let world = World::new();
    world.write("a", "{}");
    assert_eq!(world.ship().await, ["a"]);
    let config: Config = toml::from_str(&format!("path = {:?}", world.tree())).unwrap();
    let build = Build {
        pipeline: "other",
        name: "trail",
        store: world.store(),
        clock: world.clock.clone(),
        once: true,
        stdin: Pipe::empty(),
        room: Room::apart(64 << 20),
    };
    let files = Files::build(&config, &build).unwrap();
    assert_eq!(world.run(ship_all(&files)).await, [world.path("a")]);
}

#[tokio::test(start_paused = true)]
async fn an_inode_that_another_file_took_over_is_another_file() {
    let world = World::new();
    world.write("a", "{11}");
    assert_eq!(world.ship().await, ["a"]);
    // As if the system had given the inode away: the content is another, all that can be set is as before.
    use std::os::unix::fs::FileExt as _;
    File::options().write(true).open(world.path("a")).unwrap().write_all_at(b"{33}", 0).unwrap();
    world.age("a", HOUR);
    assert_eq!(world.ship().await, ["a"]);
}
