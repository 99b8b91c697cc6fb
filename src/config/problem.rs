//! Problems of a configuration: what, where, and what to write instead; all of them at once.

use super::masked::{Masked, is_secret};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A configuration file: its name as shown, and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The name, as the user gave it.
    pub name: String,
    /// The text; every span of the configuration is an offset into it, in bytes.
    pub text: String,
}

impl Document {
    /// Line and column of an offset, counted from 1; the column in characters.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}

/// Whether a problem stops the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and is hardly what was meant.
    Warning,
}

/// One problem and the place it stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the program.
    pub severity: Severity,
    /// The place, offsets into the document's text, in bytes.
    pub span: Range<usize>,
    /// What is wrong; lowercase, no full stop.
    pub message: String,
    /// What to do, written under the caret; may be empty.
    pub label: String,
    /// Other places that matter, with what stands there.
    pub places: Vec<(Range<usize>, String)>,
    /// Further lines of help.
    pub notes: Vec<String>,
    /// Offsets at which secrets begin that stand in the text: they are not shown.
    secrets: Vec<usize>,
}

impl Problem {
    /// Makes an error: where, what is wrong, and what to do.
    pub fn error(span: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            message: message.into(),
            label: label.into(),
            places: Vec::new(),
            notes: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Makes a warning: where, what is wrong, and what to do.
    pub fn warning(span: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message, label) }
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn and(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.places.push((span, label.into()));
        self
    }

    /// Hides the value that begins at this offset of the text, or at the `=` there: it is a secret.
    pub(super) fn hide(&mut self, at: usize) {
        self.secrets.push(at);
    }

    /// Adds a line of help below the excerpt.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// The problems of one document, sorted by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    document: Document,
    list: Vec<Problem>,
}

impl Problems {
    /// Joins problems with the document they stand in, in the order of their places.
    pub fn new(document: Document, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        list.dedup();
        Self { document, list }
    }

    /// Returns what they stand in.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Returns the problems, sorted by place.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns how many of them are errors.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Draws every problem with its line and a caret; coloured for a terminal. Secrets in the lines are masked.
    pub fn render(&self, colour: bool) -> String {
        let secrets = self.list.iter().flat_map(|problem| problem.secrets.iter().copied());
        let masked = Masked::new(&self.document.text, secrets);
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.list {
            out.push_str(&renderer.render(&[self.group(problem, &masked)]));
            out.push_str("\n\n");
        }
        match self.errors() {
            0 => {
                out.pop();
            }
            1 => out.push_str("hint: run `check` again after fixing 1 problem\n"),
            n => out.push_str(&format!("hint: run `check` again after fixing {n} problems\n")),
        }
        out
    }

    fn group<'a>(&'a self, problem: &'a Problem, masked: &'a Masked) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(visible(&problem.message));
        let mut group = if self.document.text.is_empty() {
            // Nothing to show: the file could not be read, or is empty.
            Group::with_title(title).element(Origin::path(self.document.name.as_str()))
        } else {
            let label = (!problem.label.is_empty()).then(|| visible(&problem.label));
            let place = |span: &Range<usize>| clamp(&masked.text, &masked.place(span));
            let mut snippet = Snippet::source(masked.text.as_str())
                .path(self.document.name.as_str())
                .annotation(AnnotationKind::Primary.span(place(&problem.span)).label(label));
            for (span, label) in &problem.places {
                snippet = snippet.annotation(AnnotationKind::Context.span(place(span)).label(visible(label)));
            }
            title.element(snippet)
        };
        for note in &problem.notes {
            group = group.element(Level::NOTE.message(visible(note)));
        }
        group
    }
}

/// Keeps a span inside the text, on character boundaries and, for one line's sake, on its first line.
fn clamp(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    let line = text[start..end].find('\n').map_or(end, |newline| start + newline);
    start..line.max(start)
}

/// Returns a text as a terminal may have it: names come from the file, and may hold anything.
fn visible(text: &str) -> Cow<'_, str> {
    match text.chars().any(char::is_control) {
        true => text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect::<String>()
            .into(),
        false => text.into(),
    }
}

/// Returns whether an error of the TOML reader is a key that stands twice; the tree around it is sound.
pub(super) fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message().contains("duplicate key")
}

