//! The flat shape, fast: what an edge writes is made once and copied afterwards.
//!
//! An edge is known by the leaf before it and its text, so all it means for the output is known, too: the end of
//! a value that is kept as JSON text, the key of the next field, the beginning of another kept value. That text is
//! kept by edge ([`Plan`]), and a record is: for each leaf, the edge's text, the leaf's bytes. Where the edge's own
//! text is what is written (most fields at the top), the run is not even interrupted.
//!
//! What is rare goes the slow and obvious road instead: names that could collide, keys over the limit, more leaves than
//! fields, removed fields, joined arrays. Whether two fields have one name is seen by a stamp on each name's path.

mod plan;
mod stand;
mod strange;

use std::ops::Range;

use foldhash::{HashSet, HashSetExt};

use super::flat::Flatten;
use super::page::Page;
use super::text::{self, breaks_lines, strip};
use super::tree::{Node, is_container};
use crate::record::{EdgeId, PathId, Paths, Record, Segment};
use plan::{Containers, Empty, Mode, NO_NAME, Plan, Within};
use stand::Stand;
use strange::Strange;

/// Bytes of learned texts; over this all that is learned is dropped and made again. (Plans and stamps are bounded by the
/// scanner's tables.)
const ROOM: usize = 512 * 1024;

/// The quote of a string within JSON text. Most leaves are strings, so it stands behind the text of every edge within.
const QUOTE: &[u8; 2] = b"\\\"";
/// What room a record gets beyond a quarter more than its own, bytes.
const SPARE: usize = 1024;

/// What is learned of one scanner's edges for one flat shape.
#[derive(Debug, Default)]
pub(crate) struct Fast {
    generation: u64,
    /// Whether the plans are for records whose blanks go.
    compact: bool,
    plans: Vec<Plan>,
    text: Vec<u8>,
    /// By lasting path: the number of the last record that wrote its name.
    stamps: Vec<u32>,
    record: u32,
    /// How much of `text` is kept; the text of an edge that is met once stands behind, until the next one.
    kept: usize,
    /// The names this record wrote whose paths are temporary, `"name":`.
    strange: Strange,
}

/// Why a record leaves the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has to go the slow one.
    Slow,
    /// It spans lines.
    Compact,
    /// What was made room for it is not enough.
    Room,
}

impl Fast {
    /// Writes the record's members from `start` on, `{` first and no brace last, and says where they end. `None`: it has to
    /// go the slow road; what stands from `start` on is of no meaning then.
    ///
    /// `plain` is for records on one line, `lines` for those that span several: where both come, neither unlearns the other.
    pub(crate) fn members(
        plain: &mut Fast,
        lines: &mut Fast,
        shape: &Flatten,
        record: &Record<'_>,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Option<usize> {
        let rare = shape.lossless
            || record.index.leaves().is_empty()
            || record.index.truncated_index()
            || !record.overlay.removed.is_empty()
            || record.overlay.replaced.iter().any(|(_, text)| is_container(text));
        if rare {
            return None;
        }
        let own = record.span.of(record.buffer);
        // Without wide containers the edges tell whether the record spans lines.
        let mut compact = record.index.has_wide_container() && breaks_lines(own);
        let mut room = own.len() + own.len() / 4 + SPARE;
        loop {
            if out.len() < start + room {
                out.reserve_exact(start + room - out.len());
                out.resize(start + room, 0);
            }
            let road = if compact { &mut *lines } else { &mut *plain };
            match road.once(shape, record, start, out, compact) {
                Ok(end) => return Some(end),
                Err(Turn::Compact) if !compact => compact = true,
                Err(Turn::Room) => room *= 2,
                Err(Turn::Slow | Turn::Compact) => return None,
            }
        }
    }

    fn once(
        &mut self,
        shape: &Flatten,
        record: &Record<'_>,
        start: usize,
        out: &mut [u8],
        compact: bool,
    ) -> Result<usize, Turn> {
        self.begin(record.index.generation(), compact);
        let page = self.run(shape, record, Page::new(out, start))?;
        let end = page.end().ok_or(Turn::Room)?;
        let text = page.text(start);
        if self.strange.may_repeat(text) && has_key_twice(text) { Err(Turn::Slow) } else { Ok(end) }
    }

    fn begin(&mut self, generation: u64, compact: bool) {
        let full = self.text.len() > ROOM || self.record == u32::MAX;
        if full || self.generation != generation || self.compact != compact {
            *self = Fast { generation, compact, ..Fast::default() };
        }
        self.strange.clear();
        self.record += 1;
    }

