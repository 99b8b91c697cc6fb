//! Answers of the collector under a fuzzer: nothing is taken for received or refused that it does not say so of.

use bytes::Bytes;
use serde_json::Value;

use super::answer::{Meaning, Said};

/// Statuses that mean something, and some that do not.
const STATUSES: [u16; 16] = [200, 201, 204, 301, 400, 400, 400, 401, 403, 404, 408, 413, 429, 500, 503, 504];

/// A byte that chooses the status, one of how many events were sent, then the answer.
///
/// # Panics
/// When it is taken to mean what it does not say.
pub fn hec(data: &[u8]) {
    let Some((&[status, events], body)) = data.split_first_chunk() else { return };
    let (status, events) = (STATUSES[usize::from(status) % STATUSES.len()], u32::from(events));
    let said = Said::read(&Bytes::copy_from_slice(body));
    let meaning = said.means(status, events);
    // What is not asked for may be no text.
    let Ok(told) = serde_json::from_str::<Value>(&String::from_utf8_lossy(body)) else { return };
    let code = told["code"].as_i64();
    let (is_success, is_bad) = ((200..300).contains(&status), status == 400);
    match meaning {
        Meaning::Received => assert!(is_success && matches!(code, Some(0 | 24 | 25)), "{said:?}"),
        Meaning::Invalid(at) => {
            assert!(is_bad && matches!(code, Some(6 | 12 | 13 | 15)), "{said:?}");
            assert!(at < events && told["invalid-event-number"] == at, "{said:?}");
        }
        Meaning::Refused => assert!(is_bad && matches!(code, Some(5 | 6 | 12 | 13 | 15)), "{said:?}"),
        Meaning::Split => assert_eq!(status, 413),
        Meaning::Retry { .. } => assert!(status >= 408 && status != 413),
        Meaning::Pause => {}
    }
    assert!(!said.is_near_capacity() || matches!(code, Some(24 | 25)), "{said:?}");
    assert!(said.advice(status, Some("main")).len() < 200);
}
