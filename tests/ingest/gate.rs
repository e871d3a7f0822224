//! Storage in memory whose syncs wait while a test holds them.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

/// Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    is_held: bool,
    waiting: usize,
    syncs: usize,
}

impl Gate {
    /// Syncs wait from now on.
    pub(crate) fn hold(&self) {
        self.0.0.lock().unwrap().is_held = true;
    }

    /// Returns once a sync waits, or whoever [passes](Self::pass).
    pub(crate) fn wait_for_one(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    pub(crate) fn release(&self) {
        self.0.0.lock().unwrap().is_held = false;
        self.0.1.notify_all();
    }

    /// How many have been made.
    pub(crate) fn syncs(&self) -> usize {
        self.0.0.lock().unwrap().syncs
    }

    fn sync(&self) {
        self.0.0.lock().unwrap().syncs += 1;
        self.pass();
    }

    /// Waits while it is held.
    pub(crate) fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        self.0.1.notify_all();
        state = self.0.1.wait_while(state, |state| state.is_held).unwrap();
        state.waiting -= 1;
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gated(InMemoryBackend, Gate);

impl Gated {
    pub(crate) fn new(gate: &Gate) -> Self {
        Self(InMemoryBackend::new(), gate.clone())
    }
}

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.sync();
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
