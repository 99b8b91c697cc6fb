//! The body of a request: `{"requestId":"…","timestamp":…,"records":[{"data":"<base64>"},…]}`.
//!
//! It is read where it stands. What a record holds is decoded to the front of the same buffer, which is always behind what
//! was read already: decoded text is shorter, and a record is more than its data. In the end the buffer holds what is to be
//! shipped and nothing else, and the bodies of the deliveries are parts of it.
//!
//! Source: Firehose Developer Guide, *HTTP endpoint delivery request and response specifications*.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;
use xxhash_rust::xxh3::Xxh3;

use crate::source::carried::{self, Kind, Together, decode_within};

/// Records in a request, at most.
const MOST_RECORDS: u32 = 10_000;

/// What a request brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Brought {
    /// What is to be shipped, in parts of the buffer: each a delivery.
    pub(super) bodies: Vec<Body>,
    /// Records, empty ones too.
    pub(super) records: u32,
    /// The same for the same content in the same parts.
    pub(super) mark: u128,
}

/// What is shipped as one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// Where in the buffer.
    pub(super) range: Range<usize>,
    /// The number of its first record in the request, from 0.
    pub(super) first: u32,
}

/// Why a body is not what it should be, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Wrong(pub(super) String);

/// Reads the body of a request with this id, and leaves in the buffer only what is to be shipped.
///
/// # Errors
/// What is wrong with it, and where; then the buffer holds nothing of use.
pub(super) fn read(buffer: &mut Vec<u8>, id: &str) -> Result<Brought, Wrong> {
    let mut reader = Reader {
        text: buffer,
        at: 0,
        written: 0,
        brought: Brought { bodies: Vec::new(), records: 0, mark: 0 },
        together: Together::default(),
    };
    reader.request(id)?;
    let Reader { written, mut brought, .. } = reader;
    buffer.truncate(written);
    let mut mark = Xxh3::new();
    mark.update(buffer);
    for body in &brought.bodies {
        mark.update(&(body.range.end as u64).to_le_bytes());
    }
    brought.mark = mark.digest128();
    Ok(brought)
}

struct Reader<'b> {
    text: &'b mut [u8],
    /// What was read.
    at: usize,
    /// What was written, at the front; less than what was read.
    written: usize,
    brought: Brought,
    together: Together,
}

