//! The scan under a fuzzer: index and overlay against the plain parser and against a DOM.

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::overlay::Overlay;
use super::plain::{self, PlainLeaf, PlainStep};
use super::{Edge, Identity, Mark, PathId, Record, Scan, ScanLimits, Scanner, Segment, SlotId, Slots, Span};
use crate::encode::{Encoder, Nested, Shape};

/// A scanner with a few slots.
pub(super) fn scanner() -> Scanner {
    let mut slots = Slots::default();
    for path in ["eventName", "userIdentity.arn", "resources.ARN", "a", "a.b"] {
        slots.want(path);
    }
    Scanner::new(Arc::new(slots), ScanLimits::default())
}

/// Records between bytes `FF` (which JSON never has), the first of them two bytes that choose edits. One scanner meets
/// all of them three times, so that what it learned from one is used on another; each time it must find what the plain
/// parser finds, and what is written with the edits must be what a DOM with the same edits is.
///
/// # Panics
/// When that is not so.
pub fn record(data: &[u8]) {
    let Some((edits, texts)) = data.split_first_chunk::<2>() else { return };
    let mut scanner = scanner();
    let mut encoder = Encoder::new(Arc::new(Shape::Nested(Nested::default())));
    for _ in 0..3 {
        for text in texts.split(|byte| *byte == 0xff) {
            let (found, leaves) = compare(&mut scanner, text);
            if let Scan::Record { end } = found {
                edited(&scanner, &mut encoder, &text[..end], &leaves, edits);
            }
        }
    }
}

