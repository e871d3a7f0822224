//! Q5: what waits is bounded, and what is given up is not answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use millstream::QueryError;
use millstream::prelude::*;

use crate::common::{QueueSource, Watched, run, watched};

/// A job whose task holds its arbiter with its first record, until what is returned beside it is dropped.
fn held(name: &str, handles: &Watched) -> (JobHandle, mpsc::Sender<()>) {
    let env = StreamEnvironment::new(name).checkpointing(Checkpointing::disabled()).own_arbiters(1);
    let (entered, is_held) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let numbers = QueueSource::default();
    env.source("numbers", numbers.clone())
        .key_by(|n| *n)
        .fold("counts", 0u64, move |count, _| {
            *count += 1;
            entered.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        })
        .sink("out", ForEachSink::new(|_| Ok(())));
    let job = env.start().unwrap();
    watched(handles, &job);
    numbers.push([1]);
    is_held.recv().unwrap();
    (job, release)
}

/// Guarantee Q5.
#[test]
fn queries_of_a_held_task_wait_up_to_a_bound_time_out_and_cost_nothing_once_dropped() {
    run("a held task", |handles| async move {
        let (job, release) = held("held", &handles);
        let query = job.query::<u64, u64>("counts", "accumulator");
        let error = query.clone().timeout(Duration::from_millis(1)).get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::TimedOut { .. }) && error.is_retryable(), "{error}");

        let mut cx = Context::from_waker(Waker::noop());
        // One waits already: that which has timed out.
        let mut waiting: Vec<Pin<Box<dyn Future<Output = _>>>> = Vec::new();
        for _ in 1..1_024 {
            let mut asked: Pin<Box<dyn Future<Output = _>>> = Box::pin(query.get(&1));
            assert!(asked.as_mut().poll(&mut cx).is_pending());
            waiting.push(asked);
        }
        let error = query.get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::Overloaded { waiting: 1_024, .. }) && error.is_retryable(), "{error}");
        let kept = waiting.split_off(1_000);
        drop(waiting);
        drop(release);
        for asked in kept {
            assert_eq!(asked.await.unwrap().value, Some(1));
        }
        assert_eq!(query.get(&1).await.unwrap().value, Some(1));
        job.cancel().await.unwrap();
    });
}

/// Guarantee Q3. A task whose function does not return keeps the queries that it was sent: they waited until they timed out, as did
/// new ones, while the region waited for its end.
#[test]
fn query_of_a_task_that_does_not_stop_ends_with_its_attempt() {
    run("a task that does not stop", |handles| async move {
        let (job, release) = held("stopping", &handles);
        let query = job.query::<u64, u64>("counts", "accumulator").timeout(Duration::from_secs(3_600));
        let mut asked = Box::pin(query.get(&1));
        assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let ended = tokio::task::spawn_local(job.cancel());
        let error = asked.await.unwrap_err();
        assert!(matches!(error, QueryError::Restarting { .. }), "{error}");
        let error = query.get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::Restarting { .. }), "{error}");
        drop(release);
        ended.await.unwrap().unwrap();
        let error = query.get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::JobEnded), "{error}");
    });
}
