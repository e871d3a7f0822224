//! Queries of the Nexmark benchmark, each compared with a plain loop over the same events, also while panics are injected.
//!
//! `cargo run --release --example nexmark -- --panic-every 30000`

#[path = "../common/command.rs"]
mod command;
#[path = "../common/dashboard.rs"]
#[allow(dead_code, reason = "no state of its queries is looked up")]
mod dashboard;
mod events;
#[path = "../flight_delays/faults.rs"]
mod faults;
mod figures;
#[path = "../common/logging.rs"]
mod logging;
mod options;
mod queries;
mod reference;
mod standing_clock;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::prelude::*;

use dashboard::Shown;
use events::{Nexmark, NexmarkSource, SPLITS};
use faults::Faults;
use options::Options;
use queries::{Query, TEN_SECONDS};
use reference::Reference;
use standing_clock::HeldEnd;

fn main() -> ExitCode {
    logging::log_to_stderr();
    command::run(options::parse(), options::HELP, run)
}

/// What a run of a query has led to.
struct Run {
    results: Vec<u64>,
    restarts: u64,
    took: Duration,
}

fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let (reference, shown) = (Reference::new(options.events), Shown::on(options.dashboard)?);
    let is_asked = |query: &&Query| options.query.as_ref().is_none_or(|name| query.name == name);
    if !options.json {
        println!("{:<6}{:>10}{:>10}{:>14}  {:<50}", "query", "results", "seconds", "events a s", "asks for");
    }
    let (mut count, mut restarts, mut last) = (0, 0, String::new());
    for query in queries::ALL.iter().filter(is_asked) {
        let Run { mut results, restarts: of_query, took } = run_query(query, options, &shown)?;
        let mut expected = reference.results(query.name);
        results.sort_unstable();
        expected.sort_unstable();
        if results != expected {
            let (found, expected) = (results.len(), expected.len());
            return Err(format!("{}: {found} results, {expected} in a plain loop, and not the same", query.name).into());
        }
        let (seconds, name, results) = (took.as_secs_f64(), query.name, results.len());
        let events = options.events;
        last = format!(
            "{{\"query\":\"{name}\",\"events\":{events},\"results\":{results},\"seconds\":{seconds:.3},\"restarts\":{of_query}}}"
        );
        if !options.json {
            let rate = events as f64 / seconds;
            println!("{name:<6}{results:>10}{seconds:>10.3}{rate:>14.0}  {}", query.asks);
        } else if options.query.is_none() {
            println!("{last}");
        }
        count += 1;
        restarts += of_query;
    }
    shown.stay()?;
    match (options.json, &options.query) {
        (true, Some(_)) => Ok(last),
        (true, None) => Ok(format!("{{\"queries\":{count},\"events\":{},\"restarts\":{restarts}}}", options.events)),
        _ => {
            Ok(format!("OK: {count} queries give what plain loops do ({} events, {restarts} restarts)", options.events))
        }
    }
}

fn run_query(query: &Query, options: &Options, shown: &Shown) -> Result<Run, Box<dyn Error>> {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let interval = Duration::from_millis(options.checkpoint_ms);
    let checkpointing = if interval.is_zero() { Checkpointing::disabled() } else { Checkpointing::every(interval) };
    let env = StreamEnvironment::new(query.name).parallelism(options.parallelism).checkpointing(checkpointing);
    let faults = Faults::new(options.panic_every, None);
    let file: Arc<str> = query.name.into();
    let times = WatermarkStrategy::monotonous(|(_, event): &(u64, Nexmark)| event.at());
    let held_end = query.by_clock.then(HeldEnd::default);
    let source = NexmarkSource { events: options.events, held_end: held_end.clone() };
    let mut events = env.source_with_watermarks("events", source, times);
    if options.panic_every.is_some() {
        events = events.inspect(move |(number, _)| faults.meet(&file, number + 1));
    }
    (query.run)(events).sink("results", sink);

    #[expect(clippy::disallowed_methods, reason = "an example may look at its watch")]
    let started = Instant::now();
    let outcome = actix_rt::System::new().block_on(async {
        match held_end {
            Some(end) => standing_clock::run(env, (&end, SPLITS as usize), TEN_SECONDS, shown).await,
            None => {
                let job = env.start()?;
                shown.add(&job);
                Ok::<_, Box<dyn Error>>(job.await?)
            }
        }
    })?;
    Ok(Run { results: collected.snapshot(), restarts: outcome.restarts, took: started.elapsed() })
}
