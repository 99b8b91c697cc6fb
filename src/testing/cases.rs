//! `cases.toml`: events, and what must become of them. One runner for what ships in `transforms/`, for a user's own
//! configuration (`trailship test`), and for `cargo test`.
//!
//! An event goes through decoding and through the chain of a run; what comes out is what the first sink would be written.
//! The format is described in `transforms/README.md`.

mod compare;

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Resolved;
use crate::decode::{Buffer, Decode, Input, Item, Tools};
use crate::pattern::family::Family;
use crate::pipeline::chain::{Chain, Place};
use crate::pipeline::engine::StartError;
use crate::record::scan::ScanLimits;
use crate::record::{Scanner, Slots};
use crate::transform::Decision;

/// One `cases.toml`, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasesFile {
    /// The configuration whose chain the cases go through; a path that begins at the file.
    pub configuration: Option<PathBuf>,
    /// The cases.
    pub case: Vec<Case>,
}

/// Holds one case: a record and what becomes of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence; unique in its file.
    pub name: String,
    /// Why the case is there, where the name does not say it.
    pub why: Option<String>,
    /// The pipeline it goes through. Default: the first.
    pub pipeline: Option<String>,
    /// The record: JSON text as an event source hands it over, not necessarily valid.
    pub input: String,
    /// What must come out. What is not named is not compared.
    pub expect: Expect,
}

/// Holds what a case expects; at least one member is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Whether the record is kept.
    pub kept: Option<bool>,
    /// Dotted paths of the outcome and their values; `{ missing = true }` for a path that must not be there.
    pub fields: Option<toml::Table>,
    /// Tags in `trailship.signals`, in any order. In a family's cases: only this family's (`NAME`, `NAME.…`) count.
    pub signals: Option<Vec<String>>,
    /// Text that the reason of the rejection must contain.
    pub rejected: Option<String>,
}

/// Says what is wrong with a file of cases.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct CasesError {
    /// The file, or the family.
    pub file: String,
    /// What is wrong, with the place where it is known.
    pub message: String,
}

/// Reads a `cases.toml`, of a family or of any other preset; `file` names it in errors.
///
/// # Errors
///
/// What is wrong with the text, two cases of one name, or a case that expects nothing.
pub fn parse(file: &str, text: &str) -> Result<CasesFile, CasesError> {
    let wrong = |message: String| CasesError { file: file.to_owned(), message };
    let read: CasesFile = toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        let (line, column) = (before.matches('\n').count() + 1, before.lines().last().unwrap_or_default());
        let column = if before.ends_with('\n') { 1 } else { column.chars().count() + 1 };
        wrong(format!("line {line}, column {column}: {}", error.message()))
    })?;
    let mut names = std::collections::BTreeSet::new();
    for case in &read.case {
        let rule = |message: &str| wrong(format!("case `{}`: {message}", case.name));
        if !names.insert(case.name.as_str()) {
            return Err(rule("the name is taken; names are unique in a file"));
        }
        if case.expect == Expect::default() {
            return Err(rule("`expect` is empty; name `kept`, `fields`, `signals` or `rejected`"));
        }
    }
    Ok(read)
}

/// Why a case does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What was expected, in the form of `expect`.
    pub expected: Value,
    /// What came out instead, in the same form.
    pub got: Value,
    /// The first path where they differ, and how.
    pub differs: String,
}

/// What became of a case's input.
#[derive(Debug, Default)]
struct Outcome {
    /// The step that left it out, and how.
    ended: Option<String>,
    /// Why it was rejected.
    rejected: Option<String>,
    /// What the first sink would be written.
    written: Option<Value>,
}

/// Runs cases through the chains of one configuration.
pub struct Runner {
    chains: Vec<Chain>,
    scanner: Scanner,
    tools: Tools,
    buffer: Buffer,
}

impl Runner {
    /// A runner for a configuration, with these signal families.
    ///
    /// # Errors
    /// Problems of the configuration that only show now.
    pub fn new(resolved: &Resolved, families: &[Family]) -> Result<Runner, StartError> {
        Ok(Runner {
            chains: Chain::with(resolved, families)?,
            scanner: Scanner::new(Slots::default().into(), ScanLimits::default()),
            tools: Tools::default(),
            buffer: Buffer::default(),
        })
    }

    /// Runs one case. `family`: whose cases they are; then only its own tags count.
    ///
    /// # Errors
    /// It does not hold.
    pub fn run(&mut self, case: &Case, family: Option<&str>) -> Result<(), Box<Failure>> {
        let names: Vec<&str> = self.chains.iter().map(|chain| &*chain.name).collect();
        let number = match &case.pipeline {
            None => Some(0),
            Some(name) => names.iter().position(|known| known == name),
        };
        let Some(number) = number.filter(|number| *number < names.len()) else {
            let known = names.join(", ");
            return Err(Box::new(Failure {
                expected: json!({ "pipeline": case.pipeline }),
                got: json!({ "pipelines": names }),
                differs: format!("pipeline: there is none of this name; there are {known}"),
            }));
        };
        let outcome = self.outcome(number, &case.input);
        compare::compare(&case.expect, &outcome, &self.chains[number].field, family)
    }

    fn outcome(&mut self, number: usize, input: &str) -> Outcome {
        let chain = &mut self.chains[number];
        let mut decode = Decode::new(chain.limits);
        let mut stored = Input::Whole(input.trim().as_bytes());
        let (mut outcomes, mut done) = (Vec::new(), false);
        self.buffer.clear();
        while !done && decode.fill(&mut self.tools, &mut stored, &mut self.buffer).is_ok() {
            loop {
                match decode.next(&mut self.scanner, &mut self.buffer) {
                    Item::Record { span, number } => {
                        let place = Place { number, marks: decode.marks(), ..Place::default() };
                        outcomes.push(went(chain, span.of(&self.buffer), &place));
                    }
                    Item::LeftOut { what } => {
                        outcomes
                            .push(Outcome { ended: Some(format!("left out: {what}")), ..Outcome::default() });
                    }
                    Item::Damage { damage, more: false, .. } => {
                        outcomes.push(Outcome { rejected: Some(damage.reason), ..Outcome::default() });
                    }
                    Item::Damage { .. } => {}
                    Item::WindowEnd => break,
                    Item::End => {
                        done = true;
                        break;
                    }
                }
            }
        }
        match outcomes.len() {
            1 => outcomes.remove(0),
            0 => Outcome { rejected: Some("the input is empty".to_owned()), ..Outcome::default() },
            several => {
                let what = format!("the input holds {several} events; a case has one");
                Outcome { rejected: Some(what), ..Outcome::default() }
            }
        }
    }
}

/// Takes one record through.
fn went(chain: &mut Chain, event: &[u8], place: &Place) -> Outcome {
    let became = match chain.run(event, place, &mut ()) {
        Ok(became) => became,
        Err(scan) => {
            return Outcome { rejected: Some(format!("not a record: {scan:?}")), ..Outcome::default() };
        }
    };
    match became.ended {
        Some((_, Decision::Reject(reason))) => {
            Outcome { rejected: Some(reason.to_string()), ..Outcome::default() }
        }
        Some((by, decision)) => {
            Outcome { ended: Some(format!("{} by {by}", decision.name())), ..Outcome::default() }
        }
        None => {
            let written = became.sinks.first().and_then(|first| serde_json::from_str(&first.text).ok());
            Outcome { written, ..Outcome::default() }
        }
    }
}

#[cfg(test)]
mod tests;
