//! Asynchronous functions in jobs: each record is answered once, whatever fails, and nothing that waits for answers holds up a barrier.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::future::{IntoFuture, pending, poll_fn};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use millstream::time::ManualClock;
use millstream::{Cause, GraphError, JobEventKind, JobHandle, TaskError};

use common::{
    BOUND_MS, CountedPanics, InputEnd, Service, SteppedSource, Total, checkpointed, events_of, output_through_panics,
    plain_totals, run, run_to_end, sorted, time_of, watched, window_totals,
};
use millstream::prelude::*;

mod common;

const N: u64 = 2_000;
const FOR_EVER: Duration = Duration::MAX;

/// Is pending some times, that differ from record to record, as answers that overtake each other.
async fn answer(record: u64) -> u64 {
    let mut polls = (record.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u32;
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    record
}

/// Waits until the service allows the answer.
async fn ask(service: Service, record: u64) -> Result<u64, AsyncError> {
    poll_fn(|cx| if service.answers(cx.waker()) { Poll::Ready(Ok(record)) } else { Poll::Pending }).await
}

/// Windows behind an asynchronous function. Panics are of its calls, of its futures, and of results; none of its answers is late.
fn totals(
    env: &StreamEnvironment,
    (source, wait): (SteppedSource, AsyncWait<u64, u64>),
    (calls, polls, results): (CountedPanics, CountedPanics, CountedPanics),
    sink: CollectSink<Total>,
) {
    let bound = Duration::from_millis(BOUND_MS);
    let times = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &(&'static str, u64)| time_of(*id));
    let numbers =
        env.source_with_watermarks("numbers", source, times).map(|(_, id)| id).async_map("ask", wait, move |id| {
            calls.count_and_panic();
            let polls = polls.clone();
            async move {
                let answered = answer(id).await;
                polls.count_and_panic();
                Ok(answered)
            }
        });
    window_totals(numbers, results, sink);
}

/// T13: through panics in the function, in its futures and behind them, at each parallelism and with both backends.
#[test]
fn windows_behind_an_asynchronous_function_are_those_of_a_plain_loop_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let plain = plain_totals(N);
    let wait = |is_ordered| if is_ordered { AsyncWait::ordered(FOR_EVER) } else { AsyncWait::unordered(FOR_EVER) };
    for (parallelism, spills, is_ordered, capacity) in
        [(1, false, false, 100), (2, true, true, 30), (3, false, false, 2), (2, false, false, 1_000)]
    {
        for (calls, polls, results) in [
            (vec![], vec![], vec![]),
            (vec![0, 700, 701], vec![], vec![]),
            (vec![], vec![0, 900, 1_500], vec![]),
            (vec![1_000], vec![500], vec![0, 30]),
        ] {
            let spills_to: Option<&Path> = spills.then(|| dir.path());
            let all = sorted([calls.clone(), polls.clone(), results.clone()].concat());
            let panics = [calls, polls, results].map(|at| CountedPanics::at(&at));
            let name = "async";
            let of = format!("parallelism {parallelism}, capacity {capacity}, panics {all:?}");
            let output = output_through_panics(name, (parallelism, spills_to), &all, move |env, _, sink| {
                let source = SteppedSource::new("numbers", N, 100, &InputEnd::default());
                totals(env, (source, wait(is_ordered).capacity(capacity)), panics.into(), sink);
            });
            assert_eq!(output, plain, "{of}");
        }
    }
}

/// T13: in one subtask.
#[test]
fn ordered_answers_keep_the_order_of_their_records_whatever_fails() {
    let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[10, 800, 1_500]));
    let collected = sink.handle();
    let (outcome, _) = run_to_end("a job with ordered answers", move || {
        let env = checkpointed("ordered", 1, None).snapshot_store(MemoryStore::new());
        env.source("numbers", SteppedSource::new("numbers", N, 100, &InputEnd::default()))
            .map(|(_, id)| id)
            .async_map("ask", AsyncWait::ordered(FOR_EVER), move |id| {
                let panics = panics.clone();
                async move {
                    let answered = answer(id).await;
                    panics.count_and_panic();
                    Ok(answered)
                }
            })
            .sink("out", sink);
        env
    });
    assert_eq!(outcome.unwrap().restarts, 3);
    let collected = collected.snapshot();
    for split in 0..4 {
        let of_split: Vec<u64> = collected.iter().copied().filter(|id| id % 4 == split).collect();
        assert_eq!(of_split, (0..N).filter(|id| id % 4 == split).collect::<Vec<_>>());
    }
}

