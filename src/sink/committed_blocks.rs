//! What the collecting sinks of this process have committed: a start finds out here about the sink of an earlier start, which
//! it has taken the place of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::unique::unique;

/// One opening of one subtask: incarnation, region, attempt, subtask.
pub(super) type WriterId = (u64, u32, u32, u32);

/// Writers that are remembered, in all. A writer that has committed is one entry, also after its job has ended.
const WRITERS_MAX: usize = 1 << 16;

static PROCESS: LazyLock<String> = LazyLock::new(unique);
static SINKS: AtomicU64 = AtomicU64::new(0);
/// Up to which checkpoint the blocks of each writer are committed, by the sink's number.
static COMMITTED: Mutex<BTreeMap<(u64, WriterId), u64>> = Mutex::new(BTreeMap::new());

fn committed() -> MutexGuard<'static, BTreeMap<(u64, WriterId), u64>> {
    COMMITTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink among all of all processes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct SinkName {
    process: String,
    number: u64,
}

impl SinkName {
    /// Another one at each call.
    pub(super) fn new() -> Self {
        Self { process: PROCESS.clone(), number: SINKS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether it is a sink of this process.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.process == *PROCESS
    }

    /// Whether this sink of this process has committed what `writer` prepared for `checkpoint`.
    pub(super) fn has_committed(&self, writer: WriterId, checkpoint: u64) -> bool {
        committed().get(&(self.number, writer)).is_some_and(|up_to| *up_to >= checkpoint)
    }

    /// Notes that it has.
    pub(super) fn commits(&self, writer: WriterId, checkpoint: u64) {
        let mut committed = committed();
        let up_to = committed.entry((self.number, writer)).or_default();
        *up_to = checkpoint.max(*up_to);
        if committed.len() > WRITERS_MAX {
            committed.pop_first();
        }
    }
}
