//! Disks that fail under a log of requests.

use std::time::Duration;

use millstream::prelude::*;
use millstream::request::Ask;
use millstream::testing::{DiskFault, FaultyDisk};

use crate::common::{run, watched};
use crate::{options, wait};

fn open(disk: &FaultyDisk) -> (RequestSource<u64, u64>, Requests<u64, u64>) {
    let opened = disk.clone();
    RequestSource::open_on("disk", move || Ok(opened.handle()), options()).unwrap()
}

/// Answers each request with the sum of all up to it, on one subtask.
fn start(source: RequestSource<u64, u64>, requests: &Requests<u64, u64>) -> JobHandle {
    let env = StreamEnvironment::new("sums")
        .parallelism(1)
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::every(Duration::from_millis(20)));
    env.source("requests", source)
        .key_by(|_| 0)
        .fold_map(
            "sum",
            (0, None),
            |(sum, newest), request: Request<u64>| {
                *sum += request.body();
                *newest = Some(request);
            },
            |_, (sum, newest)| newest.as_ref().map(|request: &Request<u64>| request.answer(*sum)),
        )
        .filter_map(|answer| answer)
        .sink("answers", requests.answers());
    env.start().unwrap()
}

fn keyed(n: u64) -> Ask<u64> {
    Ask::new(n).idempotency_key(n.to_string())
}

/// The sum of `1..=n`.
fn sum(n: u64) -> u64 {
    n * (n + 1) / 2
}

// Guarantees A1, A2.
#[test]
fn failure_of_any_operation_of_the_disk_leaves_each_request_processed_and_answered_once() {
    run("a disk that fails", |handles| async move {
        let asks = 5;
        let undisturbed = FaultyDisk::new();
        let (source, requests) = open(&undisturbed);
        let begin = undisturbed.operations();
        let job = start(source, &requests);
        for n in 1..=asks {
            assert_eq!(requests.ask(keyed(n)).await.unwrap(), sum(n));
        }
        let end = undisturbed.operations();
        job.cancel().await.unwrap();
        for at in begin + 1..=end {
            let disk = FaultyDisk::new();
            let (source, requests) = open(&disk);
            disk.inject(at, if at % 2 == 0 { DiskFault::Fail } else { DiskFault::Torn(5) });
            let job = start(source, &requests);
            watched(&handles, &job);
            // The failure may come with any of them: which operations there are depends on what becomes durable together.
            for n in (1..=asks).chain(1..=asks) {
                let answer = loop {
                    match requests.ask(keyed(n)).await {
                        Ok(answer) => break answer,
                        Err(error) => assert!(error.is_retryable(), "operation {at}: {error}"),
                    }
                };
                assert_eq!(answer, sum(n), "operation {at}");
            }
            job.drain().await.unwrap();
            requests.closed().await;
        }
    });
}

// Guarantees A2, G7.
#[test]
fn power_cut_at_any_operation_of_the_disk_keeps_the_answers_that_were_given() {
    let disk = FaultyDisk::new();
    let answered_at = run("a disk that is cut off", {
        let disk = disk.clone();
        |handles| async move {
            let (source, requests) = open(&disk);
            let job = start(source, &requests);
            watched(&handles, &job);
            let mut answered_at = Vec::new();
            for n in 1..=5 {
                assert_eq!(requests.ask(keyed(n)).await.unwrap(), sum(n));
                answered_at.push(disk.operations());
            }
            job.cancel().await.unwrap();
            answered_at
        }
    });
    for operations in answered_at[0]..=disk.operations() {
        for seed in 0..3 {
            let bytes = disk.after_power_cut(operations, Some(seed));
            let (source, requests) = open(&FaultyDisk::with_bytes(bytes));
            let given = answered_at.iter().filter(|at| **at <= operations).count() as u64;
            for n in 1..=given {
                // No job runs: it is the stored answer.
                assert_eq!(wait(requests.ask(keyed(n))).unwrap(), sum(n), "{operations} operations, seed {seed}");
            }
            drop(source);
        }
    }
}
