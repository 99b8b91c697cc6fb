//! What an answer of the collector means.

use bytes::Bytes;
use serde::Deserialize;

use crate::sink::deliver::object::Object;

/// What an answer says, as far as it is an answer of the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Said {
    /// The collector's own code.
    #[serde(default)]
    pub(super) code: Option<i64>,
    /// The number that an acknowledgement is asked for by.
    #[serde(default, rename = "ackId")]
    pub(super) ack: Option<u64>,
    /// Which event of the request it is about, from 0.
    #[serde(default, rename = "invalid-event-number", deserialize_with = "place")]
    pub(super) event: Option<u32>,
}

/// A place among the events; of anything else nothing, so that what else the answer says is heard.
fn place<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_u64().and_then(|place| u32::try_from(place).ok()))
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The events are there.
    Received,
    /// This event will never be taken.
    Invalid(u32),
    /// Something of it will never be taken.
    Refused,
    /// Too large.
    Split,
    /// Later.
    Retry {
        /// Another endpoint may take it now.
        elsewhere: bool,
    },
    /// Settings or credentials.
    Pause,
}

impl Said {
    /// Reads an answer's body. What is not of the collector says nothing.
    pub(super) fn read(body: &Bytes) -> Said {
        serde_json::from_slice(body).map(|Object(said)| said).unwrap_or_default()
    }

    /// What the answer to a request of so many events means.
    ///
    /// Source: *Splunk Enterprise, Troubleshoot HTTP Event Collector, Possible error codes*.
    pub(super) fn means(&self, status: u16, events: u32) -> Meaning {
        match (status, self.code) {
            // 0 success; 24, 25 success, but a queue is nearly full.
            (200..300, Some(0 | 24 | 25)) => Meaning::Received,
            // Without a code it is somebody else's: a load balancer's, another service's.
            (200..300, _) => Meaning::Pause,
            // 6 invalid data format, 12 event field missing, 13 blank, 15 indexed fields.
            (400, Some(6 | 12 | 13 | 15)) => match self.event.filter(|event| *event < events) {
                Some(event) => Meaning::Invalid(event),
                None => Meaning::Refused,
            },
            // 5 no data: nobody sends such a request.
            (400, Some(5)) => Meaning::Refused,
            // 7 index, 10 and 11 channel, 14 acknowledgement, 16 query string, 21 and 22 token; and what nobody has heard of:
            // better wait than reject everything.
            (400, _) => Meaning::Pause,
            (413, _) => Meaning::Split,
            // 18 to 20 queues full, 23 shutting down.
            (503, Some(18..=20 | 23)) => Meaning::Retry { elsewhere: true },
            // Of a load balancer: no node behind it.
            (502 | 504, _) => Meaning::Retry { elsewhere: true },
            // 26, 27 at capacity; 8 internal error; 9 busy.
            (408 | 425 | 429 | 500..600, _) => Meaning::Retry { elsewhere: false },
            // 1 to 4 token; a wrong path; a redirect.
            _ => Meaning::Pause,
        }
    }

    /// Whether the events were taken, but soon will not be.
    pub(super) fn is_near_capacity(&self) -> bool {
        matches!(self.code, Some(24 | 25))
    }

    /// What to do about it, where that is known.
    pub(super) fn advice(&self, status: u16, index: Option<&str>) -> String {
        let text = match (status, self.code) {
            (200..300, _) => "that is no answer of an HTTP Event Collector: look at `url`",
            (300..400, _) => "no redirect is followed: look at `url`",
            (404 | 405, _) => "look at `url`: it is that of the collector, with its port",
            (400, Some(7)) => {
                return match index {
                    Some(index) => format!(
                        ": let the token write to the index `{}`, or change `index`",
                        index.escape_debug()
                    ),
                    None => ": the token's own index is not there: set `index`".to_owned(),
                };
            }
            (400, Some(10 | 11 | 14)) => "look at the token's indexer acknowledgment",
            (400, Some(21 | 22)) | (401 | 403, _) => "look at `token`, and whether Splunk has it enabled",
            _ => return String::new(),
        };
        format!(": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(status: u16, body: &str) -> Meaning {
        Said::read(&Bytes::copy_from_slice(body.as_bytes())).means(status, 5)
    }

    #[test]
    fn every_code_means_what_the_reference_says() {
        use Meaning::{Invalid, Pause, Received, Refused, Retry};
        let later = Retry { elsewhere: false };
        let elsewhere = Retry { elsewhere: true };
        for (status, codes, expected) in [
            (200, &[0, 24, 25][..], Received),
            (403, &[1, 4], Pause),
            (401, &[2, 3], Pause),
            (400, &[5, 6, 12, 13, 15], Refused),
            (400, &[7, 10, 11, 14, 16, 21, 22, 99], Pause),
            (500, &[8], later),
            (503, &[9], later),
            (503, &[18, 19, 20, 23], elsewhere),
            (429, &[26, 27], later),
        ] {
            for code in codes {
                let body = format!(r#"{{"text":"what it is","code":{code}}}"#);
                assert_eq!(means(status, &body), expected, "{status} {body}");
            }
        }
        for code in [6, 12, 13, 15] {
            let body = |event: i64| format!(r#"{{"text":"x","code":{code},"invalid-event-number":{event}}}"#);
            assert_eq!(means(400, &body(0)), Invalid(0));
            assert_eq!(means(400, &body(4)), Invalid(4));
            assert_eq!(means(400, &body(5)), Refused, "there is no such event");
        }
    }

    #[test]
    fn what_is_no_answer_of_the_collector_is_judged_by_its_status() {
        use Meaning::{Pause, Refused, Retry, Split};
        const PAGE: &str = "<html>hello</html>";
        for (status, body, expected) in [
            (200, PAGE, Pause),
            (200, "", Pause),
            (204, "", Pause),
            (200, "{}", Pause),
            (200, r#"{"error":"no such service"}"#, Pause),
            (200, r#"{"text":"Success","code":null}"#, Pause),
            (200, r#"{"text":"HEC is healthy","code":17}"#, Pause),
            (200, r#"{"code":"0"}"#, Pause),
            (301, PAGE, Pause),
            (400, PAGE, Pause),
            (400, r#"{"text":"x","code":6,"invalid-event-number":-1}"#, Refused),
            (400, r#"{"text":"x","code":6,"invalid-event-number":"3"}"#, Refused),
            (404, PAGE, Pause),
            (413, PAGE, Split),
            (429, "", Retry { elsewhere: false }),
            (500, PAGE, Retry { elsewhere: false }),
            (502, PAGE, Retry { elsewhere: true }),
            (503, PAGE, Retry { elsewhere: false }),
        ] {
            assert_eq!(means(status, body), expected, "{status} {body}");
        }
    }
}
