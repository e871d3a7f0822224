//! Timers of processing time go by the job's clock, also while the job is paused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::prelude::*;
use millstream::time::ManualClock;

use crate::common::{Later, QueueSource, run, watched};

const NEVER: Duration = Duration::from_secs(10_000_000);

type Fired = Arc<Mutex<Vec<u64>>>;

fn env(clock: &ManualClock, store: &MemoryStore, numbers: &QueueSource, fired: &Fired) -> StreamEnvironment {
    let (env, fired) =
        (StreamEnvironment::new("timers").clock(clock.clone()).snapshot_store(store.clone()), fired.clone());
    let later = env.source("numbers", numbers.clone()).key_by(|n| *n).process("later", Later);
    later.for_each("see", move |key| fired.lock().unwrap().push(key));
    env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER))
}

/// Records that its source has read.
fn read_by(job: &JobHandle) -> u64 {
    job.figures().first().map_or(0, |source| source.of_attempt.records_in)
}

async fn until_fired(job: &JobHandle, fired: &Fired, expected: &[u64]) {
    while fired.lock().unwrap().len() < expected.len() {
        job.checkpoint().await.unwrap();
    }
    assert_eq!(*fired.lock().unwrap(), expected);
}

/// L4: what they emit goes out at once, also where they are chained to a source that was about to read.
#[test]
fn what_timers_emit_in_a_pause_waits_for_nothing() {
    run("a paused job with timers by the clock alone", |handles| async move {
        let (clock, fired) = (ManualClock::new(), Fired::default());
        let (env, of_job) = (StreamEnvironment::new("at once").clock(clock.clone()), fired.clone());
        let numbers = env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000));
        let later = numbers.key_by(|n| *n).process("later", Later).rebalance();
        later.for_each("see", move |key| of_job.lock().unwrap().push(key));
        let job = env.checkpointing(Checkpointing::every(NEVER).timeout(NEVER)).start().unwrap();
        watched(&handles, &job);
        while read_by(&job) < 5 {
            clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        job.pause().await.unwrap();
        let read = read_by(&job) as usize;
        while fired.lock().unwrap().len() < read {
            clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
        assert_eq!(read_by(&job) as usize, read);
        job.cancel().await.unwrap();
    });
}

/// L4: they fire in a pause when their time comes; in a later life that is paused, too, the overdue ones at once.
#[test]
fn timers_of_processing_time_fire_while_the_job_is_paused_and_after_a_restart_in_the_pause() {
    run("a paused job with timers", |handles| async move {
        let (clock, store, numbers, fired) =
            (ManualClock::new(), MemoryStore::new(), QueueSource::default(), Fired::default());
        let job = env(&clock, &store, &numbers, &fired).start().unwrap();
        watched(&handles, &job);
        numbers.push([1]);
        job.checkpoint().await.unwrap();
        clock.advance(Duration::from_millis(400));
        numbers.push([2]);
        job.checkpoint().await.unwrap();
        job.pause().await.unwrap();
        numbers.push([3]);
        job.checkpoint().await.unwrap();
        clock.advance(Duration::from_millis(600));
        until_fired(&job, &fired, &[1]).await;
        job.drain().await.unwrap();

        clock.advance(Duration::from_secs(60));
        let job = env(&clock, &store, &numbers, &fired).start().unwrap();
        watched(&handles, &job);
        assert!(job.status().paused_since_unix_ms.is_some());
        until_fired(&job, &fired, &[1, 2]).await;
        // What was not read has no timer yet.
        clock.advance(Duration::from_secs(60));
        job.checkpoint().await.unwrap();
        assert_eq!(*fired.lock().unwrap(), [1, 2]);
        job.resume().await.unwrap();
        job.checkpoint().await.unwrap();
        while fired.lock().unwrap().len() < 3 {
            clock.advance(Duration::from_millis(500));
            job.checkpoint().await.unwrap();
        }
        assert_eq!(*fired.lock().unwrap(), [1, 2, 3]);
        job.cancel().await.unwrap();
    });
}
