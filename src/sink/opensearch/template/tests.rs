use super::*;
use crate::encode::flat::{Arrays, Flatten};
use crate::encode::{Nested, Shape};
use crate::sink::opensearch::mapping::Type;

fn plan(flavour: Flavour) -> Plan {
    let (name, pattern) = ("trailship-search".to_owned(), "cloudtrail-*".to_owned());
    Plan { flavour, name, pattern, settings: Map::new(), lifecycle: Lifecycle::default() }
}

fn nested(stream: bool) -> Mapping {
    Mapping::new(&Shape::Nested(Nested::default()), stream, &[])
}

fn flat(change: impl FnOnce(&mut Flatten)) -> Mapping {
    let mut flat = Flatten::default();
    change(&mut flat);
    Mapping::new(&Shape::Flat(flat), false, &[("trailship.account.tags.env".into(), Type::Keyword)])
}

/// The definition of a field, by dotted path.
fn field<'v>(template: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(&template["template"]["mappings"], |at, name| &at["properties"][name])
}

#[test]
fn the_nested_template_flattens_what_stays_an_object() {
    let template = plan(Flavour::Opensearch).template(&nested(false));
    assert_eq!(template["template"]["mappings"]["dynamic"], json!(false));
    for path in ["requestParameters", "responseElements", "additionalEventData", "serviceEventDetails"] {
        assert_eq!(field(&template, path), &json!({ "type": "flat_object" }));
    }
    assert_eq!(field(&template, "userIdentity.sessionContext.sessionIssuer.arn")["type"], "keyword");
    assert_eq!(field(&template, "userIdentity.sessionContext.attributes.creationDate")["type"], "date");
    assert_eq!(field(&template, "resources.ARN")["type"], "keyword");
    assert_eq!(field(&template, "readOnly")["type"], "boolean");
    assert_eq!(
        field(&template, "insightDetails.insightContext.attributions.insight.average")["type"],
        "double"
    );
    assert_eq!(field(&template, "summary.details.statistics.value")["type"], "double");
    assert_eq!(field(&template, "sourceIPAddress")["fields"]["ip"]["type"], "ip");
    assert_eq!(field(&template, "trailship.account.tags")["type"], "flat_object");
    assert_eq!(field(&template, "trailship.unindexed"), &json!({ "type": "object", "enabled": false }));
    assert_eq!(field(&template, "@timestamp"), &json!({ "type": "alias", "path": "eventTime" }));
    assert!(nested(false).fields() <= 300, "{}", nested(false).fields());
}

#[test]
fn elasticsearch_has_another_name_for_it() {
    let template = plan(Flavour::Elasticsearch).template(&nested(false));
    assert_eq!(field(&template, "requestParameters"), &json!({ "type": "flattened", "depth_limit": 256 }));
}

#[test]
fn a_data_stream_has_a_time_of_its_own() {
    let template = plan(Flavour::Opensearch).template(&nested(true));
    assert_eq!(template["data_stream"], json!({}));
    assert_eq!(field(&template, "@timestamp")["type"], "date");
    // A server refuses a stream whose time may be wrong.
    assert!(field(&template, "@timestamp")["ignore_malformed"].is_null());
}

#[test]
fn the_flat_template_has_columns() {
    let template = plan(Flavour::Opensearch).template(&flat(|_| {}));
    // They come as JSON text, so they are texts.
    assert_eq!(field(&template, "requestParameters")["type"], "text");
    assert_eq!(field(&template, "userIdentity.arn")["type"], "keyword");
    assert_eq!(field(&template, "resources.ARN")["type"], "keyword");
    assert_eq!(field(&template, "trailship.account.tags.env")["type"], "keyword");
    // Its members are columns that nobody knows before.
    assert!(field(&template, "edgeDeviceDetails").is_null());
    assert_eq!(field(&template, "trailship.unindexed")["enabled"], false);

    let template = plan(Flavour::Opensearch).template(&flat(|flat| flat.separator = "_".into()));
    assert_eq!(field(&template, "userIdentity_arn")["type"], "keyword");
    assert_eq!(field(&template, "resources.ARN")["type"], "keyword");
    assert_eq!(field(&template, "trailship_unindexed")["enabled"], false);

    let template = plan(Flavour::Opensearch).template(&flat(|flat| flat.arrays = Arrays::Json));
    assert_eq!(field(&template, "resources")["type"], "text");
    let template = plan(Flavour::Opensearch).template(&flat(|flat| flat.arrays = Arrays::Index));
    assert!(field(&template, "resources").is_null());
    let template = plan(Flavour::Opensearch).template(&flat(|flat| flat.max_depth = 2));
    assert_eq!(field(&template, "userIdentity.sessionContext")["type"], "text");
}

#[test]
fn a_policy_says_when_indexes_end() {
    let mut plan = plan(Flavour::Opensearch);
    assert_eq!(plan.policy(), None);
    plan.lifecycle = Lifecycle { delete_after: Some(90), rollover_age: Some(1), rollover_size: None };
    let (path, body) = plan.policy().unwrap();
    assert_eq!(path, "/_plugins/_ism/policies/trailship-search");
    assert_eq!(body["policy"]["states"][0]["actions"], json!([{ "rollover": { "min_index_age": "1d" } }]));
    assert_eq!(
        body["policy"]["states"][0]["transitions"][0]["conditions"],
        json!({ "min_index_age": "90d" })
    );
    assert_eq!(body["policy"]["ism_template"][0]["index_patterns"], json!(["cloudtrail-*"]));
    plan.flavour = Flavour::Elasticsearch;
    let (path, body) = plan.policy().unwrap();
    assert_eq!(path, "/_ilm/policy/trailship-search");
    assert_eq!(body["policy"]["phases"]["delete"]["min_age"], "90d");
    assert_eq!(body["policy"]["phases"]["hot"]["actions"]["rollover"], json!({ "max_age": "1d" }));
    let template = plan.template(&nested(false));
    assert_eq!(template["template"]["settings"]["index.lifecycle.name"], "trailship-search");
}
