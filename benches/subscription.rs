//! Payloads of a log group's subscription, as CloudWatch Logs writes them.

/// The text of a message with these records, one an event.
pub(crate) fn message(records: &[String]) -> String {
    let event = |(number, record): (usize, &String)| {
        let text = serde_json::to_string(record).unwrap();
        format!(r#"{{"id":"{number:056}","timestamp":1768471200000,"message":{text}}}"#)
    };
    let events: Vec<_> = records.iter().enumerate().map(event).collect();
    format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"trail","logStream":"one","subscriptionFilters":["all"],"logEvents":[{}]}}"#,
        events.join(",")
    )
}
