//! `{ env = "NAME", default = … }` and `{ file = "path" }`: values that stand elsewhere, put in their place in the tree.

use super::Surroundings;
use super::problem::Problem;
use super::suggest::closest;
use super::value::SECRET_KEY;
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The tables that hold components by name: neither they nor a component are a reference.
pub(super) const SECTIONS: [&str; 4] = ["sources", "transforms", "sinks", "pipelines"];

/// Keys that hold event patterns, where `env` and `file` may be names of fields.
const PATTERN_KEYS: [&str; 5] = ["match", "keep", "drop", "also", "except"];

/// A reference found in the file, looked up.
pub(super) struct Found {
    span: Range<usize>,
    /// Where the value is from, in words.
    origin: String,
    value: Looked,
}

/// What looking a reference up gave.
enum Looked {
    /// This text, and the type a default gives it, in TOML's words.
    Text(String, Option<&'static str>),
    /// Nothing: the default holds.
    Default,
    /// Nothing, and that was reported.
    Nothing,
}

/// A value that was put in the place of a reference, and what else it may be read as.
pub(super) struct Referred<'a> {
    /// The place of the reference, which is now the place of the value.
    pub(super) span: Range<usize>,
    /// Where the value is from, in words: "environment variable `NAME`".
    pub(super) origin: &'a str,
    /// The text that stood there. Never shown: it may be a secret at the wrong place.
    pub(super) text: &'a str,
    /// What it is read as next, should the place not take the present one; last first.
    readings: Vec<&'static str>,
}

impl<'a> Referred<'a> {
    /// Returns the value under the next reading that the text allows; nothing when all were tried.
    pub(super) fn next_reading(&mut self) -> Option<DeValue<'a>> {
        while let Some(reading) = self.readings.pop() {
            if let Some(value) = read_as(reading, self.text, &self.span) {
                return Some(value);
            }
        }
        None
    }
}

/// Reads a text as a value of one type; nothing when it is not one.
fn read_as<'a>(reading: &str, text: &'a str, span: &Range<usize>) -> Option<DeValue<'a>> {
    match reading {
        "string" => Some(DeValue::String(Cow::Borrowed(text))),
        "secret" => {
            let mut table = DeTable::new();
            let key = Spanned::new(span.clone(), Cow::Borrowed(SECRET_KEY));
            table.insert(key, Spanned::new(0..0, DeValue::String(Cow::Borrowed(text))));
            Some(DeValue::Table(table))
        }
        _ => DeValue::parse(text.trim())
            .ok()
            .map(Spanned::into_inner)
            .filter(|value| value.type_str() == reading),
    }
}

/// Finds every reference and looks it up.
pub(super) fn find(root: &DeTable<'_>, around: &Surroundings<'_>, problems: &mut Vec<Problem>) -> Vec<Found> {
    let mut finder = Finder { around, problems, found: Vec::new() };
    for (key, value) in root {
        match value.get_ref() {
            DeValue::Table(section) if SECTIONS.contains(&key.get_ref().as_ref()) => {
                let components = section.values().filter_map(|component| component.get_ref().as_table());
                for (key, value) in components.flatten() {
                    finder.walk(value, PATTERN_KEYS.contains(&key.get_ref().as_ref()));
                }
            }
            _ => finder.walk(value, false),
        }
    }
    finder.found
}

struct Finder<'f> {
    around: &'f Surroundings<'f>,
    problems: &'f mut Vec<Problem>,
    found: Vec<Found>,
}

