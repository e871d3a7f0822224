//! Sources and sinks that the host shares with the job: their handles stay what they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::source::{IngestHandle, IngestOptions};
use millstream::time::{ManualClock, WatermarkAlignment};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::common::{InputEnd, Later, QueueSource, SteppedSource, checkpointed, run, sorted, watched};
use crate::{NEVER, Seen, keep_rescaling, turns};

const RECORDS: u64 = 1_500;
const COUNTS: TableDefinition<'_, (u64, u64), u64> = TableDefinition::new("counts");

/// Sends numbers by sixteen tasks that wait for each.
async fn send_all(handle: &IngestHandle<u64>, numbers: std::ops::Range<u64>) {
    let (next, end) = (AtomicU64::new(numbers.start), numbers.end);
    let sender = || async {
        while let Some(n) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|n| *n < end) {
            handle.send(n).await.unwrap();
        }
    };
    join_all((0..16).map(|_| sender())).await;
}

/// L6, I2, O1 to O3: what was acknowledged counts once, in the service's database and in a stream.
#[test]
fn acknowledged_records_are_in_a_database_and_a_stream_once() {
    let dir = tempfile::tempdir().unwrap();
    let database = Arc::new(Database::create(dir.path().join("service.redb")).unwrap());
    let (log, rows) = (dir.path().join("log"), database.clone());
    let streamed = run("a job that is fed", move |handles| async move {
        let options = IngestOptions::new().splits(3).buffer(64, 2_000).record_bytes_max(100);
        let (source, senders) = IngestSource::<u64>::open(log, options).unwrap();
        let (sink, stream) = StreamSink::new(400);
        let env = checkpointed("fed", 2, None).snapshot_store(MemoryStore::new());
        let counts = env.source("numbers", source).key_by(|n| n % 13).fold("count", 0u64, |count, _| *count += 1);
        // A row that was written twice has a two in it.
        let table = RedbSink::new(rows, COUNTS, |(key, count): (u64, u64), rows| rows.insert((key, count), count));
        counts.clone().sink("rows", table);
        counts.sink("stream", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let reads = actix_rt::spawn(stream.collect::<Vec<_>>());
        let is_sent = Arc::new(AtomicBool::new(false));
        let told = is_sent.clone();
        let sends = actix_rt::spawn(async move {
            send_all(&senders, 0..RECORDS).await;
            told.store(true, Ordering::SeqCst);
        });
        let until_sent = [4, 1, 3, 2].into_iter().cycle().take_while(|_| !is_sent.load(Ordering::SeqCst));
        let rescaled = keep_rescaling(&job, until_sent.chain([3]), || turns(5)).await;
        assert!(rescaled >= 2, "{rescaled}");
        sends.await.unwrap();
        let outcome = job.finish().await.unwrap();
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        reads.await.unwrap()
    });
    let expected: Vec<_> = sorted((0..RECORDS).map(|n| (n % 13, n / 13 + 1)).collect());
    assert_eq!(sorted(streamed), expected);
    let table = database.begin_read().unwrap().open_table(COUNTS).unwrap();
    let written: Vec<_> = table.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
    assert_eq!(written, expected);
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deposit {
    account: u64,
    amount: u64,
}

/// L6, A1: requests that wait over a rescale get their answer, each is processed once.
#[test]
fn requests_are_answered_once_over_rescales() {
    run("a job that answers", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let options = RequestOptions::new().timeout(Duration::from_secs(100)).log(IngestOptions::new().splits(3));
        let (source, bank) =
            RequestSource::<Deposit, (u64, u64)>::open(folder.path().join("requests"), options).unwrap();
        let env = StreamEnvironment::new("bank")
            .parallelism(1)
            .snapshot_store(MemoryStore::new())
            .checkpointing(Checkpointing::every(Duration::from_secs(24 * 3_600)));
        type State = ((u64, u64), Option<Request<Deposit>>);
        let answers =
            env.source("deposits", source).key_by(|request: &Request<Deposit>| request.body().account).fold_map(
                "accounts",
                ((0, 0), None),
                |((count, sum), newest): &mut State, request| {
                    (*count, *sum) = (*count + 1, *sum + request.body().amount);
                    *newest = Some(request);
                },
                |_, (balance, newest)| newest.as_ref().map(|request| request.answer(*balance)),
            );
        answers.filter_map(|answer| answer).sink("answers", bank.answers());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut told = Vec::new();
        for (round, to) in [3, 1, 4, 2].into_iter().cycle().take(8).enumerate() {
            let numbers: Vec<u64> = (0..50).map(|n| 50 * round as u64 + n).collect();
            let ask = |n: u64| {
                bank.ask(Ask::new(Deposit { account: n % 5, amount: n }).key(&(n % 5)).idempotency_key(n.to_string()))
            };
            let asks: Vec<_> = numbers.iter().map(|n| actix_rt::spawn(ask(*n))).collect();
            turns(round as u64 * 3).await;
            job.rescale(to).await.unwrap();
            for (n, answer) in numbers.into_iter().zip(asks) {
                told.push((n % 5, answer.await.unwrap().unwrap(), n));
            }
        }
        assert_eq!(job.drain().await.unwrap().restarts, 0);
        told.sort_unstable();
        for account in 0..5 {
            let (mut count, mut sum) = (0, 0);
            for (_, balance, amount) in told.iter().filter(|(of, _, _)| *of == account) {
                (count, sum) = (count + 1, sum + amount);
                assert_eq!(*balance, (count, sum), "deposit {amount} in account {account}");
            }
            assert_eq!(count, 80);
        }
    });
}

/// L8: timers of processing time are where their keys are, and come when the clock says so.
#[test]
fn timers_of_processing_time_move_with_their_keys_and_fire_once() {
    run("a job with timers by the clock", |handles| async move {
        let (clock, numbers, seen) = (ManualClock::new(), QueueSource::default(), Seen::default());
        let (env, counted) = (StreamEnvironment::new("timers").clock(clock.clone()), seen.clone());
        let later = env.source("numbers", numbers.clone()).parallelism(1).key_by(|n| *n).process("later", Later);
        later.for_each("see", move |_| counted.count());
        let job = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER)).start().unwrap();
        watched(&handles, &job);
        let mut fired = 0;
        for to in [3, 1, 2] {
            numbers.push(0..50);
            while job.figures().first().is_none_or(|source| source.of_attempt.records_in < 50) {
                turns(1).await;
            }
            job.rescale(to).await.unwrap();
            assert_eq!(seen.after_a_checkpoint(&job).await, fired);
            clock.advance(Duration::from_secs(1));
            fired += 50;
            seen.until(fired, &job).await;
            for _ in 0..3 {
                assert_eq!(seen.after_a_checkpoint(&job).await, fired);
            }
        }
        job.cancel().await.unwrap();
    });
}

