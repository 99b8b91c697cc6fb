//! Words for people: what serde's errors mean, what a misspelt name may have meant, what other shippers' names are here.

use super::value::LABEL;

/// Returns the candidate that `name` was probably meant to be.
pub(super) fn closest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let name = plain(name);
    let most = (name.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Says what a key of another shipper is called here. `place` is `root`, `source`, `transform`, `sink` or `pipeline`.
pub(super) fn foreign_key(place: &str, kind: &str, key: &str) -> Option<&'static str> {
    Some(match (place, kind, key.to_ascii_lowercase().as_str()) {
        ("transform" | "sink", _, "input" | "inputs" | "from" | "source" | "sources") => {
            "wiring stands in [pipelines.NAME]: sources, transforms, sinks"
        }
        ("source" | "transform", _, "output" | "outputs" | "to" | "sink" | "sinks") => {
            "wiring stands in [pipelines.NAME]: sources, transforms, sinks"
        }
        ("transform", "filter", "condition" | "if" | "when" | "match") => {
            "write keep = { … } or drop = { … }, an event pattern"
        }
        ("transform", "sample", "exclude") => {
            "protected records are always kept; add to them with `also` in [protect]"
        }
        ("transform" | "sink", _, "condition" | "if" | "when" | "query" | "where" | "filter") => {
            "write match = { … }, an event pattern"
        }
        (
            "transform",
            "sample",
            "rate" | "ratio" | "percent" | "percentage" | "probability" | "sampling_percentage",
        ) => "write keep_one_in = 50 to keep one record in 50",
        ("transform", "sample", "key_field" | "group_by" | "field" | "hash_seed") => {
            "write by = \"eventID\" and salt = \"…\""
        }
        ("transform", "redact", "fields" | "filters" | "patterns") => {
            "write remove = [\"path.to.value\"] or hash = [\"…\"]"
        }
        ("transform", "account_tags", "path" | "csv" | "accounts") => "write file = \"accounts.csv\"",
        ("source", _, "include" | "paths" | "files" | "file" | "directory" | "dir") => {
            "write path = \"…\" or path = [\"…\", \"…\"]"
        }
        ("source", _, "read_from" | "start_at" | "start_position" | "read_from_head" | "ignore_older") => {
            "everything found is read once; progress is kept in `data_dir`"
        }
        (
            "source",
            _,
            "codec" | "encoding" | "decoding" | "framing" | "format" | "compression" | "parser",
        ) => "remove it: formats and compression are recognised",
        ("sink", _, "encoding" | "codec" | "format") => "records are written as NDJSON; see `shape`",
        ("sink", _, "compress" | "gzip") => "write compression = \"gzip\"",
        ("sink", _, "batch" | "buffer" | "buffers" | "acknowledgements" | "healthcheck") => {
            "remove it: nothing is let go before it is written, and `memory` bounds what is held"
        }
        ("root", _, "input" | "inputs" | "receivers") => "write [sources.NAME]",
        ("root", _, "output" | "outputs" | "exporters" | "destinations") => "write [sinks.NAME]",
        ("root", _, "filter" | "filters" | "processors" | "steps") => "write [transforms.NAME]",
        ("root", _, "service" | "route" | "routes" | "flow") => "write [pipelines.NAME]",
        ("root", _, "log_level" | "log" | "logging") => {
            "the log is set on the command line; see `run --help`"
        }
        ("root", _, "buffer" | "memory_limit" | "mem_buf_limit") => "write memory = \"256 MiB\"",
        ("root", _, "state" | "state_dir" | "state_file" | "db") => "write data_dir = \"…\"",
        (_, _, "kind" | "plugin" | "@type" | "name") => "write type = \"…\"; the name stands in the header",
        _ => return None,
    })
}

/// Says what a `type` of another shipper is called here.
pub(super) fn foreign_type(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "remap" | "lua" | "script" | "vrl" | "transform" => {
            "there are no scripts; see `filter`, `redact`, `sample`, `flatten`, `account_tags`"
        }
        "route" | "swimlanes" | "exclusive_route" => "routing is a `match` on each sink",
        "console" | "debug" => "write type = \"stdout\"",
        "tail" | "file_log" | "filelog" => "write type = \"files\"",
        "stdin" => "write type = \"files\" and path = \"-\"",
        "deduplicate" | "unique" | "fingerprint" => "write type = \"dedupe\"",
        "throttle" | "reduce" | "aggregate" => "there is no such step yet; see `sample` and `filter`",
        _ => return None,
    })
}

