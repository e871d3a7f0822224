//! Flights as they are read, and what is computed of them.

use serde::{Deserialize, Serialize};

use super::missing::or_na;

/// One line of the input; what the job does not use is left out.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Flight {
    #[serde(deserialize_with = "or_na")]
    pub(crate) dep_time: Option<u16>,
    #[serde(deserialize_with = "or_na")]
    pub(crate) dep_delay: Option<i64>,
    pub(crate) carrier: String,
    pub(crate) flight: u32,
    pub(crate) origin: String,
    pub(crate) dest: String,
    pub(crate) time_hour: String,
}

impl Flight {
    /// A flight without a departure time did not take place.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.dep_time.is_none()
    }
}

/// What is kept of a flight that did not take place.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct CancelledFlight {
    pub(crate) carrier: String,
    pub(crate) flight: u32,
    pub(crate) origin: String,
    pub(crate) dest: String,
    pub(crate) time_hour: String,
}

impl From<Flight> for CancelledFlight {
    fn from(Flight { carrier, flight, origin, dest, time_hour, .. }: Flight) -> Self {
        Self { carrier, flight, origin, dest, time_hour }
    }
}

/// What is known of a carrier at an airport so far.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Figures {
    pub(crate) flights: u64,
    pub(crate) total_dep_delay: i64,
    pub(crate) max_dep_delay: i64,
}

impl Figures {
    pub(crate) fn add(&mut self, flight: &Flight) {
        let delay = flight.dep_delay.unwrap_or(0);
        self.max_dep_delay = if self.flights == 0 { delay } else { self.max_dep_delay.max(delay) };
        self.flights += 1;
        self.total_dep_delay += delay;
    }

    pub(crate) fn line(&self, carrier: &str, origin: &str) -> DelayLine {
        let mean = self.total_dep_delay as f64 / self.flights as f64;
        DelayLine {
            carrier: carrier.to_owned(),
            origin: origin.to_owned(),
            flights: self.flights,
            total_dep_delay: self.total_dep_delay,
            max_dep_delay: self.max_dep_delay,
            mean_dep_delay: (mean * 100.0).round() / 100.0,
        }
    }
}

/// One line of the output: delays in minutes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct DelayLine {
    pub(crate) carrier: String,
    pub(crate) origin: String,
    pub(crate) flights: u64,
    pub(crate) total_dep_delay: i64,
    pub(crate) max_dep_delay: i64,
    pub(crate) mean_dep_delay: f64,
}
