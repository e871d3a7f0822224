//! Several jobs and several actix `System`s in one process: none has a part in the life of another.

use std::sync::mpsc;
use std::thread;

use millstream::JobHandle;
use millstream::prelude::*;

use crate::common::{CountedPanics, QueueSource, run, sorted, watched};
use crate::{Seen, counting};

/// Runs in an actix `System` on a thread of its own, which ends with it.
fn in_a_system<R: Send + 'static, F: Future<Output = R>>(work: impl FnOnce() -> F + Send + 'static) -> R {
    thread::spawn(|| actix_rt::System::new().block_on(async move { work().await })).join().unwrap()
}

/// L5: two systems on two threads, each with jobs that fail, finish and are paused at the same time.
#[test]
fn jobs_of_two_systems_on_two_threads_run_side_by_side() {
    let threads = ["left", "right"].map(|side| {
        thread::spawn(move || {
            run("jobs of one of two systems", move |handles| async move {
                let (numbers, seen, sink) = (QueueSource::default(), Seen::default(), CollectSink::new());
                let collected = sink.handle();
                let paused = counting(&format!("{side}-paused"), &numbers, &seen).start().unwrap();
                watched(&handles, &paused);
                paused.pause().await.unwrap();
                numbers.push(0..5);
                let panics = CountedPanics::at(&[100, 700]);
                let env = StreamEnvironment::new(&format!("{side}-fails")).tell_panic_hook(false).parallelism(2);
                env.source("numbers", SequenceSource::new(0..2_000))
                    .inspect(move |_| panics.count_and_panic())
                    .key_by(|n| n % 7)
                    .fold("count", 0_u64, |count, _| *count += 1)
                    .sink("out", sink);
                let failing = env.start().unwrap();
                watched(&handles, &failing);
                assert!(failing.await.unwrap().restarts > 0);
                let most = (0..7).map(|key| collected.snapshot().iter().filter(|(of, _)| *of == key).count());
                assert_eq!(most.sum::<usize>(), 2_000);
                assert_eq!(seen.after_a_checkpoint(&paused).await, 0);
                paused.resume().await.unwrap();
                seen.until(5, &paused).await;
                paused.cancel().await.unwrap();
            });
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// L5: a system that ends leaves its jobs and those of others running; who has their handles pauses, resumes and ends them from anywhere.
#[test]
fn jobs_run_on_when_the_system_of_their_caller_has_ended() {
    let (numbers, seen) = (QueueSource::default(), Seen::default());
    let (of_first, seen_by_first) = (numbers.clone(), seen.clone());
    let job: JobHandle =
        in_a_system(move || async move { counting("outlives", &of_first, &seen_by_first).start().unwrap() });
    let other = in_a_system(|| async { counting("other", &QueueSource::default(), &Seen::default()).start().unwrap() });
    let paused = job.clone();
    in_a_system(move || async move { paused.pause().await.unwrap() });
    numbers.push(0..5);
    run("the job from another system", move |handles| async move {
        watched(&handles, &job);
        assert_eq!(seen.after_a_checkpoint(&job).await, 0);
        assert_eq!(other.status().paused_since_unix_ms, None, "a pause of one job is none of another");
        job.resume().await.unwrap();
        seen.until(5, &job).await;
        other.cancel().await.unwrap();
        numbers.push(5..10);
        seen.until(10, &job).await;
        job.cancel().await.unwrap();
    });
}

/// L5: the same job is started again, on the same store, when the system in which it ran has ended, and goes on where it stood.
#[test]
fn job_is_started_again_after_its_system_has_ended() {
    let (store, mut collected) = (MemoryStore::new(), Vec::new());
    for life in 0..4 {
        let (store, sink) = (store.clone(), CollectSink::new());
        let of_life = sink.handle();
        let kind = in_a_system(move || async move {
            let env = StreamEnvironment::new("again").snapshot_store(store);
            env.source("numbers", SequenceSource::new(0..100_000)).sink("out", sink);
            let job = env.start().unwrap();
            if life == 3 { job.await.unwrap().kind } else { job.drain().await.unwrap().kind }
        });
        collected.extend(of_life.snapshot());
        let is_last = life == 3 || kind == OutcomeKind::Finished;
        assert_eq!(kind, if is_last { OutcomeKind::Finished } else { OutcomeKind::Drained });
    }
    assert_eq!(sorted(collected), (0..100_000).collect::<Vec<_>>());
}

/// L5: a system that ends in the middle of an order leaves the order to be carried out.
#[test]
fn order_of_a_system_that_ends_is_carried_out() {
    let (numbers, seen) = (QueueSource::default(), Seen::default());
    let (of_job, seen_by_job) = (numbers.clone(), seen.clone());
    let (tell, told) = mpsc::channel();
    in_a_system(move || async move {
        let job = counting("ordered", &of_job, &seen_by_job).start().unwrap();
        tell.send(job.clone()).unwrap();
        drop(job.pause());
    });
    let job: JobHandle = told.recv().unwrap();
    run("the job whose pause was ordered", move |handles| async move {
        watched(&handles, &job);
        // Behind the order of the system that has ended.
        job.pause().await.unwrap();
        numbers.push(0..5);
        assert_eq!(seen.after_a_checkpoint(&job).await, 0);
        job.cancel().await.unwrap();
    });
}
