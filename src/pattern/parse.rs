//! Reads a pattern and judges it: what Event Ruler refuses and what can never match is an error with a place.

use super::json::Json;
use super::operator::OPERATORS;
use super::value::{Matcher, address};
use super::{Field, MAX_DEPTH, MAX_FIELDS, Node, Pattern, PatternError};

/// Names of fields that stand for something else, or may one day, inside `$or`.
///
/// Source: `Constants.RESERVED_FIELD_NAMES_IN_OR_RELATIONSHIP` of Event Ruler 2.1.0.
const RESERVED_IN_OR: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// Reads a whole pattern. `toml`: `{ null = true }` stands for null.
pub(super) fn pattern(json: &Json<'_>, toml: bool) -> Result<Pattern, Vec<PatternError>> {
    let mut reader = Reader { toml, place: Vec::new(), errors: Vec::new() };
    let root = match json {
        Json::Object(members) => reader.scope(&[], members, false),
        other => {
            reader.error(format!("a pattern is an object, not {}", other.kind()), None);
            Node::All(Vec::new())
        }
    };
    if reader.errors.is_empty() && fields(&root) > MAX_FIELDS {
        reader.error(
            format!("names more than {MAX_FIELDS} fields"),
            Some("split it into several patterns".into()),
        );
    }
    if reader.errors.is_empty() { Ok(Pattern { root }) } else { Err(reader.errors) }
}

/// How many fields the largest choice of alternatives names.
fn fields(node: &Node) -> usize {
    match node {
        Node::Field(_) => 1,
        Node::All(parts) => parts.iter().map(fields).sum(),
        Node::Any(parts) => parts.iter().map(fields).max().unwrap_or(0),
    }
}

/// Where reading stands, and what was wrong so far.
pub(super) struct Reader {
    pub(super) toml: bool,
    /// Keys and list positions from the root to where we are.
    place: Vec<String>,
    errors: Vec<PatternError>,
}

impl Reader {
    pub(super) fn error(&mut self, message: impl Into<String>, hint: Option<String>) {
        self.errors.push(PatternError { path: self.place.clone(), message: message.into(), hint });
    }

    pub(super) fn inside<T>(&mut self, step: impl Into<String>, work: impl FnOnce(&mut Reader) -> T) -> T {
        self.place.push(step.into());
        let done = work(self);
        self.place.pop();
        done
    }

