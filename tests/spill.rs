//! State larger than memory in whole jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{GraphError, StartError};

use common::{run, watched};

mod common;

const KEYS: u64 = 50_000;
const RECORDS: u64 = 2 * KEYS;

/// Twice each key, in an order of no use to a cache.
fn key(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9) % KEYS
}

/// Emits each key with the second record of it: number and sum of its records. Panics at these records, each once.
fn second_of_each_key(backend: StateBackend, panics_at: &'static [u64]) -> (Vec<(u64, u64, u64)>, u64) {
    let seen = Arc::new(AtomicU64::new(0));
    let next_panic = Arc::new(AtomicU64::new(0));
    let counts = CollectSink::new();
    let collected = counts.handle();
    let outcome = run("state in a small cache", move |handles| async move {
        let env = StreamEnvironment::new("spill").parallelism(2).state_backend(backend);
        let env = env.checkpointing(Checkpointing::every(Duration::from_millis(500)));
        env.source("numbers", SequenceSource::new(0..RECORDS))
            .parallelism(1)
            .key_by(|i| key(*i))
            .fold_map(
                "sums",
                (0u64, 0u64),
                move |(count, sum): &mut (u64, u64), i| {
                    let seen = seen.fetch_add(1, Ordering::Relaxed);
                    let panics = next_panic.load(Ordering::Relaxed);
                    if panics_at.get(panics as usize).is_some_and(|at| seen >= *at)
                        && next_panic.compare_exchange(panics, panics + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
                    {
                        panic!("injected after {seen} records");
                    }
                    (*count, *sum) = (*count + 1, *sum + i);
                },
                |key, (count, sum)| (*key, *count, *sum),
            )
            .filter(|(_, count, _)| *count == 2)
            .sink("counts", counts);
        let job = env.start().expect("a valid job");
        watched(&handles, &job);
        job.await
    });
    let outcome = outcome.expect("a job that ends");
    let mut rows = collected.snapshot();
    rows.sort_unstable();
    (rows, outcome.restarts)
}

#[test]
fn state_larger_than_its_cache_gives_the_same_output_whatever_fails() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (expected, _) = second_of_each_key(StateBackend::memory(), &[]);
    assert_eq!(expected.len() as u64, KEYS);
    let small = StateBackend::redb(dir.path()).cache_bytes(256 << 10);
    let (rows, restarts) = second_of_each_key(small, &[40_000, 85_000]);
    assert_eq!(restarts, 2);
    // Guarantee G1, guarantee G2.
    assert!(rows == expected, "{} rows of {}", rows.len(), expected.len());
}

#[test]
fn backends_that_cannot_be_are_mistakes_of_the_graph() {
    let env = StreamEnvironment::new("mistakes").state_backend(StateBackend::memory().cache_bytes(1 << 20));
    env.source("numbers", SequenceSource::new(0..10))
        .map(|n| n)
        .state_backend(StateBackend::memory())
        .key_by(|n| *n)
        .fold("count", 0u64, |count, _| *count += 1)
        .state_backend(StateBackend::redb("nowhere").cache_bytes(0))
        .sink("counts", CollectSink::new());
    let errors = env.explain().expect_err("three mistakes").0;
    let operator_of = |error: &GraphError| match error {
        GraphError::StateBackend { operator, .. } => Some(operator.as_ref().map(ToString::to_string)),
        _ => None,
    };
    let of_backends: Vec<_> = errors.iter().filter_map(operator_of).collect();
    assert_eq!(of_backends, [None, Some("count".to_owned())], "{errors:?}");
    let nothing_to_set = |error: &GraphError| matches!(error, GraphError::NothingToSet { .. });
    assert_eq!(errors.iter().filter(|error| nothing_to_set(error)).count(), 1, "{errors:?}");
    assert_eq!(errors.len(), 3);
}

#[test]
fn a_directory_that_does_not_exist_is_said_at_the_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let missing = dir.path().join("missing");
    let backend = StateBackend::redb(&missing);
    let error = run("a directory that is missing", move |_| async move {
        let env = StreamEnvironment::new("missing");
        env.source("numbers", SequenceSource::new(0..10))
            .key_by(|n| *n)
            .fold("count", 0u64, |count, _| *count += 1)
            .state_backend(backend)
            .sink("counts", CollectSink::new());
        env.start().map(|_| ()).expect_err("there is no directory")
    });
    let StartError::StateDirectory { dir, .. } = &error else { panic!("{error}") };
    assert_eq!(*dir, missing);
}
