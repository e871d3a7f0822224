//! G10: what is written reads back, or is refused at the first write.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::operator::StateError;
use millstream::prelude::*;
use millstream::{AbortReason, CheckpointError, JobError, TaskError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;

use common::{run, run_to_end, watched};

mod common;

/// serde reads no `IpAddr` within such an enum from a binary format.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    Login { ip: IpAddr, text: String },
    None,
}

fn login() -> Event {
    Event::Login { ip: [1, 2, 3, 4].into(), text: "x".repeat(200) }
}

fn often() -> Checkpointing {
    Checkpointing::every(Duration::from_millis(2))
}

/// The error of what could not be stored, which failed the job for good at its checkpoints.
fn refused(error: &JobError) -> &StateError {
    let JobError::CheckpointFailures { last: AbortReason::Declined { reason: TaskError::State(reason), .. }, .. } =
        error
    else {
        panic!("{error}")
    };
    reason
}

/// Asserts that it names all of these.
fn assert_names(error: &StateError, parts: &[&str]) {
    assert!(matches!(error, StateError::Encode { .. }) && !error.is_retryable(), "{error}");
    let shown = error.to_string();
    parts.iter().for_each(|part| assert!(shown.contains(part), "{part}: {shown}"));
}

#[test]
fn state_that_would_not_read_back_declines_its_checkpoints_and_at_last_fails_the_job() {
    let (outcome, job) = run_to_end("a job whose state does not read back", || {
        let env = StreamEnvironment::new("unreadable").checkpointing(often()).snapshot_store(MemoryStore::new());
        // The first barrier is behind records.
        env.source("n", SequenceSource::unbounded())
            .key_by(|n| n % 3)
            .fold("last", Event::None, |last, _| *last = login())
            .filter(|_| false)
            .map(|_| 0_u8)
            .sink("out", CollectSink::new());
        env
    });
    let parts = ["'last'", "version 1", "key group", "Event does not read back", "change how it is serialized"];
    assert_names(refused(&outcome.expect_err("it cannot go on")), &parts);
    let completed = |event: &JobEvent| matches!(event.kind, millstream::JobEventKind::CheckpointCompleted { .. });
    assert_eq!(job.history().iter().filter(|event| completed(event)).count(), 0);
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tree {
    kids: Vec<Tree>,
}

#[test]
fn state_that_is_nested_too_deeply_declines_its_checkpoints_and_at_last_fails_the_job() {
    let (outcome, _) = run_to_end("a job with deep state", || {
        let env = StreamEnvironment::new("deep").checkpointing(often()).snapshot_store(MemoryStore::new());
        env.source("n", SequenceSource::unbounded().rate_per_second(1_000))
            .key_by(|_| 0_u8)
            .fold("tree", Tree { kids: Vec::new() }, |tree, n| {
                if n == 0 {
                    *tree = (0..600).fold(tree.clone(), |tree, _| Tree { kids: vec![tree] });
                }
            })
            .filter(|_| false)
            .map(|_| 0_u8)
            .sink("out", CollectSink::new());
        env
    });
    assert_names(refused(&outcome.expect_err("it cannot go on")), &["'tree'", "version 1", "nested deeper than 250"]);
}

/// Holds what it has got.
#[derive(Clone)]
struct Held;

impl ProcessFunction<u64> for Held {
    type Out = u8;
    type State = OperatorListState<Event>;

    fn state(&self) -> Self::State {
        OperatorListState::new("events")
    }

    fn process(
        &mut self,
        _: u64,
        mut events: States<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, u8>,
    ) {
        events.set(vec![login()]);
    }
}

#[test]
fn state_that_is_not_keyed_is_refused_alike() {
    let (outcome, _) = run_to_end("a job whose list does not read back", || {
        let env = StreamEnvironment::new("list").checkpointing(often()).snapshot_store(MemoryStore::new());
        let numbers = env.source("n", SequenceSource::unbounded().rate_per_second(1_000));
        numbers.process("held", Held).sink("out", CollectSink::new());
        env
    });
    let parts = ["'held'", "'events'", "subtask", "Event does not read back"];
    assert_names(refused(&outcome.expect_err("it cannot go on")), &parts);
}

#[test]
fn checkpoints_complete_again_when_the_value_is_another_one() {
    run("a job with a value that does not read back for a while", |handles| async move {
        let is_mended = Arc::new(AtomicBool::new(false));
        let (seen, mut all_seen) = unbounded_channel();
        let env = StreamEnvironment::new("for a while").snapshot_store(MemoryStore::new());
        let env = env.checkpointing(Checkpointing::every(Duration::from_secs(3_600)));
        let mends = is_mended.clone();
        env.source("n", SequenceSource::unbounded().rate_per_second(1_000))
            .key_by(|_| 0_u8)
            .fold("last", Event::None, move |last, _| {
                let is_mended = mends.load(Ordering::SeqCst);
                *last = if is_mended { Event::None } else { login() };
                // The test may have come to its end.
                let _ = seen.send(is_mended);
            })
            .filter(|_| false)
            .map(|_| 0_u8)
            .sink("out", CollectSink::new());
        let job = env.start().expect("a valid job");
        watched(&handles, &job);
        all_seen.recv().await.expect("it reads");
        for _ in 0..3 {
            let error = job.checkpoint().await.expect_err("it cannot be stored");
            let CheckpointError::Aborted(AbortReason::Declined { reason: TaskError::State(error), .. }) = &error else {
                panic!("{error}")
            };
            assert_names(error, &["'last'", "does not read back"]);
        }
        is_mended.store(true, Ordering::SeqCst);
        while !all_seen.recv().await.expect("it reads on") {}
        job.checkpoint().await.expect("it can be stored");
        assert_eq!(job.finish().await.expect("it ends").restarts, 0);
    });
}

const KEYS: u64 = 20_000;

/// Keeps a value for each key, and shows it with the second record of it.
#[derive(Clone)]
struct Keep<V>(fn() -> V);

impl<V> KeyedProcessFunction<u64, u64> for Keep<V>
where
    V: Clone + std::fmt::Debug + Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    type Out = String;
    type State = ValueState<V>;

    fn state(&self) -> Self::State {
        ValueState::new("value").version(7)
    }

    fn process(
        &mut self,
        n: u64,
        mut value: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, String>,
    ) {
        if n < KEYS {
            value.set((self.0)());
        } else {
            out.emit(format!("{:?}", value.get()));
        }
    }
}

