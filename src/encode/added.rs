//! What was added to a record, as output text. Records with the same fragments share one text, so it is made once.

use foldhash::{HashMap, HashMapExt};

use super::flat::{Flatten, Plain};
use super::tree::Node;
use crate::record::overlay::{Overlay, Parent};

/// Bytes of cached texts; over this they are all dropped and made again.
const ROOM: usize = 192 * 1024;
/// What an entry costs beside its text.
const ENTRY: usize = 64;

/// Texts by the fragments they are made of.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    places: HashMap<Box<[u64]>, (usize, usize)>,
    text: Vec<u8>,
    key: Vec<u64>,
    /// The combination the last record had, and its place: neighbours are often alike.
    last: (Vec<u64>, usize, usize),
    used: usize,
    scratch: Vec<u8>,
}

impl Texts {
    /// The text of a record's additions, by `write` where it is not known. Empty where nothing was added.
    pub(crate) fn of(&mut self, overlay: &Overlay, write: impl FnOnce(&Overlay, &mut Vec<u8>)) -> &[u8] {
        self.of_kind(0, overlay, write)
    }

    /// The same, where texts of several kinds are made of the same fragments.
    pub(crate) fn of_kind(
        &mut self,
        kind: u64,
        overlay: &Overlay,
        write: impl FnOnce(&Overlay, &mut Vec<u8>),
    ) -> &[u8] {
        if overlay.added.is_empty() {
            return &[];
        }
        self.key.clear();
        self.key.push(kind);
        self.key.extend(
            overlay.added.iter().map(|(parent, fragment)| u64::from(fragment.id) << 2 | *parent as u64),
        );
        if overlay.added.iter().any(|(_, fragment)| fragment.id == 0) {
            self.scratch.clear();
            write(overlay, &mut self.scratch);
            return &self.scratch;
        }
        // One by one: a comparison in blocks would wait for what was just written.
        if self.key.iter().ne(&self.last.0) {
            let (start, end) = match self.places.get(self.key.as_slice()) {
                Some(place) => *place,
                None => self.enter(overlay, write),
            };
            self.last.0.clone_from(&self.key);
            (self.last.1, self.last.2) = (start, end);
        }
        self.text.get(self.last.1..self.last.2).unwrap_or_default()
    }

    fn enter(&mut self, overlay: &Overlay, write: impl FnOnce(&Overlay, &mut Vec<u8>)) -> (usize, usize) {
        if self.used > ROOM {
            self.places = HashMap::new();
            self.text = Vec::new();
            self.used = 0;
        }
        let start = self.text.len();
        write(overlay, &mut self.text);
        let place = (start, self.text.len());
        self.used += place.1 - start + self.key.len() * 8 + ENTRY;
        self.places.insert(self.key.as_slice().into(), place);
        place
    }
}

/// Appends `{"account":{…},"caller":{…},…}`: fragments with one parent share its object, in the order they came.
pub(crate) fn object(overlay: &Overlay, out: &mut Vec<u8>) {
    let mut open = b'{';
    for (parent, name) in
        [(Parent::Account, &b"\"account\":{"[..]), (Parent::Caller, b"\"caller\":{"), (Parent::Root, b"")]
    {
        let mut first = true;
        for (_, fragment) in
            overlay.added.iter().filter(|(of, fragment)| *of == parent && !fragment.members.is_empty())
        {
            if first {
                out.push(open);
                out.extend_from_slice(name);
                open = b',';
            } else {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(&fragment.members);
        }
        if !first && !name.is_empty() {
            out.push(b'}');
        }
    }
    if open == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// Appends `,"trailship":{…}`.
pub(crate) fn nested(name: &str, overlay: &Overlay, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    object(overlay, out);
}

/// Appends `,"trailship.account.id":"…",…`.
pub(crate) fn flat(shape: &Flatten, overlay: &Overlay, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    object(overlay, &mut text);
    let start = out.len();
    Plain::new(shape, out).added(Node::read(&text));
    if let Some(first) = out.get_mut(start) {
        *first = b',';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::overlay::Fragment;
    use std::rc::Rc;

    fn fragment(id: u32, members: &str) -> Rc<Fragment> {
        Rc::new(Fragment { id, members: members.as_bytes().into(), leaves: Vec::new() })
    }

    fn overlay() -> Overlay {
        Overlay {
            added: vec![
                (Parent::Root, fragment(3, r#""signals":["a","b"]"#)),
                (Parent::Account, fragment(1, r#""name":"pay","tags":{"env":"prod"}"#)),
                (Parent::Account, fragment(2, r#""environment":"prod""#)),
            ],
            ..Overlay::default()
        }
    }

    #[test]
    fn fragments_of_one_parent_share_its_object() {
        let mut out = Vec::new();
        nested("ts", &overlay(), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#","ts":{"account":{"name":"pay","tags":{"env":"prod"},"environment":"prod"},"signals":["a","b"]}"#
        );
    }

    #[test]
    fn flat_additions_follow_the_rules_of_the_shape() {
        let mut out = Vec::new();
        flat(&Flatten::default(), &overlay(), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#","trailship.account.name":"pay","trailship.account.tags.env":"prod","trailship.account.environment":"prod","trailship.signals":["a","b"]"#
        );
    }

    #[test]
    fn a_text_is_made_once_for_a_combination() {
        let mut texts = Texts::default();
        let (one, mut other) = (overlay(), overlay());
        other.added.pop();
        let made = std::cell::Cell::new(0);
        let write = |overlay: &Overlay, out: &mut Vec<u8>| {
            made.set(made.get() + 1);
            object(overlay, out);
        };
        let first = texts.of(&one, write).to_vec();
        let second = texts.of(&other, write).to_vec();
        assert_ne!(first, second);
        assert_eq!(texts.of(&one, write), first);
        assert_eq!(texts.of(&one, write), first);
        assert_eq!(texts.of(&other, write), second);
        assert_eq!(made.get(), 2);
        other.added.push((Parent::Root, fragment(0, "\"n\":1")));
        texts.of(&other, write);
        texts.of(&other, write);
        assert_eq!(made.get(), 4);
    }

    #[test]
    fn texts_are_bounded() {
        let mut texts = Texts::default();
        for id in 1..20_000 {
            let overlay = Overlay {
                added: vec![(Parent::Root, fragment(id, r#""k":"some value that takes room""#))],
                ..Overlay::default()
            };
            assert!(!texts.of(&overlay, object).is_empty());
            assert!(texts.text.len() <= ROOM + 1024);
        }
    }
}
