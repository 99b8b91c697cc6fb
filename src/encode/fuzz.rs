//! The flat shape under a fuzzer: both roads, its limits, the way back, and a DOM flattened the obvious way.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::text::strip;
use super::unflatten::unflatten;
use super::{Arrays, Encoder, Flatten, Shape, flat_plain};
use crate::record::overlay::{Fragment, FragmentLeaf, Overlay, Parent};
use crate::record::{Identity, Record, Scan, ScanLimits, Scanner, Slots, Span};

/// Scans `text` as one record and lends it; `None`: it is none.
pub(crate) fn with_record<T>(
    scanner: &mut Scanner,
    text: &str,
    overlay: &mut Overlay,
    work: impl FnOnce(&Record<'_>) -> T,
) -> Option<T> {
    let start = text.len() - text.trim_start().len();
    let Scan::Record { end } = scanner.scan(text.as_bytes(), start) else { return None };
    let span = Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? };
    let (identity, protection) = (Identity::default(), crate::record::protect::Protection::default());
    let buffer = text.as_bytes();
    Some(work(&Record { buffer, span, index: scanner, overlay, identity, protection, families: 0 }))
}

/// A scanner that looks for nothing.
pub(super) fn scanner() -> Scanner {
    Scanner::new(Arc::new(Slots::default()), ScanLimits::default())
}

/// The slow road.
pub(super) fn slow(shape: &Flatten, text: &str, overlay: &mut Overlay) -> String {
    let mut out = Vec::new();
    with_record(&mut scanner(), text, overlay, |record| flat_plain(shape, record, &mut out));
    String::from_utf8_lossy(&out).into_owned()
}

/// The keys of an object, in order, duplicates included.
pub(super) fn keys(text: &str) -> Vec<String> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Keys).unwrap_or_default()
}

/// Four bytes of settings, then records between bytes `FF`. The learned road writes what the slow one does, within the
/// limits and without a key twice; where names are escaped the record comes back; and a record of plain names is what
/// a DOM is, taken apart the obvious way.
///
/// # Panics
/// When that is not so.
pub fn flatten(data: &[u8]) {
    let Some((&[form, limits, edits, seed], texts)) = data.split_first_chunk() else { return };
    let shape = shape(form, limits);
    let mut scanner = scanner();
    let mut encoder = Encoder::new(Arc::new(Shape::Flat(shape.clone())));
    let texts: Vec<&str> = texts
        .split(|byte| *byte == 0xff)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter_map(|text| {
            // Exactly one record; half a surrogate pair and huge numbers are for the scan's own target.
            let whole = text.trim_matches([' ', '\t', '\r', '\n']);
            let Scan::Record { end } = scanner.scan(whole.as_bytes(), 0) else { return None };
            serde_json::from_str::<Value>(whole).ok().filter(|_| end == whole.len())?;
            Some(whole)
        })
        .collect();
    for _ in 0..3 {
        for text in &texts {
            let mut overlay = Overlay::default();
            with_record(&mut scanner, text, &mut Overlay::default(), |record| {
                edit(&mut overlay, record.index.leaves().len(), edits, seed);
            });
            let expected = slow(&shape, text, &mut overlay);
            let mut out = Vec::new();
            with_record(&mut scanner, text, &mut overlay, |record| encoder.encode(record, &mut out));
            assert_eq!(
                String::from_utf8_lossy(&out),
                expected,
                "the roads differ on {text} with {overlay:?}"
            );
            check(&shape, text, &expected, &overlay);
        }
    }
    texts.iter().for_each(|text| obvious(text));
}

fn shape(form: u8, limits: u8) -> Flatten {
    let pick = |from: &[usize], at: u8| from[usize::from(at) % from.len()];
    Flatten {
        separator: [".", "_", "__", "::", "..", "/"][usize::from(form) % 6].into(),
        arrays: [Arrays::Keep, Arrays::Index, Arrays::Join, Arrays::Json][usize::from(form / 6) % 4],
        lossless: form / 24 % 2 == 1,
        max_depth: pick(&[1_000, 1, 2, 3, 32], limits),
        max_fields: pick(&[usize::MAX, 3, 8, 2_000], limits / 5),
        max_key: pick(&[usize::MAX, 8, 40, 512], limits / 20),
        keep_json: [&[][..], &["requestParameters", "responseElements"], &["a", "a.b", "resources.a"]]
            [usize::from(limits / 80) % 3]
            .iter()
            .map(|path| Box::from(*path))
            .collect(),
        ..Flatten::default()
    }
}

