//! Why a driver cannot go on.

use crate::{CheckpointError, JobError, StartError};

/// Why a [`TestDriver`](super::TestDriver) does not do what it is asked.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::testing::{TestDriver, TestDriverError};
///
/// let build = || {
///     let env = StreamEnvironment::new("halves");
///     env.source("numbers", VecSource::new(vec![1_u64])).map(|n| 100 / n).sink("halves", CollectSink::new());
///     env
/// };
/// let mut driver = TestDriver::new(1, build)?;
/// let unknown = driver.source::<u64>("figures").unwrap_err();
/// assert_eq!(unknown.to_string(), "the job has no source 'figures'; it has 'numbers'");
///
/// driver.source::<u64>("numbers")?.feed(0);
/// let failed = driver.run_until_idle().unwrap_err();
/// assert!(matches!(failed, TestDriverError::Failed(_)));
/// assert!(failed.to_string().contains("attempt to divide by zero"), "{failed}");
/// # Ok::<(), TestDriverError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestDriverError {
    /// The job does not start, and would not without the driver either.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The job has no source of this id.
    #[error("the job has no source '{id}'; it has {}", list(known))]
    #[non_exhaustive]
    UnknownSource {
        /// The id.
        id: String,
        /// Those of its sources, ascending.
        known: Vec<String>,
    },
    /// The job has no sink of this id.
    #[error("the job has no sink '{id}'; it has {}", list(known))]
    #[non_exhaustive]
    UnknownSink {
        /// The id.
        id: String,
        /// Those of its sinks, ascending.
        known: Vec<String>,
    },
    /// The source has records of another type.
    #[error("source '{id}' has records of type {actual}, not {asked}")]
    #[non_exhaustive]
    SourceType {
        /// Its id.
        id: String,
        /// The type that it has, as Rust names it.
        actual: &'static str,
        /// The type that was asked for; after [`restart_as`](super::TestDriver::restart_as) the one that the job had before.
        asked: &'static str,
    },
    /// The sink takes records of another type.
    #[error("sink '{id}' takes records of type {actual}, not {asked}")]
    #[non_exhaustive]
    SinkType {
        /// Its id.
        id: String,
        /// The type that it takes, as Rust names it.
        actual: &'static str,
        /// The type that was asked for; after [`restart_as`](super::TestDriver::restart_as) the one that the job had before.
        asked: &'static str,
    },
    /// The job has failed: a function has panicked, a state cannot be stored, and so on. The driver restarts nothing by
    /// itself; [`crash`](super::TestDriver::crash) goes on from the newest checkpoint.
    #[error("the job has failed: {0}")]
    Failed(#[source] JobError),
    /// The job takes no checkpoint: it has ended, or the checkpoint has failed.
    #[error("no checkpoint: {0}")]
    Checkpoint(#[source] CheckpointError),
    /// There is nothing more to do, and still what was asked for has not come: it waits for time, or for another thread.
    #[error("{waits_for} does not come: the job has nothing to do before time advances or another thread answers")]
    #[non_exhaustive]
    Stalled {
        /// What was asked for.
        waits_for: &'static str,
    },
    /// The job has still something to do after this many steps in one call: functions that ask to be called again without
    /// time passing, say.
    #[error("the job has not come to rest after {steps} steps")]
    #[non_exhaustive]
    Busy {
        /// How many.
        steps: u64,
    },
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
    quoted.join(", ")
}
