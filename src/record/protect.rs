//! Protection: what no rule may thin by accident.
//!
//! Read from slots, before any transform. In doubt a record is protected. Signal families and the configuration's own
//! patterns are added by whoever evaluates them; exceptions are taken out with [`Protection::without`].

use super::identity::{EventKind, has_escapes, is, string};
use super::{Alone, Identity, Kind, Leaf, Scanner, SlotId, Slots};

/// Why a record is protected: a set of reasons; empty means it may be thinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection(pub u32);

impl Protection {
    /// Any `errorCode` or `errorMessage`.
    pub const ERRORS: Protection = Protection(1);
    /// Sign-in events.
    pub const SIGNIN: Protection = Protection(1 << 1);
    /// STS.
    pub const STS: Protection = Protection(1 << 2);
    /// Root and assumed root.
    pub const ROOT: Protection = Protection(1 << 3);
    /// Management events whose `readOnly` is not `true`.
    pub const WRITES: Protection = Protection(1 << 4);
    /// Network activity with an error.
    pub const NETWORK: Protection = Protection(1 << 5);
    /// Insights.
    pub const INSIGHTS: Protection = Protection(1 << 6);
    /// Addenda.
    pub const ADDENDA: Protection = Protection(1 << 7);
    /// A signal family.
    pub const SIGNAL: Protection = Protection(1 << 8);
    /// `[protect] also`.
    pub const ALSO: Protection = Protection(1 << 9);
    /// Could not be classified.
    pub const UNCLASSIFIED: Protection = Protection(1 << 10);

    /// Every reason with its name; those before `signal` can be excepted by name.
    const NAMES: [(&'static str, Protection); 11] = [
        ("errors", Protection::ERRORS),
        ("signin", Protection::SIGNIN),
        ("sts", Protection::STS),
        ("root", Protection::ROOT),
        ("writes", Protection::WRITES),
        ("network", Protection::NETWORK),
        ("insights", Protection::INSIGHTS),
        ("addenda", Protection::ADDENDA),
        ("signal", Protection::SIGNAL),
        ("also", Protection::ALSO),
        ("unclassified", Protection::UNCLASSIFIED),
    ];

    /// Both sets.
    pub const fn with(self, other: Protection) -> Protection {
        Protection(self.0 | other.0)
    }

    /// This set less the other.
    pub const fn without(self, other: Protection) -> Protection {
        Protection(self.0 & !other.0)
    }

    /// Whether any reason holds.
    pub const fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether all reasons of the other set hold.
    pub const fn has(self, other: Protection) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the reasons, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Protection::NAMES.into_iter().filter(move |&(_, reason)| self.has(reason)).map(|(name, _)| name)
    }

    /// What a reason's name stands for, and the fields that decide.
    pub fn rule(name: &str) -> (&'static str, &'static [&'static str]) {
        match name {
            "errors" => ("any error", &["errorCode", "errorMessage"]),
            "signin" => ("a sign-in", &["eventType", "eventSource"]),
            "sts" => ("a call of STS", &["eventSource", "eventName"]),
            "root" => (
                "root, or root's rights",
                &[
                    "userIdentity.type",
                    "userIdentity.arn",
                    "userIdentity.sessionContext.sessionIssuer.type",
                    "userIdentity.sessionContext.assumedRoot",
                    "eventName",
                ],
            ),
            "writes" => ("a management event that is not surely a read", &["eventCategory", "readOnly"]),
            "network" => ("network activity with an error", &["eventCategory", "errorCode"]),
            "insights" => ("an Insights event", &["eventCategory"]),
            "addenda" => ("CloudTrail corrects an earlier event by it", &["addendum"]),
            "signal" => ("a signal family", &[]),
            "also" => ("a pattern of `[protect] also`", &[]),
            _ => (
                "it cannot be classified, or in more ways than one",
                &["eventCategory", "managementEvent", "eventType", "eventSource", "eventName"],
            ),
        }
    }

    /// The reason of a name that `[protect] except` may use.
    pub fn by_name(name: &str) -> Option<Protection> {
        let reason =
            Protection::NAMES.iter().find(|&&(known, _)| known == name).map(|&(_, reason)| reason)?;
        (reason.0 < Protection::SIGNAL.0).then_some(reason)
    }

    /// The names that `[protect] except` may use.
    pub fn exceptions() -> impl Iterator<Item = &'static str> {
        Protection::NAMES
            .into_iter()
            .filter(|(_, reason)| reason.0 < Protection::SIGNAL.0)
            .map(|(name, _)| name)
    }
}

