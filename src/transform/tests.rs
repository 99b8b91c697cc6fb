//! The transforms in their chain: built from configuration text, run on single events.

use std::time::Duration;

use super::Decision;
use crate::clock::Timestamp;
use crate::testing::chain::Chain;
use crate::testing::contract;

const READ: &str = r#"{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","accountId":"111122223333","arn":"arn:aws:iam::111122223333:user/a"},"eventTime":"2026-01-15T10:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"us-east-1","eventID":"ID","readOnly":true,"eventCategory":"Data","recipientAccountId":"111122223333"}"#;

fn read(id: u64) -> String {
    READ.replace("\"ID\"", &format!("\"00000000-0000-0000-0000-{id:012}\""))
}

fn thin(name: &str, more: &str) -> String {
    format!("[transforms.{name}]\ntype = \"sample\"\n{more}\n")
}

#[test]
fn the_rates_of_kept_events_add_up_to_the_original_count() {
    let mut chain = Chain::new(&(thin("a", "keep_one_in = 7") + &thin("b", "keep_one_in = 3")));
    let (count, mut estimate, mut kept) = (30_000, 0.0, 0.0);
    for id in 0..count {
        let became = chain.run(&read(id));
        if became.kept() {
            let sample = became.value()["trailship"]["sample"].clone();
            assert_eq!(sample["rules"], serde_json::json!(["a", "b"]));
            estimate += sample["rate"].as_f64().unwrap();
            kept += 1.0;
        }
    }
    // Bernoulli with p = 1/21: the estimate's deviation is 21 sqrt(n p (1 - p)).
    let p: f64 = 1.0 / 21.0;
    let sigma = 21.0 * (30_000.0 * p * (1.0 - p)).sqrt();
    assert!((estimate - 30_000.0).abs() < 3.0 * sigma, "{estimate}, {kept} kept, sigma {sigma}");
}

#[test]
fn two_rules_in_a_row_choose_independently_and_the_same_rule_always_the_same() {
    let mut first = Chain::new(&thin("a", "keep_one_in = 4"));
    let mut second = Chain::new(&thin("b", "keep_one_in = 4"));
    let mut salted = Chain::new(&thin("b", "keep_one_in = 4\nsalt = \"a\""));
    let (mut both, mut kept) = (0, 0);
    for id in 0..4_000 {
        let one = first.run(&read(id)).kept();
        kept += u32::from(one);
        both += u32::from(one && second.run(&read(id)).kept());
        assert_eq!(one, salted.run(&read(id)).kept(), "the salt is the transform's name by default");
    }
    assert!((900..1100).contains(&kept), "{kept}");
    assert!((190..310).contains(&both), "{both}");
}

/// Frozen: a release that decides otherwise would ship other events after an upgrade than before.
#[test]
fn sampling_decisions_are_frozen() {
    let mut chain = Chain::new(&thin("thin", "keep_one_in = 10"));
    let kept: Vec<u64> = (0..60).filter(|&id| chain.run(&read(id)).kept()).collect();
    assert_eq!(kept, KEPT_BY_ID);
    let mut by_user = Chain::new(&thin("thin", "keep_one_in = 3\nby = \"userIdentity.arn\""));
    let user = |name: &str| read(1).replace("user/a", &format!("user/{name}"));
    let kept: Vec<&str> = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .into_iter()
        .filter(|name| by_user.run(&user(name)).kept())
        .collect();
    assert_eq!(kept, KEPT_BY_USER);
}

const KEPT_BY_ID: [u64; 7] = [5, 7, 17, 26, 41, 45, 48];
const KEPT_BY_USER: [&str; 3] = ["c", "g", "h"];

