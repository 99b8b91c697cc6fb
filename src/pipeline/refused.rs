//! What one window could not ship, collected until it is stored as few entries as possible.

use std::sync::Arc;

use bytes::Bytes;

use super::line::Pipeline;
use super::rejects::{Item, Manifest, RejectError};
use crate::decode::Damage;
use crate::record::{Record, SlotId, Span};
use crate::source::Origin;

/// Refused bytes held before they are stored, at most about this many.
const MUCH: usize = 1 << 20;
/// What stands where a session token was.
const REDACTED: &[u8] = b"\"REDACTED\"";

/// Collects refused records and damaged ranges.
#[derive(Default)]
pub struct Refused {
    groups: Vec<Group>,
    bytes: usize,
    /// An object as it was stored.
    whole: Option<Bytes>,
}

struct Group {
    stage: Arc<str>,
    sink: Option<Arc<str>>,
    items: Vec<Item>,
    bytes: Vec<u8>,
}

impl Refused {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.whole.is_none()
    }

    /// Whether it should be stored before more comes.
    pub fn is_much(&self) -> bool {
        self.bytes >= MUCH
    }

    /// A damaged byte range, as it is.
    pub fn damage(&mut self, damage: &Damage, bytes: &[u8], more: bool) {
        let item = Item {
            reason: damage.reason.clone(),
            offset: damage.offset,
            length: bytes.len() as u64,
            record: None,
            continues: more,
            token_removed: false,
        };
        self.add("decode", None, item, |all| all.extend_from_slice(bytes));
    }

    /// An object that is nowhere else and whose rest was not read: all of it. It was counted where it was told.
    pub fn whole(&mut self, stored: Bytes) {
        self.whole = Some(stored);
    }

    /// A whole record, without its live session token (slot `token`) where it has one.
    #[expect(clippy::too_many_arguments, reason = "an address has this many parts")]
    pub fn record(
        &mut self,
        stage: &str,
        sink: Option<&Arc<str>>,
        reason: &str,
        record: &Record<'_>,
        token: SlotId,
        offset: u64,
        number: u64,
    ) {
        // Every one: a key may stand twice, and a list may stand where the text should.
        let leaves = record.index.hits(token).filter_map(|at| record.index.leaves().get(at as usize));
        let live = leaves.map(|leaf| Span { start: leaf.start, end: leaf.end });
        let live: Vec<Span> = live
            .filter(|live| live.of(record.buffer).len() > 2 && live.of(record.buffer) != b"null")
            .collect();
        let text = record.span.of(record.buffer);
        let removed: usize = live.iter().map(|live| live.of(record.buffer).len()).sum();
        let item = Item {
            reason: reason.to_owned(),
            offset,
            length: (text.len() - removed + live.len() * REDACTED.len()) as u64,
            record: Some(number),
            continues: false,
            token_removed: !live.is_empty(),
        };
        self.add(stage, sink, item, |all| {
            let mut start = record.span.start;
            for live in live {
                all.extend_from_slice(Span { start, end: live.start }.of(record.buffer));
                all.extend_from_slice(REDACTED);
                start = live.end;
            }
            all.extend_from_slice(Span { start, end: record.span.end }.of(record.buffer));
        });
    }

    /// Any other text.
    pub fn text(&mut self, stage: &str, reason: &str, text: &[u8], number: u64) {
        let length = text.len() as u64;
        let (record, continues, token_removed) = (Some(number), false, false);
        let item = Item { reason: reason.to_owned(), offset: 0, length, record, continues, token_removed };
        self.add(stage, None, item, |all| all.extend_from_slice(text));
    }

    fn add(&mut self, stage: &str, sink: Option<&Arc<str>>, item: Item, write: impl FnOnce(&mut Vec<u8>)) {
        let same = |group: &Group| *group.stage == *stage && group.sink.as_ref() == sink;
        let group = match self.groups.iter().position(same) {
            Some(at) => &mut self.groups[at],
            None => {
                let (stage, sink) = (stage.into(), sink.cloned());
                self.groups.push(Group { stage, sink, items: Vec::new(), bytes: Vec::new() });
                let last = self.groups.len() - 1;
                &mut self.groups[last]
            }
        };
        let before = group.bytes.len();
        write(&mut group.bytes);
        self.bytes += group.bytes.len() - before + size_of::<Item>() + item.reason.len();
        group.items.push(item);
    }

    /// Stores everything collected, one entry for each stage and sink.
    ///
    /// # Errors
    /// The place is full or cannot be written; what was not stored is gone from here: the delivery must fail.
    pub fn store(&mut self, pipeline: &Pipeline, origin: &Origin) -> Result<(), RejectError> {
        self.bytes = 0;
        for Group { stage, sink, items, bytes } in std::mem::take(&mut self.groups) {
            store(pipeline, origin, &stage, sink, items, &bytes)?;
        }
        if let Some(stored) = self.whole.take() {
            let (length, reason) =
                (stored.len() as u64, "all of it, as it came: its rest was not read".to_owned());
            let (record, continues, token_removed) = (None, false, false);
            let item = Item { reason, offset: 0, length, record, continues, token_removed };
            store(pipeline, origin, "decode", None, vec![item], &stored)?;
        }
        Ok(())
    }
}