impl Finder<'_> {
    fn walk(&mut self, value: &Spanned<DeValue<'_>>, in_pattern: bool) {
        match value.get_ref() {
            DeValue::Table(table) if is_reference(table, in_pattern) => self.look_up(value.span(), table),
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.walk(value, in_pattern || PATTERN_KEYS.contains(&key.get_ref().as_ref()));
                }
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.walk(item, in_pattern)),
            _ => {}
        }
    }

    fn look_up(&mut self, span: Range<usize>, table: &DeTable<'_>) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !["env", "file", "default"].contains(&name) {
                let label = match closest(name, ["env", "file", "default"]) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None => {
                        "a reference is { env = \"NAME\", default = … } or { file = \"path\" }".to_owned()
                    }
                };
                self.problems.push(Problem::error(
                    key.span(),
                    format!("unknown key `{name}` in a reference"),
                    label,
                ));
            }
        }
        let (origin, value) = match (table.get("env"), table.get("file")) {
            (Some(env), Some(_)) => {
                let message = "a reference has either `env` or `file`, not both";
                self.problems.push(Problem::error(env.span(), message, "remove one of them"));
                (String::new(), Looked::Nothing)
            }
            (Some(env), None) => self.variable(env, table.get("default")),
            (None, Some(file)) => self.file(file, table.get("default")),
            (None, None) => (String::new(), Looked::Nothing),
        };
        self.found.push(Found { span, origin, value });
    }

    fn variable(
        &mut self,
        env: &Spanned<DeValue<'_>>,
        default: Option<&Spanned<DeValue<'_>>>,
    ) -> (String, Looked) {
        let name = env.get_ref().as_str().unwrap_or_default();
        let origin = format!("environment variable `{name}`");
        let value = match ((self.around.variable)(name), default.map(Spanned::get_ref)) {
            (Some(text), None) => Looked::Text(text, None),
            (Some(text), Some(default)) => {
                let kind = default.type_str();
                if read_as(kind, &text, &env.span()).is_none() {
                    let message = format!("{origin} does not hold what its default is: {}", words_for(kind));
                    self.problems.push(Problem::error(
                        env.span(),
                        message,
                        "set the variable to a value of that type",
                    ));
                    return (origin, Looked::Nothing);
                }
                Looked::Text(text, Some(kind))
            }
            (None, Some(_)) => Looked::Default,
            (None, None) => {
                let label = match name.strip_prefix('$') {
                    Some(bare) => format!("write the bare name: {{ env = \"{bare}\" }}"),
                    None => format!("set it, or give a default: {{ env = \"{name}\", default = … }}"),
                };
                self.problems.push(Problem::error(env.span(), format!("{origin} is not set"), label));
                Looked::Nothing
            }
        };
        (origin, value)
    }

    fn file(
        &mut self,
        file: &Spanned<DeValue<'_>>,
        default: Option<&Spanned<DeValue<'_>>>,
    ) -> (String, Looked) {
        let path = file.get_ref().as_str().unwrap_or_default();
        let origin = format!("file `{path}`");
        if let Some(default) = default {
            let message = "a reference to a file has no default";
            self.problems.push(Problem::error(default.span(), message, "remove it; only `env` takes one"));
        }
        match (self.around.file)(path.as_ref()) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
                (origin, Looked::Text(text, None))
            }
            Err(error) => {
                let message = format!("{origin} cannot be read");
                self.problems.push(Problem::error(file.span(), message, error.to_string()));
                (origin, Looked::Nothing)
            }
        }
    }
}

/// Returns whether a table is a reference. In a pattern, only exact ones are: fields may be called `env` and `file`, but
/// the value of a field in a pattern is never text.
fn is_reference(table: &DeTable<'_>, in_pattern: bool) -> bool {
    let text = |key: &str| table.get(key).is_some_and(|value| value.get_ref().is_str());
    let only_known = table.keys().all(|key| ["env", "file", "default"].contains(&key.get_ref().as_ref()));
    if in_pattern || !text("env") { only_known && (text("env") || text("file")) } else { true }
}

/// Puts the values in the place of their references; `lost` takes the keys of those that have none.
pub(super) fn apply<'a>(
    root: &mut DeTable<'a>,
    found: &'a [Found],
    lost: &mut Vec<String>,
) -> Vec<Referred<'a>> {
    let mut applier = Applier { found, lost, referred: Vec::new() };
    applier.table(root);
    applier.referred
}

struct Applier<'a, 'l> {
    found: &'a [Found],
    lost: &'l mut Vec<String>,
    referred: Vec<Referred<'a>>,
}

impl<'a> Applier<'a, '_> {
    fn table(&mut self, table: &mut DeTable<'a>) {
        let taken = std::mem::take(table);
        for (key, value) in taken {
            match self.value(value) {
                Some(value) => _ = table.insert(key, value),
                None => self.lost.push(key.into_inner().into_owned()),
            }
        }
    }

    fn value(&mut self, value: Spanned<DeValue<'a>>) -> Option<Spanned<DeValue<'a>>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(mut table) => match self.found.iter().find(|found| found.span == span) {
                Some(found) if is_reference(&table, false) => self.replace(&mut table, found),
                _ => {
                    self.table(&mut table);
                    Some(Spanned::new(span, DeValue::Table(table)))
                }
            },
            DeValue::Array(items) => {
                let items: DeArray<'a> = items.into_iter().filter_map(|item| self.value(item)).collect();
                Some(Spanned::new(span, DeValue::Array(items)))
            }
            other => Some(Spanned::new(span, other)),
        }
    }

    fn replace(&mut self, table: &mut DeTable<'a>, found: &'a Found) -> Option<Spanned<DeValue<'a>>> {
        match &found.value {
            Looked::Nothing => None,
            Looked::Default => table.remove("default"),
            Looked::Text(text, kind) => {
                let (first, readings) = match kind {
                    Some(kind) => (*kind, Vec::new()),
                    None => ("string", vec!["boolean", "float", "integer", "secret"]),
                };
                let value = read_as(first, text, &found.span)?;
                self.referred.push(Referred {
                    span: found.span.clone(),
                    origin: &found.origin,
                    text,
                    readings,
                });
                Some(Spanned::new(found.span.clone(), value))
            }
        }
    }
}

/// Returns a TOML type in a reader's words.
fn words_for(kind: &str) -> &'static str {
    match kind {
        "integer" => "a whole number",
        "float" => "a number with a point",
        "boolean" => "`true` or `false`",
        "string" => "text",
        _ => "a single value",
    }
}
