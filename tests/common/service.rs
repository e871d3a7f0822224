//! Something outside of a job that is asked.

use std::sync::{Arc, Mutex};
use std::task::Waker;

/// Answers questions when the test lets it. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Service(Arc<Mutex<Desk>>);

#[derive(Default)]
struct Desk {
    /// How many more are answered; all if nothing is said.
    allowed: Option<u64>,
    answered: u64,
    asks: Vec<Waker>,
}

impl Service {
    /// One that answers so many, until more are allowed.
    pub(crate) fn allowing(answers: u64) -> Self {
        let service = Self::default();
        service.0.lock().expect("nobody panics with it").allowed = Some(answers);
        service
    }

    pub(crate) fn allow(&self, answers: Option<u64>) {
        let mut desk = self.0.lock().expect("nobody panics with it");
        desk.allowed = answers;
        std::mem::take(&mut desk.asks).into_iter().for_each(Waker::wake);
    }

    pub(crate) fn answered(&self) -> u64 {
        self.0.lock().expect("nobody panics with it").answered
    }

    /// Whether a question is answered now; whoever asked is woken when that changes.
    pub(crate) fn answers(&self, waker: &Waker) -> bool {
        let mut desk = self.0.lock().expect("nobody panics with it");
        let Desk { allowed, answered, asks } = &mut *desk;
        match allowed {
            Some(0) => {
                asks.push(waker.clone());
                return false;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        *answered += 1;
        true
    }
}