    fn run<'p>(
        &mut self,
        shape: &Flatten,
        record: &Record<'_>,
        mut page: Page<'p>,
    ) -> Result<Page<'p>, Turn> {
        let buffer = record.buffer;
        let leaves = record.index.leaves();
        let mut replaced = record.overlay.replaced.iter().peekable();
        let mut stand = Stand::at(record.span.start as usize);
        let (counted, mut fields) = (leaves.len() > shape.max_fields, 0);
        loop {
            let from = stand.position;
            let most = from.saturating_add(shape.max_fields - fields);
            let next = replaced.peek().map_or(leaves.len(), |(at, _)| *at as usize);
            page = self.dash(record, page, &mut stand, next.min(most))?;
            // Where there are so few leaves, there are no more fields.
            if counted {
                let written = leaves.get(from..stand.position).unwrap_or_default();
                fields += written.iter().filter(|leaf| self.writes_key(leaf.edge)).count();
            }
            let position = stand.position;
            let Some(leaf) = leaves.get(position) else { break };
            stand.position += 1;
            let mut plan = self.plans.get(leaf.edge.0 as usize).copied().unwrap_or_default();
            if plan.mode == Mode::Unknown {
                let before = position
                    .checked_sub(1)
                    .and_then(|at| leaves.get(at))
                    .map(|leaf| (leaf.edge, stand.within));
                plan = self.plan(shape, record, before, leaf.edge, Some(position))?;
            }
            if plan.mode == Mode::Slow || !is_new_name(&mut self.stamps, plan.name, self.record) {
                return Err(Turn::Slow);
            }
            stand.within = plan.within;
            fields += usize::from(counted && plan.writes_key);
            if fields > shape.max_fields {
                return Err(Turn::Slow);
            }
            let (start, end) = (leaf.start as usize, leaf.end as usize);
            let new = replaced.next_if(|(at, _)| *at as usize == position).map(|(_, text)| text.as_ref());
            if plan.mode == Mode::Verbatim && new.is_none() {
                stand.run_end = end;
                continue;
            }
            stand.turn(buffer, &mut page, end);
            page.append(&self.text, plan.start as usize, plan.start as usize + usize::from(plan.len));
            match (plan.mode, new) {
                (Mode::Field, None) => stand.run_start = start,
                (Mode::Inside, None) => page = self.inside(buffer, start, end, page),
                (Mode::Inside, Some(new)) => page = self.inside(new, 0, new.len(), page),
                (_, Some(new)) => page.write(new),
                (_, None) => match buffer.get(start..end) {
                    Some(value) if is_container(value) => page = self.empty(plan.containers, value, page),
                    _ => stand.run_start = start,
                },
            }
        }
        stand.turn(buffer, &mut page, 0);
        let tail = record.index.tail();
        let mut plan = self.plans.get(tail.0 as usize).copied().unwrap_or_default();
        if plan.mode == Mode::Unknown {
            plan =
                self.plan(shape, record, leaves.last().map(|leaf| (leaf.edge, stand.within)), tail, None)?;
        }
        page.append(&self.text, plan.start as usize, plan.start as usize + usize::from(plan.len));
        if plan.mode == Mode::Slow { Err(Turn::Slow) } else { Ok(page) }
    }

    fn writes_key(&self, edge: EdgeId) -> bool {
        self.plans.get(edge.0 as usize).is_some_and(|plan| plan.writes_key)
    }

    /// Writes usual leaves for as long as they come, up to the leaf `before`. It calls nothing, so that where it stands stays
    /// in registers; what is unusual it leaves, as it found it, to [`Fast::run`].
    #[inline(never)]
    fn dash<'p>(
        &mut self,
        record: &Record<'_>,
        mut page: Page<'p>,
        stand: &mut Stand,
        before: usize,
    ) -> Result<Page<'p>, Turn> {
        let (buffer, number) = (record.buffer, self.record);
        let (plans, text, stamps) = (self.plans.as_slice(), self.text.as_slice(), self.stamps.as_mut_slice());
        // Where no string has escapes none needs any: what would need one cannot stand in a string without it.
        let escaped = record.index.escaped();
        let leaves = record.index.leaves().get(stand.position..before).unwrap_or_default();
        let mut now = *stand;
        for leaf in leaves {
            let (start, end) = (leaf.start as usize, leaf.end as usize);
            let Some(plan) = plans.get(leaf.edge.0 as usize) else { break };
            if plan.mode == Mode::Inside {
                let Some(&first) = buffer.get(start) else { break };
                if matches!(first, b'{' | b'[') && end - start > 2 {
                    break; // it may have what has to be escaped
                }
                if plan.writes_key && !is_new_name(stamps, plan.name, number) {
                    return Err(Turn::Slow);
                }
                now.turn(buffer, &mut page, end);
                page.append(text, plan.start as usize, plan.start as usize + usize::from(plan.len));
                if first != b'"' {
                    page.back(QUOTE.len());
                    page.append(buffer, start, end);
                } else if escaped {
                    page = escape(buffer, start + 1, end, page);
                } else {
                    page.append(buffer, start + 1, end - 1);
                    page.put(*QUOTE);
                }
            } else {
                let usual = match plan.mode {
                    Mode::Verbatim | Mode::Field => true,
                    Mode::Look => !matches!(buffer.get(start), None | Some(b'{' | b'[')),
                    _ => false,
                };
                if !usual {
                    break;
                }
                if !is_new_name(stamps, plan.name, number) {
                    return Err(Turn::Slow);
                }
                if plan.mode == Mode::Verbatim {
                    now.run_end = end;
                } else {
                    now.turn(buffer, &mut page, end);
                    page.append(text, plan.start as usize, plan.start as usize + usize::from(plan.len));
                    now.run_start = start;
                }
            }
            now.within = plan.within;
            now.position += 1;
        }
        *stand = now;
        Ok(page)
    }

    /// A leaf within JSON text, behind an edge's text that already has the escaped quote of a string.
    #[inline(never)]
    fn inside<'p>(&self, source: &[u8], start: usize, end: usize, mut page: Page<'p>) -> Page<'p> {
        if source.get(start) == Some(&b'"') {
            page.escape(source, start + 1, end);
            return page;
        }
        page.back(QUOTE.len());
        match source.get(start) {
            Some(b'{' | b'[') => {
                let mut scratch = Vec::new();
                let text = stripped(self.compact, source.get(start..end).unwrap_or_default(), &mut scratch);
                page.escape(text, 0, text.len());
            }
            _ => page.append(source, start, end),
        }
        page
    }

    /// An empty container.
    #[cold]
    fn empty<'p>(&self, containers: Containers, value: &[u8], mut page: Page<'p>) -> Page<'p> {
        let mut scratch = Vec::new();
        let text = stripped(self.compact, value, &mut scratch);
        match if value.first() == Some(&b'{') { containers.object } else { containers.array } {
            Empty::Plain => page.write(text),
            Empty::Joined => page.write(b"\"\""),
            Empty::Json => {
                page.write(b"\"");
                page.escape(text, 0, text.len());
                page.write(b"\"");
            }
        }
        page
    }

    /// The plan of the learned edge that an edge of a far array element is like. Within a kept value positions are not
    /// written, so it is the same for all of them.
    fn alike(&self, record: &Record<'_>, edge: EdgeId) -> Plan {
        let plan = record.index.like(edge).and_then(|like| self.plans.get(like.0 as usize));
        plan.filter(|plan| plan.stays_within()).copied().unwrap_or_default()
    }

    /// Makes the plan of an edge and keeps it where the edge is kept, and means the same wherever it stands. `before`: the
    /// edge of the leaf before, and what that leaf is written within. `position`: of the leaf it leads to.
    #[inline(never)]
    fn plan(
        &mut self,
        shape: &Flatten,
        record: &Record<'_>,
        before: Option<(EdgeId, Within)>,
        to: EdgeId,
        position: Option<usize>,
    ) -> Result<Plan, Turn> {
        let alike = self.alike(record, to);
        if alike.mode != Mode::Unknown {
            return Ok(alike);
        }
        if record.index.edge(to).has_newline && !self.compact {
            return Err(Turn::Compact);
        }
        let mut text = std::mem::take(&mut self.text);
        text.truncate(self.kept);
        let start = text.len();
        let (mut plan, name) = self.made(shape, record, before, to, position, &mut text);
        match (u32::try_from(start), u16::try_from(text.len() - start)) {
            (Ok(start), Ok(len)) => (plan.start, plan.len) = (start, len),
            _ => plan.mode = Mode::Slow,
        }
        self.text = text;
        let home = if plan.stays_within() { record.index.like(to).unwrap_or(to) } else { to };
        let paths = record.index.paths();
        let far = paths.is_far(record.index.edge(to).path);
        match plan.name as usize {
            _ if PathId(plan.name).is_temporary() || paths.is_far(PathId(plan.name)) => {
                self.strange.push(self.text.get(name).unwrap_or_default());
                plan.name = NO_NAME;
            }
            name if name >= self.stamps.len() => self.stamps.resize(name + 1, 0),
            _ => {}
        }
        if home.is_temporary() || (far && !plan.stays_within()) {
            return Ok(plan);
        }
        self.kept = self.text.len();
        let at = home.0 as usize;
        if at >= self.plans.len() {
            self.plans.resize(at + 1, Plan::default());
        }
        if let Some(place) = self.plans.get_mut(at) {
            *place = plan;
        }
        Ok(plan)
    }

    /// The plan of an edge, its text, and where the name it writes stands in that, with quotes and colon.
    fn made(
        &self,
        shape: &Flatten,
        record: &Record<'_>,
        before: Option<(EdgeId, Within)>,
        to: EdgeId,
        position: Option<usize>,
        text: &mut Vec<u8>,
    ) -> (Plan, Range<usize>) {
        let (start, paths, edge) = (text.len(), record.index.paths(), record.index.edge(to));
        if let Some((from, within)) = before
            && within.depth > 0
        {
            // What an edge ends it ends before it begins anything.
            let closings = edge.marks.iter().take_while(|mark| matches!(mark.bracket, b'}' | b']')).count();
            let needed = paths.depth(record.index.edge(from).path) - usize::from(within.depth);
            if closings < needed {
                self.piece(edge.text, within.json, text);
                if within.json {
                    text.extend_from_slice(QUOTE);
                }
                let mode = match (within.json, self.compact) {
                    (true, _) => Mode::Inside,
                    (false, true) => Mode::Look,
                    (false, false) => Mode::Verbatim,
                };
                return (Plan { mode, within, ..Plan::default() }, 0..0);
            }
            let last = needed.checked_sub(1).and_then(|last| edge.marks.get(last));
            let end = last.map_or(0, |mark| mark.at as usize + 1);
            self.piece(edge.text.get(..end).unwrap_or_default(), within.json, text);
            if within.json {
                text.push(b'"');
            }
        }
        if edge.path == PathId::ROOT {
            return (Plan { mode: Mode::Field, ..Plan::default() }, 0..0);
        }
        text.push(if before.is_some() { b',' } else { b'{' });
        let name = text.len();
        text.push(b'"');
        let steps = position.map(|position| record.index.steps(position)).unwrap_or_default();
        let after = plan::place(shape, paths, edge.path, &steps, text);
        text.extend_from_slice(b"\":");
        let name = name..text.len();
        let mut mode = if after.containers.is_plain() && !self.compact { Mode::Field } else { Mode::Look };
        if after.within.depth > 0 {
            let inner = paths.depth(edge.path) - usize::from(after.within.depth);
            let mark = edge.marks.len().checked_sub(inner).and_then(|at| edge.marks.get(at));
            let open = mark.map_or(0, |mark| mark.at as usize);
            if after.within.json {
                text.push(b'"');
                mode = Mode::Inside;
            }
            self.piece(edge.text.get(open..).unwrap_or_default(), after.within.json, text);
            if after.within.json {
                text.extend_from_slice(QUOTE);
            }
        }
        if mode == Mode::Field && text.get(start..) == Some(edge.text) {
            mode = Mode::Verbatim;
        }
        if after.slow {
            mode = Mode::Slow;
        }
        let plan = Plan {
            mode,
            name: after.name.0,
            writes_key: true,
            containers: after.containers,
            within: after.within,
            ..Plan::default()
        };
        (plan, name)
    }

    /// A part of an edge's text, as it is or as part of a JSON string.
    fn piece(&self, part: &[u8], json: bool, out: &mut Vec<u8>) {
        let mut scratch = Vec::new();
        let part = stripped(self.compact, part, &mut scratch);
        if json {
            text::escape(part, out);
        } else {
            out.extend_from_slice(part);
        }
    }
}

