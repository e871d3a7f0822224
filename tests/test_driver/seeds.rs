//! What a seed decides, and that it decides everything.

use std::sync::{Arc, Mutex};

use millstream::prelude::*;
use millstream::testing::TestDriver;

use crate::market::{Market, Total};

/// All that can be seen of a run: which records came to which subtask, in their order; events, with times and durations; results;
/// and the number of steps.
type Seen = (Vec<(u32, u64)>, Vec<String>, Vec<Total>, u64);

fn seen(seed: u64) -> Seen {
    let input = Market::of(30);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (build, noted) = (input.build(), order.clone());
    let build = move || {
        let env = build();
        let noted = noted.clone();
        env.source("more", VecSource::<u64>::new(Vec::new()))
            .rebalance()
            .process("noted", Noted(noted))
            .sink("nothing", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(seed, build).unwrap();
    let more = driver.source("more").unwrap();
    more.feed_all(0_u64..50);
    driver.crash_at(300);
    let (totals, _) = input.drive(&mut driver).unwrap();
    let events = driver.history().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let order = order.lock().unwrap().clone();
    assert!(order.len() >= 50);
    (order, events, totals, driver.steps())
}

/// Notes which subtask gets which record.
#[derive(Clone)]
struct Noted(Arc<Mutex<Vec<(u32, u64)>>>);

impl ProcessFunction<u64> for Noted {
    type Out = u64;
    type State = ();

    fn state(&self) {}

    fn process(&mut self, n: u64, (): (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, u64>) {
        self.0.lock().unwrap().push((ctx.subtask(), n));
        out.emit(n);
    }
}

#[test]
fn same_seed_gives_the_same_run_and_another_one_another_order() {
    let (first, again) = (seen(11), seen(11));
    assert_eq!(first.0, again.0);
    assert_eq!(first.1, again.1);
    assert_eq!(first, again);
    let others: Vec<_> = (12..16).map(seen).collect();
    for other in &others {
        assert_eq!(other.2, first.2, "the result is the same");
    }
    assert!(others.iter().all(|other| other.0 != first.0), "no other order was taken");
}