/// What an error of serde says, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A key that is not a field; the fields.
    UnknownKey(String, Vec<String>),
    /// A value that is not one of these.
    UnknownValue(String, Vec<String>),
    /// A field that must be there.
    Missing(String),
    /// A value of another type (`false`) or outside its range (`true`): what was found, what was expected.
    Unfit { range: bool, found: String, expected: String },
    /// Our own words: message and label.
    Own(String, String),
}

/// Takes an error text of serde apart.
pub(super) fn understand(message: &str) -> Said {
    if let Some((message, label)) = message.split_once(LABEL) {
        return Said::Own(message.to_owned(), label.to_owned());
    }
    // The name may hold ticks and commas itself; the list that follows it never does.
    let listed = |rest: &str| {
        let end = rest.find("`, expected ").or_else(|| rest.find("`, there are no ")).unwrap_or(rest.len());
        let list = rest.get(end + 1..).unwrap_or_default();
        (rest[..end].to_owned(), list.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
    };
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (name, fields) = listed(rest);
        return Said::UnknownKey(name, fields);
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (name, variants) = listed(rest);
        return Said::UnknownValue(name, variants);
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        return Said::Missing(rest.trim_end_matches('`').to_owned());
    }
    for (prefix, range) in [("invalid type: ", false), ("invalid value: ", true)] {
        if let Some((found, expected)) =
            message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return Said::Unfit { range, found: found.to_owned(), expected: expected.to_owned() };
        }
    }
    Said::Own(message.to_owned(), String::new())
}

/// Puts what serde found in a reader's words.
pub(super) fn found_words(found: &str) -> String {
    match found.split_once(' ').map_or(found, |(kind, _)| kind) {
        "string" => "text".to_owned(),
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        "integer" => "a number".to_owned(),
        "floating" => "a number with a point".to_owned(),
        "boolean" => found.trim_start_matches("boolean ").to_owned(),
        _ => found.to_owned(),
    }
}

/// Puts what serde expected in a reader's words.
pub(super) fn expected_words(expected: &str) -> String {
    match expected {
        "a string" | "path string" => "text in quotes".to_owned(),
        "a boolean" => "`true` or `false`, without quotes".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a map" => "a table".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0".to_owned(),
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number from 1".to_owned(),
        text if text.starts_with("struct ") => "a table".to_owned(),
        text => text.to_owned(),
    }
}

/// Joins names as a reader would say them: "`a`, `b` or `c`".
pub(super) fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    joined(names, "or")
}

/// Joins names as a reader would say them: "`a`, `b` and `c`".
pub(super) fn all_of<S: AsRef<str>>(names: &[S]) -> String {
    joined(names, "and")
}

fn joined<S: AsRef<str>>(names: &[S], word: &str) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match &names[..] {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_find_what_was_meant() {
        let names = ["keep_one_in", "match", "by", "salt"];
        assert_eq!(closest("keep_one_inn", names), Some("keep_one_in"));
        assert_eq!(closest("keepOneIn", names), Some("keep_one_in"));
        assert_eq!(closest("Match", names), Some("match"));
        assert_eq!(closest("mathc", names), Some("match"));
        assert_eq!(closest("xx", names), None);
        assert_eq!(closest("flush_interval", names), None);
    }

    #[test]
    fn serde_errors_are_understood() {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            understand("unknown field `x`, expected one of `a`, `b`, `c`"),
            Said::UnknownKey("x".into(), own(&["a", "b", "c"]))
        );
        assert_eq!(
            understand("unknown field `x`, expected `a` or `b`"),
            Said::UnknownKey("x".into(), own(&["a", "b"]))
        );
        assert_eq!(understand("unknown field `x`, expected `a`"), Said::UnknownKey("x".into(), own(&["a"])));
        assert_eq!(
            understand("unknown field `x`, there are no fields"),
            Said::UnknownKey("x".into(), vec![])
        );
        assert_eq!(understand("missing field `x`"), Said::Missing("x".into()));
        assert_eq!(
            understand("invalid type: string \"a, expected b\", expected u32"),
            Said::Unfit { range: false, found: "string \"a, expected b\"".into(), expected: "u32".into() }
        );
    }
}