impl Reader<'_> {
    fn request(&mut self, id: &str) -> Result<(), Wrong> {
        let (mut has_id, mut has_records) = (false, false);
        self.object(|reader, key| {
            match key {
                Key::RequestId => {
                    let found = reader.string("`requestId`")?;
                    has_id = true;
                    if reader.plain(found).as_deref() != Some(id) {
                        return Err(Wrong("`requestId` in the body is not that of the header".to_owned()));
                    }
                }
                Key::Records if has_records => return Err(Wrong("`records` stands there twice".to_owned())),
                Key::Records => {
                    has_records = true;
                    reader.records()?;
                }
                Key::Data | Key::Other => reader.skip()?,
            }
            Ok(())
        })?;
        self.blanks();
        match (self.text.get(self.at), has_id, has_records) {
            (Some(_), ..) => Err(self.not_json()),
            (None, false, _) => Err(Wrong("there is no `requestId` in the body".to_owned())),
            (None, _, false) => Err(Wrong("there are no `records` in the body".to_owned())),
            _ => Ok(()),
        }
    }

    fn records(&mut self) -> Result<(), Wrong> {
        self.byte(b'[')?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            if self.brought.records == MOST_RECORDS {
                return Err(Wrong(format!("there are more than {MOST_RECORDS} records")));
            }
            let mut has_data = false;
            self.object(|reader, key| match key {
                Key::Data if has_data => Err(reader.of_record("`data` stands there twice")),
                Key::Data => {
                    has_data = true;
                    reader.data()
                }
                _ => reader.skip(),
            })?;
            if !has_data {
                return Err(self.of_record("there is no `data`"));
            }
            self.brought.records += 1;
            if !self.takes(b',') {
                return self.byte(b']');
            }
        }
    }

    /// Decodes a record's data to the front of the buffer.
    fn data(&mut self) -> Result<(), Wrong> {
        let string = self.string("`data`").map_err(|Wrong(why)| self.of_record(&why))?;
        let string = match string.escaped {
            true => self.unescape(string.inner).ok_or_else(|| self.of_record("`data` is not base64"))?,
            false => string.inner,
        };
        // A place is left for a line break.
        let to = (self.written + 1).min(string.start);
        let length = decode_within(self.text, string, to)
            .map_err(|error| self.of_record(&format!("`data` is {error}")))?;
        let piece = self.text.get_mut(to..to + length).unwrap_or_default();
        let (kind, range) = carried::open(piece);
        if kind == Kind::Empty {
            return Ok(());
        }
        let length = range.len();
        if range.start > 0 {
            self.text.copy_within(to + range.start..to + range.end, to);
        }
        self.text[self.written..to].fill(b'\n');
        let range = to..to + length;
        match self.brought.bodies.last_mut() {
            Some(before) if self.together.joins(kind, length) => before.range.end = range.end,
            Some(_) => self.brought.bodies.push(Body { range, first: self.brought.records }),
            None => {
                self.together.joins(kind, length);
                self.brought.bodies.push(Body { range, first: self.brought.records });
            }
        }
        self.written = to + length;
        Ok(())
    }

    /// Reads an object; `each` reads the value behind each key.
    fn object(&mut self, mut each: impl FnMut(&mut Self, Key) -> Result<(), Wrong>) -> Result<(), Wrong> {
        self.byte(b'{')?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string("a key")?;
            let key = match self.plain(key).as_deref() {
                Some("requestId") => Key::RequestId,
                Some("records") => Key::Records,
                Some("data") => Key::Data,
                Some(_) => Key::Other,
                None => return Err(self.not_json()),
            };
            self.byte(b':')?;
            each(self, key)?;
            if !self.takes(b',') {
                return self.byte(b'}');
            }
        }
    }

    fn string(&mut self, what: &str) -> Result<Text, Wrong> {
        self.blanks();
        let text = self.text.get(self.at..).unwrap_or_default();
        if text.first() != Some(&b'"') {
            return Err(Wrong(format!("at byte {}: {what} should be a string", self.at)));
        }
        let (mut end, mut escaped) = (1, false);
        loop {
            let rest = text.get(end..).unwrap_or_default();
            end += memchr::memchr2(b'"', b'\\', rest)
                .ok_or_else(|| Wrong("it ends within a string".to_owned()))?;
            if text.get(end) == Some(&b'"') {
                break;
            }
            (end, escaped) = (end + 2, true);
        }
        let inner = self.at + 1..self.at + end;
        self.at += end + 1;
        Ok(Text { inner, escaped })
    }

    /// What a string says; `None`: nothing that can be read.
    fn plain(&self, text: Text) -> Option<Cow<'_, str>> {
        let quoted = self.text.get(text.inner.start - 1..=text.inner.end)?;
        match text.escaped {
            true => serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned),
            false => serde_json::from_slice::<&str>(quoted).ok().map(Cow::Borrowed),
        }
    }

    /// Takes the escapes out of a string, in its place. `None`: it has some that base64 cannot have.
    fn unescape(&mut self, string: Range<usize>) -> Option<Range<usize>> {
        let (mut from, mut to) = (string.start, string.start);
        while from < string.end {
            let mut byte = self.text[from];
            from += 1;
            if byte == b'\\' {
                byte = match self.text.get(from)? {
                    b'/' => b'/',
                    b'u' => {
                        let digits = self.text.get(from + 1..from + 5)?;
                        from += 4;
                        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
                    }
                    _ => return None,
                };
                from += 1;
            }
            self.text[to] = byte;
            to += 1;
        }
        Some(string.start..to)
    }

    /// Passes over a value.
    fn skip(&mut self) -> Result<(), Wrong> {
        self.blanks();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                self.at += values.byte_offset();
                Ok(())
            }
            _ => Err(self.not_json()),
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), Wrong> {
        if self.takes(byte) { Ok(()) } else { Err(self.not_json()) }
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.blanks();
        let takes = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(takes);
        takes
    }

    fn blanks(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().position(|byte| !blank(byte)).unwrap_or(rest.len());
    }

    fn not_json(&self) -> Wrong {
        match self.at < self.text.len() {
            true => Wrong(format!("the body is not what Firehose sends: at byte {}", self.at)),
            false => Wrong("the body ends too early".to_owned()),
        }
    }

    fn of_record(&self, why: &str) -> Wrong {
        Wrong(format!("record {}: {why}", self.brought.records))
    }
}

