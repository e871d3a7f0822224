//! A snapshot store that fails on request.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_actors::contract::{Chunk, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};

/// The calls of a store, as a [`FaultyStore`] tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`SnapshotStore::open_job`].
    OpenJob,
    /// [`SnapshotStore::reserve_ids`].
    ReserveIds,
    /// [`SnapshotStore::put_chunks`].
    PutChunks,
    /// [`SnapshotStore::finalise`].
    Finalise,
    /// [`SnapshotStore::discard`].
    Discard,
    /// [`SnapshotStore::abandon_above`].
    AbandonAbove,
    /// [`SnapshotStore::read_chunk`].
    ReadChunk,
    /// [`SnapshotStore::reopen`].
    Reopen,
    /// [`SnapshotStore::keep_pause`].
    KeepPause,
}

impl StoreCall {
    fn writes(self) -> bool {
        !matches!(self, Self::OpenJob | Self::ReadChunk | Self::Reopen)
    }
}

/// What happens to a call of a [`FaultyStore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreFault {
    /// Nothing is done, and the call fails.
    Fail,
    /// It is done, and the call fails all the same: to the caller the outcome is unknown.
    FailAfter,
    /// The first half of the chunks is stored, and the call fails. Calls that do not store chunks fail with nothing done.
    Torn,
    /// As [`Fail`](Self::Fail), and all writes fail, even after reopening, until [`FaultyStore::free_space`].
    DiskFull,
    /// The call is made after so much time.
    Slow(Duration),
    /// The call is made once the gate is open.
    Hold(Gate),
}

/// Holds up calls until it is opened. Clones are the same gate.
///
/// ```
/// use std::sync::Arc;
///
/// use millstream::snapshot::MemoryStore;
/// use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
///
/// let (store, gate) = (FaultyStore::new(Arc::new(MemoryStore::new())), Gate::new());
/// store.inject_next(StoreCall::Finalise, StoreFault::Hold(gate.clone()));
/// // A job on the store now waits with its first checkpoint, once `gate.wait_for_arrival()` returns, until:
/// gate.open();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gate {
    shared: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets through who waits and who comes.
    pub fn open(&self) {
        let (state, changed) = &*self.shared;
        lock(state).open = true;
        changed.notify_all();
    }

    /// Blocks until a call waits at the gate.
    pub fn wait_for_arrival(&self) {
        let (state, changed) = &*self.shared;
        drop(changed.wait_while(lock(state), |state| state.waiting == 0).unwrap_or_else(PoisonError::into_inner));
    }

    fn pass(&self) {
        let (state, changed) = &*self.shared;
        let mut state = lock(state);
        state.waiting += 1;
        changed.notify_all();
        let mut state = changed.wait_while(state, |state| !state.open).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }
}

/// Passes calls on to another store, but for those that its script lets fail.
///
/// Like redb, it refuses further writes after a failed one until it is reopened, and it goes on answering reads. Clones
/// are the same store: a job gets one, and the test keeps one.
///
/// ```
/// use std::sync::Arc;
///
/// use millstream::prelude::*;
/// use millstream::testing::{FaultyStore, StoreCall, StoreFault};
///
/// let store = FaultyStore::new(Arc::new(MemoryStore::new()));
/// store.inject_next(StoreCall::OpenJob, StoreFault::Fail);
///
/// let env = StreamEnvironment::new("numbers").snapshot_store(store.clone());
/// env.source("numbers", SequenceSource::new(0..10)).sink("collected", CollectSink::new());
/// assert!(env.start().is_err(), "the store does not open");
/// assert_eq!(store.calls(StoreCall::OpenJob), 1);
/// ```
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn SnapshotStore>,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    faults: BTreeMap<(StoreCall, u64), StoreFault>,
    calls: BTreeMap<StoreCall, u64>,
    disk_full: bool,
    /// After a failed write, until reopened.
    latched: bool,
}

enum Plan {
    Pass,
    PassThenFail,
    Half,
}

impl FaultyStore {
    /// Wraps `inner`; without a script, nothing fails.
    pub fn new(inner: Arc<dyn SnapshotStore>) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// Lets the `nth` call of this kind (counted from 1 in the life of this store) meet `fault`.
    pub fn inject(&self, call: StoreCall, nth: u64, fault: StoreFault) {
        lock(&self.script).faults.insert((call, nth), fault);
    }

