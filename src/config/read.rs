//! Reads the tree of the file into typed parts, going on after a mistake until all are known.

use super::at::At;
use super::masked::{SECRET_AS_TEXT, is_secret};
use super::problem::Problem;
use super::reference::{self, Found, Referred, SECTIONS};
use super::suggest::{self, Said, all_of, closest, one_of};
use super::{Globals, Kind, Named, PipelineConfig, Raw, Read};
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// The most mistakes reported of one part; each is found by reading the part again without the one before.
const MISTAKES: usize = 100;

/// Reads the tree; what could not be read is missing from the result and stands in `problems`.
pub(super) fn read<'a>(
    text: &str,
    mut root: DeTable<'a>,
    found: &'a [Found],
    problems: &mut Vec<Problem>,
) -> Raw {
    let mut lost = Vec::new();
    let referred = reference::apply(&mut root, found, &mut lost);
    let mut reader = Reader { text, problems, referred, lost };
    reader.placeholders(&DeValue::Table(root.clone()), 0..0);
    let mut raw = Raw::default();
    let sections = SECTIONS.map(|name| root.remove_entry(name));
    let [sources, transforms, sinks, pipelines] = sections;
    raw.sources = reader.section(sources);
    raw.transforms = reader.section(transforms);
    raw.sinks = reader.section(sinks);
    raw.pipelines_stated = pipelines.as_ref().map(|(key, _)| key.span());
    for (name, table) in reader.tables(pipelines) {
        let what = What { place: "pipeline", kind: "", name: name.value().clone() };
        let config = reader.part::<PipelineConfig>(table, name.span(), what);
        raw.pipelines.push(Named { name, config });
    }
    let what = What { place: "root", kind: "", name: String::new() };
    raw.globals = reader.part::<Globals>(root, 0..0, what);
    raw
}

/// What a part of the file is, for the words of its problems.
struct What {
    /// `root`, `source`, `transform`, `sink` or `pipeline`.
    place: &'static str,
    kind: &'static str,
    name: String,
}

impl What {
    /// Returns the words: "transform `thin`", "`limits` of source `trail`".
    fn words(&self, inside: &[Step]) -> String {
        let inside = path_words(inside);
        match (self.place, inside.is_empty()) {
            ("root", true) => "the configuration".to_owned(),
            ("root", false) => format!("`{inside}`"),
            (place, true) => format!("{place} `{}`", self.name),
            (place, false) => format!("`{inside}` of {place} `{}`", self.name),
        }
    }
}

/// One step into the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn path_words(path: &[Step]) -> String {
    let mut words = String::new();
    for step in path {
        match step {
            Step::Key(key) if words.is_empty() => words.push_str(key),
            Step::Key(key) => words = format!("{words}.{key}"),
            Step::Index(index) => words = format!("{words}[{index}]"),
        }
    }
    words
}

/// A part of the file on its way to being a component.
pub(crate) struct Part<'r, 'a, 'p> {
    reader: &'r mut Reader<'a, 'p>,
    table: DeTable<'a>,
    span: Range<usize>,
    what: What,
}

impl<'a> Part<'_, 'a, '_> {
    /// Reads the part as a component's `Config`; mistakes are reported.
    pub(super) fn into<T: Deserialize<'a>>(self) -> Read<T> {
        self.reader.part(self.table, self.span, self.what)
    }
}

pub(crate) struct Reader<'a, 'p> {
    /// The text of the file.
    text: &'p str,
    problems: &'p mut Vec<Problem>,
    referred: Vec<Referred<'a>>,
    /// Keys that were taken out of the tree because their values are no good; that they are missing is no news.
    lost: Vec<String>,
}

/// A table of a section, with its name and the place of its header.
type NamedTable<'a> = (At<String>, DeTable<'a>);

/// A section as it stands in the file: its key and its value.
type Section<'a> = Option<(Spanned<std::borrow::Cow<'a, str>>, Spanned<DeValue<'a>>)>;

