//! Reads policies: does one allow everyone, does one allow everything.
//!
//! A policy comes as an object or as JSON inside a string, `Statement` as an object or a list, `Principal` as `"*"`,
//! `{"AWS": "*"}` or `{"AWS": ["*"]}`.
//!
//! What counts as public follows S3's own rule (S3 User Guide, 'Blocking public access', section 'The meaning of
//! "public"'): a statement that allows everyone is not public when a condition holds the caller or its place to a fixed
//! value. Conditions of one statement must all hold, so one that restricts is enough. Read strictly:
//!
//! - keys that say who or from where (`aws:SourceArn`, `aws:PrincipalOrgID`, `aws:SourceVpce`, `aws:SourceIp` …)
//!   restrict when every value is fixed; `*`, an ARN of any account, `0.0.0.0/0` and ranges broader than /8 (IPv6: /32)
//!   do not;
//! - keys that say only how or what (`aws:SecureTransport`, `s3:prefix`, `aws:Referer` …) never restrict;
//! - any other key, `…IfExists`, `ForAllValues:…` and `Null` (true also for a caller that sends nothing) leave a doubt:
//!   `Unknown`, unless another condition restricts;
//! - a negated operator (`StringNotEquals` …) allows all but a few: it does not restrict.
//!
//! `Deny` statements are not worked out, but one that shuts out all but fixed callers turns a yes into `Unknown`.

use ipnet::IpNet;
use serde_json::Value;

use super::{Decision, covers_v4, covers_v6};

/// Decides whether a resource policy allows everyone.
pub(super) fn public(policy: &Value) -> Decision {
    with_statements(policy, |statements| {
        let open = Decision::any(statements.iter().map(|statement| statement_public(statement)));
        if open == Decision::Yes && statements.iter().any(|statement| shuts_out(statement)) {
            return Decision::Unknown;
        }
        open
    })
}

/// Decides whether a policy allows every action on every resource.
pub(super) fn admin(policy: &Value) -> Decision {
    with_statements(policy, |statements| {
        Decision::any(statements.iter().map(|statement| {
            let every = |name, wide: &[&str]| {
                member(statement, name).is_some_and(|value| texts(value).any(|text| wide.contains(&text)))
            };
            let action = every("Action", &["*", "*:*"]) || member(statement, "NotAction").is_some();
            if !is_effect(statement, "Allow") || !action || !every("Resource", &["*"]) {
                Decision::No
            } else if conditions(statement).next().is_some() {
                Decision::Unknown
            } else {
                Decision::Yes
            }
        }))
    })
}

/// Opens a policy, in a string or not, and hands on its statements.
fn with_statements(policy: &Value, decide: impl Fn(&[&Value]) -> Decision) -> Decision {
    let parsed;
    let policy = match policy {
        // An empty policy is how services record that one was removed.
        Value::String(text) if text.trim().is_empty() => return Decision::No,
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => {
                parsed = value;
                &parsed
            }
            Err(_) => return Decision::Unknown,
        },
        other => other,
    };
    match policy {
        Value::Object(members) if members.is_empty() => Decision::No,
        Value::Object(_) => match member(policy, "Statement") {
            Some(Value::Array(list)) if list.iter().all(Value::is_object) => {
                decide(&list.iter().collect::<Vec<_>>())
            }
            Some(one @ Value::Object(_)) => decide(&[one]),
            _ => Decision::Unknown,
        },
        _ => Decision::Unknown,
    }
}

/// Decides whether one statement allows everyone.
fn statement_public(statement: &Value) -> Decision {
    if is_effect(statement, "Deny") {
        return Decision::No;
    }
    if !is_effect(statement, "Allow") {
        return Decision::Unknown;
    }
    let who = everyone(statement);
    if who == Decision::No {
        return Decision::No;
    }
    let mut open = who;
    for (operator, key, values) in conditions(statement) {
        match hold(operator, key, values) {
            Hold::Fixed => return Decision::No,
            Hold::Loose => {}
            Hold::Unclear => open = Decision::Unknown,
        }
    }
    open
}

/// Says whether a `Deny` shuts out everyone but callers held to fixed values.
fn shuts_out(statement: &Value) -> bool {
    is_effect(statement, "Deny")
        && everyone(statement) != Decision::No
        && conditions(statement).any(|(operator, key, values)| match Operator::read(operator) {
            Operator::Negated(plain) => matches!(hold(&plain, key, values), Hold::Fixed),
            _ => false,
        })
}

