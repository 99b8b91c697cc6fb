//! Finds the partitions of a bucket: where `AWSLogs/` stands, and below it organisations, accounts, kinds and regions.
//!
//! Each step lists one folder with a delimiter and no `start-after`. Folders that are not CloudTrail's are not entered
//! below `AWSLogs/`; above it every folder is, down to [`DEEPEST`], because a trail's prefix may be anything.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Error;

use super::Choice;
use super::object::Bucket;
use crate::aws::Refusal;

/// Folders above `AWSLogs/`, at most.
const DEEPEST: usize = 6;

/// What a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// `AWSLogs/` may be below it; so many folders deep.
    Above(usize),
    /// `AWSLogs/`, or an organisation below it.
    Logs,
    /// An account.
    Account,
    /// A kind of one account.
    Kind,
    /// A partition: account, kind, region.
    Partition,
}

/// What the folders below one are, by their names; those that are not ours are left out.
pub(super) fn below(
    folder: &Folder,
    prefix: &str,
    names: &[String],
    choice: &Choice,
) -> Vec<(Folder, String)> {
    let mut found = Vec::new();
    for path in names {
        let Some(name) = path.strip_prefix(prefix).and_then(|name| name.strip_suffix('/')) else { continue };
        let is_account = name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit());
        let is_organisation = name.strip_prefix("o-").is_some_and(|rest| {
            (10..=32).contains(&rest.len())
                && rest.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        });
        let next = match folder {
            Folder::Above(_) if name == "AWSLogs" => Some(Folder::Logs),
            Folder::Above(depth) if *depth < DEEPEST => Some(Folder::Above(depth + 1)),
            Folder::Logs if is_organisation => Some(Folder::Logs),
            Folder::Logs if is_account => choice.accounts.takes(name).then_some(Folder::Account),
            Folder::Account => (is_kind(name) && choice.kinds.takes(name)).then_some(Folder::Kind),
            Folder::Kind => (is_region(name) && choice.regions.takes(name)).then_some(Folder::Partition),
            _ => None,
        };
        found.extend(next.map(|next| (next, path.clone())));
    }
    found
}

/// Where to begin for a prefix that a person wrote: above `AWSLogs/`, at it, or somewhere below.
pub(super) fn start(prefix: &str) -> Vec<(Folder, String)> {
    let prefix = prefix.trim_matches('/');
    let mut path = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    if !prefix.split('/').any(|part| part == "AWSLogs") {
        return vec![(Folder::Above(0), path)];
    }
    let below: Vec<&str> = prefix.split('/').skip_while(|part| *part != "AWSLogs").skip(1).collect();
    let below = below.iter().filter(|part| !part.starts_with("o-")).count();
    let folder = match below {
        0 => Folder::Logs,
        1 => Folder::Account,
        2 => Folder::Kind,
        _ => Folder::Partition,
    };
    if below > 3 {
        // A day: its partition.
        let keep = prefix.split('/').count() - (below - 3);
        path = prefix.split('/').take(keep).fold(String::new(), |path, part| path + part + "/");
    }
    vec![(folder, path)]
}

