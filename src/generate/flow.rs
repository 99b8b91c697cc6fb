//! The flow of objects: whose file comes next, when, with which records and what is wrong with it.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

use super::catalog::{Shape, compile, deck};
use super::chance::{Deck, Lengths, Shares, below, falls, scaled, seconds, unit, whole};
use super::template::{Clock, Scene, hex_text, random_guid, suffix};
use super::world::{Account, REGIONS, Style, accounts};
use super::{
    Damage, Error, Facts, Kind, Object, Options, Profile, callers, kinds, large, management, mixed, rare,
};

/// Share of records worth an alarm.
const RARE: f64 = 0.004;
/// Share of files of each kind beside `CloudTrail`.
const OTHER_KIND: f64 = 0.004;
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAMAGES: [Damage; 8] = [
    Damage::Truncated,
    Damage::BrokenJson,
    Damage::TrailingGarbage,
    Damage::SecondMember,
    Damage::Empty,
    Damage::Folder,
    Damage::WrongExtension,
    Damage::NoRecords,
];

/// Lends the objects of a tree, one at a time, out of buffers it uses again.
pub struct Generator {
    options: Options,
    rng: Xoshiro256PlusPlus,
    clock: Clock,
    accounts: Vec<Account>,
    shapes: Vec<Shape>,
    rare: Vec<Shape>,
    large: Vec<Shape>,
    kinds: [(Kind, Shape); 3],
    /// Decks of us-east-1 and of other regions.
    decks: [Deck; 2],
    rare_decks: [Deck; 2],
    large_deck: Deck,
    kind_deck: Deck,
    damage_deck: Deck,
    shares: Shares,
    lengths: Lengths,
    made: u64,
    again: bool,
    key: String,
    body: Vec<u8>,
    second: Vec<u8>,
    facts: Facts,
    /// Log files of the first account by hour and region.
    digests: BTreeMap<(i64, usize), Vec<LogFile>>,
    previous_digest: BTreeMap<usize, (String, String)>,
}

/// A log file as a digest lists it.
#[derive(Debug)]
struct LogFile {
    entry: String,
    oldest: i64,
    newest: i64,
}

impl Generator {
    /// Makes a generator.
    ///
    /// # Errors
    /// An option is out of range.
    pub fn new(options: &Options) -> Result<Self, Error> {
        options.check()?;
        let fresh = options.fresh_keys > 0;
        let (calls, programs) = match options.profile {
            Profile::Management => (management::CALLS, 140),
            Profile::Mixed => (mixed::CALLS, 24),
        };
        let mut shapes = compile(calls, fresh);
        shapes.extend(compile(callers::CALLS, fresh));
        let data = options.data_event_share;
        let decks = [true, false].map(|home| Deck::new(deck(&shapes, data, home)));
        let rare = compile(rare::CALLS, fresh);
        let rare_decks = [true, false].map(|home| {
            Deck::new((0..rare.len()).filter(|&i| home || !rare[i].home).map(|i| vec![i]).collect())
        });
        let large = large::shapes();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(options.seed);
        let lengths = Lengths::starting_at(unit(&mut rng));
        Ok(Self {
            clock: Clock::default(),
            accounts: accounts(options.seed, options.accounts, programs),
            large_deck: Deck::of(large.len()),
            kind_deck: Deck::of(3),
            damage_deck: Deck::of(DAMAGES.len()),
            shares: Shares { late: 0.6, duplicate: 0.7, damaged: 0.8, kind: 0.9, rare: 0.9, large: 0.5 },
            lengths,
            made: 0,
            again: false,
            key: String::new(),
            body: Vec::new(),
            second: Vec::new(),
            facts: Facts {
                kind: Kind::CloudTrail,
                account: String::new(),
                region: REGIONS[0],
                delivered: 0,
                ids: Vec::new(),
                times: (0, 0),
                large: 0,
                rare: Vec::new(),
                late: false,
                copy_of: None,
                damage: None,
                broken: None,
                injected: None,
            },
            digests: BTreeMap::new(),
            previous_digest: BTreeMap::new(),
            kinds: kinds::shapes(),
            options: options.clone(),
            rng,
            shapes,
            rare,
            large,
            decks,
            rare_decks,
        })
    }

