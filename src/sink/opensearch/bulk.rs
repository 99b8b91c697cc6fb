//! The bulk API: many events in one request, an answer for each.
//!
//! Source: *OpenSearch, Bulk API*; *Elasticsearch, Bulk API*. Of the answer only statuses and errors are asked for.

#[doc(hidden)]
pub mod fuzz;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use reqwest::Request;
use serde::Deserialize;

use super::ready::Ready;
use crate::clock::Clock;
use crate::encode::compress::Compression;
use crate::sink::deliver::client::Reading;
use crate::sink::deliver::object::Object;
use crate::sink::deliver::{Answer, Endpoint, Item, Judged, Part, Protocol, Service, Trouble};
use crate::telemetry::escaped;

/// Bytes of an answer that are read; 10,000 events with an error each are a tenth of it.
const ANSWER: usize = 64 << 20;
/// What of an answer is asked for: `errors,items.*.status,items.*.error`, as it stands in a signature, too.
const WANTED: &str = "filter_path=errors%2Citems.%2A.status%2Citems.%2A.error";
/// Characters of a reason that are kept.
const REASON: usize = 500;

/// Errors of single events, status 400 or 403, that are not about the event: type, and what to do.
const NOT_THE_EVENT: [(&str, &str); 10] = [
    ("security_exception", "let the user write to this index"),
    (
        "cluster_block_exception",
        "the disks of the cluster are full, or the index is blocked: see its settings",
    ),
    ("index_create_block_exception", "the cluster makes no indexes now: see its disks"),
    ("index_closed_exception", "open the index"),
    ("index_not_found_exception", "let the cluster make indexes (action.auto_create_index)"),
    ("validation_exception", "the cluster takes no more shards: delete indexes, or raise its limit"),
    ("invalid_index_name_exception", "set `index` to a name the cluster takes"),
    ("invalid_alias_name_exception", "set `index` to a name the cluster takes"),
    ("resource_not_found_exception", "see the cluster's log"),
    ("authorization_exception", "let the user write to this index"),
];

/// What an `illegal_argument_exception` begins with that is not about the event but about how the index is set up: and what to
/// do. Only how it begins: what follows may be the event's own text.
const NOT_THE_EVENT_BY_REASON: [(&str, &str); 4] = [
    ("no write index is defined for alias [", "set `is_write_index` for one index of the alias"),
    ("alias [", "write to an alias of one index, or set `is_write_index` for one"),
    (
        "pipeline with id [",
        "make that ingest pipeline, or take it out of the index's settings (default_pipeline, final_pipeline)",
    ),
    ("document id is not supported", "this collection takes no ids (a time series): set ids = false"),
];

/// How an error begins of an event with fields that the index has no room for, and what to do.
const TOO_MANY_FIELDS: (&str, &str) = (
    "limit of total fields [",
    "leave the index template to us (manage_template), or raise index.mapping.total_fields.limit; then ship them again (`replay`)",
);

/// Speaks to a cluster.
pub struct OpenSearch {
    /// What messages call the cluster.
    cluster: String,
    ready: Option<Ready>,
    stream: Option<Box<str>>,
    headers: HeaderMap,
    ids: bool,
    clock: Clock,
}

impl OpenSearch {
    pub(super) fn new(
        cluster: String,
        ready: Option<Ready>,
        stream: Option<Box<str>>,
        compression: Compression,
        ids: bool,
        clock: Clock,
    ) -> OpenSearch {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(encoding) = compression.header() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        OpenSearch { cluster, ready, stream, headers, ids, clock }
    }
}

impl Protocol for OpenSearch {
    type Sent = ();

    async fn ready(&self, service: &Service) -> Result<(), Trouble> {
        match &self.ready {
            Some(ready) => ready.ready(service).await,
            None => Ok(()),
        }
    }

    fn request(&self, part: &Part, endpoint: &Endpoint) -> (Request, ()) {
        // What stands in names by chance (an environment's) may have large letters.
        let index = match &self.stream {
            Some(stream) => stream.to_string(),
            None => part.partition.to_ascii_lowercase(),
        };
        let mut request = Request::new(Method::POST, endpoint.url(&format!("/{index}/_bulk?{WANTED}")));
        request.headers_mut().clone_from(&self.headers);
        (request, ())
    }

    fn judge(&self, answer: &Answer, part: &Part, endpoint: &Endpoint, (): ()) -> Judged {
        let cluster = &self.cluster;
        let message = || format!("{} answers {}", endpoint.target(), answer.shown());
        match answer.status.as_u16() {
            200..300 => {
                if answer.cut {
                    let message = format!("{cluster} answers more than {} MiB", ANSWER >> 20);
                    return Judged::Retry { message, after: None, elsewhere: false };
                }
                judged(&answer.body, part.records).unwrap_or_else(|error| {
                    Judged::Pause(format!(
                        "{cluster} does not answer as a cluster does ({error}): is the URL right?"
                    ))
                })
            }
            413 => Judged::Split(message()),
            408 | 425 | 429 | 500..600 => {
                let after = answer.retry_after(self.clock.now());
                Judged::Retry { message: message(), after, elsewhere: false }
            }
            400 => Judged::Refused(message()),
            _ => Judged::Pause(message()),
        }
    }

