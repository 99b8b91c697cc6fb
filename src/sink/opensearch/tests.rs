use super::*;

fn problems(text: &str) -> Vec<String> {
    let config: Config = toml::from_str(text).unwrap();
    config.problems().into_iter().map(|problem| problem.message).collect()
}

#[test]
fn a_url_is_enough() {
    assert_eq!(problems("url = \"https://search.example.com:9200\""), [""; 0]);
    let config: Config = toml::from_str("url = \"https://search.example.com:9200\"").unwrap();
    assert_eq!(config.index().unwrap().to_string(), "cloudtrail-{year}.{month}.{day}");
    assert!(config.packing().lengths);
}

#[test]
fn settings_that_contradict_each_other_are_told() {
    let url = "url = \"https://search.example.com\"\n";
    for (text, told) in [
        ("index = \"a\"\ndata_stream = \"b\"", "`index` and `data_stream` both say where events go"),
        ("data_stream = \"a,b\"", "no data stream can be named so: `,` cannot stand in it"),
        ("lifecycle = { delete_after = \"36 h\" }", "these are no whole days"),
        ("lifecycle = { rollover_age = \"1 d\" }", "only a data stream is rolled over"),
        ("fields = { \"a..b\" = \"keyword\" }", "`a..b` cannot be the path of a field"),
        ("template = \"A\"", "no template can be named so: `A` cannot stand in it"),
        ("ids = false", "events carry no ids"),
        ("manage_template = false", "no index template is installed"),
        ("data_stream = \"a\"", "a data stream knows ids only since its last rollover"),
    ] {
        let all = problems(&format!("{url}{text}"));
        assert!(all.iter().any(|problem| problem == told), "{text}: {all:?}");
    }
    let serverless = "url = \"https://x.eu-west-1.aoss.amazonaws.com\"\ndata_stream = \"a\"\nlifecycle = { delete_after = \"9 d\" }";
    let all = problems(serverless);
    assert!(all.iter().any(|problem| problem == "Serverless has no data streams"), "{all:?}");
    assert!(all.iter().any(|problem| problem == "Serverless has no policies of indexes"), "{all:?}");
}

#[test]
fn events_go_to_the_index_of_their_day() {
    use crate::sink::template::{TimeRange, Values};
    let config: Config = toml::from_str("url = \"https://search.example.com\"").unwrap();
    let places = config.places("search").unwrap();
    let values = Values { time: Some(1_709_251_199), ..Values::default() };
    assert_eq!(places.render(&values, TimeRange::default()), "cloudtrail-2024.02.29");
}
