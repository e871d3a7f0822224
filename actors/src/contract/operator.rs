//! The contract of an operator: batches in, batches out, suspendable.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{BATCH_RECORDS_MAX, Batch, RestoredSection, SnapshotWriter, StateError};
use crate::protocol::{CheckpointId, TaskError, Timestamp};

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The step is finished, its input is empty.
    Done,
    /// The step wants to be called again with the same input: its output is full, or its time is up.
    Suspended,
}

/// The time a task may spend before it must let others run, measured sparsely: an operator asks for a slice of records,
/// works on it, and asks again. Fast operators get whole batches, slow ones 64 records and fewer.
#[derive(Debug)]
pub struct RunBudget {
    now: fn() -> Duration,
    deadline: Duration,
    /// What was left at the last look at the clock.
    left: Duration,
}

impl RunBudget {
    /// How long a task runs before it yields.
    pub const SLICE: Duration = Duration::from_micros(200);

    /// A budget of [`SLICE`](Self::SLICE) from now, by the monotonic clock `now`.
    pub fn start(now: fn() -> Duration) -> Self {
        Self { now, deadline: now() + Self::SLICE, left: Self::SLICE }
    }

    /// A full budget again, from now.
    pub fn restart(&mut self) {
        *self = Self::start(self.now);
    }

    /// Looks at the clock and gives the time that is left; zero from the first time the deadline has passed.
    pub fn left(&mut self) -> Duration {
        if !self.left.is_zero() {
            self.left = self.deadline.saturating_sub((self.now)());
        }
        self.left
    }

    /// The time that was left at the last look at the clock: free, where a look costs 25 ns.
    pub fn last_left(&self) -> Duration {
        self.left
    }

    /// Looks at the clock; true from the first time the deadline has passed.
    pub fn check(&mut self) -> bool {
        self.left().is_zero()
    }
}

/// What an operator emits into: batches that the engine hands on between the operator's steps.
#[derive(Debug)]
pub struct Output<T> {
    open: Batch<T>,
    closed: VecDeque<Batch<T>>,
    spare: Vec<Vec<T>>,
}

impl<T> Output<T> {
    const SPARES_MAX: usize = 4;

    /// An empty output.
    pub fn new() -> Self {
        Self { open: Batch::new(), closed: VecDeque::new(), spare: Vec::new() }
    }

    /// Emits one record. Never fails and never blocks: an operator looks at [`is_full`](Self::is_full) between records.
    #[inline]
    pub fn emit(&mut self, record: T) {
        self.open.records.push(record);
        if self.open.records.len() >= BATCH_RECORDS_MAX {
            self.close();
        }
    }

    /// Counts payload bytes for what was emitted last, so that batches of large records close early.
    #[inline]
    pub fn add_bytes(&mut self, bytes: usize) {
        self.open.bytes += bytes;
        if bytes > 0 && self.open.is_full() {
            self.close();
        }
    }

    /// Whether a batch is closed and waits to be handed on. An operator then returns [`Progress::Suspended`] as soon as
    /// it can.
    #[inline]
    pub fn is_full(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The open batch, for operators that work on whole batches. It must not grow above
    /// [`BATCH_RECORDS_MAX`] records.
    #[inline]
    pub fn open_batch(&mut self) -> &mut Batch<T> {
        &mut self.open
    }

    /// Number of records emitted and not handed on.
    pub fn len(&self) -> usize {
        self.open.len() + self.closed.iter().map(Batch::len).sum::<usize>()
    }

    /// Whether nothing waits to be handed on.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty()
    }

    /// Closes the open batch if it has records.
    pub fn close(&mut self) {
        if !self.open.is_empty() {
            let fresh = Batch { records: self.spare.pop().unwrap_or_default(), bytes: 0 };
            self.closed.push_back(std::mem::replace(&mut self.open, fresh));
        }
    }

    /// Hands the batches on, oldest first: `push` empties what it is given or says that it is suspended, in which case
    /// what is left comes first the next time.
    ///
    /// # Errors
    /// What `push` returns.
    pub fn drain(
        &mut self,
        mut push: impl FnMut(&mut Batch<T>) -> Result<Progress, TaskError>,
    ) -> Result<Progress, TaskError> {
        while let Some(batch) = self.closed.front_mut() {
            if push(batch)? == Progress::Suspended {
                return Ok(Progress::Suspended);
            }
            let mut done = self.closed.pop_front().expect("it was at the front");
            done.clear();
            if self.spare.len() < Self::SPARES_MAX {
                self.spare.push(done.records);
            }
        }
        if self.open.is_empty() {
            return Ok(Progress::Done);
        }
        if push(&mut self.open)? == Progress::Suspended {
            // What is left must not be mixed with what comes next: it is already on its way.
            self.close();
            return Ok(Progress::Suspended);
        }
        self.open.clear();
        Ok(Progress::Done)
    }
}

