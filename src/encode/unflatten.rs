//! The way back from the flat shape: what flattening loses can be measured only against this.
//!
//! With `lossless` every key tells its path and the record comes back, duplicates included. Without it names are cut at
//! the separator, an object whose names count from 0 is taken for an array (where arrays are written by index), and what
//! contradicts itself stays as it is: nothing is dropped.

use foldhash::HashMap;

use super::flat::{Arrays, Flatten, plain_unit, unit};
use super::text::plain_key;
use super::tree::{Node, is_container};

/// Gives the record back that was flattened with these settings. Joined arrays stay texts; `keep_json` texts are read.
///
/// `flat` is one JSON object; anything else comes back as it is.
pub fn unflatten(flat: &str, shape: &Flatten) -> String {
    let Node::Object(members, _) = Node::read(flat.as_bytes()) else { return flat.to_owned() };
    let mut root = Branch::default();
    for (key, value) in &members {
        let names = split(key, shape);
        let dotted = names
            .iter()
            .filter(|name| !name.is_index(shape))
            .map(|name| String::from_utf8_lossy(&plain_key(&name.text)).into_owned())
            .collect::<Vec<_>>()
            .join(".");
        let mut text = Vec::new();
        value.write(&mut text);
        let json = shape.keeps_json(dotted.as_bytes()) || shape.arrays == Arrays::Json;
        if json && let Some(inside) = json_in_string(&text) {
            text = inside;
        }
        root.insert(&names, text, shape);
    }
    let mut out = Vec::with_capacity(flat.len());
    root.write(shape, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// One name of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    /// As written between quotes, marks undone.
    text: Vec<u8>,
    /// Which of several members with one name it is, from 1.
    number: u32,
    /// Whether a mark says that it is no array position.
    marked: bool,
}

impl Name {
    /// Whether it may be an array position.
    fn is_index(&self, shape: &Flatten) -> bool {
        shape.arrays == Arrays::Index && !self.marked && self.position().is_some()
    }

    fn position(&self) -> Option<u32> {
        let text = std::str::from_utf8(&self.text).ok()?;
        let canonical = text == "0" || !text.starts_with(['0', '+']);
        text.parse().ok().filter(|_| canonical)
    }
}

fn split(key: &[u8], shape: &Flatten) -> Vec<Name> {
    let separator = shape.separator.as_bytes();
    let mut names = Vec::new();
    let mut name = Name { text: Vec::new(), number: 1, marked: false };
    let mut at = 0;
    while let Some(here) = unit(key, at) {
        let rest = key.get(at..).unwrap_or_default();
        if !separator.is_empty() && rest.starts_with(separator) {
            names.push(std::mem::replace(&mut name, Name { text: Vec::new(), number: 1, marked: false }));
            at += separator.len();
        } else if shape.lossless && plain_unit(here) == Some(b'\\') {
            at += here.len();
            let Some(next) = unit(key, at) else { break };
            at += next.len();
            if next == b"#" {
                let digits =
                    key.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number =
                    std::str::from_utf8(key.get(at..at + digits).unwrap_or_default()).unwrap_or_default();
                name.number = number.parse().unwrap_or(1);
                at += digits;
            } else {
                name.marked |= name.text.is_empty();
                name.text.extend_from_slice(next);
            }
        } else {
            name.text.extend_from_slice(here);
            at += here.len();
        }
    }
    names.push(name);
    names
}

/// The object or array a JSON string holds.
fn json_in_string(text: &[u8]) -> Option<Vec<u8>> {
    let inside = serde_json::from_slice::<String>(text).ok()?.into_bytes();
    let valid = is_container(&inside) && serde_json::from_slice::<serde::de::IgnoredAny>(&inside).is_ok();
    valid.then_some(inside)
}

#[derive(Debug, Default)]
struct Branch {
    children: Vec<(Name, Tree)>,
    by_name: HashMap<Name, usize>,
}

#[derive(Debug)]
enum Tree {
    Leaf(Vec<u8>),
    Branch(Branch),
}

impl Branch {
    fn insert(&mut self, names: &[Name], value: Vec<u8>, shape: &Flatten) {
        let Some((first, rest)) = names.split_first() else { return };
        let known = self.by_name.get(first).and_then(|&at| self.children.get_mut(at));
        match (known, rest) {
            (None, []) => self.add(first.clone(), Tree::Leaf(value)),
            (None, rest) => {
                let mut branch = Branch::default();
                branch.insert(rest, value, shape);
                self.add(first.clone(), Tree::Branch(branch));
            }
            (Some((_, Tree::Branch(branch))), [_, ..]) => branch.insert(rest, value, shape),
            _ => {
                let text = names
                    .iter()
                    .map(|name| name.text.as_slice())
                    .collect::<Vec<_>>()
                    .join(shape.separator.as_bytes());
                self.add(Name { text, number: 1, marked: true }, Tree::Leaf(value));
            }
        }
    }

    fn add(&mut self, name: Name, tree: Tree) {
        self.by_name.insert(name.clone(), self.children.len());
        self.children.push((name, tree));
    }

    fn is_array(&self, shape: &Flatten) -> bool {
        let mut expected = 0;
        self.children.iter().all(|(name, _)| {
            let fits = name.is_index(shape) && (shape.lossless || name.position() == Some(expected));
            expected += 1;
            fits
        })
    }

    fn write(&self, shape: &Flatten, out: &mut Vec<u8>) {
        let is_array = !self.children.is_empty() && self.is_array(shape);
        out.push(if is_array { b'[' } else { b'{' });
        for (position, (name, tree)) in self.children.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            if !is_array {
                out.push(b'"');
                out.extend_from_slice(&name.text);
                out.extend_from_slice(b"\":");
            }
            match tree {
                Tree::Leaf(text) => out.extend_from_slice(text),
                Tree::Branch(branch) => branch.write(shape, out),
            }
        }
        out.push(if is_array { b']' } else { b'}' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Flatten {
        Flatten { arrays: Arrays::Index, ..Flatten::default() }
    }

    #[test]
    fn names_are_cut_at_the_separator_and_positions_make_arrays() {
        let flat = r#"{"a.b":1,"a.c.0":"x","a.c.1.d":true,"requestParameters":"{\"k\":[1]}","e":{}}"#;
        assert_eq!(
            unflatten(flat, &shape()),
            r#"{"a":{"b":1,"c":["x",{"d":true}]},"requestParameters":{"k":[1]},"e":{}}"#
        );
    }

    #[test]
    fn what_contradicts_itself_stays() {
        assert_eq!(
            unflatten(r#"{"a":1,"a.b":2,"c.d":3,"c":4}"#, &shape()),
            r#"{"a":1,"a.b":2,"c":{"d":3},"c":4}"#
        );
        assert_eq!(unflatten(r#"{"a.1":1,"b.0":1,"b.x":2}"#, &shape()), r#"{"a":{"1":1},"b":{"0":1,"x":2}}"#);
        assert_eq!(unflatten("[1]", &shape()), "[1]");
        assert_eq!(unflatten("{}", &shape()), "{}");
    }

    #[test]
    fn lossless_marks_are_undone() {
        let shape = Flatten { lossless: true, keep_json: Vec::new(), ..shape() };
        let flat =
            r#"{"a\\\\.b":1,"a\\\\#2.\\\\0":2,"c.0":3,"":4,"\\\\#2.":5,"d\\\\\\\\":6}"#.replace("\\\\", "\\");
        assert_eq!(unflatten(&flat, &shape), r#"{"a.b":1,"a":{"0":2},"c":[3],"":4,"":{"":5},"d\\":6}"#);
    }
}
