use super::*;
use proptest::prelude::*;
use std::io;

/// Reads with a few variables and files that are there.
fn read(text: &str) -> Result<Resolved, Problems> {
    let around = Surroundings {
        variable: &|name| match name {
            "COUNT" => Some("7".to_owned()),
            "TRUTH" => Some("true".to_owned()),
            "SIZE" => Some("64 MiB".to_owned()),
            "NAME" => Some("GetObject".to_owned()),
            "KEY" => Some("hunter2".to_owned()),
            "NUMBER_KEY" => Some("12345".to_owned()),
            "DIGITS" => Some("111122223333".to_owned()),
            _ => None,
        },
        file: &|path| match path.to_str() {
            Some("/run/secrets/key") => Ok("from a file\n".to_owned()),
            Some("pattern.json") => Ok(r#"{"eventName": ["GetObject"]}"#.to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        },
        data_dir: &|| Some(PathBuf::from("/var/lib/trailship")),
        now: &|| crate::clock::Timestamp::from_seconds(1_780_272_000),
        canonical: &|path| Path::new("/here").join(path),
    };
    read_str("config.toml", text, &around)
}

fn fine(text: &str) -> Resolved {
    read(text).unwrap_or_else(|problems| panic!("{problems}"))
}

const SOURCE: &str = "[sources.trail]\ntype = \"files\"\npath = \"./trail\"\n";

/// The settings of the first transform, after one source.
fn transform(text: &str) -> TransformConfig {
    fine(&format!("{SOURCE}{text}")).transforms.remove(0).config
}

#[test]
fn variables_take_the_type_that_is_asked_for() {
    let resolved = fine(&format!(
        "memory = {{ env = \"SIZE\" }}\nworkers = {{ env = \"COUNT\" }}\norigin = {{ env = \"TRUTH\" }}\n{SOURCE}"
    ));
    assert_eq!(resolved.globals.memory.value(), &ByteSize::mib(64));
    assert_eq!(resolved.globals.workers, NonZeroUsize::new(7));
    assert!(resolved.globals.origin);
}

#[test]
fn a_default_holds_where_the_variable_is_not_set_and_gives_it_its_type() {
    let keep = |reference: &str| {
        let text = format!("[transforms.thin]\ntype = \"sample\"\nkeep_one_in = {reference}\n");
        match transform(&text) {
            TransformConfig::Sample(config) => config.keep_one_in.value().get(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(keep("{ env = \"GONE\", default = 50 }"), 50);
    assert_eq!(keep("{ env = \"COUNT\", default = 50 }"), 7);
    assert_eq!(keep("{ env = \"COUNT\" }"), 7);
}

#[test]
fn text_of_digits_stays_text_where_text_is_asked_for() {
    let text = format!("field = {{ env = \"DIGITS\" }}\n{SOURCE}");
    assert_eq!(fine(&text).globals.field.value(), "111122223333");
}

#[test]
fn secrets_come_from_variables_and_files_and_are_not_printed() {
    for (reference, expected) in [
        ("{ env = \"KEY\" }", "hunter2"),
        ("{ env = \"NUMBER_KEY\" }", "12345"),
        ("{ file = \"/run/secrets/key\" }", "from a file"),
    ] {
        let text = format!(
            "[transforms.private]\ntype = \"redact\"\nhash = [\"sourceIPAddress\"]\nkey = {reference}\n"
        );
        let config = transform(&text);
        assert!(!format!("{config:?}").contains(expected));
        let TransformConfig::Redact(config) = config else { panic!("{config:?}") };
        assert_eq!(config.key.map(|key| key.reveal().to_owned()).as_deref(), Some(expected));
    }
}

#[test]
fn a_secret_at_the_wrong_place_is_not_shown() {
    for place in ["memory", "workers", "origin", "stop_deadline", "rejects", "protect"] {
        let told = read(&format!("{place} = {{ env = \"KEY\" }}\n{SOURCE}")).unwrap_err().to_string();
        assert!(told.contains("`KEY`") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_pattern_may_hold_references_and_fields_that_are_called_like_them() {
    let pattern = |text: &str| {
        let text = format!("{SOURCE}[sinks.out]\ntype = \"stdout\"\nmatch = {text}\n");
        fine(&text)
            .sinks
            .remove(0)
            .config
            .matching()
            .map(|pattern| pattern.value().to_string())
            .unwrap_or_default()
    };
    assert_eq!(pattern("{ eventName = [{ env = \"NAME\" }] }"), r#"{"eventName":["GetObject"]}"#);
    assert_eq!(pattern("{ env = [\"prod\"], file = [\"x\"] }"), r#"{"env":["prod"],"file":["x"]}"#);
    assert_eq!(pattern("{ file = \"pattern.json\" }"), r#"{"eventName":["GetObject"]}"#);
}

/// Writes the order of a configuration: pipelines, and what each sink writes.
fn order(text: &str) -> String {
    fine(text).to_string()
}

#[test]
fn the_smallest_configuration_writes_to_standard_output() {
    assert_eq!(
        order(SOURCE),
        "\
pipeline main
  source     trail (files)
  sink       stdout (stdout), nested
memory 256 MiB, data_dir /var/lib/trailship
"
    );
}

#[test]
fn without_pipelines_everything_goes_in_file_order_except_shapes_that_a_sink_names() {
    let text = format!(
        "{SOURCE}
[transforms.z]
type = \"signals\"
[transforms.flat]
type = \"flatten\"
[transforms.other]
type = \"flatten\"
separator = \"_\"
[transforms.a]
type = \"sample\"
keep_one_in = 2
[sinks.one]
type = \"stdout\"
shape = \"other\"
[sinks.two]
type = \"stdout\"
[sinks.three]
type = \"stdout\"
shape = \"nested\"
match = {{ readOnly = [true] }}
"
    );
    assert_eq!(
        order(&text),
        "\
pipeline main
  source     trail (files)
  transform  z (signals)
  transform  a (sample)
  sink       one (stdout), other
  sink       two (stdout), flat
  sink       three (stdout), nested, only what its `match` selects
memory 256 MiB, data_dir /var/lib/trailship
"
    );
}

#[test]
fn flat_is_a_shape_without_being_declared_and_the_declared_one_where_it_is() {
    let shape = |text: &str| {
        let resolved = fine(&format!("{SOURCE}{text}[sinks.out]\ntype = \"stdout\"\nshape = \"flat\"\n"));
        resolved.pipelines[0].sinks[0].shape.clone()
    };
    let default = crate::transform::flatten::Config::default();
    assert_eq!(shape(""), Shape::Flatten { name: "flat".into(), config: default });
    let Shape::Flatten { config, .. } = shape("[transforms.flat]\ntype = \"flatten\"\nseparator = \"_\"\n")
    else {
        panic!("nested")
    };
    assert_eq!(config.separator.value(), "_");
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let told =
        read_file(Path::new("/nowhere/trailship.toml"), &Surroundings::system()).unwrap_err().to_string();
    assert!(told.starts_with("error: the configuration cannot be read"), "{told}");
    assert!(told.contains("/nowhere/trailship.toml"), "{told}");
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    let told = read(&format!("\"\\u001b[31m\" = 1\n[sources.\"a\\u001b\"]\ntype = \"\\u001b\"\n{SOURCE}"))
        .unwrap_err();
    assert!(!told.to_string().contains('\u{1b}'), "{told}");
}

#[test]
fn deep_nesting_is_refused_or_read_without_harm() {
    for text in [
        format!("{}x = 1", "a.".repeat(20_000)),
        format!("[{}x]", "a.".repeat(20_000)),
        format!("[sources.{}x]", "a.".repeat(20_000)),
        format!("x = {}", "[".repeat(20_000)),
        format!("x = {}", "{ a = ".repeat(20_000)),
        format!("protect.except = [{}", "[".repeat(60)),
    ] {
        assert!(read(&text).is_err());
    }
}

#[test]
fn what_is_asked_for_by_its_date_may_be_old() {
    for (source, is_live) in [
        ("type = \"files\"\npath = \"x\"", false),
        ("type = \"s3\"\nbucket = \"b\"", true),
        ("type = \"s3\"\nbucket = \"b\"\nsince = \"30 d\"", true),
        ("type = \"s3\"\nbucket = \"b\"\nsince = \"500 d\"", false),
        ("type = \"s3\"\nbucket = \"b\"\nsince = \"beginning\"", false),
        ("type = \"s3\"\nbucket = \"b\"\nsince = \"30 d\"\nuntil = \"1 d\"", false),
    ] {
        let resolved = read(&format!("[sources.a]\n{source}\n")).unwrap();
        assert_eq!(resolved.sources[0].config.is_live(), is_live, "{source}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, prop::sample::select(vec![
            "", "\n", "\"", "'", "[", "]", "{", "}", "=", ",", "[[", "]]", "x", "1", "-", ".", "\u{feff}", "\u{0}", "é",
            "{ env = \"COUNT\" }", "{ env = \"GONE\" }", "{ file = \"x\" }", "${X}", "true", "1979-05-27", "nan", "\"\"",
            "match = ", "type = ", "[sources]\n", "[pipelines.x]\n", "[[transforms.environment.rules]]\n",
        ])), 1..12),
    ) {
        let mut text = manual::example();
        for (place, cut, insert) in edits {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + cut).min(text.len()));
            text.replace_range(start..end, insert);
        }
        fuzz::config(text.as_bytes());
        let _ = read(&text);
    }
}
