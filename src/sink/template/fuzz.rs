//! Templates under a fuzzer: no value of an event leads out of the root, and a path is what reading it aloud gives.

use super::{Counts, INVALID, OUT_OF_RANGE, Partitions, Template, TimeRange, UNKNOWN, Values, stays_below};
use crate::record::identity::{Account, EventKind};

/// A template, an account, a region, an environment and eight bytes of time, between bytes `FF` (text never has them;
/// no bytes at all: the value is absent).
///
/// # Panics
/// When a path could leave its root, or is not what the names in braces stand for.
pub fn template(data: &[u8]) {
    let mut parts = data.splitn(5, |byte| *byte == 0xff);
    let mut next = || parts.next().unwrap_or_default();
    let (text, account, region, environment, time) = (next(), next(), next(), next(), next());
    let Some(template) = std::str::from_utf8(text).ok().and_then(|text| Template::parse(text).ok()) else {
        return;
    };
    assert_eq!(template.to_string().parse().as_ref(), Ok(&template), "a template is shown as it is read");
    let kinds = [EventKind::Data, EventKind::Management, EventKind::NetworkActivity, EventKind::Other];
    let values = Values {
        time: time.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes)),
        account: Account::parse(account),
        region: (!region.is_empty()).then_some(region),
        environment: std::str::from_utf8(environment).ok().filter(|text| !text.is_empty()),
        kind: kinds[time.len() % kinds.len()],
    };
    let partitions = Partitions::new(template, "fuzz");
    let path = partitions.render(&values, TimeRange::default());
    assert!(stays_below(&path), "{path:?} of {data:?}");
    let text = String::from_utf8_lossy(text);
    let (whole, invalid, out_of_range) = read_aloud(&text, &values);
    assert!(whole.ends_with(&path), "{path:?} is not the end of {whole:?}");
    let expected = Counts { invalid: invalid.into(), overflow: 0, out_of_range: out_of_range.into() };
    assert_eq!(partitions.counts(), expected, "of {path:?}");
}

/// Every name replaced by what it stands for, and whether some value was invalid, or out of range.
fn read_aloud(text: &str, values: &Values<'_>) -> (String, bool, bool) {
    let fine = |text: &str| {
        let plain = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
        plain && (1..=64).contains(&text.len()) && text != "." && text != ".."
    };
    let checked = |text: Option<&str>| match text {
        None => UNKNOWN.to_owned(),
        Some(text) if fine(text) => text.to_owned(),
        Some(_) => INVALID.to_owned(),
    };
    let region = checked(values.region.map(|bytes| std::str::from_utf8(bytes).unwrap_or("")));
    let environment = checked(values.environment);
    let at = |format: &str| match values.time {
        None => UNKNOWN.to_owned(),
        Some(time) if (TimeRange::FIRST..=TimeRange::LAST).contains(&time) => {
            let time = jiff::Timestamp::from_second(time).unwrap_or_else(|error| panic!("{error}"));
            time.strftime(format).to_string()
        }
        Some(_) => OUT_OF_RANGE.to_owned(),
    };
    let mut whole = text.to_owned();
    let (mut invalid, mut out_of_range) = (false, false);
    for (name, value) in [
        ("{account}", values.account.map_or_else(|| UNKNOWN.to_owned(), |account| account.to_string())),
        ("{region}", region),
        ("{environment}", environment),
        ("{kind}", values.kind.name().to_owned()),
        ("{sink}", "fuzz".to_owned()),
        ("{date}", at("%Y-%m-%d")),
        ("{hour}", at("%H")),
        ("{year}", at("%Y")),
        ("{month}", at("%m")),
        ("{day}", at("%d")),
    ] {
        let is_used = whole.contains(name);
        // Whoever is called so is no invalid value.
        let is_name = match name {
            "{region}" => values.region == Some(INVALID.as_bytes()),
            "{environment}" => values.environment == Some(INVALID),
            _ => false,
        };
        invalid |= is_used && value == INVALID && !is_name;
        out_of_range |= is_used && value == OUT_OF_RANGE && !matches!(name, "{region}" | "{environment}");
        whole = whole.replace(name, &value);
    }
    (whole, invalid, out_of_range)
}
