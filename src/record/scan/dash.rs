//! The fastest road of the scan.

use super::{Exit, Scanner, State, small};
use crate::record::block::{BLOCK, Block, block, plain_number, special};
use crate::record::path::PathId;
use crate::record::shape::chains::{Chains, LEAD};
use crate::record::shape::{Hot, NONE};
use crate::record::{EdgeId, Leaf};

/// How far the road looks ahead: an edge's text, and a block of the value.
const NEAR: usize = Hot::HELD + BLOCK;

/// How long the usual value is that begins here and is no string; 0: something slower has to look. `deep`: an empty
/// container would be one level too many.
#[inline(never)]
fn plain_other(value: &Block, deep: bool) -> usize {
    match value {
        [b't', b'r', b'u', b'e', ..] | [b'n', b'u', b'l', b'l', ..] => 4,
        [b'f', b'a', b'l', b's', b'e', ..] => 5,
        [b'{', b'}', ..] | [b'[', b']', ..] if !deep => 2,
        _ => plain_number(value).unwrap_or(0),
    }
}

impl Scanner {
    /// The fastest road: follows learned edges to usual leaves. For strings it calls nothing, so that where it stands
    /// stays in registers; whatever is unusual it leaves, as it found it, to [`Scanner::run`].
    #[inline(never)]
    pub(super) fn dash(&mut self, buffer: &[u8], state: &mut State) -> Exit {
        let Scanner { shapes, leaves, hits, limits, .. } = self;
        let hots = shapes.hot.as_mut_slice();
        let Chains { branches, forks, places } = &mut shapes.chains;
        let (room, length) = leaves.room(limits.leaves);
        let mut count = *length;
        let State { mut at, mut path } = *state;
        let exit = 'leaf: loop {
            // One look at the buffer's end for the edge's text and the value's beginning.
            let Some(near) = buffer.get(at..).and_then(|rest| rest.first_chunk::<NEAR>()) else {
                break Exit::Switch;
            };
            let Some(text) = near.first_chunk::<BLOCK>() else { break Exit::Switch };
            let Some(branch) = branches.get_mut(path.0 as usize) else { break Exit::Switch };
            let mut edge = branch.first;
            let Some(mut hot) = hots.get(edge as usize) else { break Exit::Switch };
            if !hot.starts(text) {
                let mut before = hot.uses;
                if let Some(fork) = forks.get(branch.fork as usize) {
                    let Some(place) = fork.place(path, near) else { break Exit::Switch };
                    let Some(&head) = places.get(place) else { break Exit::Switch };
                    let mut short = fork.short;
                    edge = head;
                    loop {
                        if let Some(next) = hots.get(edge as usize) {
                            hot = next;
                            if hot.starts(text) && hot.state == path.0 {
                                break;
                            }
                            edge = hot.next;
                        } else {
                            edge = std::mem::replace(&mut short, NONE);
                            if edge == NONE {
                                break 'leaf Exit::Switch;
                            }
                            before = u32::MAX; // it is never tried first
                        }
                    }
                    if hot.uses > before.saturating_add(LEAD) {
                        branch.first = edge;
                    }
                } else {
                    loop {
                        edge = hot.next;
                        let Some(next) = hots.get(edge as usize) else { break 'leaf Exit::Switch };
                        hot = next;
                        if hot.starts(text) {
                            break;
                        }
                        before = hot.uses;
                    }
                    if hot.uses > before.saturating_add(LEAD) {
                        break Exit::Switch;
                    }
                }
            }
            let Some(hot) = hots.get_mut(edge as usize) else { break Exit::Switch };
            let len = hot.len as usize;
            if len > BLOCK {
                let Some(held) = near.first_chunk() else { break Exit::Switch };
                if len > Hot::HELD || !hot.goes_on(held) {
                    break Exit::Switch;
                }
            }
            let start = at + len;
            if hot.odd {
                if hot.target != PathId::ROOT.0 {
                    break Exit::Switch;
                }
                hot.uses = hot.uses.wrapping_add(1);
                break Exit::Tail { edge: EdgeId(edge), end: start };
            }
            let Some(value) = near.get(len..).and_then(|rest| rest.first_chunk::<BLOCK>()) else {
                break Exit::Switch;
            };
            let end = if value[0] == b'"' {
                let (mut base, mut mask) = (start, special(value) & !1);
                while mask == 0 {
                    base += BLOCK;
                    let Some(more) = block(buffer, base) else { break 'leaf Exit::Switch };
                    mask = special(more);
                }
                let last = base + mask.trailing_zeros() as usize;
                if buffer.get(last) != Some(&b'"') {
                    break Exit::Switch;
                }
                last + 1
            } else {
                let length = plain_other(value, hot.deep);
                if length == 0 {
                    break Exit::Switch;
                }
                start + length
            };
            let Some(leaf) = room.get_mut(count) else { break Exit::Switch };
            if !hits.set_first(hot.slot, small(count)) {
                break Exit::Switch;
            }
            *leaf = Leaf { edge: EdgeId(edge), start: small(start), end: small(end) };
            count += 1;
            hot.uses = hot.uses.wrapping_add(1);
            at = end;
            path = PathId(hot.target);
        };
        *length = count;
        *state = State { at, path };
        exit
    }
}
