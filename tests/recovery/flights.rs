//! `flight_delays` under panics: line by line what a plain loop over the same file gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::prelude::*;
use millstream::{ActorName, Step};

use crate::common::{Fault, FaultProbe, InputEnd, Point, committed_lines, left_over, run, watched};
use crate::{actors_at, fault};
use flight::{CancelledFlight, DelayLine, Figures, Flight};

#[path = "../../examples/flight_delays/flight.rs"]
mod flight;
#[path = "../../examples/common/missing.rs"]
mod missing;

const INPUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights/flights.csv");
/// So that there are several checkpoints on a fast machine too.
const RECORDS_PER_SECOND: u64 = 30_000;

/// Of each carrier and airport the lines in order, and the flights that did not take place.
#[derive(Debug, Default, PartialEq)]
struct Results {
    delays: BTreeMap<(String, String), Vec<DelayLine>>,
    cancelled: Vec<CancelledFlight>,
}

impl Results {
    fn expected() -> Self {
        let mut results = Self::default();
        let mut figures: BTreeMap<(String, String), Figures> = BTreeMap::new();
        for flight in csv::Reader::from_path(INPUT).expect("the input").deserialize() {
            let flight: Flight = flight.expect("a flight");
            if flight.is_cancelled() {
                results.cancelled.push(flight.into());
                continue;
            }
            let key = (flight.carrier.clone(), flight.origin.clone());
            let of_key = figures.entry(key.clone()).or_default();
            of_key.add(&flight);
            let line = of_key.line(&key.0, &key.1);
            results.delays.entry(key).or_default().push(line);
        }
        results.cancelled.sort();
        results
    }

    fn of(out: &Path) -> Self {
        let mut results = Self::default();
        for line in committed_lines(out) {
            let line: DelayLine = serde_json::from_str(&line).expect("a whole line");
            results.delays.entry((line.carrier.clone(), line.origin.clone())).or_default().push(line);
        }
        let cancelled = committed_lines(&out.join("cancelled"));
        results.cancelled = cancelled.iter().map(|line| serde_json::from_str(line).expect("a whole line")).collect();
        results.cancelled.sort();
        results
    }
}

fn environment(out: &Path, probe: &FaultProbe) -> StreamEnvironment {
    let env = StreamEnvironment::new("flight-delays")
        .parallelism(2)
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::every(Duration::from_millis(2)))
        .restart_strategy(RestartStrategy::fixed_delay(1000, Duration::ZERO))
        .probe(probe.clone());
    let cancelled = OutputTag::<CancelledFlight>::new("cancelled");
    let tag = cancelled.clone();
    let flights = env.source("flights", Throttled::new(FileSource::csv::<Flight>(INPUT), RECORDS_PER_SECOND)).flat_map(
        move |flight, out| {
            if flight.is_cancelled() { out.emit_to(&tag, flight.into()) } else { out.emit(flight) }
        },
    );
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
    env
}

/// Runs the job with these panics, checks its output, and returns the points that were reached since the last panic,
/// and the panics.
fn survive(plan: Vec<Fault>) -> (Vec<(Point, u64)>, Vec<Fault>) {
    let out = tempfile::tempdir().expect("a temporary directory");
    let dir = out.path().to_owned();
    let (outcome, probe) = run("flight delays", move |handles| async move {
        let probe = FaultProbe::new(&InputEnd::default(), plan);
        let job = environment(&dir, &probe).start().expect("starts");
        watched(&handles, &job);
        (job.await, probe)
    });
    assert_eq!(outcome.expect("finished").kind, OutcomeKind::Finished);
    let (got, want) = (Results::of(out.path()), Results::expected());
    for (key, lines) in &want.delays {
        // Guarantee G1, guarantee G2, guarantee G3.
        let of_key = got.delays.get(key).unwrap_or_else(|| panic!("no line of {key:?}"));
        let difference = lines.iter().zip(of_key).position(|(want, got)| want != got);
        assert!(difference.is_none() && lines.len() == of_key.len(), "{key:?} differs at {difference:?}");
    }
    assert!(got == want, "lines of other keys, or other cancelled flights");
    assert_eq!(left_over(out.path()), Vec::<String>::new());
    assert_eq!(left_over(&out.path().join("cancelled")), Vec::<String>::new());
    (probe.reached(), probe.fired())
}

#[test]
fn flight_delays_gives_line_by_line_what_a_plain_loop_gives_whatever_panics() {
    let (reached, _) = survive(Vec::new());
    let steps = [
        Step::Batch,
        Step::BarrierReached,
        Step::BarrierForwarded,
        Step::SnapshotTaken,
        Step::Acknowledged,
        Step::SinkPreparing,
        Step::SinkPrepared,
        Step::SinkCommitting,
        Step::SinkCommitted,
        Step::StoringChunks,
        Step::CommittingManifest,
        Step::ManifestCommitted,
        Step::Completed,
        Step::CompletionSent,
    ];
    // Each time another actor of those that come to the step, one panic after the other.
    for occurrence in 1..=2 {
        let actor_at = |step: Step| -> Option<ActorName> {
            let actors = actors_at(&reached, step);
            actors.get(occurrence as usize % actors.len().max(1)).cloned()
        };
        let plan: Vec<_> = steps.iter().filter_map(|step| Some(fault(*step, &actor_at(*step)?, occurrence))).collect();
        let (_, fired) = survive(plan.clone());
        println!("{} of {} panics", fired.len(), plan.len());
        // The input may end before the rest of them.
        assert!(fired.len() >= 2, "only {fired:?}");
    }
}