impl<T> Default for Output<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Loads key groups away from the task's thread.
pub trait GroupLoader: Send {
    /// Puts the sections of one key group together: of each state the whole section and then its changes, in the order
    /// of their checkpoints.
    ///
    /// # Errors
    /// Fails the task; finally, unless [`StateError::is_retryable`].
    fn load(&mut self, group: u32, sections: &[RestoredSection]) -> Result<LoadedGroup, StateError>;
}

/// A key group as its operator keeps it.
pub struct LoadedGroup {
    /// The key group.
    pub group: u32,
    /// Number of keys.
    pub entries: u64,
    /// What the operator made of it.
    pub state: Box<dyn Any + Send>,
}

impl fmt::Debug for LoadedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedGroup({}: {} entries)", self.group, self.entries)
    }
}

/// One operator of a chain. The engine calls it from one thread at a time, never concurrently, and never again after
/// it panicked or failed.
///
/// Order promise: records, watermarks and snapshots reach it in the order of its input; what it emits leaves in the
/// order of emission.
pub trait BatchOperator: 'static {
    /// Its input.
    type In: Send + 'static;
    /// Its output.
    type Out: Send + 'static;

    /// Takes records off the front of `input` and emits. [`Progress::Done`] means that `input` is empty.
    /// [`Progress::Suspended`] leaves the rest in `input`; the same batch is given again once there is room and time.
    /// Looks at `out.is_full()` between records, and at `budget` at least every 64 records or before work that may take
    /// long.
    ///
    /// # Errors
    /// Any error fails the task.
    fn process(
        &mut self,
        input: &mut Batch<Self::In>,
        out: &mut Output<Self::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError>;

    /// Event time has come to `watermark`. Called again with the same one after [`Progress::Suspended`]; afterwards the
    /// engine passes the watermark on.
    ///
    /// # Errors
    /// Any error fails the task.
    fn advance_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Output<Self::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let _ = (watermark, out, budget);
        Ok(Progress::Done)
    }

    /// The barrier. What is written belongs to the state as of now. [`Progress::Done`] means that all of it is;
    /// [`Progress::Suspended`], that [`continue_snapshot`](Self::continue_snapshot) writes the rest: the operator then
    /// captures what changes before it is written.
    ///
    /// # Errors
    /// Declines the checkpoint; the task goes on.
    fn snapshot(&mut self, writer: &mut SnapshotWriter) -> Result<Progress, StateError> {
        let _ = writer;
        Ok(Progress::Done)
    }

    /// Writes more of the state as of the last barrier, until `budget` is exhausted or `writer` has no room. Called
    /// between batches, and also when there are none, until it is done or the checkpoint is given up.
    ///
    /// # Errors
    /// Declines the checkpoint; the task goes on.
    fn continue_snapshot(
        &mut self,
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        let _ = (writer, budget);
        Ok(Progress::Done)
    }

    /// The snapshot that was begun last is not wanted any more: the checkpoint was aborted, or declined by another
    /// operator.
    fn abandon_snapshot(&mut self) {}

    /// What loads this operator's keyed state on other threads; `None` if it has none. Called for each thread.
    fn group_loader(&self) -> Option<Box<dyn GroupLoader>> {
        None
    }

    /// Takes a key group that the loader has loaded. Called before [`restore`](Self::restore), which gets what is not
    /// keyed.
    ///
    /// # Errors
    /// Fails the task.
    fn restore_group(&mut self, group: LoadedGroup) -> Result<(), StateError> {
        let _ = group;
        Ok(())
    }

    /// All state is loaded, as of `checkpoint`.
    fn restored(&mut self, checkpoint: CheckpointId) {
        let _ = checkpoint;
    }

    /// Loads state, before the first record, into a fresh instance. Not called when there is nothing to restore.
    ///
    /// # Errors
    /// Fails the task; finally, unless [`StateError::is_retryable`].
    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let _ = sections;
        Ok(())
    }
}