#[test]
fn protected_records_and_records_without_the_field_are_never_sampled() {
    let mut chain = Chain::new(&thin("a", "keep_one_in = 1000000\nby = \"requestParameters.bucketName\""));
    assert!(chain.run(&read(1)).kept());
    let mut chain = Chain::new(&thin("a", "keep_one_in = 1000000"));
    for id in 0..50 {
        assert!(!chain.run(&read(id)).kept());
        assert!(
            chain
                .run(&read(id).replace("\"readOnly\"", "\"errorCode\":\"AccessDenied\",\"readOnly\""))
                .kept()
        );
        assert!(chain.run(&read(id).replace("IAMUser", "Root")).kept());
        assert!(chain.run(&read(id).replace("s3.amazonaws.com", "sts.amazonaws.com")).kept());
    }
}

#[test]
fn exceptions_from_protection_go_by_name_and_by_pattern() {
    let denied = read(1).replace("\"readOnly\"", "\"errorCode\":\"NoSuchKey\",\"readOnly\"");
    let drop = "[transforms.f]\ntype = \"filter\"\ndrop = [{ eventName = [\"GetObject\"] }]\n";
    assert!(Chain::new(drop).run(&denied).kept());
    for except in ["\"errors\"", "{ errorCode = [\"NoSuchKey\"] }"] {
        let mut chain = Chain::new(&format!("[protect]\nexcept = [{except}]\n{drop}"));
        assert_eq!(
            chain.run(&denied).ended.map(|(_, decision)| decision),
            Some(Decision::Filter),
            "{except}"
        );
    }
    let also = format!("[protect]\nalso = {{ eventName = [\"GetObject\"] }}\n{drop}");
    assert!(Chain::new(&also).run(&read(1)).kept());
    assert!(!Chain::new(&format!("{drop}drop_protected = true\n")).run(&denied).kept());
}

#[test]
fn filter_keeps_what_matches_keep_or_drops_what_matches_drop() {
    let filter =
        |how: &str| format!("[transforms.f]\ntype = \"filter\"\n{how} = {{ awsRegion = [\"us-east-1\"] }}\n");
    let (mut keep, mut drop) = (Chain::new(&filter("keep")), Chain::new(&filter("drop")));
    for (region, named) in [("us-east-1", true), ("ap-south-1", false)] {
        let event = read(1).replace("us-east-1", region);
        assert_eq!((keep.run(&event).kept(), drop.run(&event).kept()), (named, !named), "{region}");
    }
}

const ACCOUNTS: &str = "account_id,name,ou_path,env,owner\n111122223333,payments,Root/Workloads/Prod,prod,pay-team\n444455556666,play-sandbox-1,Root/Sandbox,,\n";

fn accounts(folder: &std::path::Path, text: &str) -> String {
    let file = folder.join("accounts.csv");
    std::fs::write(&file, text).unwrap();
    format!(
        r#"
[transforms.accounts]
type = "account_tags"
file = {file:?}
tags = ["owner"]
[transforms.environment]
type = "environment"
default = "unknown"
[[transforms.environment.rules]]
set = "prod"
match = {{ tags = {{ env = ["prod", "production"] }} }}
[[transforms.environment.rules]]
set = "sandbox"
match = {{ name = [{{ wildcard = "*sandbox*" }}] }}
"#
    )
}

#[test]
fn accounts_and_callers_get_their_name_tags_and_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(&accounts(folder.path(), ACCOUNTS));
    let own = chain.run(&read(1)).value();
    let payments = serde_json::json!({"id": "111122223333", "name": "payments", "ou_path": "Root/Workloads/Prod", "tags": {"owner": "pay-team"}, "environment": "prod"});
    assert_eq!(own["trailship"], serde_json::json!({"account": payments}));
    let event = read(1).replacen("111122223333", "444455556666", 2);
    let other = chain.run(&event).value();
    assert_eq!(other["trailship"]["account"], payments);
    assert_eq!(other["trailship"]["caller"]["environment"], "sandbox");
    let unknown = chain.run(&read(1).replace("111122223333", "999900001111")).value();
    let expected =
        serde_json::json!({"account": {"id": "999900001111", "unknown": true, "environment": "unknown"}});
    assert_eq!(unknown["trailship"], expected);
}