#[derive(Clone, Copy)]
enum Key {
    RequestId,
    Records,
    Data,
    Other,
}

/// A string: where it stands within its quotes.
#[derive(Clone)]
struct Text {
    inner: Range<usize>,
    escaped: bool,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bodies(text: &str) -> Result<Vec<(u32, String)>, String> {
        let mut buffer = text.as_bytes().to_vec();
        let brought = read(&mut buffer, "one").map_err(|Wrong(why)| why)?;
        let text = |range: &Range<usize>| String::from_utf8_lossy(&buffer[range.clone()]).into_owned();
        Ok(brought.bodies.iter().map(|body| (body.first, text(&body.range))).collect())
    }

    fn request(records: &[&[u8]]) -> String {
        let records: Vec<_> =
            records.iter().map(|record| json!({ "data": STANDARD.encode(record) })).collect();
        json!({ "requestId": "one", "timestamp": 1_578_090_901_599_u64, "records": records }).to_string()
    }

    #[test]
    fn records_of_json_are_one_body_and_compressed_ones_stand_alone() {
        let gzip = [0x1f, 0x8b, 8, 0, 1, 2, 3];
        let inner = STANDARD.encode("[4]");
        let text = request(&[
            b"{\"a\":1}",
            b"",
            b" {\"a\":2}\n",
            &gzip,
            &gzip,
            b"{\"a\":3}",
            inner.as_bytes(),
            b"what",
            b"{}",
        ]);
        let gzip = String::from_utf8_lossy(&gzip).into_owned();
        let expected = [
            (0, "{\"a\":1}\n{\"a\":2}"),
            (3, &gzip),
            (4, &gzip),
            (5, "{\"a\":3}\n[4]"),
            (7, "what"),
            (8, "{}"),
        ];
        assert_eq!(bodies(&text), Ok(expected.map(|(first, text)| (first, text.to_owned())).to_vec()));
    }