/// T13: checkpoints, a savepoint and a drain do not wait for answers, and what waits goes on at another parallelism.
#[test]
fn what_waits_is_in_a_savepoint_and_goes_on_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for (parallelism, then, answers) in [(1, 3, 0), (3, 1, 40), (2, 2, 333)] {
        let (input, savepoint) = (InputEnd::default(), dir.path().join(format!("{parallelism}-{then}")));
        let build = move |env: &StreamEnvironment, input: &InputEnd, service: Service, sink: CollectSink<u64>| {
            env.source("numbers", SteppedSource::new("numbers", N, 100, input))
                .map(|(_, id)| id)
                .async_map("ask", AsyncWait::unordered(FOR_EVER).capacity(50), move |id| ask(service.clone(), id))
                .sink("out", sink);
        };
        let (sink, service, to) = (CollectSink::new(), Service::allowing(answers), savepoint.clone());
        let first = sink.handle();
        run("a job that waits", move |handles| async move {
            let env = checkpointed("waits", parallelism, None).snapshot_store(MemoryStore::new());
            build(&env, &input, service.clone(), sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);
            while service.answered() < answers || input.records_read() == 0 {
                events.checkpoints(1).await;
            }
            events.checkpoints(3).await;
            job.stop_with_savepoint(to).await.unwrap();
            assert_eq!(service.answered(), answers);
        });
        let sink = CollectSink::new();
        let rest = sink.handle();
        let (outcome, _) = run_to_end("the job goes on", move || {
            let env = checkpointed("waits", then, None).snapshot_store(MemoryStore::new());
            let env = env.restore_from(savepoint);
            build(&env, &InputEnd::default(), Service::default(), sink);
            env
        });
        outcome.unwrap();
        let (first, rest) = (first.snapshot(), rest.snapshot());
        assert_eq!(first.len() as u64, answers, "what was answered is out");
        assert_eq!(sorted([first, rest].concat()), (0..N).collect::<Vec<_>>(), "{parallelism}, then {then}");
    }
}

/// T13: `finish` and the end of the input wait for answers, `cancel` does not.
#[test]
fn finish_waits_for_answers_and_cancel_does_not() {
    let start = |service: &Service, asked: &Arc<AtomicU64>| -> (JobHandle, _) {
        let (sink, service, asked) = (CollectSink::new(), service.clone(), asked.clone());
        let collected = sink.handle();
        let env = checkpointed("ends", 1, None).snapshot_store(MemoryStore::new());
        env.source("numbers", SequenceSource::new(0..u64::MAX))
            .async_map("ask", AsyncWait::ordered(FOR_EVER), move |id| {
                asked.fetch_add(1, Ordering::SeqCst);
                ask(service.clone(), id)
            })
            .sink("out", sink);
        (env.start().unwrap(), collected)
    };
    run("a job that is told to finish", move |handles| async move {
        let (service, asked) = (Service::allowing(0), Arc::default());
        let (job, collected) = start(&service, &asked);
        watched(&handles, &job);
        let mut events = events_of(&job);
        while asked.load(Ordering::SeqCst) < 100 {
            events.checkpoints(1).await;
        }
        let finished = actix_rt::spawn(job.finish());
        events.checkpoints(3).await;
        assert!(!finished.is_finished() && collected.is_empty());
        service.allow(None);
        finished.await.unwrap().unwrap();
        let collected = collected.snapshot();
        assert!(collected.len() >= 100);
        assert_eq!(collected, (0..collected.len() as u64).collect::<Vec<_>>());
    });
    run("a job that is cancelled", move |handles| async move {
        let (service, asked) = (Service::allowing(0), Arc::default());
        let (job, collected) = start(&service, &asked);
        watched(&handles, &job);
        let mut events = events_of(&job);
        events.checkpoints(2).await;
        job.cancel().await.unwrap();
        assert!(collected.is_empty());
    });
}

