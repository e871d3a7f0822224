//! Queries and failures at once: the output is that of a run without either, and no answer is one that the state never had.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::query::{AsOf, Consistency, ScanCursor};

use crate::common::{CountedPanics, checkpointed, run, sorted, watched};
use crate::rig::backends;

const N: u64 = 30_000;
const KEYS: u64 = 3_000;

/// Each key's counts, sorted, of a job whose function panics at these calls, and that is asked all the time if `is_asked`.
fn output(backend: StateBackend, panics: &'static [u64], is_asked: bool) -> Vec<(u64, u64)> {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let outcome = run("a disturbed job", move |handles| async move {
        let panics = CountedPanics::at(panics);
        let env = checkpointed("disturbed", 2, None).state_backend(backend).snapshot_store(MemoryStore::new());
        let env = env.restart_strategy(RestartStrategy::fixed_delay(9, Duration::from_millis(5)));
        env.source("numbers", SequenceSource::new(0..N))
            .key_by(|n| n % KEYS)
            .fold("counts", 0u64, move |count, _| {
                panics.count_and_panic();
                *count += 1;
            })
            .sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let is_over = AtomicBool::new(!is_asked);
        let ended = async {
            let outcome = job.clone().await;
            is_over.store(true, Ordering::Relaxed);
            outcome
        };
        futures_util::future::join(ended, ask_until(&job, &is_over)).await.0
    });
    assert_eq!(outcome.unwrap().restarts, panics.len() as u64);
    sorted(collected.snapshot())
}

/// Asks in all ways, and checks what can be said of the answers.
async fn ask_until(job: &JobHandle, is_over: &AtomicBool) {
    let (mut from, mut newest, mut key) = (ScanCursor::default(), None, 0);
    while !is_over.load(Ordering::Relaxed) {
        key = (key + 7) % KEYS;
        for consistency in [Consistency::Live, Consistency::LiveOrCheckpoint, Consistency::Checkpoint] {
            let query = job.query::<u64, u64>("counts", "accumulator").consistency(consistency);
            let (one, page) = futures_util::future::join(query.get(&key), query.scan_from(from, 50)).await;
            if let Ok(one) = one {
                assert!(one.value.is_none_or(|count| (1..=N / KEYS).contains(&count)), "{one:?}");
                if let AsOf::Checkpoint { checkpoint, .. } = one.as_of {
                    assert!(newest.is_none_or(|newest| newest <= checkpoint), "{newest:?}, then {checkpoint}");
                    newest = Some(checkpoint);
                }
            }
            if let Ok(page) = page {
                assert!(page.value.entries.iter().all(|(key, count)| *key < KEYS && (1..=N / KEYS).contains(count)));
                from = page.value.next.unwrap_or_default();
            }
        }
    }
}

/// A program may ask again at once, on the thread of the future that tells of the job's end.
#[test]
fn refusals_do_not_keep_the_thread_on_which_the_end_is_awaited() {
    run("a job that has ended is asked", |_| async move {
        let env = StreamEnvironment::new("ended");
        let counts = env.source("numbers", SequenceSource::new(0..10)).key_by(|n| *n);
        counts.fold("counts", 0u64, |count, _| *count += 1).for_each("seen", |_| ());
        let job = env.start().unwrap();
        job.clone().await.unwrap();
        let is_over = AtomicBool::new(false);
        let other = async {
            // Behind a turn of the arbiter.
            actix_rt::spawn(async {}).await.unwrap();
            is_over.store(true, Ordering::Relaxed);
        };
        futures_util::future::join(ask_until(&job, &is_over), other).await;
    });
}

/// Guarantees Q1, Q2 and G1.
#[test]
fn job_that_is_asked_all_the_time_and_fails_gives_the_output_of_one_that_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let expected = output(StateBackend::memory(), &[], false);
    assert_eq!(expected.len() as u64, N);
    for backend in backends(dir.path()) {
        let disturbed = output(backend, &[7_000, 20_000], true);
        assert!(disturbed == expected, "{} results of {}", disturbed.len(), expected.len());
    }
}
