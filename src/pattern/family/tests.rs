//! Tests of the shipped families: the list, the cases, real records.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::pattern::compile::{MatchScratch, PatternSet};
use crate::pattern::slow::matches;
use crate::pattern::view::Written;
use crate::record::scan::ScanLimits;
use crate::record::{Scan, Scanner, Slots};
use crate::testing::cases::{self, Case};

mod corpus;
mod names;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transforms/signals")
}

fn parse_cases(folder: &str, text: &str) -> Result<Vec<Case>, cases::CasesError> {
    cases::parse(folder, text).map(|file| file.case)
}

/// Says which of a family's tags a record gets, by the plain road: patterns on a tree, then predicates.
fn tags(family: &Family, record: &str) -> Vec<String> {
    if !matches(&family.pattern, record) {
        return Vec::new();
    }
    let mut tags = vec![family.name.clone()];
    for fine in &family.fine {
        let narrower = fine.pattern.as_ref().is_none_or(|pattern| matches(pattern, record));
        if narrower && fine.decide(record.as_bytes()) == Decision::Yes && !tags.contains(&fine.tag) {
            tags.push(fine.tag.clone());
        }
    }
    tags
}

/// The transform `signals` keeps a record's families and finer tags as bits.
#[test]
fn families_and_tags_have_bits() {
    let families = shipped().unwrap();
    let tags: BTreeSet<_> = families.iter().flat_map(|family| &family.fine).map(|fine| &fine.tag).collect();
    assert!(families.len() <= 64 && tags.len() <= 128, "{} families, {} tags", families.len(), tags.len());
}

#[test]
fn the_list_is_the_folder() {
    let on_disk: Vec<String> = {
        let mut names: Vec<_> = std::fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let listed: Vec<_> = SHIPPED.iter().map(|text| text.folder.to_owned()).collect();
    assert_eq!(listed, on_disk, "SHIPPED and transforms/signals/ differ");
}

#[test]
fn names_are_unique_and_every_family_reads() {
    let families = shipped().unwrap();
    let names: BTreeSet<_> = families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names.len(), SHIPPED.len());
    for family in &families {
        assert!(family.description.ends_with('.'), "{}: the description is a sentence", family.name);
        assert!(!family.source.is_empty() && !family.since.is_empty(), "{}", family.name);
    }
}

#[test]
fn every_family_has_cases_that_fire_and_cases_that_do_not() {
    for text in SHIPPED {
        let family = parse_family(text.folder, text.family).unwrap();
        let cases = parse_cases(text.folder, text.cases).unwrap();
        let expected: Vec<_> =
            cases.iter().map(|case| case.expect.signals.clone().unwrap_or_default()).collect();
        assert!(expected.iter().any(|tags| tags.contains(&family.name)), "{}: no positive case", text.folder);
        assert!(expected.iter().any(Vec::is_empty), "{}: no negative case", text.folder);
        for fine in &family.fine {
            assert!(expected.iter().any(|tags| tags.contains(&fine.tag)), "no case sets {}", fine.tag);
            assert!(
                expected.iter().any(|tags| tags.contains(&family.name) && !tags.contains(&fine.tag)),
                "no case leaves the broad tag without {}",
                fine.tag
            );
        }
    }
}

