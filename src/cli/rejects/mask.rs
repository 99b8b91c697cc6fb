//! Refused bytes as they may be shown: without live session tokens, and so that they can do nothing to a terminal.

use std::borrow::Cow;

use serde_json::Value;

use crate::telemetry::escaped;

const REDACTED: &str = "REDACTED";
/// In a damaged range, a run of so many characters of base64 may be a token, or a part of one.
const RUN: usize = 64;

/// Writes bytes as text: a record without its tokens, anything else masked and escaped.
pub(super) fn shown(bytes: &[u8]) -> String {
    if let Ok(mut record) = serde_json::from_slice::<Value>(bytes)
        && record.is_object()
    {
        let text = if redact(&mut record) {
            Cow::Owned(record.to_string().into_bytes())
        } else {
            Cow::Borrowed(bytes)
        };
        return escaped(&String::from_utf8_lossy(&text)).into_owned();
    }
    masked(&printable(bytes))
}

/// Replaces every `sessionToken`, wherever it stands. Returns whether there was one.
fn redact(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => members.iter_mut().fold(false, |found, (key, value)| {
            let is_token = key == "sessionToken" && value.as_str().is_some_and(|token| !token.is_empty());
            if is_token {
                *value = REDACTED.into();
            }
            redact(value) || is_token || found
        }),
        Value::Array(values) => values.iter_mut().map(redact).filter(|found| *found).count() > 0,
        _ => false,
    }
}

/// Text of any bytes: what is no UTF-8 as `\xff`.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&escaped(chunk.valid()));
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out
}

/// Masks what may be a token in text that is no record: what follows its name, and every long run of base64.
fn masked(text: &str) -> String {
    const NAME: &str = "sessionToken";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(NAME) {
        let (before, after) = rest.split_at(at + NAME.len());
        out.push_str(&runs(before));
        // Quotes may be escaped, once or more, where a record stands in a string.
        let value = after.find(|c: char| !matches!(c, '\\' | '"' | ':' | ' ' | '=')).unwrap_or(after.len());
        let (between, value) = after.split_at(value);
        let end = value.find(['"', '\\', ',', '}', ' ']).unwrap_or(value.len());
        out.push_str(between);
        if end > 0 {
            out.push_str(REDACTED);
        }
        rest = &value[end..];
    }
    out.push_str(&runs(rest));
    out
}

/// Masks long runs of base64.
fn runs(text: &str) -> String {
    let is_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '%');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_run) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_run(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        out.push_str(before);
        if run.len() >= RUN {
            out.push_str(&format!("[{} characters masked]", run.len()));
        } else {
            out.push_str(run);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked_in_records_and_in_what_is_left_of_one() {
        let token = "FQoGZXIvYXdzEP".repeat(8);
        let whole =
            format!(r#"{{"responseElements":{{"credentials":{{"sessionToken":"{token}"}}}},"a":1.50}}"#);
        let escaped_name = whole.replace("sessionToken", "session\\u0054oken");
        let inside = format!(r#"{{"message":{}"#, Value::String(whole.clone()));
        for text in [&whole, &escaped_name, &whole[..whole.len() - 3], &whole[5..60], &whole[80..], &inside] {
            let shown = shown(text.as_bytes());
            assert!(!shown.contains("FQoGZXIvYXdzEPFQoGZXIvYXdzEP"), "{shown}");
        }
        assert!(shown(whole.as_bytes()).contains(r#""sessionToken":"REDACTED""#));
        assert!(shown(inside.as_bytes()).contains(r#"\"sessionToken\":\"REDACTED\"}}"#));
    }

    #[test]
    fn bytes_are_escaped_and_a_record_without_a_token_is_as_it_was() {
        assert_eq!(
            shown(b"\x1b[31m\xff\n<\xe2\x80\xae"),
            "\\u{1b}[31m\\xff\\n<\\xe2\\x80\\xae".replace("\\xe2\\x80\\xae", "\\u{202e}")
        );
        assert_eq!(shown(br#"{ "a" : 1.50 }"#), r#"{ "a" : 1.50 }"#);
    }
}
