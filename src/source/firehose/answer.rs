//! What a request is answered: exactly as Firehose wants it, whatever happened.
//!
//! 200 is the only success. Every other status is tried again by Firehose, for as long as its stream says; 413 is the one
//! that loses data there, and is never given.
//!
//! Source: Firehose Developer Guide, *HTTP endpoint delivery request and response specifications*.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::clock::Timestamp;

/// Characters of a message, at most; Firehose takes 8,192.
const MESSAGE: usize = 1024;

/// How a request ended: the value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every sink has answered.
    Delivered,
    /// It had been delivered before, and was not shipped again.
    Remembered,
    /// Not every sink had answered in time.
    Late,
    /// There was no memory for it.
    Memory,
    /// The program stops.
    Stopping,
    /// Its access key is wrong or missing.
    AccessKey,
    /// Its stream is not allowed.
    SourceArn,
    /// It is not what Firehose sends.
    Malformed,
    /// It is larger than it may be.
    TooLarge,
    /// The connection ended before the request did.
    Broken,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Outcome; 10] = [
        Outcome::Delivered,
        Outcome::Remembered,
        Outcome::Late,
        Outcome::Memory,
        Outcome::Stopping,
        Outcome::AccessKey,
        Outcome::SourceArn,
        Outcome::Malformed,
        Outcome::TooLarge,
        Outcome::Broken,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Remembered => "remembered",
            Outcome::Late => "late",
            Outcome::Memory => "memory",
            Outcome::Stopping => "stopping",
            Outcome::AccessKey => "access_key",
            Outcome::SourceArn => "source_arn",
            Outcome::Malformed => "malformed",
            Outcome::TooLarge => "too_large",
            Outcome::Broken => "broken",
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    pub(super) status: StatusCode,
    /// In words, for whoever looks into the stream's errors.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn malformed(message: impl Into<String>) -> Refusal {
        Refusal { outcome: Outcome::Malformed, status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// 405: nothing but POST.
    pub(super) fn method() -> Refusal {
        let message = "this is an endpoint for Amazon Data Firehose: it takes POST only".to_owned();
        Refusal { outcome: Outcome::Malformed, status: StatusCode::METHOD_NOT_ALLOWED, message }
    }

    /// 401 tells a wrong key from a stream that is not allowed (403) in the stream's own errors.
    pub(super) fn access_key() -> Refusal {
        let message =
            "the access key is missing or wrong: set the same in the stream and in `access_key`".to_owned();
        Refusal { outcome: Outcome::AccessKey, status: StatusCode::UNAUTHORIZED, message }
    }

    pub(super) fn source_arn() -> Refusal {
        let message = "the stream is not among `source_arns`".to_owned();
        Refusal { outcome: Outcome::SourceArn, status: StatusCode::FORBIDDEN, message }
    }

    /// 400 and never 413: that would lose the batch.
    pub(super) fn too_large(most: u64) -> Refusal {
        let message = format!("the body is over {most} bytes: give the stream a smaller buffer size");
        Refusal { outcome: Outcome::TooLarge, status: StatusCode::BAD_REQUEST, message }
    }

    fn later(outcome: Outcome, message: impl Into<String>) -> Refusal {
        Refusal { outcome, status: StatusCode::SERVICE_UNAVAILABLE, message: message.into() }
    }

    pub(super) fn memory() -> Refusal {
        Refusal::later(Outcome::Memory, "there is no memory for this request now: send it again")
    }

    /// There will never be room for it.
    pub(super) fn never(bytes: usize, most: usize) -> Refusal {
        let message = format!(
            "a request of {bytes} bytes cannot be held, {most} can: raise `memory`, or give the stream a smaller buffer size"
        );
        Refusal::later(Outcome::Memory, message)
    }

    pub(super) fn stopping() -> Refusal {
        Refusal::later(Outcome::Stopping, "the program stops: send it again")
    }

    pub(super) fn late() -> Refusal {
        let message = "not every sink has answered in time: send it again, what was shipped is remembered";
        Refusal::later(Outcome::Late, message)
    }

    /// There is nobody left to answer.
    pub(super) fn broken() -> Refusal {
        let message = "the body did not come to its end".to_owned();
        Refusal { outcome: Outcome::Broken, status: StatusCode::BAD_REQUEST, message }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    request_id: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

/// 200.
pub(super) fn done(id: &str, now: Timestamp) -> Response<Full<Bytes>> {
    said(StatusCode::OK, id, now, None)
}

/// The answer to a request that is refused; `unread`: its body was not read to its end, so the connection ends.
pub(super) fn refused(refusal: &Refusal, id: &str, now: Timestamp, unread: bool) -> Response<Full<Bytes>> {
    let message: String = refusal.message.chars().take(MESSAGE).collect();
    let mut response = said(refusal.status, id, now, Some(&message));
    let headers = response.headers_mut();
    if unread {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match refusal.status {
        StatusCode::METHOD_NOT_ALLOWED => _ = headers.insert(ALLOW, HeaderValue::from_static("POST")),
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("X-Amz-Firehose-Access-Key"));
        }
        _ => {}
    }
    response
}

fn said(status: StatusCode, id: &str, now: Timestamp, error: Option<&str>) -> Response<Full<Bytes>> {
    let said = Said { request_id: id, timestamp: now.0.div_euclid(1_000_000), error_message: error };
    // Texts and a number are always JSON.
    let body = serde_json::to_vec(&said).unwrap_or_default();
    // Its length is known, so hyper says it.
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;

    async fn body(response: Response<Full<Bytes>>) -> Value {
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn answers_are_what_firehose_wants() {
        let now = Timestamp(1_578_090_901_599_999_999);
        let good = done("a\"b", now);
        assert_eq!(good.status(), 200);
        assert_eq!(body(good).await, json!({ "requestId": "a\"b", "timestamp": 1_578_090_901_599_u64 }));
        let refusals = [
            (Refusal::malformed("x".repeat(100_000)), 400),
            (Refusal::method(), 405),
            (Refusal::access_key(), 401),
            (Refusal::source_arn(), 403),
            (Refusal::too_large(1), 400),
            (Refusal::memory(), 503),
            (Refusal::never(2, 1), 503),
            (Refusal::stopping(), 503),
            (Refusal::late(), 503),
            (Refusal::broken(), 400),
        ];
        for (refusal, status) in refusals {
            let response = refused(&refusal, "id", now, true);
            assert_eq!(
                (response.status().as_u16(), response.headers()["connection"].as_bytes()),
                (status, &b"close"[..])
            );
            let said = body(response).await;
            assert_eq!((&said["requestId"], said["timestamp"].is_u64()), (&json!("id"), true));
            assert!((10..=1024).contains(&said["errorMessage"].as_str().unwrap().len()), "{said}");
        }
        let numbers: Vec<usize> = Outcome::ALL.iter().map(|outcome| *outcome as usize).collect();
        assert_eq!(numbers, (0..Outcome::ALL.len()).collect::<Vec<_>>());
    }
}
