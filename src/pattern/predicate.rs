//! Named predicates: what an event pattern cannot say, decided in code.
//!
//! A signal family (`transforms/signals/*/family.toml`) names a predicate to set its finer tag: the family's pattern
//! protects by name, the predicate looks inside. The set is closed. A predicate never panics, never guesses: what it
//! cannot read is [`Decision::Unknown`], and then the broad tag stands alone.
//!
//! | name | yes when, at the given paths |
//! | --- | --- |
//! | `policy_public` | a resource policy allows everyone and no condition says who or from where |
//! | `policy_admin` | a policy allows every action on every resource |
//! | `cidr_any` | the ranges together hold every IPv4 or every IPv6 address |
//! | `grant_all_users` | an ACL, canned or as grants, names everyone or every AWS account |
//! | `public_access_block_off` | one of the four S3 public access blocks is off |

mod asked;
mod policy;

use asked::Asked;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

/// Says what a predicate found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The record says so.
    Yes,
    /// The record says otherwise.
    No,
    /// The record does not say, or not in a form we read.
    Unknown,
}

impl Decision {
    /// Combines alternatives: one `Yes` is enough, and a doubt outweighs a `No`.
    fn or(self, other: Decision) -> Decision {
        match (self, other) {
            (Decision::Yes, _) | (_, Decision::Yes) => Decision::Yes,
            (Decision::Unknown, _) | (_, Decision::Unknown) => Decision::Unknown,
            (Decision::No, Decision::No) => Decision::No,
        }
    }

    /// Folds alternatives; no alternative at all is `No`.
    fn any(decisions: impl IntoIterator<Item = Decision>) -> Decision {
        decisions.into_iter().fold(Decision::No, Decision::or)
    }
}

/// Names one question about a record; the closed set a family may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// A resource policy (object, or JSON in a string) allows everyone without a restricting condition.
    PolicyPublic,
    /// A policy (object, or JSON in a string) allows every action on every resource.
    PolicyAdmin,
    /// Address ranges that together hold every address: prefix length 0, or halves such as `0.0.0.0/1` + `128.0.0.0/1`.
    CidrAny,
    /// An S3 ACL that names everyone or every AWS account, as canned ACL, header or grant.
    GrantAllUsers,
    /// An S3 `PublicAccessBlockConfiguration` with at least one block off.
    PublicAccessBlockOff,
}

/// Every predicate with the name families use.
const NAMES: [(&str, Predicate); 5] = [
    ("policy_public", Predicate::PolicyPublic),
    ("policy_admin", Predicate::PolicyAdmin),
    ("cidr_any", Predicate::CidrAny),
    ("grant_all_users", Predicate::GrantAllUsers),
    ("public_access_block_off", Predicate::PublicAccessBlockOff),
];

impl Predicate {
    /// Finds a predicate by the name a family gives it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Predicate> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, predicate)| *predicate)
    }

    /// The name families use.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// Lists the names, in the order of the table above.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// A predicate and where it looks.
#[derive(Debug, Clone)]
pub struct Question {
    predicate: Predicate,
    /// Dotted paths; arrays on the way are walked element by element. The predicate sees everything found at any of them
    /// together.
    at: Vec<String>,
    /// The paths, and those by which CloudTrail says that it cut a field.
    asked: Asked,
}

impl Question {
    /// Asks a predicate of what lies at dotted paths.
    #[must_use]
    pub fn new(predicate: Predicate, at: Vec<String>) -> Question {
        let mut asked = Asked::default();
        for path in &at {
            asked.add(path);
            asked.add(&format!("{}.{OMITTED}", top(path)));
        }
        Question { predicate, at, asked }
    }

    /// The predicate.
    #[must_use]
    pub fn predicate(&self) -> Predicate {
        self.predicate
    }

    /// The paths, as they were given.
    #[must_use]
    pub fn at(&self) -> &[String] {
        &self.at
    }

