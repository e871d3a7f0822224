//! Flights that left New York in January 2013, by event time: joined with the weather, in sessions, in sliding windows, and with
//! an output for what is late; compared with plain loops, also while panics are injected.
//!
//! `cargo run --release --example flight_weather -- --panic-every 5000`

#[path = "../common/command.rs"]
mod command;
#[path = "../common/mod.rs"]
mod common;
#[path = "../flight_delays/faults.rs"]
mod faults;
mod job;
#[path = "../common/missing.rs"]
mod missing;
mod options;
mod records;
mod reference;
mod rows;

use std::error::Error;
use std::process::ExitCode;

use millstream::{JobEventKind, JobHandle, JobOutcome, OutcomeKind};

use options::Options;
use records::Departure;
use reference::Results;

fn main() -> ExitCode {
    common::log_to_stderr();
    command::run(options::parse(), options::HELP, run)
}

fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let out = options.out.clone().unwrap_or_else(|| scratch.path().join("out"));
    let outcome: JobOutcome = actix_rt::System::new().block_on(async {
        let job = job::start(options, &out, &scratch.path().join("flight-weather.redb"))?;
        common::drain_on_signal(&job);
        actix_rt::spawn(tell_progress(job.clone()));
        Ok::<_, Box<dyn Error>>(job.await?)
    })?;
    if outcome.kind != OutcomeKind::Finished {
        return Ok(format!("{:?} before the end of the input", outcome.kind));
    }
    let found = Results::read(&out)?;
    print_table(&found.departures);
    let (legs, delays, late) = (found.legs.len(), found.delays.len(), found.late.len());
    println!("{legs} sequences of legs, {delays} sums of delays, {late} flights late for their hour");
    let expected = Results::compute(&options.flights, &options.weather)?;
    let flights = expected.departures.len();
    expected.compare(found)?;
    Ok(format!("OK: identical to the reference ({flights} flights, {} restarts)", outcome.restarts))
}

/// Says with every tenth checkpoint how far the job is.
async fn tell_progress(job: JobHandle) {
    let mut events = job.events(1_000);
    while let Some(event) = events.next().await {
        let JobEventKind::CheckpointCompleted { .. } = event.kind else { continue };
        let status = job.status();
        if status.checkpoints.is_multiple_of(10) {
            let subtasks = job.figures().into_iter().filter(|of| of.task.starts_with("flights"));
            let read: u64 = subtasks.map(|of| of.of_attempt.records_in).sum();
            eprintln!("{} checkpoints, {} restarts, {read} flights read since", status.checkpoints, status.restarts);
        }
    }
}

/// How late flights leave, by wind.
fn print_table(departures: &[Departure]) {
    println!("{:<16}{:>9}{:>9}{:>13}", "wind", "flights", "flown", "mean delay");
    for (name, knots) in [("calm", 0..=6), ("a breeze", 7..=16), ("strong", 17..=u32::MAX)] {
        let of_wind = |of: &&Departure| of.wind_knots.is_some_and(|wind| knots.contains(&wind));
        print_row(name, &departures.iter().filter(of_wind).collect::<Vec<_>>());
    }
    print_row("not known", &departures.iter().filter(|departure| departure.wind_knots.is_none()).collect::<Vec<_>>());
}

fn print_row(name: &str, departures: &[&Departure]) {
    let delays: Vec<i64> = departures.iter().filter_map(|departure| departure.dep_delay).collect();
    let mean = delays.iter().sum::<i64>() as f64 / delays.len().max(1) as f64;
    println!("{name:<16}{:>9}{:>9}{mean:>9.1} min", departures.len(), delays.len());
}