#[test]
fn a_changed_accounts_file_is_taken_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(&accounts(folder.path(), ACCOUNTS));
    let name = |chain: &mut Chain| chain.run(&read(1)).value()["trailship"]["account"]["name"].clone();
    assert_eq!(name(&mut chain), "payments");
    std::fs::write(folder.path().join("accounts.csv"), "nonsense\n1,2\n").unwrap();
    chain.tick(Timestamp::from_seconds(100));
    assert_eq!(name(&mut chain), "payments");
    std::fs::remove_file(folder.path().join("accounts.csv")).unwrap();
    chain.tick(Timestamp::from_seconds(200));
    assert_eq!(name(&mut chain), "payments");
    std::fs::write(folder.path().join("accounts.csv"), ACCOUNTS.replace("payments", "billing")).unwrap();
    chain.tick(Timestamp::from_seconds(200).after(Duration::from_secs(5)));
    assert_eq!(name(&mut chain), "payments", "looked at again too soon");
    chain.tick(Timestamp::from_seconds(300));
    assert_eq!(name(&mut chain), "billing");
}

#[test]
fn session_tokens_are_removed_unless_switched_off_and_other_fields_on_request() {
    let event = read(1).replace(
        "\"readOnly\"",
        r#""responseElements":{"credentials":{"accessKeyId":"ASIAX","sessionToken":"SECRET=="}},"requestParameters":{"a":{"b":[1,{"c":"x"}]},"k":1},"readOnly""#,
    );
    let written = Chain::new("").run(&event).written;
    assert!(!written.contains("SECRET") && written.contains("ASIAX"), "{written}");
    let off = Chain::new("[transforms.r]\ntype = \"redact\"\ndefault = false\n").run(&event).written;
    assert!(off.contains("SECRET"));
    let text = "[transforms.r]\ntype = \"redact\"\nremove = [\"requestParameters.a\"]\nhash = [\"userIdentity.arn\"]\n";
    let value = Chain::new(text).run(&event).value();
    assert_eq!(value["requestParameters"], serde_json::json!({"k": 1}));
    let hashed = value["userIdentity"]["arn"].as_str().unwrap();
    assert!(hashed.len() == 32 && hashed.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hashed}");
    assert_eq!(value["responseElements"]["credentials"]["sessionToken"], "REDACTED");
}

