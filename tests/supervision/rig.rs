//! The job that the tests disturb, and what it must put out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millstream::prelude::*;
use millstream::sink::Collected;
use millstream::{ActorName, Cause, JobEventKind, Limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gated::{Gate, GatedSource};
use crate::sinks::FaultySink;

/// Records of the job, numbered from 0.
pub(crate) const RECORDS: u64 = 3_000;
/// The source waits here until its gate is opened.
pub(crate) const GATE_AT: u64 = 1_500;
pub(crate) const KEYS: u64 = 7;

/// A place that panics as often as it was armed for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault(Arc<AtomicU32>);

impl Fault {
    pub(crate) fn arm(&self, times: u32) {
        self.0.store(times, Ordering::SeqCst);
    }

    /// Whether it is to go off now; it is armed once less then.
    pub(crate) fn strikes(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    pub(crate) fn meet(&self, place: &str) {
        if self.strikes() {
            panic!("injected: {place}");
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// The places in the job that can panic.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    pub(crate) source_open: Fault,
    pub(crate) source_read: Fault,
    pub(crate) start_up: Fault,
    pub(crate) operator: Fault,
    pub(crate) partitioner: Fault,
    pub(crate) selector: Fault,
    pub(crate) sink_open: Fault,
    pub(crate) sink_write: Fault,
    pub(crate) sink_prepare: Fault,
    pub(crate) sink_commit: Fault,
    /// Fails with an error that is worth a retry, instead of a panic.
    pub(crate) sink_commit_fails: Fault,
}

/// A closure's capture that may panic when it is cloned, which happens at the start of each attempt.
struct CloneFault(Fault);

impl Clone for CloneFault {
    fn clone(&self) -> Self {
        self.0.meet("start-up closure");
        Self(self.0.clone())
    }
}

/// A key and the running figure of its records.
pub(crate) type Figure = (u64, u64);

/// A job with its faults, before it is started.
#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) faults: Faults,
    pub(crate) gate: Gate,
    pub(crate) blocking: bool,
    /// The source finds nothing once, for a moment.
    pub(crate) pauses: bool,
}

/// The job after its start.
pub(crate) struct Running {
    pub(crate) job: JobHandle,
    pub(crate) gate: Gate,
    pub(crate) figures: Collected<Figure>,
}

/// An environment in which only the tests ask for checkpoints, and restarts do not wait.
pub(crate) fn environment(name: &str) -> StreamEnvironment {
    StreamEnvironment::new(name)
        .parallelism(2)
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::disabled())
        .restart_strategy(RestartStrategy::fixed_delay(3, std::time::Duration::ZERO))
}

/// Limits that differ from the default.
pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

impl Rig {
    /// Starts the job with sums of plain numbers as its state.
    pub(crate) fn start(self, env: StreamEnvironment) -> Running {
        self.start_with(env, 0_u64, |sum, x| *sum += x, |sum| *sum)
    }

    /// Starts the job with accumulators of the test's own.
    pub(crate) fn start_with<A: Clone + Serialize + DeserializeOwned + Send + 'static>(
        self,
        env: StreamEnvironment,
        initial: A,
        add: impl Fn(&mut A, u64) + Clone + Send + 'static,
        sum: impl Fn(&A) -> u64 + Clone + Send + 'static,
    ) -> Running {
        let Self { faults, gate, blocking, pauses } = self;
        let Faults { start_up, operator, partitioner, selector, .. } = faults.clone();
        let sink = CollectSink::new();
        let figures = sink.handle();
        let start_up = CloneFault(start_up);
        let source = GatedSource { gate: gate.clone(), faults: faults.clone(), blocking, pauses };
        env.source("numbers", source)
            .parallelism(1)
            .partition_by(move |x, subtasks| {
                partitioner.meet("partitioner");
                (x % KEYS) as u32 % subtasks
            })
            .map(move |x| {
                let _held = &start_up;
                operator.meet("operator");
                x
            })
            .key_by(move |x| {
                selector.meet("key selector");
                x % KEYS
            })
            .fold_map("sums", initial, add, move |key, state| (*key, sum(state)))
            .sink("figures", FaultySink { inner: sink, faults, blocking });
        Running { job: env.start().expect("the job starts"), gate, figures }
    }
}

impl Running {
    /// Waits until the source is at its gate, and takes a checkpoint there.
    pub(crate) async fn checkpoint_at_gate(&self) {
        self.gate.reached().await;
        // A fault at the checkpoint itself aborts the first.
        while self.job.checkpoint().await.is_err() {}
    }

    /// Lets the job run to its end, and compares its output with that of a plain loop.
    pub(crate) async fn finish_exactly(self) -> Ended {
        self.gate.open();
        let outcome = self.job.clone().await.expect("the job survives");
        assert_eq!(outcome.kind, OutcomeKind::Finished);
        assert_exact(&self.figures);
        Ended { outcome, events: self.job.history().into_iter().map(|event| event.kind).collect() }
    }
}

/// Compares collected figures with those of a plain loop: each once, those of a key in their order.
pub(crate) fn assert_exact(figures: &Collected<Figure>) {
    assert_figures(figures.snapshot());
}

/// The same of figures from anywhere.
pub(crate) fn assert_figures(figures: Vec<Figure>) {
    let by_key = |figures: Vec<Figure>| {
        let mut keys: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        figures.into_iter().for_each(|(key, sum)| keys.entry(key).or_default().push(sum));
        keys
    };
    let mut sums = [0; KEYS as usize];
    let expected = (0..RECORDS).map(|x| {
        sums[(x % KEYS) as usize] += x;
        (x % KEYS, sums[(x % KEYS) as usize])
    });
    assert_eq!(by_key(figures), by_key(expected.collect()));
}

/// How a job ended, and what it told.
pub(crate) struct Ended {
    pub(crate) outcome: JobOutcome,
    pub(crate) events: Vec<JobEventKind>,
}

impl Ended {
    /// The messages of the panics of subtasks, in order.
    pub(crate) fn panics(&self) -> Vec<&str> {
        let panics = self.events.iter().filter_map(|event| match event {
            JobEventKind::SubtaskFailed { cause: Cause::Panicked(report), .. } => Some(report.message.as_str()),
            _ => None,
        });
        panics.collect()
    }

    /// The control actors that were restarted behind their addresses.
    pub(crate) fn restarted_actors(&self) -> Vec<&ActorName> {
        let actors = self.events.iter().filter_map(|event| match event {
            JobEventKind::ActorRestarted { actor, .. } => Some(actor),
            _ => None,
        });
        actors.collect()
    }
}

/// Runs a test inside an actix `System`.
pub(crate) fn in_system<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}
