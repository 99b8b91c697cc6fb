//! Matches one pattern against the text of one event, the obvious way: the oracle of the compiled form.
//!
//! Event Ruler, told plainly: every leaf of the event has a dotted path and, for each array it stands in an element
//! of, that element's position. A pattern's fields are taken in the order of their paths; for each, one leaf is chosen
//! that matches and agrees with all chosen before it about positions, or the field is absent among those that agree.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::json::Json;
use super::number::Decimal;
use super::value::{Bound, Matcher, address, address_in_any_spelling, folded};
use super::{Field, Node, Pattern, path_order};

/// Whether the event, one JSON object, matches. Text that is no JSON object matches nothing.
pub fn matches(pattern: &Pattern, event_json: &str) -> bool {
    let Ok(event @ Json::Object(_)) = Json::parse(event_json) else { return false };
    let mut leaves = Leaves::default();
    leaves.collect(&event, &mut Vec::new(), &mut Vec::new());
    hold(&mut vec![&pattern.root], &mut Vec::new(), &leaves.found)
}

/// Whether all nodes hold together with the fields, for some alternative of each `$or` among them.
fn hold<'p>(nodes: &mut Vec<&'p Node>, fields: &mut Vec<&'p Field>, leaves: &[Leaf<'_>]) -> bool {
    match nodes.pop() {
        None => {
            let mut fields = fields.clone();
            fields.sort_by(|a, b| path_order(&a.path, &b.path));
            choose(&fields, leaves, &[])
        }
        Some(Node::Field(field)) => {
            fields.push(field);
            // A field that matches nothing by itself matches nothing beside others: no need to try them.
            let possible = field.values.contains(&Matcher::Absent) || choose(&[field], leaves, &[]);
            let held = possible && hold(nodes, fields, leaves);
            fields.pop();
            held
        }
        Some(Node::All(parts)) => {
            let mut nodes: Vec<&Node> = nodes.iter().copied().chain(parts).collect();
            nodes.sort_by_key(|node| matches!(node, Node::Field(_)));
            hold(&mut nodes, fields, leaves)
        }
        Some(Node::Any(parts)) => parts.iter().any(|part| {
            let mut nodes: Vec<&Node> = nodes.iter().copied().chain([part]).collect();
            hold(&mut nodes, fields, leaves)
        }),
    }
}

/// An array by number, and the position of one element of it.
type Membership = Vec<(usize, usize)>;

struct Leaf<'a> {
    path: String,
    value: &'a Json<'a>,
    membership: Membership,
}

#[derive(Default)]
struct Leaves<'a> {
    arrays: usize,
    found: Vec<Leaf<'a>>,
}

impl<'a> Leaves<'a> {
    fn collect(&mut self, json: &'a Json<'a>, keys: &mut Vec<&'a str>, membership: &mut Membership) {
        match json {
            Json::Object(members) => {
                for (key, value) in members.iter().filter(|(key, _)| !key.is_empty()) {
                    keys.push(key);
                    self.collect(value, keys, membership);
                    keys.pop();
                }
            }
            Json::List(elements) => {
                let array = self.arrays;
                self.arrays += 1;
                for (position, element) in elements.iter().enumerate() {
                    // Plain elements are not tied to their position: only what stands inside an element is.
                    let ties = matches!(element, Json::Object(_) | Json::List(_));
                    membership.extend(ties.then_some((array, position)));
                    self.collect(element, keys, membership);
                    membership.truncate(membership.len() - usize::from(ties));
                }
            }
            value => self.found.push(Leaf { path: keys.join("."), value, membership: membership.clone() }),
        }
    }
}

fn agree(chosen: &[(usize, usize)], membership: &[(usize, usize)]) -> bool {
    membership
        .iter()
        .all(|(array, position)| chosen.iter().all(|(other, at)| array != other || position == at))
}

