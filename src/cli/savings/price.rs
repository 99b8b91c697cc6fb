//! Prices, from the table that ships with the program: `transforms/tables/prices.toml`.

use anyhow::Context as _;
use serde::Deserialize;

/// The table as it is shipped.
const TABLE: &str = include_str!("../../../transforms/tables/prices.toml");

/// One price: a list price in US dollars, read on a certain day.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct Price {
    /// What estimates refer to.
    pub(in crate::cli) id: String,
    /// US dollars for `per` units.
    pub(in crate::cli) amount: f64,
    /// The range, where the vendor publishes no single figure.
    pub(in crate::cli) low: Option<f64>,
    /// The range's other end.
    pub(in crate::cli) high: Option<f64>,
    /// `event`, `GB`, `GB-month` or `request`.
    pub(in crate::cli) unit: String,
    /// How many units the amount buys.
    pub(in crate::cli) per: f64,
    /// The vendor's page.
    pub(in crate::cli) source: String,
    /// The day it was read.
    pub(in crate::cli) retrieved_on: toml::value::Datetime,
}

#[derive(Deserialize)]
struct Table {
    price: Vec<Price>,
}

impl Price {
    /// US dollars for so many events and decimal gigabytes.
    pub(in crate::cli) fn of(&self, events: f64, gigabytes: f64) -> f64 {
        let units = if self.unit == "event" { events } else { gigabytes };
        units / self.per * self.amount
    }
}

/// Reads the table.
///
/// # Errors
/// None: a test reads it.
pub(in crate::cli) fn shipped() -> anyhow::Result<Vec<Price>> {
    let table: Table = toml::from_str(TABLE).context("reading the table of prices")?;
    Ok(table.price)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::savings::DESTINATIONS;

    #[test]
    fn every_destination_has_a_price_with_a_source_and_a_day() {
        let prices = shipped().unwrap();
        for (id, ..) in DESTINATIONS {
            let price = prices.iter().find(|price| price.id == id).unwrap();
            assert!(price.source.starts_with("https://"), "{id}");
            assert!(price.retrieved_on.date.is_some(), "{id}");
            assert!(["event", "GB", "GB-month"].contains(&price.unit.as_str()), "{id}");
            assert!(price.of(1e6, 1.0) > 0.0, "{id}");
        }
    }
}