/// Compares leaves and edits with a DOM, where `serde_json` can hold the record: no key twice, no huge number, no half
/// of a surrogate pair.
fn edited(scanner: &Scanner, encoder: &mut Encoder, text: &[u8], leaves: &[PlainLeaf], edits: &[u8; 2]) {
    assert!(serde_json::from_slice::<IgnoredAny>(text).is_ok(), "not JSON: {}", text.escape_ascii());
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    let mut found = Vec::new();
    walk(&value, &mut |leaf| found.push(leaf.clone()));
    // A key stood twice: the DOM has lost what was below the first. An empty record has no leaves.
    if found.len() < leaves.len() || leaves.is_empty() {
        return;
    }
    let own: Vec<Value> =
        leaves.iter().filter_map(|leaf| serde_json::from_slice(&text[leaf.start..leaf.end]).ok()).collect();
    assert_eq!(own, found, "the leaves of the DOM, in order: {}", text.escape_ascii());

    let mut overlay = Overlay::default();
    for position in (0u32..).take(leaves.len()) {
        match (position ^ u32::from(edits[0])) % 11 {
            0 if edits[1] & 1 != 0 => overlay.removed.push(position),
            1 if edits[1] & 2 != 0 => overlay.replaced.push((position, br#""(gone) \"""#[..].into())),
            _ => {}
        }
    }
    let mut written = Vec::new();
    let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let record = Record {
        buffer: text,
        span: Span { start: 0, end },
        index: scanner,
        overlay: &mut overlay,
        identity: Identity::default(),
        protection: super::protect::Protection::default(),
        families: 0,
    };
    encoder.encode(&record, &mut written);
    let expected = edit(value, &mut 0, &overlay).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let got = serde_json::from_slice::<Value>(&written).ok();
    assert_eq!(got, Some(expected), "{} with {overlay:?}", text.escape_ascii());
}

/// Shows each scalar and each empty container.
fn walk(value: &Value, each: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(members) if !members.is_empty() => members.values().for_each(|value| walk(value, each)),
        Value::Array(elements) if !elements.is_empty() => elements.iter().for_each(|value| walk(value, each)),
        leaf => each(leaf),
    }
}

/// The same edits on a DOM: a container that held nothing else goes with its leaves.
fn edit(value: Value, position: &mut u32, overlay: &Overlay) -> Option<Value> {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let kept: serde_json::Map<_, _> = members
                .into_iter()
                .filter_map(|(key, value)| Some((key, edit(value, position, overlay)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(elements) if !elements.is_empty() => {
            let kept: Vec<_> =
                elements.into_iter().filter_map(|value| edit(value, position, overlay)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        leaf => {
            let own = *position;
            *position += 1;
            if overlay.removed.contains(&own) {
                return None;
            }
            let new = overlay.replaced.iter().find(|(position, _)| *position == own);
            Some(new.and_then(|(_, text)| serde_json::from_slice(text).ok()).unwrap_or(leaf))
        }
    }
}

/// Scans `text` and compares everything with the plain parser; the verdict, and the plain parser's leaves.
pub(super) fn compare(scanner: &mut Scanner, text: &[u8]) -> (Scan, Vec<PlainLeaf>) {
    let found = scanner.scan(text, 0);
    let (expected, leaves) = plain::parse(text, 0, 128);
    match (found, expected) {
        (Scan::Invalid { .. }, Scan::Invalid { .. }) => {}
        _ => assert_eq!(found, expected, "{}", text.escape_ascii()),
    }
    let Scan::Record { end } = found else { return (found, leaves) };
    let mut at = 0;
    assert_eq!(scanner.leaves().len(), leaves.len());
    for (index, (leaf, plain)) in scanner.leaves().iter().zip(&leaves).enumerate() {
        let edge = scanner.edge(leaf.edge);
        let (start, end) = (leaf.start as usize, leaf.end as usize);
        assert_eq!((start, end), (plain.start, plain.end), "{}", text.escape_ascii());
        assert_eq!(edge.text, &text[at..start], "the gaps and the leaves are the whole text");
        assert_eq!(steps(scanner, index), plain.path);
        check_edge(edge);
        if let Some(slot) = scanner.paths().slot(edge.path) {
            assert!(scanner.hits(slot).any(|hit| hit as usize == index));
            assert_eq!(scanner.paths().dotted(edge.path), scanner.slots().path(slot));
        }
        at = end;
    }
    let tail = scanner.edge(scanner.tail());
    assert_eq!(tail.text, &text[at..end]);
    assert_eq!(tail.path, PathId::ROOT);
    check_edge(tail);
    check_hits(scanner, &leaves);
    (found, leaves)
}

fn steps(scanner: &Scanner, position: usize) -> Vec<PlainStep> {
    let step = |segment: Segment<'_>| match segment {
        Segment::Key(key) => PlainStep::Key(key.to_vec()),
        Segment::Index(index) => PlainStep::Index(index),
    };
    scanner.steps(position).into_iter().map(step).collect()
}

/// Slots hold exactly the leaves whose path says so.
fn check_hits(scanner: &Scanner, leaves: &[PlainLeaf]) {
    for slot in (0u16..).take(scanner.slots().len()).map(SlotId) {
        let hits: Vec<u32> = scanner.hits(slot).collect();
        assert!(hits.is_sorted());
        let expected =
            leaves.iter().filter(|leaf| dotted(&leaf.path).as_deref() == Some(scanner.slots().path(slot)));
        assert_eq!(hits.len(), expected.count());
        assert_eq!(scanner.first(slot), hits.first().map(|&hit| scanner.leaves()[hit as usize]));
        assert_eq!(scanner.last(slot), hits.last().map(|&hit| scanner.leaves()[hit as usize]));
    }
}

/// The dotted path, `None` when a key is empty.
fn dotted(path: &[PlainStep]) -> Option<String> {
    let keys: Vec<_> = path
        .iter()
        .filter_map(|step| match step {
            PlainStep::Key(key) => Some(super::path::unescape(key)),
            PlainStep::Index(_) => None,
        })
        .collect();
    (!keys.iter().any(|key| key.is_empty())).then(|| keys.join("."))
}

/// Finds the brackets outside keys the obvious way.
pub(super) fn check_edge(edge: Edge<'_>) {
    let mut marks = Vec::new();
    let (mut inside, mut escaped, mut escapes) = (false, false, false);
    for (at, &byte) in (0u32..).zip(edge.text) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => (escaped, escapes) = (true, true),
            b'"' => inside = !inside,
            b'{' | b'}' | b'[' | b']' if !inside => marks.push(Mark { at, bracket: byte }),
            _ => {}
        }
    }
    assert_eq!(edge.marks, marks);
    assert_eq!(edge.escaped_key, escapes);
    assert_eq!(edge.has_newline, edge.text.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
}
