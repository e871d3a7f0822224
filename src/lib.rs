//! Millstream: fault-tolerant stream processing as a library for actix services.
//!
//! A job is a typed graph of streams: sources, operators, sinks. It runs as actors inside your program, on
//! threads of the engine's own, and it survives panics and the death of its process: state and output are as if nothing had
//! happened. The model is Apache Flink's, in one process: checkpoints by asynchronous barriers (Carbone et al.,
//! "Lightweight Asynchronous Snapshots for Distributed Dataflows", 2015), key groups, regions, two-phase commit of
//! sinks; terms are Flink's too.
//!
//! # A first job
//!
//! ```
//! use millstream::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let env = StreamEnvironment::new("words");
//!     env.source("lines", VecSource::new(vec!["to be or".to_owned(), "not to be".to_owned()]))
//!         .flat_map(|line: String, out| line.split(' ').for_each(|word| out.emit(word.to_owned())))
//!         .key_by_ref(String::as_str)
//!         .fold("count", 0u64, |count, _| *count += 1)
//!         .map(|(word, count)| format!("{word}: {count}"))
//!         .sink("print", PrintSink::new());
//!     let outcome = env.start()?.wait()?;                  // or `.await`, on any runtime
//!     assert_eq!(outcome.kind, OutcomeKind::Finished);
//!     Ok(())
//! }
//! ```
//!
//! Files go in by [`FileSource`](source::FileSource) and come out by [`FileSink`](sink::FileSink). With a
//! [`RedbStore`](snapshot::RedbStore) the job outlives its process.
//!
//! # A job that panics and does not show it
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//!
//! use millstream::prelude::*;
//!
//! # actix_rt::System::new().block_on(async {
//! let sink = CollectSink::new();
//! let collected = sink.handle();
//! let panicked = Arc::new(AtomicBool::new(false));
//!
//! let env = StreamEnvironment::new("parity")              // also the job's identity in its store
//!     .snapshot_store(MemoryStore::new())                  // RedbStore::open("parity.redb")? outlives the process
//!     .checkpointing(Checkpointing::every(Duration::from_millis(10)));
//!
//! env.source("numbers", SequenceSource::new(0..1000))
//!     .inspect(move |n| {
//!         if *n == 700 && !panicked.swap(true, Ordering::Relaxed) {
//!             panic!("once");
//!         }
//!     })
//!     .key_by(|n| n % 2)
//!     .fold("count", 0u64, |count, _| *count += 1)
//!     .sink("counts", sink);
//!
//! let job = env.start()?;                                  // Clone + Send; any thread may await it
//! let outcome = job.await?;
//!
//! assert_eq!(outcome.kind, OutcomeKind::Finished);
//! assert_eq!(outcome.restarts, 1);
//! let counts = collected.snapshot();
//! assert_eq!(counts.len(), 1000, "one result for each record, in spite of the restart");
//! assert_eq!(counts.iter().filter(|(key, _)| *key == 1).map(|(_, count)| *count).max(), Some(500));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Where to read on
//!
//! | to | see |
//! |---|---|
//! | write a job | [`StreamEnvironment`], [`DataStream`](stream::DataStream), [`KeyedStream`](stream::KeyedStream) |
//! | give one operator two inputs | [`ConnectedStreams`](stream::ConnectedStreams) |
//! | keep state per key | [`KeyedProcessFunction`](keyed::KeyedProcessFunction), the kinds in [`state`], [`state_set!`] |
//! | let values expire, change their type | [`StateTtl`](state::StateTtl), [`ValueState`](state::ValueState#when-the-type-changes) |
//! | give records event times | [`WatermarkStrategy`](time::WatermarkStrategy) |
//! | cut a stream into windows | [`KeyedStream::window`](stream::KeyedStream::window), [`window`] |
//! | ask something outside for each record | [`DataStream::async_map`](stream::DataStream::async_map), [`async_io`] |
//! | go on where a function panics at a record | [`DataStream::on_panic`](stream::DataStream::on_panic) |
//! | follow files that grow and are rotated | [`FileSource::follow`](source::FileSource::follow) |
//! | read an asynchronous stream | [`StreamSource`](source::StreamSource) |
//! | push records in from requests and actors | [`IngestSource`](source::IngestSource) |
//! | answer requests by the job, each exactly once | [`RequestSource`](request::RequestSource), [`request`] |
//! | find records that come one after the other | [`KeyedStream::pattern`](stream::KeyedStream::pattern), [`pattern`] |
//! | ask a running job for its state | [`query`] |
//! | see where a job stands, and show it to others | [`JobHandle::metrics`], [`metrics`] |
//! | watch, pause, drain or stop a job | [`JobHandle`], [`JobEvent`] |
//! | show jobs in a browser | `dashboard` (feature) |
//! | set intervals, restarts and bounds | [`Checkpointing`], [`RestartStrategy`], [`Limits`] |
//! | write a connector | [`Source`](source::Source), [`SplitQueue`](source::SplitQueue), [`Sink`](sink::Sink) |
//! | write a stage or a store | [`BatchOperator`](operator::BatchOperator), [`TwoInputOperator`](operator::TwoInputOperator), [`SnapshotStore`](snapshot::SnapshotStore) |
//! | test a function or a job | [`testing`], [`ManualClock`](time::ManualClock) |
//! | choose a source, a sink, a store | [`source`], [`sink`], [`snapshot`] |
//! | know what may go wrong | [`StartError`], [`JobError`], [`CheckpointError`], [`SavepointError`], [`PauseError`], [`RescaleError`] |
//!
//! What is promised, and under which conditions, is numbered in `docs/semantics.md`.
//!
//! # Rules for user code
//!
//! - Functions are deterministic, and their results do not depend on the order between different inputs; otherwise a
//!   replay may differ from what was there before.
//! - State lives in declared states. What a closure hides is lost with each restart.
//! - Ids name state: an operator that keeps its id keeps its state when the program changes.
//! - Functions return soon. One that blocks holds up all tasks of its arbiter, those of other jobs too, unless it has one
//!   [of its own](stream::DataStream::own_arbiters); connectors that block say so
//!   ([`Threading::Blocking`](source::Threading)).
//!
//! # Panics
//!
//! A panic in user code fails a region of the job, never the host. That needs unwinding: with `panic = "abort"` this
//! crate does not compile, unless the feature `allow-panic-abort` accepts that every panic ends the process.