/// Stores one entry.
fn store(
    pipeline: &Pipeline,
    origin: &Origin,
    stage: &str,
    sink: Option<Arc<str>>,
    items: Vec<Item>,
    bytes: &[u8],
) -> Result<(), RejectError> {
    let first = items.first();
    tracing::warn!(
        object = %origin.address,
        stage,
        count = items.len(),
        reason = first.map(|item| item.reason.as_str()),
        offset = first.map(|item| item.offset),
        "goes to rejects"
    );
    let manifest = Manifest {
        pipeline: pipeline.name.to_string(),
        stage: stage.to_owned(),
        sink: sink.map(|sink| sink.to_string()),
        object: origin.address.to_string(),
        at: pipeline.clock.now().to_string(),
        items,
        ..Manifest::default()
    };
    match pipeline.rejects.store(manifest, &[bytes]) {
        Ok(_) => pipeline.rejects.trouble.over(),
        Err(error) => {
            pipeline.rejects.trouble.is(pipeline.clock.now(), error.to_string());
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::overlay::Overlay;
    use crate::record::{Identity, Scan, ScanLimits, Scanner, Slots};

    #[test]
    fn no_session_token_of_a_record_stays() {
        let mut slots = Slots::default();
        let token = slots.want("responseElements.credentials.sessionToken");
        let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        for (token_text, kept, removed) in [
            (r#""sessionToken":"live""#, r#""sessionToken":"REDACTED""#, true),
            (
                r#""sessionToken":"live","x":1,"session\u0054oken":"live2""#,
                r#""sessionToken":"REDACTED","x":1,"session\u0054oken":"REDACTED""#,
                true,
            ),
            (r#""sessionToken":["live","live2"]"#, r#""sessionToken":["REDACTED","REDACTED"]"#, true),
            (r#""sessionToken":null"#, r#""sessionToken":null"#, false),
            (r#""sessionToken":"""#, r#""sessionToken":"""#, false),
        ] {
            let around =
                |inside: &str| format!(r#"{{"responseElements":{{"credentials":{{{inside}}}}},"y":"z"}}"#);
            let text = around(token_text);
            let Scan::Record { end } = scanner.scan(text.as_bytes(), 0) else { panic!("{text}") };
            let record = Record {
                buffer: text.as_bytes(),
                span: Span { start: 0, end: u32::try_from(end).unwrap() },
                index: &scanner,
                overlay: &mut Overlay::default(),
                identity: Identity::default(),
                protection: crate::record::protect::Protection::default(),
                families: 0,
            };
            let mut refused = Refused::default();
            refused.record("sink", None, "no", &record, token, 7, 3);
            let group = &refused.groups[0];
            assert_eq!(String::from_utf8_lossy(&group.bytes), around(kept));
            assert_eq!(
                (group.items[0].length, group.items[0].token_removed),
                (group.bytes.len() as u64, removed)
            );
        }
    }
}
