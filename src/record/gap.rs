//! The gap parser: reads and validates, byte by byte, the text between two leaves that the scan has not met before.

use super::path::{FAR, PathId, Paths, Segment};
use super::{Mark, Scan, skip, string};

/// A step that a gap adds to the path, pointing into the buffer.
#[derive(Clone, Copy, Debug)]
enum Step {
    Key { start: usize, end: usize },
    Index(u32),
}

/// What a gap was found to be. Reused from gap to gap.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// One past the gap's last byte: the first byte of the value, or one past the record's closing brace.
    pub(super) end: usize,
    /// Whether it is the record's tail.
    pub(super) tail: bool,
    /// The path that is kept of the last leaf's.
    pub(super) base: PathId,
    /// What comes after it.
    steps: Vec<Step>,
    /// Brackets outside keys, offsets from the gap's start.
    pub(super) marks: Vec<Mark>,
    pub(super) has_newline: bool,
    pub(super) escaped_key: bool,
    /// Where the value ends that begins at the gap's end, where it is a container kept whole.
    pub(super) whole: Option<usize>,
    /// Steps from the last leaf's path up to `base`.
    pub(super) pops: u16,
    /// Whether the first step is from one element of an array to the next.
    pub(super) advance: bool,
}

impl Gap {
    /// Reads the gap from `start`, after a leaf at `from` (the root: at the record's opening brace). With `room`, a
    /// container at the record's top with more leaves than that is kept whole.
    ///
    /// # Errors
    ///
    /// [`Scan::Incomplete`] where the buffer ends inside it, [`Scan::Invalid`] where it is not JSON or too deep.
    pub(super) fn read(
        &mut self,
        paths: &Paths,
        from: PathId,
        buffer: &[u8],
        start: usize,
        depth: usize,
        room: Option<usize>,
    ) -> Result<(), Scan> {
        *self = Gap {
            steps: std::mem::take(&mut self.steps),
            marks: std::mem::take(&mut self.marks),
            base: from,
            ..Gap::default()
        };
        self.steps.clear();
        self.marks.clear();
        let mut reader =
            Reader { gap: self, buffer, start, at: start, depth: paths.depth(from), limit: depth, room };
        if from == PathId::ROOT {
            reader.first()?;
        } else {
            reader.after_value(paths)?;
        }
        Ok(())
    }

    /// Whether it leads into another element of an array.
    pub(super) fn steps_into_an_element(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Index(_)))
    }

    /// Enters the path it leads to, and its twin: the same but for high indices. Without `learn` only known twins are found,
    /// and those of containers on the way of which `met` says that they came before.
    pub(super) fn place(
        &self,
        paths: &mut Paths,
        buffer: &[u8],
        learn: bool,
        mut met: impl FnMut(u64) -> bool,
    ) -> (PathId, Option<PathId>) {
        if self.tail {
            return (PathId::ROOT, Some(PathId::ROOT));
        }
        let (mut path, mut twin) = (self.base, paths.twin(self.base));
        for (at, step) in self.steps.iter().enumerate() {
            let segment = match *step {
                Step::Key { start, end } => Segment::Key(buffer.get(start..end).unwrap_or_default()),
                Step::Index(index) => Segment::Index(index),
            };
            let above = twin;
            let below = match above {
                Some(above) if learn => Ok(paths.enter(above, segment)),
                Some(above) => match paths.known(above, segment) {
                    Err(print) if at + 1 < self.steps.len() && met(print) => Ok(paths.enter(above, segment)),
                    known => known.map_err(Some),
                },
                None => Err(None),
            };
            let same = above == Some(path) && !matches!(segment, Segment::Index(index) if index > FAR);
            path = match below {
                Ok(twin) if same => twin,
                _ => paths.temporary(path, segment, below),
            };
            twin = below.ok();
        }
        (path, twin)
    }
}

struct Reader<'a> {
    gap: &'a mut Gap,
    buffer: &'a [u8],
    start: usize,
    at: usize,
    /// Containers open.
    depth: usize,
    limit: usize,
    /// Leaves that a container at the top may have.
    room: Option<usize>,
}

