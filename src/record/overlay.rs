//! What transforms did to one record: values replaced, fields removed, and what was added under the one top-level key.
//!
//! The record's own bytes are never changed; reading looks here first, encoding splices.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where an addition goes below the added top-level key (`trailship`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parent {
    /// `trailship.account`: pieces of several transforms share this object.
    Account,
    /// `trailship.caller`.
    Caller,
    /// `trailship` itself.
    Root,
}

/// Text to be added, made once and shared (an account's fields), or made for one record (`id` 0).
#[derive(Debug, Default)]
pub struct Fragment {
    /// Unique and never reused, for caches of other spellings of it (flat); 0: made for one record, not to be cached.
    pub id: u32,
    /// Members as JSON text, at least one, without the braces around: `"name":"payments","tags":{"env":"prod"}`.
    pub members: Box<[u8]>,
    /// The same as leaves: dotted path below the parent (`tags.env`), and the value as JSON text. Array elements
    /// repeat their path, with their index: see [`FragmentLeaf`].
    pub leaves: Vec<FragmentLeaf>,
}

impl Fragment {
    /// Text that is made once and added to many records.
    pub fn shared(leaves: Vec<FragmentLeaf>) -> Fragment {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = NEXT
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| Some(id.checked_add(1).unwrap_or(0)));
        Fragment { id: id.unwrap_or(0), ..Fragment::once(leaves) }
    }

    /// Text for one record. Leaves below the same keys must stand together.
    pub fn once(leaves: Vec<FragmentLeaf>) -> Fragment {
        let mut members = Vec::new();
        write_members(&leaves, 0, &mut members);
        Fragment { id: 0, members: members.into(), leaves }
    }
}

/// Writes leaves that agree on their first `depth` keys as members of one object.
fn write_members(mut leaves: &[FragmentLeaf], depth: usize, out: &mut Vec<u8>) {
    let mut first = true;
    while let Some(leaf) = leaves.first() {
        let Some(key) = leaf.keys.get(depth) else { return };
        let together = leaves.iter().take_while(|other| other.keys.get(depth) == Some(key)).count();
        let (group, rest) = leaves.split_at(together);
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::from(&**key).to_string().as_bytes());
        out.push(b':');
        if leaf.keys.len() > depth + 1 {
            out.push(b'{');
            write_members(group, depth + 1, out);
            out.push(b'}');
        } else if leaf.index.is_some() {
            out.push(b'[');
            for (position, element) in group.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&element.value);
            }
            out.push(b']');
        } else {
            out.extend_from_slice(&leaf.value);
        }
        leaves = rest;
    }
}

/// One leaf of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentLeaf {
    /// Keys from the parent down, as plain text (not escaped).
    pub keys: Vec<Box<str>>,
    /// The position, where the leaf is an element of an array.
    pub index: Option<u32>,
    /// The value as JSON text.
    pub value: Box<[u8]>,
}

/// The changes to one record. Reused from record to record.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Leaves (positions in the record's leaf list) whose value is replaced, with the new JSON text; sorted by position.
    pub replaced: Vec<(u32, Box<[u8]>)>,
    /// Leaves that are left out; sorted. A container all of whose leaves are gone goes with them.
    pub removed: Vec<u32>,
    /// What was added, in the order it was added. A fragment stays on its thread: counting its owners costs nothing.
    pub added: Vec<(Parent, Rc<Fragment>)>,
}

impl Overlay {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.replaced.clear();
        self.removed.clear();
        self.added.clear();
    }

    /// Whether the record's own fields are as AWS wrote them.
    pub fn leaves_untouched(&self) -> bool {
        self.replaced.is_empty() && self.removed.is_empty()
    }
}

/// What was said last of the account's environment.
pub fn environment(overlay: &Overlay) -> Option<String> {
    let of_account = overlay.added.iter().rev().filter(|(parent, _)| *parent == Parent::Account);
    let mut leaves = of_account.flat_map(|(_, fragment)| fragment.leaves.iter().rev());
    let leaf = leaves.find(|leaf| matches!(leaf.keys.as_slice(), [key] if &**key == "environment"))?;
    serde_json::from_slice(&leaf.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_nested_as_the_keys_say() {
        let leaf = |keys: &[&str], index, value: &str| FragmentLeaf {
            keys: keys.iter().map(|&key| key.into()).collect(),
            index,
            value: value.as_bytes().into(),
        };
        let leaves = vec![
            leaf(&["name"], None, "\"pay\""),
            leaf(&["tags", "a\"b"], None, "1"),
            leaf(&["tags", "env"], None, "null"),
            leaf(&["list"], Some(0), "1"),
            leaf(&["list"], Some(1), "2"),
        ];
        let fragment = Fragment::shared(leaves);
        let expected = r#""name":"pay","tags":{"a\"b":1,"env":null},"list":[1,2]"#;
        assert_eq!(String::from_utf8_lossy(&fragment.members), expected);
        assert_ne!(fragment.id, 0);
    }
}