fn choose(fields: &[&Field], leaves: &[Leaf<'_>], chosen: &[(usize, usize)]) -> bool {
    let Some((field, rest)) = fields.split_first() else { return true };
    let mut here = leaves.iter().filter(|leaf| leaf.path == field.path && agree(chosen, &leaf.membership));
    if field.values.contains(&Matcher::Absent)
        && here.clone().next().is_none()
        && choose(rest, leaves, chosen)
    {
        return true;
    }
    here.any(|leaf| {
        field.values.iter().any(|matcher| holds(matcher, leaf.value))
            && choose(rest, leaves, &[chosen, leaf.membership.as_slice()].concat())
    })
}

/// Whether one value is what is wanted.
fn holds(matcher: &Matcher, value: &Json<'_>) -> bool {
    let text = match value {
        Json::Text(text) => Some(text.as_ref()),
        _ => None,
    };
    let number = match value {
        Json::Number(text) => Decimal::parse(text.as_bytes()),
        _ => None,
    };
    let compare = |other: &str| Some(number?.compare(&Decimal::parse(other.as_bytes())?));
    match matcher {
        Matcher::Text(wanted) => text == Some(wanted),
        Matcher::Address(wanted) => text.and_then(address) == Some(*wanted),
        Matcher::Number(wanted) => compare(wanted) == Some(Ordering::Equal),
        Matcher::Literal(wanted) => match value {
            Json::Null => *wanted == "null",
            Json::Bool(value) => *wanted == value.to_string(),
            _ => false,
        },
        Matcher::Prefix(wanted) => text.is_some_and(|text| text.starts_with(wanted.as_ref())),
        Matcher::Suffix(wanted) => text.is_some_and(|text| text.ends_with(wanted.as_ref())),
        Matcher::PrefixIgnoreCase(wanted) => {
            text.is_some_and(|text| folded(text).starts_with(wanted.as_ref()))
        }
        Matcher::SuffixIgnoreCase(wanted) => text.is_some_and(|text| folded(text).ends_with(wanted.as_ref())),
        Matcher::IgnoreCase(wanted) => text.is_some_and(|text| folded(text) == *wanted),
        Matcher::Wildcard(parts) => text.is_some_and(|text| wildcard(parts, text)),
        Matcher::Numeric { low, high } => {
            number.is_some()
                && within(low.as_ref(), Ordering::Greater, compare)
                && within(high.as_ref(), Ordering::Less, compare)
        }
        Matcher::Cidr(net) => match text.and_then(address_in_any_spelling) {
            Some(IpAddr::V4(v4)) => net.contains(&IpAddr::V4(v4)),
            Some(IpAddr::V6(v6)) => net.contains(&IpAddr::V6(v6)),
            None => false,
        },
        Matcher::Exists => true,
        Matcher::Absent => false,
        Matcher::Not(refused) => !refused.iter().any(|matcher| holds(matcher, value)),
    }
}

fn within(bound: Option<&Bound>, side: Ordering, compare: impl Fn(&str) -> Option<Ordering>) -> bool {
    bound.is_none_or(|bound| match compare(&bound.number) {
        Some(Ordering::Equal) => bound.inclusive,
        other => other == Some(side),
    })
}

/// Whether the text is the parts in order, with anything between them.
fn wildcard(parts: &[Box<str>], text: &str) -> bool {
    match parts {
        [] => false,
        [only] => text == only.as_ref(),
        [first, rest @ ..] => text.strip_prefix(first.as_ref()).is_some_and(|text| {
            (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| wildcard(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event: &str) -> bool {
        super::matches(&Pattern::parse_json(pattern).unwrap(), event)
    }

    #[test]
    fn conditions_on_members_of_one_element_are_tied_together() {
        let pattern = r#"{"r":{"t":["A"],"u":["B"]}}"#;
        assert!(!matches(pattern, r#"{"r":[{"t":"A","u":"C"},{"t":"X","u":"B"}]}"#));
        assert!(matches(pattern, r#"{"r":[{"t":"X","u":"C"},{"t":"A","u":"B"}]}"#));
    }

    #[test]
    fn absence_is_tied_to_what_was_chosen_before_it() {
        assert!(matches(r#"{"r":{"b":["y"],"c":[{"exists":false}]}}"#, r#"{"r":[{"b":"y"},{"c":1}]}"#));
        assert!(!matches(r#"{"r":{"a":[{"exists":false}],"b":["y"]}}"#, r#"{"r":[{"b":"y"},{"a":1}]}"#));
    }

    #[test]
    fn what_is_no_object_matches_nothing() {
        for event in ["", "[]", "{", "{} {}", "null"] {
            assert!(!matches(r#"{"a":[{"exists":false}]}"#, event), "{event}");
        }
    }
}
