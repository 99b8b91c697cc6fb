//! Identity: what a record is, read from its slots once.
//!
//! Of a key that is repeated the last one counts, as for `serde_json`. Empty strings count as absent.

use xxhash_rust::xxh3::xxh3_128;

use super::path::unescape;
use super::{Identity, Kind, Scanner, SlotId, Slots, Span};

/// 128 bits of XXH3 over the id text: the key of sampling and of dedupe.
///
/// The text is `eventID` + `/` + `recipientAccountId` (aggregated events: `eventId` + `/` + `accountId`), escapes undone;
/// what is absent is empty. Without an event id it is the record's bytes, and [`Identity::derived`] is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u128);

impl std::fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// An AWS account: 12 digits, leading zeros kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(u64);

impl Account {
    /// Reads 12 ASCII digits; anything else is no account.
    pub fn parse(text: &[u8]) -> Option<Account> {
        let text: &[u8; 12] = text.try_into().ok()?;
        let (high, low) = text.split_first_chunk::<8>()?;
        let low = u32::from_le_bytes(low.try_into().ok()?);
        let (high, low) = (u64::from_le_bytes(*high), u64::from(low) << 32 | 0x3030_3030);
        Some(Account(eight_digits(high)? * 10_000 + eight_digits(low)?))
    }

    /// The account as a number below 10^12.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The number that eight ASCII digits are, the first in the lowest byte: pairs, then fours, then all.
fn eight_digits(text: u64) -> Option<u64> {
    let digits = text ^ 0x3030_3030_3030_3030;
    if over_nine(digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// The highest bit of each byte that is over nine.
fn over_nine(bytes: u64) -> u64 {
    ((bytes & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | bytes
}

impl std::fmt::Display for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:012}", self.0)
    }
}

/// The kind of event, from `eventCategory`, else `eventType`, compared without case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Management events; also what has no category (files older than eventVersion 1.07).
    Management,
    /// Data events.
    Data,
    /// Insights.
    Insight,
    /// Network activity of VPC endpoints.
    NetworkActivity,
    /// AWS's own five-minute summaries.
    Aggregated,
    /// None of these.
    #[default]
    Other,
}

impl EventKind {
    /// Its name in paths and templates.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Management => "management",
            EventKind::Data => "data",
            EventKind::Insight => "insight",
            EventKind::NetworkActivity => "network_activity",
            EventKind::Aggregated => "aggregated",
            EventKind::Other => "other",
        }
    }
}

/// What the address of an object says about its records, where they do not say it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    /// The account in the object's key.
    pub account: Option<Account>,
}

/// The slots identity reads.
#[derive(Clone, Copy, Debug)]
pub struct IdentitySlots {
    event_id: SlotId,
    recipient: SlotId,
    aggregated_id: SlotId,
    account: SlotId,
    caller: SlotId,
    time: SlotId,
    window_start: SlotId,
    region: SlotId,
    name: SlotId,
    insight_name: SlotId,
    category: SlotId,
    event_type: SlotId,
    management: SlotId,
    arn: SlotId,
    principal: SlotId,
    invoked_by: SlotId,
}

impl IdentitySlots {
    /// Asks for the paths.
    ///
    /// Source: CloudTrail User Guide, "CloudTrail record contents", "userIdentity element", "aggregated events".
    pub fn want(slots: &mut Slots) -> IdentitySlots {
        IdentitySlots {
            event_id: slots.want("eventID"),
            recipient: slots.want("recipientAccountId"),
            aggregated_id: slots.want("eventId"),
            account: slots.want("accountId"),
            caller: slots.want("userIdentity.accountId"),
            time: slots.want("eventTime"),
            window_start: slots.want("timeWindow.windowStart"),
            region: slots.want("awsRegion"),
            name: slots.want("eventName"),
            insight_name: slots.want("insightDetails.eventName"),
            category: slots.want("eventCategory"),
            event_type: slots.want("eventType"),
            management: slots.want("managementEvent"),
            arn: slots.want("userIdentity.arn"),
            principal: slots.want("userIdentity.principalId"),
            invoked_by: slots.want("userIdentity.invokedBy"),
        }
    }