    /// Lets the next call of this kind meet `fault`.
    pub fn inject_next(&self, call: StoreCall, fault: StoreFault) {
        // Under one lock: a call between the count and the entry would leave the fault behind it, never met.
        let mut script = lock(&self.script);
        let nth = script.calls.get(&call).copied().unwrap_or(0) + 1;
        script.faults.insert((call, nth), fault);
    }

    /// How many calls of this kind have been made, failed ones included.
    pub fn calls(&self, call: StoreCall) -> u64 {
        lock(&self.script).calls.get(&call).copied().unwrap_or(0)
    }

    /// Ends [`StoreFault::DiskFull`].
    pub fn free_space(&self) {
        lock(&self.script).disk_full = false;
    }

    fn enter(&self, call: StoreCall) -> Result<Plan, SnapshotError> {
        let fault = {
            let mut script = lock(&self.script);
            let count = script.calls.entry(call).or_default();
            *count += 1;
            let key = (call, *count);
            let fault = script.faults.remove(&key);
            if call.writes() && script.disk_full {
                script.latched = true;
                return Err(self.error(io::ErrorKind::StorageFull, "no space left (injected)"));
            }
            if call.writes() && script.latched {
                return Err(self.error(io::ErrorKind::Other, "an earlier write failed; reopen (injected)"));
            }
            script.disk_full |= matches!(fault, Some(StoreFault::DiskFull));
            let fails = !matches!(fault, None | Some(StoreFault::Slow(_) | StoreFault::Hold(_)));
            script.latched |= fails && call.writes();
            fault
        };
        match fault {
            None => Ok(Plan::Pass),
            Some(StoreFault::Slow(delay)) => {
                let gate = Gate::new();
                let (state, changed) = &*gate.shared;
                drop(changed.wait_timeout_while(lock(state), delay, |state| !state.open));
                Ok(Plan::Pass)
            }
            Some(StoreFault::Hold(gate)) => {
                gate.pass();
                Ok(Plan::Pass)
            }
            Some(StoreFault::FailAfter) => Ok(Plan::PassThenFail),
            Some(StoreFault::Torn) => Ok(Plan::Half),
            Some(StoreFault::Fail) => Err(self.failure()),
            Some(StoreFault::DiskFull) => Err(self.error(io::ErrorKind::StorageFull, "no space left (injected)")),
        }
    }

    fn run<T>(&self, call: StoreCall, run: impl FnOnce() -> Result<T, SnapshotError>) -> Result<T, SnapshotError> {
        match self.enter(call)? {
            Plan::Pass => run(),
            Plan::PassThenFail => run().and_then(|_| Err(self.failure())),
            Plan::Half => Err(self.failure()),
        }
    }

    fn failure(&self) -> SnapshotError {
        self.error(io::ErrorKind::Other, "injected failure")
    }

    fn error(&self, kind: io::ErrorKind, text: &'static str) -> SnapshotError {
        SnapshotError::Io {
            store: self.describe(),
            action: "do what was asked",
            source: Box::new(io::Error::new(kind, text)),
        }
    }
}

