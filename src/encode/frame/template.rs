//! A template around each record: text with names in double braces.
//!
//! `{"ddsource":"cloudtrail","timestamp":{{time_ms}},"message":{{record}}}`. Double braces, because the text around is
//! mostly JSON, which is full of single ones. Text is written as the inside of a JSON string (escapes as in the event),
//! so it stands between quotes; what is absent is empty, an absent number is `null`.

use std::fmt;
use std::str::FromStr;

use super::put;
use crate::config::{ValueError, read_from_text};
use crate::encode::Encoder;
use crate::record::identity::Account;
use crate::record::{Record, overlay};

/// A name that may stand in double braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// The record, a JSON object in the sink's shape.
    Record,
    /// The same as text, for the inside of a JSON string.
    RecordText,
    /// The record's id: 32 hexadecimal digits, the same for the same event of the same account.
    Id,
    /// Event time as AWS writes it: `2026-01-15T10:00:00Z`.
    Time,
    /// Event time in seconds since 1970: a number.
    TimeSeconds,
    /// In milliseconds.
    TimeMillis,
    /// In nanoseconds.
    TimeNanos,
    /// The account the event was recorded in: 12 digits.
    Account,
    /// The region.
    Region,
    /// `eventName`.
    Action,
    /// What the `environment` transform said of the account.
    Environment,
    /// `management`, `data`, `insight`, `network_activity`, `aggregated` or `other`.
    Kind,
}

const NAMES: [(&str, Name); 12] = [
    ("record", Name::Record),
    ("record_text", Name::RecordText),
    ("id", Name::Id),
    ("time", Name::Time),
    ("time_s", Name::TimeSeconds),
    ("time_ms", Name::TimeMillis),
    ("time_ns", Name::TimeNanos),
    ("account", Name::Account),
    ("region", Name::Region),
    ("event_name", Name::Action),
    ("environment", Name::Environment),
    ("kind", Name::Kind),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Value(Name),
}

/// Text with values of the record in it; at least the record itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Vec<Piece>,
}

impl Template {
    /// Writes it for one record from `at` on; returns where it ends.
    pub fn write(&self, encoder: &mut Encoder, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> usize {
        let mut end = at;
        for piece in &self.pieces {
            end = match piece {
                Piece::Text(text) => put(out, end, text),
                Piece::Value(name) => value(*name, encoder, record, out, end),
            };
        }
        end
    }
}

impl Template {
    /// It for a made-up record: what it looks like, with everything in it that can break the text around.
    pub fn sample(&self) -> String {
        let value = |name: Name| match name {
            Name::Record => r#"{"eventName":"ConsoleLogin"}"#,
            Name::RecordText => r#"{\"eventName\":\"ConsoleLogin\"}"#,
            Name::Id => "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            Name::Time => "2026-01-15T10:00:00Z",
            Name::TimeSeconds => "1768471200",
            Name::TimeMillis => "1768471200000",
            Name::TimeNanos => "1768471200000000000",
            // An account may begin with zeros: it is no number.
            Name::Account => "012345678901",
            Name::Region => "eu-west-1",
            Name::Action => "ConsoleLogin",
            Name::Environment => "prod",
            Name::Kind => "management",
        };
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Piece::Value(name) => value(*name).to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }
}

fn value(name: Name, encoder: &mut Encoder, record: &Record<'_>, out: &mut Vec<u8>, at: usize) -> usize {
    let identity = &record.identity;
    let scaled = |digits: &str| match identity.time {
        Some(time) => format!("{time}{digits}"),
        None => "null".to_owned(),
    };
    let text = match name {
        Name::Record => return encoder.encode_at(record, out, at),
        Name::RecordText => {
            let end = encoder.encode_at(record, out, at);
            let escaped = serde_json::to_string(&String::from_utf8_lossy(&out[at..end])).unwrap_or_default();
            escaped.trim_matches('"').to_owned()
        }
        Name::Id => identity.id.to_string(),
        Name::Time => identity
            .time
            .and_then(|time| jiff::Timestamp::from_second(time).ok())
            .map(|time| time.to_string())
            .unwrap_or_default(),
        Name::TimeSeconds => scaled(""),
        Name::TimeMillis => scaled("000"),
        Name::TimeNanos => scaled("000000000"),
        Name::Account => identity.account.as_ref().map(Account::to_string).unwrap_or_default(),
        Name::Region | Name::Action => {
            let span = if name == Name::Region { identity.region } else { identity.name };
            return put(out, at, span.map(|span| span.of(record.buffer)).unwrap_or_default());
        }
        Name::Environment => {
            let plain = overlay::environment(record.overlay).unwrap_or_default();
            let quoted = serde_json::Value::from(plain).to_string();
            quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
        }
        Name::Kind => identity.kind.name().to_owned(),
    };
    put(out, at, text.as_bytes())
}

impl FromStr for Template {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Template, ValueError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            // `{"a":{{{record}}}`: of three braces the last two open a name.
            let start = start + rest[start..].find(|c| c != '{').map_or(0, |braces| braces - 2);
            let Some(length) = rest[start..].find("}}") else {
                let hint = "write {{record}}, or leave the braces out".to_owned();
                return Err(ValueError::new("`{{` is not closed", hint));
            };
            let name = rest[start + 2..start + length].trim();
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let Some((_, known)) = known else {
                let all: Vec<String> = NAMES.iter().map(|(known, _)| format!("{{{{{known}}}}}")).collect();
                let shown: String = name.escape_default().take(40).collect();
                let hint = format!("a template may use {}", all.join(", "));
                return Err(ValueError::new(
                    format!("`{{{{{shown}}}}}` is not a name that a template may use"),
                    hint,
                ));
            };
            if start > 0 {
                pieces.push(Piece::Text(rest.as_bytes()[..start].into()));
            }
            pieces.push(Piece::Value(*known));
            rest = &rest[start + length + 2..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.as_bytes().into()));
        }
        let has_record = |piece: &Piece| matches!(piece, Piece::Value(Name::Record | Name::RecordText));
        if !pieces.iter().any(has_record) {
            let hint = "write {{record}} where the event goes, or \"{{record_text}}\" for the event as text";
            return Err(ValueError::new("the template has no place for the event", hint));
        }
        Ok(Template { text: text.into(), pieces })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

read_from_text!(
    Template,
    "text with the event in it, as in '{\"event\":{{record}}}'",
    ["{\"timestamp\":{{time_ms}},\"event\":{{record}}}"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_double_braces_and_single_ones_are_text() {
        let template: Template = "{\"a\":{\"b\":{{{ record }}}}".parse().unwrap();
        let text = |text: &str| Piece::Text(text.as_bytes().into());
        assert_eq!(template.pieces, [text("{\"a\":{\"b\":{"), Piece::Value(Name::Record), text("}}")]);
        let template: Template = "{{time_ms}} {{record_text}}".parse().unwrap();
        assert_eq!(
            template.pieces,
            [Piece::Value(Name::TimeMillis), text(" "), Piece::Value(Name::RecordText)]
        );
    }

    #[test]
    fn a_template_without_the_event_or_with_unknown_names_is_refused() {
        for (bad, message) in [
            ("{}", "the template has no place for the event"),
            ("{{id}}", "the template has no place for the event"),
            ("{{record", "`{{` is not closed"),
            ("{{event}}", "`{{event}}` is not a name that a template may use"),
        ] {
            assert_eq!(bad.parse::<Template>().unwrap_err().message, message);
        }
    }
}