    /// Reads the identity of the record the scanner has just read: `span` of `buffer`.
    pub fn read(&self, scanner: &Scanner, buffer: &[u8], span: Span, fallback: &ObjectFacts) -> Identity {
        let text = |slot: SlotId| string(scanner, buffer, slot);
        let account = |slot: SlotId| text(slot).and_then(|span| Account::parse(span.of(buffer)));
        let escaped = scanner.escaped();
        let (recipient, caller_text) = (text(self.recipient), text(self.caller));
        let caller = caller_text.and_then(|span| Account::parse(span.of(buffer)));
        let id = match text(self.event_id) {
            Some(id) => Some(record_id(id.of(buffer), recipient.unwrap_or_default().of(buffer), escaped)),
            None => text(self.aggregated_id).map(|id| {
                record_id(id.of(buffer), text(self.account).unwrap_or_default().of(buffer), escaped)
            }),
        };
        let own =
            recipient.and_then(|span| Account::parse(span.of(buffer))).or_else(|| account(self.account));
        Identity {
            id: id.unwrap_or_else(|| RecordId(xxh3_128(span.of(buffer)))),
            derived: id.is_none(),
            time: text(self.time).or_else(|| text(self.window_start)).and_then(|span| time(span.of(buffer))),
            account: own.or(caller).or(fallback.account),
            elsewhere: own.zip(fallback.account).is_some_and(|(own, stored)| own != stored),
            caller,
            region: text(self.region),
            name: text(self.name).or_else(|| text(self.insight_name)),
            kind: self.kind(scanner, buffer),
            principal: text(self.arn)
                .or_else(|| text(self.principal))
                .or_else(|| text(self.invoked_by))
                .or(caller_text),
        }
    }

    fn kind(&self, scanner: &Scanner, buffer: &[u8]) -> EventKind {
        if let Some(leaf) = scanner.last(self.category)
            && Kind::of(leaf.text(buffer)) != Kind::Null
        {
            // Slots do not tell an array's elements from a plain member: the depth does.
            let after_colon = leaf.start.checked_sub(1).and_then(|at| buffer.get(at as usize)) == Some(&b':');
            let plain = after_colon || scanner.paths().depth(scanner.path(leaf)) == 1;
            return match string(scanner, buffer, self.category) {
                Some(category) if plain => named(category.of(buffer), scanner.escaped(), CATEGORIES),
                _ => EventKind::Other,
            };
        }
        // Before eventVersion 1.07 there is no category; from 1.06 on `managementEvent` tells.
        let event_type = string(scanner, buffer, self.event_type);
        let kind =
            event_type.map_or(EventKind::Management, |text| named(text.of(buffer), scanner.escaped(), TYPES));
        let management = scanner.last(self.management).map(|leaf| leaf.text(buffer));
        if kind == EventKind::Management && management == Some(b"false") { EventKind::Data } else { kind }
    }
}

const CATEGORIES: &[(&str, EventKind)] = &[
    ("Management", EventKind::Management),
    ("Data", EventKind::Data),
    ("Insight", EventKind::Insight),
    ("NetworkActivity", EventKind::NetworkActivity),
    ("Aggregated", EventKind::Aggregated),
];

/// The guides spell some of these in two ways.
const TYPES: &[(&str, EventKind)] = &[
    ("AwsApiCall", EventKind::Management),
    ("AwsServiceEvent", EventKind::Management),
    ("AwsConsoleAction", EventKind::Management),
    ("AwsConsoleSignIn", EventKind::Management),
    ("AwsCloudTrailInsight", EventKind::Insight),
    ("AwsVpceEvent", EventKind::NetworkActivity),
    ("AwsVpceEvents", EventKind::NetworkActivity),
    ("AwsAggregatedEvent", EventKind::Aggregated),
];

fn named(text: &[u8], escaped: bool, names: &[(&str, EventKind)]) -> EventKind {
    names.iter().find(|(name, _)| is(text, escaped, name)).map_or(EventKind::Other, |&(_, kind)| kind)
}

