//! What the copier is asked for, and how far it is.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_actors::contract::Manifest;
use millstream_actors::protocol::CheckpointId;
use tokio::sync::Notify;

/// A checkpoint to be copied.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) manifest: Arc<Manifest>,
    pub(super) reserved_up_to: CheckpointId,
    pub(super) retain: usize,
}

/// What the copier does next.
#[derive(Debug)]
pub(super) enum Work {
    Copy(Pending),
    /// Remove copies of checkpoints above this one.
    Abandon(CheckpointId),
    Stop,
}

#[derive(Debug, Default)]
struct State {
    pending: Option<Pending>,
    copying: Option<CheckpointId>,
    abandon: Option<CheckpointId>,
    abandoned: Option<Result<(), String>>,
    completed: CheckpointId,
    copied: CheckpointId,
    outage: Option<String>,
    fenced: bool,
    stop: bool,
    ended: bool,
}

impl State {
    fn needed(&self) -> Vec<CheckpointId> {
        let pending = self.pending.as_ref().map(|pending| pending.manifest.checkpoint);
        self.copying.into_iter().chain(pending).collect()
    }
}

/// Between a store and its copier. One per life.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    state: Mutex<State>,
    /// For the store's side.
    changed: Condvar,
    /// For the copier's side: one waits.
    wake: Notify,
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        self.wake.notify_one();
        value
    }

    /// A checkpoint completed; it takes the place of one that waits. Answers which must stay readable.
    pub(super) fn completed(&self, pending: Pending) -> Vec<CheckpointId> {
        self.change(|state| {
            state.completed = pending.manifest.checkpoint;
            if state.fenced || state.ended {
                return Vec::new();
            }
            state.pending = Some(pending);
            state.needed()
        })
    }

    /// Which checkpoints must stay readable.
    pub(super) fn needed(&self) -> Vec<CheckpointId> {
        self.lock().needed()
    }

    /// Returns once no copies of checkpoints above this one are left. An error says why some may be.
    pub(super) fn abandon(&self, above: CheckpointId, limit: Duration) -> Result<(), String> {
        self.change(|state| {
            state.pending.take_if(|pending| pending.manifest.checkpoint > above);
            state.completed = state.completed.min(above);
            state.copied = state.copied.min(above);
            (state.abandon, state.abandoned) = (Some(above), None);
        });
        let waits = |state: &mut State| state.abandoned.is_none() && !state.fenced && !state.ended;
        let waited = self.changed.wait_timeout_while(self.lock(), limit, waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.abandon = None;
        if state.fenced || state.ended {
            return Ok(());
        }
        state.abandoned.take().unwrap_or_else(|| Err(format!("not done within {limit:?}")))
    }

    /// Waits until all that completed is copied, or can never be.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let waits = |state: &mut State| state.copied < state.completed && !state.fenced && !state.ended;
        let waited = self.changed.wait_timeout_while(self.lock(), limit, waits);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.copied >= state.completed
    }

    pub(super) fn stop(&self) {
        self.change(|state| state.stop = true);
    }

    /// Waits for something to do. The copier's side.
    pub(super) async fn next(&self) -> Work {
        loop {
            if let Some(work) = self.take() {
                return work;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Work> {
        let mut state = self.lock();
        if state.stop {
            return Some(Work::Stop);
        }
        if let Some(above) = state.abandon.filter(|_| state.abandoned.is_none()) {
            return Some(Work::Abandon(above));
        }
        let pending = state.pending.take()?;
        state.copying = Some(pending.manifest.checkpoint);
        Some(Work::Copy(pending))
    }

    /// Whether the copier is to leave what it does.
    pub(super) fn is_interrupted(&self) -> bool {
        let state = self.lock();
        state.stop || (state.abandon.is_some() && state.abandoned.is_none())
    }

    /// Waits until it is.
    pub(super) async fn interrupted(&self) {
        while !self.is_interrupted() {
            self.wake.notified().await;
        }
    }

    pub(super) fn copied(&self, checkpoint: CheckpointId) -> Option<String> {
        self.change(|state| {
            state.copying = None;
            state.copied = checkpoint.min(state.completed);
            state.outage.take()
        })
    }

    /// A copy did not work out. It waits again, unless a newer one does. Answers whether this begins an outage.
    pub(super) fn failed(&self, pending: Pending, reason: Option<String>) -> bool {
        self.change(|state| {
            state.copying = None;
            let above = state.abandon.filter(|_| state.abandoned.is_none()).unwrap_or(CheckpointId(u64::MAX));
            if pending.manifest.checkpoint <= above {
                state.pending.get_or_insert(pending);
            }
            let Some(reason) = reason else { return false };
            state.outage.replace(reason).is_none()
        })
    }

    /// A copy can never work out.
    pub(super) fn given_up(&self) {
        self.change(|state| state.copying = None);
    }

    pub(super) fn abandoned(&self, outcome: Result<(), String>) {
        self.change(|state| state.abandoned = Some(outcome));
    }

    pub(super) fn fenced(&self) {
        self.change(|state| {
            state.fenced = true;
            state.pending = None;
            state.copying = None;
        });
    }

    pub(super) fn ended(&self) {
        self.change(|state| state.ended = true);
    }
}

/// How far the copies of a store are. A handle: clones see the same.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CopyProgress {
    exchange: Arc<Mutex<Arc<Exchange>>>,
}

impl CopyProgress {
    pub(super) fn exchange(&self) -> Arc<Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, exchange: Arc<Exchange>) {
        *self.exchange.lock().unwrap_or_else(PoisonError::into_inner) = exchange;
    }

    /// The newest checkpoint that this life of the job has copied completely; 0 before the first.
    pub fn copied_up_to(&self) -> CheckpointId {
        self.exchange().lock().copied
    }

    /// The newest checkpoint that this life of the job has completed; 0 before the first.
    pub fn completed_up_to(&self) -> CheckpointId {
        self.exchange().lock().completed
    }

    /// Why copying does not work now; `None` if it does. It is tried again.
    pub fn outage(&self) -> Option<String> {
        self.exchange().lock().outage.clone()
    }

    /// Whether copying has ended because a later life of the job copies to the same place.
    pub fn is_fenced(&self) -> bool {
        self.exchange().lock().fenced
    }
}

impl fmt::Debug for CopyProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyProgress({} of {})", self.copied_up_to(), self.completed_up_to())
    }
}
