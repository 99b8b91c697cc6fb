//! What one window could not ship, collected until it is stored as few entries as possible.

use std::sync::Arc;

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
        self.groups.is_empty()
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
        let live = record.index.first(token).map(|leaf| Span { start: leaf.start, end: leaf.end });
        let live = live.filter(|live| live.of(record.buffer).len() > 2);
        let text = record.span.of(record.buffer);
        let length = match live {
            Some(live) => text.len() - live.of(record.buffer).len() + REDACTED.len(),
            None => text.len(),
        };
        let item = Item {
            reason: reason.to_owned(),
            offset,
            length: length as u64,
            record: Some(number),
            continues: false,
            token_removed: live.is_some(),
        };
        self.add(stage, sink, item, |all| match live {
            Some(live) => {
                all.extend_from_slice(Span { start: record.span.start, end: live.start }.of(record.buffer));
                all.extend_from_slice(REDACTED);
                all.extend_from_slice(Span { start: live.end, end: record.span.end }.of(record.buffer));
            }
            None => all.extend_from_slice(text),
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
        self.bytes += group.bytes.len() - before + size_of::<Item>();
        group.items.push(item);
    }

    /// Stores everything collected, one entry for each stage and sink.
    ///
    /// # Errors
    /// The place is full or cannot be written; what was not stored is gone from here: the delivery must fail.
    pub fn store(&mut self, pipeline: &Pipeline, origin: &Origin) -> Result<(), RejectError> {
        self.bytes = 0;
        for group in std::mem::take(&mut self.groups) {
            let first = group.items.first();
            tracing::warn!(
                object = %origin.address,
                stage = %group.stage,
                count = group.items.len(),
                reason = first.map(|item| item.reason.as_str()),
                offset = first.map(|item| item.offset),
                "goes to rejects"
            );
            let manifest = Manifest {
                pipeline: pipeline.name.to_string(),
                stage: group.stage.to_string(),
                sink: group.sink.map(|sink| sink.to_string()),
                object: origin.address.to_string(),
                at: pipeline.clock.now().to_string(),
                items: group.items,
                ..Manifest::default()
            };
            match pipeline.rejects.store(manifest, &[&group.bytes]) {
                Ok(_) => pipeline.rejects.trouble.over(),
                Err(error) => {
                    pipeline.rejects.trouble.is(pipeline.clock.now(), error.to_string());
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
