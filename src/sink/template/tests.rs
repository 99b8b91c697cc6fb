use super::*;
use crate::clock::Timestamp;
use crate::config::Duration;
use proptest::prelude::*;

/// 2026-01-15T00:00:00Z.
const DAY: i64 = 1_768_435_200;

fn values() -> Values<'static> {
    Values {
        time: Some(DAY + 13 * 3600),
        account: Account::parse(b"111122223333"),
        region: Some(b"eu-west-1"),
        environment: Some("prod"),
        kind: EventKind::NetworkActivity,
    }
}

fn render(text: &str, values: &Values<'_>) -> String {
    Partitions::new(Template::parse(text).unwrap(), "archive").render(values, TimeRange::default())
}

#[test]
fn names_in_braces_are_replaced() {
    for (text, root, path) in [
        ("out/{account}/{date}.ndjson", "out", "111122223333/2026-01-15.ndjson"),
        ("/var/log/{year}/{month}/{day}/{hour}.ndjson.gz", "/var/log", "2026/01/15/13.ndjson.gz"),
        ("{region}.ndjson", ".", "eu-west-1.ndjson"),
        ("/{region}.ndjson", "/", "eu-west-1.ndjson"),
        ("out/all.ndjson", "out", "all.ndjson"),
        ("all", ".", "all"),
        ("../out/{sink}-{kind}.{environment}", "../out", "archive-network_activity.prod"),
        ("100%/{date}", "100%", "2026-01-15"),
    ] {
        let template = Template::parse(text).unwrap();
        assert_eq!(template.root(), root, "{text}");
        assert_eq!(template.to_string(), text);
        assert_eq!(render(text, &values()), path, "{text}");
    }
}

#[test]
fn other_languages_and_other_names_are_refused_with_what_to_write() {
    for (text, hint) in [
        ("", "ends with a file's name"),
        ("out/", "ends with a file's name"),
        ("out/{{ recipientAccountId }}.ndjson", "{account}"),
        ("out/${account}.ndjson", "{account}"),
        ("out/%Y/%m/%d.ndjson", "{date}"),
        ("out/{recipientAccountId}.ndjson", "write {account}"),
        ("out/{awsRegion}.ndjson", "write {region}"),
        ("out/{ account }.ndjson", "write {account}"),
        ("out/{Account}.ndjson", "write {account}"),
        ("out/{env}.ndjson", "write {environment}"),
        ("out/{sourceIPAddress}.ndjson", "a path may use {date}, {hour}"),
        ("out/{}.ndjson", "a path may use"),
        ("out/{account.ndjson", "write {account}"),
        ("out/account}.ndjson", "write {account}"),
        ("out/{account}/../x.ndjson", "a name of its own"),
        ("out/{account}//x.ndjson", "a name of its own"),
        ("out/{account}/./x.ndjson", "a name of its own"),
        ("out/..", "a name of its own"),
        ("out/{account}\n.ndjson", "remove it"),
        ("~/out/{account}.ndjson", "in full"),
        ("out/{region}{region}{region}{region}", "more folders"),
    ] {
        let error = Template::parse(text).unwrap_err();
        assert!(error.hint.contains(hint), "{text}: {error:?}");
    }
    assert!(Template::parse(&"x".repeat(2000)).is_err());
}

#[test]
fn nasty_values_become_invalid() {
    let long = "x".repeat(65);
    let fine = "x".repeat(64);
    for (text, wanted) in [
        ("../../etc", INVALID),
        ("..", INVALID),
        (".", INVALID),
        ("", INVALID),
        ("/etc/passwd", INVALID),
        ("eu-west-1/", INVALID),
        ("a\0b", INVALID),
        ("a b", INVALID),
        ("a\nb", INVALID),
        ("\u{202e}moc", INVALID),
        ("ｅｕ", INVALID),
        ("C:\\x", INVALID),
        (long.as_str(), INVALID),
        (fine.as_str(), fine.as_str()),
        ("...", "..."),
        (".hidden", ".hidden"),
        ("-rf", "-rf"),
    ] {
        let region = Values { region: Some(text.as_bytes()), ..values() };
        assert_eq!(render("o/{region}", &region), wanted, "{text:?}");
        let environment = Values { environment: Some(text), ..values() };
        assert_eq!(render("o/{environment}", &environment), wanted, "{text:?}");
        // An account is 12 digits or none.
        let account = Values { account: Account::parse(text.as_bytes()), ..values() };
        assert_eq!(render("o/{account}", &account), UNKNOWN);
    }
    assert_eq!(render("o/{region}", &Values { region: Some(b"\xff"), ..values() }), INVALID);
}

