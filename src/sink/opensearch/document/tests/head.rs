//! What stands before a record in its document.

use super::*;

#[test]
fn a_data_stream_s_documents_begin_with_their_time() {
    let shape = Shape::Nested(Nested::default());
    let mapping = Arc::new(Mapping::new(&shape, true, &[]));
    let document = Document::new(shape, mapping, Arc::default());
    let mut encoder = Encoder::new(Arc::new(Shape::Document(document)));
    let mut scanner = Scanner::new(Arc::new(Slots::default()), ScanLimits::default());
    for (text, expected) in [
        (r#"{"a":1}"#, r#"{"@timestamp":"1970-01-01T00:00:00Z","a":1}"#),
        ("{}", r#"{"@timestamp":"1970-01-01T00:00:00Z"}"#),
        (
            r#"{"@timestamp":5,"a":1}"#,
            r#"{"@timestamp":"1970-01-01T00:00:00Z","a":1,"trailship":{"unindexed":{"@timestamp":5}}}"#,
        ),
    ] {
        for _ in 0..3 {
            assert_eq!(scanner.scan(text.as_bytes(), 0), Scan::Record { end: text.len() });
            let mut out = Vec::new();
            with_record(&mut scanner, text, &mut Overlay::default(), |record| {
                encoder.encode(record, &mut out)
            });
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