impl Reader<'_> {
    fn invalid(&self, reason: &'static str) -> Scan {
        Scan::Invalid { at: self.at, reason }
    }

    /// Skips blanks; the byte after them.
    fn peek(&mut self) -> Result<u8, Scan> {
        loop {
            match self.buffer.get(self.at) {
                None => return Err(Scan::Incomplete),
                Some(b' ' | b'\t') => {}
                Some(b'\n' | b'\r') => self.gap.has_newline = true,
                Some(&byte) => return Ok(byte),
            }
            self.at += 1;
        }
    }

    fn mark(&mut self, bracket: u8) {
        let at = u32::try_from(self.at - self.start).unwrap_or(u32::MAX);
        self.gap.marks.push(Mark { at, bracket });
        self.at += 1;
    }

    /// The record's opening brace, then its first member or its end.
    fn first(&mut self) -> Result<(), Scan> {
        match self.buffer.get(self.at) {
            Some(b'{') => {}
            None => return Err(Scan::Incomplete),
            Some(_) => return Err(self.invalid("expected an object")),
        }
        self.depth = 1;
        self.mark(b'{');
        if self.peek()? == b'}' {
            self.mark(b'}');
            return self.tail();
        }
        self.key()?;
        self.value()
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends a chain of steps that can fail")]
    fn tail(&mut self) -> Result<(), Scan> {
        self.gap.end = self.at;
        self.gap.tail = true;
        Ok(())
    }

    /// Closes containers, then a comma and the next member or element.
    fn after_value(&mut self, paths: &Paths) -> Result<(), Scan> {
        loop {
            let byte = self.peek()?;
            let (parent, inside) = (paths.parent(self.gap.base), paths.last(self.gap.base));
            match (byte, inside) {
                (b',', Some(Segment::Key(_))) => {
                    self.at += 1;
                    self.pop(parent);
                    self.peek()?;
                    self.key()?;
                    return self.value();
                }
                (b',', Some(Segment::Index(index))) => {
                    self.at += 1;
                    self.pop(parent);
                    self.gap.advance = true;
                    self.index(index.saturating_add(1));
                    return self.value();
                }
                (b'}', Some(Segment::Key(_))) | (b']', Some(Segment::Index(_))) => {
                    self.mark(byte);
                    self.depth -= 1;
                    self.pop(parent);
                    if parent == PathId::ROOT {
                        return self.tail();
                    }
                }
                (_, Some(Segment::Index(_))) => {
                    return Err(self.invalid("expected a comma or a closing bracket"));
                }
                _ => return Err(self.invalid("expected a comma or a closing brace")),
            }
        }
    }

    fn pop(&mut self, parent: PathId) {
        self.gap.base = parent;
        self.gap.pops += 1;
    }

    fn index(&mut self, index: u32) {
        self.gap.steps.push(Step::Index(index));
    }

    /// A key and its colon; `at` is at the key's first byte.
    fn key(&mut self) -> Result<(), Scan> {
        if self.buffer.get(self.at) != Some(&b'"') {
            return Err(self.invalid("expected a key"));
        }
        let start = self.at + 1;
        let found = string::whole(self.buffer, self.at, start)?;
        let end = found.end - 1;
        self.gap.escaped_key |= found.escaped;
        self.gap.steps.push(Step::Key { start, end });
        self.at = found.end;
        if self.peek()? != b':' {
            return Err(self.invalid("expected a colon"));
        }
        self.at += 1;
        Ok(())
    }

    /// Opens containers that are not empty, up to the first byte of a leaf.
    fn value(&mut self) -> Result<(), Scan> {
        loop {
            let byte = self.peek()?;
            match byte {
                b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => break,
                b'{' | b'[' => {
                    if self.depth >= self.limit {
                        return Err(self.invalid("nested deeper than 128"));
                    }
                    let (open, newline) = (self.at, self.gap.has_newline);
                    self.at += 1;
                    let empty = self.peek()? == byte + 2; // in ASCII the closing bracket is two behind the opening one
                    if empty {
                        self.at = open;
                        self.gap.has_newline = newline;
                        break;
                    }
                    if let Some(room) = self.room
                        && self.depth == 1
                    {
                        let (end, leaves) = skip::skip(self.buffer, open, self.limit - 1)?;
                        if leaves > room {
                            self.at = open;
                            self.gap.has_newline = newline;
                            self.gap.whole = Some(end);
                            break;
                        }
                    }
                    let inside = std::mem::replace(&mut self.at, open);
                    self.mark(byte);
                    self.at = inside;
                    self.depth += 1;
                    if byte == b'{' {
                        self.key()?;
                    } else {
                        self.index(0);
                    }
                }
                _ => return Err(self.invalid("expected a value")),
            }
        }
        self.gap.end = self.at;
        Ok(())
    }
}
