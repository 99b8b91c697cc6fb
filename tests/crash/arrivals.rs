//! What arrives while the program runs and is killed: whole, late, duplicate and damaged files, objects and lines.

use std::fs::{self, File};
use std::io::Write as _;

use rand_xoshiro::Xoshiro256PlusPlus as Chance;
use rand_xoshiro::rand_core::Rng as _;

use crate::here::{Here, gz, log_file};
use crate::oracle::Oracle;

const SETTINGS: &str = r#"incomplete_after = "10 min"
line_incomplete_after = "10 min""#;
/// Two sinks.
pub(crate) const TWO: &str = r#"[sinks.archive]
type = "file"
path = "out/{account}/{date}.ndjson.gz"
rotate_size = "8 kB"
[sinks.flat]
type = "file"
path = "flat/{account}.ndjson"
shape = "flat"
"#;

/// A number below `end`.
pub(crate) fn below(chance: &mut Chance, end: u64) -> u64 {
    chance.next_u64() % end
}

/// A tree, what reads it, and what was put into it.
pub(crate) struct Site {
    pub(crate) here: Here,
    pub(crate) oracle: Oracle,
    files: u64,
    /// Whole files, to be copied: their path, and the ids in them.
    whole: Vec<(String, Vec<String>)>,
    /// The second halves of files that are written slowly.
    late: Vec<(String, Vec<u8>)>,
}

impl Site {
    pub(crate) fn new() -> Site {
        let source = format!("type = \"files\"\npath = \"trail\"\n{SETTINGS}");
        let here = Here::with("").reading(&source, TWO);
        Site { here, oracle: Oracle::default(), files: 0, whole: Vec::new(), late: Vec::new() }
    }

    /// Some files arrive.
    pub(crate) fn arrive(&mut self, chance: &mut Chance, files: u64) {
        for _ in 0..files {
            match below(chance, 10) {
                0 => self.copy(chance),
                1 => self.damaged(chance),
                2 => self.lines(chance),
                3 => self.slow(chance),
                _ => {
                    let (path, ids, records) = self.records(chance, "json.gz");
                    self.here.rename_in(&path, gz(log_file(&records)));
                    self.oracle.put(ids.clone());
                    self.whole.push((path, ids));
                }
            }
        }
    }

    /// Files that are written slowly go on to their ends.
    pub(crate) fn complete(&mut self) {
        for (path, rest) in self.late.drain(..) {
            File::options().append(true).open(self.here.at(&path)).unwrap().write_all(&rest).unwrap();
        }
    }

    /// The records of the next file: where it goes, their ids, and themselves.
    fn records(&mut self, chance: &mut Chance, ending: &str) -> (String, Vec<String>, Vec<String>) {
        self.files += 1;
        let file = self.files;
        let ids: Vec<String> = (0..1 + below(chance, 40)).map(|number| format!("{file}-{number}-")).collect();
        let records = ids.iter().map(|id| event(id, below(chance, 3), below(chance, 900)));
        let records = records.collect();
        (format!("trail/{}/{file}.{ending}", file % 4), ids, records)
    }

    /// The same content under another name: another file.
    fn copy(&mut self, chance: &mut Chance) {
        let Some(number) = self.whole.len().checked_sub(1) else { return };
        let (path, ids) = &self.whole[usize::try_from(below(chance, number as u64 + 1)).unwrap()];
        self.files += 1;
        let stored = fs::read(self.here.at(path)).unwrap();
        self.here.rename_in(&format!("trail/copy/{}.json.gz", self.files), stored);
        self.oracle.put(ids.clone());
    }

    /// Good records around a bad one, an end that is missing, or nothing that could be read.
    fn damaged(&mut self, chance: &mut Chance) {
        let (path, mut ids, mut records) = self.records(chance, "json");
        let bad = usize::try_from(below(chance, ids.len() as u64)).unwrap();
        let mark = format!("bad-{}-", self.files);
        let text = match below(chance, 3) {
            0 => {
                ids.remove(bad);
                records[bad] = event(&mark, 0, 10).replace(r#""eventVersion":"#, r#""eventVersion""#);
                log_file(&records)
            }
            1 => {
                ids.truncate(bad);
                records.truncate(bad);
                records.push(event(&mark, 0, 500));
                let text = log_file(&records);
                text[..text.len() - 400].to_owned()
            }
            _ => {
                ids.clear();
                format!("{mark}{}", "nothing of ours ".repeat(50))
            }
        };
        // Old, so that it is judged at once.
        fs::write(self.here.at("hidden"), text).unwrap();
        self.here.age("hidden");
        fs::create_dir_all(self.here.at(&path).parent().unwrap()).unwrap();
        fs::rename(self.here.at("hidden"), self.here.at(&path)).unwrap();
        self.oracle.put(ids);
        self.oracle.damage(mark);
    }

    /// A file of lines.
    fn lines(&mut self, chance: &mut Chance) {
        let (path, ids, records) = self.records(chance, "ndjson");
        self.here.rename_in(&path, format!("{}\n", records.join("\n")));
        self.oracle.put(ids);
    }

    /// A file in its place before it is whole.
    fn slow(&mut self, chance: &mut Chance) {
        let lines = below(chance, 2) == 0;
        let (path, ids, records) = self.records(chance, if lines { "ndjson" } else { "json.gz" });
        let mut whole =
            if lines { format!("{}\n", records.join("\n")).into_bytes() } else { gz(log_file(&records)) };
        // Not between two lines: that would be a whole file that grows, and shipped again.
        let mut at = 1 + usize::try_from(below(chance, whole.len() as u64 - 2)).unwrap();
        if lines && (whole[at - 1] == b'\n' || whole[at - 1] == b'}') {
            at -= 3;
        }
        let rest = whole.split_off(at);
        fs::create_dir_all(self.here.at(&path).parent().unwrap()).unwrap();
        fs::write(self.here.at(&path), whole).unwrap();
        self.oracle.put(ids);
        self.late.push((path, rest));
    }
}

/// A record.
pub(crate) fn event(id: &str, account: u64, more: u64) -> String {
    let more = "x".repeat(usize::try_from(more).unwrap());
    format!(
        r#"{{"eventVersion":"1.08","eventTime":"2026-01-15T10:00:00Z","awsRegion":"us-east-1","eventID":"{id}","recipientAccountId":"11112222333{account}","requestParameters":{{"more":"{more}"}}}}"#
    )
}
