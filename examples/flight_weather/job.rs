//! The job.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use millstream::JobHandle;
use millstream::prelude::*;

use crate::faults::Faults;
use crate::options::Options;
use crate::records::{Departure, Flight, Line, Totals, Weather};
use crate::rows::{FlightRow, WeatherRow};

const HOUR: Duration = Duration::from_secs(3_600);

/// How long an aircraft stands at most between two legs that follow each other.
pub(crate) const STANDS: Duration = Duration::from_secs(24 * 3_600);
/// Delays of a carrier are summed up over so long, ...
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);
/// ... each so often.
pub(crate) const EACH: Duration = Duration::from_secs(6 * 3_600);
/// A flight is in the file when it has left, a cancelled one at the end of its day: by so much after its scheduled time.
const DISORDER: Duration = Duration::from_secs(48 * 3_600);
/// Who counts flights by the hour does not want to wait for that: those that left much too late, and those that were cancelled,
/// are late.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Totals as an aggregate.
#[derive(Clone)]
struct Sum;

impl AggregateFunction for Sum {
    type In = Flight;
    type Accumulator = Totals;
    type Out = Totals;

    fn create(&self) -> Totals {
        Totals::default()
    }

    fn add(&self, totals: &mut Totals, flight: Flight) {
        totals.add(&flight);
    }

    fn result(&self, totals: &Totals) -> Totals {
        *totals
    }

    fn merge(&self, totals: &mut Totals, other: Totals) {
        totals.merge(other);
    }
}

/// The hourly weather of all airports, by time.
fn weather(path: &str) -> Result<Vec<Weather>, csv::Error> {
    let rows = csv::Reader::from_path(path)?.into_deserialize::<WeatherRow>();
    let mut hours = rows.map(|row| row.map(Weather::from)).collect::<Result<Vec<_>, _>>()?;
    // The file has one airport after the other.
    hours.sort_by_key(|hour| hour.time_hour);
    Ok(hours)
}

/// Starts the job, whose output goes to folders in `out`.
pub(crate) fn start(options: &Options, out: &Path, store: &Path) -> Result<JobHandle, Box<dyn Error>> {
    let env = StreamEnvironment::new("flight-weather")
        .parallelism(options.parallelism)
        .snapshot_store(RedbStore::open(store)?)
        .checkpointing(Checkpointing::every(Duration::from_millis(options.checkpoint_ms)));

    let faults = Faults::new(options.panic_every, None);
    let input = FileSource::csv::<FlightRow>(&options.flights).positioned();
    let scheduled = |flight: &Flight| flight.scheduled;
    let flights = env
        .source("flights", Throttled::new(input, options.records_per_second))
        .inspect(move |flight| faults.meet(&flight.path, flight.record_index + 1))
        .map(|flight| Flight::from(flight.value))
        .assign_timestamps_and_watermarks(
            "scheduled",
            WatermarkStrategy::bounded_out_of_orderness(DISORDER, scheduled),
        );
    let by_hour = WatermarkStrategy::monotonous(|weather: &Weather| weather.time_hour);
    let weather = env.source_with_watermarks("weather", VecSource::new(weather(&options.weather)?), by_hour);

    flights
        .clone()
        .key_by_ref(|flight| flight.origin.as_str())
        .join(weather.key_by_ref(|weather| weather.origin.as_str()))
        .window(TumblingWindows::event_time(HOUR))
        .left_outer("departures", Departure::new)
        .sink("departures-out", FileSink::json_lines(out.join("departures")));

    let flown = flights.clone().filter(|flight| flight.dep_delay.is_some());
    flown
        .clone()
        .filter(|flight| flight.tailnum.is_some())
        .key_by(|flight| flight.tailnum.clone().unwrap_or_default())
        .window(SessionWindows::event_time(STANDS))
        .aggregate_with("legs", Sum, |ctx, totals| Line::new(ctx.key(), ctx.window(), totals))
        .sink("legs-out", FileSink::json_lines(out.join("legs")));
    flown
        .key_by_ref(|flight| flight.carrier.as_str())
        .window(SlidingWindows::event_time(DAY, EACH))
        .aggregate_with("delays", Sum, |ctx, totals| Line::new(ctx.key(), ctx.window(), totals))
        .sink("delays-out", FileSink::json_lines(out.join("delays")));

    let late = OutputTag::new("late");
    let impatient = WatermarkStrategy::bounded_out_of_orderness(PATIENCE, scheduled);
    let hours = flights
        .filter(|flight| !flight.left_after_midnight())
        .assign_timestamps_and_watermarks("impatient", impatient)
        .key_by_ref(|flight| flight.origin.as_str())
        .window(TumblingWindows::event_time(HOUR))
        .late_output(&late)
        .aggregate_with("hours", Sum, |ctx, totals| Line::new(ctx.key(), ctx.window(), totals));
    hours.side_output(&late).sink("late-out", FileSink::json_lines(out.join("late")));
    hours.sink("hours-out", FileSink::json_lines(out.join("hours")));

    Ok(env.start()?)
}