/// Whether a string's text, escapes undone where there may be some, is this name, whatever the case.
#[inline]
pub(super) fn is(text: &[u8], escaped: bool, name: &str) -> bool {
    // Written as it should be, or of another length, nearly always.
    (text.len() == name.len() && (text == name.as_bytes() || text.eq_ignore_ascii_case(name.as_bytes())))
        // An escape is longer than what it stands for.
        || (escaped && text.len() > name.len() && is_unescaped(text, name))
}

#[cold]
fn is_unescaped(text: &[u8], name: &str) -> bool {
    has_escapes(text) && unescape(text).eq_ignore_ascii_case(name)
}

/// Whether there is anything to undo: nearly never, also in a record that has escapes elsewhere.
#[inline]
pub(super) fn has_escapes(text: &[u8]) -> bool {
    text.contains(&b'\\')
}

/// The last leaf of a slot, if it is a string that is not empty: the text between its quotes.
pub(super) fn string(scanner: &Scanner, buffer: &[u8], slot: SlotId) -> Option<Span> {
    let leaf = scanner.last(slot)?;
    let quoted = leaf.end > leaf.start + 2 && buffer.get(leaf.start as usize) == Some(&b'"');
    quoted.then(|| Span { start: leaf.start + 1, end: leaf.end - 1 })
}

fn record_id(event: &[u8], account: &[u8], escaped: bool) -> RecordId {
    if let (Ok(event), Ok(account)) = (<&[u8; 36]>::try_from(event), <&[u8; 12]>::try_from(account))
        && !escaped
    {
        let mut text = [b'/'; 49]; // the usual two, in steps of a known length
        text[..36].copy_from_slice(event);
        text[37..].copy_from_slice(account);
        return RecordId(xxh3_128(&text));
    }
    let (mut text, len) = ([0; 64], event.len() + 1 + account.len());
    if len > text.len() || (escaped && (has_escapes(event) || has_escapes(account))) {
        return RecordId(xxh3_128(format!("{}/{}", unescape(event), unescape(account)).as_bytes()));
    }
    let (head, rest) = text.split_at_mut(event.len());
    head.copy_from_slice(event);
    rest[0] = b'/';
    rest[1..=account.len()].copy_from_slice(account);
    RecordId(xxh3_128(&text[..len]))
}

/// Seconds since 1970 of an event time.
///
/// `YYYY-MM-DDThh:mm:ssZ`, and more tolerantly fractions, offsets, a blank for the `T`, no zone (then UTC).
pub fn time(text: &[u8]) -> Option<i64> {
    usual_time(text).or_else(|| {
        let text = unescape(text);
        let zoned = text.parse::<jiff::Timestamp>().ok();
        let time = zoned.or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        })?;
        Some(time.as_second() - i64::from(time.subsec_nanosecond() < 0))
    })
}