    /// An object whose members must all hold. `keys` are those above it. Below it the last word on a path counts.
    fn scope(&mut self, keys: &[&str], members: &[(String, Json<'_>)], in_or: bool) -> Node {
        let mut parts = Vec::new();
        self.object(keys, members, in_or, &mut parts);
        Node::All(parts)
    }

    fn object(&mut self, keys: &[&str], members: &[(String, Json<'_>)], in_or: bool, parts: &mut Vec<Node>) {
        if self.place.len() > MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH} levels"), None);
        }
        if members.is_empty() {
            return self
                .error("an empty object selects nothing", Some("name a field, or leave it out".into()));
        }
        for (key, value) in members {
            self.inside(key.as_str(), |reader| {
                if key == "$or" {
                    parts.push(reader.alternatives(keys, value));
                    return;
                }
                if in_or && RESERVED_IN_OR.contains(&key.as_str()) {
                    return reader.error(format!("`{key}` cannot be the name of a field inside `$or`"), None);
                }
                match value {
                    Json::Object(members) => {
                        let keys: Vec<&str> = keys.iter().copied().chain([key.as_str()]).collect();
                        reader.object(&keys, members, in_or, parts);
                    }
                    Json::List(values) => {
                        let field = Field { path: path(keys, key), values: reader.values(values) };
                        parts.retain(
                            |part| !matches!(part, Node::Field(earlier) if earlier.path == field.path),
                        );
                        parts.push(Node::Field(field));
                    }
                    other => {
                        let hint = match keys.last() {
                            Some(field) if OPERATORS.contains(&key.as_str()) => {
                                format!("an operator stands in a list: \"{field}\": [{{\"{key}\": …}}]")
                            }
                            _ => "put it in a list: [ ]".to_owned(),
                        };
                        reader.error(
                            format!("`{key}` must be a list of values or an object, not {}", other.kind()),
                            Some(hint),
                        );
                    }
                }
            });
        }
    }

    fn alternatives(&mut self, keys: &[&str], value: &Json<'_>) -> Node {
        let Json::List(alternatives) = value else {
            self.error(format!("`$or` must be a list of objects, not {}", value.kind()), None);
            return Node::Any(Vec::new());
        };
        if alternatives.len() < 2 {
            self.error(
                "`$or` needs at least two alternatives",
                Some("write a single one without `$or`".into()),
            );
        }
        let mut parts = Vec::new();
        for (position, alternative) in alternatives.iter().enumerate() {
            self.inside(position.to_string(), |reader| match alternative {
                Json::Object(members) => parts.push(reader.scope(keys, members, true)),
                other => {
                    reader.error(format!("an alternative of `$or` is an object, not {}", other.kind()), None)
                }
            });
        }
        Node::Any(parts)
    }

    fn values(&mut self, values: &[Json<'_>]) -> Vec<Matcher> {
        if values.is_empty() {
            self.error(
                "an empty list matches nothing",
                Some("to match a field that is absent, write [{\"exists\": false}]".into()),
            );
        }
        let mut matchers = Vec::new();
        for (position, value) in values.iter().enumerate() {
            matchers.extend(self.inside(position.to_string(), |reader| reader.value(value)));
        }
        matchers
    }

    fn value(&mut self, value: &Json<'_>) -> Option<Matcher> {
        Some(match value {
            Json::Null => Matcher::Literal("null"),
            Json::Bool(true) => Matcher::Literal("true"),
            Json::Bool(false) => Matcher::Literal("false"),
            Json::Number(text) => Matcher::Number(text.as_ref().into()),
            Json::Text(text) => {
                address(text).map_or_else(|| Matcher::Text(text.as_ref().into()), Matcher::Address)
            }
            Json::List(_) => {
                self.error(
                    "a list cannot stand in a list of values",
                    Some("arrays in events are searched as they are".into()),
                );
                return None;
            }
            Json::Object(members) => return self.expression(members),
        })
    }
}

/// The dotted text of a path. An empty first key leaves no trace, as in Event Ruler.
fn path(keys: &[&str], last: &str) -> String {
    match keys.join(".") {
        above if above.is_empty() => last.to_owned(),
        above => format!("{above}.{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong: `place: message (hint)`, one line each.
    fn problems(pattern: &str) -> Vec<String> {
        Pattern::parse_json(pattern).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_mistake_is_named_with_its_place_and_what_to_write() {
        for (pattern, expected) in [
            ("[]", "a pattern is an object, not a list"),
            ("{}", "an empty object selects nothing"),
            (r#"{"a":{}}"#, "at a: an empty object selects nothing"),
            (r#"{"a":[]}"#, "at a: an empty list matches nothing"),
            (
                r#"{"a":"x"}"#,
                "at a: `a` must be a list of values or an object, not a string (put it in a list: [ ])",
            ),
            (r#"{"a":{"prefix":"x"}}"#, r#"(an operator stands in a list: "a": [{"prefix": …}])"#),
            (r#"{"a":["x",["y"]]}"#, "at a.1: a list cannot stand in a list of values"),
            (r#"{"a":[{"prefx":"x"}]}"#, "at a.0.prefx: unknown operator `prefx` (did you mean `prefix`?)"),
            (r#"{"a":[{"anything_but":"x"}]}"#, "(did you mean `anything-but`?)"),
            (r#"{"a":[{"starts-with":"x"}]}"#, "(did you mean `prefix`?)"),
            (r#"{"a":[{"bananarama":"x"}]}"#, "(known are anything-but, cidr,"),
            (r#"{"a":[{"prefix":"x","suffix":"y"}]}"#, "at a.0: only one operator may stand in an object"),
            (r#"{"a":[{"prefix":"x","prefix":"y"}]}"#, "at a.0: only one operator may stand in an object"),
            (r#"{"a":[{}]}"#, "at a.0: an empty object matches nothing"),
            (r#"{"a":[{"prefix":["x"]}]}"#, "at a.0.prefix: `prefix` takes a string, not a list (repeat it:"),
            (r#"{"a":[{"prefix":{"wildcard":"x"}}]}"#, "`prefix` cannot hold `wildcard`"),
            (r#"{"a":[{"exists":"yes"}]}"#, "at a.0.exists: `exists` takes true or false, not a string"),
            (r#"{"a":[{"wildcard":"a**"}]}"#, "at a.0.wildcard: two `*` in a row"),
            (r#"{"a":[{"wildcard":"a\\b"}]}"#, "at a.0.wildcard: `\\` may stand only before `*` or `\\`"),
            (r#"{"a":[{"cidr":"10.0.0.0"}]}"#, "a range of addresses has one `/`"),
            (r#"{"a":[{"cidr":"10.0.0.0/33"}]}"#, "`33` is not a prefix length (0 to 32 for 10.0.0.0)"),
            (r#"{"a":[{"cidr":"10.0.0/8"}]}"#, "`10.0.0` is not an address"),
            (r#"{"a":[{"numeric":["=","5"]}]}"#, "at a.0.numeric: compares numbers, not strings"),
            (r#"{"a":[{"numeric":["==",5]}]}"#, "unknown comparison `==` (as in"),
            (r#"{"a":[{"numeric":["<",5,">",1]}]}"#, "takes one comparison, or `>` or `>=` first"),
            (r#"{"a":[{"numeric":[">=",5,"<=",5.0]}]}"#, "no number is in this range"),
            (r#"{"a":[{"anything-but":[]}]}"#, "an empty list excludes nothing"),
            (r#"{"a":[{"anything-but":["x",5]}]}"#, "strings and numbers cannot be mixed"),
            (
                r#"{"a":[{"anything-but":["x",null]}]}"#,
                "at a.0.anything-but.1: `anything-but` takes strings or numbers, not null",
            ),
            (r#"{"a":[{"anything-but":{"prefix":""}}]}"#, "every string has the empty prefix"),
            (
                r#"{"a":[{"anything-but":{"cidr":"10.0.0.0/8"}}]}"#,
                "`anything-but` cannot hold `cidr` (only prefix,",
            ),
            (r#"{"$or":[{"a":["x"]}]}"#, "at $or: `$or` needs at least two alternatives"),
            (r#"{"$or":[{"a":["x"]},"y"]}"#, "at $or.1: an alternative of `$or` is an object, not a string"),
            (r#"{"$or":[{"a":["x"]},{}]}"#, "at $or.1: an empty object selects nothing"),
            (
                r#"{"$or":[{"a":["x"]},{"b":{"prefix":["x"]}}]}"#,
                "`prefix` cannot be the name of a field inside `$or`",
            ),
            (r#"{"a":["x"]} x"#, "not valid json: trailing characters"),
            (r#"{"a":[null}"#, "not valid json: "),
        ] {
            let found = problems(pattern);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{pattern}\n  expected {expected}\n  found    {found:?}"
            );
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = problems(r#"{"a":[],"b":"x","$or":[{"c":[{"prefix":1}]},{"d":[{"cidr":"x"}]}]}"#);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn toml_says_null_by_an_object_and_json_does_not() {
        let value: serde_json::Value = serde_json::from_str(r#"{"a":[{"null":true}]}"#).unwrap();
        assert!(super::super::slow::matches(&Pattern::parse(&value).unwrap(), r#"{"a":null}"#));
        assert!(problems(r#"{"a":[{"null":true}]}"#)[0].contains("unknown operator"));
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let many: Vec<String> = (0..300).map(|n| format!(r#""f{n}":["x"]"#)).collect();
        assert!(problems(&format!("{{{}}}", many.join(",")))[0].contains("more than 256 fields"));
        let deep = format!("{}[1]{}", r#"{"a":"#.repeat(99), "}".repeat(99));
        assert!(problems(&deep).is_empty());
        let deeper = format!("{}[1]{}", r#"{"a":"#.repeat(3000), "}".repeat(3000));
        assert!(!problems(&deeper).is_empty());
    }
}
