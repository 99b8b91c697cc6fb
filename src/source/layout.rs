//! The layout of CloudTrail's keys: `[prefix/]AWSLogs/[o-id/]<account>/<kind>/<region>/YYYY/MM/DD/<file>`.
//!
//! Read from its end, so that any prefix will do, also one that begins in the middle of the layout (a copied part of a
//! bucket). The day is that of publication, not of the events.
//!
//! Source: CloudTrail User Guide, *Getting and viewing your CloudTrail log files*.

use std::sync::Arc;

use super::Origin;

/// What an address says. Parts that stand above the beginning of the address are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout<'a> {
    /// 12 digits.
    pub account: Option<&'a str>,
    /// `CloudTrail`, `CloudTrail-Digest`, `CloudTrail-Insight`, …
    pub kind: &'a str,
    /// `us-east-1`; saved query results of CloudTrail Lake have none.
    pub region: Option<&'a str>,
    /// Year (4 digits), month, day (2 each).
    pub day: [&'a str; 3],
}

impl<'a> Layout<'a> {
    /// Reads an address: an object's key or a file's path.
    pub fn read(address: &'a [u8]) -> Option<Layout<'a>> {
        let mut parts =
            address.rsplit(|byte| *byte == b'/').map(|part| std::str::from_utf8(part).unwrap_or(""));
        let mut next = || parts.next();
        let _file = next()?;
        let mut last = next()?;
        // Saved query results stand one directory deeper, in one that is named by the query.
        let query = !is_number(last, 2, 31);
        if query {
            last = next()?;
        }
        let (day, month, year) = (last, next()?, next()?);
        if !(is_number(day, 2, 31) && is_number(month, 2, 12) && is_number(year, 4, 9999)) {
            return None;
        }
        let place = next()?;
        let region = if query {
            (place == "Query").then_some(None)?
        } else {
            is_region(place).then_some(Some(place))?
        };
        let kind = next().filter(|kind| is_kind(kind) && (!query || *kind == "CloudTrail-Lake"))?;
        let account =
            next().filter(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
        Some(Layout { account, kind, region, day: [year, month, day] })
    }
}

fn is_number(text: &str, digits: usize, most: u32) -> bool {
    text.len() == digits
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse().is_ok_and(|number: u32| (1..=most).contains(&number))
}

fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let last = parts.next_back().unwrap_or_default();
    let number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    (4..=32).contains(&text.len()) && number && text.contains('-') && parts.all(letters)
}

fn is_kind(text: &str) -> bool {
    text.strip_prefix("CloudTrail").is_some_and(|rest| {
        rest.is_empty()
            || rest.len() <= 64
                && rest
                    .strip_prefix('-')
                    .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    })
}

/// Makes origins of addresses. Neighbours in one directory share their parts.
#[derive(Debug, Default)]
pub struct Origins {
    folder: Vec<u8>,
    origin: Origin,
}

impl Origins {
    /// The origin of an address; `shown` is how a person reads it.
    pub fn of(&mut self, address: &[u8], shown: Arc<str>) -> Origin {
        let end = memchr::memrchr(b'/', address).map_or(0, |slash| slash + 1);
        let folder = &address[..end];
        if folder != self.folder || end == 0 {
            self.folder = folder.to_vec();
            self.origin = Origin::default();
            if let Some(layout) = Layout::read(address) {
                self.origin.account = layout.account.map(Arc::from);
                self.origin.region = layout.region.map(Arc::from);
                self.origin.kind = Some(layout.kind.into());
                self.origin.day = Some(layout.day.join("-").into());
            }
        }
        Origin { address: shown, ..self.origin.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "123456789012_CloudTrail_eu-west-1_20240229T2355Z_Abc0123456789xyz.json.gz";

    fn read(address: &str) -> Option<Layout<'_>> {
        Layout::read(address.as_bytes())
    }

    #[test]
    fn addresses_say_account_kind_region_and_day_under_any_prefix() {
        let expected = Layout {
            account: Some("123456789012"),
            kind: "CloudTrail",
            region: Some("eu-west-1"),
            day: ["2024", "02", "29"],
        };
        for prefix in [
            "AWSLogs/",
            "AWSLogs/o-abcdefghij/",
            "o-abcdefghij/AWSLogs/o-abcdefghij/",
            "/srv/AWSLogs/old/AWSLogs/",
            "./a b/",
            "",
        ] {
            let address = format!("{prefix}123456789012/CloudTrail/eu-west-1/2024/02/29/{FILE}");
            assert_eq!(read(&address), Some(expected), "{address}");
        }
        assert_eq!(
            read(&format!("copy/CloudTrail/eu-west-1/2024/02/29/{FILE}")),
            Some(Layout { account: None, ..expected })
        );
    }

    #[test]
    fn every_kind_of_directory_is_known() {
        for kind in
            ["CloudTrail-Digest", "CloudTrail-Insight", "CloudTrail-NetworkActivity", "CloudTrail-Aggregated"]
        {
            let address = format!("AWSLogs/123456789012/{kind}/us-gov-west-1/2024/02/29/x.json.gz");
            assert_eq!(read(&address).map(|layout| layout.kind), Some(kind));
        }
        let lake = "AWSLogs/123456789012/CloudTrail-Lake/Query/2024/02/29/0a1b/result_1.csv.gz";
        let expected = Layout {
            account: Some("123456789012"),
            kind: "CloudTrail-Lake",
            region: None,
            day: ["2024", "02", "29"],
        };
        assert_eq!(read(lake), Some(expected));
    }

    #[test]
    fn what_is_not_the_layout_says_nothing() {
        for address in [
            "",
            "-",
            "x.json.gz",
            "/a/b/c/d/e/f/g/h/x.json",
            "123456789012/CloudTrail/eu-west-1/2024/13/01/x",
            "123456789012/CloudTrail/eu-west-1/2024/00/01/x",
            "123456789012/CloudTrail/eu-west-1/2024/1/1/x",
            "123456789012/CloudTrail/EU/2024/01/01/x",
            "123456789012/CloudFront/eu-west-1/2024/01/01/x",
            "123456789012/CloudTrail-/../eu-west-1/2024/01/01/x",
            "123456789012/CloudTrail/eu-west-1/2024/01/01/deeper/x",
        ] {
            assert_eq!(read(address), None, "{address}");
        }
    }

    #[test]
    fn neighbours_share_the_parts_of_their_origin() {
        let mut origins = Origins::default();
        let mut of = |address: &str| origins.of(address.as_bytes(), address.into());
        let one = of("AWSLogs/123456789012/CloudTrail/eu-west-1/2024/02/29/a");
        let two = of("AWSLogs/123456789012/CloudTrail/eu-west-1/2024/02/29/b");
        assert_eq!((one.day.as_deref(), &*two.address), (Some("2024-02-29"), two.address.as_ref()));
        assert!(Arc::ptr_eq(&one.account.unwrap(), &two.account.unwrap()));
        assert_eq!(of("elsewhere/x"), Origin { address: "elsewhere/x".into(), ..Origin::default() });
        assert_eq!(of("x").account, None);
    }

    proptest! {
        #[test]
        fn what_is_written_in_the_layout_is_read_from_it(
            prefix in "([a-zA-Z0-9._ -]{0,9}/){0,4}",
            organisation in prop::option::of("o-[a-z0-9]{10,32}"),
            account in "[0-9]{12}",
            kind in "CloudTrail(-[A-Z][a-zA-Z]{1,20})?",
            region in "[a-z]{2}(-[a-z]{3,5}){1,2}-[1-9]",
            (year, month, day) in (2013..2100u32, 1..=12u32, 1..=31u32),
            file in "[^/]{0,40}",
        ) {
            let organisation = organisation.map_or(String::new(), |id| format!("{id}/"));
            let date = format!("{year}/{month:02}/{day:02}");
            let address = format!("{prefix}AWSLogs/{organisation}{account}/{kind}/{region}/{date}/{file}");
            let layout = Layout::read(address.as_bytes()).unwrap();
            prop_assert_eq!(layout.account, Some(account.as_str()));
            prop_assert_eq!(layout.kind, kind.as_str());
            prop_assert_eq!(layout.region, Some(region.as_str()));
            prop_assert_eq!(layout.day.join("/"), date);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(address in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Layout::read(&address);
            let _ = Origins::default().of(&address, "".into());
        }
    }
}
