//! A clock that is moved by hand.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::contract::{Clock, Sleep};

/// A clock that stands still unless it is moved.
#[derive(Default)]
pub(super) struct HandClock(Mutex<(Duration, Vec<Sleeper>)>);

type Sleeper = (Duration, oneshot::Sender<()>);

impl HandClock {
    pub(super) fn advance(&self, by: Duration) {
        let mut clock = self.0.lock().unwrap();
        clock.0 += by;
        let now = clock.0;
        let (due, later): (Vec<Sleeper>, _) = std::mem::take(&mut clock.1).into_iter().partition(|(at, _)| *at <= now);
        clock.1 = later;
        drop(clock);
        for (_, wake) in due {
            // Whoever slept may be gone.
            let _ = wake.send(());
        }
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn unix_ms(&self) -> u64 {
        self.now().as_millis() as u64
    }

    fn sleep(&self, delay: Duration) -> Sleep {
        let (wake, woken) = oneshot::channel();
        let mut clock = self.0.lock().unwrap();
        let at = clock.0 + delay;
        clock.1.push((at, wake));
        Box::pin(async move { drop(woken.await) })
    }
}
