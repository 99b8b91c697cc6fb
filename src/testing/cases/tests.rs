//! The shipped cases through the runner, and what the runner says of cases that do not hold.

use super::*;
use crate::pattern::family;
use crate::pipeline::chain::default_configuration;

const EVENT: &str = r#"{"eventVersion":"1.11","eventID":"1","eventSource":"s3.amazonaws.com","eventName":"GetObject","eventCategory":"Data","readOnly":true,"requestParameters":{"a":[{"b":1.0}],"n":null},"recipientAccountId":"111122223333"}"#;

#[test]
fn every_shipped_case_holds() {
    let families = family::shipped().unwrap();
    let mut runner = Runner::new(&default_configuration().unwrap(), &families).unwrap();
    let mut count = 0;
    for shipped in family::SHIPPED {
        for case in parse(shipped.folder, shipped.cases).unwrap().case {
            if let Err(failure) = runner.run(&case, Some(shipped.folder)) {
                panic!("{}: {}: {}", shipped.folder, case.name, failure.differs);
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

/// What differs in the only case of a file; `None`: it holds.
fn differs(input: &str, expect: &str) -> Option<String> {
    let text = format!("[[case]]\nname = \"n\"\ninput = '''{input}'''\nexpect = {expect}\n");
    let case = parse("x", &text).unwrap().case.remove(0);
    let mut runner = Runner::new(&default_configuration().unwrap(), &family::shipped().unwrap()).unwrap();
    runner.run(&case, None).err().map(|failure| failure.differs)
}

#[test]
fn what_is_expected_is_compared_by_path() {
    for holds in [
        "{ kept = true, signals = [] }",
        "{ fields = { eventName = \"GetObject\", requestParameters.a.0.b = 1 } }",
        "{ fields = { \"requestParameters.a.0.b\" = 1.0, requestParameters.n = { null = true } } }",
        "{ fields = { requestParameters.x = { missing = true }, errorCode = { missing = true } } }",
        "{ fields = { requestParameters.a = [{ b = 1 }] } }",
    ] {
        assert_eq!(differs(EVENT, holds), None, "{holds}");
    }
    for (expect, said) in [
        ("{ kept = false }", "kept: expected false, got true"),
        ("{ fields = { requestParameters.a.0.b = 2 } }", "requestParameters.a.0.b: expected 2, got 1.0"),
        ("{ fields = { errorCode = \"x\" } }", "errorCode: expected \"x\", got {\"missing\":true}"),
        (
            "{ fields = { eventName = { missing = true } } }",
            "eventName: expected {\"missing\":true}, got \"GetObject\"",
        ),
        ("{ signals = [\"dry_run\"] }", "trailship.signals: expected [\"dry_run\"], got []"),
        ("{ rejected = \"x\" }", "rejected: expected a reason with \"x\", got it was not rejected"),
    ] {
        assert_eq!(differs(EVENT, expect).as_deref(), Some(said));
    }
}

#[test]
fn input_that_is_no_event_is_rejected_or_left_out() {
    assert_eq!(differs(&EVENT[..40], "{ rejected = \"inside a record\", kept = false }"), None);
    let digest = r#"{"awsAccountId":"111122223333","digestEndTime":"2026-01-15T11:00:00Z"}"#;
    assert_eq!(differs(digest, "{ kept = false }"), None);
    let two = format!("{EVENT}\n{EVENT}");
    assert_eq!(differs(&two, "{ rejected = \"2 events\" }"), None);
    let said = differs(digest, "{ fields = { a = 1 } }").unwrap();
    assert_eq!(said, "a: expected 1, got nothing: left out: digest");
}

#[test]
fn mistakes_in_cases_are_named() {
    let case = "[[case]]\nname = \"n\"\ninput = \"{}\"\nexpect = { signals = [] }\n";
    assert_eq!(parse("x", case).unwrap().case.len(), 1);
    for (text, said) in [
        (case.repeat(2), "unique"),
        (case.replace("signals = []", ""), "`expect` is empty"),
        ("[[case]]".to_owned(), "missing field"),
        (case.replace("signals", "signal"), "unknown field"),
    ] {
        assert!(parse("x", &text).unwrap_err().to_string().contains(said), "{said}");
    }
}
