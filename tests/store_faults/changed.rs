//! A checkpoint restored into a job that has changed.

use std::path::Path;

use millstream::operator::StateError;
use millstream::prelude::*;
use millstream::snapshot::StateScope;
use millstream::{JobEventKind, StartError, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crash_common::job;
use crate::run::{ENDLESS, block_on, finish, run_and_cancel};

/// Starts on the store at `path` what `write` writes.
fn refused(path: &Path, env: StreamEnvironment, write: impl FnOnce(&StreamEnvironment)) -> StartError {
    block_on("a changed job", async {
        let env = env.snapshot_store(RedbStore::open(path).unwrap());
        write(&env);
        env.start().unwrap_err()
    })
}

#[test]
fn renamed_or_removed_operator_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    run_and_cancel(&path, job::files(&out), 2);
    let error = refused(&path, ENDLESS.environment(), |env| {
        env.source("left", SequenceSource::new(0..10)).map(|_| 0_u64).sink("out", FileSink::json_lines(&out));
    });
    let StartError::UnmatchedState { store, operators, .. } = &error else { panic!("{error}") };
    assert_eq!(*store, path.display().to_string());
    assert_eq!(operators.iter().map(|operator| operator.id.as_str()).collect::<Vec<_>>(), ["figures", "right"]);
    assert!(error.to_string().contains("'figures' ('") && error.to_string().contains("), 'right' ('"), "{error}");
    finish(RedbStore::open(&path).unwrap(), &out);
}

#[test]
fn changed_max_parallelism_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    run_and_cancel(&path, job::files(&out), 2);
    let env = ENDLESS.environment().max_parallelism(64);
    let error = refused(&path, env, |env| job::write(env, ENDLESS, |_| {}, job::files(&out)));
    let changed = matches!(error, StartError::MaxParallelismChanged { stored: 128, configured: 64, .. });
    assert!(changed, "{error}");
    assert!(error.to_string().contains("max_parallelism(128)"), "{error}");
    finish(RedbStore::open(&path).unwrap(), &out);
}

#[derive(Clone, Serialize, Deserialize)]
struct Sum {
    sum: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct SumAndCount {
    sum: u64,
    count: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct SumAndDefault {
    #[serde(default)]
    count: u64,
    sum: u64,
}

/// Starts a job that counts in an `A`, in the field that `count` names.
fn counting<A>(dir: &Path, initial: A, count: fn(&mut A) -> &mut u64) -> JobHandle
where
    A: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    let env = StreamEnvironment::new("counting").snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap());
    env.source("ones", SequenceSource::unbounded().rate_per_second(10_000))
        .key_by(|_| 0_u8)
        .fold_map("count", initial, move |state, _| *count(state) += 1, move |_, state| *count(&mut state.clone()))
        .sink("counts", FileSink::json_lines(dir.join("out")));
    env.start().unwrap()
}

#[test]
fn state_type_that_no_longer_decodes_ends_the_job_without_falling_back() {
    let dir = tempfile::tempdir().unwrap();
    block_on("a job with the old type", async {
        let job = counting(dir.path(), Sum { sum: 0 }, |state| &mut state.sum);
        for _ in 0..3 {
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap()
    });
    let (error, history) = block_on("a job with a field too many", async {
        let job = counting(dir.path(), SumAndCount { sum: 0, count: 0 }, |state| &mut state.count);
        (job.clone().await.unwrap_err(), job.history())
    });
    let JobError::Failed { error: TaskError::State(error), .. } = &error else { panic!("{error}") };
    let StateError::Decode { operator, scope: StateScope::KeyGroup(_), reason, .. } = &**error else {
        panic!("{error}")
    };
    assert_eq!(operator.as_str(), "count");
    assert!(reason.contains("count"), "{reason}");
    assert!(error.to_string().contains("serde default"), "{error}");
    let again =
        |event: &&JobEvent| matches!(event.kind, JobEventKind::FellBack { .. } | JobEventKind::RegionRestarting { .. });
    assert_eq!(history.iter().filter(again).count(), 0, "a changed type is no damage, and no restart mends it");

    let outcome = block_on("a job with a field that has a default", async {
        let job = counting(dir.path(), SumAndDefault { count: 0, sum: 0 }, |state| &mut state.sum);
        job.checkpoint().await.unwrap();
        job.finish().await.unwrap()
    });
    assert_eq!(outcome.kind, OutcomeKind::Finished);
}
