//! What functions may know of the subtask that runs them.

use std::fmt;
use std::sync::Arc;

use millstream_actors::contract::{Clock, OperatorCounters};

use crate::state::Share;
use crate::time::SystemClock;

/// A subtask, as its function sees it.
#[derive(Clone)]
pub(crate) struct TaskView {
    /// Which one of how many.
    pub(crate) share: Share,
    /// The job's clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// What its operator counts in the subtask.
    pub(crate) counters: Arc<OperatorCounters>,
}

impl Default for TaskView {
    /// The only subtask, by the machine's clock, whose figures nobody reads.
    fn default() -> Self {
        let share = Share { subtask: 0, parallelism: 1 };
        Self { share, clock: Arc::new(SystemClock::new()), counters: Arc::default() }
    }
}

impl fmt::Debug for TaskView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskView").field("share", &self.share).finish_non_exhaustive()
    }
}

/// The methods by which a context offers what the [`TaskView`] in its field `$field` knows, and the event time of its record, which
/// is in `$time` or is [`NO_TIME`](millstream_actors::protocol::NO_TIME).
macro_rules! context_methods {
    ($field:ident, $time:ident) => {
        /// The record's event time; `None` if it has none, and at the end of input.
        #[inline]
        pub fn timestamp(&self) -> Option<millstream_actors::protocol::Timestamp> {
            Some(self.$time).filter(|time| *time != millstream_actors::protocol::NO_TIME)
        }

        /// The index of this subtask, below [`parallelism`](Self::parallelism). Results that depend on it change when the
        /// parallelism does.
        pub fn subtask(&self) -> u32 {
            self.$field.share.subtask
        }

        /// The number of subtasks.
        pub fn parallelism(&self) -> u32 {
            self.$field.share.parallelism
        }

        /// The job's clock. Results that depend on it may differ when records are worked on again after a restart.
        pub fn clock(&self) -> &dyn millstream_actors::contract::Clock {
            &*self.$field.clock
        }
    };
}
pub(crate) use context_methods;