/// What `value` gives is kept for many keys in a small cache. Gives what each comes back as, and how the job ended.
fn spilled<V>(value: fn() -> V) -> (Vec<String>, Result<JobOutcome, JobError>, JobHandle)
where
    V: Clone + std::fmt::Debug + Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let sink = CollectSink::new();
    let collected = sink.handle();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().to_owned();
    let (outcome, job) = run_to_end("values in a small cache", move || {
        let env = StreamEnvironment::new("spilled").state_backend(StateBackend::redb(path).cache_bytes(1 << 20));
        env.source("n", SequenceSource::new(0..2 * KEYS))
            .key_by(|n| n % KEYS)
            .process("keep", Keep(value))
            .sink("out", sink);
        env
    });
    (collected.snapshot(), outcome, job)
}

#[test]
fn values_that_leave_memory_come_back_as_they_were() {
    let (shown, outcome, _) = spilled(|| (Some(None::<u32>), "x".repeat(200)));
    outcome.expect("it ends");
    let expected = format!("{:?}", Some((Some(None::<u32>), "x".repeat(200))));
    assert_eq!(shown.len() as u64, KEYS);
    assert!(shown.iter().all(|value| *value == expected), "{:?}", shown.iter().find(|value| **value != expected));
}

#[test]
fn values_that_would_not_read_back_never_leave_memory_and_fail_the_task_for_good() {
    let (shown, outcome, job) = spilled(login);
    let error = outcome.expect_err("it cannot go on");
    let JobError::Failed { error: TaskError::State(error), .. } = &error else { panic!("{error}") };
    assert_names(error, &["'keep'", "'value'", "version 7", "key group", "Event does not read back"]);
    assert!(!error.to_string().contains("disk"), "{error}");
    assert!(shown.is_empty());
    let restarts = job.history().into_iter();
    assert_eq!(
        restarts.filter(|event| matches!(event.kind, millstream::JobEventKind::RegionRestarting { .. })).count(),
        0
    );
}