/// `YYYY-MM-DDThh:mm:ssZ` alone, eight bytes at a time: nearly every record has one.
fn usual_time(text: &[u8]) -> Option<i64> {
    let text: &[u8; 20] = text.try_into().ok()?;
    // What is left of digits are their values, of what stands between them zeros.
    let left = |at: usize, plain: &[u8; 8]| {
        let eight = text[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
        eight ^ u64::from_le_bytes(*plain)
    };
    let (date, hours, seconds) = (left(0, b"0000-00-"), left(8, b"00T00:00"), left(12, b"0:00:00Z"));
    let wrong = (over_nine(date) | over_nine(hours) | over_nine(seconds)) & 0x8080_8080_8080_8080;
    let between =
        (date & 0xff00_00ff_0000_0000) | (hours & 0x0000_ff00_00ff_0000) | (seconds & 0xff00_00ff_0000_ff00);
    if wrong | between != 0 {
        return None;
    }
    let two = |x: u64, at: u32| (x >> (8 * at) & 15) * 10 + (x >> (8 * at + 8) & 15);
    let (year, month, day) = (two(date, 0) * 100 + two(date, 2), two(date, 5), two(hours, 0));
    let (hour, minute, second) = (two(hours, 3), two(hours, 6), two(seconds, 5));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let &[before, length] = MONTHS.get(usize::try_from(month).ok()?)?;
    let (before, length) = (before + u64::from(leap && month > 2), length + u64::from(leap && month == 2));
    if day < 1 || day > length || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since the year -399, so that no year is below zero.
    let years = year + 399;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + before + day - 1;
    let since = days * 86_400 + hour * 3_600 + minute * 60 + second;
    since.checked_signed_diff(EPOCH)
}

/// For each month the days of the year before it, and its own, in a year that is no leap year. None has the number 0.
const MONTHS: [[u64; 2]; 13] = [
    [0, 0],
    [0, 31],
    [31, 28],
    [59, 31],
    [90, 30],
    [120, 31],
    [151, 30],
    [181, 31],
    [212, 31],
    [243, 30],
    [273, 31],
    [304, 30],
    [334, 31],
];
/// Seconds from the beginning of the year -399 to that of 1970.
const EPOCH: u64 = (719_162 + 146_097) * 86_400;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Scan, ScanLimits};

    fn read(record: &str) -> Identity {
        let mut slots = Slots::default();
        let wanted = IdentitySlots::want(&mut slots);
        let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        assert_eq!(scanner.scan(record.as_bytes(), 0), Scan::Record { end: record.len() });
        let span = Span { start: 0, end: u32::try_from(record.len()).unwrap() };
        let facts = ObjectFacts { account: Account::parse(b"000000000009") };
        wanted.read(&scanner, record.as_bytes(), span, &facts)
    }

    fn text(record: &str, span: Option<Span>) -> &str {
        span.map_or("", |span| std::str::from_utf8(span.of(record.as_bytes())).unwrap())
    }

    #[test]
    fn an_ordinary_record_is_identified() {
        let record = r#"{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/a","accountId":"444455556666"},"eventTime":"2024-02-29T23:59:59Z","eventName":"GetObject","awsRegion":"eu-west-1","eventID":"62759c1a","recipientAccountId":"011122223333","eventCategory":"Data"}"#;
        let identity = read(record);
        assert_eq!(identity.id, RecordId(xxh3_128(b"62759c1a/011122223333")));
        assert!(!identity.derived);
        assert_eq!(identity.time, Some(1_709_251_199));
        assert_eq!(identity.account.unwrap().to_string(), "011122223333");
        assert_eq!(identity.caller.unwrap().to_string(), "444455556666");
        assert!(identity.elsewhere, "the key says another account");
        assert_eq!(identity.kind, EventKind::Data);
        assert_eq!(text(record, identity.region), "eu-west-1");
        assert_eq!(text(record, identity.name), "GetObject");
        assert_eq!(text(record, identity.principal), "arn:aws:iam::111122223333:user/a");
    }

    #[test]
    fn an_account_is_twelve_digits() {
        assert_eq!(Account::parse(b"123456789012").unwrap().to_string(), "123456789012");
        for text in ["12345678901", "1234567890123", ""] {
            assert_eq!(Account::parse(text.as_bytes()), None);
        }
        for at in 0..12 {
            for byte in 0..=u8::MAX {
                let mut text = *b"999999999999";
                text[at] = byte;
                let known =
                    byte.is_ascii_digit().then(|| std::str::from_utf8(&text).unwrap().parse().unwrap());
                assert_eq!(Account::parse(&text).map(Account::number), known, "{text:?}");
            }
        }
    }

    #[test]
    fn an_id_of_the_usual_length_is_hashed_as_any() {
        let event = "62759c1a-9d8f-4e2e-8a4b-0123456789ab";
        for (written, event) in
            [(event, event), (&event[1..], &event[1..]), (&event.replace('6', r"\u0036"), event)]
        {
            let id = read(&format!(r#"{{"eventID":"{written}","recipientAccountId":"111122223333"}}"#)).id;
            assert_eq!(id, RecordId(xxh3_128(format!("{event}/111122223333").as_bytes())));
        }
    }

    #[test]
    fn an_aggregated_event_has_its_own_names() {
        let record = r#"{"accountId":"111122223333","eventId":"x","eventCategory":"Aggregated","timeWindow":{"windowStart":"2025-11-17 19:20:00"}}"#;
        let identity = read(record);
        assert_eq!(identity.id, RecordId(xxh3_128(b"x/111122223333")));
        assert_eq!(identity.time, Some(1_763_407_200));
        assert_eq!(identity.kind, EventKind::Aggregated);
        assert_eq!(identity.account.unwrap().to_string(), "111122223333");
    }

    #[test]
    fn an_insight_is_named_by_its_details() {
        let record = r#"{"eventType":"AwsCloudTrailInsight","insightDetails":{"eventName":"RunInstances"}}"#;
        let identity = read(record);
        assert_eq!((identity.kind, text(record, identity.name)), (EventKind::Insight, "RunInstances"));
    }

    #[test]
    fn a_record_without_an_event_id_is_known_by_its_bytes() {
        let record = r#"{"eventID":7,"eventName":"x"}"#;
        let identity = read(record);
        assert!(identity.derived);
        assert_eq!(identity.id, RecordId(xxh3_128(record.as_bytes())));
        assert_eq!(identity.account.unwrap().to_string(), "000000000009");
        // A caller may be of another account than the one whose log it is.
        let called = r#"{"userIdentity":{"accountId":"444455556666"}}"#;
        let stored = r#"{"recipientAccountId":"000000000009"}"#;
        assert!([record, called, stored].iter().all(|record| !read(record).elsewhere));
    }

    #[test]
    fn escapes_are_undone_and_the_last_of_repeated_keys_counts() {
        let plain = read(r#"{"eventID":"ab","recipientAccountId":"1"}"#);
        assert_eq!(read(r#"{"eventID":"zz","eventID":"\u0061b","recipientAccountId":"1"}"#).id, plain.id);
        assert_eq!(read(r#"{"eventCategory":"d\u0061ta"}"#).kind, EventKind::Data);
    }

    #[test]
    fn old_records_have_no_category_and_strange_ones_are_other() {
        assert_eq!(read(r#"{"eventType":"AwsApiCall"}"#).kind, EventKind::Management);
        assert_eq!(read(r#"{"eventType":"AwsApiCall","managementEvent":false}"#).kind, EventKind::Data);
        assert_eq!(read(r#"{"eventType":"AwsVpceEvents"}"#).kind, EventKind::NetworkActivity);
        assert_eq!(read(r#"{"eventType":"awsvpceevent"}"#).kind, EventKind::NetworkActivity);
        assert_eq!(read(r#"{"eventType":"AwsSomethingNew"}"#).kind, EventKind::Other);
        assert_eq!(read(r#"{"eventCategory":["Data"]}"#).kind, EventKind::Other);
        assert_eq!(read(r#"{"eventCategory":7}"#).kind, EventKind::Other);
        assert_eq!(read(r#"{"eventCategory":"New"}"#).kind, EventKind::Other);
    }

    #[test]
    fn times_are_those_of_a_library() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T12:00:00Z",
            "1999-12-31T23:59:59Z",
            "2024-03-01T00:00:00Z",
            "2100-12-31T00:00:00Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert!(usual_time(text.as_bytes()).is_some(), "{text}");
            assert_eq!(
                time(text.as_bytes()),
                Some(text.parse::<jiff::Timestamp>().unwrap().as_second()),
                "{text}"
            );
        }
        assert_eq!(time(b"2024-01-01T00:00:00.750Z"), time(b"2024-01-01T00:00:00Z"));
        assert_eq!(time(b"2024-01-01T01:00:00+01:00"), time(b"2024-01-01 00:00:00"));
        // From the year 0 to 9999, each day of the year, hour and second some time.
        for seconds in (-62_167_219_200..253_402_200_000_i64).step_by(86_400 * 37 + 3_600 + 61) {
            let text = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            assert_eq!(usual_time(text.as_bytes()), (text.len() == 20).then_some(seconds), "{text}");
        }
        let usual = *b"2024-02-29T23:59:59Z";
        for at in 0..usual.len() {
            for byte in 0..=u8::MAX {
                let mut text = usual;
                text[at] = byte;
                let known =
                    std::str::from_utf8(&text).ok().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                assert!(
                    usual_time(&text).is_none_or(|time| Some(time) == known.map(|time| time.as_second()))
                );
                assert_eq!(
                    usual_time(&text).is_some(),
                    known.is_some() && text[10] == b'T' && text[19] == b'Z' && text[17] < b'6',
                    "{:?}",
                    text.escape_ascii()
                );
            }
        }
        for text in ["", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z", "yesterday"]
        {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }
}
