//! Answers of a cluster under a fuzzer: whatever it says, each event has one verdict.

use serde_json::Value;

use super::judged;
use crate::sink::deliver::{Item, Judged};

/// Two bytes of how many events were sent, then the answer. It is one for so many events, or says nothing of any; an event
/// is taken only where the cluster says so of it, and refused only where it does.
///
/// # Panics
/// When that is not so.
pub fn bulk(data: &[u8]) {
    let Some((&[form, count], body)) = data.split_first_chunk() else { return };
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let items = told.as_ref().and_then(|told| told["items"].as_array()).map_or(&[][..], Vec::as_slice);
    let records = if form % 4 == 0 { usize::from(count) } else { items.len() };
    let Ok(judged) = judged(body, u32::try_from(records).unwrap_or(u32::MAX)) else { return };
    let named = match &judged {
        Judged::Pause(message) | Judged::Retry { message, .. } => {
            assert!(message.len() < 30_000, "{message}");
            return;
        }
        Judged::Taken => &[][..],
        Judged::Items(named) => named,
        other => panic!("{other:?} of a bulk answer"),
    };
    assert_eq!(items.len(), records, "events without an answer: {judged:?}");
    assert!(named.is_sorted_by(|(one, _), (next, _)| one < next), "an event twice: {named:?}");
    let mut named = named.iter().peekable();
    for (at, item) in (0u32..).zip(items) {
        let result = item.get("create").or_else(|| item.get("index"));
        let status = result.and_then(|result| result["status"].as_u64()).unwrap_or(0);
        let of_event = named.next_if(|(named, _)| *named == at).map(|(_, item)| item);
        match of_event {
            None => assert!(matches!(status, 200..300 | 409), "event {at} is taken: {item}"),
            Some(Item::Retry(told, message) | Item::Refused(told, message)) => {
                assert_eq!(u64::from(*told), status);
                assert!(!matches!(status, 200..300 | 409), "event {at} is not taken: {item}");
                assert!(message.len() < 30_000, "{message}");
            }
        }
        if matches!(of_event, Some(Item::Refused(..))) {
            assert!(matches!(status, 400..500) && status != 429, "event {at} is refused: {item}");
        }
    }
    assert!(named.next().is_none(), "an event that was not sent");
}
