//! Q2: what a query of the last completed checkpoint answers.

use std::time::Duration;

use millstream::prelude::*;
use millstream::query::{AsOf, Consistency};
use millstream::{CheckpointId, QueryError};

use crate::common::{run, watched};
use crate::rig::{KEYS, Rig, backends, scanned, sums_below};

/// No checkpoint is due while a test runs.
fn never() -> Checkpointing {
    Checkpointing::every(Duration::from_secs(3_600))
}

fn checkpoint_of(as_of: AsOf) -> CheckpointId {
    match as_of {
        AsOf::Checkpoint { checkpoint, .. } => checkpoint,
        other => panic!("{other:?}"),
    }
}

/// Guarantee Q2.
#[test]
fn checkpoint_answers_with_what_it_has_whatever_came_since_in_both_backends() {
    let dir = tempfile::tempdir().unwrap();
    for backend in backends(dir.path()) {
        run("a query of a checkpoint", move |handles| async move {
            let env = StreamEnvironment::new("checkpointed").parallelism(2).state_backend(backend);
            let rig = Rig::start(env.checkpointing(never()).snapshot_store(MemoryStore::new()));
            watched(&handles, &rig.job);
            let query = rig.sums().consistency(Consistency::Checkpoint);
            let mut taken = 0;
            // The second and third are changes over the first.
            for n in [2_000, 2_003, 2_004] {
                rig.take(taken..n);
                taken = n;
                let checkpoint = rig.job.checkpoint().await.unwrap();
                rig.take([7]);
                let expected = sums_of(n);
                for (key, sum) in &expected {
                    let answer = query.get(key).await.unwrap();
                    assert_eq!((answer.value, checkpoint_of(answer.as_of)), (Some(*sum), checkpoint), "of {n}");
                    assert!(matches!(answer.as_of, AsOf::Checkpoint { bytes_read: 1.., .. }));
                }
                let keys: Vec<u64> = (0..KEYS).collect();
                let all = query.get_all(&keys).await.unwrap();
                assert_eq!(all.value, expected.iter().map(|(_, sum)| Some(*sum)).collect::<Vec<_>>());
                let (entries, as_of) = scanned(&query, 3).await;
                assert_eq!((entries, checkpoint_of(as_of)), (expected, checkpoint));
                assert_eq!(query.get(&99).await.unwrap().value, None);
            }
            rig.job.cancel().await.unwrap();
            let ended = query.get(&1).await.unwrap_err();
            assert!(matches!(ended, QueryError::JobEnded), "{ended}");
        });
    }
}

/// The sums of the numbers below `n`, with a 7 behind each checkpoint before the last.
fn sums_of(n: u64) -> Vec<(u64, u64)> {
    let mut sums = sums_below(n);
    sums[7].1 += 7 * [2_000, 2_003, 2_004].iter().filter(|at| **at < n).count() as u64;
    sums
}

/// Guarantee Q2.
#[test]
fn first_checkpoint_is_waited_for_by_the_caller() {
    run("no checkpoint", |handles| async move {
        let rig = Rig::start(StreamEnvironment::new("none").checkpointing(Checkpointing::disabled()));
        watched(&handles, &rig.job);
        rig.take(0..10);
        let query = rig.sums();
        let none = query.clone().consistency(Consistency::Checkpoint).get(&1).await.unwrap_err();
        assert!(matches!(none, QueryError::NoCheckpoint { .. }) && none.is_retryable(), "{none}");
        let live = query.consistency(Consistency::LiveOrCheckpoint).get(&1).await.unwrap();
        assert!(matches!(live.as_of, AsOf::Live { .. }), "{:?}", live.as_of);
        rig.job.cancel().await.unwrap();
    });
}

/// Guarantees Q1, Q2: a cursor and a checkpoint of another parallelism.
#[test]
fn next_start_at_another_parallelism_answers_of_the_checkpoint_of_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store.redb");
    for (life, parallelism) in [2, 5, 1].into_iter().enumerate() {
        let store = store.clone();
        run("a query after a new start", move |handles| async move {
            let env = StreamEnvironment::new("lives").parallelism(parallelism).checkpointing(never());
            let rig = Rig::start(env.snapshot_store(RedbStore::open(store).unwrap()));
            watched(&handles, &rig.job);
            if life == 0 {
                rig.take(0..500);
                rig.job.checkpoint().await.unwrap();
            } else {
                rig.take([3]);
            }
            let of_checkpoint = rig.sums().consistency(Consistency::Checkpoint);
            assert_eq!(scanned(&of_checkpoint, 4).await.0, sums_below(500));
            let mut live = sums_below(500);
            live[3].1 += if life == 0 { 0 } else { 3 };
            assert_eq!(scanned(&rig.sums(), 4).await.0, live);
            rig.job.cancel().await.unwrap();
        });
    }
}
