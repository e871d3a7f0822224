//! A clock that a test moves.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millstream_actors::contract::{Clock, Sleep};

/// Where [`ManualClock::new`] puts the wall clock: 2023-11-14 22:13:20 UTC.
const UNIX_MS_AT_ORIGIN: u64 = 1_700_000_000_000;

/// A clock that stands still until [`advance`](Self::advance) moves it. Clones are the same clock; sleepers may be on
/// any thread and need no runtime.
///
/// As the [`clock`](crate::StreamEnvironment::clock) of a job it decides when values expire, checkpoints are due and sources are
/// read again:
///
/// ```
/// use std::time::Duration;
///
/// use millstream::Clock;
/// use millstream::prelude::*;
/// use millstream::time::ManualClock;
///
/// # actix_rt::System::new().block_on(async {
/// let clock = ManualClock::starting_at(1_000);
/// let an_hour = clock.sleep(Duration::from_secs(3600));
/// clock.advance(Duration::from_secs(3600));
/// an_hour.await;                                              // at once
///
/// let env = StreamEnvironment::new("numbers").clock(clock.clone());
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let mut events = env.events(100);
/// env.start()?.await?;
/// let started = events.next().await.expect("an event");
/// assert_eq!(started.unix_ms, 3_601_000, "every time stamp of a job is its clock's");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    now: Duration,
    unix_ms_at_origin: u64,
    next_key: u64,
    /// Sleeps that were polled and have not ended, by deadline.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    /// Those who wait for a number of sleepers.
    watchers: BTreeMap<u64, Waker>,
}

impl ManualClock {
    /// A clock at its origin, whose wall clock is 2023-11-14 22:13:20 UTC.
    pub fn new() -> Self {
        Self::starting_at(UNIX_MS_AT_ORIGIN)
    }

    /// A clock at its origin, whose wall clock is `unix_ms`.
    pub fn starting_at(unix_ms: u64) -> Self {
        let shared = Shared {
            now: Duration::ZERO,
            unix_ms_at_origin: unix_ms,
            next_key: 0,
            sleepers: BTreeMap::new(),
            watchers: BTreeMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Moves the time forward by `by` and wakes all whose delay has passed, earliest first.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut shared = self.lock();
            shared.now += by;
            let now = shared.now;
            let later = shared.sleepers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut shared.sleepers, later)
        };
        // A waker may run other code, which may use this clock.
        due.into_values().for_each(Waker::wake);
    }

    /// Moves the time to the earliest deadline and wakes who waits for it. Answers how far it moved; `None`, and it does
    /// not move, if nobody sleeps.
    pub fn advance_to_next(&self) -> Option<Duration> {
        let by = {
            let shared = self.lock();
            let (deadline, _) = shared.sleepers.keys().next()?;
            deadline.saturating_sub(shared.now)
        };
        self.advance(by);
        Some(by)
    }

    /// The earliest deadline of those who sleep.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.lock().sleepers.keys().next().map(|(deadline, _)| *deadline)
    }

    /// How many sleeps wait: those that were polled and whose delay has not passed.
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// Resolves once at least `count` sleeps wait at the same time.
    pub async fn wait_for_sleepers(&self, count: usize) {
        let mut watcher = Watcher { shared: &self.shared, key: None };
        poll_fn(|cx| watcher.poll(count, cx)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.lock().now
    }

    fn unix_ms(&self) -> u64 {
        let shared = self.lock();
        shared.unix_ms_at_origin.saturating_add(u64::try_from(shared.now.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        let deadline = self.lock().now.saturating_add(delay);
        Box::pin(ManualSleep { shared: self.shared.clone(), deadline, key: None })
    }
}

struct ManualSleep {
    shared: Arc<Mutex<Shared>>,
    deadline: Duration,
    key: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let watchers = {
            let mut shared = lock(&this.shared);
            if shared.now >= this.deadline {
                return Poll::Ready(());
            }
            let key = *this.key.get_or_insert_with(|| shared.take_key());
            shared.sleepers.insert((this.deadline, key), cx.waker().clone());
            std::mem::take(&mut shared.watchers)
        };
        watchers.into_values().for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&self.shared).sleepers.remove(&(self.deadline, key));
        }
    }
}

struct Watcher<'a> {
    shared: &'a Mutex<Shared>,
    key: Option<u64>,
}

impl Watcher<'_> {
    fn poll(&mut self, count: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = lock(self.shared);
        if shared.sleepers.len() >= count {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| shared.take_key());
        shared.watchers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(self.shared).watchers.remove(&key);
        }
    }
}

impl Shared {
    fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }
}

/// No code of others runs under the lock, so what a poisoned one guards is sound.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn sleepers_on_other_threads_wake_when_their_time_has_come() {
        let clock = ManualClock::new();
        let (woken, order) = mpsc::channel();
        let threads: Vec<_> = [3, 1, 2]
            .into_iter()
            .map(|seconds| {
                let (clock, woken) = (clock.clone(), woken.clone());
                thread::spawn(move || {
                    block_on(clock.sleep(Duration::from_secs(seconds)));
                    woken.send(seconds).unwrap();
                })
            })
            .collect();
        block_on(clock.wait_for_sleepers(3));
        for seconds in 1..=3 {
            assert_eq!(clock.advance_to_next(), Some(Duration::from_secs(1)));
            assert_eq!(order.recv().unwrap(), seconds);
            assert_eq!(clock.now(), Duration::from_secs(seconds));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(clock.sleepers(), 0);
        assert_eq!(clock.advance_to_next(), None);
    }

    #[test]
    fn delay_counts_from_the_call_even_if_polled_later() {
        let clock = ManualClock::new();
        let sleep = clock.sleep(Duration::from_secs(5));
        clock.advance(Duration::from_secs(5));
        block_on(sleep);
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn dropped_sleep_is_no_sleeper() {
        let clock = ManualClock::new();
        let mut sleep = clock.sleep(Duration::from_secs(5));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(clock.sleepers(), 1);
        drop(sleep);
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn wall_clock_moves_with_the_time() {
        let clock = ManualClock::starting_at(1_000);
        clock.advance(Duration::from_millis(234));
        assert_eq!(clock.unix_ms(), 1_234);
    }
}
