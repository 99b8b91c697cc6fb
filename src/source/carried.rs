//! What a carrier holds (a record of a Kinesis stream, a record of a Firehose request), told by its content.
//!
//! A piece is gzip or zstd, JSON text, or base64 text of one of these, in as many layers as there may be. Base64 is
//! decoded where it stands, so nothing is allocated. Whatever else it is, it is handed on unchanged: the decoder puts it into
//! rejects, with its address.
//!
//! Each delivery costs tens of microseconds, and a carrier may hold one event in each piece: consecutive pieces of JSON
//! go together, a line break between two of them ([`Together`]). What is compressed stays alone.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64_simd::{AsOut as _, STANDARD_NO_PAD};

use crate::decode::is_packed;

/// Layers of base64 around each other, at most.
const LAYERS: usize = 4;
/// Bytes of a body of several pieces, at most.
pub const BODY: usize = 1 << 20;
/// Characters of base64 that are looked at to tell what they hold.
const HEAD: usize = 256;
/// Characters of base64 decoded at a time.
const STEP: usize = 8 << 10;

/// Padding is taken off before; what follows the last whole byte is nobody's business.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// gzip or zstd.
    Packed,
    /// JSON, as far as its first character says.
    Json,
    /// Nothing but white space.
    Empty,
    /// None of them.
    Other,
}

/// The character `at` this offset cannot stand in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64 at its character {at}")]
pub struct NotBase64 {
    /// Characters before it.
    pub at: usize,
}

/// Tells what a piece is, and where in it that stands after layers of base64 were taken off. A piece that holds nothing
/// known in the end is left as it is, all of it.
///
/// Base64 is of the standard alphabet, padded or not, with white space and line breaks anywhere, perhaps inside a JSON
/// string. Where only its beginning promised something known, what was decoded of it so far is what is left.
pub fn open(piece: &mut [u8]) -> (Kind, Range<usize>) {
    let mut range = 0..piece.len();
    for layer in 0..=LAYERS {
        let text = piece.get(range.clone()).unwrap_or_default();
        let (look, inner) = look(text);
        let inner = range.start + inner.start..range.start + inner.end;
        match look {
            Look::Packed => return (Kind::Packed, range),
            Look::Json => return (Kind::Json, inner),
            Look::Empty => return (Kind::Empty, inner),
            Look::Other => break,
            Look::Text { quoted } => {
                let text = piece.get_mut(inner.clone()).unwrap_or_default();
                if layer == LAYERS || !promises(text, quoted, LAYERS - layer) {
                    break;
                }
                let Some(length) = decode(text, quoted) else { break };
                range = inner.start..inner.start + length;
            }
        }
    }
    (Kind::Other, range)
}

/// Decodes the base64 in a part of a buffer to `to`, which is not behind its beginning. Returns how many bytes it gave.
///
/// # Errors
/// It is no base64; then that part of the buffer holds nothing of use.
pub fn decode_within(buffer: &mut [u8], from: Range<usize>, to: usize) -> Result<usize, NotBase64> {
    debug_assert!(
        to <= from.start && from.end <= buffer.len(),
        "what is decoded never overtakes what is read"
    );
    let mut step = [0_u8; STEP / 4 * 3];
    let (mut read, mut written) = (from.start, to);
    let mut end = from.end;
    // At most two of them make up a whole group of four.
    for _ in 0..2 {
        end -= usize::from(end > read && buffer.get(end - 1) == Some(&b'='));
    }
    while read < end {
        let next = (read + STEP).min(end);
        let text = buffer.get(read..next).unwrap_or_default();
        let length = match STANDARD_NO_PAD.decode(text, step.as_mut_slice().as_out()) {
            Ok(decoded) => decoded.len(),
            // Odd bits at its end, which it does not bear; or what is wrong, of which it does not say where.
            Err(_) => ENGINE.decode_slice(text, &mut step).map_err(|error| NotBase64 {
                at: match error {
                    base64::DecodeSliceError::DecodeError(base64::DecodeError::InvalidByte(at, _)) => {
                        read - from.start + at
                    }
                    _ => next - from.start,
                },
            })?,
        };
        let place = buffer.get_mut(written..written + length).unwrap_or_default();
        place.copy_from_slice(&step[..length]);
        (read, written) = (next, written + length);
    }
    Ok(written - to)
}

/// Says which pieces stand together in one body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Together {
    /// Bytes of the body to which another piece may be added.
    open: Option<usize>,
}