/// A failure counts as overcome only once its record is answered: checkpoints that complete while that waits do not give the restart
/// strategy new attempts.
#[test]
fn record_that_never_has_an_answer_ends_the_job_though_checkpoints_complete() {
    for wait in [AsyncWait::ordered(FOR_EVER), AsyncWait::unordered(FOR_EVER)] {
        run("a job with a record that has no answer", |handles| async move {
            let (completed, of_job) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
            let seen = completed.clone();
            let env = checkpointed("poison", 1, None).snapshot_store(MemoryStore::new());
            let env = env.restart_strategy(RestartStrategy::fixed_delay(2, Duration::ZERO));
            env.source("numbers", SequenceSource::new(0..40))
                .async_map("ask", wait.capacity(10), move |id| {
                    let (completed, from) = (seen.clone(), seen.load(Ordering::SeqCst));
                    async move {
                        // It fails when two checkpoints have completed with it.
                        let waits = |cx: &mut Context<'_>| {
                            cx.waker().wake_by_ref();
                            id == 7 && completed.load(Ordering::SeqCst) < from + 2
                        };
                        poll_fn(|cx| if waits(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
                        if id == 7 { Err(AsyncError::retryable("busy")) } else { Ok(id) }
                    }
                })
                .sink("out", CollectSink::new());
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);
            let ended = actix_rt::spawn(job.into_future());
            let failures = loop {
                let kind = events.next().await;
                match kind {
                    JobEventKind::CheckpointCompleted { .. } => _ = completed.fetch_add(1, Ordering::SeqCst),
                    JobEventKind::SubtaskFailed { .. } => _ = of_job.fetch_add(1, Ordering::SeqCst),
                    JobEventKind::Ended { .. } => break of_job.load(Ordering::SeqCst),
                    _ => {}
                }
            };
            let error = ended.await.unwrap().unwrap_err();
            assert!(matches!(error, JobError::GaveUp { failures: 3, .. }), "{error}");
            assert_eq!(failures, 3);
            assert!(completed.load(Ordering::SeqCst) >= 6, "checkpoints completed meanwhile");
        });
    }
}

/// A future may wake itself for as long as it likes: its arbiter goes on.
#[test]
fn future_that_wakes_itself_lets_others_on_its_thread_run() {
    let (outcome, _) = run_to_end("a job whose futures wake themselves", || {
        let env = StreamEnvironment::new("spins").parallelism(1).checkpointing(Checkpointing::disabled());
        env.source("numbers", SequenceSource::new(0..5))
            .async_map("ask", AsyncWait::ordered(FOR_EVER), |id| async move {
                let is_done = Rc::new(Cell::new(false));
                let by_other = is_done.clone();
                actix_rt::spawn(async move { by_other.set(true) });
                poll_fn(move |cx| {
                    cx.waker().wake_by_ref();
                    if is_done.get() { Poll::Ready(Ok(id)) } else { Poll::Pending }
                })
                .await
            })
            .sink("out", CollectSink::new());
        env
    });
    assert_eq!(outcome.unwrap().restarts, 0);
}

