//! What is observed, and what is kept of it.

use std::collections::BTreeMap;
use std::error::Error;

use serde::{Deserialize, Serialize};

pub(crate) const OBSERVATIONS: &str = "examples/data/flights/weather.csv";

/// One hour at one airport; `NA` where nothing was measured.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Observation {
    pub(crate) origin: String,
    #[serde(deserialize_with = "csv::invalid_option")]
    temp: Option<f64>,
    #[serde(deserialize_with = "csv::invalid_option")]
    precip: Option<f64>,
}

/// What an airport's observations come to: temperatures in degrees Fahrenheit.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) hours: u64,
    pub(crate) wet_hours: u64,
    pub(crate) coldest: Option<f64>,
    pub(crate) warmest: Option<f64>,
}

impl Figures {
    pub(crate) fn add(&mut self, observation: &Observation) {
        self.hours += 1;
        self.wet_hours += u64::from(observation.precip.is_some_and(|precip| precip > 0.0));
        if let Some(temp) = observation.temp {
            self.coldest = Some(self.coldest.map_or(temp, |coldest| coldest.min(temp)));
            self.warmest = Some(self.warmest.map_or(temp, |warmest| warmest.max(temp)));
        }
    }
}

/// The figures of each airport, by its code.
pub(crate) type ByAirport = BTreeMap<String, Figures>;

/// What a plain loop makes of all observations.
pub(crate) fn reference() -> Result<ByAirport, Box<dyn Error + Send + Sync>> {
    let mut airports = ByAirport::new();
    for observation in csv::Reader::from_path(OBSERVATIONS)?.deserialize() {
        let observation: Observation = observation?;
        airports.entry(observation.origin.clone()).or_default().add(&observation);
    }
    Ok(airports)
}