/// Puts the errors of the TOML reader in a reader's words; the first of each line, the others follow from it.
pub(super) fn of_syntax(text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut last_line = None;
    let mut in_twice_table = false;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let start = span.start.min(text.len());
        let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[begin..].lines().next().unwrap_or_default();
        if last_line.replace(begin) == Some(begin) {
            continue;
        }
        if is_duplicate(error) {
            // Of a table that stands twice, its keys are no further news.
            let is_table = line.trim_start().starts_with('[');
            if in_twice_table && !is_table {
                continue;
            }
            in_twice_table = is_table;
            let name = text.get(span.clone()).unwrap_or_default();
            let what = if is_table { line.trim() } else { name };
            problems.push(Problem::error(
                span,
                format!("`{what}` stands twice"),
                "it stands above already; keep one of them",
            ));
            continue;
        }
        problems.push(one_of_syntax(line, begin, span, error.message()));
    }
    problems
}

/// Puts one error of the TOML reader in a reader's words: the usual habits from YAML first.
fn one_of_syntax(line: &str, begin: usize, span: Range<usize>, message: &str) -> Problem {
    let key_end =
        line.find(|c: char| !(c.is_ascii_alphanumeric() || "_- ".contains(c))).unwrap_or(line.len());
    let (key, rest) = (line[..key_end].trim(), &line[key_end..]);
    if !key.is_empty() && rest.starts_with(':') {
        let at = begin + key_end;
        return Problem::error(
            at..at + 1,
            "TOML has `=` between a key and its value",
            format!("write {key} = …"),
        );
    }
    let value = rest.strip_prefix('=').unwrap_or_default().split('#').next().unwrap_or_default().trim();
    let word = |c: char| c.is_ascii_alphanumeric() || "_-./*:".contains(c);
    if !key.is_empty()
        && value.starts_with(|c: char| c.is_ascii_alphabetic() || "./*".contains(c))
        && value.chars().all(word)
    {
        let at = begin + line.rfind(value).unwrap_or(0);
        let (message, label) = match value.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => (format!("TOML does not know `{value}`"), "write true".to_owned()),
            "no" | "off" | "false" => (format!("TOML does not know `{value}`"), "write false".to_owned()),
            "null" | "none" | "nil" | "~" => {
                (format!("TOML does not know `{value}`"), "leave the key out".to_owned())
            }
            _ if is_secret(key) => {
                let label = "write { env = \"NAME\" } or { file = \"path\" }: secrets cannot be written here";
                (format!("`{key}` has a value without quotes"), label.to_owned())
            }
            _ => (format!("`{key}` has a value without quotes"), format!("write \"{value}\"")),
        };
        return Problem::error(at..at + value.len(), message, label);
    }
    if let Some(curly) = line.find(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        let at = begin + curly;
        return Problem::error(at..at + 3, "this is a typographic quote", "write a straight one: \"");
    }
    match message.split_once(", expected ") {
        Some((message, expected)) => Problem::error(span, message, format!("expected {expected}")),
        None => Problem::error(span, message, ""),
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document { name: "config.toml".into(), text: text.into() }
    }

    #[test]
    fn a_problem_is_drawn_like_a_compilers() {
        let problems = Problems::new(
            document("a = 1\nb = 22\n"),
            vec![
                Problem::error(10..12, "`b` is odd", "make it even")
                    .and(4..5, "`a` is here")
                    .note("numbers are hard"),
                Problem::warning(0..1, "`a` is short", ""),
            ],
        );
        assert_eq!(
            problems.render(false),
            "\
warning: `a` is short
 --> config.toml:1:1
  |
1 | a = 1
  | ^

error: `b` is odd
 --> config.toml:2:5
  |
1 | a = 1
  |     - `a` is here
2 | b = 22
  |     ^^ make it even
  |
  = note: numbers are hard

hint: run `check` again after fixing 1 problem
"
        );
    }

    #[test]
    fn places_outside_the_text_do_not_panic() {
        for text in ["", "é", "a\r\n\r\n", "\u{1f}\t|"] {
            for span in [0..0, 0..1, 1..2, 5..9] {
                let _ = Problems::new(document(text), vec![Problem::error(span, "x", "y")]).render(true);
            }
        }
    }
}
