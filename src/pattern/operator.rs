//! Reads one value of a list that is an operator: `{"prefix": "x"}` and its kin.

use ipnet::IpNet;

use super::json::Json;
use super::number::Decimal;
use super::parse::Reader;
use super::value::{Bound, Matcher, address, folded};

/// Their names, sorted.
pub(super) const OPERATORS: [&str; 9] = [
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exactly",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
];

impl Reader {
    /// The only member of an object that holds an operator.
    fn only<'j, 'a>(&mut self, members: &'j [(String, Json<'a>)]) -> Option<(&'j str, &'j Json<'a>)> {
        match members {
            [(name, value)] => Some((name, value)),
            [] => {
                self.error(
                    "an empty object matches nothing",
                    Some(format!("name an operator: {}", OPERATORS.join(", "))),
                );
                None
            }
            _ => {
                self.error(
                    "only one operator may stand in an object",
                    Some("several objects in the list mean: any of them".into()),
                );
                None
            }
        }
    }

    /// Reads an object that stands in a list of values.
    pub(super) fn expression(&mut self, members: &[(String, Json<'_>)]) -> Option<Matcher> {
        let (name, value) = self.only(members)?;
        if self.toml && name == "null" && *value == Json::Bool(true) {
            return Some(Matcher::Literal("null"));
        }
        self.inside(name, |reader| match name {
            "exactly" => reader.text(name, value).map(|text| Matcher::Text(text.into())),
            "prefix" | "suffix" => reader.prefix_or_suffix(name, value),
            "equals-ignore-case" => reader.text(name, value).map(|text| Matcher::IgnoreCase(folded(text))),
            "wildcard" => reader.text(name, value).and_then(|text| reader.wildcard(text)),
            "numeric" => reader.numeric(value),
            "cidr" => reader.text(name, value).and_then(|text| reader.cidr(text)),
            "anything-but" => reader.anything_but(value),
            "exists" => match value {
                Json::Bool(true) => Some(Matcher::Exists),
                Json::Bool(false) => Some(Matcher::Absent),
                other => {
                    reader.error(format!("`exists` takes true or false, not {}", other.kind()), None);
                    None
                }
            },
            unknown => {
                reader.error(format!("unknown operator `{unknown}`"), Some(nearest(unknown, &OPERATORS)));
                None
            }
        })
    }

    fn text<'j>(&mut self, name: &str, value: &'j Json<'_>) -> Option<&'j str> {
        match value {
            Json::Text(text) => Some(text),
            other => {
                let hint = matches!(other, Json::List(_))
                    .then(|| format!("repeat it: [{{\"{name}\": …}}, {{\"{name}\": …}}]"));
                self.error(format!("`{name}` takes a string, not {}", other.kind()), hint);
                None
            }
        }
    }

    fn prefix_or_suffix(&mut self, name: &str, value: &Json<'_>) -> Option<Matcher> {
        let Json::Object(members) = value else {
            let text = self.text(name, value)?.into();
            return Some(if name == "prefix" { Matcher::Prefix(text) } else { Matcher::Suffix(text) });
        };
        let (inner, value) = self.only(members)?;
        self.inside(inner, |reader| {
            if inner != "equals-ignore-case" {
                reader.error(
                    format!("`{name}` cannot hold `{inner}`"),
                    Some("only `equals-ignore-case`".into()),
                );
                return None;
            }
            let text = folded(reader.text(inner, value)?);
            Some(if name == "prefix" {
                Matcher::PrefixIgnoreCase(text)
            } else {
                Matcher::SuffixIgnoreCase(text)
            })
        })
    }

    fn wildcard(&mut self, text: &str) -> Option<Matcher> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let literal = match (character, characters.peek()) {
                ('*', Some('*')) => {
                    self.error("two `*` in a row", Some("one `*` stands for any text, also none".into()));
                    return None;
                }
                ('*', _) => {
                    parts.push(String::new());
                    continue;
                }
                ('\\', Some('*' | '\\')) => characters.next(),
                ('\\', _) => {
                    self.error(
                        "`\\` may stand only before `*` or `\\`",
                        Some("write `\\\\` for a backslash".into()),
                    );
                    return None;
                }
                _ => Some(character),
            };
            if let Some(part) = parts.last_mut() {
                part.extend(literal);
            }
        }
        Some(Matcher::Wildcard(parts.into_iter().map(Into::into).collect()))
    }

    fn cidr(&mut self, text: &str) -> Option<Matcher> {
        let example = Some("as in 10.0.0.0/8 or 2001:db8::/32".to_owned());
        let Some((base, length)) = text.split_once('/') else {
            self.error("a range of addresses has one `/`", example);
            return None;
        };
        let Some(address) = address(base) else {
            self.error(format!("`{base}` is not an address"), example);
            return None;
        };
        let plain =
            length.bytes().all(|byte| byte.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
        let net = length.parse().ok().filter(|_| plain).and_then(|length| IpNet::new(address, length).ok());
        match net {
            Some(net) => Some(Matcher::Cidr(net.trunc())),
            None => {
                let most = if address.is_ipv4() { 32 } else { 128 };
                self.error(
                    format!("`{length}` is not a prefix length"),
                    Some(format!("0 to {most} for {address}")),
                );
                None
            }
        }
    }

    fn numeric(&mut self, value: &Json<'_>) -> Option<Matcher> {
        const SAY: &str = "as in [\">\", 0, \"<=\", 5] or [\"=\", 5]";
        let bound = |number: &str, operator: &str| Bound {
            number: number.into(),
            inclusive: operator.ends_with('='),
        };
        let problem = match value {
            Json::List(terms) => match terms.as_slice() {
                [Json::Text(op), Json::Number(number)] => match op.as_ref() {
                    "=" => return Some(Matcher::Number(number.as_ref().into())),
                    ">" | ">=" => return Some(Matcher::Numeric { low: Some(bound(number, op)), high: None }),
                    "<" | "<=" => return Some(Matcher::Numeric { low: None, high: Some(bound(number, op)) }),
                    other => format!("unknown comparison `{other}`"),
                },
                [Json::Text(low), Json::Number(bottom), Json::Text(high), Json::Number(top)]
                    if matches!(low.as_ref(), ">" | ">=") && matches!(high.as_ref(), "<" | "<=") =>
                {
                    let numbers = (Decimal::parse(bottom.as_bytes())?, Decimal::parse(top.as_bytes())?);
                    if numbers.0.compare(&numbers.1).is_lt() {
                        return Some(Matcher::Numeric {
                            low: Some(bound(bottom, low)),
                            high: Some(bound(top, high)),
                        });
                    }
                    "no number is in this range: the bottom must be less than the top".to_owned()
                }
                [Json::Text(_), Json::Text(_), ..] | [Json::Text(_), _, _, Json::Text(_)] => {
                    "compares numbers, not strings".to_owned()
                }
                _ => "takes one comparison, or `>` or `>=` first and then `<` or `<=`".to_owned(),
            },
            other => format!("`numeric` takes a list, not {}", other.kind()),
        };
        self.error(problem, Some(SAY.into()));
        None
    }

    fn anything_but(&mut self, value: &Json<'_>) -> Option<Matcher> {
        let Json::Object(members) = value else {
            let number = |json: &Json<'_>| matches!(json, Json::Number(_));
            let refused = self.one_or_many(value, |reader, json| match json {
                Json::Text(text) => Some(Matcher::Text(text.as_ref().into())),
                Json::Number(text) => Some(Matcher::Number(text.as_ref().into())),
                other => {
                    reader.error(
                        format!("`anything-but` takes strings or numbers, not {}", other.kind()),
                        None,
                    );
                    None
                }
            })?;
            if let Json::List(values) = value
                && values.iter().any(number)
                && !values.iter().all(number)
            {
                self.error("strings and numbers cannot be mixed in one `anything-but`", None);
                return None;
            }
            return Some(Matcher::Not(refused));
        };
        let (name, value) = self.only(members)?;
        self.inside(name, |reader| {
            if !matches!(name, "prefix" | "suffix" | "wildcard" | "equals-ignore-case") {
                let known = ["prefix", "suffix", "wildcard", "equals-ignore-case"];
                let hint = if OPERATORS.contains(&name) {
                    format!("only {}", known.join(", "))
                } else {
                    nearest(name, &known)
                };
                reader.error(format!("`anything-but` cannot hold `{name}`"), Some(hint));
                return None;
            }
            let refused = reader.one_or_many(value, |reader, json| {
                let text = reader.text(name, json)?;
                match name {
                    "wildcard" => reader.wildcard(text),
                    "equals-ignore-case" => Some(Matcher::IgnoreCase(folded(text))),
                    _ if text.is_empty() => {
                        reader.error(
                            format!("every string has the empty {name}: this matches no string"),
                            None,
                        );
                        None
                    }
                    "prefix" => Some(Matcher::Prefix(text.into())),
                    _ => Some(Matcher::Suffix(text.into())),
                }
            })?;
            Some(Matcher::Not(refused))
        })
    }

    fn one_or_many(
        &mut self,
        value: &Json<'_>,
        mut one: impl FnMut(&mut Reader, &Json<'_>) -> Option<Matcher>,
    ) -> Option<Vec<Matcher>> {
        match value {
            Json::List(values) if values.is_empty() => {
                self.error(
                    "an empty list excludes nothing",
                    Some("for any value at all, write {\"exists\": true}".into()),
                );
                None
            }
            Json::List(values) => {
                let read = |(position, value): (usize, &Json<'_>)| {
                    self.inside(position.to_string(), |reader| match value {
                        Json::List(_) => {
                            reader.error("a list cannot stand in a list of values", None);
                            None
                        }
                        value => one(reader, value),
                    })
                };
                let found: Vec<Option<Matcher>> = values.iter().enumerate().map(read).collect();
                found.into_iter().collect()
            }
            value => one(self, value).map(|matcher| vec![matcher]),
        }
    }
}

/// A hint that names the nearest of the known names, or all of them.
fn nearest(name: &str, known: &[&str]) -> String {
    let plain = name.trim_start_matches('$').replace('_', "-").to_lowercase();
    let meant = match plain.as_str() {
        "not" | "ne" | "!=" | "anythingbut" => Some("anything-but"),
        "like" | "glob" | "regex" | "matches" | "contains" => Some("wildcard"),
        "startswith" | "starts-with" => Some("prefix"),
        "endswith" | "ends-with" => Some("suffix"),
        "ignore-case" | "iequals" => Some("equals-ignore-case"),
        "equals" | "eq" | "exact" => Some("exactly"),
        "ip" | "ip-address" => Some("cidr"),
        "present" => Some("exists"),
        _ => known
            .iter()
            .copied()
            .map(|other| (distance(&plain, other), other))
            .min()
            .filter(|(far, _)| *far <= 3)
            .map(|(_, other)| other),
    };
    match meant.filter(|meant| known.contains(meant)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance, bounded by the length of what is compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 32 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