impl<'a> Reader<'a, '_> {
    fn report(&mut self, span: Range<usize>, message: impl Into<String>, label: impl Into<String>) {
        self.problems.push(Problem::error(span, message, label));
    }

    /// Reports texts that other shippers would have replaced: `${NAME}`.
    fn placeholders(&mut self, value: &DeValue<'_>, span: Range<usize>) {
        match value {
            DeValue::String(text) => {
                let Some(name) = placeholder(text) else { return };
                if self.referred.iter().any(|referred| referred.span == span) {
                    return;
                }
                let label = match text.len() <= name.len() + 3 {
                    true => format!("write {{ env = \"{name}\" }}"),
                    false => format!("put the whole value into a variable: {{ env = \"{name}\" }}"),
                };
                self.report(span, format!("`${{{name}}}` is not replaced by the variable `{name}`"), label);
            }
            DeValue::Array(items) => {
                items.iter().for_each(|item| self.placeholders(item.get_ref(), item.span()))
            }
            DeValue::Table(table) => {
                table.values().for_each(|item| self.placeholders(item.get_ref(), item.span()))
            }
            _ => {}
        }
    }

    /// Returns the tables of a section, in the order of the file; reports what is not one.
    fn tables(&mut self, section: Section<'a>) -> Vec<NamedTable<'a>> {
        let Some((key, value)) = section else { return Vec::new() };
        let key_span = key.span();
        let key = key.into_inner();
        let DeValue::Table(table) = value.into_inner() else {
            self.report(key_span, format!("`{key}` holds tables with names"), format!("write [{key}.NAME]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        let mut stray = Vec::new();
        for (name, value) in table {
            let name_span = name.span();
            let name = name.into_inner().into_owned();
            match value.into_inner() {
                DeValue::Table(table) => {
                    self.check_name(&name, &name_span);
                    tables.push((At::new(name, name_span), table));
                }
                _ => stray.push((name, name_span)),
            }
        }
        // `[sources]` with the keys of one source below it is one mistake, not one for each key.
        stray.sort_by_key(|(_, span)| span.start);
        if let Some((name, span)) = stray.into_iter().next() {
            self.report(
                span,
                format!("`{name}` in [{key}] is not a table"),
                format!("name it in the header: [{key}.NAME]"),
            );
        }
        tables.sort_by_key(|(name, _)| name.span().start);
        tables
    }

    fn check_name(&mut self, name: &str, span: &Range<usize>) {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            let label = "names are of letters, digits, `_` and `-`, at most 64";
            self.report(span.clone(), format!("`{}` cannot be a name", name.escape_debug()), label);
        }
    }

    /// Reads the components of a section.
    fn section<K: Kind>(&mut self, section: Section<'a>) -> Vec<Named<K>> {
        let tables = self.tables(section);
        tables
            .into_iter()
            .map(|(name, table)| {
                let config = self.component::<K>(&name, table);
                Named { name, config }
            })
            .collect()
    }

    fn component<K: Kind>(&mut self, name: &At<String>, mut table: DeTable<'a>) -> Read<K> {
        let place = K::PLACE;
        let header = name.span();
        let Some(kind) = table.remove("type") else {
            if self.lost.iter().any(|lost| lost == "type") {
                return Read::Nothing;
            }
            let misspelt = table.keys().find(|key| closest(key.get_ref(), ["type", "kind"]).is_some());
            let label = format!("add type = \"…\": {}", one_of(K::TYPES));
            match misspelt {
                Some(key) => self.report(
                    key.span(),
                    format!("{place} `{}` has no `type`", name.value()),
                    "did you mean `type`?",
                ),
                None => self.report(header, format!("{place} `{}` has no `type`", name.value()), label),
            }
            return Read::Nothing;
        };
        let kind_span = kind.span();
        let Some(kind) = kind.get_ref().as_str() else {
            self.report(kind_span, "`type` is of the wrong type", "expected text in quotes");
            return Read::Nothing;
        };
        let Some(known) = K::TYPES.iter().find(|known| **known == kind) else {
            let shown = kind.escape_debug();
            let label = match (closest(kind, K::TYPES.iter().copied()), suggest::foreign_type(kind)) {
                (Some(close), _) => format!("did you mean `{close}`?"),
                (None, Some(words)) => words.to_owned(),
                (None, None) => match super::places_of(kind) {
                    Some(other) => format!("`{kind}` is a {other}; a {place} is {}", one_of(K::TYPES)),
                    None => format!("a {place} is {}", one_of(K::TYPES)),
                },
            };
            self.report(kind_span, format!("unknown {place} type `{shown}`"), label);
            return Read::Nothing;
        };
        let what = What { place, kind: known, name: name.value().clone() };
        // Problems of the part as a whole (a missing key) point at its name: an implicit table has no place of its own.
        K::read(known, Part { reader: self, table, span: header, what })
    }

    /// Reads a table as `T`: on a mistake, reports it, takes it out and reads again, until nothing is wrong.
    fn part<T: Deserialize<'a>>(
        &mut self,
        mut table: DeTable<'a>,
        span: Range<usize>,
        what: What,
    ) -> Read<T> {
        let before = self.problems.len();
        let lost_before = self.lost.len();
        for _ in 0..MISTAKES {
            let value = Spanned::new(span.clone(), DeValue::Table(table.clone()));
            let error = match T::deserialize(ValueDeserializer::from(value)) {
                Ok(read) => {
                    let clean = self.problems.len() == before;
                    self.lost.truncate(lost_before);
                    return if clean { Read::Whole(read) } else { Read::Partial(read) };
                }
                Err(error) => error,
            };
            let at = error.span().unwrap_or_else(|| span.clone());
            let path = find(&table, &at).unwrap_or_default();
            if let Some(value) = self.other_reading(&at) {
                replace(&mut table, &path, value);
                continue;
            }
            self.explain(error.message(), &at, &path, &what);
            if path.is_empty() {
                break;
            }
            remove(&mut table, &path);
            if let Some(key) =
                path.iter().rev().find_map(|step| if let Step::Key(key) = step { Some(key) } else { None })
            {
                self.lost.push(key.clone());
            }
        }
        self.lost.truncate(lost_before);
        Read::Nothing
    }

    fn other_reading(&mut self, at: &Range<usize>) -> Option<DeValue<'a>> {
        self.referred.iter_mut().find(|referred| referred.span == *at)?.next_reading()
    }

    /// Puts an error of serde in a reader's words.
    fn explain(&mut self, message: &str, at: &Range<usize>, path: &[Step], what: &What) {
        let said = suggest::understand(message);
        // Of a secret that was written as text, or as a reference's default, nothing is shown.
        let secret = matches!(&said, Said::Own(message, _) if message == SECRET_AS_TEXT);
        let reported = self.problems.len();
        self.put_in_words(said, at, path, what);
        if secret {
            self.problems.iter_mut().skip(reported).for_each(|problem| problem.hide(at.start));
        }
    }

    fn put_in_words(&mut self, said: Said, at: &Range<usize>, path: &[Step], what: &What) {
        let key = path_words(path);
        if let Some(referred) = self.referred.iter().find(|referred| referred.span == *at) {
            if matches!(&said, Said::Own(message, _) if message == SECRET_AS_TEXT) {
                let message = format!("`{key}`: {SECRET_AS_TEXT}");
                return self.report(at.clone(), message, "leave `default` out");
            }
            let label = match said {
                Said::Unfit { expected, .. } => format!("expected {}", suggest::expected_words(&expected)),
                Said::UnknownValue(_, values) => format!("expected {}", one_of(&values)),
                Said::Own(_, label) if !label.contains(referred.text) => label,
                _ => String::new(),
            };
            let message = format!("{} does not hold a value for `{key}`", referred.origin);
            return self.report(at.clone(), message, label);
        }
        match said {
            Said::UnknownKey(name, fields) => {
                let inside = path.split_last().map_or(&[][..], |(_, inside)| inside);
                let (label, meant) = self.key_label(&name, &fields, inside, what);
                let shown = name.escape_debug();
                let message = format!("unknown key `{shown}` in {}", what.words(inside));
                let mut problem = Problem::error(at.clone(), message, label);
                if meant.as_deref().is_some_and(is_secret) {
                    problem.hide(at.end);
                }
                self.problems.push(problem);
                self.lost.extend(meant);
            }
            Said::UnknownValue(name, values) => {
                let label = match closest(&name, values.iter().map(String::as_str)) {
                    Some(close) => format!("did you mean \"{close}\"?"),
                    None => format!("write {}", one_of(&values)),
                };
                self.report(at.clone(), format!("`{key}` cannot be `{}`", name.escape_debug()), label);
            }
            Said::Missing(name) => {
                if self.lost.contains(&name) {
                    return;
                }
                self.report(
                    at.clone(),
                    format!("{} has no `{name}`", what.words(path)),
                    format!("add `{name} = …`"),
                );
            }
            Said::Unfit { range, found, expected } => {
                let expected = suggest::expected_words(&expected);
                let number = found.trim_start_matches("string ").trim_matches('"').parse::<f64>().is_ok();
                let quotes = if number && found.starts_with("string") { ", without quotes" } else { "" };
                let header = self.text.get(at.clone()).is_some_and(|text| text.starts_with('['));
                let expected = match header && expected.contains("list") {
                    true => "two brackets around the header: [[…]]".to_owned(),
                    false => expected,
                };
                let message = match range {
                    true => format!("`{key}` cannot be {}", found.rsplit(' ').next().unwrap_or_default()),
                    false => format!("`{key}` is {}", suggest::found_words(&found)),
                };
                self.report(at.clone(), message, format!("expected {expected}{quotes}"));
            }
            Said::Own(message, label) => {
                // What `${NAME}` means here was said already.
                if message.starts_with("`${") && self.problems.iter().any(|problem| problem.span == *at) {
                    return;
                }
                // A list that is empty because its elements were taken out is no news.
                if message == super::at::EMPTY && self.lost.contains(&key) {
                    return;
                }
                let message = match message.contains('`') || key.is_empty() {
                    true => message,
                    false => format!("`{key}`: {message}"),
                };
                self.report(at.clone(), message, label);
            }
        }
    }

    /// Says what an unknown key may have been meant to be, and the field that is then no longer missing.
    fn key_label(
        &self,
        name: &str,
        fields: &[String],
        inside: &[Step],
        what: &What,
    ) -> (String, Option<String>) {
        let sections = (what.place == "root" && inside.is_empty()).then_some(SECTIONS).into_iter().flatten();
        let fields: Vec<&str> = fields.iter().map(String::as_str).chain(sections).collect();
        if let Some(words) = suggest::foreign_key(what.place, what.kind, name).filter(|_| inside.is_empty()) {
            let meant = fields.iter().find(|field| words.contains(&format!("write {field} =")));
            return (words.to_owned(), meant.map(|field| (*field).to_owned()));
        }
        if let Some(close) = closest(name, fields.iter().copied()) {
            return (format!("did you mean `{close}`?"), Some(close.to_owned()));
        }
        let label = match fields.len() {
            0 => "there are no keys here".to_owned(),
            1..=8 => format!("keys here are {}", all_of(&fields)),
            _ => "see `config.toml.example` for the keys".to_owned(),
        };
        (label, None)
    }
}

