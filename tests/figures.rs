//! Figures of subtasks add up to what a run's sinks received, through restarts too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream::{ActorName, Attempt, CheckpointId, Figures, FiguresOfOperator, Step, SubtaskFigures, TaskId};

use common::{At, Fault, FaultProbe, InputEnd, Point, SteppedSource, run, watched};

mod common;

const RECORDS: u64 = 240;

/// Counts what it is given, over all attempts, and shows nothing.
#[derive(Clone, Default)]
struct Received(Arc<AtomicU64>);

impl Sink for Received {
    type Item = u64;

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Received {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        self.0.fetch_add(batch.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a run of source, shuffle and sink showed.
struct Shown {
    figures: Vec<SubtaskFigures>,
    /// Records that the sink was given.
    received: u64,
    /// The points that were reached.
    points: Vec<Point>,
}

fn show(plan: Vec<Fault>) -> Shown {
    run("a job whose figures are read", move |handles| async move {
        let input = InputEnd::default();
        let (received, probe) = (Received::default(), FaultProbe::new(&input, plan.clone()));
        let env = StreamEnvironment::new("figures")
            .parallelism(2)
            .checkpointing(Checkpointing::every(Duration::from_millis(1)))
            .restart_strategy(RestartStrategy::fixed_delay(1000, Duration::ZERO))
            .probe(probe.clone());
        env.source("ids", SteppedSource::new("ids", RECORDS, 40, &input))
            .parallelism(1)
            .map(|(_, id)| id)
            .parallelism(1)
            .key_by(|id| id % 20)
            .reduce("sums", |sum, id| sum + id)
            .sink("received", received.clone());
        let job = env.start().expect("starts");
        watched(&handles, &job);
        job.clone().await.expect("finished");
        assert_eq!(probe.fired(), plan);
        let points = probe.reached().into_iter().map(|(point, _)| point).collect();
        Shown { figures: job.figures(), received: received.0.load(Ordering::SeqCst), points }
    })
}

/// The sums over the subtasks of each task.
fn by_task(figures: &[SubtaskFigures], of: fn(&SubtaskFigures) -> Figures) -> Vec<Figures> {
    let mut tasks: BTreeMap<TaskId, Figures> = BTreeMap::new();
    for subtask in figures {
        let sum = tasks.entry(subtask.subtask.task).or_default();
        *sum = sum.and_then(of(subtask));
    }
    tasks.into_values().collect()
}

#[test]
fn records_of_a_run_are_those_that_its_sinks_received() {
    let Shown { figures, received, .. } = show(Vec::new());
    let [source, sums, sink] = by_task(&figures, |subtask| subtask.of_run)[..] else { panic!("{figures:?}") };
    assert_eq!(received, RECORDS);
    for figure in [source.records_in, source.records_out, sums.records_in, sums.records_out, sink.records_in] {
        assert_eq!(figure, RECORDS, "{figures:?}");
    }
    assert!(source.batches_out > 0 && source.batches_out == sums.batches_in, "{figures:?}");
    assert_eq!(sums.batches_out, sink.batches_in);
    assert!(figures.iter().all(|subtask| subtask.of_run.snapshots > 0 && subtask.of_run == subtask.of_attempt));
    assert!(source.snapshot_bytes > 0 && sums.snapshot_bytes > 0, "{figures:?}");
    assert!([source, sums, sink].iter().all(|task| task.busy_ns > 0 && task.idle_ns > 0), "{figures:?}");
    let operators: Vec<_> = figures[0].operators.iter().map(|of| of.operator.to_string()).collect();
    assert_eq!((operators[0].as_str(), figures.len()), ("ids", 5));
}

#[test]
fn figures_of_failed_attempts_stay_in_those_of_the_run() {
    let is_of_sums = |point: &Point| match &point.1 {
        ActorName::Subtask { subtask, .. } => point.0 == Step::BarrierForwarded && subtask.task == TaskId(1),
        _ => false,
    };
    let point = show(Vec::new()).points.into_iter().find(is_of_sums).expect("a barrier");
    let Shown { figures, received, .. } = show(vec![Fault { point, at: At::Occurrence(3) }]);
    let [source, _, sink] = by_task(&figures, |subtask| subtask.of_run)[..] else { panic!("{figures:?}") };
    // Records that a failed attempt had sent and that were on their way when it ended, no sink received.
    assert_eq!(sink.records_in, received);
    assert!(source.records_in >= source.records_out && source.records_in > RECORDS, "{figures:?}");
    assert!(figures.iter().all(|subtask| subtask.attempt == Attempt(2)));
    let [source, sums, sink] = by_task(&figures, |subtask| subtask.of_attempt)[..] else { panic!("{figures:?}") };
    // The newest attempt has come to its end: what it read has arrived.
    assert!(source.records_in < RECORDS, "{figures:?}");
    for figure in [source.records_out, sums.records_in, sums.records_out, sink.records_in] {
        assert_eq!(figure, source.records_in, "{figures:?}");
    }
}

/// M3. What is counted at barriers is nothing before the first, and of operators without keyed state.
#[test]
fn keys_and_timers_are_nothing_until_they_are_counted() {
    run("a job without checkpoints", |handles| async move {
        let env = StreamEnvironment::new("uncounted").parallelism(1).checkpointing(Checkpointing::disabled());
        env.source("numbers", SequenceSource::unbounded().rate_per_second(5_000))
            .key_by(|n| n % 8)
            .reduce("sums", |sum, n| sum + n)
            .for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let operators = || job.metrics().subtasks.into_iter().flat_map(|subtask| subtask.operators);
        let has_keys = |of: &FiguresOfOperator| of.operator.as_str() == "sums" && of.of_run.records_in >= 8;
        while !operators().any(|of| has_keys(&of)) {
            tokio::task::yield_now().await;
        }
        assert!(operators().all(|of| (of.of_run.state_entries, of.of_run.timers) == (None, None)));
        let samples = || {
            let page = millstream::metrics::prometheus(&[job.metrics()]);
            ["millstream_operator_state_entries{", "millstream_operator_timers{"].map(|name| page.matches(name).count())
        };
        assert_eq!(samples(), [0, 0]);

        job.checkpoint().await.expect("complete");
        let counted = operators().filter(|of| of.of_run.state_entries.is_some() || of.of_run.timers.is_some());
        let counted: Vec<_> = counted.collect();
        let [sums] = &counted[..] else { panic!("{counted:?}") };
        assert_eq!((sums.operator.as_str(), sums.of_run.state_entries, sums.of_run.timers), ("sums", Some(8), Some(0)));
        assert_eq!(samples(), [1, 1]);
        job.cancel().await.expect("cancelled");
    });
}
