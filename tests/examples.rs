//! The configurations that people copy run as they stand on what `trailship generate` writes.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the program in `here`; what it said on standard error, and its exit code.
fn trailship(here: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trailship"))
        .args(arguments)
        .current_dir(here)
        .env_clear()
        .env("HOME", here)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Generates a tree, checks the configuration and ships the tree with it.
fn ships(configuration: &str) {
    let here = tempfile::tempdir().unwrap();
    // The only change: state stays here, also on a machine where Trailship is installed.
    fs::write(here.path().join("trailship.toml"), format!("data_dir = \"state\"\n{configuration}")).unwrap();
    for arguments in [&["generate", "--bytes", "300 kB"][..], &["check"], &["run", "--once"]] {
        let (code, said) = trailship(here.path(), arguments);
        assert_eq!(code, Some(0), "{arguments:?} said:\n{said}");
    }
    let accounts = fs::read_dir(here.path().join("out")).unwrap().count();
    assert!(accounts > 0, "nothing below out/");
}

/// The text of a file of the project.
fn project(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_example_of_every_setting_runs_as_it_stands() {
    ships(&project("config.toml.example"));
}

#[test]
fn the_configuration_of_the_readme_runs_as_it_stands() {
    let readme = project("README.md");
    let (_, begins) = readme.split_once("\n```toml\n").unwrap();
    let (configuration, _) = begins.split_once("\n```\n").unwrap();
    ships(configuration);
}