/// Returns the name in a `${NAME}` (or a whole `$NAME`).
fn placeholder(text: &str) -> Option<&str> {
    let fine = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let braced = text
        .split("${")
        .skip(1)
        .find_map(|rest| rest.split_once('}').map(|(name, _)| name).filter(|name| fine(name)));
    braced.or_else(|| text.strip_prefix('$').filter(|name| fine(name)))
}

/// Finds the path to the key or value that stands at `at`: the deepest, as a list of tables stands where its first does.
fn find(table: &DeTable<'_>, at: &Range<usize>) -> Option<Vec<Step>> {
    // What a reference was replaced by is one value, also where it is a table.
    let mut entries = table.iter().filter(|(key, _)| key.get_ref() != super::value::SECRET_KEY);
    entries.find_map(|(key, value)| {
        let inner = find_in(value, at).or_else(|| (key.span() == *at).then(Vec::new));
        Some(std::iter::once(Step::Key(key.get_ref().to_string())).chain(inner?).collect())
    })
}

fn find_in(value: &Spanned<DeValue<'_>>, at: &Range<usize>) -> Option<Vec<Step>> {
    let inside = match value.get_ref() {
        DeValue::Table(table) => find(table, at),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            Some(std::iter::once(Step::Index(index)).chain(find_in(item, at)?).collect())
        }),
        _ => None,
    };
    inside.or_else(|| (value.span() == *at).then(Vec::new))
}