/// Decides whether a statement's principal is everyone.
fn everyone(statement: &Value) -> Decision {
    // Everyone but the named ones.
    if member(statement, "NotPrincipal").is_some() {
        return Decision::Yes;
    }
    match member(statement, "Principal") {
        // An identity policy has none: it speaks of whom it is attached to.
        None => Decision::No,
        Some(Value::String(text)) => name_is_everyone(text),
        Some(Value::Object(kinds)) => Decision::any(kinds.iter().map(|(kind, names)| {
            let found = Decision::any(texts(names).map(name_is_everyone));
            match found {
                Decision::Yes if !kind.eq_ignore_ascii_case("AWS") && kind != "*" => Decision::Unknown,
                other => other,
            }
        })),
        Some(_) => Decision::Unknown,
    }
}

/// Reads one principal name. A `*` inside a longer name is not valid there; AWS would refuse it.
fn name_is_everyone(name: &str) -> Decision {
    match name {
        "*" => Decision::Yes,
        name if name.contains('*') => Decision::Unknown,
        _ => Decision::No,
    }
}

/// Says how much a condition narrows who may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The caller, or its place, is held to fixed values.
    Fixed,
    /// It does not narrow who may come.
    Loose,
    /// We cannot say.
    Unclear,
}

/// Sorts condition operators by what their truth says.
#[derive(Debug, PartialEq, Eq)]
enum Operator {
    /// True when the key has one of the values.
    Plain,
    /// True when it has none of them; holds the operator without its negation.
    Negated(String),
    /// True also when the key is not sent, or not an operator we know.
    Unclear,
}

impl Operator {
    fn read(text: &str) -> Operator {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("foranyvalue:").unwrap_or(&lower);
        let plain = [
            "stringequals",
            "stringequalsignorecase",
            "stringlike",
            "arnequals",
            "arnlike",
            "ipaddress",
            "bool",
        ];
        if plain.contains(&name) {
            return Operator::Plain;
        }
        // `…IfExists` on a negation changes nothing: a missing key makes a negation true anyway.
        let positive = name.strip_suffix("ifexists").unwrap_or(name).replacen("not", "", 1);
        if name.contains("not") && plain.contains(&positive.as_str()) {
            return Operator::Negated(positive);
        }
        Operator::Unclear
    }
}

/// Says how one condition (`operator: { key: values }`) narrows who may come.
fn hold(operator: &str, key: &str, values: &Value) -> Hold {
    let key = key.to_ascii_lowercase();
    let about = About::read(&key);
    match (Operator::read(operator), about) {
        (_, About::Manner) | (Operator::Negated(_), About::Caller | About::Address) => Hold::Loose,
        (Operator::Plain, About::Address) => addresses(values),
        (Operator::Plain, About::Caller) => weakest(texts(values).map(fixed)),
        (Operator::Plain, About::Service) => {
            if texts(values).all(|text| text.eq_ignore_ascii_case("true")) {
                Hold::Fixed
            } else {
                Hold::Unclear
            }
        }
        _ => Hold::Unclear,
    }
}

/// Sorts condition keys by what they speak about.
#[derive(Debug, Clone, Copy)]
enum About {
    /// Who calls, or on whose behalf.
    Caller,
    /// The address it calls from.
    Address,
    /// Whether an AWS service itself calls.
    Service,
    /// How, when or what is asked: anyone can comply.
    Manner,
    /// Not known here.
    Unknown,
}

