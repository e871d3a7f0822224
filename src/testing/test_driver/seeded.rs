//! All that a driver leaves to chance, from one seed.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_actors::contract::RunBudget;

/// One slice of work in so many is over at the next look at the clock.
const LOOKS_PER_SLICE: usize = 3;

thread_local! {
    /// Those of the driver whose step this thread takes.
    static CURRENT: RefCell<Option<Seeded>> = const { RefCell::new(None) };
}

/// Numbers from a seed: splitmix64. Clones draw from one row.
#[derive(Clone, Debug)]
pub(super) struct Seeded(Arc<Mutex<Drawn>>);

#[derive(Debug)]
struct Drawn {
    state: u64,
    /// What slices of work are measured by.
    worked: Duration,
}

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Drawn { state: seed, worked: Duration::ZERO })))
    }

    /// One of the numbers below `bound`, which is at least 1.
    pub(super) fn below(&self, bound: usize) -> usize {
        self.draw(|drawn| drawn.below(bound))
    }

    /// Calls `step`, in which [`slice_clock`] goes by these numbers.
    pub(super) fn during<R>(&self, step: impl FnOnce() -> R) -> R {
        let around = CURRENT.replace(Some(self.clone()));
        let done = step();
        CURRENT.set(around);
        done
    }

    fn draw<R>(&self, draw: impl FnOnce(&mut Drawn) -> R) -> R {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drawn {
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// The clock by which tasks see that they have worked for long enough: at some looks so much has passed, at others nothing. So
/// a task may let the others run after any part of its work.
pub(super) fn slice_clock() -> Duration {
    CURRENT.with_borrow(|current| {
        let Some(seeded) = current else { return Duration::ZERO };
        seeded.draw(|drawn| {
            if drawn.below(LOOKS_PER_SLICE) == 0 {
                drawn.worked += RunBudget::SLICE;
            }
            drawn.worked
        })
    })
}
