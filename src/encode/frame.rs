//! Frames: what stands around each record and around a payload, so that what workers write is what a service reads.
//!
//! A worker writes the frame while it encodes; nothing is copied again to be sent.

use super::{Encoder, put};
use crate::record::Record;
use crate::record::identity::RecordId;

pub mod splunk;
pub mod template;

pub use splunk::Splunk;
pub use template::Template;

/// What stands around each record, and around a payload of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Before the first record of a payload.
    pub open: Box<[u8]>,
    /// After each record; not after the last where something closes the payload.
    pub separator: Box<[u8]>,
    /// After the last record.
    pub close: Box<[u8]>,
    /// What stands around each record.
    pub around: Around,
}

/// What stands around one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Around {
    /// Nothing.
    #[default]
    Nothing,
    /// Text with values of the record in it.
    Template(Template),
    /// Before each record a line that says to create it, in the bulk format of search servers.
    Bulk {
        /// Whether under its id.
        ids: bool,
    },
    /// What Splunk's HTTP Event Collector wants to know of an event.
    Splunk(Splunk),
}

impl Frame {
    /// One record on each line.
    pub fn lines() -> Frame {
        Frame::of(b"", b"\n", b"")
    }

    /// Elements of a JSON array.
    pub fn array() -> Frame {
        Frame::of(b"[", b",", b"]")
    }

    /// Nothing but the record.
    pub fn bare() -> Frame {
        Frame::of(b"", b"", b"")
    }

    /// These around payloads, and nothing around records.
    pub fn of(open: &[u8], separator: &[u8], close: &[u8]) -> Frame {
        let (open, separator, close) = (open.into(), separator.into(), close.into());
        Frame { open, separator, close, around: Around::Nothing }
    }

    /// The same with something around each record.
    #[must_use]
    pub fn around(self, around: Around) -> Frame {
        Frame { around, ..self }
    }

    /// Writes a record in its frame from `at` on, the separator included; returns where it ends.
    pub fn write(&self, encoder: &mut Encoder, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> usize {
        let end = match &self.around {
            Around::Nothing => encoder.encode_at(record, out, at),
            Around::Template(template) => template.write(encoder, record, out, at),
            Around::Bulk { ids } => {
                let at =
                    if *ids { bulk(record.identity.id, out, at) } else { put(out, at, b"{\"create\":{}}\n") };
                encoder.encode_at(record, out, at)
            }
            Around::Splunk(splunk) => splunk.write(encoder, record, out, at),
        };
        put(out, end, &self.separator)
    }

    /// Ends a payload that ends with a separator.
    pub fn end(&self, body: &mut Vec<u8>) {
        if !self.close.is_empty() {
            body.truncate(body.len() - self.separator.len().min(body.len()));
            body.extend_from_slice(&self.close);
        }
    }
}

/// The line that says to create a record under its id.
const CREATE: &[u8; 54] = b"{\"create\":{\"_id\":\"................................\"}}\n";
/// Where the id stands in it.
const ID: std::ops::Range<usize> = 18..50;
/// Every byte as two digits.
const DIGITS: [[u8; 2]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (mut all, mut byte) = ([[0; 2]; 256], 0);
    while byte < all.len() {
        all[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    all
};

/// Writes the line that says to create a record under its id.
fn bulk(RecordId(id): RecordId, out: &mut Vec<u8>, at: usize) -> usize {
    let mut line = *CREATE;
    for (digits, byte) in line[ID].chunks_exact_mut(2).zip(id.to_be_bytes()) {
        digits.copy_from_slice(&DIGITS[usize::from(byte)]);
    }
    put(out, at, &line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_has_commas_between_and_brackets_around() {
        let frame = Frame::array();
        let mut body = frame.open.to_vec();
        for record in [&b"{}"[..], b"{\"a\":1}"] {
            body.extend_from_slice(record);
            body.extend_from_slice(&frame.separator);
        }
        frame.end(&mut body);
        assert_eq!(body, b"[{},{\"a\":1}]");
        let mut lines = b"{}\n".to_vec();
        Frame::lines().end(&mut lines);
        assert_eq!(lines, b"{}\n");
    }

    #[test]
    fn a_bulk_line_has_the_id_as_it_is_shown() {
        for id in [RecordId(0), RecordId(u128::MAX), RecordId(0x0123_4567_89ab_cdef_0011_2233_4455_6677)] {
            let mut out = Vec::new();
            let end = bulk(id, &mut out, 0);
            assert_eq!(
                String::from_utf8_lossy(&out[..end]),
                format!("{{\"create\":{{\"_id\":\"{id}\"}}}}\n")
            );
        }
    }
}