impl About {
    /// Reads a key in lower case (condition keys ignore case).
    ///
    /// Source: IAM User Guide, 'AWS global condition context keys'; S3, KMS and SNS pages of the Service Authorization
    /// Reference.
    fn read(key: &str) -> About {
        match key {
            "aws:sourceip" | "aws:vpcsourceip" => About::Address,
            "aws:principalisawsservice" => About::Service,
            "aws:principalarn"
            | "aws:principalaccount"
            | "aws:principalorgid"
            | "aws:principalorgpaths"
            | "aws:principalservicename"
            | "aws:principalservicenameslist"
            | "aws:userid"
            | "aws:sourcearn"
            | "aws:sourceaccount"
            | "aws:sourceorgid"
            | "aws:sourceorgpaths"
            | "aws:sourceowner"
            | "aws:sourcevpc"
            | "aws:sourcevpcarn"
            | "aws:sourcevpce"
            | "aws:vpceaccount"
            | "aws:vpceorgid"
            | "aws:vpceorgpaths"
            | "kms:calleraccount"
            | "s3:dataaccesspointaccount"
            | "s3:dataaccesspointarn" => About::Caller,
            "aws:securetransport"
            | "aws:currenttime"
            | "aws:epochtime"
            | "aws:referer"
            | "aws:useragent"
            | "aws:requestedregion"
            | "aws:resourceaccount"
            | "aws:resourceorgid"
            | "aws:resourceorgpaths"
            | "aws:multifactorauthpresent"
            | "aws:multifactorauthage"
            | "aws:tagkeys"
            | "s3:prefix"
            | "s3:delimiter"
            | "s3:max-keys"
            | "s3:x-amz-acl"
            | "s3:x-amz-server-side-encryption"
            | "s3:tlsversion"
            | "s3:resourceaccount"
            | "lambda:functionurlauthtype" => About::Manner,
            key if [
                "aws:requesttag/",
                "aws:resourcetag/",
                "s3:existingobjecttag/",
                "s3:requestobjecttag/",
            ]
            .iter()
            .any(|prefix| key.starts_with(prefix)) =>
            {
                About::Manner
            }
            _ => About::Unknown,
        }
    }
}

/// Takes the weakest of alternatives; none at all can never be true, which restricts.
fn weakest(holds: impl Iterator<Item = Hold>) -> Hold {
    holds.fold(Hold::Fixed, |weakest, hold| match (weakest, hold) {
        (Hold::Loose, _) | (_, Hold::Loose) => Hold::Loose,
        (Hold::Unclear, _) | (_, Hold::Unclear) => Hold::Unclear,
        (Hold::Fixed, Hold::Fixed) => Hold::Fixed,
    })
}

/// Says whether one value of a caller key is fixed.
fn fixed(text: &str) -> Hold {
    if text.contains("${") {
        // The owner's own account or organisation, as AWS's examples write it.
        let own = ["${aws:ResourceAccount}", "${aws:ResourceOrgID}", "${aws:ResourceOrgPaths}"];
        return if own.iter().any(|variable| text.eq_ignore_ascii_case(variable)) {
            Hold::Fixed
        } else {
            Hold::Unclear
        };
    }
    if !text.contains(['*', '?']) {
        return Hold::Fixed;
    }
    if text.chars().all(|character| character == '*') {
        return Hold::Loose;
    }
    let mut fields = text.splitn(6, ':');
    match (fields.next(), fields.nth(3), fields.next()) {
        (Some("arn"), Some(account), _) if account.len() == 12 && !account.contains(['*', '?']) => {
            Hold::Fixed
        }
        (Some("arn"), Some(account), _) if account.contains(['*', '?']) => Hold::Loose,
        (Some("arn"), Some(_), Some("*")) => Hold::Loose,
        _ => Hold::Unclear,
    }
}

/// Says whether a list of addresses and ranges is narrow.
fn addresses(values: &Value) -> Hold {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for text in texts(values) {
        match text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)) {
            Ok(IpNet::V4(range)) => v4.push(range),
            Ok(IpNet::V6(range)) => v6.push(range),
            Err(_) => return Hold::Unclear,
        }
    }
    let broad = v4.iter().any(|range| range.prefix_len() < 8)
        || v6.iter().any(|range| range.prefix_len() < 32 && !range.addr().is_unique_local())
        || covers_v4(&v4)
        || covers_v6(&v6);
    if broad { Hold::Loose } else { Hold::Fixed }
}

/// Finds a member of a policy element, whatever its case.
fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Says whether a statement has this effect.
fn is_effect(statement: &Value, effect: &str) -> bool {
    member(statement, "Effect").and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(effect))
}

/// Lists a statement's conditions as (operator, key, values).
fn conditions(statement: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let operators = member(statement, "Condition").and_then(Value::as_object).into_iter().flatten();
    operators.flat_map(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, values)| (operator.as_str(), key.as_str(), values))
    })
}

/// Lists the texts of a value that is one or a list of them; what is not text counts as the empty one, `true` as its name.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = match value {
        Value::Array(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    list.iter().map(|element| match element {
        Value::Bool(true) => "true",
        other => other.as_str().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
