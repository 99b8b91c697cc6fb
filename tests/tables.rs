//! Tables that ship: shape, uniqueness, sources.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    price: Vec<Price>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    id: String,
    amount: f64,
    low: Option<f64>,
    high: Option<f64>,
    unit: String,
    per: u64,
    what: String,
    source: String,
    read_at: Option<String>,
    retrieved_on: toml::value::Datetime,
}

#[test]
fn every_price_has_an_amount_a_source_and_a_day() {
    let text = include_str!("../transforms/tables/prices.toml");
    let prices: Prices = toml::from_str(text).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for price in prices.price {
        assert!(ids.insert(price.id.clone()), "{} is there twice", price.id);
        assert!(price.amount > 0.0 && price.per > 0, "{}", price.id);
        assert!(price.low.is_none_or(|low| low < price.amount), "{}", price.id);
        assert!(price.high.is_none_or(|high| high > price.amount), "{}", price.id);
        assert!(["event", "request", "GB", "GB-month"].contains(&price.unit.as_str()), "{}", price.id);
        assert!(price.source.starts_with("https://") && !price.what.is_empty(), "{}", price.id);
        assert!(price.read_at.is_none_or(|place| !place.is_empty()), "{}", price.id);
        assert!(price.retrieved_on.date.is_some() && price.retrieved_on.time.is_none(), "{}", price.id);
    }
}
