//! What the tests of both sources share: configurations, keys, objects.

use crate::here::{Here, gz, log_file, record};
use crate::moto::REGION;

/// A sink whose files are finished at once, so that they can be looked at while the program runs.
pub(crate) const PROMPT: &str =
    "[sinks.archive]\ntype = \"file\"\npath = \"out/{account}.ndjson\"\nrotate_age = \"1s\"\n";
/// A sink that fails as long as there is a file where its folder should be.
pub(crate) const BLOCKED: &str =
    "[sinks.archive]\ntype = \"file\"\npath = \"blocked/{account}.ndjson\"\nrotate_age = \"1s\"\n";
/// Standard output.
pub(crate) const STDOUT: &str = "[sinks.out]\ntype = \"stdout\"\n";

/// A directory whose program reads from AWS at an endpoint.
pub(crate) fn reading(endpoint: &str, source: &str, sink: &str) -> Here {
    let source = format!("{source}\naws.endpoint = \"{endpoint}\"\naws.path_style = true");
    Here::with("").reading(&source, sink).knowing([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", REGION),
        // For what is not at the source's own.
        ("AWS_ENDPOINT_URL", endpoint),
    ])
}

/// A key in CloudTrail's layout below `root`, delivered so many minutes ago.
pub(crate) fn key(root: &str, account: &str, region: &str, minutes_ago: i64, end: &str) -> String {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
    let (day, minute) = (at.strftime("%Y/%m/%d"), at.strftime("%Y%m%dT%H%M"));
    format!(
        "{root}{account}/CloudTrail/{region}/{day}/{account}_CloudTrail_{region}_{minute}Z_{end:0>16}.json.gz"
    )
}

/// An object of records with these ids.
pub(crate) fn object(ids: &[&str]) -> Vec<u8> {
    gz(log_file(&ids.iter().map(|id| record(id, "")).collect::<Vec<_>>()))
}

/// An object of so many records of a kilobyte; their ids.
pub(crate) fn bulky(name: &str, records: usize) -> (Vec<u8>, Vec<String>) {
    let ids: Vec<String> = (0..records).map(|number| format!("{name}-{number:04}")).collect();
    let pad = format!(r#","pad":"{}""#, "abcdefgh".repeat(125));
    (gz(log_file(&ids.iter().map(|id| record(id, &pad)).collect::<Vec<_>>())), ids)
}
