//! What the simulated sources lend: objects of every sort, small ones and some larger than all the memory there is.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Buffer, Decode, Input, Item, Limits, Tools};
use crate::record::Scanner;
use crate::record::scan::ScanLimits;
use crate::testing::contract::Chance;

/// One object as it lies in a folder, and what is in it.
pub(super) struct Object {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Ids of the records that a lone decoder finds.
    pub(super) ids: Vec<Arc<str>>,
    /// Whether it is larger, decompressed, than most budgets.
    pub(super) huge: bool,
}

/// All objects for some limits.
pub(super) struct Objects {
    pub(super) all: Vec<Arc<Object>>,
    pub(super) limits: Limits,
    _folder: tempfile::TempDir,
}

/// Writes objects into a folder.
struct Maker {
    folder: PathBuf,
    limits: Limits,
    chance: Chance,
    all: Vec<Arc<Object>>,
}

impl Objects {
    /// Objects that are small, large or lie against windows of this size.
    pub(super) fn with_window(window: usize) -> Objects {
        let limits = Limits { window, record: 2 * window, ..Limits::default() };
        let folder = tempfile::tempdir().unwrap();
        let (at, chance) = (folder.path().to_path_buf(), Chance::new(4));
        let mut maker = Maker { folder: at, limits, chance, all: Vec::new() };
        maker.honest();
        maker.lying();
        maker.large_records();
        maker.damaged();
        Objects { all: maker.all, limits, _folder: folder }
    }
}