impl Together {
    /// Whether a piece goes into the body of the piece before it, a line break between them. An empty piece goes nowhere:
    /// it is not to be asked about.
    pub fn joins(&mut self, kind: Kind, length: usize) -> bool {
        let joined = self.open.map(|before| before.saturating_add(1).saturating_add(length));
        let joined = joined.filter(|joined| kind == Kind::Json && *joined <= BODY);
        self.open = if kind == Kind::Json { joined.or(Some(length)) } else { None };
        joined.is_some()
    }
}

/// What a text begins with.
enum Look {
    Packed,
    Json,
    Empty,
    Other,
    /// Perhaps base64; in quotes, it may hold escapes.
    Text {
        quoted: bool,
    },
}

/// Tells what bytes begin with, and where they stand without the white space (and quotes) around them.
fn look(bytes: &[u8]) -> (Look, Range<usize>) {
    if is_packed(bytes) {
        return (Look::Packed, 0..bytes.len());
    }
    let start = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    let look = match bytes.get(start..end).unwrap_or_default() {
        [] => Look::Empty,
        [b'{' | b'[', ..] | [0xef, 0xbb, 0xbf, b'{' | b'[', ..] => Look::Json,
        [b'"', _, .., b'"'] => return (Look::Text { quoted: true }, start + 1..end - 1),
        [byte, ..] if is_of_alphabet(*byte) => Look::Text { quoted: false },
        _ => Look::Other,
    };
    (look, start..end)
}

/// Whether text that may be base64 begins with something known, in so many layers.
fn promises(text: &[u8], quoted: bool, layers: usize) -> bool {
    let (mut head, mut quoted) = ([0; HEAD], quoted);
    let mut length = 0;
    for byte in text.iter().filter(|byte| !is_blank(**byte)).take(HEAD) {
        head[length] = *byte;
        length += 1;
    }
    for _ in 0..layers {
        length = compact(&mut head[..length], quoted);
        length -= usize::from(length % 4 == 1);
        let Ok(decoded) = decode_within(&mut head, 0..length, 0) else { return false };
        let head = &mut head[..decoded];
        let inner = match look(head) {
            (Look::Packed | Look::Json, _) => return true,
            (Look::Text { quoted: in_quotes }, inner) => {
                quoted = in_quotes;
                inner
            }
            // The closing quote is not in the head.
            (Look::Other, inner) if head.get(inner.start) == Some(&b'"') => {
                quoted = true;
                inner.start + 1..inner.end
            }
            _ => return false,
        };
        length = inner.len();
        head.copy_within(inner, 0);
    }
    false
}

/// Decodes text where it stands, if it is base64 to its end; else it is left as it is. Returns the number of bytes.
fn decode(text: &mut [u8], quoted: bool) -> Option<usize> {
    let (mut characters, mut padding, mut others, mut escaped) = (0_usize, 0_usize, 0_usize, false);
    for byte in text.iter() {
        match byte {
            b'/' if escaped => characters += 1,
            b'n' | b'r' | b't' if escaped => {}
            _ if escaped => return None,
            b'\\' if quoted => {}
            byte if is_of_alphabet(*byte) => {
                if padding > 0 {
                    return None;
                }
                characters += 1;
            }
            b'=' => padding += 1,
            byte if is_blank(*byte) => others += 1,
            _ => return None,
        }
        escaped = quoted && !escaped && *byte == b'\\';
        others += usize::from(escaped);
    }
    if escaped || characters % 4 == 1 || padding > 2 {
        return None;
    }
    let length = if others > 0 { compact(text, quoted) } else { text.len() };
    decode_within(text, 0..length, 0).ok()
}