/// The slots protection reads.
#[derive(Clone, Copy, Debug)]
pub struct ProtectSlots {
    error_code: SlotId,
    error_message: SlotId,
    /// What stands in either, where it is an object.
    error_members: [SlotId; 2],
    source: SlotId,
    event_type: SlotId,
    category: SlotId,
    management: SlotId,
    name: SlotId,
    user_type: SlotId,
    user_arn: SlotId,
    issuer_type: SlotId,
    assumed_root: SlotId,
    read_only: SlotId,
    addenda: [SlotId; 5],
}

impl ProtectSlots {
    /// Asks for the paths.
    pub fn want(slots: &mut Slots) -> ProtectSlots {
        ProtectSlots {
            error_code: slots.want("errorCode"),
            error_message: slots.want("errorMessage"),
            error_members: ["errorCode", "errorMessage"].map(|path| slots.want_below(path)),
            source: slots.want("eventSource"),
            event_type: slots.want("eventType"),
            category: slots.want("eventCategory"),
            management: slots.want("managementEvent"),
            name: slots.want("eventName"),
            user_type: slots.want("userIdentity.type"),
            user_arn: slots.want("userIdentity.arn"),
            issuer_type: slots.want("userIdentity.sessionContext.sessionIssuer.type"),
            assumed_root: slots.want("userIdentity.sessionContext.assumedRoot"),
            read_only: slots.want("readOnly"),
            addenda: [
                slots.want("addendum.reason"),
                slots.want("addendum"),
                slots.want("addendum.updatedFields"),
                slots.want("addendum.originalRequestID"),
                slots.want("addendum.originalEventID"),
            ],
        }
    }

    /// Why the record the scanner has just read is protected. Any of repeated keys will do.
    ///
    /// Source: CloudTrail User Guide, "CloudTrail record contents"; IAM User Guide, "Logging IAM and AWS STS API calls".
    pub fn read(&self, scanner: &Scanner, buffer: &[u8], identity: &Identity) -> Protection {
        let mut reasons = Protection::default();
        let mut add = |holds: bool, reason: Protection| {
            if holds {
                reasons = reasons.with(reason);
            }
        };
        let escaped = scanner.escaped();
        let there = |text: &[u8]| text != b"\"\"" && Kind::of(text) != Kind::Null;
        let error = any(scanner, buffer, self.error_code, there)
            || any(scanner, buffer, self.error_message, there)
            || self.error_members.iter().any(|&slot| scanner.first(slot).is_some());
        add(error, Protection::ERRORS);
        add(error && identity.kind == EventKind::NetworkActivity, Protection::NETWORK);

        let source = string(scanner, buffer, self.source).map(|span| span.of(buffer));
        let signed_in =
            any(scanner, buffer, self.event_type, |text| is(inside(text), escaped, "AwsConsoleSignIn"));
        add(signed_in || source.is_some_and(|text| service(text, escaped, "signin.")), Protection::SIGNIN);
        add(source.is_some_and(|text| service(text, escaped, "sts.")), Protection::STS);

        let root = |text: &[u8]| is(inside(text), escaped, "Root");
        let root = any(scanner, buffer, self.user_type, root)
            || any(scanner, buffer, self.issuer_type, root)
            || any(scanner, buffer, self.user_arn, |text| inside(text).ends_with(b":root"))
            || any(scanner, buffer, self.assumed_root, |text| is(inside(text), escaped, "true"))
            || identity.name.is_some_and(|name| is(name.of(buffer), escaped, "AssumeRoot"));
        add(root, Protection::ROOT);

        // Said once, and not of an array's element.
        let reads = |leaf: Leaf| leaf.text(buffer) == b"true" && is_member(buffer, leaf);
        let writes = identity.kind == EventKind::Management
            && !matches!(scanner.alone(self.read_only), Alone::One((_, leaf)) if reads(leaf));
        add(writes, Protection::WRITES);
        add(identity.kind == EventKind::Insight, Protection::INSIGHTS);
        add(self.addenda.iter().any(|&slot| any(scanner, buffer, slot, there)), Protection::ADDENDA);

        // Insights name their API elsewhere, aggregated events have none.
        let named = match identity.kind {
            EventKind::Insight => true,
            EventKind::Aggregated => source.is_some(),
            EventKind::Other => false,
            _ => identity.name.is_some() && source.is_some(),
        };
        // What tells the kind is said once, and does not contradict itself.
        let told = [self.source, self.event_type, self.category, self.management, self.name];
        let twice = told.iter().any(|&slot| scanner.alone(slot) == Alone::Several);
        let contradicts =
            identity.kind == EventKind::Data && any(scanner, buffer, self.management, |text| text == b"true");
        add(!named || twice || contradicts || scanner.truncated_index(), Protection::UNCLASSIFIED);
        reasons
    }
}

