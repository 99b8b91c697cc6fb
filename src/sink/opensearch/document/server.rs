//! A server's rules over the template it would get, each as it was seen: what documents are tested and fuzzed against.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

use crate::encode::tree::Node;
use crate::record::path::unescape;
use crate::sink::opensearch::mapping::kind;

/// Whether the server takes a document.
///
/// # Errors
/// Which rule is broken, and where.
pub(super) fn takes(properties: &Value, document: &str) -> Result<(), String> {
    match Node::read(document.as_bytes()) {
        Node::Object(members, _) => object(&members, Some(properties), "", true),
        _ => Ok(()),
    }
}

fn text(written: &[u8]) -> Option<String> {
    serde_json::from_str(&format!("\"{}\"", std::str::from_utf8(written).ok()?)).ok()
}

/// `known`: the properties of a named object; `None`: nothing is known in here.
fn object(
    members: &[(Cow<'_, [u8]>, Node<'_>)],
    known: Option<&Value>,
    path: &str,
    root: bool,
) -> Result<(), String> {
    let mut names = HashSet::new();
    for (written, value) in members {
        let name = text(written).ok_or("half of a surrogate pair")?;
        let path = format!("{path}.{name}");
        if name.chars().count() > 50_000 {
            return Err("a name that is too long".into());
        }
        if !names.insert(name.clone()) {
            return Err(format!("{path} twice"));
        }
        let Some(known) = known else {
            any(value, &path, 0)?;
            continue;
        };
        if !root && name.contains('.') {
            return Err(format!("{path}: dots below the root"));
        }
        if root && ["_id", "_source", "_index"].contains(&name.as_str()) {
            return Err(format!("{path} is the server's own"));
        }
        let (mut at, mut parts) = (Some(known), name.split('.').peekable());
        let mut field = None;
        while let Some(part) = parts.next() {
            if part.trim().is_empty() {
                return Err(format!("{path}: an empty part"));
            }
            field = at.and_then(|known| known.get(part));
            at = field.and_then(|field| field.get("properties"));
            let object = field.is_none_or(|field| field["type"].is_null() || field["enabled"] == false);
            if parts.peek().is_some() && !object {
                return Err(format!("{path} leads below a value"));
            }
            if field.is_some_and(|field| field["enabled"] == false) {
                break;
            }
        }
        let array =
            matches!(value, Node::Array(..)) || matches!(value, Node::Leaf(text) if text.starts_with(b"["));
        if array && field.is_none() && name.contains('.') {
            let (mut deepest, mut parts) = (known, name.split('.'));
            while let Some(below) = parts.next().and_then(|part| deepest.get(part)?.get("properties")) {
                deepest = below;
            }
            if name.rsplit('.').next().is_some_and(|last| deepest.get(last).is_some()) {
                return Err(format!("{path} is taken for another field"));
            }
        }
        member(value, field, &path, 0)?;
    }
    Ok(())
}

/// A member of a named object.
fn member(value: &Node<'_>, field: Option<&Value>, path: &str, arrays: u8) -> Result<(), String> {
    if arrays > 20 {
        return Err(format!("{path}: too many arrays"));
    }
    let kind = |value: &Node<'_>| match value {
        Node::Leaf(text) => kind::of(text),
        Node::Object(..) => kind::OBJECT,
        Node::Array(..) => kind::ARRAY,
    };
    let r#type = field.and_then(|field| field["type"].as_str()).unwrap_or("object");
    let kept = field.is_none_or(|field| field["enabled"] == false);
    match (value, kind(value)) {
        (Node::Array(elements, _), _) => {
            elements.iter().try_for_each(|(_, element)| member(element, field, path, arrays + 1))
        }
        (_, _) if kept => any(value, path, 0),
        (_, _) if r#type == "alias" => Err(format!("{path} is an alias")),
        (_, kind::NULL | kind::ARRAY) => Ok(()),
        (Node::Object(members, _), _) if r#type == "object" => {
            object(members, field.and_then(|field| field.get("properties")), path, false)
        }
        (Node::Leaf(_), kind::OBJECT) if matches!(r#type, "object" | "flat_object") => Ok(()),
        (Node::Object(members, _), _) if r#type == "flat_object" => {
            object(members, None, path, false)?;
            members.iter().try_for_each(|(name, value)| {
                terms(value, path.len() + text(name).map_or(0, |name| name.len()) + 1)
            })
        }
        (Node::Leaf(_), kind) if r#type == "boolean" && kind != kind::BOOL => {
            Err(format!("{path} is no boolean"))
        }
        (Node::Leaf(text), kind::STRING | kind::NUMBER | kind::BOOL)
            if !matches!(r#type, "object" | "flat_object") =>
        {
            digits(text)
        }
        _ => Err(format!("{path} is a {type} and {value:?}")),
    }
}

fn any(value: &Node<'_>, path: &str, depth: usize) -> Result<(), String> {
    match value {
        _ if depth > 1_000 => Err("too deep".into()),
        Node::Object(members, _) => object(members, None, path, false),
        Node::Array(elements, _) => {
            elements.iter().try_for_each(|(_, element)| any(element, path, depth + 1))
        }
        Node::Leaf(text) => digits(text),
    }
}

fn digits(text: &[u8]) -> Result<(), String> {
    let number = kind::of(text) == kind::NUMBER;
    if number && text.len() > 1_000 { Err("too many digits".into()) } else { Ok(()) }
}

/// A path with its value is one term.
fn terms(value: &Node<'_>, path: usize) -> Result<(), String> {
    match value {
        Node::Object(members, _) => members
            .iter()
            .try_for_each(|(name, value)| terms(value, path + text(name).map_or(0, |name| name.len()) + 1)),
        Node::Array(elements, _) => elements.iter().try_for_each(|(_, element)| terms(element, path)),
        Node::Leaf(text) => {
            let length = unescape(text).len() - if text.starts_with(b"\"") { 2 } else { 0 };
            let long =
                kind::of(text) & (kind::STRING | kind::NUMBER | kind::BOOL) != 0 && path + length > 32_766;
            if long { Err("an immense term".into()) } else { Ok(()) }
        }
    }
}
