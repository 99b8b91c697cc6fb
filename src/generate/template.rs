//! Record texts with slots: compiled once, then filled by copying, without a JSON writer.
//!
//! A template is the text of a record with slots in angle brackets: `<account>`, `<hex:17>`, `<num:200-900>`.
//! Slots that name a thing (`<bucket>`, `<h1:17>`) give the same text everywhere in one record.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::world::{Account, Pool, Session};

/// One gap of a template and what fills it.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Account,
    Region,
    EventId,
    Guid,
    Time,
    Hour,
    Expiry,
    Identity,
    Ip,
    Agent,
    Fresh,
    Hex(usize),
    Held(usize, usize),
    Base64(usize),
    Upper(usize),
    Number(u64, u64),
    Pool(Pool),
}

/// A compiled record text.
#[derive(Debug)]
pub(super) struct Template {
    literal: Box<[u8]>,
    /// End of the literal before each slot, and the slot.
    gaps: Box<[(usize, Slot)]>,
}

/// What the slots of one record are filled from.
pub(super) struct Scene<'a> {
    pub(super) account: &'a Account,
    pub(super) region: &'a str,
    pub(super) session: &'a Session,
    /// Event time in seconds since 1970.
    pub(super) time: i64,
    pub(super) id: u128,
    /// Which names of the pools the record is about.
    pub(super) picks: u64,
    pub(super) fresh_keys: usize,
}

