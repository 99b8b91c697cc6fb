//! Tells the program which commit it was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TRAILSHIP_COMMIT");
    let given = std::env::var("TRAILSHIP_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(commit_here).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=TRAILSHIP_COMMIT={commit}");
}

/// The commit of the checkout this directory is the top of; nothing in a package unpacked inside somebody else's.
fn commit_here() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    // A commit changes the reference that HEAD names, a checkout changes HEAD; packed references are one file.
    let mut watched =
        vec![git(&["rev-parse", "--git-path", "HEAD"])?, git(&["rev-parse", "--git-path", "packed-refs"])?];
    if let Some(reference) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
        watched.extend(git(&["rev-parse", "--git-path", &reference]));
    }
    for path in watched.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
    git(&["rev-parse", "--short", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
