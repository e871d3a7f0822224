//! Flights that left New York in January 2013: running delay figures per carrier and airport, exactly once, while
//! panics are injected and the process is killed.
//!
//! `cargo run --release --example flight_delays -- --panic-every 5000`

mod faults;
mod flight;
mod options;
mod reference;

#[path = "../common/command.rs"]
mod command;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dashboard.rs"]
#[allow(dead_code, reason = "others have no state to look up")]
mod dashboard;
#[path = "../common/missing.rs"]
mod missing;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use millstream::prelude::*;

use dashboard::Shown;
use faults::Faults;
use flight::{CancelledFlight, Figures, Flight};
use options::Options;
use reference::Reference;

fn main() -> ExitCode {
    common::log_to_stderr();
    command::run(options::parse(), options::HELP, run)
}

fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let out = options.out.clone().unwrap_or_else(|| scratch.path().join("out"));
    let store = options.store.clone().unwrap_or_else(|| scratch.path().join("flight-delays.redb"));

    #[expect(clippy::disallowed_methods, reason = "an example may look at its watch")]
    let started = Instant::now();
    // "AA" at "JFK" is the key ["AA","JFK"].
    let shown = Shown::with_state::<(String, String), Figures>(options.dashboard, "delays", "accumulator")?;
    let outcome = actix_rt::System::new().block_on(run_job(options, &out, &store, &shown))?;
    let took = started.elapsed();
    shown.stay()?;

    if outcome.kind != OutcomeKind::Finished {
        return Ok(format!("{:?} before the end of the input; the same command goes on", outcome.kind));
    }
    let reference = Reference::compute(&options.input)?;
    reference.compare(&out)?;
    Ok(format!(
        "OK: identical to the reference ({} flights, {} restarts, {} checkpoints, {:.1} s)",
        reference.flights,
        outcome.restarts,
        outcome.checkpoints,
        took.as_secs_f64()
    ))
}

async fn run_job(options: &Options, out: &Path, store: &Path, shown: &Shown) -> Result<JobOutcome, Box<dyn Error>> {
    let env = StreamEnvironment::new("flight-delays")
        .parallelism(options.parallelism)
        .snapshot_store(RedbStore::open(store)?)
        .checkpointing(Checkpointing::every(Duration::from_millis(options.checkpoint_ms)));

    let faults = Faults::new(options.panic_every, options.kill_after_records);
    let cancelled = OutputTag::<CancelledFlight>::new("cancelled");
    let tag = cancelled.clone();

    let input = FileSource::csv::<Flight>(&options.input).positioned();
    let flights = env
        .source("flights", Throttled::new(input, options.records_per_second))
        .inspect(move |flight| faults.meet(&flight.path, flight.record_index + 1))
        .flat_map(move |flight, out| {
            if flight.value.is_cancelled() {
                out.emit_to(&tag, flight.value.into());
            } else {
                out.emit(flight.value);
            }
        })
        .name("split");

    flights.side_output(&cancelled).sink("cancelled", FileSink::json_lines(out.join("cancelled")));
    flights
        .key_by(|flight| (flight.carrier.clone(), flight.origin.clone()))
        .fold_map(
            "delays",
            Figures::default(),
            |figures, flight| figures.add(&flight),
            |(carrier, origin), figures| figures.line(carrier, origin),
        )
        .sink("figures", FileSink::json_lines(out));

    let job = env.start()?;
    common::drain_on_signal(&job);
    shown.add(&job);
    Ok(job.await?)
}
