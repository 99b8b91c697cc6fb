//! What a case expects against what came out.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Expect, Failure, Outcome};

/// Compares; the failure tells the first path that differs. `field` is the top-level key of what is added.
///
/// # Errors
/// They differ.
pub(super) fn compare(
    expect: &Expect,
    outcome: &Outcome,
    field: &str,
    family: Option<&str>,
) -> Result<(), Box<Failure>> {
    let (mut expected, mut got) = (Map::new(), Map::new());
    let mut differs: Option<String> = None;
    let mut differ = |what: String| _ = differs.get_or_insert(what);
    let nothing = || match (&outcome.rejected, &outcome.ended) {
        (Some(reason), _) => format!("nothing: it was rejected ({reason})"),
        (None, Some(ended)) => format!("nothing: {ended}"),
        (None, None) => "nothing".to_owned(),
    };

    if let Some(text) = &expect.rejected {
        expected.insert("rejected".into(), text.as_str().into());
        if !outcome.rejected.as_ref().is_some_and(|reason| reason.contains(text.as_str())) {
            let got = outcome
                .rejected
                .as_ref()
                .map_or("it was not rejected".to_owned(), |reason| format!("{reason:?}"));
            differ(format!("rejected: expected a reason with {text:?}, got {got}"));
        }
    }
    let kept = outcome.written.is_some();
    got.insert("kept".into(), kept.into());
    for (name, what) in [("rejected", &outcome.rejected), ("left_out", &outcome.ended)] {
        if let Some(what) = what {
            got.insert(name.into(), what.as_str().into());
        }
    }
    if let Some(wanted) = expect.kept {
        expected.insert("kept".into(), wanted.into());
        if wanted != kept {
            let why = if kept { String::new() } else { format!(" ({})", nothing()) };
            differ(format!("kept: expected {wanted}, got {kept}{why}"));
        }
    }
    if let Some(fields) = &expect.fields {
        let wanted = json_of(&toml::Value::Table(fields.clone()));
        let mut found = Map::new();
        for (path, wanted) in wanted.as_object().into_iter().flatten() {
            each(path, wanted, &mut |path, wanted| {
                let value = outcome.written.as_ref().and_then(|written| lookup(written, path));
                let shown = value.map_or_else(|| json!({ "missing": true }), Clone::clone);
                let holds = match (value, outcome.written.is_some()) {
                    (value, true) if is_missing(wanted) => value.is_none(),
                    (Some(value), _) => same(wanted, value),
                    (None, _) => false,
                };
                if !holds {
                    let got = if kept { shown.to_string() } else { nothing() };
                    differ(format!("{path}: expected {wanted}, got {got}"));
                }
                found.insert(path.to_owned(), shown);
            });
        }
        expected.insert("fields".into(), wanted);
        if kept {
            got.insert("fields".into(), found.into());
        }
    }
    if let Some(wanted) = &expect.signals {
        let tags = outcome.written.as_ref().map(|written| tags(written, field, family));
        let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        expected.insert("signals".into(), json!(wanted));
        match &tags {
            None => differ(format!("{field}.signals: expected {}, got {}", json!(wanted), nothing())),
            Some(tags) if *tags != wanted => {
                differ(format!("{field}.signals: expected {}, got {}", json!(wanted), json!(tags)));
            }
            Some(_) => {}
        }
        if let Some(tags) = tags {
            got.insert("signals".into(), json!(tags));
        }
    }
    match differs {
        None => Ok(()),
        Some(differs) => Err(Box::new(Failure { expected: expected.into(), got: got.into(), differs })),
    }
}

/// The tags of an outcome; of a family's cases only its own.
fn tags<'w>(written: &'w Value, field: &str, family: Option<&str>) -> BTreeSet<&'w str> {
    let all = lookup(written, &format!("{field}.signals")).and_then(Value::as_array);
    let all = all.into_iter().flatten().filter_map(Value::as_str);
    all.filter(|tag| {
        family.is_none_or(|family| {
            tag.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    })
    .collect()
}

/// The value at a dotted path: keys may hold dots themselves (a flat event), and numbers are positions in a list.
fn lookup<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => {
            let whole = members.get(path);
            let dots = path.match_indices('.').map(|(at, _)| at);
            whole.or_else(|| dots.rev().find_map(|at| lookup(members.get(&path[..at])?, &path[at + 1..])))
        }
        Value::Array(elements) => {
            let (first, rest) =
                path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
            let element = elements.get(first.parse::<usize>().ok()?)?;
            rest.map_or(Some(element), |rest| lookup(element, rest))
        }
        _ => None,
    }
}

/// Visits what is expected below a path; members of a table are paths of their own.
fn each(path: &str, wanted: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    match wanted {
        Value::Object(members) if !members.is_empty() && !is_missing(wanted) => {
            for (key, wanted) in members {
                each(&format!("{path}.{key}"), wanted, visit);
            }
        }
        _ => visit(path, wanted),
    }
}

fn is_missing(wanted: &Value) -> bool {
    *wanted == json!({ "missing": true })
}

/// Whether two values are the same; numbers by their value, however they are written.
fn same(wanted: &Value, got: &Value) -> bool {
    match (wanted, got) {
        (Value::Number(wanted), Value::Number(got)) => wanted == got || wanted.as_f64() == got.as_f64(),
        (Value::Array(wanted), Value::Array(got)) => {
            wanted.len() == got.len() && wanted.iter().zip(got).all(|(wanted, got)| same(wanted, got))
        }
        (Value::Object(wanted), Value::Object(got)) => {
            wanted.len() == got.len()
                && wanted.iter().all(|(key, wanted)| got.get(key).is_some_and(|got| same(wanted, got)))
        }
        _ => wanted == got,
    }
}

/// TOML as JSON: a date is its text, and `{ null = true }` is null.
fn json_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(elements) => elements.iter().map(json_of).collect(),
        toml::Value::Table(table) => {
            if table.len() == 1 && table.get("null").and_then(toml::Value::as_bool) == Some(true) {
                return Value::Null;
            }
            table.iter().map(|(key, value)| (key.clone(), json_of(value))).collect::<Map<_, _>>().into()
        }
    }
}
