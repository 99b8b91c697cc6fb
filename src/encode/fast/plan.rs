//! What an edge writes: its mode, its text's place, and where the value of the path it leads to goes.

use crate::encode::flat::{Arrays, Flatten};
use crate::record::{PathId, Paths, Segment};

/// The root writes no name.
pub(super) const NO_NAME: u32 = PathId::ROOT.0;

/// What an edge and the leaf behind it write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// Where its text starts.
    pub(super) start: u32,
    /// How long that is.
    pub(super) len: u16,
    pub(super) mode: Mode,
    pub(super) containers: Containers,
    pub(super) within: Within,
    /// Whether a field begins.
    pub(super) writes_key: bool,
    /// The path whose name it writes, where that is lasting; else [`NO_NAME`].
    pub(super) name: u32,
}

impl Plan {
    /// Whether its leaf is written within the same kept value as the leaf before.
    pub(super) fn stays_within(&self) -> bool {
        !self.writes_key && self.within.depth > 0
    }
}

/// What to do with a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not made yet.
    #[default]
    Unknown,
    /// The edge's text is what is written, and so is the leaf's.
    Verbatim,
    /// The text, then the leaf as it is.
    Field,
    /// The text, then the leaf as it is unless it is an empty container.
    Look,
    /// The text, then the leaf as part of a JSON string.
    Inside,
    /// The slow road for the whole record.
    Slow,
}

/// How empty containers are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Containers {
    pub(super) object: Empty,
    pub(super) array: Empty,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Empty {
    /// As it is.
    #[default]
    Plain,
    /// As JSON text.
    Json,
    /// As an empty text.
    Joined,
}

/// The kept container a leaf is written within.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Within {
    /// Names from the root to it; 0: there is none.
    pub(super) depth: u8,
    /// Whether it is written as JSON text.
    pub(super) json: bool,
}

/// Where a path's value goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) within: Within,
    /// The path whose name is written: the container's, or its own.
    pub(super) name: PathId,
    pub(super) containers: Containers,
    pub(super) slow: bool,
}

impl Containers {
    pub(super) fn is_plain(self) -> bool {
        self.object == Empty::Plain && self.array == Empty::Plain
    }
}

/// Finds where a path's value goes, by the rules in their order, and appends the key it is written under. `steps` are the
/// path's, with true indices.
pub(super) fn place(
    shape: &Flatten,
    paths: &Paths,
    path: PathId,
    steps: &[Segment<'_>],
    key: &mut Vec<u8>,
) -> Place {
    let depth = steps.len();
    let mut place =
        Place { within: Within::default(), name: path, containers: Containers::default(), slow: false };
    let start = key.len();
    let mut dotted = Vec::new();
    let mut segments = steps.iter().copied().peekable();
    let mut at = 0;
    while let Some(segment) = segments.next() {
        at += 1;
        if at > 1 {
            key.extend_from_slice(shape.separator.as_bytes());
        }
        match segment {
            Segment::Key(name) => {
                key.extend_from_slice(name);
                if !dotted.is_empty() {
                    dotted.push(b'.');
                }
                dotted.extend_from_slice(name);
                place.slow |= may_collide(shape, name);
            }
            Segment::Index(index) => key.extend_from_slice(index.to_string().as_bytes()),
        }
        place.slow |= at > 1 && key.len() - start > shape.max_key;
        let keeps = matches!(segment, Segment::Key(_)) && shape.keeps_json(&dotted);
        let json = |is_array: bool| match shape.arrays {
            _ if keeps => Some(true),
            Arrays::Json if is_array => Some(true),
            Arrays::Keep if is_array => Some(false),
            _ => (at >= shape.max_depth).then_some(true),
        };
        match segments.peek() {
            Some(next) => {
                let is_array = matches!(next, Segment::Index(_));
                place.slow |= is_array && shape.arrays == Arrays::Join && !keeps;
                if let Some(json) = json(is_array) {
                    match u8::try_from(at) {
                        Ok(depth) => place.within = Within { depth, json },
                        Err(_) => place.slow = true,
                    }
                    for _ in at..depth {
                        place.name = paths.parent(place.name);
                    }
                    break;
                }
            }
            None => {
                let empty = |is_array| if json(is_array) == Some(true) { Empty::Json } else { Empty::Plain };
                place.containers = Containers { object: empty(false), array: empty(true) };
                if shape.arrays == Arrays::Join && !keeps {
                    place.containers.array = Empty::Joined;
                }
            }
        }
    }
    place.slow |= key.get(start..).is_some_and(|key| key.starts_with(shape.name.as_bytes()));
    place
}

/// Whether a key with this name in it may equal a key of other names.
fn may_collide(shape: &Flatten, name: &[u8]) -> bool {
    let separator = shape.separator.as_bytes();
    let of_separator =
        |byte: Option<&u8>| separator.len() > 1 && byte.is_some_and(|byte| separator.contains(byte));
    let is_within = match separator {
        // As nearly always: a search for more takes longer to begin than a name to go through.
        &[byte] => memchr::memchr(byte, name).is_some(),
        _ => memchr::memmem::find(name, separator).is_some(),
    };
    is_within
        || name.contains(&b'\\')
        || of_separator(name.first())
        || of_separator(name.last())
        || (shape.arrays == Arrays::Index && name.first().is_some_and(u8::is_ascii_digit))
}
