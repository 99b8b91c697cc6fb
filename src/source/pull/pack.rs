//! Events become the bytes of deliveries: their texts byte for byte, a line each, up to about a mebibyte.
//!
//! A text that is not one JSON object on one line goes alone: what is damaged ends where it ends, and cannot take the next
//! record with it; what has line breaks in it is not taken for several.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::Event;

/// Bytes of a delivery of several texts, at most.
const MOST: usize = 1 << 20;

/// Texts that are lent together.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Where they stand in the bytes of all.
    pub(super) bytes: Range<usize>,
    /// Which events they are.
    pub(super) events: Vec<usize>,
}

/// Joins texts. Returns all bytes, and the groups in them.
pub(super) fn pack(events: &[(u64, Event)]) -> (Vec<u8>, Vec<Group>) {
    let mut all = Vec::with_capacity(events.iter().map(|(_, event)| event.text.len() + 1).sum());
    let (mut groups, mut alone) = (Vec::new(), Vec::new());
    let mut group = Group::default();
    for (number, (_, event)) in events.iter().enumerate() {
        let text = event.text.trim_ascii();
        if !is_one_line(text) {
            alone.push(number);
            continue;
        }
        if !group.events.is_empty() && group.bytes.len() + text.len() >= MOST {
            let next = Group { bytes: all.len()..all.len(), events: Vec::new() };
            groups.push(std::mem::replace(&mut group, next));
        }
        all.extend_from_slice(text.as_bytes());
        all.push(b'\n');
        group.bytes.end = all.len();
        group.events.push(number);
    }
    groups.push(group);
    for number in alone {
        let from = all.len();
        all.extend_from_slice(events[number].1.text.as_bytes());
        groups.push(Group { bytes: from..all.len(), events: vec![number] });
    }
    groups.retain(|group| !group.events.is_empty());
    (all, groups)
}

/// Whether a text is one whole JSON object on one line.
fn is_one_line(text: &str) -> bool {
    text.starts_with('{') && !text.contains('\n') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, fuzz};
    use crate::testing::contract::Chance;

    fn event(text: &str) -> (u64, Event) {
        (0, Event { id: String::new(), stream: String::new(), time: 0, text: text.to_owned() })
    }

    fn record(id: u64) -> String {
        format!(
            r#"{{"eventVersion":"1.08","eventTime":"2024-05-01T00:00:00Z","eventID":"{id}","awsRegion":"eu-west-1","resources":[{{"ARN":"a"}}]}}"#
        )
    }

    /// The records in what is lent, as the pipeline finds them, and how many damages there are.
    fn shipped(texts: &[String]) -> (Vec<String>, usize) {
        let events: Vec<_> = texts.iter().map(|text| event(text)).collect();
        let (bytes, groups) = pack(&events);
        let (mut records, mut damages) = (Vec::new(), 0);
        let mut packed: Vec<usize> = Vec::new();
        for group in groups {
            let out = fuzz::run(Limits::default(), &bytes[group.bytes], 0);
            records.extend(out.records);
            damages += out.damages.len();
            packed.extend(group.events);
        }
        packed.sort_unstable();
        assert_eq!(packed, (0..texts.len()).collect::<Vec<_>>());
        (records, damages)
    }

    #[test]
    fn what_is_damaged_takes_no_other_with_it() {
        let bad = [
            "",
            "   ",
            "not JSON",
            "{",
            "[",
            "\"",
            "{\"a\":",
            "{\"a\":[",
            "{\"Records\":[",
            "{\"logEvents\":[{\"message\":\"",
            "]}",
            "null",
            "12",
            "[1,2]",
            "{\"a\":1}",
            "{\"a\":1} {",
            "first\n{\"eventVersion\":",
            "\u{1b}[31m",
            "{\"a\":\"\n\"}",
        ];
        let mut chance = Chance::new(5);
        for round in 0..300 {
            let mut texts: Vec<String> = (0..chance.below(6)).map(record).collect();
            let good = texts.clone();
            for _ in 0..=chance.below(3) {
                let number = usize::try_from(chance.below(bad.len() as u64 + 1)).unwrap();
                let whole = record(99);
                let cut = usize::try_from(chance.below(whole.len() as u64)).unwrap();
                let text = bad.get(number).map_or(&whole[..cut], |text| *text);
                let at = usize::try_from(chance.below(texts.len() as u64 + 1)).unwrap();
                texts.insert(at, text.to_owned());
            }
            let (mut records, _) = shipped(&texts);
            records.retain(|record| !record.contains("\"99\""));
            assert_eq!(records, good, "{round}: {texts:?}");
        }
    }

    #[test]
    fn a_text_with_line_breaks_is_one_record_or_one_damage() {
        let pretty = record(1).replace(',', ",\n  ");
        // Somebody else's, with what looks like a record on a line of its own.
        let other = format!("{{\"a\":[\n{}\n]}}", record(2));
        let (records, damages) = shipped(&[record(3), pretty.clone(), other, record(4)]);
        assert_eq!((records, damages), (vec![record(3), record(4), pretty], 1));
    }

    #[test]
    fn deliveries_are_about_a_mebibyte() {
        let big = record(1).replace("eu-west-1", &"x".repeat(400 << 10));
        let huge = record(1).replace("eu-west-1", &"x".repeat(3 << 20));
        let events: Vec<_> = [&big, &big, &huge, &big, &big, &big].map(|text| event(text)).into();
        let (_, groups) = pack(&events);
        let events: Vec<_> = groups.into_iter().map(|group| group.events).collect();
        assert_eq!(events, [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
    }
}