    #[test]
    fn keys_stand_in_any_order_with_others_between_them_and_escapes() {
        let text = r#" { "x":[{"records":[1]},"\""], "records" : [ {"k":{},"d\u0061ta":"e30\u003d"} , {"data":"ey8\/fQ==","\n":null} ],
            "request\u0049d":"\u006fne","timestamp":-1.5e3 } "#;
        assert_eq!(bodies(text), Ok(vec![(0, "{}\n{/?}".to_owned())]));
        assert_eq!(bodies(r#"{"requestId":"one","records":[]}"#), Ok(Vec::new()));
        assert_eq!(bodies(r#"{"requestId":"one","records":[{"data":""}]}"#), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, why) in [
            ("", "the body ends too early"),
            ("[]", "the body is not what Firehose sends: at byte 0"),
            ("{", "at byte 1: a key should be a string"),
            (r#"{"requestId":"one""#, "the body ends too early"),
            (r#"{"requestId":"one}"#, "it ends within a string"),
            (r#"{"requestId":"one\"#, "it ends within a string"),
            (r#"{"requestId":7}"#, "at byte 13: `requestId` should be a string"),
            (r#"{"requestId":"two","records":[]}"#, "`requestId` in the body is not that of the header"),
            (r#"{"records":[]}"#, "there is no `requestId` in the body"),
            (r#"{"requestId":"one"}"#, "there are no `records` in the body"),
            (r#"{"requestId":"one","records":[]} x"#, "the body is not what Firehose sends: at byte 33"),
            (r#"{"requestId":"one","records":[],"records":[]}"#, "`records` stands there twice"),
            (r#"{"requestId":"one","records":{}}"#, "the body is not what Firehose sends: at byte 29"),
            (r#"{"requestId":"one","records":[7]}"#, "the body is not what Firehose sends: at byte 30"),
            (r#"{"requestId":"one","records":[{}]}"#, "record 0: there is no `data`"),
            (
                r#"{"requestId":"one","records":[{"data":"e30="},{"data":{}}]}"#,
                "record 1: at byte 54: `data` should be a string",
            ),
            (
                r#"{"requestId":"one","records":[{"data":"e30=","data":""}]}"#,
                "record 0: `data` stands there twice",
            ),
            (
                r#"{"requestId":"one","records":[{"data":"e30!"}]}"#,
                "record 0: `data` is not base64 at its character 3",
            ),
            (r#"{"requestId":"one","records":[{"data":"e\n30"}]}"#, "record 0: `data` is not base64"),
            (
                r#"{"requestId":"one","records":[{"data":"e30="},]}"#,
                "the body is not what Firehose sends: at byte 46",
            ),
            (
                r#"{"requestId":"one","x":nul,"records":[]}"#,
                "the body is not what Firehose sends: at byte 23",
            ),
        ] {
            assert_eq!(bodies(text), Err(why.to_owned()), "{text}");
        }
        let deep = format!(
            r#"{{"requestId":"one","x":{}{},"records":[]}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(bodies(&deep), Ok(Vec::new()), "what is passed over may be as deep as it likes");
        let many = vec![&b""[..]; 10_001];
        assert_eq!(bodies(&request(&many)), Err("there are more than 10000 records".to_owned()));
        assert_eq!(bodies(&request(&many[1..])), Ok(Vec::new()));
    }

    #[test]
    fn the_same_content_has_the_same_mark_whatever_stands_around_it() {
        let mark = |text: String| read(&mut text.into_bytes(), "one").unwrap().mark;
        let first = mark(request(&[b"{\"a\":1}", b"{\"a\":2}"]));
        assert_eq!(first, mark(request(&[b"{\"a\":1}", b"{\"a\":2}"]).replace("1578090901599", "2")));
        let others = [request(&[b"{\"a\":1}"]), request(&[b"{\"a\":1}", b"{\"a\":3}"]), request(&[])];
        assert!(others.into_iter().all(|other| mark(other) != first));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Everything that was put in comes out, in order, once.
        #[test]
        fn nothing_is_lost_or_made_up(records in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..3000)), 0..60)) {
            let records: Vec<Vec<u8>> = records
                .into_iter()
                .map(|(packed, bytes)| match packed {
                    true => [&[0x1f, 0x8b, 8, 0], &bytes[..]].concat(),
                    // No line breaks of their own, so that pieces can be counted.
                    false => format!("{{{}}}", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",")).into_bytes(),
                })
                .collect();
            let text = request(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut buffer = text.into_bytes();
            let brought = read(&mut buffer, "one").unwrap();
            prop_assert_eq!(brought.records as usize, records.len());
            let mut left = records.iter().enumerate();
            for body in &brought.bodies {
                let body_bytes = &buffer[body.range.clone()];
                let mut pieces: Vec<&[u8]> = vec![body_bytes];
                if body_bytes.starts_with(b"{") {
                    pieces = body_bytes.split(|byte| *byte == b'\n').collect();
                }
                for (place, piece) in pieces.into_iter().enumerate() {
                    let (number, record) = left.next().unwrap();
                    prop_assert_eq!(piece, &record[..]);
                    prop_assert!(place > 0 || number == body.first as usize);
                }
            }
            prop_assert!(left.next().is_none());
        }
    }
}