    /// Lends the next object; `None` when as many bytes are made as were asked for.
    pub fn next_object(&mut self) -> Option<Object<'_>> {
        if self.again {
            self.again = false;
            self.copy();
        } else if self.made >= self.options.bytes {
            let (&due, _) = self.digests.first_key_value()?;
            self.digest(due);
        } else {
            let now = self.now();
            match self.digests.first_key_value() {
                Some((&due, _)) if due.0 + HOUR <= now => self.digest(due),
                _ => self.file(now),
            }
        }
        self.made += u64::try_from(self.body.len()).unwrap_or(0);
        Some(Object { key: &self.key, body: &self.body, second: &self.second, facts: &self.facts })
    }

    /// The delivery time the flow has come to: a multiple of five minutes.
    fn now(&self) -> i64 {
        let span = i128::from(self.options.span.as_secs());
        let past = span * i128::from(self.made) / i128::from(self.options.bytes.max(1));
        let now = self.options.start.as_second() + i64::try_from(past.min(span)).unwrap_or(0);
        now - now.rem_euclid(5 * MINUTE)
    }

    fn file(&mut self, now: i64) {
        // The first accounts and regions are busier than the last, as everywhere.
        let draw = unit(&mut self.rng) * unit(&mut self.rng).sqrt();
        let account = scaled(draw, self.options.accounts);
        let region = if unit(&mut self.rng) < 0.5 { 0 } else { below(&mut self.rng, self.options.regions) };
        let late = falls(&mut self.shares.late, self.options.late);
        let kind = if self.options.kinds && falls(&mut self.shares.kind, OTHER_KIND * 3.0) {
            Some(self.kind_deck.deal(&mut self.rng))
        } else {
            None
        };
        let damage = if kind.is_none() && falls(&mut self.shares.damaged, self.options.damaged) {
            Some(DAMAGES[self.damage_deck.deal(&mut self.rng)])
        } else {
            None
        };
        let facts = &mut self.facts;
        facts.kind = kind.map_or(Kind::CloudTrail, |kind| self.kinds[kind].0);
        facts.account.clone_from(&self.accounts[account].id);
        facts.region = REGIONS[region];
        facts.late = late;
        facts.delivered = now + if late { 5 * MINUTE * seconds(&mut self.rng, 24, 360) } else { 0 };
        facts.ids.clear();
        facts.rare.clear();
        (facts.large, facts.times, facts.copy_of, facts.broken, facts.injected) =
            (0, (0, 0), None, None, None);
        facts.damage = damage;
        self.name_file();
        self.body.clear();
        self.second.clear();
        match damage {
            Some(Damage::Empty | Damage::Folder) => return,
            Some(Damage::NoRecords) => {
                self.body.extend_from_slice(b"{\"Records\":[]}");
                return;
            }
            _ => {}
        }
        let middle = self.records(account, region, kind, now);
        match damage {
            Some(Damage::BrokenJson) => self.break_record(middle),
            Some(Damage::SecondMember) => self.inject(account, region, now),
            None if self.options.kinds && kind.is_none() && account == 0 => self.remember_for_digest(region),
            _ => {}
        }
        self.again =
            damage.is_none() && kind.is_none() && falls(&mut self.shares.duplicate, self.options.duplicate);
    }

    /// Fills the body; gives where the record in the middle starts, and which it is.
    fn records(&mut self, account: usize, region: usize, kind: Option<usize>, now: i64) -> (usize, usize) {
        let wanted = match (kind, self.options.records_per_file, self.options.file_bytes) {
            (Some(_), ..) => 1 + below(&mut self.rng, 6),
            (None, Some(records), _) => records,
            (None, None, Some(_)) => usize::MAX,
            (None, None, None) => self.lengths.next(self.options.profile),
        };
        let full = match (kind, self.options.records_per_file, self.options.file_bytes) {
            (None, None, Some(bytes)) => usize::try_from(bytes).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        // CloudTrail delivers some 200 s after the call; a file spans up to five minutes.
        let nearest = {
            let (a, b) = (unit(&mut self.rng), unit(&mut self.rng));
            5 + whole(285.0 * a * b)
        };
        let span = seconds(&mut self.rng, 200, 315);
        let steps = if wanted == usize::MAX { full / 1_400 } else { wanted };
        let (share, slipping) =
            if self.options.profile == Profile::Management { (0.75, 0.35) } else { (0.55, 0.25) };
        let disordered = unit(&mut self.rng) < share;
        let stride = span / i64::try_from(steps.max(1)).unwrap_or(1);
        let callers = [Style::Key, Style::Console, Style::Via].map(|style| {
            let count = self.accounts[account].sessions(style).len();
            (0..3).map(|_| below(&mut self.rng, count)).collect::<Vec<_>>()
        });

        // A file is about few things: the same buckets, roles and keys come again and again.
        let things = if self.options.profile == Profile::Management { 8 } else { 2 };
        let things: Vec<u64> = (0..things).map(|_| self.rng.next_u64()).collect();

        let (mut count, mut middle) = (0, (0, 0));
        let mut times = (i64::MAX, i64::MIN);
        self.body.extend_from_slice(b"{\"Records\":[");
        while count < wanted && self.body.len() < full {
            if count > 0 {
                self.body.push(b',');
            }
            if count <= wanted.min(steps) / 2 {
                middle = (self.body.len(), count);
            }
            let step = i64::try_from(count.min(steps)).unwrap_or(0) * span
                / i64::try_from(steps.max(1)).unwrap_or(1);
            let slip = if disordered && unit(&mut self.rng) < slipping {
                stride + seconds(&mut self.rng, 1, 45)
            } else {
                0
            };
            let time = now - nearest - span + (step - slip).max(0);
            times = (times.0.min(time), times.1.max(time));

            let decked = usize::from(region != 0);
            let shape = if let Some(kind) = kind {
                &self.kinds[kind].1
            } else if self.options.rare && falls(&mut self.shares.rare, RARE) {
                let shape = &self.rare[self.rare_decks[decked].deal(&mut self.rng)];
                self.facts.rare.push(shape.name);
                shape
            } else if falls(&mut self.shares.large, self.options.large) {
                self.facts.large += 1;
                &self.large[self.large_deck.deal(&mut self.rng)]
            } else {
                &self.shapes[self.decks[decked].deal(&mut self.rng)]
            };
            let style = match shape.style {
                Style::Key | Style::Service => 0,
                Style::Console => 1,
                Style::Via => 2,
            };
            let caller = callers[style][below(&mut self.rng, 3)];
            let owner = &self.accounts[account];
            let id = random_guid(&mut self.rng);
            self.facts.ids.push(id);
            let scene = Scene {
                account: owner,
                region: REGIONS[region],
                session: &owner.sessions(shape.style)[caller],
                time,
                id,
                picks: things[below(&mut self.rng, things.len())],
                fresh_keys: self.options.fresh_keys,
            };
            shape.template.render(&scene, &mut self.clock, &mut self.rng, &mut self.body);
            count += 1;
        }
        self.body.extend_from_slice(b"]}");
        if count > 0 {
            self.facts.times = times;
        }
        middle
    }

    /// The same records again, from the other trail.
    fn copy(&mut self) {
        self.facts.copy_of = Some(std::mem::take(&mut self.key));
        self.facts.delivered += 5 * MINUTE;
        self.name_file();
    }

    fn break_record(&mut self, (start, index): (usize, usize)) {
        // `{"eventVersion"#`: the strings stay paired, so a reader can find the next record.
        if let Some(colon) = self.body[start..].iter().position(|&byte| byte == b':') {
            self.body[start + colon] = b'#';
            self.facts.broken = self.facts.ids.get(index).copied();
        }
    }

    fn inject(&mut self, account: usize, region: usize, now: i64) {
        let id = random_guid(&mut self.rng);
        let owner = &self.accounts[account];
        let scene = Scene {
            account: owner,
            region: REGIONS[region],
            session: &owner.sessions(Style::Key)[0],
            time: now - 200,
            id,
            picks: 0,
            fresh_keys: 0,
        };
        self.second.extend_from_slice(b"{\"Records\":[");
        self.shapes[0].template.render(&scene, &mut self.clock, &mut self.rng, &mut self.second);
        self.second.extend_from_slice(b"]}");
        self.facts.injected = Some(id);
    }

    fn directory(&self) -> String {
        let mut path = String::new();
        for part in [self.options.prefix.as_deref(), Some("AWSLogs"), self.options.organization.as_deref()] {
            if let Some(part) = part.filter(|part| !part.is_empty()) {
                path.push_str(part);
                path.push('/');
            }
        }
        let facts = &self.facts;
        let day = stamp(facts.delivered, "%Y/%m/%d");
        format!("{path}{}/{}/{}/{day}/", facts.account, facts.kind.directory(), facts.region)
    }

    fn name_file(&mut self) {
        self.key = self.directory();
        let facts = &self.facts;
        if facts.damage == Some(Damage::Folder) {
            return;
        }
        let extension = if facts.damage == Some(Damage::WrongExtension) { "json" } else { "json.gz" };
        self.key.push_str(&format!(
            "{}_{}_{}_{}_{}.{extension}",
            facts.account,
            facts.kind.directory(),
            facts.region,
            stamp(facts.delivered, "%Y%m%dT%H%MZ"),
            suffix(&mut self.rng)
        ));
    }

    fn remember_for_digest(&mut self, region: usize) {
        let (oldest, newest) = self.facts.times;
        let entry = format!(
            r#"{{"s3Bucket":"example-trail-bucket","s3Object":"{}","hashValue":"{}","hashAlgorithm":"SHA-256","newestEventTime":"{}","oldestEventTime":"{}"}}"#,
            self.key,
            sha256(&self.body),
            stamp(newest, "%Y-%m-%dT%H:%M:%SZ"),
            stamp(oldest, "%Y-%m-%dT%H:%M:%SZ")
        );
        let hour = self.facts.delivered - self.facts.delivered.rem_euclid(HOUR);
        self.digests.entry((hour, region)).or_default().push(LogFile { entry, oldest, newest });
    }

    /// Writes the digest of an hour and region of the first account.
    fn digest(&mut self, due: (i64, usize)) {
        let files = self.digests.remove(&due).unwrap_or_default();
        let (start, region) = due;
        let facts = &mut self.facts;
        facts.kind = Kind::Digest;
        facts.account.clone_from(&self.accounts[0].id);
        facts.region = REGIONS[region];
        facts.delivered = start + HOUR;
        facts.ids.clear();
        facts.rare.clear();
        (facts.large, facts.times, facts.copy_of, facts.broken, facts.injected) =
            (0, (0, 0), None, None, None);
        (facts.late, facts.damage) = (false, None);
        let (account, region_name) = (facts.account.clone(), facts.region);
        self.key = format!(
            "{}{account}_CloudTrail-Digest_{region_name}_organization_us-east-1_{}.json.gz",
            self.directory(),
            stamp(start + HOUR, "%Y%m%dT%H%M%SZ")
        );
        let previous = self.previous_digest.get(&region).map_or_else(
            || r#""previousDigestS3Bucket":null,"previousDigestS3Object":null,"previousDigestHashValue":null,"previousDigestHashAlgorithm":null,"previousDigestSignature":null"#.to_owned(),
            |(key, hash)| {
                let signature = hex_text(&mut self.rng, 512);
                format!(r#""previousDigestS3Bucket":"example-trail-bucket","previousDigestS3Object":"{key}","previousDigestHashValue":"{hash}","previousDigestHashAlgorithm":"SHA-256","previousDigestSignature":"{signature}""#)
            },
        );
        let text = format!(
            r#"{{"awsAccountId":"{account}","digestStartTime":"{}","digestEndTime":"{}","digestS3Bucket":"example-trail-bucket","digestS3Object":"{}","digestPublicKeyFingerprint":"00112233445566778899aabbccddeeff","digestSignatureAlgorithm":"SHA256withRSA","newestEventTime":"{}","oldestEventTime":"{}",{previous},"logFiles":[{}]}}"#,
            stamp(start, "%Y-%m-%dT%H:%M:%SZ"),
            stamp(start + HOUR, "%Y-%m-%dT%H:%M:%SZ"),
            self.key,
            stamp(files.iter().map(|file| file.newest).max().unwrap_or(start), "%Y-%m-%dT%H:%M:%SZ"),
            stamp(files.iter().map(|file| file.oldest).min().unwrap_or(start), "%Y-%m-%dT%H:%M:%SZ"),
            files.iter().map(|file| file.entry.as_str()).collect::<Vec<_>>().join(",")
        );
        self.second.clear();
        self.body.clear();
        self.body.extend_from_slice(text.as_bytes());
        self.previous_digest.insert(region, (self.key.clone(), sha256(&self.body)));
    }
}

fn stamp(time: i64, format: &str) -> String {
    jiff::Timestamp::from_second(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime(format).to_string()
}

fn sha256(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}
