use std::sync::mpsc;

use super::*;

fn pool(threads_max: usize) -> BlockingPool {
    let pool = BlockingPool::default();
    pool.allow(threads_max).expect("a thread");
    pool
}

/// A call that returns when the sender is dropped or has sent, and has begun when this returns.
fn hang(pool: &BlockingPool) -> (Call<()>, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (tell, begun) = mpsc::channel();
    let call = pool.run(true, move || {
        tell.send(()).expect("the test waits");
        let _ = released.recv();
    });
    begun.recv().expect("the call begins");
    (call, release)
}

fn answer<T>(call: Call<T>) -> Result<T, PanicReport> {
    call.outcome.blocking_recv().expect("answered")
}

#[test]
fn calls_above_the_limit_wait_and_begin_in_order() {
    let pool = pool(2);
    let (first, release_first) = hang(&pool);
    let (second, release_second) = hang(&pool);
    let (tell, told) = mpsc::channel();
    let later: Vec<_> = (0..8)
        .map(|number| {
            let tell = tell.clone();
            pool.run(true, move || tell.send(number).expect("the test waits"))
        })
        .collect();
    assert!(later.iter().all(|call| call.waits.is_some()));
    drop(release_first);
    assert_eq!(told.iter().take(8).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    drop(release_second);
    for call in later.into_iter().chain([first, second]) {
        answer(call).expect("returned");
    }
    let state = pool.shared.lock();
    assert_eq!((state.threads, state.started), (2, 2));
}

#[test]
fn calls_that_do_not_return_cost_their_threads_and_no_more() {
    let pool = pool(2);
    let (first, release_first) = hang(&pool);
    let (second, release_second) = hang(&pool);
    let waiting = pool.run(true, || "made");
    let ticket = waiting.waits.expect("both threads are taken");
    assert!(pool.shared.relieve(ticket));
    assert_eq!(answer(waiting).expect("made on a fresh thread"), "made");
    assert!(!pool.shared.relieve(ticket), "it waits no more");
    // Both return, and leave as many threads as there may be.
    drop((release_first, release_second));
    answer(first).expect("returned");
    answer(second).expect("returned");
    for _ in 0..4 {
        answer(pool.run(true, || ())).expect("made");
    }
    assert!(pool.shared.lock().threads <= 2);
}

#[test]
fn call_that_began_after_another_was_asked_for_is_not_given_up() {
    let pool = pool(1);
    let (first, release_first) = hang(&pool);
    let (release_second, released) = mpsc::channel::<()>();
    let (tell, begun) = mpsc::channel();
    let second = pool.run(true, move || {
        tell.send(()).expect("the test waits");
        let _ = released.recv();
    });
    let last = pool.run(true, || ());
    let ticket = last.waits.expect("the thread is taken");
    drop(release_first);
    begun.recv().expect("the call begins");
    assert!(pool.shared.relieve(ticket), "it waits");
    assert_eq!(pool.shared.lock().started, 1);
    drop(release_second);
    for call in [first, second, last] {
        answer(call).expect("returned");
    }
}

#[test]
fn panic_is_an_answer_and_the_thread_goes_on() {
    let pool = pool(1);
    let report = answer(pool.run(true, || panic!("in the store"))).expect_err("it panicked");
    assert_eq!(report.message, "in the store");
    assert_eq!(answer(pool.run(true, || 7)).expect("made"), 7);
    assert_eq!(pool.shared.lock().started, 1);
}

#[test]
fn threads_end_with_the_pool_after_the_calls_that_wait() {
    let pool = pool(1);
    let (first, release) = hang(&pool);
    let waiting = pool.run(true, || 7);
    let shared = Arc::downgrade(&pool.shared);
    drop((pool, release));
    answer(first).expect("returned");
    assert_eq!(answer(waiting).expect("made"), 7);
    while shared.strong_count() > 0 {
        thread::yield_now();
    }
}
