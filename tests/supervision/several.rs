//! A job of several regions, each of which can be disturbed by itself.

use std::path::Path;

use millstream::prelude::*;
use millstream::sink::{Collected, Sink};
use millstream::{Attempt, JobEventKind, RegionId, RegionPolicy};

use crate::gated::{Gate, GatedSource};
use crate::output::committed_lines;
use crate::rig::{Faults, Figure, KEYS, assert_figures};
use crate::sinks::FaultySink;

/// One region of the job: sums of plain numbers by key, as in `Rig`.
pub(crate) struct Part {
    pub(crate) faults: Faults,
    pub(crate) gate: Gate,
}

impl Part {
    fn add<S: Sink<Item = Figure>>(env: &StreamEnvironment, name: &str, policy: RegionPolicy, sink: S) -> Self {
        let (faults, gate) = (Faults::default(), Gate::default());
        let source = GatedSource { gate: gate.clone(), faults: faults.clone(), blocking: false, pauses: false };
        let operator = faults.operator.clone();
        env.source(&format!("{name}-numbers"), source)
            .parallelism(1)
            .region_policy(policy)
            .map(move |x| {
                operator.meet("operator");
                x
            })
            // In one subtask, so that an attempt fails once.
            .parallelism(1)
            .partition_by(|x, subtasks| (x % KEYS) as u32 % subtasks)
            .key_by(|x| x % KEYS)
            .fold_map(&format!("{name}-sums"), 0_u64, |sum, x| *sum += x, |key, sum| (*key, *sum))
            .sink(&format!("{name}-figures"), FaultySink { inner: sink, faults: faults.clone(), blocking: false });
        Self { faults, gate }
    }

    /// One whose figures are collected.
    pub(crate) fn collected(env: &StreamEnvironment, name: &str, policy: RegionPolicy) -> (Self, Collected<Figure>) {
        let sink = CollectSink::new();
        let figures = sink.handle();
        (Self::add(env, name, policy, sink), figures)
    }

    /// One whose figures go to files in the folder of its name.
    pub(crate) fn in_files(env: &StreamEnvironment, name: &str, policy: RegionPolicy, dir: &Path) -> Self {
        Self::add(env, name, policy, FileSink::json_lines(dir.join(name)))
    }
}

/// The names of the regions, in their order.
pub(crate) const NAMES: [&str; 3] = ["first", "second", "third"];

/// Three regions, of which the second has this policy.
pub(crate) fn three(env: &StreamEnvironment, second: RegionPolicy) -> ([Part; 3], [Collected<Figure>; 3]) {
    let (a, of_a) = Part::collected(env, NAMES[0], RegionPolicy::new());
    let (b, of_b) = Part::collected(env, NAMES[1], second);
    let (c, of_c) = Part::collected(env, NAMES[2], RegionPolicy::new());
    ([a, b, c], [of_a, of_b, of_c])
}

/// The region that the tests disturb.
pub(crate) const SECOND: RegionId = RegionId(1);

/// Compares what a region has put into files with the figures of a plain loop.
pub(crate) fn assert_files(dir: &Path, name: &str) {
    let lines = committed_lines(&dir.join(name)).into_iter();
    assert_figures(lines.map(|line| serde_json::from_str(&line).expect("a figure")).collect());
}

/// All events of a job, from its start on.
pub(crate) struct Told(JobEvents);

impl Told {
    pub(crate) fn of(env: &StreamEnvironment) -> Self {
        Self(env.events(100_000))
    }

    /// Waits for the next event that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&JobEventKind) -> bool) -> JobEventKind {
        loop {
            let kind = self.0.next().await.expect("it comes before the end").kind;
            if fits(&kind) {
                return kind;
            }
            assert!(!matches!(kind, JobEventKind::Ended { .. }), "ended first: {kind}");
        }
    }

    pub(crate) async fn until_parked(&mut self) -> JobEventKind {
        self.until(|kind| matches!(kind, JobEventKind::RegionParked { .. })).await
    }
}

/// The attempts of all regions, in their order.
pub(crate) fn attempts(job: &JobHandle) -> Vec<u32> {
    job.status().attempts.into_values().map(|Attempt(attempt)| attempt).collect()
}
