//! Where we differ from Event Ruler on purpose: each function says whether it keeps a pair from being compared.
//!
//! They look at the words of a pattern and an event, not at what they mean, and so keep out more than they must.

use std::net::IpAddr;

/// Strings and numbers of a JSON text, keys among the strings, escapes undone.
pub(super) struct Words {
    text: String,
    strings: Vec<String>,
    numbers: Vec<String>,
}

impl Words {
    pub(super) fn of(json: &str) -> Words {
        let mut words = Words { text: json.to_owned(), strings: Vec::new(), numbers: Vec::new() };
        let mut rest = json;
        while let Some(first) = rest.chars().next() {
            let end = match first {
                '"' => {
                    let mut escaped = false;
                    let closing = rest[1..].find(|c| {
                        let closes = c == '"' && !escaped;
                        escaped = c == '\\' && !escaped;
                        closes
                    });
                    let end = closing.unwrap() + 2;
                    words.strings.push(serde_json::from_str(&rest[..end]).unwrap());
                    end
                }
                '-' | '0'..='9' => {
                    let end = rest.find([',', ']', '}']).unwrap();
                    words.numbers.push(rest[..end].to_owned());
                    end
                }
                other => other.len_utf8(),
            };
            rest = &rest[end..];
        }
        words
    }

    fn has(&self, operator: &str) -> bool {
        self.strings.iter().any(|word| word == operator)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.strings.iter().filter_map(|word| address(word.split('/').next()?))
    }
}

fn address(word: &str) -> Option<IpAddr> {
    let short = |part: &str| part.trim_start_matches('0').to_owned();
    let plain: Vec<String> =
        word.split('.').map(|part| if short(part).is_empty() { "0".into() } else { short(part) }).collect();
    let v4 = plain.join(".").parse().ok().map(IpAddr::V4);
    v4.or_else(|| word.parse().ok().map(|v6| IpAddr::V6(v6).to_canonical()))
}

/// A deviation: its name, and whether it concerns a pair.
type Deviation = (&'static str, fn(&Words, &Words) -> bool);

/// All of them, in the order of the table in `src/pattern.rs`.
pub(super) const ALL: &[Deviation] = &[
    ("prefix lengths", prefix_lengths),
    ("addresses of two families", two_families),
    ("numbers as addresses", numbers_as_addresses),
    ("mapped addresses in dots", mapped_in_dots),
    ("quotes", quotes),
    ("case", case),
    ("numbers no double holds", big_numbers),
    ("empty lists", empty_lists),
];

/// `/32` and `/128` are refused there, `/08` here.
fn prefix_lengths(pattern: &Words, _: &Words) -> bool {
    pattern.has("cidr")
        && pattern.strings.iter().any(|word| ["/32", "/128", "/08"].iter().any(|end| word.ends_with(end)))
}

/// There, hex digits are compared whatever the family.
fn two_families(pattern: &Words, event: &Words) -> bool {
    pattern.addresses().next().is_some() && {
        let mut families = pattern.addresses().chain(event.addresses()).map(|address| address.is_ipv4());
        let first = families.next();
        families.any(|family| Some(family) != first)
    }
}

/// There, the digits of a number are compared with those of an address.
fn numbers_as_addresses(pattern: &Words, event: &Words) -> bool {
    pattern.addresses().next().is_some() && !event.numbers.is_empty()
}

/// There, `::ffff:10.0.0.1` is no address.
fn mapped_in_dots(pattern: &Words, event: &Words) -> bool {
    pattern.has("cidr") && event.strings.iter().any(|word| word.contains(':') && word.contains('.'))
}

/// There, strings carry their quotes.
fn quotes(pattern: &Words, _: &Words) -> bool {
    pattern.strings.iter().any(|word| word.contains('"'))
}

/// There, folding goes one way, may change the length, and stops at the BMP.
fn case(pattern: &Words, event: &Words) -> bool {
    pattern.has("equals-ignore-case") && !(pattern.text.is_ascii() && event.text.is_ascii())
}

/// There, a number is compared only where a double gives the same number back.
fn big_numbers(pattern: &Words, event: &Words) -> bool {
    const NO_DOUBLE: &[&str] = &["9007199254740993", "0.1234567890123456789", "1e400"];
    let any = |words: &Words| words.numbers.iter().any(|number| NO_DOUBLE.contains(&number.as_str()));
    !pattern.numbers.is_empty() && (any(pattern) || any(event))
}

/// There, an empty list is taken inside `anything-but` with an operator, where another value stands beside it.
fn empty_lists(pattern: &Words, _: &Words) -> bool {
    pattern.has("anything-but") && pattern.text.contains(":[]}}")
}

/// The patterns that together mean what this one means to us, where Event Ruler would say something else:
/// one without `$or` for each choice of alternatives, and one for each value of a list that [`clashes`].
/// Empty: the pattern can be asked as it is. `None`: it cannot be said, as a path is named twice on one branch.
pub(super) fn branches(pattern: &str) -> Option<Vec<String>> {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(pattern) else { return Some(Vec::new()) };
    if !pattern.contains("$or") && !clashes(pattern) {
        return Some(Vec::new());
    }
    if value.to_string().len() != pattern.len() {
        return None; // A repeated key, which a `Value` does not keep, or a number spelled otherwise.
    }
    let said = |fields: Branch| {
        let mut paths: Vec<&str> = fields.iter().map(|(path, _)| path.as_str()).collect();
        paths.sort_unstable();
        paths.windows(2).all(|pair| pair[0] != pair[1]).then(|| {
            let members: Vec<String> =
                fields.iter().map(|(path, values)| format!("{path:?}:{values}")).collect();
            format!("{{{}}}", members.join(","))
        })
    };
    match expand("", &value) {
        Some(all) => all.into_iter().map(said).collect(),
        // Not of a pattern's form: refused by both as it is.
        None => Some(Vec::new()),
    }
}

/// There, values of one list that ignore case or have stars may disturb each other, exclusions most.
fn clashes(values: &str) -> bool {
    let count = |operator| values.matches(operator).count();
    let disturbing = count("equals-ignore-case") + count(r#"{"anything-but":{"wildcard""#);
    disturbing > 0 && count("equals-ignore-case") + count("wildcard") > 1
}

type Branch = Vec<(String, String)>;

fn expand(above: &str, value: &serde_json::Value) -> Option<Vec<Branch>> {
    let mut done: Vec<Branch> = vec![Vec::new()];
    for (key, value) in value.as_object()? {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let next: Vec<Branch> = match value {
            serde_json::Value::Array(alternatives) if key == "$or" => {
                let all: Option<Vec<_>> =
                    alternatives.iter().map(|alternative| expand(above, alternative)).collect();
                all?.concat()
            }
            serde_json::Value::Array(values) if clashes(&value.to_string()) => {
                values.iter().map(|value| vec![(path.clone(), format!("[{value}]"))]).collect()
            }
            serde_json::Value::Array(_) => vec![vec![(path, value.to_string())]],
            _ => expand(&path, value)?,
        };
        done = done
            .iter()
            .flat_map(|before| next.iter().map(|after| [before.as_slice(), after].concat()))
            .collect();
        if done.len() > 64 {
            return None;
        }
    }
    Some(done)
}
