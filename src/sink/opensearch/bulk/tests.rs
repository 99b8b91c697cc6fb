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
fn what_is_written_as_clusters_write_it_is_read_item_by_item_all_the_same() {
    let whole = |items| {
        let items = vec![r#"{"create":{"status":201}}"#; items].join(",");
        format!("{{\"errors\":false,\"items\":[{items}]}}")
    };
    for records in 1..4 {
        assert_eq!(created(whole(records as usize).as_bytes()), Some(records as usize));
        assert_eq!(judged(whole(records as usize).as_bytes(), records).unwrap(), Judged::Taken);
        for other in [records - 1, records + 1] {
            let told = judged(whole(records as usize).as_bytes(), other).unwrap();
            assert!(matches!(told, Judged::Retry { .. }), "{told:?}");
        }
    }
    let two = whole(2);
    let others = [
        ("false", "true"),
        ("false", " false"),
        ("201", "200"),
        ("201", "429"),
        ("},{", "},{\"index\":0},{"),
        ("},{", "},,{"),
        ("},{", "}{"),
        ("]}", "],\"took\":1}"),
        ("]}", ",]}"),
        ("]}", "]} "),
        ("]}", "]"),
    ];
    for (from, to) in others {
        let other = two.replacen(from, to, 1);
        assert!(other != two && created(other.as_bytes()).is_none(), "{other}");
    }
    assert_eq!(created(whole(0).as_bytes()), None);
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
fn how_an_index_is_set_up_is_no_matter_of_the_event() {
    // As OpenSearch 2.19 and Elasticsearch 7 and 8 write them.
    for (reason, hint) in [
        (
            "no write index is defined for alias [trail]. The write index may be explicitly disabled using is_write_index=false or the alias points to multiple indices without one being designated as a write index",
            "is_write_index",
        ),
        (
            "alias [trail] has more than one index associated with it [trail-1, trail-2], can't execute a single index op",
            "is_write_index",
        ),
        (
            "Alias [trail] has more than one indices associated with it [[trail-1, trail-2]], can't execute a single index op",
            "is_write_index",
        ),
        ("pipeline with id [geoip] does not exist", "default_pipeline"),
    ] {
        let told =
            answer(&[r#"{"create":{"status":201}}"#, &item(400, "illegal_argument_exception", reason)]);
        assert!(matches!(&told, Judged::Pause(message) if message.contains(hint)), "{told:?}");
    }
    // An event that says so itself.
    for (r#type, reason) in [
        ("illegal_argument_exception", "cannot parse: pipeline with id [x] does not exist"),
        ("mapper_parsing_exception", "pipeline with id [x] does not exist"),
        ("mapper_parsing_exception", "value 'Document ID is not supported'"),
    ] {
        let told = answer(&[&item(400, r#type, reason)]);
        assert!(matches!(&told, Judged::Items(items) if matches!(items[0].1, Item::Refused(..))), "{told:?}");
    }
    let told =
        answer(&[&item(400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded")]);
    let Judged::Items(items) = told else { panic!() };
    assert!(
        matches!(&items[0].1, Item::Refused(_, reason) if reason.contains("manage_template")),
        "{items:?}"
    );
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