    /// Decides about one record: its own text, one JSON object.
    ///
    /// Cost: reads the whole record, and makes a tree of what the paths lead to (depth at most 128). Off the hot path: only
    /// records that a family's pattern already matched get here.
    #[must_use]
    pub fn decide(&self, record_json: &[u8]) -> Decision {
        let Ok(record) = self.asked.read(record_json) else { return Decision::Unknown };
        let mut found = Vec::new();
        let mut hidden = self.at.is_empty();
        for path in &self.at {
            collect(&record, path, &mut found);
            hidden |= is_hidden(&record, path);
        }
        if found.is_empty() {
            // Nothing there is an answer only where the part of the record that would hold it can be read.
            return if hidden || self.predicate == Predicate::PublicAccessBlockOff {
                Decision::Unknown
            } else {
                Decision::No
            };
        }
        match self.predicate {
            Predicate::PolicyPublic => Decision::any(found.into_iter().map(policy::public)),
            Predicate::PolicyAdmin => Decision::any(found.into_iter().map(policy::admin)),
            Predicate::CidrAny => cidr_any(&found),
            Predicate::GrantAllUsers => Decision::any(found.into_iter().map(grant_all_users)),
            Predicate::PublicAccessBlockOff => Decision::any(found.into_iter().map(public_access_block_off)),
        }
    }
}

/// Gathers what lies at a dotted path, walking through arrays on the way and at the end.
fn collect<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    if let Value::Array(elements) = value {
        for element in elements {
            collect(element, path, found);
        }
        return;
    }
    if path.is_empty() {
        if !value.is_null() {
            found.push(value);
        }
        return;
    }
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some(member) = value.get(head) {
        collect(member, rest, found);
    }
}

/// Says whether the top-level field of a path is null, absent or cut by CloudTrail (`"omitted": true`).
///
/// Source: CloudTrail User Guide, 'CloudTrail record contents', on fields above their size limit.
fn is_hidden(record: &Value, path: &str) -> bool {
    match record.get(top(path)) {
        None | Some(Value::Null) => true,
        Some(field) => field.get(OMITTED).is_some_and(|omitted| *omitted == Value::Bool(true)),
    }
}

/// What CloudTrail says of a field that it cut.
const OMITTED: &str = "omitted";