#[test]
fn absent_values_are_unknown() {
    let path = render("o/{date}-{hour}-{account}-{region}-{environment}-{kind}", &Values::default());
    assert_eq!(path, "_unknown-_unknown-_unknown-_unknown-_unknown-other");
}

#[test]
fn values_beyond_ten_thousand_overflow() {
    let partitions = Partitions::new(Template::parse("o/{region}").unwrap(), "archive");
    let range = TimeRange::default();
    for number in 0..MOST_VALUES {
        let text = format!("r{number}");
        let path = partitions.render(&Values { region: Some(text.as_bytes()), ..values() }, range);
        assert_eq!(path, text);
    }
    let path = |text: &[u8]| partitions.render(&Values { region: Some(text), ..values() }, range);
    assert_eq!(path(b"one-more"), OVERFLOW);
    assert_eq!(path(b"r9999"), "r9999");
    assert_eq!(partitions.counts(), Counts { overflow: 1, ..Counts::default() });
}

#[test]
fn times_out_of_range_have_a_place_of_their_own() {
    let now = Timestamp::from_seconds(DAY);
    let live = TimeRange::new(None, true, now);
    let again = TimeRange::new(None, false, now);
    let month = TimeRange::new(Some("30 d".parse().unwrap()), true, now);
    let any = TimeRange::new(Some(Oldest::Any), true, now);
    assert_eq!(again, any);
    let partitions = Partitions::new(Template::parse("o/{date}").unwrap(), "archive");
    let day = 86_400;
    for (offset, range, fits) in [
        (0, live, true),
        (day, live, true),
        (day + 1, live, false),
        (-400 * day, live, true),
        (-400 * day - 1, live, false),
        (-400 * day - 1, again, true),
        (day + 1, again, false),
        (-30 * day - 1, month, false),
        (-30 * day, month, true),
        (i64::MIN + DAY, any, false),
        (i64::MAX - DAY, any, false),
        (TimeRange::FIRST - DAY - 1, any, false),
        (TimeRange::FIRST - DAY, any, true),
        (TimeRange::LAST - DAY, TimeRange::default(), true),
        (TimeRange::LAST + 1 - DAY, TimeRange::default(), false),
    ] {
        let time = Some(DAY.saturating_add(offset));
        let path = partitions.render(&Values { time, ..values() }, range);
        assert_eq!(path != OUT_OF_RANGE, fits, "{offset} {range:?} {path}");
    }
    assert_eq!(partitions.counts().out_of_range, 8);
}

#[test]
fn oldest_is_a_duration_or_any() {
    assert_eq!("any".parse(), Ok(Oldest::Any));
    assert_eq!("400 d".parse(), Ok(Oldest::Age(Duration::days(400))));
    assert!("400".parse::<Oldest>().is_err());
    assert_eq!(Oldest::Any.to_string().parse(), Ok(Oldest::Any));
}

proptest! {
    #[test]
    fn a_rendered_path_never_leaves_the_root(
        text in "(out/)?[a-z{}./%$]{0,12}(\\{(account|region|environment|date|kind|sink)\\}[-./a-z]{0,3}){0,4}",
        region in any::<Vec<u8>>(),
        environment in ".{0,70}",
        time in any::<Option<i64>>(),
    ) {
        let Ok(template) = Template::parse(&text) else { return Ok(()) };
        let partitions = Partitions::new(template, "archive");
        let values = Values { time, region: Some(&region), environment: Some(&environment), ..values() };
        let path = partitions.render(&values, TimeRange::default());
        prop_assert!(stays_below(&path), "{path:?}");
    }

    #[test]
    fn any_bytes_are_a_safe_template_or_none(data in any::<Vec<u8>>()) {
        fuzz::template(&data);
    }
}