/// Where a path's value goes; `None`: it depends on the record.
pub(super) fn place(
    shape: &Flatten,
    paths: &Paths,
    path: PathId,
    steps: &[Segment<'_>],
) -> Option<super::FlatPut> {
    let mut key = Vec::new();
    let place = plan::place(shape, paths, path, steps, &mut key);
    (!place.slow && !shape.lossless).then_some(super::FlatPut {
        key,
        within: place.within.depth.into(),
        json: place.within.json,
        object: place.containers.object == Empty::Plain,
        array: place.containers.array == Empty::Plain,
    })
}

/// Whether the record of this number has not written the name before.
#[inline(always)]
fn is_new_name(stamps: &mut [u32], name: u32, record: u32) -> bool {
    match stamps.get_mut(name as usize) {
        Some(stamp) => std::mem::replace(stamp, record) != record || name == NO_NAME,
        None => true,
    }
}

/// [`Page::escape`], away from the road that needs the registers.
#[inline(never)]
fn escape<'p>(source: &[u8], start: usize, end: usize, mut page: Page<'p>) -> Page<'p> {
    page.escape(source, start, end);
    page
}

fn stripped<'t>(compact: bool, text: &'t [u8], scratch: &'t mut Vec<u8>) -> &'t [u8] {
    if !compact {
        return text;
    }
    strip(text, scratch);
    scratch
}

/// Whether the flat object that `text` begins has one key twice. For records with paths that are not known by one number.
fn has_key_twice(text: &[u8]) -> bool {
    let Node::Object(members, _) = Node::read(text) else { return false };
    let mut seen = HashSet::with_capacity(members.len());
    !members.iter().all(|(key, _)| seen.insert(key))
}
