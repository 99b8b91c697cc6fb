//! Chosen fields of a record, and a record as one line for people.
//!
//! Values stay as they were written: nothing is read that is not on the way to a chosen field.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::cli::style::Style;
use crate::telemetry::escaped;

/// The columns of a line for people; of several names the first that is there.
const COLUMNS: [&[&str]; 6] = [
    &["recipientAccountId", "accountId"],
    &["awsRegion"],
    &["eventSource"],
    &["eventName"],
    &["userIdentity.arn", "userIdentity.invokedBy", "userIdentity.principalId", "userIdentity.type"],
    &["sourceIPAddress"],
];

/// Paths, as the tree they make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Fields)>);

impl Fields {
    /// Adds a dotted path.
    fn add(&mut self, path: &str) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let at = self.0.iter().position(|(known, _)| known == name);
        let (at, is_new) = match at {
            Some(at) => (at, false),
            None => {
                self.0.push((name.to_owned(), Fields::default()));
                (self.0.len() - 1, true)
            }
        };
        match rest {
            // The whole of it was chosen already.
            Some(_) if !is_new && self.0[at].1.0.is_empty() => {}
            Some(rest) => self.0[at].1.add(rest),
            None => self.0[at].1 = Fields::default(),
        }
    }

    /// Writes the chosen fields of a record, as a record.
    pub(super) fn of(&self, record: &str) -> String {
        serde_json::from_str(record)
            .ok()
            .and_then(|record| self.pick(record))
            .unwrap_or_else(|| "{}".to_owned())
    }

    fn pick(&self, value: &RawValue) -> Option<String> {
        let text = value.get();
        if self.0.is_empty() {
            return Some(text.to_owned());
        }
        let parts: Vec<String> = match text.as_bytes().first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                let one = |(name, below): &(String, Fields)| {
                    let value = below.pick(members.get(name)?)?;
                    Some(format!("{}:{value}", serde_json::Value::from(name.as_str())))
                };
                self.0.iter().filter_map(one).collect()
            }
            // Of a list: of each of its elements.
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                elements.iter().filter_map(|element| self.pick(element)).collect()
            }
            _ => return None,
        };
        let (open, close) = if text.starts_with('{') { ('{', '}') } else { ('[', ']') };
        (!parts.is_empty()).then(|| format!("{open}{}{close}", parts.join(",")))
    }
}

impl std::str::FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> Result<Fields, String> {
        let mut fields = Fields::default();
        for path in text.split(',').map(str::trim) {
            if path.split('.').any(str::is_empty) {
                return Err(format!(
                    "`{path}` is no path: write names with dots between them, as `userIdentity.arn`"
                ));
            }
            fields.add(path);
        }
        Ok(fields)
    }
}

/// A record as one line for people.
pub(super) fn line(record: &str, style: Style) -> String {
    let value = serde_json::from_str::<serde_json::Value>(record).unwrap_or_default();
    let text = |names: &[&str]| {
        let at = |name: &&str| {
            let value = name.split('.').try_fold(&value, |value, name| value.get(name))?;
            value.as_str().filter(|text| !text.is_empty()).map(|text| escaped(text).into_owned())
        };
        names.iter().find_map(at)
    };
    let time = text(&["eventTime", "timeWindow.windowStart"]).unwrap_or_else(|| "–".to_owned());
    let [account, region, source, name, who, from] =
        COLUMNS.map(|names| text(names).unwrap_or_else(|| "–".to_owned()));
    let what = format!("{}:{name}", source.strip_suffix(".amazonaws.com").unwrap_or(&source));
    let mut line = format!(
        "{time:<20} {account:<12} {region:<14} {} {who} from {from}",
        style.heading(&format!("{what:<32}"))
    );
    if let Some(error) = text(&["errorCode", "errorMessage"]) {
        line.push(' ');
        line.push_str(&style.bad(&error));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_fields_keep_their_shape_and_their_bytes() {
        let record = r#"{"eventName":"Ge\u0074","a":{"b":1.50,"c":[{"d":1,"e":2},{"e":3},{"d":12345678901234567890}],"f":null},"g":1}"#;
        for (fields, expected) in [
            ("eventName", r#"{"eventName":"Ge\u0074"}"#),
            ("a.b, eventName", r#"{"a":{"b":1.50},"eventName":"Ge\u0074"}"#),
            ("a.c.d,a.f", r#"{"a":{"c":[{"d":1},{"d":12345678901234567890}],"f":null}}"#),
            ("a.b,a", r#"{"a":{"b":1.50,"c":[{"d":1,"e":2},{"e":3},{"d":12345678901234567890}],"f":null}}"#),
            ("a,a.b", r#"{"a":{"b":1.50,"c":[{"d":1,"e":2},{"e":3},{"d":12345678901234567890}],"f":null}}"#),
            ("none,g.x", "{}"),
        ] {
            assert_eq!(fields.parse::<Fields>().unwrap().of(record), expected, "{fields}");
        }
        for wrong in ["", "a,", "a..b", ".a"] {
            assert!(wrong.parse::<Fields>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_says_when_where_what_and_who() {
        let record = r#"{"eventTime":"2026-01-15T10:00:00Z","recipientAccountId":"111122223333","awsRegion":"us-east-1","eventSource":"s3.amazonaws.com","eventName":"GetObject","userIdentity":{"arn":"arn:aws:iam::111122223333:user/a\u001b"},"sourceIPAddress":"192.0.2.1","errorCode":"AccessDenied"}"#;
        assert_eq!(
            line(record, Style::default()),
            "2026-01-15T10:00:00Z 111122223333 us-east-1      s3:GetObject                     arn:aws:iam::111122223333:user/a\\u{1b} from 192.0.2.1 AccessDenied"
        );
        assert!(line("{}", Style::default()).contains("–:–"));
    }
}
