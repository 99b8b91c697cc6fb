//! What is read of a tree: order, globs, links, names, and what cannot be read.

use super::*;
use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt as _, symlink};

#[tokio::test(start_paused = true)]
async fn a_tree_is_lent_in_the_order_of_its_names_with_what_the_layout_says() {
    let world = World::new();
    let key = "AWSLogs/123456789012/CloudTrail/eu-west-1/2024/02/29/x.json.gz";
    for name in [key, "b/2", "b/10", "a"] {
        world.write(name, "{}");
    }
    let files = world.files(true);
    let lent = world.run(files.next(100)).await.unwrap().unwrap();
    let origin = &lent[0].origin;
    assert_eq!(origin.account.as_deref(), Some("123456789012"));
    assert_eq!(origin.day.as_deref(), Some("2024-02-29"));
    assert_eq!(*origin.address, *world.path(key).to_string_lossy());
    assert!(!lent[0].growing);
    let mut names = world.names(&lent.iter().map(path_of).collect::<Vec<_>>());
    files.settle(lent.iter().map(work).collect()).await.unwrap();
    names.extend(world.names(&world.run(ship_all(&files)).await));
    assert_eq!(names, [key, "a", "b/10", "b/2"]);
}

#[tokio::test(start_paused = true)]
async fn globs_single_files_and_several_paths_are_read() {
    let world = World::new();
    for name in ["a.json", "b.txt", "x/a.json", "x/y/a.json", "x/y/c.ndjson", "one"] {
        world.write(name, "{}");
    }
    let tree = world.tree().display().to_string();
    for (paths, expected) in [
        (vec!["*.json"], vec!["a.json"]),
        (vec!["*/*.json"], vec!["x/a.json"]),
        (vec!["**/*.{json,ndjson}"], vec!["a.json", "x/a.json", "x/y/a.json", "x/y/c.ndjson"]),
        (vec!["x/?/a.json", "one"], vec!["x/y/a.json", "one"]),
        (vec!["x", "x/y"], vec!["x/a.json", "x/y/a.json", "x/y/c.ndjson"]),
        (vec!["nothing*"], vec![]),
    ] {
        let stated: Vec<String> = paths.iter().map(|path| format!("{tree}/{path}")).collect();
        let stated: Vec<&str> = stated.iter().map(String::as_str).collect();
        let config: Config = toml::from_str(&format!("path = {stated:?}")).unwrap();
        let store = Arc::new(Store::in_memory(&world.clock).unwrap());
        let build = Build {
            pipeline: "p",
            name: "s",
            store,
            clock: world.clock.clone(),
            once: true,
            stdin: Pipe::empty(),
            room: Room::apart(64 << 20),
        };
        let files = Files::build(&config, &build).unwrap();
        assert_eq!(world.names(&world.run(ship_all(&files)).await), expected, "{paths:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn links_are_followed_only_within_the_tree_and_loops_end() {
    let world = World::new();
    world.write("in/a", "{}");
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "{}").unwrap();
    for (target, name) in [
        (world.path("in/a"), "0-link-to-a"),
        (world.tree(), "in/loop"),
        (outside.clone(), "escape"),
        (outside.join("secret"), "escape-file"),
        (world.path("nowhere"), "dangling"),
        (world.path("self"), "self"),
    ] {
        symlink(target, world.path(name)).unwrap();
    }
    // One file, whichever of its names comes first.
    assert_eq!(world.ship().await, ["0-link-to-a"]);
    assert_eq!(world.ship().await, [""; 0]);
    let everything = format!("{}/**/a", world.tree().display());
    let config: Config = toml::from_str(&format!("path = {everything:?}")).unwrap();
    let store = Arc::new(Store::in_memory(&world.clock).unwrap());
    let build = Build {
        pipeline: "p",
        name: "s",
        store,
        clock: world.clock.clone(),
        once: true,
        stdin: Pipe::empty(),
        room: Room::apart(64 << 20),
    };
    let files = Files::build(&config, &build).unwrap();
    assert_eq!(world.run(ship_all(&files)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_a_link_is_the_tree_it_leads_to() {
    let world = World::new();
    world.write("a", "{}");
    let link = world.folder.path().join("link");
    symlink(world.tree(), &link).unwrap();
    let files = world.files_of(&[&link.display().to_string()], true);
    assert_eq!(world.run(ship_all(&files)).await, [link.join("a")]);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_no_text_are_files_like_others() {
    let world = World::new();
    let path = world.tree().join(OsStr::from_bytes(b"caf\xe9.json"));
    fs::write(&path, "{}").unwrap();
    let files = world.files(true);
    let lent = world.run(files.next(9)).await.unwrap().unwrap();
    assert!(lent[0].origin.address.ends_with("caf\u{fffd}.json"));
    assert_eq!(path_of(&lent[0]), path);
    files.settle(lent.iter().map(work).collect()).await.unwrap();
    assert!(world.run(ship_all(&files)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn empty_files_part_files_and_things_that_are_no_files_are_not_lent() {
    let world = World::new();
    world.write("empty", "");
    world.write("folder/placeholder", "");
    world.write(".x.json.gz.part", "{}");
    world.write(".hidden", "{}");
    let _socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    assert_eq!(world.ship().await, [".hidden"]);
    world.write("empty", "{}");
    assert_eq!(world.ship().await, ["empty"]);
}

#[tokio::test(start_paused = true)]
async fn a_stated_path_that_is_not_there_stops_a_run_that_ends_after_the_others() {
    let world = World::new();
    world.write("there/a", "{}");
    let path = |name: &str| world.path(name).display().to_string();
    let files = world.files_of(&[&path("missing"), &path("there")], true);
    let lent = world.run(files.next(9)).await.unwrap().unwrap();
    assert_eq!(path_of(&lent[0]), world.path("there/a"));
    files.settle(lent.iter().map(work).collect()).await.unwrap();
    let stopped = world.run(files.next(9)).await.unwrap_err();
    assert!(stopped.to_string().contains("missing: No such file"), "{stopped}");
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_read_hides_only_itself_and_is_tried_again() {
    let world = World::new();
    for name in ["a/1", "b/1", "c/1"] {
        world.write(name, "{}");
    }
    fs::set_permissions(world.path("b"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(world.path("b")).is_ok() {
        eprintln!("skipped: this user can read everything");
        return;
    }
    let files = world.files(true);
    let shipped = world.run(ship_all(&files)).await;
    assert_eq!(world.names(&shipped), ["a/1", "c/1"]);
    assert_eq!(files.unsettled(), [world.path("b").display().to_string()]);
    drop(files);
    fs::set_permissions(world.path("b"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.ship().await, ["b/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_directory_is_lent_while_it_is_searched() {
    let world = World::new();
    for number in 0..5000 {
        fs::write(world.path(&format!("{number:05}")), "{}").unwrap();
    }
    let files = world.files(true);
    let first = world.run(files.next(10)).await.unwrap().unwrap();
    assert!(first.len() <= 10);
    files.settle(first.iter().map(work).collect()).await.unwrap();
    let rest = world.run(ship_all(&files)).await;
    assert_eq!(first.len() + rest.len(), 5000);
    // Files found and not lent are bounded, whatever is there.
    assert!(files.run.lock().await.messages.max_capacity() <= FOUND);
}

#[tokio::test(start_paused = true)]
async fn standard_input_is_lent_once_and_never_remembered() {
    let world = World::new();
    let files = world.files_of(&["-"], false);
    let lent = files.next(9).await.unwrap().unwrap();
    assert!(matches!(lent[0].body, Body::Stream(_)));
    assert_eq!((&*lent[0].identity, &*lent[0].origin.address), ("", "-"));
    files.settle(vec![settled(&lent[0], Verdict::Delivered, Note::None)]).await.unwrap();
    assert!(files.next(9).await.unwrap().is_none());
    assert!(files.unsettled().is_empty());
}
