//! Contexts for connectors that run without a job.

use std::sync::Arc;

use millstream_actors::contract::{
    CheckpointRequests, EventTimes, Fence, SinkContext, SourceContext, SourceTime, SourceWaker,
};
use millstream_actors::protocol::{Attempt, Execution, Incarnation, OperatorId, RegionId};

use crate::time::ManualClock;

/// What a source's reader sees in subtask `subtask_index` of `parallelism`: a [`ManualClock`] that stands still, and a
/// waker without effect. A test that needs other parts replaces them:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use millstream::source::{Batch, ReadStatus, SequenceSource, Source, SourceContext};
/// use millstream::testing::source_context;
/// use millstream::time::ManualClock;
///
/// let clock = ManualClock::new();
/// let cx = SourceContext { clock: Arc::new(clock.clone()), ..source_context(0, 1) };
/// let mut reader = SequenceSource::new(0..1_000).rate_per_second(100).open(&cx, None).unwrap();
/// let mut batch = Batch::new();
/// assert!(matches!(reader.read(&mut batch).unwrap(), ReadStatus::Idle { .. }));
/// clock.advance(Duration::from_millis(50));
/// reader.read(&mut batch).unwrap();
/// assert_eq!(batch.len(), 5);
/// ```
pub fn source_context(subtask_index: u32, parallelism: u32) -> SourceContext {
    SourceContext {
        job: "job".into(),
        operator: OperatorId::new("source"),
        subtask_index,
        parallelism,
        clock: Arc::new(ManualClock::new()),
        waker: SourceWaker::new(|| ()),
        event_times: EventTimes::default(),
        counters: Arc::default(),
        time: SourceTime::default(),
    }
}

/// What a sink's writer sees in subtask `subtask_index` of `parallelism`, in the first attempt: a [`ManualClock`] that
/// stands still, and a fence that is not raised.
///
/// ```
/// use millstream::CheckpointId;
/// use millstream::sink::{Batch, CollectSink, Sink, SinkRestore};
/// use millstream::testing::sink_context;
///
/// let sink = CollectSink::new();
/// let mut writer = sink.open(&sink_context(0, 1), SinkRestore::default()).unwrap();
/// let mut batch = Batch::new();
/// batch.push("a", 1);
/// writer.write(&mut batch).unwrap();
/// writer.prepare(CheckpointId(1)).unwrap();
/// assert!(sink.handle().is_empty());
/// writer.commit(CheckpointId(1)).unwrap();
/// assert_eq!(sink.handle().snapshot(), ["a"]);
/// ```
pub fn sink_context(subtask_index: u32, parallelism: u32) -> SinkContext {
    SinkContext {
        job: "job".into(),
        operator: OperatorId::new("sink"),
        former_operators: Vec::new(),
        subtask_index,
        parallelism,
        execution: Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(1) },
        clock: Arc::new(ManualClock::new()),
        checkpoints: CheckpointRequests::default(),
        fenced: Fence::default(),
    }
}
