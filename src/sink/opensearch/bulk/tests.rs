use super::*;

fn answer(items: &[&str]) -> Judged {
    let body = format!("{{\"errors\":true,\"items\":[{}]}}", items.join(","));
    judged(body.as_bytes(), u32::try_from(items.len()).unwrap()).unwrap()
}

fn item(status: u16, r#type: &str, reason: &str) -> String {
    format!(
        r#"{{"create":{{"status":{status},"error":{{"type":"{type}","reason":"{reason}","caused_by":{{"reason":"why"}}}}}}}}"#
    )
}

#[test]
fn what_is_there_already_is_taken() {
    assert_eq!(judged(br#"{"errors":false,"items":[{"create":{"status":201}}]}"#, 1).unwrap(), Judged::Taken);
    let there = item(409, "version_conflict_engine_exception", "exists");
    assert_eq!(answer(&[r#"{"create":{"status":201}}"#, &there]), Judged::Taken);
}

#[test]
fn each_event_has_its_own_answer() {
    let [taken, busy, bad, gone] = [
        r#"{"create":{"status":201}}"#.to_owned(),
        item(429, "es_rejected_execution_exception", "queue"),
        item(400, "mapper_parsing_exception", "no"),
        item(503, "unavailable_shards_exception", "away"),
    ];
    let told = answer(&[&taken, &busy, &bad, &gone, &taken]);
    let Judged::Items(items) = told else { panic!("{told:?}") };
    assert_eq!(
        items,
        [
            (1, Item::Retry(429, "es_rejected_execution_exception: queue: why".into())),
            (2, Item::Refused(400, "mapper_parsing_exception: no: why".into())),
            (3, Item::Retry(503, "unavailable_shards_exception: away: why".into())),
        ]
    );
}

#[test]
fn what_is_not_about_the_event_pauses() {
    for (status, r#type) in [
        (403, "cluster_block_exception"),
        (403, "security_exception"),
        (403, "something_new"),
        (404, "index_not_found_exception"),
        (400, "validation_exception"),
        (400, "index_closed_exception"),
    ] {
        let told = answer(&[r#"{"create":{"status":201}}"#, &item(status, r#type, "no")]);
        assert!(matches!(&told, Judged::Pause(message) if message.starts_with(r#type)), "{told:?}");
    }
    let told = answer(&[&item(400, "illegal_argument_exception", "Document ID is not supported in create")]);
    assert!(matches!(&told, Judged::Pause(message) if message.contains("ids = false")), "{told:?}");
    // A race for a new index.
    let told = answer(&[&item(400, "resource_already_exists_exception", "no")]);
    assert!(matches!(&told, Judged::Items(items) if matches!(items[0].1, Item::Retry(..))), "{told:?}");
}

#[test]
fn an_answer_for_fewer_events_is_none() {
    let refused = judged(br#"{"errors":false,"items":[{"create":{"status":400}}]}"#, 1).unwrap();
    assert!(matches!(refused, Judged::Items(_)), "items count, not `errors`");
    let told = judged(br#"{"errors":false,"items":[{"create":{"status":201}}]}"#, 2).unwrap();
    assert!(matches!(told, Judged::Retry { .. }));
    assert!(matches!(judged(br#"{"errors":false}"#, 2).unwrap(), Judged::Retry { .. }));
    for body in ["", "<html>", "{}", "[]", r#"{"errors":false,"items":[{}]}"#] {
        judged(body.as_bytes(), 1).unwrap_err();
    }
}

#[test]
fn reasons_are_cut_and_escaped() {
    let told = answer(&[&item(400, "mapper_parsing_exception", &format!("\\u001b[2J{}", "é".repeat(5_000)))]);
    let Judged::Items(items) = told else { panic!() };
    let Item::Refused(_, reason) = &items[0].1 else { panic!() };
    assert!(reason.len() < 1_200 && reason.contains("\\u{1b}[2J"), "{reason}");
    // Elsewhere an error is a text.
    let told = answer(&[r#"{"create":{"status":400,"error":"bad"}}"#]);
    assert_eq!(told, Judged::Items(vec![(0, Item::Refused(400, ": bad".into()))]));
}