fn remove(table: &mut DeTable<'_>, path: &[Step]) {
    let Some((Step::Key(key), rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.remove(key.as_str());
    } else if let Some(value) = table.get_mut(key.as_str()) {
        remove_in(value.get_mut(), rest);
    }
}

fn remove_in(value: &mut DeValue<'_>, path: &[Step]) {
    match (value, path) {
        (DeValue::Table(table), path) => remove(table, path),
        (DeValue::Array(items), [Step::Index(index)]) => {
            let taken = std::mem::replace(items, toml::de::DeArray::new());
            *items =
                taken.into_iter().enumerate().filter(|(i, _)| i != index).map(|(_, item)| item).collect();
        }
        (DeValue::Array(items), [Step::Index(index), rest @ ..]) => {
            if let Some(item) = items.get_mut(*index) {
                remove_in(item.get_mut(), rest);
            }
        }
        _ => {}
    }
}

fn replace<'a>(table: &mut DeTable<'a>, path: &[Step], new: DeValue<'a>) {
    let Some((Step::Key(key), rest)) = path.split_first() else { return };
    let Some(mut value) = table.get_mut(key.as_str()).map(Spanned::get_mut) else { return };
    for step in rest {
        value = match (value, step) {
            (DeValue::Table(table), Step::Key(key)) => match table.get_mut(key.as_str()) {
                Some(value) => value.get_mut(),
                None => return,
            },
            (DeValue::Array(items), Step::Index(index)) => match items.get_mut(*index) {
                Some(value) => value.get_mut(),
                None => return,
            },
            _ => return,
        };
    }
    *value = new;
}
