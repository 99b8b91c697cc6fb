//! Documents under a fuzzer: both roads, a server's rules, and that nothing is lost.

use std::sync::Arc;

use super::server::takes;
use super::{Document, rewrite};
use crate::encode::flat::{Arrays, Flatten};
use crate::encode::fuzz::with_record;
use crate::encode::tree::Node;
use crate::encode::{Encoder, Nested, Shape};
use crate::record::overlay::Overlay;
use crate::record::{Scan, ScanLimits, Scanner, Slots};
use crate::sink::opensearch::mapping::{Flavour, Mapping, Type};

/// One byte of settings, then records between bytes `FF`. The document of a record is the same by the fast road and by the slow
/// one, a server takes it, nothing of the record is missing in it, and it needs nothing more.
///
/// # Panics
/// When that is not so.
pub fn documents(data: &[u8]) {
    let Some((&form, texts)) = data.split_first() else { return };
    let (shape, stream) = (shape(form), form & 8 != 0);
    let more = [("a".to_owned(), Type::Flattened), ("b.c".to_owned(), Type::Keyword)];
    let more = if form & 16 == 0 { &[][..] } else { &more };
    let mapping = Arc::new(Mapping::new(&shape, stream, more));
    let properties = mapping.properties(Flavour::Opensearch);
    let document = Document::new(shape.clone(), mapping.clone(), Arc::default());
    let scanner = || Scanner::new(Arc::new(Slots::default()), ScanLimits::default());
    let is_record = |text: &str| scanner().scan(text.as_bytes(), 0) == Scan::Record { end: text.len() };
    let texts: Vec<&str> = texts
        .split(|byte| *byte == 0xff)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter(|text| is_record(text))
        .collect();
    let (mut learned, mut encoder) = (scanner(), Encoder::new(Arc::new(Shape::Document(document.clone()))));
    for round in 0..3 {
        for text in &texts {
            let (mut plain, mut head) = (Vec::new(), None);
            with_record(&mut scanner(), text, &mut Overlay::default(), |record| {
                head = document.head(record);
                Encoder::new(Arc::new(shape.clone())).encode(record, &mut plain);
            });
            let expected = slow(&document, &plain, head);
            let mut out = Vec::new();
            with_record(&mut learned, text, &mut Overlay::default(), |record| {
                encoder.encode(record, &mut out)
            });
            let (written, expected) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
            assert_eq!(written, expected, "the roads differ on {text}");
            if round > 0 {
                continue;
            }
            assert!(is_record(&written), "no JSON: {written}");
            if let Err(broken) = takes(&properties, &written) {
                panic!("{broken}: {written} of {text}");
            }
            // A NUL in a name may stay where nothing is indexed.
            if !stream && !written.contains("\\u0000") {
                let again = rewrite::rewrite(&mapping, written.as_bytes());
                assert!(again.is_none(), "{written} needs something once more: {again:?}");
            }
            let (mut before, after) = (scalars(&plain), scalars(&out));
            before.retain(|text| !after.contains(text));
            // What no server reads is kept inside a text.
            assert!(before.is_empty() || written.contains("\\\""), "{before:?} of {text} in {written}");
        }
    }
}

fn shape(form: u8) -> Shape {
    let arrays = [Arrays::Keep, Arrays::Index, Arrays::Join, Arrays::Json][usize::from(form / 2) % 4];
    if form & 1 == 0 {
        return Shape::Nested(Nested::default());
    }
    let max_depth = if form & 32 == 0 { Flatten::default().max_depth } else { 2 };
    Shape::Flat(Flatten { arrays, max_depth, ..Flatten::default() })
}

/// What the slow road makes of what the shape writes.
fn slow(document: &Document, plain: &[u8], head: Option<String>) -> Vec<u8> {
    let Some(head) = head else {
        let mut out = plain.to_vec();
        document.rewrite(&mut out, 0);
        return out;
    };
    let mut out = [head.as_bytes(), plain].concat();
    document.rewrite(&mut out, head.len());
    let is_empty = out.len() == head.len() + 2;
    out.splice(head.len()..head.len() + if is_empty { 2 } else { 1 }, [if is_empty { b'}' } else { b',' }]);
    out
}

/// The texts that say something, as they are written.
fn scalars(text: &[u8]) -> Vec<Vec<u8>> {
    fn walk(node: &Node<'_>, out: &mut Vec<Vec<u8>>) {
        match node {
            Node::Leaf(text) if text.starts_with(b"\"") && text.len() > 10 => out.push(text.to_vec()),
            Node::Leaf(_) => {}
            Node::Object(members, _) => members.iter().for_each(|(_, node)| walk(node, out)),
            Node::Array(elements, _) => elements.iter().for_each(|(_, node)| walk(node, out)),
        }
    }
    let mut out = Vec::new();
    walk(&Node::read(text), &mut out);
    out
}
