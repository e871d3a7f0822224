//! What is read, and what is kept of it.

use std::collections::BTreeMap;
use std::error::Error;

use serde::{Deserialize, Serialize};

pub(crate) const DEPARTURES: &str = "examples/data/flights/flights.csv";

/// A departure as planned; its delay in minutes is `NA` if the flight did not take place.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Departure {
    pub(crate) origin: String,
    #[serde(deserialize_with = "csv::invalid_option")]
    dep_delay: Option<i64>,
}

/// What an airport's departures come to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) planned: u64,
    pub(crate) cancelled: u64,
    pub(crate) delay_minutes: i64,
}

impl Figures {
    pub(crate) fn add(&mut self, departure: &Departure) {
        self.planned += 1;
        match departure.dep_delay {
            Some(minutes) => self.delay_minutes += minutes.max(0),
            None => self.cancelled += 1,
        }
    }
}

/// The figures of each airport, by its code.
pub(crate) type ByAirport = BTreeMap<String, Figures>;

/// What a plain loop makes of all departures.
pub(crate) fn reference() -> Result<ByAirport, Box<dyn Error + Send + Sync>> {
    let mut airports = ByAirport::new();
    for departure in csv::Reader::from_path(DEPARTURES)?.deserialize() {
        let departure: Departure = departure?;
        airports.entry(departure.origin.clone()).or_default().add(&departure);
    }
    Ok(airports)
}