/// Takes out white space and, in quotes, escapes. Returns the length of what is left at the front.
fn compact(text: &mut [u8], quoted: bool) -> usize {
    let (mut length, mut escaped) = (0, false);
    for at in 0..text.len() {
        let byte = text[at];
        let is_break = escaped && matches!(byte, b'n' | b'r' | b't');
        escaped = quoted && !escaped && byte == b'\\';
        if !escaped && !is_break && !is_blank(byte) {
            text[length] = byte;
            length += 1;
        }
    }
    length
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_of_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::decode::Limits;
    use crate::decode::fuzz::run;

    const RECORD: &str = r#"{"eventVersion":"1.08","eventID":"1","eventName":"é/+~?"}"#;

    fn opened(piece: &[u8]) -> (Kind, Vec<u8>) {
        let mut piece = piece.to_vec();
        let (kind, range) = open(&mut piece);
        (kind, piece[range].to_vec())
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        to.write_all(text.as_bytes()).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn a_piece_is_told_by_its_content() {
        let (packed, frame) = (gzip(RECORD), zstd::encode_all(RECORD.as_bytes(), 1).unwrap());
        let text = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
        let json = |piece: &str| (piece.as_bytes().to_vec(), Kind::Json, RECORD.as_bytes().to_vec());
        let once = STANDARD.encode(RECORD);
        let cases = [
            (packed.clone(), Kind::Packed, packed.clone()),
            (text(&packed), Kind::Packed, packed.clone()),
            (text(&text(&packed)), Kind::Packed, packed.clone()),
            (frame.clone(), Kind::Packed, frame.clone()),
            (text(&frame), Kind::Packed, frame),
            json(RECORD),
            json(&format!("\r\n {RECORD}\n")),
            json(&once),
            json(&STANDARD_NO_PAD.encode(RECORD)),
            json(&format!(" {once} \r\n")),
            json(&format!("\"{once}\"\n")),
            json(&format!("\"{}\"", once.replace('/', "\\/"))),
            json(&format!("\"{}\\r\\n{}\"", &once[..20], &once[20..])),
            json(&format!("{}\r\n{}", &once[..21], &once[21..])),
            json(&STANDARD.encode(format!("\"{once}\""))),
            (b"e30".to_vec(), Kind::Json, b"{}".to_vec()),
            (b"\xef\xbb\xbf{}".to_vec(), Kind::Json, b"\xef\xbb\xbf{}".to_vec()),
            (b" \n".to_vec(), Kind::Empty, Vec::new()),
            (Vec::new(), Kind::Empty, Vec::new()),
        ];
        for (piece, kind, expected) in cases {
            assert_eq!(opened(&piece), (kind, expected), "{}", String::from_utf8_lossy(&piece));
        }
    }

    #[test]
    fn what_is_nothing_known_is_left_as_it_is() {
        let deep = (0..=LAYERS).fold(RECORD.to_owned(), |text, _| STANDARD.encode(text));
        let once = STANDARD.encode(RECORD);
        let escape = format!("\"{}\\u002f{}\"", &once[..20], &once[20..]);
        let padded = once.trim_end_matches('=');
        for piece in [
            "hello",
            "abcd",
            "12345678",
            "\"\"",
            "\"",
            "\"{}",
            "-1",
            "\"hello world\"",
            "_underscore_is_of_another_alphabet-",
            &deep,
            &escape,
            &format!("{padded}==="),
            &format!("{padded}=A"),
            &format!("{once}!"),
            &format!("\"{once}"),
            &format!("\"{padded}\\\""),
        ] {
            assert_eq!(opened(piece.as_bytes()), (Kind::Other, piece.as_bytes().to_vec()), "{piece}");
        }
        assert_eq!(opened(&[0xff, 0, 1, b'\n']), (Kind::Other, vec![0xff, 0, 1, b'\n']));
        // A magic that is not to be trusted to the end is still one: the decoder says where it stops.
        assert_eq!(opened(&[0x1f, 0x8b, 8, 0, 9]).0, Kind::Packed);
    }

    #[test]
    fn what_is_no_base64_is_told_with_its_place() {
        let mut text = STANDARD.encode("x".repeat(30_000)).into_bytes();
        text[20_001] = b'!';
        let length = text.len();
        assert_eq!(decode_within(&mut text, 1..length, 0), Err(NotBase64 { at: 20_000 }));
        assert!(decode_within(&mut b"abcde".to_vec(), 0..5, 0).is_err());
    }

    /// A text in a layer of base64: padded or not, in lines or not, in quotes or not.
    fn layer(text: &[u8], style: u8) -> Vec<u8> {
        let coded = if style & 1 == 0 { STANDARD.encode(text) } else { STANDARD_NO_PAD.encode(text) };
        let (gap, quoted) = (["", "\n", " \r\n\t"][usize::from(style >> 1) % 3], style & 0x40 != 0);
        // No raw line breaks in a JSON string; escaped ones instead.
        let gap = if quoted { gap.escape_default().to_string() } else { gap.to_owned() };
        let lines: Vec<String> =
            coded.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        let coded = lines.join(&gap);
        if quoted { format!("\"{coded}\"\n").into_bytes() } else { (coded + &gap).into_bytes() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn layers_are_taken_off_and_nothing_else(
            body in prop::collection::vec(any::<u8>(), 0..20_000),
            styles in prop::collection::vec(any::<u8>(), 0..=LAYERS),
            packed in any::<bool>(),
        ) {
            let begin: &[u8] = if packed { &[0x1f, 0x8b, 8, 0] } else { b"{" };
            let mut piece = [begin, &body].concat();
            if !packed {
                piece.push(b'}');
            }
            let expected = piece.clone();
            for style in styles {
                piece = layer(&piece, style);
            }
            prop_assert_eq!(opened(&piece), (if packed { Kind::Packed } else { Kind::Json }, expected));
        }

        #[test]
        fn no_bytes_are_too_odd(piece in prop::collection::vec(any::<u8>(), 0..300), text in "[A-Za-z0-9+/=\" \\\\\n]{0,300}") {
            for piece in [piece, text.into_bytes()] {
                let (kind, range) = open(&mut piece.clone());
                prop_assert!(range.end <= piece.len());
                prop_assert_eq!(kind == Kind::Empty, piece.iter().all(|byte| is_blank(*byte)));
            }
        }

        #[test]
        fn base64_is_decoded_to_where_it_is_wanted(bytes in prop::collection::vec(any::<u8>(), 0..40_000), at in 0..50_usize, ahead in 0..50_usize) {
            let text = STANDARD.encode(&bytes);
            let mut buffer = vec![b'-'; at + ahead];
            buffer.extend_from_slice(text.as_bytes());
            let end = buffer.len();
            prop_assert_eq!(decode_within(&mut buffer, at + ahead..end, at), Ok(bytes.len()));
            prop_assert_eq!(&buffer[at..at + bytes.len()], &bytes[..]);
        }

        /// Bodies are never too long, hold everything in order, and what is compressed is alone.
        #[test]
        fn pieces_go_together(pieces in prop::collection::vec((0..4_usize, 1..BODY / 2), 0..30)) {
            let mut together = Together::default();
            let mut bodies: Vec<Vec<(Kind, usize)>> = Vec::new();
            for (kind, length) in pieces {
                let kind = [Kind::Packed, Kind::Other, Kind::Json, Kind::Json][kind];
                if together.joins(kind, length) {
                    bodies.last_mut().unwrap().push((kind, length));
                } else {
                    bodies.push(vec![(kind, length)]);
                }
            }
            let size = |body: &[(Kind, usize)]| body.iter().map(|(_, length)| length + 1).sum::<usize>() - 1;
            let is_json = |body: &[(Kind, usize)]| body.iter().all(|(kind, _)| *kind == Kind::Json);
            for body in &bodies {
                prop_assert!(body.len() == 1 || (is_json(body) && size(body) <= BODY));
            }
            for two in bodies.windows(2).filter(|two| is_json(two[0].as_slice()) && is_json(two[1].as_slice())) {
                prop_assert!(size(&two[0]) + 1 + two[1][0].1 > BODY);
            }
        }
    }

    /// What stands in one line cannot take the next with it.
    #[test]
    fn a_damaged_piece_between_others_is_one_reject_and_the_others_are_whole() {
        let record = |id: u32| {
            format!(r#"{{"eventVersion":"1.08","eventID":"{id}","eventName":"x","awsRegion":"y"}}"#)
        };
        let (message, file) = (serde_json::to_string(&record(3)).unwrap(), record(5));
        let pieces = [
            record(1),
            r#"{"eventVersion":"1.08","eventID":"broken"#.to_owned(),
            record(2),
            format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{{"id":"1","message":{message}}}]}}"#),
            format!(r#"{{"detail-type":"AWS API Call via CloudTrail","detail":{}}}"#, record(4)),
            format!(r#"{{"Records":[{file}]}}"#),
            format!("[{}]", record(6)),
            format!("{}\n{}\n", record(7), record(8)),
        ];
        let out = run(Limits::default(), pieces.join("\n").as_bytes(), 0);
        assert_eq!(out.damages.len(), 1, "{:?}", out.damages);
        let id = |text: &String| {
            let record: serde_json::Value = serde_json::from_str(text).unwrap();
            record["eventID"].as_str().unwrap().parse::<u32>().unwrap()
        };
        let ids: Vec<u32> = out.records.iter().map(id).collect();
        assert_eq!(ids, (1..=8).collect::<Vec<u32>>());
    }
}
