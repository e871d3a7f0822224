//! The thread that ends the delays of every `SystemClock` of the process.
//!
//! tokio's timers go by the millisecond. Here a delay ends when its time has come, give or take what the system needs to
//! wake a thread, and delays that end at the same time end together.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use millstream_actors::contract::Sleep;

use super::system_clock::instant;

/// A delay up to `deadline`. Should the system refuse the thread, it waits on the timer of the runtime that polls it.
pub(super) fn until(deadline: Instant) -> Sleep {
    static TIMER: Timer = Timer::new();
    static STARTED: OnceLock<io::Result<()>> = OnceLock::new();
    match STARTED.get_or_init(|| TIMER.start()) {
        Ok(()) => Box::pin(Delay { timer: &TIMER, deadline, key: None }),
        Err(_) => Box::pin(async move { tokio::time::sleep_until(deadline.into()).await }),
    }
}

struct Timer {
    delays: Mutex<Delays>,
    /// The earliest deadline has become an earlier one.
    is_earlier: Condvar,
}

struct Delays {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next_key: u64,
}

impl Timer {
    const fn new() -> Self {
        let delays = Delays { waiting: BTreeMap::new(), next_key: 0 };
        Self { delays: Mutex::new(delays), is_earlier: Condvar::new() }
    }

    fn start(&'static self) -> io::Result<()> {
        let started = thread::Builder::new().name("timer".to_owned()).spawn(|| self.run());
        if let Err(error) = &started {
            log::warn!(target: "millstream::supervisor", "no thread for precise delays: {error}");
        }
        started.map(drop)
    }

    fn run(&self) {
        be_punctual();
        let mut due = Vec::new();
        let mut delays = self.lock();
        loop {
            let now = instant();
            while let Some(first) = delays.waiting.first_entry().filter(|first| first.key().0 <= now) {
                due.push(first.remove());
            }
            if !due.is_empty() {
                // A waker may run other code, which may sleep.
                drop(delays);
                due.drain(..).for_each(Waker::wake);
                delays = self.lock();
                continue;
            }
            let earliest = delays.waiting.first_key_value().map(|((deadline, _), _)| *deadline);
            delays = match earliest {
                Some(deadline) => {
                    let wait = self.is_earlier.wait_timeout(delays, deadline.saturating_duration_since(now));
                    wait.map_or_else(|poisoned| poisoned.into_inner().0, |(delays, _)| delays)
                }
                None => self.is_earlier.wait(delays).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// No code of others runs under the lock, so what a poisoned one guards is sound.
    fn lock(&self) -> MutexGuard<'_, Delays> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks Linux not to put the thread's wake-ups off by the usual 50 us.
#[cfg(target_os = "linux")]
fn be_punctual() {
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        log::debug!(target: "millstream::supervisor", "delays are as precise as the system likes: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn be_punctual() {}

struct Delay {
    timer: &'static Timer,
    deadline: Instant,
    key: Option<u64>,
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if instant() >= self.deadline {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let mut delays = this.timer.lock();
        let key = *this.key.get_or_insert_with(|| delays.take_key());
        let earlier_waker = delays.waiting.insert((this.deadline, key), cx.waker().clone());
        let is_first = delays.waiting.first_key_value().is_some_and(|((_, first), _)| *first == key);
        drop(delays);
        // It may be the last of its task, whose end may end other delays.
        drop(earlier_waker);
        if is_first {
            this.timer.is_earlier.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.timer.lock().waiting.remove(&(self.deadline, key));
            drop(waker);
        }
    }
}

impl Delays {
    fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait_for(mut sleep: Sleep) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        while sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            thread::park();
        }
    }

    #[test]
    fn all_delays_end_and_none_early() {
        let begun = instant();
        let ended = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = [30, 10, 20]
            .into_iter()
            .map(|ms| {
                let (deadline, ended) = (begun + Duration::from_millis(ms), ended.clone());
                thread::spawn(move || {
                    wait_for(until(deadline));
                    assert!(instant() >= deadline);
                    ended.lock().unwrap().push(ms);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut ended = ended.lock().unwrap().clone();
        ended.sort_unstable();
        assert_eq!(ended, [10, 20, 30]);
    }

    #[test]
    fn delay_that_is_dropped_leaves_nothing_behind() {
        static TIMER: Timer = Timer::new();
        let mut delay = Delay { timer: &TIMER, deadline: instant() + Duration::from_secs(3600), key: None };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut delay).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut delay).poll(&mut cx).is_pending());
        assert_eq!(TIMER.lock().waiting.len(), 1);
        drop(delay);
        assert!(TIMER.lock().waiting.is_empty());
    }

    #[test]
    fn delay_in_the_past_is_over() {
        wait_for(until(instant()));
    }
}
