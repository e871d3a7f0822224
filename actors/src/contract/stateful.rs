//! The contract of an operator's state: how it is written at a barrier, and read back.

use std::any::Any;
use std::fmt;

use super::{Asked, Progress, RestoredSection, RunBudget, SectionWriter, StoredStates};
use crate::protocol::{CheckpointId, StateError};

/// State of an operator, as snapshots see it. What is written is read by another instance, of another attempt or
/// process.
pub trait Stateful {
    /// The barrier. What is written belongs to the state as of now. [`Progress::Done`] means that all of it is;
    /// [`Progress::Suspended`], that [`continue_snapshot`](Self::continue_snapshot) writes the rest: the operator then
    /// captures what changes before it is written.
    ///
    /// # Errors
    /// [`StateError::Encode`] for a value that cannot be stored, [`StateError::Other`] for what an operator of one's own has to say.
    /// The checkpoint is declined, and the task goes on.
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError>;

    /// Writes more of the state as of the last barrier, until `budget` is exhausted or `writer` has no room. Called
    /// between batches, and also when there are none, until it is done or the checkpoint is given up.
    ///
    /// # Errors
    /// Those of [`snapshot`](Self::snapshot); [`StateError::CaptureFull`] if too much of what has changed waits to be stored, and
    /// [`StateError::WorkingFile`] or [`StateError::Unreadable`] for rows that are not in memory. The checkpoint is declined, and the
    /// task goes on; one whose file has failed fails with its next record.
    fn continue_snapshot(
        &mut self,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        let _ = (writer, budget);
        Ok(Progress::Done)
    }

    /// The snapshot that was begun last, and is not all written, is not wanted any more: the checkpoint was aborted, or
    /// declined by another operator.
    fn abandon_snapshot(&mut self) {}

    /// What loads keyed state on other threads; `None` if there is none. Called for each thread.
    fn group_loader(&self) -> Option<Box<dyn GroupLoader>> {
        None
    }

    /// Takes a key group that the loader has loaded. Called before [`restore`](Self::restore), which gets what is not
    /// keyed.
    ///
    /// # Errors
    /// As [`restore`](Self::restore). Those of loading are the loader's.
    fn restore_group(&mut self, group: LoadedGroup) -> Result<(), StateError> {
        let _ = group;
        Ok(())
    }

    /// Loads state, before the first record, into a fresh instance. Not called when there is nothing to restore.
    ///
    /// # Errors
    /// [`StateError::Decode`] for bytes that the types of today do not read, [`StateError::Mismatch`] for state that was declared
    /// otherwise. The task fails, and with it the job, unless the error [is retryable](StateError::is_retryable).
    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError>;

    /// All state is loaded, as of `checkpoint`.
    ///
    /// # Errors
    /// As [`restore`](Self::restore): what was loaded does not fit together.
    fn restored(&mut self, checkpoint: CheckpointId) -> Result<(), StateError> {
        let _ = checkpoint;
        Ok(())
    }

    /// Answers a query of its state, which it alone knows how to read, until it is answered or `budget` is exhausted. The
    /// answer is put into the query. A query is no use of the state, and no change. It may come in the middle of a step that
    /// is suspended, and between two calls for one query anything else may be called.
    fn query(&mut self, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked {
        let _ = (query, budget);
        Asked::NotForQueries
    }

    /// What answers queries from the sections of a checkpoint, on another thread.
    fn stored_states(&self) -> Option<Box<dyn StoredStates>> {
        None
    }
}

/// Loads key groups away from the task's thread.
pub trait GroupLoader: Send {
    /// Puts the sections of one key group together: of each state the whole section and then its changes, in the order
    /// of their checkpoints.
    ///
    /// # Errors
    /// [`StateError::Decode`] and [`StateError::Mismatch`] as in [`Stateful::restore`]; [`StateError::WorkingFile`] and
    /// [`StateError::Encode`] where rows go to a file while they are loaded.
    fn load(&mut self, group: u32, sections: &[RestoredSection]) -> Result<LoadedGroup, StateError>;

    /// Whether key groups of other subtasks are to be loaded too, since state of this subtask may be stored under them.
    /// Asked before each of them, after some of its own.
    fn needs_other_groups(&self) -> bool {
        false
    }
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
