//! Values whose `Drop` panics once, outside unwinding.

use millstream::prelude::*;

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
