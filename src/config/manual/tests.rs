use super::example::SHOWN;
use super::*;
use crate::config::{Problems, Resolved, Severity, Surroundings, read_str};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A certificate and its key.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
});

fn read(text: &str) -> Result<Resolved, Problems> {
    let around = Surroundings {
        variable: &|_| Some("text".to_owned()),
        file: &|path| {
            Ok(match path.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => PAIR.0.clone(),
                Some("key") => PAIR.1.clone(),
                _ => "text".to_owned(),
            })
        },
        data_dir: &|| Some(PathBuf::from("/var/lib/trailship")),
        now: &|| crate::clock::Timestamp::from_seconds(1_780_272_000),
        canonical: &|path| Path::new("/here").join(path),
    };
    read_str("config.toml", text, &around)
}

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with the file in the crate, or writes it when told to.
fn fresh(name: &str, text: &str) {
    let path = in_crate(name);
    if std::env::var_os("TRAILSHIP_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} is stale: TRAILSHIP_BLESS=1 cargo test --lib config:: writes it anew");
}

#[test]
fn example_and_schema_are_fresh() {
    fresh("config.toml.example", &example());
    fresh("config.schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_example_is_a_configuration_without_problems() {
    let resolved = read(&example()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(resolved.warnings.is_empty(), "{}", resolved.warnings);
    assert_eq!(resolved.pipelines.len(), 1);
}

#[test]
fn every_setting_of_the_example_can_be_uncommented() {
    // A component that stands aside is tried with its place and its type.
    let mut aside = false;
    let example: Vec<String> = example()
        .lines()
        .map(|line| {
            let heading = line.strip_prefix('#').filter(|rest| rest.starts_with('['));
            aside = if heading.is_some() { true } else { aside && !line.starts_with('[') };
            let needed = [
                "type",
                "bucket",
                "queue_url",
                "stream",
                "table",
                "log_group",
                "listen",
                "certificate",
                "key",
                "url",
                "token",
            ];
            let needed = needed.iter().any(|name| line.starts_with(&format!("#{name} = ")));
            if aside && (heading.is_some() || needed) { line[1..].to_owned() } else { line.to_owned() }
        })
        .collect();
    let lines: Vec<&str> = example.iter().map(String::as_str).collect();
    let mut tried = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some(setting) = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '))
        else {
            continue;
        };
        let mut lines = lines.clone();
        lines[index] = setting;
        if let Err(problems) = read(&lines.join("\n")) {
            let exclusive = problems.list().iter().all(|problem| {
                problem.severity == Severity::Warning
                    || ["has both", "needs its key", "nothing is removed from records"]
                        .iter()
                        .any(|expected| problem.message.contains(expected))
            });
            assert!(exclusive, "{problems}");
        }
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

/// It has the file and the settings of `opensearch`.
const SAME: &str = "elasticsearch";

#[test]
fn every_setting_stands_in_the_example() {
    let example = example();
    let mut missing = Vec::new();
    let all = schema();
    for section in ["sources", "transforms", "sinks"] {
        for component in all["properties"][section]["additionalProperties"]["oneOf"].as_array().unwrap() {
            let kind = component["properties"]["type"]["const"].as_str().unwrap();
            if kind == SAME {
                continue;
            }
            let part = example.split(&format!("type = \"{kind}\"\n")).nth(1).unwrap_or_default();
            let part = part.split("\ntype = ").next().unwrap();
            for key in component["properties"].as_object().unwrap().keys().filter(|key| *key != "type") {
                let there = ["\n", "\n#"].iter().any(|start| part.contains(&format!("{start}{key} = ")));
                let as_table = part.contains(&format!(".{key}]"));
                if !there && !as_table {
                    missing.push(format!("{section} {kind}: {key}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}: add to STATED or POSSIBLE");
}

/// Returns the TOML blocks in the head comment of a source file.
fn head_examples(text: &str) -> Vec<String> {
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let head: Vec<&str> = head.into_iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let head = head.join("\n");
    head.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_head_of_every_component_shows_a_configuration_that_can_be_read() {
    for (place, types) in [
        (SourceConfig::PLACE, SourceConfig::TYPES),
        (TransformConfig::PLACE, TransformConfig::TYPES),
        (SinkConfig::PLACE, SinkConfig::TYPES),
    ] {
        for kind in types.iter().filter(|kind| **kind != SAME) {
            let file = format!("src/{place}/{kind}.rs");
            let text = fs::read_to_string(in_crate(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let examples = head_examples(&text);
            assert!(examples.iter().any(|example| example.contains(&format!("type = \"{kind}\""))), "{file}");
            for example in examples {
                let source = "[sources.a_source]\ntype = \"files\"\npath = \"./a\"\n";
                let whole = if place == "source" { example } else { format!("{example}\n{source}") };
                read(&whole).unwrap_or_else(|problems| panic!("{file}: {problems}"));
            }
        }
    }
}

#[test]
fn every_type_is_shown() {
    let shown: Vec<&str> = SHOWN.iter().map(|(_, _, kind)| *kind).collect();
    for kind in [SourceConfig::TYPES, TransformConfig::TYPES, SinkConfig::TYPES].concat() {
        assert!(kind == SAME || shown.contains(&kind), "{kind}");
    }
}