/// Whether a partition would be found from a prefix that a person wrote.
pub(super) fn is_chosen(root: &str, partition: &str, choice: &Choice) -> bool {
    let Some((_, root)) = start(root).pop() else { return false };
    let mut parts = partition.trim_end_matches('/').rsplit('/');
    let (Some(region), Some(kind), Some(account)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let named = choice.regions.takes(region) && choice.kinds.takes(kind) && choice.accounts.takes(account);
    named && partition.starts_with(&root)
}

/// CloudTrail's kinds that hold events. Digests are files about files; Lake's are answers to queries.
fn is_kind(name: &str) -> bool {
    name.strip_prefix("CloudTrail").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('-').is_some_and(|kind| {
                !kind.is_empty()
                    && kind != "Digest"
                    && kind != "Lake"
                    && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
    })
}

fn is_region(name: &str) -> bool {
    let (Some(first), Some(last)) = (name.bytes().next(), name.bytes().last()) else { return false };
    name.matches('-').count() >= 2
        && first.is_ascii_lowercase()
        && last.is_ascii_digit()
        && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Lists the folders below a prefix, all pages; counts these.
pub(super) async fn folders(bucket: &Bucket, prefix: &str, pages: &mut u32) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let request = bucket.client.list_objects_v2().bucket(&bucket.name).prefix(prefix).delimiter("/");
        let request = request
            .set_continuation_token(token.take())
            .set_request_payer(bucket.payer.clone())
            .set_expected_bucket_owner(bucket.owner.clone());
        *pages += 1;
        let page = request.send().await.map_err(|error| refused(bucket, prefix, &error))?;
        found.extend(page.common_prefixes().iter().filter_map(|prefix| prefix.prefix().map(str::to_owned)));
        token = page.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// A refused listing, in words.
pub(super) fn refused(
    bucket: &Bucket,
    prefix: &str,
    error: &SdkError<ListObjectsV2Error, aws_sdk_s3::config::http::HttpResponse>,
) -> String {
    let permission = format!("s3:ListBucket on arn:aws:s3:::{}", bucket.name);
    Refusal::of(error).advice(&format!("listing {}", bucket.address(prefix)), &bucket.who, &permission)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(keys: &[&str], prefix: &str, choice: &Choice) -> Vec<String> {
        let mut todo = start(prefix);
        let mut partitions = Vec::new();
        while let Some((folder, path)) = todo.pop() {
            if folder == Folder::Partition {
                partitions.push(path);
                continue;
            }
            let mut names: Vec<String> = keys
                .iter()
                .filter_map(|key| key.strip_prefix(&path))
                .filter_map(|rest| rest.split_once('/'))
                .map(|(name, _)| format!("{path}{name}/"))
                .collect();
            names.dedup();
            todo.extend(below(&folder, &path, &names, choice));
        }
        partitions.sort();
        partitions
    }

    const KEYS: &[&str] = &[
        "AWSLogs/111111111111/CloudTrail/eu-west-1/2024/02/29/x.json.gz",
        "AWSLogs/111111111111/CloudTrail-Digest/eu-west-1/2024/02/29/x.json.gz",
        "AWSLogs/111111111111/CloudTrail-Insight/us-gov-west-1/2024/02/29/x.json.gz",
        "AWSLogs/111111111111/CloudTrail-Lake/Query/2024/02/29/q/result_1.csv.gz",
        "AWSLogs/111111111111/elasticloadbalancing/eu-west-1/2024/02/29/x.log.gz",
        "AWSLogs/111111111111/vpcflowlogs/eu-west-1/2024/02/29/x.log.gz",
        "AWSLogs/o-abcdefghij/222222222222/CloudTrail/eu-west-1/2024/02/29/x.json.gz",
        "landing/zone/o-abcdefghij/AWSLogs/o-abcdefghij/333333333333/CloudTrail/ap-southeast-2/2024/02/29/x.json.gz",
        "other/things/file.txt",
    ];

    #[test]
    fn partitions_are_found_under_any_prefix_and_in_both_layouts() {
        assert_eq!(
            walk(KEYS, "", &Choice::default()),
            [
                "AWSLogs/111111111111/CloudTrail-Insight/us-gov-west-1/",
                "AWSLogs/111111111111/CloudTrail/eu-west-1/",
                "AWSLogs/o-abcdefghij/222222222222/CloudTrail/eu-west-1/",
                "landing/zone/o-abcdefghij/AWSLogs/o-abcdefghij/333333333333/CloudTrail/ap-southeast-2/",
            ]
        );
    }

    #[test]
    fn a_prefix_may_point_anywhere() {
        let all = |prefix: &str| walk(KEYS, prefix, &Choice::default()).len();
        assert_eq!([all("landing"), all("AWSLogs/"), all("AWSLogs/111111111111")], [1, 3, 2]);
        assert_eq!([all("AWSLogs/o-abcdefghij/222222222222/CloudTrail"), all("other")], [1, 0]);
        let day = "AWSLogs/111111111111/CloudTrail/eu-west-1/2024/02";
        assert_eq!(walk(KEYS, day, &Choice::default()), ["AWSLogs/111111111111/CloudTrail/eu-west-1/"]);
    }

    #[test]
    fn what_is_chosen_is_entered() {
        let choice: Choice =
            toml::from_str("accounts.exclude = [\"111111111111\"]\nregions.include = [\"eu-west-1\"]")
                .unwrap();
        assert_eq!(walk(KEYS, "", &choice), ["AWSLogs/o-abcdefghij/222222222222/CloudTrail/eu-west-1/"]);
        // What was known before is chosen alike.
        let known = walk(KEYS, "", &Choice::default());
        let chosen = |root: &str| known.iter().filter(|known| is_chosen(root, known, &choice)).count();
        assert_eq!([chosen(""), chosen("AWSLogs/o-abcdefghij/"), chosen("landing/zone")], [1, 1, 0]);
        assert!(known.iter().all(|known| is_chosen("", known, &Choice::default())));
        assert!(is_chosen("AWSLogs/111111111111/CloudTrail/eu-west-1/2024", &known[1], &Choice::default()));
    }
}
