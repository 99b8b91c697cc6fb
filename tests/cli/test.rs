//! `test`: what ships, a configuration's own cases, and what is said of a case that does not hold.

use std::fs;
use std::path::Path;

use super::{golden, run, text};

const CONFIGURATION: &str = r#"
data_dir = "state"
[sources.trail]
type = "files"
path = "trail"
[transforms.accounts]
type = "account_tags"
file = "accounts.csv"
[transforms.environment]
type = "environment"
rules = [{ set = "prod", match = { name = ["payments"] } }]
[transforms.signals]
type = "signals"
[transforms.quiet]
type = "filter"
drop = { eventName = ["Decrypt"] }
[transforms.flat]
type = "flatten"
[sinks.archive]
type = "file"
path = "out/{date}.ndjson"
"#;

const CASES: &str = r#"
[[case]]
name = "a secret that is read is tagged"
input = '{"eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","readOnly":true,"recipientAccountId":"111122223333"}'
expect = { kept = true, signals = ["secrets_read"], fields = { trailship.account.environment = "prod" } }

[[case]]
name = "decryption is noise"
input = '{"eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventCategory":"Management","readOnly":true}'
expect = { kept = false }

[[case]]
name = "half an event"
input = '{"eventSource":"kms.amazonaws.com","eventName'
expect = { rejected = "inside a record" }
"#;

const WRONG: &str = r#"
[[case]]
name = "decryption is kept"
why = "it is not"
input = '{"eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventCategory":"Management","readOnly":true}'
expect = { kept = true, fields = { eventName = "Decrypt" } }

[[case]]
name = "an unknown account is production"
input = '''
{"eventSource":"s3.amazonaws.com","eventName":"GetObject\u001b[2J","eventCategory":"Data",
 "readOnly":true,"recipientAccountId":"999900001111"}
'''
expect = { kept = true, fields = { "trailship.account.environment" = "prod", eventCategory = "Data" } }

[[case]]
name = "the family is another"
input = '{"eventSource":"s3.amazonaws.com","eventName":"PutBucketPolicy","readOnly":false,"recipientAccountId":"111122223333"}'
expect = { signals = ["s3_exposure", "s3_exposure.public"] }

[[case]]
name = "a pipeline that is not there"
pipeline = "second"
input = '{"eventSource":"s3.amazonaws.com","eventName":"GetObject"}'
expect = { kept = true }
"#;

fn prepare(directory: &Path) {
    fs::write(directory.join("trailship.toml"), CONFIGURATION).unwrap();
    fs::write(directory.join("trailship.cases.toml"), CASES).unwrap();
    fs::write(directory.join("accounts.csv"), "account_id,name\n111122223333,payments\n").unwrap();
}

#[test]
fn without_a_path_what_ships_and_the_configuration_are_tested() {
    let here = tempfile::tempdir().unwrap();
    let shipped = run(here.path(), &["test"]);
    assert_eq!(shipped.status.code(), Some(0), "{}", text(&shipped.stdout));
    assert!(text(&shipped.stdout).contains("signals/s3_exposure"));
    prepare(here.path());
    let output = run(here.path(), &["test"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let told = text(&output.stdout);
    assert!(told.starts_with(text(&shipped.stdout).split("\n\n").next().unwrap()), "{told}");
    assert!(told.contains("trailship.cases.toml: 3 cases, through ./trailship.toml"), "{told}");
}

#[test]
fn the_cases_of_a_configuration_are_found_from_it_from_their_folder_and_by_their_name() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    for path in ["trailship.toml", ".", "trailship.cases.toml"] {
        let output = run(here.path(), &["test", path]);
        assert_eq!(output.status.code(), Some(0), "{path}: {}", text(&output.stdout));
        assert!(text(&output.stdout).ends_with("\n3 cases hold\n"), "{path}");
    }
    fs::create_dir(here.path().join("more")).unwrap();
    fs::write(here.path().join("more/cases.toml"), format!("configuration = \"../trailship.toml\"\n{CASES}"))
        .unwrap();
    assert_eq!(run(here.path(), &["test", "more"]).status.code(), Some(0));
    let names: Vec<_> = fs::read_dir(here.path()).unwrap().collect();
    assert_eq!(names.len(), 4, "nothing is written");
}

/// The families of the source tree, as somebody edits them.
#[test]
fn a_family_in_a_folder_stands_for_the_shipped_one() {
    let here = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("transforms/signals");
    let output = run(here.path(), &["test", shipped.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let own = here.path().join("dry_run");
    fs::create_dir(&own).unwrap();
    fs::copy(shipped.join("dry_run/cases.toml"), own.join("cases.toml")).unwrap();
    let family = fs::read_to_string(shipped.join("dry_run/family.toml")).unwrap();
    fs::write(own.join("family.toml"), family.replace("Client.DryRunOperation", "Nothing")).unwrap();
    let output = run(here.path(), &["test", "dry_run"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}

#[test]
fn a_case_that_does_not_hold_shows_where_it_differs_and_ends_with_1() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    fs::write(here.path().join("wrong.toml"), WRONG).unwrap();
    let output = run(here.path(), &["test", "wrong.toml", "trailship.cases.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(!told.contains('\u{1b}'));
    golden("test-failed.txt", here.path(), &told);
}

#[test]
fn cases_that_cannot_be_run_are_told_what_to_do() {
    let here = tempfile::tempdir().unwrap();
    prepare(here.path());
    fs::create_dir(here.path().join("folder")).unwrap();
    fs::write(here.path().join("folder/other.toml"), CONFIGURATION).unwrap();
    let files = [
        ("broken.cases.toml", "[[case]]\nname = \n"),
        (
            "twice.cases.toml",
            "[[case]]\nname = \"a\"\ninput = \"{}\"\nexpect = { kept = true }\n[[case]]\nname = \"a\"\ninput = \"{}\"\nexpect = { kept = true }\n",
        ),
        ("nothing.cases.toml", "[[case]]\nname = \"a\"\ninput = \"{}\"\nexpect = {}\n"),
        ("misspelt.cases.toml", "[[case]]\nname = \"a\"\ninput = \"{}\"\nexpect = { keep = true }\n"),
    ];
    for (name, content) in files {
        fs::write(here.path().join(name), content).unwrap();
    }
    fs::create_dir(here.path().join("empty")).unwrap();
    let mut told = String::new();
    let places = files.map(|(name, _)| name);
    for place in places.into_iter().chain(["none.toml", "empty", "folder/other.toml"]) {
        let output = run(here.path(), &["test", place]);
        assert!(output.stdout.is_empty());
        let code = output.status.code().unwrap();
        told.push_str(&format!("$ trailship test {place}\n{}[{code}]\n\n", text(&output.stderr)));
    }
    golden("test-errors.txt", here.path(), &told);
}