/// L8, T2: sources that wait for each other wait for none that is gone, nor for none of those that are new.
#[test]
fn sources_that_wait_for_each_other_do_so_at_any_parallelism() {
    // A job may be over before the test has had its turns.
    assert!((0..5).any(|_| rescales_of_aligned_sources() >= 2));
}

fn rescales_of_aligned_sources() -> u64 {
    const N: u64 = 600;
    run("a job with aligned sources", |handles| async move {
        let (seen, input) = (Seen::default(), InputEnd::default());
        let env = checkpointed("aligned", 4, None).snapshot_store(MemoryStore::new());
        let together = WatermarkAlignment::within(Duration::from_millis(100));
        let numbers = |name: &'static str, step| {
            let times = WatermarkStrategy::monotonous(|(_, id): &(&str, u64)| *id as i64).with_alignment(&together);
            env.source_with_watermarks(name, SteppedSource::new(name, N, step, &input), times)
        };
        let counted = seen.clone();
        numbers("fast", 48).union(numbers("slow", 16)).for_each("see", move |_| counted.count());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let rescaled = keep_rescaling(&job, [1, 3, 2, 4].into_iter().cycle(), || turns(10)).await;
        assert_eq!(job.await.unwrap().restarts, 0);
        assert_eq!(seen.now(), 2 * N, "nothing is read again");
        rescaled
    })
}