impl SnapshotStore for FaultyStore {
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        let opening = self.run(StoreCall::OpenJob, || self.inner.open_job(job, incarnation_floor))?;
        lock(&self.script).latched = false;
        Ok(opening)
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.run(StoreCall::ReserveIds, || self.inner.reserve_ids(up_to))
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        match self.enter(StoreCall::PutChunks)? {
            Plan::Pass => self.inner.put_chunks(chunks),
            Plan::PassThenFail => self.inner.put_chunks(chunks).and(Err(self.failure())),
            Plan::Half => self.inner.put_chunks(&chunks[..chunks.len() / 2]).and(Err(self.failure())),
        }
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        self.run(StoreCall::Finalise, || self.inner.finalise(manifest, retain))
    }

    fn stored_bytes(&self) -> Option<u64> {
        self.inner.stored_bytes()
    }

    fn pin(&self, checkpoints: &[CheckpointId]) {
        self.inner.pin(checkpoints);
    }

    fn import(&self, manifest: &Manifest, lost_up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.run(StoreCall::Finalise, || self.inner.import(manifest, lost_up_to))
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        self.run(StoreCall::Discard, || self.inner.discard(checkpoint))
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        self.run(StoreCall::AbandonAbove, || self.inner.abandon_above(checkpoint))
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.run(StoreCall::ReadChunk, || self.inner.read_chunk(reference))
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        let retained = self.run(StoreCall::Reopen, || self.inner.reopen())?;
        lock(&self.script).latched = false;
        Ok(retained)
    }

    fn keep_pause(&self, since_unix_ms: Option<u64>) -> Result<(), SnapshotError> {
        self.run(StoreCall::KeepPause, || self.inner.keep_pause(since_unix_ms))
    }

    fn paused_since(&self) -> Option<u64> {
        self.inner.paused_since()
    }

    fn close(&self) {
        self.inner.close();
    }

    fn describe(&self) -> String {
        format!("{} (with injected faults)", self.inner.describe())
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn mistake(&self) -> Option<String> {
        self.inner.mistake()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use millstream_actors::contract::StateScope;
    use millstream_actors::contract::store_suite::check_store;

    use super::*;
    use crate::snapshot::MemoryStore;
    use crate::snapshot::test_kit::{self, JOB, manifest};

    fn chunk(number: u32) -> Chunk {
        test_kit::chunk(1, StateScope::Subtask(number), 10)
    }

    fn opened() -> FaultyStore {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        store.open_job(JOB, Incarnation(1)).unwrap();
        store
    }

    #[test]
    fn without_a_script_fulfils_the_contract() {
        check_store(|| Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))));
    }

    #[test]
    fn failed_write_latches_until_reopened_and_reads_go_on() {
        let store = opened();
        store.put_chunks(&[chunk(0)]).unwrap();
        store.inject(StoreCall::PutChunks, 2, StoreFault::Fail);
        assert!(store.put_chunks(&[chunk(1)]).unwrap_err().is_retryable());
        assert!(store.reserve_ids(CheckpointId(1)).is_err());
        assert_eq!(store.read_chunk(&chunk(0).reference).unwrap(), chunk(0).bytes);
        store.reopen().unwrap();
        store.reserve_ids(CheckpointId(1)).unwrap();
        assert_eq!(store.calls(StoreCall::PutChunks), 2);
    }

    #[test]
    fn finalisation_that_fails_afterwards_is_found_complete_when_reopened() {
        for (fault, found) in [(StoreFault::FailAfter, 1), (StoreFault::Fail, 0), (StoreFault::Torn, 0)] {
            let store = opened();
            store.put_chunks(&[chunk(0)]).unwrap();
            store.inject_next(StoreCall::Finalise, fault);
            assert!(store.finalise(&manifest(1, [chunk(0).reference]), 1).is_err());
            assert_eq!(store.reopen().unwrap().len(), found);
        }
    }

    #[test]
    fn torn_put_stores_the_first_half() {
        let store = opened();
        store.inject_next(StoreCall::PutChunks, StoreFault::Torn);
        assert!(store.put_chunks(&[chunk(0), chunk(1)]).is_err());
        assert!(store.read_chunk(&chunk(0).reference).is_ok());
        assert!(matches!(store.read_chunk(&chunk(1).reference), Err(SnapshotError::ChunkMissing { .. })));
    }

    #[test]
    fn full_disk_stays_full_when_reopened_until_space_is_freed() {
        let store = opened();
        store.inject_next(StoreCall::PutChunks, StoreFault::DiskFull);
        assert!(store.put_chunks(&[chunk(0)]).is_err());
        store.reopen().unwrap();
        assert!(store.put_chunks(&[chunk(0)]).is_err());
        store.free_space();
        assert!(store.put_chunks(&[chunk(0)]).is_err(), "not reopened");
        store.reopen().unwrap();
        store.put_chunks(&[chunk(0)]).unwrap();
    }

    #[test]
    fn held_call_is_made_when_the_gate_opens() {
        let store = Arc::new(opened());
        let gate = Gate::new();
        store.inject_next(StoreCall::PutChunks, StoreFault::Hold(gate.clone()));
        store.inject(StoreCall::ReadChunk, 2, StoreFault::Slow(Duration::from_millis(1)));
        let writer = thread::spawn({
            let store = store.clone();
            move || store.put_chunks(&[chunk(0)])
        });
        gate.wait_for_arrival();
        assert!(store.read_chunk(&chunk(0).reference).is_err(), "stored while held");
        gate.open();
        writer.join().unwrap().unwrap();
        assert!(store.read_chunk(&chunk(0).reference).is_ok());
    }
}