/// The top-level field of a path.
fn top(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

/// Decides whether ranges together hold all of one address family.
fn cidr_any(found: &[&Value]) -> Decision {
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    let mut doubt = Decision::No;
    for value in found {
        match value.as_str().map(|text| text.trim().parse::<IpNet>()) {
            Some(Ok(IpNet::V4(range))) => v4.push(range),
            Some(Ok(IpNet::V6(range))) => v6.push(range),
            // An empty string is a parameter that was not given.
            _ if value.as_str() == Some("") => {}
            _ => doubt = Decision::Unknown,
        }
    }
    if covers_v4(&v4) || covers_v6(&v6) { Decision::Yes } else { doubt }
}

/// Says whether the ranges together hold every IPv4 address.
fn covers_v4(ranges: &[Ipv4Net]) -> bool {
    Ipv4Net::aggregate(&ranges.iter().map(Ipv4Net::trunc).collect())
        .iter()
        .any(|range| range.prefix_len() == 0)
}

/// Says whether the ranges together hold every IPv6 address.
fn covers_v6(ranges: &[Ipv6Net]) -> bool {
    Ipv6Net::aggregate(&ranges.iter().map(Ipv6Net::trunc).collect())
        .iter()
        .any(|range| range.prefix_len() == 0)
}

/// Decides whether an ACL, in any of the forms records carry, names everyone or every AWS account.
///
/// Source: S3 User Guide, 'Access control list (ACL) overview' (canned ACLs, predefined groups). Records carry canned
/// ACLs as array or string, `x-amz-grant-*` headers as `uri=…` text, grants as one object or a list.
fn grant_all_users(value: &Value) -> Decision {
    const CANNED: [&str; 3] = ["public-read", "public-read-write", "authenticated-read"];
    const GROUPS: [&str; 2] = ["/groups/global/AllUsers", "/groups/global/AuthenticatedUsers"];
    match value {
        Value::String(text) => {
            let open = CANNED.contains(&text.trim()) || GROUPS.iter().any(|group| text.contains(group));
            if open { Decision::Yes } else { Decision::No }
        }
        // Depth is bounded by the parser.
        Value::Array(elements) => Decision::any(elements.iter().map(grant_all_users)),
        Value::Object(members) => Decision::any(members.values().map(grant_all_users)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Decision::No,
    }
}

/// Decides whether a `PublicAccessBlockConfiguration` leaves one of its four blocks off.
///
/// A block that is not mentioned is `Unknown`: records do not say what S3 made of it.
///
/// Source: Amazon S3 API Reference, `PublicAccessBlockConfiguration`.
fn public_access_block_off(value: &Value) -> Decision {
    const BLOCKS: [&str; 4] =
        ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    Decision::any(BLOCKS.iter().map(|block| match value.get(block) {
        Some(Value::Bool(on)) => {
            if *on {
                Decision::No
            } else {
                Decision::Yes
            }
        }
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Decision::Yes,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Decision::No,
        _ => Decision::Unknown,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{No, Unknown, Yes};

    fn decide(predicate: Predicate, at: &[&str], record: &[u8]) -> Decision {
        Question::new(predicate, at.iter().map(|&path| path.to_owned()).collect()).decide(record)
    }

    #[track_caller]
    fn check(predicate: Predicate, at: &[&str], table: &[(&str, Decision)]) {
        for (record, expected) in table {
            assert_eq!(
                decide(predicate, at, record.as_bytes()),
                *expected,
                "{predicate:?} at {at:?} of {record}"
            );
        }
    }

    #[test]
    fn names_and_predicates_are_one_to_one() {
        let names: std::collections::BTreeSet<_> = Predicate::names().collect();
        assert_eq!(names.len(), NAMES.len());
        for name in names {
            assert!(Predicate::by_name(name).is_some(), "{name}");
        }
        assert_eq!(Predicate::by_name("policy"), None);
    }

    #[test]
    fn ranges_that_hold_every_address_are_found() {
        let at = ["r.items.cidrIp", "r.items.v6.items.cidrIpv6"];
        check(
            Predicate::CidrAny,
            &at,
            &[
                (r#"{"r":{"items":[{"cidrIp":"0.0.0.0/0"}]}}"#, Yes),
                (r#"{"r":{"items":{"cidrIp":"10.1.2.3/0"}}}"#, Yes),
                (r#"{"r":{"items":[{"cidrIp":"10.0.0.0/8"},{"cidrIp":" 0.0.0.0/0 "}]}}"#, Yes),
                (r#"{"r":{"items":[{"cidrIp":"0.0.0.0/1"},{"cidrIp":"128.0.0.0/1"}]}}"#, Yes),
                (
                    r#"{"r":{"items":[{"cidrIp":"128.0.0.0/1"},{"cidrIp":"64.0.0.0/2"},{"cidrIp":"0.0.0.0/2"}]}}"#,
                    Yes,
                ),
                (r#"{"r":{"items":[{"cidrIp":"0.0.0.0/1"}]}}"#, No),
                (r#"{"r":{"items":[{"cidrIp":"0.0.0.0/16"}]}}"#, No),
                (r#"{"r":{"items":[{"v6":{"items":[{"cidrIpv6":"::/0"}]}}]}}"#, Yes),
                (r#"{"r":{"items":[{"v6":{"items":[{"cidrIpv6":"0:0:0:0:0:0:0:0/0"}]}}]}}"#, Yes),
                (r#"{"r":{"items":[{"v6":{"items":[{"cidrIpv6":"::/1"},{"cidrIpv6":"8000::/1"}]}}]}}"#, Yes),
                (r#"{"r":{"items":[{"cidrIp":"0.0.0.0/1","v6":{"items":[{"cidrIpv6":"8000::/1"}]}}]}}"#, No),
                (r#"{"r":{"items":[{"v6":{}}]}}"#, No),
                (r#"{"r":{"items":{}}}"#, No),
                (r#"{"r":{}}"#, No),
                (r#"{"r":{"items":[{"cidrIp":""}]}}"#, No),
                (r#"{"r":{"items":[{"cidrIp":"pl-6da54004"}]}}"#, Unknown),
                (r#"{"r":{"items":[{"cidrIp":"pl-6da54004"},{"cidrIp":"0.0.0.0/0"}]}}"#, Yes),
                (r#"{"r":{"items":[{"cidrIp":7}]}}"#, Unknown),
                (r#"{"r":null}"#, Unknown),
                (r#"{"r":{"omitted":true}}"#, Unknown),
                (r#"{}"#, Unknown),
                ("not json", Unknown),
            ],
        );
    }

    #[test]
    fn acls_that_name_everyone_are_found_in_every_form() {
        let at = ["p.x-amz-acl", "p.AccessControlPolicy", "p.accessControlList"];
        let all = "http://acs.amazonaws.com/groups/global/AllUsers";
        let any = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
        let grant = |grant: &str| {
            format!(r#"{{"p":{{"AccessControlPolicy":{{"AccessControlList":{{"Grant":{grant}}}}}}}}}"#)
        };
        let one = grant(&format!(r#"{{"Grantee":{{"URI":"{all}"}},"Permission":"READ"}}"#));
        let many = grant(&format!(r#"[{{"Grantee":{{"ID":"a"}}}},{{"Grantee":{{"URI":"{any}"}}}}]"#));
        let log = grant(r#"[{"Grantee":{"URI":"http://acs.amazonaws.com/groups/s3/LogDelivery"}}]"#);
        let header = format!(r#"{{"p":{{"accessControlList":{{"x-amz-grant-write-acp":"uri={any}"}}}}}}"#);
        check(
            Predicate::GrantAllUsers,
            &at,
            &[
                (r#"{"p":{"x-amz-acl":["public-read"]}}"#, Yes),
                (r#"{"p":{"x-amz-acl":"public-read-write"}}"#, Yes),
                (r#"{"p":{"x-amz-acl":["authenticated-read"]}}"#, Yes),
                (r#"{"p":{"x-amz-acl":["private"]}}"#, No),
                (r#"{"p":{"x-amz-acl":["bucket-owner-full-control"]}}"#, No),
                (r#"{"p":{"x-amz-acl":[]}}"#, No),
                (r#"{"p":{"AccessControlPolicy":{}}}"#, No),
                (r#"{"p":{"AccessControlPolicy":{"AccessControlList":{}}}}"#, No),
                (&one, Yes),
                (&many, Yes),
                (&log, No),
                (&header, Yes),
                (r#"{"p":null}"#, Unknown),
            ],
        );
    }

    #[test]
    fn one_block_off_is_enough() {
        let at = ["p.c"];
        check(
            Predicate::PublicAccessBlockOff,
            &at,
            &[
                (
                    r#"{"p":{"c":{"BlockPublicAcls":true,"IgnorePublicAcls":true,"BlockPublicPolicy":true,"RestrictPublicBuckets":true}}}"#,
                    No,
                ),
                (
                    r#"{"p":{"c":{"BlockPublicAcls":true,"IgnorePublicAcls":true,"BlockPublicPolicy":true,"RestrictPublicBuckets":false}}}"#,
                    Yes,
                ),
                (r#"{"p":{"c":{"BlockPublicAcls":"false"}}}"#, Yes),
                (r#"{"p":{"c":{"BlockPublicAcls":true}}}"#, Unknown),
                (r#"{"p":{"c":{}}}"#, Unknown),
                (r#"{"p":{}}"#, Unknown),
            ],
        );
    }

    #[test]
    fn deep_and_broken_records_are_unknown() {
        let deep = format!(r#"{{"p":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for name in Predicate::names() {
            let predicate = Predicate::by_name(name).unwrap();
            for text in [deep.as_str(), "", "{", "[]", "null", "{}", "\u{0}"] {
                assert_eq!(decide(predicate, &["p"], text.as_bytes()), Unknown, "{name}");
            }
            assert_eq!(decide(predicate, &["p"], b"{\"p\":\"\xff\"}"), Unknown);
            assert_eq!(decide(predicate, &[], b"{\"p\":1}"), Unknown);
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_a_predicate_panic(text in r#"[{}\[\]",:*/. 0-9a-zA-Z$-]{0,80}"#, value in r#"[*?$/:.{}a-z0-9]{0,24}"#) {
            let value = serde_json::Value::String(value);
            let condition = |operator: &str, key: &str| {
                serde_json::json!({ "p": { "Statement": {
                    "Effect": "Allow", "Principal": { "AWS": [value] }, "Condition": { operator: { key: value } },
                } } })
            };
            let records = [
                text.clone(),
                serde_json::json!({ "p": text }).to_string(),
                serde_json::json!({ "p": [value, { "p": value }] }).to_string(),
                condition("IpAddress", "aws:SourceIp").to_string(),
                condition("ArnLike", "aws:SourceArn").to_string(),
            ];
            for (_, predicate) in NAMES {
                for record in &records {
                    std::hint::black_box(decide(predicate, &["p", "p.p"], record.as_bytes()));
                }
            }
        }
    }
}