#[test]
fn cases_hold() {
    let mut wrong = Vec::new();
    for text in SHIPPED {
        let family = parse_family(text.folder, text.family).unwrap();
        for case in parse_cases(text.folder, text.cases).unwrap() {
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&case.input) {
                wrong.push(format!("{} / {}: the input is not JSON: {error}", text.folder, case.name));
                continue;
            }
            let expected: BTreeSet<_> = case.expect.signals.unwrap_or_default().into_iter().collect();
            let got: BTreeSet<_> = tags(&family, &case.input).into_iter().collect();
            if expected != got {
                wrong.push(format!("{} / {}: expected {expected:?}, got {got:?}", text.folder, case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Says which patterns of all families, broad and fine in order, match a record: compiled and on a tree.
struct Both {
    patterns: Vec<Pattern>,
    set: PatternSet,
    scanner: Scanner,
    scratch: MatchScratch,
}

impl Both {
    fn new(families: &[Family]) -> Both {
        let of = |family: &Family| -> Vec<Pattern> {
            let fine = family.fine.iter().filter_map(|fine| fine.pattern.clone());
            std::iter::once(family.pattern.clone()).chain(fine).collect()
        };
        let patterns: Vec<Pattern> = families.iter().flat_map(of).collect();
        let mut slots = Slots::default();
        let set = PatternSet::compile(&patterns.iter().collect::<Vec<_>>(), &mut slots);
        let scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        Both { patterns, set, scanner, scratch: MatchScratch::default() }
    }

    #[track_caller]
    fn check(&mut self, record: &str) {
        assert!(matches!(self.scanner.scan(record.as_bytes(), 0), Scan::Record { .. }), "{record}");
        let view = Written::new(record.as_bytes(), &self.scanner);
        let matched = self.set.matches(&view, &mut self.scratch);
        for (number, pattern) in self.patterns.iter().enumerate() {
            let compiled = matched[number / 64] & (1 << (number % 64)) != 0;
            assert_eq!(compiled, matches(pattern, record), "{pattern:?} of {record}");
        }
    }
}

#[test]
fn compiled_families_match_what_plain_ones_match() {
    let mut both = Both::new(&shipped().unwrap());
    for text in SHIPPED {
        for case in parse_cases(text.folder, text.cases).unwrap() {
            both.check(case.input.trim());
        }
    }
}

#[test]
fn cases_use_documentation_accounts_only() {
    let known = ["111122223333", "444455556666", "123456789012", "777788889999", "210987654321"];
    for text in SHIPPED {
        for number in text.cases.split(|character: char| !character.is_ascii_alphanumeric()) {
            let is_account = number.len() == 12 && number.bytes().all(|byte| byte.is_ascii_digit());
            assert!(!is_account || known.contains(&number), "{}: account {number}", text.folder);
        }
    }
}

#[test]
fn the_readme_lists_every_family_with_its_tags() {
    let readme = include_str!("../../../transforms/README.md");
    let mut table = String::new();
    for family in shipped().unwrap() {
        let mut tags: Vec<_> = family.fine.iter().map(|fine| &fine.tag[family.name.len()..]).collect();
        tags.dedup();
        let tags = tags.iter().map(|tag| format!("`{tag}`")).collect::<Vec<_>>().join(" ");
        table.push_str(&format!("| `{}` | {tags} | {} |\n", family.name, family.description));
    }
    assert!(readme.contains(&table), "the table in transforms/README.md should be:\n{table}");
}

#[test]
fn mistakes_in_a_family_are_named() {
    let head = "name = \"x\"\ndescription = \"d.\"\nsince = \"0\"\nsource = \"s\"\nmatch = { eventName = [\"A\"] }\n";
    for (text, expected) in [
        ("name = 1", "reading signal family `x`"),
        (&head.replace("\"x\"", "\"y\""), "must be the folder's name"),
        (&format!("{head}extra = 1"), "unknown field `extra`"),
        (&format!("{head}[[fine]]\ntag = \"T\"\nmatch = {{}}"), "lower-case"),
        (&format!("{head}[[fine]]\ntag = \"t\""), "needs `match`, `predicate` or both"),
        (
            &format!("{head}[[fine]]\ntag = \"t\"\nsucceeded = true\nmatch = {{ errorCode = [\"x\"] }}"),
            "one too many",
        ),
        (&format!("{head}[[fine]]\ntag = \"t\"\npredicate = \"cidr_any\""), "go together"),
        (
            &format!("{head}[[fine]]\ntag = \"t\"\npredicate = \"cidr\"\nat = [\"a\"]"),
            "unknown predicate `cidr`; known",
        ),
        (&format!("{head}[[fine]]\ntag = \"t\"\nmatch = \"{{\""), "`match` is not json"),
    ] {
        let message = parse_family("x", text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message} should contain {expected}");
    }
}

#[test]
fn null_is_written_as_a_table_in_toml() {
    let text = "name = \"x\"\ndescription = \"d.\"\nsince = \"0\"\nsource = \"s\"\nmatch = { a = [{ null = true }, \"b\"] }";
    let pattern = parse_family("x", text).unwrap().pattern;
    assert!(matches(&pattern, r#"{"a":null}"#) && !matches(&pattern, "{}"));
}
