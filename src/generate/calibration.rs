//! Holds the profiles to the trails they are modelled on: each figure within a fifth of what was measured there.
//!
//! The columns are public trails measured file by file: 2,900 records of an hour of Terraform and attack simulation
//! in one account (`management`), and 30,477 records of five days with S3 data events (`mixed`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::*;

/// Figures of a trail, by name.
type Column = Vec<(&'static str, f64)>;

fn management() -> Column {
    vec![
        ("record bytes p50", 1_174.0),
        ("record bytes p90", 1_667.0),
        ("record bytes p99", 2_269.0),
        ("record bytes mean", 1_260.0),
        ("records a file p50", 20.0),
        ("records a file p90", 156.0),
        ("records a file p99", 394.0),
        ("gzip ratio", 8.6),
        ("key orders", 26.0),
        ("share of commonest order", 0.56),
        ("share of ten commonest", 0.95),
        ("share with escapes", 0.012),
        ("requestParameters null", 0.11),
        ("responseElements null", 0.89),
        ("read only", 0.80),
        ("data events", 0.0),
        ("errors", 0.10),
    ]
}

fn mixed() -> Column {
    vec![
        ("record bytes p50", 1_562.0),
        ("record bytes p90", 1_704.0),
        ("record bytes p99", 2_434.0),
        ("record bytes mean", 1_450.0),
        ("records a file p50", 5.0),
        ("records a file p90", 16.0),
        ("records a file p99", 33.0),
        ("gzip ratio", 5.6),
        ("key orders", 28.0),
        ("share of commonest order", 0.39),
        ("share of ten commonest", 0.99),
        ("share with escapes", 0.183),
        ("requestParameters null", 0.003),
        ("responseElements null", 0.82),
        ("read only", 0.50),
        ("data events", 0.54),
        ("errors", 0.33),
    ]
}

#[derive(serde::Deserialize)]
struct Log<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

fn measure(options: &Options) -> BTreeMap<&'static str, f64> {
    let mut generator = Generator::new(options).unwrap();
    let mut packer = Packer::new(6);
    let (mut sizes, mut lengths) = (Vec::new(), Vec::new());
    let (mut raw, mut stored) = (0, 0);
    let mut orders: BTreeMap<Vec<String>, f64> = BTreeMap::new();
    let mut counts: BTreeMap<&'static str, f64> = BTreeMap::new();
    while let Some(object) = generator.next_object() {
        raw += object.body.len();
        stored += packer.pack(&object).len();
        let log: Log<'_> = serde_json::from_slice(object.body).unwrap();
        lengths.push(log.records.len() as f64);
        for text in log.records {
            sizes.push(text.get().len() as f64);
            let record: Map<String, Value> = serde_json::from_str(text.get()).unwrap();
            let tests = [
                ("share with escapes", text.get().contains('\\')),
                ("requestParameters null", record["requestParameters"].is_null()),
                ("responseElements null", record["responseElements"].is_null()),
                ("read only", record["readOnly"] == true),
                ("data events", record["eventCategory"] == "Data"),
                ("errors", record.contains_key("errorCode")),
            ];
            for (name, yes) in tests {
                *counts.entry(name).or_default() += f64::from(u8::from(yes));
            }
            *orders.entry(record.keys().cloned().collect()).or_default() += 1.0;
        }
    }
    let records = sizes.len() as f64;
    assert!(records >= 20_000.0, "{records}");
    let mut commonest: Vec<f64> = orders.values().map(|count| count / records).collect();
    commonest.sort_by(|a, b| b.total_cmp(a));
    let mut column: BTreeMap<&'static str, f64> =
        counts.into_iter().map(|(name, count)| (name, count / records)).collect();
    column.extend([
        ("record bytes mean", sizes.iter().sum::<f64>() / records),
        ("record bytes p50", percentile(&mut sizes, 50)),
        ("record bytes p90", percentile(&mut sizes, 90)),
        ("record bytes p99", percentile(&mut sizes, 99)),
        ("records a file p50", percentile(&mut lengths, 50)),
        ("records a file p90", percentile(&mut lengths, 90)),
        ("records a file p99", percentile(&mut lengths, 99)),
        ("gzip ratio", raw as f64 / stored as f64),
        ("key orders", orders.len() as f64),
        ("share of commonest order", commonest[0]),
        ("share of ten commonest", commonest.iter().take(10).sum()),
    ]);
    column
}

fn compare(profile: Profile, wanted: &Column) {
    let options =
        Options { bytes: 32_000_000, large: 0.0, kinds: false, rare: false, ..Options::new(profile) };
    let measured = measure(&options);
    let mut outside = BTreeSet::new();
    println!("{profile:?}");
    for (name, wanted) in wanted {
        let got = measured[name];
        let ratio = if *wanted == 0.0 { 1.0 + got } else { got / wanted };
        println!("  {name:<26}{wanted:>10.3}{got:>10.3}{:>8.1} %", (ratio - 1.0) * 100.0);
        if !(0.8..=1.2).contains(&ratio) {
            outside.insert(name);
        }
    }
    assert!(outside.is_empty(), "further than a fifth from the trail: {outside:?}");
}

#[test]
fn management_is_within_a_fifth_of_its_trail() {
    compare(Profile::Management, &management());
}

#[test]
fn mixed_is_within_a_fifth_of_its_trail() {
    compare(Profile::Mixed, &mixed());
}