#[test]
fn large_records_only_are_trimmed_and_say_what_went() {
    let small = read(1).replace("\"readOnly\"", r#""requestParameters":{"a":1},"readOnly""#);
    let large = small.replace("{\"a\":1}", &format!("{{\"a\":\"{}\"}}", "x".repeat(2000)));
    let rule = |name: &str, remove: &str| {
        format!("[transforms.{name}]\ntype = \"redact\"\nover = \"2 kB\"\nremove = [{remove}]\n")
    };
    let text = rule("a", "\"responseElements\", \"requestParameters\"")
        + &rule("b", "\"requestParameters\", \"awsRegion\"");
    let mut chain = Chain::new(&text);
    let trimmed = chain.run(&large).value();
    assert_eq!(trimmed["trailship"]["redacted"], serde_json::json!(["requestParameters", "awsRegion"]));
    assert!(trimmed["requestParameters"].is_null() && trimmed["awsRegion"].is_null(), "{trimmed}");
    let kept = chain.run(&small).value();
    assert_eq!(
        (&kept["requestParameters"]["a"], &kept["trailship"]["redacted"]),
        (&1.into(), &serde_json::Value::Null)
    );
    // Without a size nothing is listed.
    let all = Chain::new("[transforms.r]\ntype = \"redact\"\nremove = [\"awsRegion\"]\n").run(&small).value();
    assert_eq!(
        (&all["awsRegion"], &all["trailship"]["redacted"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn a_family_protects_whether_or_not_signals_is_configured() {
    let event = read(1)
        .replace("GetObject", "GetSecretValue")
        .replace("s3.amazonaws.com", "secretsmanager.amazonaws.com");
    let mut chain = Chain::new(&thin("a", "keep_one_in = 1000000"));
    assert!(chain.run(&event).kept());
    let mut chain = Chain::new(&format!(
        "[protect]\nexcept = [\"secrets_read\"]\n{}",
        thin("a", "keep_one_in = 1000000")
    ));
    assert!(!chain.run(&event).kept());
}

#[test]
fn every_transform_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let all = accounts(folder.path(), ACCOUNTS)
        + "[transforms.signals]\ntype = \"signals\"\n"
        + &thin("thin", "keep_one_in = 3")
        + "[transforms.f]\ntype = \"filter\"\ndrop = { awsRegion = [\"eu-west-1\"] }\n"
        + "[transforms.r]\ntype = \"redact\"\nhash = [\"userIdentity.arn\"]\n[transforms.flat]\ntype = \"flatten\"\n";
    let events: Vec<String> = (0..40)
        .map(|id| if id % 5 == 0 { read(id).replace("GetObject", "StopLogging") } else { read(id) })
        .collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    contract::transform(&all, &events).unwrap();
}

/// A name as Rust writes that of a variant: `AccountTags` of `account_tags`.
fn variant(kind: &str) -> String {
    kind.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// Whether a line of the program names the transform.
fn names(line: &str, kind: &str) -> bool {
    let variant = variant(kind);
    let as_variant = |before: &str| {
        let wanted = format!("{before}{variant}");
        line.match_indices(&wanted)
            .any(|(at, found)| !line[at + found.len()..].starts_with(|next: char| next.is_alphanumeric()))
    };
    line.contains(&format!("\"{kind}\""))
        || line.contains(&format!("mod {kind};"))
        || line.trim_start().starts_with(&format!("{variant}({kind}::"))
        || line.trim_start().starts_with(&format!("{variant}(transform::{kind}::"))
        || ["Self::", "TransformConfig::", "AnyTransform::"].into_iter().any(as_variant)
}

/// What a transform needs beside its own file: what stands at the head of [`super::AnyTransform`] and in `config/kinds.rs`.
#[test]
fn a_transform_is_its_file_a_line_in_the_enums_and_an_arm_in_each_function() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let kinds = <crate::config::TransformConfig as crate::config::Kind>::TYPES;
    let program = walkdir::WalkDir::new(root.join("src")).sort_by_file_name().into_iter().map(Result::unwrap);
    let mut lists = Vec::new();
    for file in program.filter(|file| file.path().extension().is_some_and(|ending| ending == "rs")) {
        let path = file.path().strip_prefix(root).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        if kinds.iter().all(|kind| text.lines().any(|line| names(line, kind))) {
            lists.push(path.to_owned());
        }
    }
    assert_eq!(lists, ["src/config/kinds.rs", "src/config/manual/example.rs", "src/transform.rs"]);

    // One that needs nothing special.
    let places = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let (mut place, mut places) = (String::new(), Vec::<String>::new());
        for line in text.lines() {
            let words: Vec<&str> =
                line.split(|part: char| !(part.is_alphanumeric() || part == '_')).collect();
            let begins = words.iter().position(|word| ["mod", "enum", "fn", "TYPES"].contains(word));
            if let Some(at) = begins {
                place = if words[at] == "TYPES" { "TYPES".to_owned() } else { words[at + 1].to_owned() };
            }
            if names(line, "signals") && places.last() != Some(&place) {
                places.push(place.clone());
            }
        }
        places
    };
    assert_eq!(
        places("src/transform.rs"),
        ["signals", "AnyTransform", "build", "kind", "apply", "explain", "settled", "reload", "tick"]
    );
    assert_eq!(
        places("src/config/kinds.rs"),
        ["TransformConfig", "TYPES", "read", "schema", "kind", "matching"]
    );
}