    fn reading(&self) -> Reading {
        ANSWER.into()
    }

    fn recognises(&self) -> bool {
        self.ids && self.stream.is_none()
    }
}

/// An answer to a bulk request.
#[derive(Deserialize)]
struct Bulk<'a> {
    /// Only a cluster's answer has it. What it says is not asked: what the items say counts.
    #[serde(rename = "errors")]
    _errors: bool,
    #[serde(borrow, default)]
    items: Vec<Object<Outcome<'a>>>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, alias = "index")]
    create: Object<Told<'a>>,
}

#[derive(Deserialize)]
struct Told<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize, Default)]
struct Error {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    caused_by: Option<Box<Error>>,
}

/// Of how many records the answer says that they were created; `None`: it says something else, or in other words. This is how
/// clusters write it where all is well: item by item, as of any other answer, and without a parser.
fn created(body: &[u8]) -> Option<usize> {
    let mut rest = body.strip_prefix(br#"{"errors":false,"items":["#)?;
    let mut items = 0;
    loop {
        rest = rest.strip_prefix(br#"{"create":{"status":201}}"#)?;
        items += 1;
        match rest {
            [b',', more @ ..] => rest = more,
            b"]}" => return Some(items),
            _ => return None,
        }
    }
}

/// What the answer says of so many records, in the order they were sent.
fn judged(body: &[u8], records: u32) -> Result<Judged, serde_json::Error> {
    if created(body) == Some(records as usize) {
        return Ok(Judged::Taken);
    }
    let Object(Bulk { items, .. }) = serde_json::from_slice(body)?;
    if items.len() != records as usize {
        let message = format!("the cluster answers for {} of {records} events", items.len());
        return Ok(Judged::Retry { message, after: None, elsewhere: false });
    }
    let mut not_taken = Vec::new();
    for (at, item) in (0..).zip(items) {
        let Object(Told { status, error }) = item.0.create;
        // 409: it is there already.
        if matches!(status, 200..300 | 409) {
            continue;
        }
        let error = error.map(read).unwrap_or_default();
        let mut reason = error.shown();
        let known = NOT_THE_EVENT.iter().find(|(r#type, _)| error.r#type == *r#type);
        if let Some((_, hint)) = known.filter(|_| status < 500) {
            return Ok(Judged::Pause(format!("{reason}; {hint}")));
        }
        if status < 500 && error.r#type == "illegal_argument_exception" {
            let said = error.reason.to_ascii_lowercase();
            if let Some((_, hint)) = NOT_THE_EVENT_BY_REASON.iter().find(|(begin, _)| said.starts_with(begin))
            {
                return Ok(Judged::Pause(format!("{reason}; {hint}")));
            }
            if said.starts_with(TOO_MANY_FIELDS.0) {
                reason = format!("{reason}; {}", TOO_MANY_FIELDS.1);
            }
        }
        not_taken.push(match status {
            400 if error.r#type == "resource_already_exists_exception" => (at, Item::Retry(status, reason)),
            408 | 425 | 429 | 500.. => (at, Item::Retry(status, reason)),
            401 | 403 | 404 => return Ok(Judged::Pause(reason)),
            400..500 => (at, Item::Refused(status, reason)),
            // Not a refusal of any kind.
            _ => (at, Item::Retry(status, reason)),
        });
    }
    Ok(if not_taken.is_empty() { Judged::Taken } else { Judged::Items(not_taken) })
}

/// An error as an object, or as a text.
fn read(text: &serde_json::value::RawValue) -> Error {
    serde_json::from_str(text.get()).unwrap_or_else(|_| Error {
        reason: serde_json::from_str(text.get()).unwrap_or_else(|_| text.get().to_owned()),
        ..Error::default()
    })
}

impl Error {
    /// Its type and reasons, cut and escaped.
    fn shown(&self) -> String {
        let cut = |text: &str| {
            escaped(text.get(..text.floor_char_boundary(REASON)).unwrap_or_default()).into_owned()
        };
        let mut text = format!("{}: {}", cut(&self.r#type), cut(&self.reason));
        let mut next = &self.caused_by;
        let mut depth = 0;
        while let Some(cause) = next.as_ref().filter(|_| depth < 4) {
            text.push_str(&format!(": {}", cut(&cause.reason)));
            next = &cause.caused_by;
            depth += 1;
        }
        text
    }
}

#[cfg(test)]
mod tests;
