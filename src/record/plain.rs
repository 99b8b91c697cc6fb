//! The slow and obvious parser: what the learned scan must agree with, byte for byte. Used by tests, and nowhere fast.
//!
//! It reads byte by byte, by recursion, straight from the grammar of RFC 8259, and shares no code with the scan.

use super::Scan;

/// One step of a path, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainStep {
    /// A member: the key's text as written.
    Key(Vec<u8>),
    /// An element.
    Index(u32),
}

/// A leaf and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainLeaf {
    /// From the root.
    pub path: Vec<PlainStep>,
    /// First byte of the value's text.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

/// Reads the object at `buffer[at]`, containers nested at most `depth` deep: the verdict and, for a whole record, its leaves.
pub fn parse(buffer: &[u8], at: usize, depth: usize) -> (Scan, Vec<PlainLeaf>) {
    let mut plain = Plain { buffer, at, path: Vec::new(), leaves: Vec::new(), depth };
    let verdict = match plain.byte() {
        Ok(b'{') => plain.object(),
        Ok(_) => Err(plain.invalid("expected an object")),
        Err(scan) => Err(scan),
    };
    match verdict {
        Ok(_) => (Scan::Record { end: plain.at }, plain.leaves),
        Err(scan) => (scan, plain.leaves),
    }
}

struct Plain<'a> {
    buffer: &'a [u8],
    at: usize,
    path: Vec<PlainStep>,
    leaves: Vec<PlainLeaf>,
    /// Containers that may still be opened.
    depth: usize,
}

impl Plain<'_> {
    fn invalid(&self, reason: &'static str) -> Scan {
        Scan::Invalid { at: self.at, reason }
    }

    fn byte(&self) -> Result<u8, Scan> {
        self.buffer.get(self.at).copied().ok_or(Scan::Incomplete)
    }

    fn blanks(&mut self) -> Result<u8, Scan> {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.byte()? {
            self.at += 1;
        }
        self.byte()
    }

    /// Reads an object; whether it was empty.
    fn object(&mut self) -> Result<bool, Scan> {
        self.open()?;
        if self.blanks()? == b'}' {
            self.at += 1;
            self.depth += 1;
            return Ok(true);
        }
        loop {
            if self.blanks()? != b'"' {
                return Err(self.invalid("expected a key"));
            }
            let start = self.at + 1;
            self.string()?;
            let key = self.buffer.get(start..self.at - 1).unwrap_or_default().to_vec();
            if self.blanks()? != b':' {
                return Err(self.invalid("expected a colon"));
            }
            self.at += 1;
            self.path.push(PlainStep::Key(key));
            self.value()?;
            self.path.pop();
            match self.blanks()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    self.depth += 1;
                    return Ok(false);
                }
                _ => return Err(self.invalid("expected a comma or a closing brace")),
            }
        }
    }

    /// Reads an array; whether it was empty.
    fn array(&mut self) -> Result<bool, Scan> {
        self.open()?;
        if self.blanks()? == b']' {
            self.at += 1;
            self.depth += 1;
            return Ok(true);
        }
        for index in 0.. {
            self.path.push(PlainStep::Index(index));
            self.value()?;
            self.path.pop();
            match self.blanks()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return Err(self.invalid("expected a comma or a closing bracket")),
            }
        }
        self.at += 1;
        self.depth += 1;
        Ok(false)
    }

    fn open(&mut self) -> Result<(), Scan> {
        if self.depth == 0 {
            return Err(self.invalid("nested deeper than 128"));
        }
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<(), Scan> {
        let first = self.blanks()?;
        let start = self.at;
        let leaf = match first {
            b'{' => self.object()?,
            b'[' => self.array()?,
            b'"' => {
                self.string()?;
                true
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                true
            }
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => return Err(self.invalid("expected a value")),
        };
        if leaf {
            self.leaves.push(PlainLeaf { path: self.path.clone(), start, end: self.at });
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<bool, Scan> {
        for &letter in word {
            if self.byte()? != letter {
                return Err(self.invalid("expected true, false or null"));
            }
            self.at += 1;
        }
        Ok(true)
    }

    fn number(&mut self) -> Result<(), Scan> {
        if self.byte()? == b'-' {
            self.at += 1;
        }
        if self.byte()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.byte()? {
            self.at += 1;
            if let b'+' | b'-' = self.byte()? {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Scan> {
        if !self.byte()?.is_ascii_digit() {
            return Err(self.invalid("expected a digit"));
        }
        while self.byte()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Scan> {
        self.at += 1;
        let start = self.at;
        let ended = self.string_bytes();
        // What is there must be UTF-8, whole or so far.
        let end = if ended.is_ok() { self.at - 1 } else { self.at };
        if let Err(error) = std::str::from_utf8(self.buffer.get(start..end).unwrap_or_default())
            && !(end == self.buffer.len() && error.error_len().is_none())
        {
            return Err(Scan::Invalid { at: start + error.valid_up_to(), reason: "not UTF-8" });
        }
        ended
    }

    fn string_bytes(&mut self) -> Result<(), Scan> {
        loop {
            match self.byte()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                0..0x20 => return Err(self.invalid("control character in a string")),
                b'\\' => {
                    // On the way through an escape `at` stays at the backslash, so that what is checked as UTF-8 is whole.
                    let escape = self.buffer.get(self.at + 1..).unwrap_or_default();
                    match escape {
                        [] => return Err(Scan::Incomplete),
                        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                        [b'u', digits @ ..] => {
                            for place in 0..4 {
                                match digits.get(place) {
                                    None => return Err(Scan::Incomplete),
                                    Some(byte) if byte.is_ascii_hexdigit() => {}
                                    Some(_) => return Err(self.invalid("expected four hexadecimal digits")),
                                }
                            }
                            self.at += 6;
                        }
                        _ => return Err(self.invalid("unknown escape")),
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}
