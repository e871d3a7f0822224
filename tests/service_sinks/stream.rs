//! A stream that the service reads.

use futures_util::StreamExt;
use millstream::prelude::*;
use millstream::sink::StreamSinkError;

use crate::common::{CountedPanics, events_from_the_start, events_of, run, sorted, watched};
use crate::figures::{Figure, PanicAt, environment, expected, sink_error, write};

const RECORDS: u64 = 1_500;

fn numbers() -> SequenceSource {
    SequenceSource::new(0..RECORDS).rate_per_second(20_000)
}

/// The figures of each key must come in order.
fn assert_in_order(figures: &[Figure]) {
    let mut counts = std::collections::BTreeMap::new();
    for (key, count, _) in figures {
        let before = counts.insert(*key, *count).unwrap_or_default();
        assert_eq!(*count, before + 1, "of key {key}");
    }
}

// Guarantees G2, O4 and G3: whatever panics, and however small the stream is.
#[test]
fn host_reads_each_record_once_and_in_order_through_panics_and_with_little_room() {
    for (step, nth) in
        [(millstream::Step::SinkCommitting, 3), (millstream::Step::SinkPrepared, 5), (millstream::Step::Completed, 4)]
    {
        for (capacity, parallelism) in [(1, 1), (40, 3), (100_000, 2)] {
            let what = format!("a stream of {capacity}, panic at {step:?}");
            let figures = run(&what, move |handles| async move {
                let (sink, stream) = StreamSink::new(capacity);
                let panics = CountedPanics::at(&[200, 800]);
                let env = environment(parallelism).snapshot_store(MemoryStore::new()).probe(PanicAt::new(step, nth));
                write(&env, numbers(), move |_| panics.count_and_panic(), sink);
                let job = env.start().unwrap();
                watched(&handles, &job);
                let figures: Vec<Figure> = stream.collect().await;
                assert!(job.await.unwrap().restarts > 0);
                figures
            });
            assert_in_order(&figures);
            assert!(sorted(figures) == expected(RECORDS), "{what}");
        }
    }
}

// Guarantee O5: the job waits for its host with all that it has, and checkpoints go on while there is room.
#[test]
fn job_of_a_host_that_does_not_read_is_held_back_and_goes_on_when_it_does() {
    const CAPACITY: usize = 100;
    run("a slow host", |handles| async move {
        let (sink, mut stream) = StreamSink::new(CAPACITY);
        let env = environment(1).snapshot_store(MemoryStore::new());
        env.source("numbers", SequenceSource::unbounded().rate_per_second(100_000)).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        // The host reads nothing until there is more than it has room for, and then at its own pace. A second checkpoint may
        // wait for it.
        events_from_the_start(&job).checkpoints(1).await;
        let mut next = 0;
        for _ in 0..20 {
            for _ in 0..CAPACITY {
                assert_eq!(stream.next().await, Some(next));
                next += 1;
            }
        }
        // The end waits for the host, too.
        let reading = actix_rt::spawn(async move { stream.collect::<Vec<u64>>().await });
        job.drain().await.unwrap();
        drop(job);
        assert!(reading.await.unwrap().into_iter().zip(next..).all(|(read, next)| read == next));
    });
}

#[test]
fn bounded_input_without_checkpoints_is_read_after_its_end() {
    run("without checkpoints", |handles| async move {
        let (sink, stream) = StreamSink::new(10);
        let env = StreamEnvironment::new("once").parallelism(2).checkpointing(Checkpointing::disabled());
        env.source("numbers", SequenceSource::new(0..5_000)).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        job.await.unwrap();
        let numbers: Vec<u64> = stream.collect().await;
        assert!(sorted(numbers).into_iter().eq(0..5_000));
    });
}

#[test]
fn stream_that_is_dropped_ends_the_job_with_a_typed_error_and_the_next_start_goes_on() {
    let store = MemoryStore::new();
    let mut before = None;
    for life in 0..5 {
        let store = store.clone();
        let (number, error) = run("a host that has gone", move |handles| async move {
            let (sink, mut stream) = StreamSink::new(100);
            let env = environment(2).snapshot_store(store);
            write(&env, SequenceSource::unbounded().rate_per_second(20_000), |_| (), sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            let (key, count, _) = stream.next().await.unwrap();
            drop(stream);
            (key + 7 * (count - 1), job.await.unwrap_err())
        });
        let error = sink_error(&error);
        assert!(matches!(error.reason().downcast_ref(), Some(StreamSinkError::NobodyReads)), "{error}");
        // It goes on behind the checkpoint that covers what was read.
        assert!(before < Some(number), "life {life}: {number} after {before:?}");
        before = Some(number);
    }
}

// Guarantee O4: within a process the next start goes on behind what the one before has committed.
#[test]
fn next_start_in_the_process_goes_on_with_a_stream_of_its_own() {
    let store = MemoryStore::new();
    let mut all = Vec::new();
    for life in 0..4 {
        let store = store.clone();
        all.extend(run("a life", move |handles| async move {
            let (sink, stream) = StreamSink::new(10_000);
            let env = environment(1 + life % 3).snapshot_store(store);
            write(&env, SequenceSource::unbounded().rate_per_second(20_000), |_| (), sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            events_of(&job).checkpoints(2).await;
            job.drain().await.unwrap();
            drop(job);
            stream.collect::<Vec<Figure>>().await
        }));
    }
    assert_in_order(&all);
    let records = all.len() as u64;
    assert!(sorted(all) == expected(records));
}