/// Retries and time-outs go by the job's clock.
#[test]
fn record_is_asked_for_again_and_given_up_when_the_clock_says_so() {
    run("a job whose clock the test moves", |handles| async move {
        let (clock, asked, sum) = (ManualClock::new(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let wait = AsyncWait::ordered(Duration::from_secs(60))
            .retry(AsyncRetry::fixed(1, Duration::from_secs(20)))
            .or_else(|id: u64, error| if error.is_timed_out() { Ok(id + 100) } else { Err(error) });
        let env = StreamEnvironment::new("clock").parallelism(1).clock(clock.clone());
        let env = env.checkpointing(Checkpointing::disabled());
        let (of_job, added) = (asked.clone(), sum.clone());
        env.source("numbers", SequenceSource::new(7..8))
            .async_map("ask", wait, move |_| {
                let attempt = of_job.fetch_add(1, Ordering::SeqCst);
                async move { if attempt == 0 { Err(AsyncError::retryable("busy")) } else { pending().await } }
            })
            .for_each("sum", move |answer| {
                added.fetch_add(answer, Ordering::SeqCst);
            });
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut moved = Duration::ZERO;
        for (asked_for, by) in [(1, 0), (2, 20)] {
            while asked.load(Ordering::SeqCst) < asked_for {
                assert!(job.checkpoint().await.is_ok());
                if by > 0 && moved < Duration::from_secs(59) {
                    clock.advance(Duration::from_secs(1));
                    moved += Duration::from_secs(1);
                }
            }
            assert!(moved >= Duration::from_secs(by), "asked again after {moved:?}");
        }
        assert_eq!((asked.load(Ordering::SeqCst), sum.load(Ordering::SeqCst)), (2, 0));
        let ended = actix_rt::spawn(job.clone().into_future());
        while !ended.is_finished() {
            clock.advance(Duration::from_secs(1));
            actix_rt::task::yield_now().await;
        }
        assert_eq!(ended.await.unwrap().unwrap().restarts, 0);
        assert_eq!((asked.load(Ordering::SeqCst), sum.load(Ordering::SeqCst)), (2, 107));
    });
}

/// The failures of a job that asks so for numbers, of which 7 has no answer.
fn failures(
    function: impl Fn(u64) -> Result<u64, AsyncError> + Clone + Send + 'static,
) -> (JobError, Vec<JobEventKind>) {
    let (outcome, job) = run_to_end("a job that fails", move || {
        let env = StreamEnvironment::new("fails").parallelism(1).snapshot_store(MemoryStore::new());
        let env = env.restart_strategy(RestartStrategy::fixed_delay(2, Duration::ZERO)).tell_panic_hook(false);
        env.source("numbers", SequenceSource::new(0..10))
            .async_map("ask", AsyncWait::ordered(FOR_EVER), move |id| {
                let function = function.clone();
                async move { function(id) }
            })
            .sink("out", CollectSink::new());
        env
    });
    let failed = |kind: &JobEventKind| matches!(kind, JobEventKind::SubtaskFailed { .. });
    let history = job.history().into_iter().map(|event| event.kind).filter(failed).collect();
    (outcome.unwrap_err(), history)
}

#[test]
fn failure_names_the_record_and_a_permanent_one_is_not_tried_again() {
    let busy = |id| if id == 7 { Err(AsyncError::retryable("busy")) } else { Ok(id) };
    let (error, history) = failures(busy);
    assert!(matches!(error, JobError::GaveUp { failures: 3, .. }), "{error}");
    assert_eq!(history.len(), 3);
    let text = history[0].to_string();
    assert!(text.contains("operator 'ask': no answer for a record after 1 attempts: busy"), "{text}");
    assert!(text.contains("at record 7") && !error.to_string().contains('7'), "{text} {error}");

    let unknown = |id| if id == 7 { Err(AsyncError::permanent("unknown")) } else { Ok(id) };
    let (error, history) = failures(unknown);
    let JobError::Failed { error: TaskError::Unanswered { record, attempts, is_retryable, .. }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((record.as_deref(), *attempts, *is_retryable), (Some("7"), 1, false));
    assert_eq!(history.len(), 1, "nothing is tried again");
}

#[test]
fn panic_in_a_future_names_the_record() {
    let (_, history) = failures(|id| if id == 7 { panic!("injected") } else { Ok(id) });
    for kind in history {
        let JobEventKind::SubtaskFailed { cause: Cause::Panicked(report), at: Some(at), .. } = &kind else {
            panic!("{kind}")
        };
        assert_eq!((report.message.as_str(), at.record.as_deref(), &at.input), ("injected", Some("7"), &None));
        assert_eq!(at.operator.as_ref().map(ToString::to_string).as_deref(), Some("ask"));
        assert!(kind.to_string().contains("at record 7"), "{kind}");
    }
}

#[test]
fn settings_that_cannot_be_are_mistakes_of_the_graph() {
    let env = StreamEnvironment::new("mistakes");
    env.source("numbers", SequenceSource::new(0..10))
        .async_map("ask", AsyncWait::ordered(Duration::ZERO), |id| async move { Ok(id) })
        .async_map("again", AsyncWait::ordered(FOR_EVER).capacity(0), |id| async move { Ok(id) })
        .sink("out", CollectSink::new());
    let StartError::Graph(errors) = env.start().unwrap_err() else { panic!("the graph is refused") };
    let of = |error: &GraphError| match error {
        GraphError::InvalidAsync { operator, reason, .. } => (operator.to_string(), reason.clone()),
        other => panic!("{other}"),
    };
    let errors: Vec<_> = errors.0.iter().map(of).collect();
    assert_eq!((errors[0].0.as_str(), errors[1].0.as_str()), ("ask", "again"));
    assert!(errors[0].1.contains("time-out is 0") && errors[1].1.contains("capacity is 0"), "{errors:?}");
}
