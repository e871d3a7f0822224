//! Plain loops over the same input, and the comparison with the job's output.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use millstream::Timestamp;
use millstream::window::Window;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::job::{DAY, EACH, STANDS};
use crate::records::{Departure, Flight, Line, Totals, Weather};
use crate::rows::{FlightRow, WeatherRow};

const HOUR_MS: i64 = 3_600_000;

/// What the output is, or must be.
pub(crate) struct Results {
    pub(crate) departures: Vec<Departure>,
    pub(crate) legs: Vec<Line>,
    pub(crate) delays: Vec<Line>,
    hours: Vec<Line>,
    /// Flights that came too late to be counted in their hour.
    pub(crate) late: Vec<LateFlight>,
}

/// Of a flight that was late, what its hour is told by.
#[derive(Debug, Deserialize)]
pub(crate) struct LateFlight {
    origin: String,
    scheduled: Timestamp,
    distance: u64,
    dep_delay: Option<i64>,
}

impl Results {
    /// What the job has written.
    pub(crate) fn read(out: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            departures: lines(&out.join("departures"))?,
            legs: lines(&out.join("legs"))?,
            delays: lines(&out.join("delays"))?,
            hours: lines(&out.join("hours"))?,
            late: lines(&out.join("late"))?,
        })
    }

    /// What it must have written. None is late.
    pub(crate) fn compute(flights: &str, weather: &str) -> Result<Self, Box<dyn Error>> {
        let rows = csv::Reader::from_path(flights)?.into_deserialize::<FlightRow>();
        let flights = rows.map(|row| row.map(Flight::from)).collect::<Result<Vec<_>, _>>()?;
        let rows = csv::Reader::from_path(weather)?.into_deserialize::<WeatherRow>();
        let hours = rows.map(|row| row.map(Weather::from).map(|hour| ((hour.origin.clone(), hour.time_hour), hour)));
        let weather = hours.collect::<Result<BTreeMap<(String, Timestamp), Weather>, _>>()?;
        let with_weather =
            |flight: &Flight| Departure::new(flight, weather.get(&(flight.origin.clone(), hour_of(flight.scheduled))));
        let flown = || flights.iter().filter(|flight| flight.dep_delay.is_some());
        Ok(Self {
            departures: flights.iter().map(with_weather).collect(),
            legs: legs(flown()),
            delays: in_windows(flown(), |flight| &flight.carrier, millis(DAY), millis(EACH)),
            hours: in_windows(
                flights.iter().filter(|flight| !flight.left_after_midnight()),
                |flight| &flight.origin,
                HOUR_MS,
                HOUR_MS,
            ),
            late: Vec::new(),
        })
    }

    /// The first difference between what was `found` and this.
    pub(crate) fn compare(self, mut found: Self) -> Result<(), Box<dyn Error>> {
        same("departures", found.departures, self.departures)?;
        same("legs", found.legs, self.legs)?;
        same("delays", found.delays, self.delays)?;
        // Which flights are late depends on how the file was read, so each is in its hour or among these.
        found.hours.extend(found.late.iter().map(LateFlight::line));
        same("hours", in_one_line(found.hours), self.hours)
    }
}

impl LateFlight {
    fn line(&self) -> Line {
        let totals = Totals { flights: 1, miles: self.distance, minutes_late: self.dep_delay.unwrap_or(0) };
        Line::new(&self.origin, Window::new(hour_of(self.scheduled), hour_of(self.scheduled) + HOUR_MS), totals)
    }
}

fn hour_of(time: Timestamp) -> Timestamp {
    time.div_euclid(HOUR_MS) * HOUR_MS
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// Totals of all sliding windows.
fn in_windows<'a>(
    flights: impl Iterator<Item = &'a Flight>,
    of: impl Fn(&Flight) -> &String,
    size: i64,
    slide: i64,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for flight in flights {
        let last = flight.scheduled.div_euclid(slide) * slide;
        let mut start = last;
        while start + size > flight.scheduled {
            let mut totals = Totals::default();
            totals.add(flight);
            lines.push(Line::new(of(flight), Window::new(start, start + size), totals));
            start -= slide;
        }
    }
    in_one_line(lines)
}

/// Merges lines of the same span.
fn in_one_line(lines: Vec<Line>) -> Vec<Line> {
    let mut merged: BTreeMap<(String, Timestamp, Timestamp), Totals> = BTreeMap::new();
    for Line { of, from, to, totals } in lines {
        merged.entry((of, from, to)).or_default().merge(totals);
    }
    merged.into_iter().map(|((of, from, to), totals)| Line { of, from, to, totals }).collect()
}

/// The legs of each aircraft between which it did not stand longer than it may.
fn legs<'a>(flights: impl Iterator<Item = &'a Flight>) -> Vec<Line> {
    let mut aircraft: BTreeMap<&str, Vec<&Flight>> = BTreeMap::new();
    for flight in flights {
        if let Some(tailnum) = &flight.tailnum {
            aircraft.entry(tailnum).or_default().push(flight);
        }
    }
    let mut lines = Vec::new();
    for (tailnum, mut flights) in aircraft {
        flights.sort_by_key(|flight| flight.scheduled);
        for legs in flights.chunk_by(|leg, next| next.scheduled - leg.scheduled <= millis(STANDS)) {
            let mut totals = Totals::default();
            legs.iter().for_each(|leg| totals.add(leg));
            let (first, last) = (legs[0].scheduled, legs[legs.len() - 1].scheduled);
            lines.push(Line::new(tailnum, Window::new(first, last + millis(STANDS)), totals));
        }
    }
    lines
}

fn same<T: Debug + Ord>(what: &str, mut found: Vec<T>, mut expected: Vec<T>) -> Result<(), Box<dyn Error>> {
    found.sort_unstable();
    expected.sort_unstable();
    if let Some((found, expected)) = found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        return Err(format!("{what}: {found:?} instead of {expected:?}").into());
    }
    if found.len() != expected.len() {
        return Err(format!("{what}: {} lines instead of {}", found.len(), expected.len()).into());
    }
    Ok(())
}

/// The lines of all finished files.
fn lines<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>, Box<dyn Error>> {
    let mut records = Vec::new();
    for path in glob::glob(&format!("{}/part-*.jsonl", glob::Pattern::escape(&dir.to_string_lossy())))? {
        for line in std::fs::read_to_string(path?)?.lines() {
            records.push(serde_json::from_str(line)?);
        }
    }
    Ok(records)
}
