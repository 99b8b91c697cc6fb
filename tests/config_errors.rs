//! One folder for each mistake a person makes: `config.toml`, and in `stderr.txt` what they are told.
//!
//! `TRAILSHIP_BLESS=1 cargo test --test config_errors` writes the answers anew; read the difference before you keep it.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use trailship::config::{self, Surroundings};

/// A new certificate and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn told(text: &str) -> String {
    let around = Surroundings {
        variable: &|name| match name {
            "TRAILSHIP_EVERY" => Some("50".to_owned()),
            "TRAILSHIP_WORD" => Some("fifty".to_owned()),
            _ => None,
        },
        file: &|path| match path.to_str() {
            Some("words.pem") => Ok("no certificate".to_owned()),
            Some("nonsense.pem") => {
                Ok("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned())
            }
            Some("binary.der") => Err(io::Error::from(io::ErrorKind::InvalidData)),
            Some("one.crt") => Ok(certificate().0),
            Some("other.key") => Ok(certificate().1),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))),
        },
        data_dir: &|| Some(PathBuf::from("/var/lib/trailship")),
        // Nothing of the machine the test runs on: every path is taken as it is, from one made-up directory.
        now: &|| trailship::clock::Timestamp::from_seconds(1_780_272_000),
        canonical: &|path| {
            let mut whole = PathBuf::from("/here");
            for part in path.components() {
                match part {
                    std::path::Component::ParentDir => _ = whole.pop(),
                    std::path::Component::CurDir => {}
                    part => whole.push(part),
                }
            }
            whole
        },
    };
    match config::read_str("config.toml", text, &around) {
        Ok(resolved) => resolved.warnings.render(false),
        Err(problems) => problems.render(false),
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_errors");
    let mut cases: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_mistake_is_told_as_written_down() {
    let bless = std::env::var_os("TRAILSHIP_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let text = fs::read_to_string(case.join("config.toml")).unwrap();
        let told = told(&text);
        let path = case.join("stderr.txt");
        if bless {
            fs::write(&path, &told).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- told\n{told}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nTRAILSHIP_BLESS=1 writes the answers anew", wrong.join("\n"));
}

#[test]
fn every_case_tells_something_and_points_at_a_line() {
    let cases = cases();
    if std::env::var_os("TRAILSHIP_BLESS").is_some() {
        return;
    }
    assert!(cases.len() >= 40, "{} cases", cases.len());
    for case in cases {
        let told = fs::read_to_string(case.join("stderr.txt")).unwrap();
        assert!(told.contains("--> config.toml:") && told.contains('^'), "{}: {told}", case.display());
    }
}