#[cfg(all(panic = "abort", not(feature = "allow-panic-abort")))]
compile_error!(
    "millstream turns panics into restarts, which panic = \"abort\" rules out; remove it from the profile, or accept \
     that every panic ends the process with the feature `allow-panic-abort`"
);

/// The examples of the pages in `docs/` compile and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/time.md")]
#[doc = include_str!("../docs/timers.md")]
#[doc = include_str!("../docs/windows.md")]
#[doc = include_str!("../docs/joins.md")]
#[doc = include_str!("../docs/patterns.md")]
#[doc = include_str!("../docs/async.md")]
#[doc = include_str!("../docs/dead-letters.md")]
#[doc = include_str!("../docs/embedding.md")]
#[doc = include_str!("../docs/supervision.md")]
#[doc = include_str!("../docs/requests.md")]
#[doc = include_str!("../docs/lifecycle.md")]
#[doc = include_str!("../docs/queries.md")]
#[doc = include_str!("../docs/metrics.md")]
#[doc = include_str!("../docs/testing-jobs.md")]
struct Pages;

/// The examples of the pages about what a feature has.
#[cfg(all(doctest, feature = "dashboard"))]
#[doc = include_str!("../docs/dashboard-api.md")]
struct FeaturePages;

pub mod aggregates;
pub mod async_io;
mod claim;
// For the binary of this package.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "dashboard")]
pub mod dashboard;
mod decoder;
mod environment;
mod file_identity;
mod graph;
mod join;
pub mod keyed;
pub mod metrics;
pub mod operator;
mod packed;
pub mod pattern;
pub mod prelude;
pub mod query;
mod refused_in_turn;
pub mod request;
mod restore;
pub mod sink;
pub mod snapshot;
pub mod source;
mod start_error;
pub mod state;
pub mod stream;
pub mod testing;
pub mod time;
mod unique;
pub mod window;
mod without_values;

pub use environment::StreamEnvironment;
pub use graph::{Explanation, GraphError, GraphErrors};
pub use millstream_actors::contract::Clock;
pub use millstream_actors::contract::{ChannelFigures, Figures, OperatorFigures};
pub use millstream_actors::protocol::{
    AbortReason, ActorName, Attempt, Cause, CheckpointId, CheckpointMode, Checkpointing, Conflict, Execution,
    FailedRecord, Fault, HeldBack, Incarnation, IntervalAdvice, Limits, NO_TIME, NameOf, NoRestore, OnExhausted,
    OperatorId, PanicReport, Partitioning, QueryError, ReadRange, RecoveryEstimate, RecoveryPart, RegionId,
    RegionPolicy, RegionStrategy, RestartStrategy, Standing, SubtaskId, TaskError, TaskId, TaskKind, Timestamp,
    TriggerReason,
};
pub use millstream_actors::{
    BacklogOfSource, CheckpointCounts, CheckpointError, CheckpointOutcome, CheckpointProgress, CheckpointRecord,
    CompletedCheckpoint, Escalation, EscalationDecision, FailureRecord, FiguresOfChannel, FiguresOfOperator, JobError,
    JobEvent, JobEventKind, JobEvents, JobHandle, JobMetrics, JobOutcome, JobPlan, JobState, JobStatus, LastRestore,
    OperatorRates, OutcomeKind, ParkedRegion, PauseError, PlannedEdge, PlannedTask, RegionAwaited, RegionMetrics,
    RescaleError, Rescaled, Restarting, ResumeRegionError, SavepointError, SavepointProgress, SnapshotParts,
    SubtaskFigures, SubtaskRates,
};
pub use restore::UnmatchedOperator;
pub use start_error::StartError;

// The seam of the engine's own tests.
#[doc(hidden)]
pub use millstream_actors::contract::{Probe, Step};
