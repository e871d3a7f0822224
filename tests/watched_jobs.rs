//! A job whose records are the events of another one.

use std::time::Duration;

use millstream::prelude::*;
use millstream::source::JobEventSource;

use common::{CountedPanics, checkpointed, run};

mod common;

/// A job that restarts some times, and takes checkpoints.
fn watched(panics: CountedPanics) -> StreamEnvironment {
    let env = checkpointed("watched", 2, None).snapshot_store(MemoryStore::new());
    env.source("numbers", SequenceSource::new(0..2_000).rate_per_second(20_000))
        .inspect(move |_| panics.count_and_panic())
        .for_each("out", |_| {});
    env
}

/// Within a process each event of a job is a record of another job exactly once, in order, also when that one restarts.
#[test]
fn each_event_of_a_job_is_a_record_of_another_once() {
    for parallelism in [1, 2] {
        for at in [&[][..], &[0, 4, 9, 15]] {
            let (told, given) = run("a job that watches another", move |_| async move {
                let env = watched(CountedPanics::at(&[100, 900, 1_700]));
                let (mut listened, events) = (env.events(100_000), env.events(100_000));
                let (sink, panics) = (CollectSink::new(), CountedPanics::at(at));
                let given = sink.handle();
                let watching = checkpointed("watching", parallelism, None).snapshot_store(MemoryStore::new());
                watching
                    .source("events", JobEventSource::new(events))
                    .inspect(move |_| panics.count_and_panic())
                    .map(|event| (event.unix_ms, event.kind.to_string()))
                    .sink("told", sink);
                let watching = watching.start().expect("starts");
                env.start().expect("starts").await.expect("finished");
                let outcome = watching.await.expect("ends with the other one");
                assert_eq!(outcome.restarts as usize, at.len());
                let mut told = Vec::new();
                while let Some(event) = listened.next().await {
                    told.push((event.unix_ms, event.kind.to_string()));
                }
                (told, given.snapshot())
            });
            assert!(told.len() > 10, "{told:?}");
            assert_eq!(given, told, "parallelism {parallelism}, panics at {at:?}");
        }
    }
}

/// A job may watch itself. It does not get to its own end.
#[test]
fn a_job_may_read_its_own_events() {
    let given = run("a job that watches itself", |_| async {
        let env = StreamEnvironment::new("itself").checkpointing(Checkpointing::every(Duration::from_millis(5)));
        let sink = CollectSink::new();
        let given = sink.handle();
        let events = env.events(1_000);
        env.source("events", JobEventSource::new(events)).map(|event| event.kind.to_string()).sink("told", sink);
        let job = env.start().expect("starts");
        for _ in 0..5 {
            job.checkpoint().await.expect("a checkpoint");
        }
        job.finish().await.expect("finished");
        given.snapshot()
    });
    assert!(given.iter().filter(|event| event.contains("completed")).count() > 2, "{given:?}");
}