/// The text between a string's quotes; other values as they are.
fn inside(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}

/// Whether an event source is this service, in any partition, whatever the case.
fn service(text: &[u8], escaped: bool, prefix: &str) -> bool {
    let starts = |text: &[u8]| {
        text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    starts(text) || (escaped && has_escapes(text) && starts(super::path::unescape(text).as_bytes()))
}

/// Whether a leaf is the value of a key.
fn is_member(buffer: &[u8], leaf: Leaf) -> bool {
    buffer.get(..leaf.start as usize).is_some_and(|before| before.trim_ascii_end().ends_with(b":"))
}

/// Whether a leaf of the slot passes.
#[inline]
fn any(scanner: &Scanner, buffer: &[u8], slot: SlotId, test: impl Fn(&[u8]) -> bool) -> bool {
    match scanner.alone(slot) {
        Alone::None => false,
        Alone::One((_, leaf)) => test(leaf.text(buffer)),
        Alone::Several => any_of(scanner, buffer, slot, &test),
    }
}

#[cold]
fn any_of(scanner: &Scanner, buffer: &[u8], slot: SlotId, test: &dyn Fn(&[u8]) -> bool) -> bool {
    let leaves = scanner.leaves();
    scanner.hits(slot).any(|hit| leaves.get(hit as usize).is_some_and(|leaf| test(leaf.text(buffer))))
}

impl Leaf {
    /// The value's text in the window's buffer.
    #[inline]
    pub fn text(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::identity::{IdentitySlots, ObjectFacts};
    use crate::record::{Scan, ScanLimits, Span};

    fn names(record: &str) -> String {
        let mut slots = Slots::default();
        let identity = IdentitySlots::want(&mut slots);
        let protect = ProtectSlots::want(&mut slots);
        // Whoever else wants the same takes nothing from it.
        ProtectSlots::want(&mut slots);
        let mut scanner = Scanner::new(Arc::new(slots), ScanLimits::default());
        assert_eq!(scanner.scan(record.as_bytes(), 0), Scan::Record { end: record.len() });
        let span = Span { start: 0, end: u32::try_from(record.len()).unwrap() };
        let identity = identity.read(&scanner, record.as_bytes(), span, &ObjectFacts::default());
        protect.read(&scanner, record.as_bytes(), &identity).names().collect::<Vec<_>>().join(" ")
    }

    /// A record that nothing protects, with further members.
    fn read(members: &str) -> String {
        names(&format!(
            r#"{{"eventSource":"s3.amazonaws.com","eventName":"GetObject","eventCategory":"Data","readOnly":true{members}}}"#
        ))
    }

    fn management(members: &str) -> String {
        names(&format!(
            r#"{{"eventSource":"ec2.amazonaws.com","eventName":"DescribeHosts","eventCategory":"Management"{members}}}"#
        ))
    }

    #[test]
    fn a_successful_read_may_be_thinned() {
        assert_eq!(read(r#","errorCode":null,"errorMessage":"","addendum":null"#), "");
        assert_eq!(management(r#","readOnly":true"#), "");
    }

    #[test]
    fn failures_are_protected() {
        assert_eq!(read(r#","errorCode":"AccessDenied""#), "errors");
        assert_eq!(read(r#","errorMessage":"Failed authentication""#), "errors");
        assert_eq!(read(r#","errorCode":"AccessDenied","errorCode":null"#), "errors");
        for odd in [r#"{"a":1}"#, r#"{"a":{"b":[null]}}"#, r#"{"":""}"#, r#"[{"a":"b"}]"#, "[1]", "{}", "0"] {
            assert_eq!(read(&format!(r#","errorCode":{odd}"#)), "errors", "{odd}");
            assert_eq!(read(&format!(r#","error\u004dessage":{odd}"#)), "errors", "{odd}");
        }
        assert_eq!(read(r#","errorCode":"","errorMessage":null,"x":{"errorCode":{"a":1}}"#), "");
        let network = r#"{"eventType":"AwsVpceEvents","eventSource":"s3.amazonaws.com","eventName":"x","errorCode":"VpceAccessDenied"}"#;
        assert_eq!(names(network), "errors network");
    }

    #[test]
    fn management_events_that_are_not_surely_reads_are_protected() {
        for members in [
            "",
            r#","readOnly":false"#,
            r#","readOnly":"true""#,
            r#","readOnly":null"#,
            r#","readOnly":false,"readOnly":true"#,
            r#","readOnly":[true]"#,
            r#","readOnly":[ true]"#,
            r#","readOnly":[[],true]"#,
            r#","readOnly":{"":true}"#,
        ] {
            assert_eq!(management(members), "writes", "{members}");
        }
        assert_eq!(management(r#","readOnly" : true"#), "");
        assert_eq!(read(r#","readOnly":false"#), "", "a data event");
    }

    #[test]
    fn sign_in_sts_and_root_are_protected() {
        assert_eq!(read(r#","eventType":"AwsConsoleSignin""#), "signin");
        let of = |source: &str| {
            names(&format!(r#"{{"eventSource":"{source}","eventName":"GetObject","eventCategory":"Data"}}"#))
        };
        assert_eq!(of("signin.amazonaws.com"), "signin");
        assert_eq!(of(r"s\u0074s.amazonaws.com"), "sts");
        assert_eq!(of("sts.amazonaws.com.cn"), "sts");
        assert_eq!(read(r#","userIdentity":{"type":"Root"}"#), "root");
        assert_eq!(read(r#","userIdentity":{"arn":"arn:aws:iam::111122223333:root"}"#), "root");
        assert_eq!(read(r#","userIdentity":{"sessionContext":{"assumedRoot":"true"}}"#), "root");
        assert_eq!(read(r#","userIdentity":{"sessionContext":{"assumedRoot":true}}"#), "root");
        assert_eq!(read(r#","userIdentity":{"sessionContext":{"sessionIssuer":{"type":"Root"}}}"#), "root");
    }

    #[test]
    fn a_record_that_is_of_two_kinds_is_protected() {
        for again in [
            r#","eventSource":"signin.amazonaws.com""#,
            r#","eventSource":"s3.amazonaws.com""#,
            r#","eventCategory":"Insight""#,
            r#","eventCategory":"Management""#,
            r#","eventType":"AwsApiCall","event\u0054ype":"AwsConsoleSignIn""#,
            r#","managementEvent":false,"managementEvent":false"#,
            r#","managementEvent":true"#,
            r#","eventName":"AssumeRoot""#,
        ] {
            let after = read(again);
            assert!(after.ends_with("unclassified"), "{again}: {after}");
            let again = again.trim_start_matches(',');
            let before = names(&format!(
                r#"{{{again},"eventSource":"s3.amazonaws.com","eventName":"GetObject","eventCategory":"Data","readOnly":true}}"#
            ));
            assert!(before.ends_with("unclassified"), "{again}: {before}");
        }
        assert_eq!(read(r#","managementEvent":false,"eventType":"AwsApiCall""#), "");
    }

    #[test]
    fn insights_addenda_and_what_cannot_be_classified_are_protected() {
        assert_eq!(names(r#"{"eventCategory":"Insight","insightDetails":{"state":"Start"}}"#), "insights");
        assert_eq!(read(r#","addendum":{"reason":"UPDATED_DATA"}"#), "addenda");
        assert_eq!(read(r#","addendum":{}"#), "addenda");
        assert_eq!(read(r#","eventCategory":7"#), "unclassified");
        assert_eq!(read(r#","eventCategory":"Novel""#), "unclassified");
        assert_eq!(read(r#","eventName":"""#), "unclassified");
        assert_eq!(names("{}"), "writes unclassified");
        let aggregated = r#"{"eventCategory":"Aggregated","eventSource":"s3.amazonaws.com","eventId":"x"}"#;
        assert_eq!(names(aggregated), "");
    }

    #[test]
    fn exceptions_go_by_name() {
        for name in Protection::exceptions() {
            assert_eq!(Protection::by_name(name).unwrap().names().collect::<Vec<_>>(), [name]);
        }
        assert_eq!(Protection::by_name("signal"), None);
        let both = Protection::ERRORS.with(Protection::STS);
        assert_eq!(both.without(Protection::ERRORS), Protection::STS);
    }
}
