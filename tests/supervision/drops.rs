//! Values whose `Drop` panics once, outside unwinding.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rig::{Fault, environment, in_system};

/// A value that panics when it is dropped, if it is armed and nothing unwinds.
#[derive(Clone)]
struct Touchy<T>(T, Fault);

impl<T> Drop for Touchy<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.1.meet("drop");
        }
    }
}

/// Runs a job whose operator panics as often as it is armed for, after it has armed `then`. Gives its restarts.
fn run(operator: &Fault, record: &Fault, capture: &Fault, then: &Fault) -> u64 {
    in_system(async {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let (operator, record, then) = (operator.clone(), record.clone(), then.clone());
        let held = Touchy((), capture.clone());
        let env = environment("drops");
        let numbers = env.source("numbers", SequenceSource::new(0..4_000)).parallelism(1);
        numbers
            .map(move |x| Touchy(x, record.clone()))
            .filter(|record| record.0 % 2 == 0)
            .rebalance()
            .map(move |record| {
                let _held = &held;
                if record.0 == 2_000 && operator.strikes() {
                    then.arm(1);
                    panic!("injected: operator");
                }
                record.0
            })
            .sink("even", sink);
        let job = env.start().expect("the job starts");
        let outcome = job.await.expect("the job survives");
        let mut even = collected.snapshot();
        even.sort_unstable();
        assert!(even.into_iter().eq((0..4_000).step_by(2)));
        outcome.restarts
    })
}

fn armed() -> Fault {
    let fault = Fault::default();
    fault.arm(1);
    fault
}

#[test]
fn panic_in_the_drop_of_a_record_is_survived() {
    let record = armed();
    assert_eq!(run(&Fault::default(), &record, &Fault::default(), &Fault::default()), 1);
    assert!(record.is_spent());
}

#[test]
fn panic_in_the_drop_of_a_record_that_a_failed_task_held_is_survived() {
    let record = Fault::default();
    let restarts = run(&armed(), &record, &Fault::default(), &record);
    assert!(record.is_spent(), "a record in a batch or in the mailbox");
    // A record of the region's other tasks may have been the first to be dropped, before they were told to stop.
    assert!((1..=2).contains(&restarts), "{restarts}");
}

#[test]
fn panic_in_the_drop_of_what_a_failed_operator_captured_is_survived() {
    let capture = Fault::default();
    assert_eq!(run(&armed(), &Fault::default(), &capture, &capture), 1);
    assert!(capture.is_spent());
}

/// State whose `Drop` calls a function, once the state has been in use.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Dropped<const TEST: usize> {
    sum: u64,
    /// Made of what was stored: by a restore, or to see that it can be read back.
    #[serde(skip, default = "yes")]
    is_decoded: bool,
}

fn yes() -> bool {
    true
}

/// How many drops of state of the first test are to panic.
static PANICS: AtomicU32 = AtomicU32::new(0);

/// Whether drops of state of the second test wait.
static WAITING: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
/// Whether one has waited.
static HAS_WAITED: AtomicBool = AtomicBool::new(false);

impl<const TEST: usize> Drop for Dropped<TEST> {
    fn drop(&mut self) {
        if TEST == 1 && PANICS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            panic!("injected: drop of state");
        }
        // The initial value, 0, is no state: the engine drops its copies as it likes.
        if TEST == 2 && self.sum > 0 && !self.is_decoded {
            let mut waits = WAITING.0.lock().expect("nothing panics under it");
            while *waits {
                HAS_WAITED.store(true, Ordering::SeqCst);
                waits = WAITING.1.wait(waits).expect("nothing panics under it");
            }
        }
    }
}

/// Runs a job with `keys` keys whose operator fails once, at its last record, after it has called `before_failure`.
fn fail_with_state<const TEST: usize>(keys: u64, before_failure: fn()) {
    in_system(async {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let operator = armed();
        let env = environment("state").parallelism(1);
        env.source("numbers", SequenceSource::new(0..2 * keys))
            .inspect(move |x| {
                if *x == 2 * keys - 1 && operator.strikes() {
                    before_failure();
                    panic!("injected: operator");
                }
            })
            .key_by(move |x| x % keys)
            .fold_map("sums", Dropped::<TEST>::default(), |sum, x| sum.sum += x, |_, sum| sum.sum)
            .sink("all", sink);
        let outcome = env.start().expect("the job starts").await.expect("the job survives");
        assert_eq!(outcome.restarts, 1);
        let expected = (0..2 * keys).map(|x| if x < keys { x } else { 2 * x - keys });
        assert!(collected.snapshot().into_iter().eq(expected));
    });
}

#[test]
fn any_number_of_panics_in_drops_of_old_state_is_survived() {
    fail_with_state::<1>(100, || PANICS.store(5, Ordering::SeqCst));
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn recovery_does_not_wait_for_old_state_to_be_dropped() {
    let set = |waits| {
        *WAITING.0.lock().expect("nothing panics under it") = waits;
        WAITING.1.notify_all();
    };
    // From the failure on whatever drops state waits, until the job has ended.
    fail_with_state::<2>(20_000, || *WAITING.0.lock().expect("nothing panics under it") = true);
    // What drops it may have had no turn yet.
    while !HAS_WAITED.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    set(false);
}
