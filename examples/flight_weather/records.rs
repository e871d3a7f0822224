//! What is read, and what comes out.

use millstream::Timestamp;
use millstream::window::Window;
use serde::{Deserialize, Serialize};

/// A flight that was to leave New York.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Flight {
    /// In minutes; none if the flight did not take place.
    pub(crate) dep_delay: Option<i64>,
    pub(crate) carrier: String,
    pub(crate) flight: u32,
    pub(crate) tailnum: Option<String>,
    pub(crate) origin: String,
    pub(crate) distance: u64,
    /// When it was to leave.
    pub(crate) scheduled: Timestamp,
}

impl Flight {
    /// Whether it left on the day after that on which it was to leave, in New York. The file has such flights at the beginning of
    /// their day.
    pub(crate) fn left_after_midnight(&self) -> bool {
        let day = |time: Timestamp| (time - 5 * 3_600_000).div_euclid(24 * 3_600_000);
        day(self.scheduled + self.dep_delay.unwrap_or(0) * 60_000) > day(self.scheduled)
    }
}

/// What the weather was at an airport in an hour.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Weather {
    pub(crate) origin: String,
    pub(crate) wind_knots: Option<u32>,
    pub(crate) time_hour: Timestamp,
}

/// A flight with the weather of its airport and hour.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Departure {
    pub(crate) origin: String,
    pub(crate) scheduled: Timestamp,
    pub(crate) carrier: String,
    pub(crate) flight: u32,
    pub(crate) dep_delay: Option<i64>,
    pub(crate) wind_knots: Option<u32>,
}

impl Departure {
    pub(crate) fn new(flight: &Flight, weather: Option<&Weather>) -> Self {
        Self {
            origin: flight.origin.clone(),
            scheduled: flight.scheduled,
            carrier: flight.carrier.clone(),
            flight: flight.flight,
            dep_delay: flight.dep_delay,
            wind_knots: weather.and_then(|weather| weather.wind_knots),
        }
    }
}

/// What was flown, or how late it left.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Totals {
    pub(crate) flights: u64,
    pub(crate) miles: u64,
    pub(crate) minutes_late: i64,
}

impl Totals {
    pub(crate) fn add(&mut self, flight: &Flight) {
        self.merge(Self { flights: 1, miles: flight.distance, minutes_late: flight.dep_delay.unwrap_or(0) });
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.flights += other.flights;
        self.miles += other.miles;
        self.minutes_late += other.minutes_late;
    }
}

/// Totals of a carrier in a day, of an aircraft's legs that follow each other, or of an airport in an hour.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Line {
    pub(crate) of: String,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    #[serde(flatten)]
    pub(crate) totals: Totals,
}

impl Line {
    pub(crate) fn new(of: &str, window: Window, totals: Totals) -> Self {
        Self { of: of.to_owned(), from: window.start(), to: window.end(), totals }
    }
}