fn edit(overlay: &mut Overlay, leaves: usize, edits: u8, seed: u8) {
    for position in (0u32..).take(leaves) {
        match (position ^ u32::from(seed)) % 7 {
            0 if edits & 1 != 0 => overlay.removed.push(position),
            1 if edits & 2 != 0 => overlay.replaced.push((position, br#""a\"b""#[..].into())),
            2 if edits & 4 != 0 => overlay.replaced.push((position, br#"{"n":[1, 2]}"#[..].into())),
            _ => {}
        }
    }
    let leaf = |keys: &[&str], value: &str| FragmentLeaf {
        keys: keys.iter().map(|&key| key.into()).collect(),
        index: None,
        value: value.as_bytes().into(),
    };
    if edits & 8 != 0 {
        let leaves = vec![leaf(&["name"], "\"pay\""), leaf(&["tags", "e.v"], "\"prod\"")];
        overlay.added.push((Parent::Account, Rc::new(Fragment::once(leaves))));
    }
}

/// What holds of every flat record.
fn check(shape: &Flatten, text: &str, out: &str, overlay: &Overlay) {
    assert!(!out.contains(['\n', '\r']), "one line: {out}");
    assert!(serde_json::from_str::<Value>(out).is_ok_and(|value| value.is_object()), "an object: {out}");
    let mut found = keys(out);
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count, "a key twice: {out}");
    if overlay.added.is_empty() {
        assert!(count <= shape.max_fields.max(keys(text).len()), "too many fields: {out}");
    }
    let is_whole = shape.max_depth == 1_000 && shape.max_fields == usize::MAX && shape.max_key == usize::MAX;
    let is_taken_apart = matches!(shape.arrays, Arrays::Keep | Arrays::Index) && shape.keep_json.is_empty();
    let is_untouched = overlay.leaves_untouched() && overlay.added.is_empty();
    if shape.lossless && is_whole && is_taken_apart && is_untouched {
        let stripped = |text: &str| {
            let mut out = Vec::new();
            strip(text.as_bytes(), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(stripped(&unflatten(out, shape)), stripped(text), "by way of {out}");
    }
}

/// A record whose names have nothing of a path in them, flattened on a DOM.
fn obvious(text: &str) {
    let shape = Flatten { keep_json: Vec::new(), arrays: Arrays::Index, ..Flatten::default() };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let mut expected = BTreeMap::new();
    let mut leaves = 0;
    let is_plain = take_apart(&value, String::new(), &mut expected, &mut leaves);
    let own =
        with_record(&mut scanner(), text, &mut Overlay::default(), |record| record.index.leaves().len());
    if !is_plain || own != Some(leaves) || leaves != expected.len() || leaves > 1_000 {
        return;
    }
    let out = slow(&shape, text, &mut Overlay::default());
    let got: Option<BTreeMap<String, Value>> = serde_json::from_str(&out).ok();
    assert_eq!(got, Some(expected), "of {text}");
}

/// `false`: some name could be taken for a path, or is too long.
fn take_apart(value: &Value, path: String, out: &mut BTreeMap<String, Value>, leaves: &mut usize) -> bool {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let is_short = path.len() < 300 && path.matches('.').count() < 30;
    let is_plain =
        |name: &str| !name.is_empty() && name.len() < 100 && name.bytes().all(|b| b.is_ascii_alphabetic());
    match value {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .all(|(key, value)| is_short && is_plain(key) && take_apart(value, below(key), out, leaves)),
        Value::Array(elements) if !elements.is_empty() => elements
            .iter()
            .enumerate()
            .all(|(at, value)| is_short && take_apart(value, below(&at.to_string()), out, leaves)),
        _ if path.is_empty() => true,
        leaf => {
            *leaves += 1;
            out.insert(path, leaf.clone());
            true
        }
    }
}