impl Template {
    /// Compiles a text; an unknown slot stays in it as text, which the tests of the catalogue look for.
    pub(super) fn compile(text: &str) -> Self {
        let (mut literal, mut gaps) = (Vec::with_capacity(text.len()), Vec::new());
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            let (before, after) = rest.split_at(open);
            literal.extend_from_slice(before.as_bytes());
            let close = after.find('>');
            match close.and_then(|close| slot(&after[1..close]).map(|slot| (close, slot))) {
                Some((close, slot)) => {
                    gaps.push((literal.len(), slot));
                    rest = &after[close + 1..];
                }
                None => {
                    literal.push(b'<');
                    rest = &after[1..];
                }
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        Self { literal: literal.into(), gaps: gaps.into() }
    }

    /// Appends the record to `out`.
    pub(super) fn render(
        &self,
        scene: &Scene<'_>,
        clock: &mut Clock,
        rng: &mut Xoshiro256PlusPlus,
        out: &mut Vec<u8>,
    ) {
        let held = [rng.next_u64(), rng.next_u64()];
        let mut at = 0;
        for &(end, slot) in &self.gaps {
            out.extend_from_slice(&self.literal[at..end]);
            at = end;
            match slot {
                Slot::Account => out.extend_from_slice(scene.account.id.as_bytes()),
                Slot::Region => out.extend_from_slice(scene.region.as_bytes()),
                Slot::EventId => guid(scene.id, out),
                Slot::Guid => guid(random_guid(rng), out),
                Slot::Time => clock.write(scene.time, out),
                Slot::Hour => clock.write(scene.time - scene.time.rem_euclid(3_600), out),
                Slot::Expiry => clock.write_long(scene.time + 3_600, out),
                Slot::Identity => {
                    out.extend_from_slice(scene.session.head.as_bytes());
                    if let Some((offset, tail)) = &scene.session.tail {
                        clock.write(scene.time - scene.time.rem_euclid(3_600) - offset, out);
                        out.extend_from_slice(tail.as_bytes());
                    }
                }
                Slot::Ip => out.extend_from_slice(scene.session.ip.as_bytes()),
                Slot::Agent => out.extend_from_slice(scene.session.agent.as_bytes()),
                Slot::Fresh => {
                    for _ in 0..scene.fresh_keys {
                        out.extend_from_slice(b"\"k");
                        hex(rng.next_u64(), 16, out);
                        out.extend_from_slice(b"\":\"v\",");
                    }
                }
                Slot::Hex(n) => {
                    for part in chunks(n, 16) {
                        hex(rng.next_u64(), part, out);
                    }
                }
                Slot::Held(which, n) => {
                    for (i, part) in chunks(n, 16).enumerate() {
                        let turn = u32::try_from(i * 23).unwrap_or(0);
                        hex(held[which % 2].rotate_left(turn).wrapping_mul(0x9E37_79B9_7F4A_7C15), part, out);
                    }
                }
                Slot::Base64(n) => letters(rng, BASE64, 6, n, out),
                Slot::Upper(n) => letters(rng, UPPER, 5, n, out),
                Slot::Number(low, high) => number(low + rng.next_u64() % (high - low + 1), out),
                Slot::Pool(pool) => out.extend_from_slice(scene.account.pick(pool, scene.picks).as_bytes()),
            }
        }
        out.extend_from_slice(&self.literal[at..]);
    }

    /// The literal text, for tests that look for slots nobody knows.
    #[cfg(test)]
    pub(super) fn literal(&self) -> &[u8] {
        &self.literal
    }
}

fn slot(name: &str) -> Option<Slot> {
    let (name, argument) = name.split_once(':').unwrap_or((name, ""));
    let count = argument.parse().ok();
    Some(match name {
        "account" => Slot::Account,
        "region" => Slot::Region,
        "id" => Slot::EventId,
        "guid" => Slot::Guid,
        "time" => Slot::Time,
        "hour" => Slot::Hour,
        "expiry" => Slot::Expiry,
        "identity" => Slot::Identity,
        "ip" => Slot::Ip,
        "agent" => Slot::Agent,
        "fresh" => Slot::Fresh,
        "hex" => Slot::Hex(count?),
        "h0" => Slot::Held(0, count?),
        "h1" => Slot::Held(1, count?),
        "b64" => Slot::Base64(count?),
        "upper" => Slot::Upper(count?),
        "num" => {
            let (low, high) = argument.split_once('-')?;
            let (low, high) = (low.parse().ok()?, high.parse().ok()?);
            if low > high {
                return None;
            }
            Slot::Number(low, high)
        }
        pool => Slot::Pool(Pool::named(pool)?),
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const UPPER: &[u8; 32] = b"ABCDEFGHJKMNPQRSTVWXYZ0123456789";
const NIBBLES: &[u8; 16] = b"0123456789abcdef";

fn chunks(n: usize, size: usize) -> impl Iterator<Item = usize> {
    (0..n.div_ceil(size)).map(move |i| size.min(n - i * size))
}

/// Appends `n` letters of an alphabet of `2^bits` letters.
pub(super) fn letters(rng: &mut Xoshiro256PlusPlus, alphabet: &[u8], bits: u32, n: usize, out: &mut Vec<u8>) {
    let each = 64 / bits as usize;
    let mask = (1_u64 << bits) - 1;
    for part in chunks(n, each) {
        let mut random = rng.next_u64();
        for _ in 0..part {
            out.push(alphabet[index(random & mask)]);
            random >>= bits;
        }
    }
}

/// Sixteen letters and digits, as CloudTrail ends file names.
pub(super) fn suffix(rng: &mut Xoshiro256PlusPlus) -> String {
    let mut out = Vec::with_capacity(16);
    letters(rng, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789zA", 6, 16, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// `n` upper-case letters and digits, as identifiers of principals have them.
pub(super) fn upper(rng: &mut Xoshiro256PlusPlus, n: usize) -> String {
    let mut out = Vec::with_capacity(n);
    letters(rng, UPPER, 5, n, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// `n` lower-case hexadecimal digits.
pub(super) fn hex_text(rng: &mut Xoshiro256PlusPlus, n: usize) -> String {
    let mut out = Vec::with_capacity(n);
    for part in chunks(n, 16) {
        hex(rng.next_u64(), part, &mut out);
    }
    String::from_utf8(out).unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "callers mask to at most 6 bits")]
fn index(small: u64) -> usize {
    small as usize
}

fn hex(mut value: u64, n: usize, out: &mut Vec<u8>) {
    let mut text = [0_u8; 16];
    for digit in &mut text {
        *digit = NIBBLES[index(value & 15)];
        value >>= 4;
    }
    out.extend_from_slice(&text[..n.min(16)]);
}

/// A random version 4 GUID as its 128 bits.
pub(super) fn random_guid(rng: &mut Xoshiro256PlusPlus) -> u128 {
    let bits = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    bits & !(0xF << 76) & !(0xC << 60) | (0x4 << 76) | (0x8 << 60)
}

/// Appends a GUID in its 36 character form.
pub(super) fn guid(value: u128, out: &mut Vec<u8>) {
    let mut text = *b"00000000-0000-0000-0000-000000000000";
    let bytes = value.to_be_bytes();
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = NIBBLES[usize::from(byte >> 4)];
        text[at + 1] = NIBBLES[usize::from(byte & 15)];
        at += 2;
    }
    out.extend_from_slice(&text);
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut text = [0_u8; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// Writes times; keeps the text of the last day, for days change seldom.
#[derive(Debug, Default)]
pub(super) struct Clock {
    day: Option<i64>,
    date: String,
    long: String,
}

impl Clock {
    fn turn_to(&mut self, day: i64) {
        if self.day == Some(day) {
            return;
        }
        let date = jiff::Timestamp::from_second(day * 86_400).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        self.date = date.strftime("%Y-%m-%d").to_string();
        self.long = date.strftime("%b %-d, %Y").to_string();
        self.day = Some(day);
    }

    /// Appends `2026-01-15T00:00:00Z`.
    pub(super) fn write(&mut self, time: i64, out: &mut Vec<u8>) {
        self.turn_to(time.div_euclid(86_400));
        out.extend_from_slice(self.date.as_bytes());
        let seconds = u64::try_from(time.rem_euclid(86_400)).unwrap_or(0);
        let mut text = *b"T00:00:00Z";
        for (at, part) in [(1, seconds / 3_600), (4, seconds / 60 % 60), (7, seconds % 60)] {
            text[at] = b'0' + u8::try_from(part / 10).unwrap_or(0);
            text[at + 1] = b'0' + u8::try_from(part % 10).unwrap_or(0);
        }
        out.extend_from_slice(&text);
    }

    /// Appends `Jan 15, 2026, 1:05:00 AM`, as STS writes the end of credentials.
    fn write_long(&mut self, time: i64, out: &mut Vec<u8>) {
        self.turn_to(time.div_euclid(86_400));
        let seconds = time.rem_euclid(86_400);
        let hour = seconds / 3_600;
        let half = if hour < 12 { "AM" } else { "PM" };
        let text = format!(
            "{}, {}:{:02}:{:02} {half}",
            self.long,
            (hour + 11) % 12 + 1,
            seconds / 60 % 60,
            seconds % 60
        );
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::rand_core::SeedableRng;

    #[test]
    fn guids_are_version_four_and_36_characters() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut out = Vec::new();
        guid(random_guid(&mut rng), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]), "{text}");
    }

    #[test]
    fn times_are_written_as_cloudtrail_and_sts_write_them() {
        let (mut clock, mut out) = (Clock::default(), Vec::new());
        clock.write(1_768_435_205, &mut out);
        out.push(b'|');
        clock.write_long(1_768_435_205 + 13 * 3_600, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "2026-01-15T00:00:05Z|Jan 15, 2026, 1:00:05 PM");
    }

    #[test]
    fn numbers_have_no_leading_zero() {
        let mut out = Vec::new();
        number(0, &mut out);
        number(1_024, &mut out);
        assert_eq!(out, b"01024");
    }
}
