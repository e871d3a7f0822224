//! Asynchronous functions in the harness, and what they do at each time of a clock that the test moves.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use millstream_actors::contract::{BatchOperator, Demand, Held, Output, RunBudget};
use millstream_actors::protocol::{NO_TIME, OperatorId};

use super::*;
use crate::state::Share;
use crate::state::test_kit::Random;
use crate::testing::{OperatorHarness, OperatorRun};

const SECOND: Duration = Duration::from_secs(1);

/// Is pending so often before it answers.
fn after(mut polls: u64, answer: u64) -> impl Future<Output = Result<u64, AsyncError>> {
    poll_fn(move |cx| {
        if polls == 0 {
            return Poll::Ready(Ok(answer));
        }
        polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Answers when the test says so, from anywhere.
#[derive(Clone, Default)]
struct Desk(Rc<RefCell<Questions>>);

#[derive(Default)]
struct Questions {
    answers: HashMap<u64, Result<u64, AsyncError>>,
    wakers: HashMap<u64, Waker>,
    asked: Vec<u64>,
    dropped: u64,
}

impl Desk {
    fn ask(&self, record: u64) -> impl Future<Output = Result<u64, AsyncError>> + use<> {
        struct Open(Desk);

        impl Drop for Open {
            fn drop(&mut self) {
                self.0.0.borrow_mut().dropped += 1;
            }
        }

        self.0.borrow_mut().asked.push(record);
        let open = Open(self.clone());
        poll_fn(move |cx| {
            let mut questions = open.0.0.borrow_mut();
            questions.wakers.insert(record, cx.waker().clone());
            questions.answers.remove(&record).map_or(Poll::Pending, Poll::Ready)
        })
    }

    fn answer(&self, record: u64, answer: Result<u64, AsyncError>) {
        self.0.borrow_mut().answers.insert(record, answer);
        let waker = self.0.borrow_mut().wakers.remove(&record);
        waker.expect("it is asked").wake();
    }

    fn take_asked(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.borrow_mut().asked)
    }

    fn dropped(&self) -> u64 {
        self.0.borrow().dropped
    }

    fn start(&self, wait: AsyncWait<u64, u64>) -> OperatorRun<u64, u64> {
        let desk = self.clone();
        OperatorHarness::async_map(wait, move |record| desk.ask(record)).start(1)
    }
}

fn refused() -> Result<u64, AsyncError> {
    Err(AsyncError::retryable("busy"))
}

#[test]
fn every_way_of_running_gives_each_record_its_answer() {
    let mut random = Random(0x000a_5f1c);
    let polls: Vec<u64> = (0..500).map(|_| random.next() % 7).collect();
    let records = || (0..500_u64).collect::<Vec<_>>();
    let ask = move |record: u64| after(polls[record as usize], record * 3);
    for capacity in [1, 3, 100, 1_000] {
        let tripled = || records().into_iter().map(|record| record * 3);
        let ordered = AsyncWait::ordered(SECOND).capacity(capacity);
        OperatorHarness::async_map(ordered, ask.clone()).batch(records()).watermark(7).batch([]).check(tripled());
        let unordered = AsyncWait::unordered(SECOND).capacity(capacity);
        OperatorHarness::async_map(unordered, ask.clone()).batch(records()).watermark(7).check_in_any_order(tripled());
    }
}

#[test]
fn every_way_of_running_retries_and_gives_answers_in_the_place_of_errors() {
    let wait = AsyncWait::ordered(SECOND)
        .capacity(5)
        .retry(AsyncRetry::fixed(2, Duration::from_millis(300)))
        .or_else(|record: u64, error| Ok(if error.is_timed_out() { record + 1_000 } else { record + 2_000 }));
    let attempts: Rc<RefCell<HashMap<u64, u32>>> = Rc::default();
    let ask = move |record: u64| {
        let attempts = attempts.clone();
        async move {
            match record % 4 {
                0 => Ok(record),
                // Every second time.
                1 => {
                    let mut attempts = attempts.borrow_mut();
                    let asked = attempts.entry(record).or_default();
                    *asked += 1;
                    if asked.is_multiple_of(2) { Ok(record) } else { refused() }
                }
                2 => refused(),
                _ => pending().await,
            }
        }
    };
    let expected = |record| match record % 4 {
        0 | 1 => record,
        2 => record + 2_000,
        _ => record + 1_000,
    };
    OperatorHarness::async_map(wait, ask).batch(0..40).check((0..40).map(expected));
}

#[test]
fn so_many_are_asked_for_at_a_time_and_the_next_when_one_has_left() {
    for is_ordered in [true, false] {
        let desk = Desk::default();
        let wait = if is_ordered { AsyncWait::ordered(SECOND) } else { AsyncWait::unordered(SECOND) };
        let mut run = desk.start(wait.capacity(2));
        run.feed(0..5);
        assert_eq!(desk.take_asked(), [0, 1]);
        desk.answer(1, Ok(10));
        run.feed([]);
        // An answer that may not leave yet keeps its place.
        let (left, asked) = if is_ordered { (vec![], vec![]) } else { (vec![10], vec![2]) };
        assert_eq!((run.take_output(), desk.take_asked()), (left, asked));
        desk.answer(0, Ok(0));
        run.feed([]);
        let (left, asked) = if is_ordered { (vec![0, 10], vec![2, 3]) } else { (vec![0], vec![3]) };
        assert_eq!((run.take_output(), desk.take_asked()), (left, asked));
    }
}

#[test]
fn record_is_asked_for_again_after_the_delays_and_then_given_up() {
    let desk = Desk::default();
    let retry = AsyncRetry::exponential(2, Duration::from_millis(100), SECOND);
    let mut run = desk.start(AsyncWait::ordered(10 * SECOND).retry(retry).or_else(|record, error| {
        assert_eq!((error.is_retryable(), error.to_string()), (true, "busy".to_owned()));
        Ok(record + 100)
    }));
    run.feed([7]);
    for (delay, more) in [(100, 1), (200, 1), (10_000, 0)] {
        assert_eq!(desk.take_asked(), [7]);
        desk.answer(7, refused());
        run.feed([]);
        run.advance(Duration::from_millis(delay - 1));
        assert!(desk.take_asked().is_empty());
        run.advance(Duration::from_millis(1));
        if more == 0 {
            assert_eq!((desk.take_asked(), run.take_output()), (vec![], vec![107]));
        }
    }
}

#[test]
fn permanent_error_is_not_retried() {
    let desk = Desk::default();
    let wait = AsyncWait::ordered(SECOND).retry(AsyncRetry::fixed(9, Duration::ZERO));
    let mut run = desk.start(wait.or_else(|record, _| Ok(record + 100)));
    run.feed([7]);
    desk.answer(7, Err(AsyncError::permanent("unknown")));
    run.feed([]);
    assert_eq!((desk.take_asked(), run.take_output()), (vec![7], vec![107]));
}

#[test]
fn time_goes_on_over_all_attempts_and_a_future_whose_time_is_over_is_dropped() {
    let desk = Desk::default();
    let retry = AsyncRetry::fixed(9, Duration::from_millis(600));
    let mut run = desk.start(AsyncWait::ordered(SECOND).retry(retry).or_else(|record, error| {
        assert!(error.is_timed_out(), "{error}");
        Ok(record + 100)
    }));
    run.feed([7]);
    desk.answer(7, refused());
    run.feed([]);
    run.advance(Duration::from_millis(600));
    assert_eq!((desk.take_asked(), desk.dropped()), (vec![7, 7], 1));
    run.advance(Duration::from_millis(399));
    assert_eq!((run.take_output(), desk.dropped()), (vec![], 1));
    run.advance(Duration::from_millis(1));
    assert_eq!((run.take_output(), desk.dropped()), (vec![107], 2));
}

#[test]
fn attempt_that_would_come_too_late_is_not_waited_for() {
    let desk = Desk::default();
    let retry = AsyncRetry::fixed(9, Duration::from_millis(600));
    let mut run = desk.start(AsyncWait::ordered(SECOND).retry(retry).or_else(|record, error| {
        assert_eq!(error.to_string(), "busy");
        Ok(record + 100)
    }));
    run.feed([8]);
    run.advance(Duration::from_millis(400));
    desk.answer(8, refused());
    run.feed([]);
    assert_eq!((run.take_output(), desk.take_asked()), (vec![108], vec![8]));
    run.advance(10 * SECOND);
    assert!(run.take_output().is_empty() && desk.take_asked().is_empty());
}

#[test]
fn time_in_which_the_task_was_held_up_does_not_count() {
    let desk = Desk::default();
    let ask = desk.clone();
    // The second answer needs a look more than the first.
    let harness = OperatorHarness::async_map(AsyncWait::ordered(SECOND).or_else(|record, _| Ok(record + 100)), {
        move |record| {
            let (first, second) = (ask.ask(record), ask.clone());
            async move {
                first.await?;
                second.ask(record + 10).await
            }
        }
    });
    let mut run = harness.start(1);
    run.feed([1, 2]);
    desk.answer(1, Ok(0));
    // Nobody looks for four seconds.
    run.clock().advance(4 * SECOND);
    run.feed([]);
    assert!(run.take_output().is_empty());
    desk.answer(11, Ok(11));
    run.feed([]);
    assert_eq!(run.take_output(), [11]);
    run.advance(SECOND);
    assert_eq!(run.take_output(), [102], "its time is over all the same");
}

#[test]
fn time_begins_when_a_record_is_asked_for() {
    let desk = Desk::default();
    let mut run = desk.start(AsyncWait::ordered(SECOND).capacity(1).or_else(|record, _| Ok(record + 100)));
    run.feed([0, 1]);
    run.advance(SECOND);
    assert_eq!((run.take_output(), desk.take_asked()), (vec![100], vec![0, 1]));
    run.advance(SECOND - Duration::from_millis(1));
    assert!(run.take_output().is_empty());
    run.advance(Duration::from_millis(1));
    assert_eq!(run.take_output(), [101]);
}

#[test]
fn what_waits_is_asked_for_again_by_who_restores_it_at_any_parallelism() {
    let desk = Desk::default();
    let ask = desk.clone();
    let wait = AsyncWait::unordered(Duration::MAX).capacity(3);
    let harness = OperatorHarness::async_map(wait, move |record| ask.ask(record));
    let mut run = harness.start(1);
    run.feed(0..6);
    desk.answer(1, Ok(1));
    run.feed([]);
    assert_eq!((run.take_output(), desk.take_asked()), (vec![1], vec![0, 1, 2, 3]));
    let snapshot = run.snapshot();
    drop(run);
    for parallelism in [1, 2, 7] {
        let mut restored = harness.restore(&snapshot, parallelism);
        restored.feed([]);
        let mut asked = desk.take_asked();
        let first = asked.clone();
        for record in first {
            desk.answer(record, Ok(record));
        }
        restored.feed([]);
        let more = desk.take_asked();
        more.iter().for_each(|record| desk.answer(*record, Ok(*record)));
        restored.feed([]);
        asked.extend(more);
        asked.sort_unstable();
        let mut answers = restored.take_output();
        answers.sort_unstable();
        assert_eq!((asked, answers), (vec![0, 2, 3, 4, 5], vec![0, 2, 3, 4, 5]), "parallelism {parallelism}");
    }
}

#[test]
#[should_panic(expected = "operator 'harness': no answer for a record after 2 attempts: busy")]
fn record_without_an_answer_fails_the_task() {
    let asked = Cell::new(0);
    let retry = AsyncRetry::fixed(1, Duration::ZERO);
    let harness = OperatorHarness::async_map(AsyncWait::ordered(SECOND).retry(retry), move |_: u64| {
        asked.set(asked.get() + 1);
        async { refused() }
    });
    harness.start(1).feed([7]);
}

#[test]
#[should_panic(expected = "no answer for a record after 1 attempts: no answer within 1s")]
fn record_whose_time_is_over_fails_the_task() {
    let harness = OperatorHarness::async_map(AsyncWait::ordered(SECOND), |_: u64| pending::<Result<u64, _>>());
    let mut run = harness.start(1);
    run.feed([7]);
    run.advance(SECOND);
}

#[test]
fn waker_of_the_task_is_woken_once_until_it_has_looked() {
    struct Count(AtomicU32);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let desk = Desk::default();
    let ask = desk.clone();
    let share = Share { subtask: 0, parallelism: 1 };
    let clock = Arc::new(crate::time::ManualClock::new());
    let wait = AsyncWait::<u64, u64>::unordered(SECOND);
    let mut operator = AsyncMap::new(OperatorId::from("ask"), share, clock, wait, move |record| ask.ask(record));
    let count = Arc::new(Count(AtomicU32::new(0)));
    operator.attach(count.clone().into());
    let mut out = Output::new();
    let budget = || RunBudget::start_by(Some(|| Duration::ZERO));
    let _ = operator.process(&mut [1, 2].into_iter().collect(), &mut out, &mut budget()).unwrap();
    let times = |out: &mut Output<u64>| {
        let batch = out.open_batch();
        (0..batch.len()).map(|place| batch.time(place).unwrap_or(NO_TIME)).collect::<Vec<_>>()
    };
    // Futures that have all been polled have it look once more.
    let _ = operator.wake(&mut out, &mut budget()).unwrap();
    assert_eq!(operator.due(), Some(SECOND));
    let before = count.0.load(Ordering::SeqCst);
    desk.answer(1, Ok(1));
    desk.answer(2, Ok(2));
    assert_eq!((operator.due(), count.0.load(Ordering::SeqCst)), (Some(Duration::ZERO), before + 1));
    let _ = operator.wake(&mut out, &mut budget()).unwrap();
    assert_eq!((out.len(), times(&mut out), operator.due()), (2, vec![NO_TIME; 2], None));
}

#[test]
fn what_comes_before_a_barrier_is_taken_up_to_a_bound() {
    let desk = Desk::default();
    let ask = desk.clone();
    let share = Share { subtask: 0, parallelism: 1 };
    let clock = Arc::new(crate::time::ManualClock::new());
    let wait = AsyncWait::<u64, u64>::unordered(SECOND).capacity(2);
    let mut operator = AsyncMap::new(OperatorId::from("ask"), share, clock, wait, move |record| ask.ask(record));
    let mut out = Output::new();
    let budget = || RunBudget::start_by(Some(|| Duration::ZERO));
    let mut give = |operator: &mut AsyncMap<_, _, _, _>, records: std::ops::Range<u64>| {
        let _ = operator.process(&mut records.collect(), &mut out, &mut budget()).unwrap();
        (operator.demand(), operator.held())
    };
    let held = |done_in_a_row, done, of| Held { done_in_a_row, done, of };
    assert_eq!(give(&mut operator, 0..1), (Demand::Any, held(0, 0, 1)));
    assert_eq!(give(&mut operator, 1..2), (Demand::BeforeBarrier, held(0, 0, 2)));
    assert_eq!(give(&mut operator, 2..1_002), (Demand::BeforeBarrier, held(0, 0, 1_002)));
    for _ in 0..64 {
        give(&mut operator, 0..1_000);
    }
    assert_eq!(give(&mut operator, 0..1_000), (Demand::Nothing, held(0, 0, 66_002)));
    desk.answer(1, Ok(1));
    let _ = operator.wake(&mut out, &mut budget()).unwrap();
    assert_eq!((operator.demand(), operator.held()), (Demand::Nothing, held(0, 1, 66_002)));
}
