//! The configuration under a fuzzer.

use std::path::{Path, PathBuf};

use super::problem::Problems;
use super::{Surroundings, read_str};

/// Takes any text as a configuration. What is refused is refused with problems that stand in the text and can be
/// drawn; what TOML itself refuses always is; what is accepted is wired; and the ends of lines make no difference.
///
/// # Panics
/// When that is not so.
pub fn config(data: &[u8]) {
    let around = Surroundings {
        variable: &|name| (name.len() % 2 == 0).then(|| name.to_owned()),
        file: &|path| Ok(path.display().to_string()),
        data_dir: &|| Some(PathBuf::from("/var/lib/trailship")),
        now: &|| crate::clock::Timestamp::from_seconds(1_780_272_000),
        canonical: &|path| Path::new("/here").join(path),
    };
    let text = String::from_utf8_lossy(data);
    let read = read_str("config.toml", &text, &around);
    match &read {
        Ok(resolved) => {
            assert!(toml::from_str::<toml::Table>(&text).is_ok(), "accepted, and not TOML");
            check(&resolved.warnings, &text);
            assert_eq!(resolved.warnings.errors(), 0);
            for pipeline in &resolved.pipelines {
                let name = pipeline.name.value();
                assert!(!pipeline.sources.is_empty() && !pipeline.sinks.is_empty(), "{name} has no end");
                assert!(pipeline.sources.iter().all(|at| *at < resolved.sources.len()), "a source of {name}");
                assert!(
                    pipeline.transforms.iter().all(|at| *at < resolved.transforms.len()),
                    "a transform of {name}"
                );
                assert!(pipeline.sinks.iter().all(|end| end.sink < resolved.sinks.len()), "a sink of {name}");
            }
        }
        Err(problems) => {
            assert!(problems.errors() > 0, "refused without a reason");
            check(problems, &text);
        }
    }
    // Inside a text of several lines a line's end is part of the text; a lone carriage return is no line's end. What
    // TOML's own reader says of a text that is none may name what follows the line.
    if !text.contains('\r') && !text.contains("\"\"\"") && !text.contains("'''") {
        let other = read_str("config.toml", &text.replace('\n', "\r\n"), &around);
        let said = |problems: &Problems| {
            problems.list().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>()
        };
        let toml = toml::from_str::<toml::Table>(&text).is_ok();
        match (&read, &other) {
            (Ok(read), Ok(other)) => assert_eq!(read.to_string(), other.to_string()),
            (Err(read), Err(other)) if toml => assert_eq!(said(read), said(other)),
            (Err(_), Err(_)) => {}
            _ => panic!("the ends of lines make a difference"),
        }
    }
}

/// Every problem stands in the text, says something, and can be drawn.
fn check(problems: &Problems, text: &str) {
    for problem in problems.list() {
        let places = problem.places.iter().map(|(span, _)| span).chain([&problem.span]);
        for span in places {
            assert!(text.get(span.clone()).is_some(), "{problem:?} stands outside the text");
        }
        assert!(!problem.message.is_empty());
    }
    assert!(
        problems.is_empty() || problems.render(false).contains("config.toml"),
        "no problem names the file"
    );
    problems.render(true);
}