impl Objects {
    /// One object of so many records, as small as they can be.
    pub(super) fn of_small_records(window: usize, count: usize) -> Objects {
        let limits = Limits { window, record: 2 * window, ..Limits::default() };
        let folder = tempfile::tempdir().unwrap();
        let mut maker =
            Maker { folder: folder.path().to_path_buf(), limits, chance: Chance::new(6), all: Vec::new() };
        let records: Vec<String> = (0..count).map(|number| format!(r#"{{"eventID":"{number}"}}"#)).collect();
        maker.put("small", gz(log_file(&records)), false);
        Objects { all: maker.all, limits, _folder: folder }
    }

    /// Objects that hold copies of each other's records, in other orders and formats, some of them twice.
    pub(super) fn with_copies(window: usize) -> Objects {
        let limits = Limits { window, record: 2 * window, ..Limits::default() };
        let folder = tempfile::tempdir().unwrap();
        let mut maker =
            Maker { folder: folder.path().to_path_buf(), limits, chance: Chance::new(5), all: Vec::new() };
        let batches: Vec<Vec<String>> = (0..12)
            .map(|number| maker.records(&format!("batch-{number}"), window / 5, window / 200))
            .collect();
        for number in 0..16 {
            let mut records = Vec::new();
            for batch in &batches {
                let part = usize::try_from(maker.chance.below(4)).unwrap();
                records.extend(batch.iter().filter(|record| record.len() % 4 <= part && part > 0).cloned());
            }
            for at in (1..records.len()).rev() {
                records.swap(at, usize::try_from(maker.chance.below(at as u64 + 1)).unwrap());
            }
            let again = records.len().min(5);
            records.extend_from_within(..again);
            let stored = match number % 4 {
                0 => gz(log_file(&records)),
                1 => gz(lines(&records)),
                2 => lines(&records).into_bytes(),
                _ => zstd::encode_all(log_file(&records).as_bytes(), 1).unwrap(),
            };
            maker.put(&format!("copies-{number}"), stored, false);
        }
        Objects { all: maker.all, limits, _folder: folder }
    }
}

impl Maker {
    fn honest(&mut self) {
        let window = self.limits.window;
        for (name, text, small) in [("one", 800, 300), ("few", 4_000, 400), ("some", window / 4, 1500)] {
            let text = log_file(&self.records(name, text, small));
            self.put(name, gz(&text), false);
        }
        for tenths in [4, 9, 25] {
            let name = format!("log-{tenths}");
            let text = log_file(&self.records(&name, window * tenths / 10, window / 100));
            self.put(&name, gz(&text), false);
        }
        let text = self.records("plain", window * 4 / 10, 2000);
        self.put("plain", log_file(&text).into_bytes(), false);
        let text = self.records("lines", window * 2, window / 50);
        self.put("lines", lines(&text).into_bytes(), false);
        let text = self.records("lines-gz", window * 3, window / 60);
        self.put("lines-gz", gz(lines(&text)), false);
        let text = log_file(&self.records("zstd", window * 3 / 2, window / 80));
        self.put("zstd", zstd::encode_all(text.as_bytes(), 1).unwrap(), false);
        let bare = self.record("bare", 0, window * 3 / 10);
        self.put("bare", bare.into_bytes(), false);
        // As large as what is read whole.
        let whole = usize::try_from(super::job::read_whole(&self.limits)).unwrap();
        let mut text = log_file(&self.records("whole", whole - whole / 8, window / 70));
        text.push_str(&" ".repeat(whole - text.len()));
        self.put("whole", text.into_bytes(), false);
        let text = log_file(&self.records("huge", 24 * window, window / 30));
        self.put("huge", gz(&text), true);
        let text = lines(&self.records("huge-lines", 24 * window, window / 30));
        self.put("huge-lines", gz(&text), true);
    }

    /// Several gzip members, of which the last is small: the size field at the end is far from the truth.
    fn lying(&mut self) {
        let window = self.limits.window;
        for (tenths, claims) in
            [(8, 3), (15, 2), (15, 4), (15, 5), (15, 6), (15, 7), (25, 3), (25, 5), (25, 6)]
        {
            let name = format!("liar-{tenths}-{claims}");
            let text = log_file(&self.records(&name, window * tenths / 10, window / 90));
            self.put(&name, members(&text, window * claims / 10), false);
        }
        let text = log_file(&self.records("liar-huge", 22 * window, window / 30));
        self.put("liar-huge", members(&text, window / 2), true);
    }

    fn large_records(&mut self) {
        let most = self.limits.record;
        for (name, sizes) in [
            ("large-1", &[500, most * 9 / 10, 500][..]),
            ("large-2", &[most * 6 / 10, most * 6 / 10, 300, most * 6 / 10]),
            ("large-3", &[most - 600, most - 600]),
        ] {
            let records: Vec<String> =
                sizes.iter().enumerate().map(|(number, size)| self.record(name, number, *size)).collect();
            self.put(name, gz(log_file(&records)), false);
            let name = format!("{name}-liar");
            let records: Vec<String> =
                sizes.iter().enumerate().map(|(number, size)| self.record(&name, number, *size)).collect();
            self.put(&name, members(&log_file(&records), most / 5), false);
        }
    }

    fn damaged(&mut self) {
        let window = self.limits.window;
        let mut records = self.records("oversize", window / 3, 2000);
        records.insert(3, self.record("oversize-itself", 0, self.limits.record * 3 / 2));
        self.put("oversize", gz(log_file(&records)), false);
        let text = log_file(&self.records("torn", window * 6 / 5, 3000));
        let mut torn = gz(text);
        torn.truncate(torn.len() * 2 / 3);
        self.put("torn", torn, false);
        let text = log_file(&self.records("flipped", window * 6 / 5, 3000));
        let mut flipped = gz(text);
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x55;
        self.put("flipped", flipped, false);
        let mut plain = log_file(&self.records("torn-plain", window / 2, 1000)).into_bytes();
        plain.truncate(plain.len() - 700);
        self.put("torn-plain", plain, false);
        let torn_bare = self.record("torn-bare", 0, window / 3);
        self.put("torn-bare", torn_bare.as_bytes()[..torn_bare.len() - 1].to_vec(), false);
        self.put("garbage", gz("x".repeat(window)), false);
    }

    /// Records of about `each` bytes, `bytes` in all.
    fn records(&mut self, name: &str, bytes: usize, each: usize) -> Vec<String> {
        let (mut records, mut made) = (Vec::new(), 0);
        while made < bytes {
            let size = each / 2 + usize::try_from(self.chance.below(each as u64)).unwrap();
            records.push(self.record(name, records.len(), size));
            made += size.max(300);
        }
        records
    }

    /// A record of about so many bytes.
    fn record(&mut self, name: &str, number: usize, size: usize) -> String {
        let pad: String = (0..8).map(|_| format!("{:08x}", self.chance.below(1 << 32))).collect();
        let account = 100_000_000_000 + self.chance.below(9);
        let pad = pad.repeat(size.saturating_sub(240) / 64 + 1);
        format!(
            r#"{{"eventVersion":"1.08","eventID":"{name}-{number}","eventTime":"2026-01-15T10:00:00Z","eventName":"GetObject","recipientAccountId":"{account}","pad":"{pad}"}}"#
        )
    }

    fn put(&mut self, name: &str, stored: Vec<u8>, huge: bool) {
        let path = self.folder.join(name);
        std::fs::write(&path, &stored).unwrap();
        let ids = alone(self.limits, &path);
        let object = Object { name: name.to_owned(), path, size: stored.len() as u64, ids, huge };
        self.all.push(Arc::new(object));
    }
}

/// The id of a record's text.
pub(super) fn id(record: &str) -> &str {
    let (_, from) = record.split_once(r#""eventID":""#).unwrap();
    from.split_once('"').unwrap().0
}

/// The ids that a lone decoder finds.
fn alone(limits: Limits, path: &Path) -> Vec<Arc<str>> {
    let stored = std::fs::read(path).unwrap();
    let mut reader = &*stored;
    let whole = (stored.len() as u64) < super::job::read_whole(&limits);
    let mut input = if whole { Input::Whole(&stored) } else { Input::Read(&mut reader) };
    let mut scanner = Scanner::new(Arc::default(), ScanLimits::default());
    let (mut tools, mut buffer, mut decode) = (Tools::default(), Buffer::default(), Decode::new(limits));
    let mut ids = Vec::new();
    for _ in 0..1_000 {
        decode.fill(&mut tools, &mut input, &mut buffer).unwrap();
        loop {
            match decode.next(&mut scanner, &mut buffer) {
                Item::Record { span, .. } => ids.push(id(str::from_utf8(span.of(&buffer)).unwrap()).into()),
                Item::LeftOut { .. } | Item::Damage { .. } => {}
                Item::WindowEnd => break,
                Item::End => return ids,
            }
        }
    }
    panic!("{} is never used up", path.display());
}

fn log_file(records: &[String]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

fn lines(records: &[String]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn gz(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// Two gzip members, the last of `last` bytes.
fn members(text: &str, last: usize) -> Vec<u8> {
    let (front, back) = text.as_bytes().split_at(text.len() - last);
    [gz(front), gz(back)].concat()
}
