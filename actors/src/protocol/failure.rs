//! Failures, as data.

use std::backtrace::Backtrace;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::{Fault, SinkError, SnapshotError, SourceError, StateError, SubtaskId};

/// Which actor of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActorName {
    /// A source, operator or sink task.
    Subtask {
        /// Which.
        subtask: SubtaskId,
        /// The task's name.
        task: Arc<str>,
        /// The task's parallelism.
        parallelism: u32,
    },
    /// The checkpoint coordinator.
    Coordinator,
    /// The snapshot writer.
    Writer,
    /// The supervisor of a region.
    RegionSupervisor(super::RegionId),
    /// The root.
    JobSupervisor,
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subtask { subtask, task, parallelism } => {
                write!(f, "task={task} subtask={}/{parallelism}", subtask.index + 1)
            }
            Self::Coordinator => f.write_str("actor=coordinator"),
            Self::Writer => f.write_str("actor=writer"),
            Self::RegionSupervisor(region) => write!(f, "actor=region-supervisor region={region}"),
            Self::JobSupervisor => f.write_str("actor=job-supervisor"),
        }
    }
}

/// What is known of a panic.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PanicReport {
    /// The panic's message.
    pub message: String,
    /// `file:line`, where known.
    pub location: Option<String>,
    /// The thread.
    pub thread: String,
    /// Where it was called from, if `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` asks for that. Resolved to names when it is
    /// displayed first.
    #[serde(serialize_with = "backtrace")]
    pub backtrace: Option<Arc<Backtrace>>,
}

fn backtrace<S: Serializer>(backtrace: &Option<Arc<Backtrace>>, serializer: S) -> Result<S::Ok, S::Error> {
    backtrace.as_ref().map(ToString::to_string).serialize(serializer)
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.message)?;
        if let Some(location) = &self.location {
            write!(f, " ({location})")?;
        }
        Ok(())
    }
}

/// Why a task failed without panicking.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::TaskError;
/// use millstream::sink::{ForEachSink, SinkError};
///
/// let env = StreamEnvironment::new("numbers").restart_strategy(RestartStrategy::none());
/// let sink = ForEachSink::new(|n: u64| if n < 5 { Ok(()) } else { Err(SinkError::encode(format!("{n} is too much"))) });
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", sink);
/// let failure = env.start()?.wait().unwrap_err();
///
/// match failure.task_error() {
///     Some(TaskError::Sink(error)) => assert_eq!(error.reason().to_string(), "5 is too much"),
///     _ => panic!("{failure}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The source.
    #[error("source: {0}")]
    Source(Arc<SourceError>),
    /// The sink.
    #[error("sink: {0}")]
    Sink(Arc<SinkError>),
    /// State could not be written or read.
    #[error("state: {0}")]
    State(Arc<StateError>),
    /// Chunks could not be loaded.
    #[error("restore: {0}")]
    Restore(Arc<SnapshotError>),
    /// One call of a user function emitted more records than the limit allows.
    #[error(
        "operator '{operator}' emitted more than {limit} records in one call; raise Limits::emit_per_call_max, or emit less"
    )]
    EmitLimit {
        /// The operator.
        operator: super::OperatorId,
        /// The limit.
        limit: usize,
    },
    /// A partitioner named a channel that does not exist.
    #[error("a partitioner chose channel {channel} of {channels}")]
    ChannelOutOfRange {
        /// The choice.
        channel: u32,
        /// How many there are.
        channels: u32,
    },
    /// A partitioner did not name one channel for each record.
    #[error("a partitioner named {targets} channels for {records} records")]
    TargetsMissing {
        /// Records it was given.
        records: usize,
        /// Channels it named.
        targets: usize,
    },
    /// A user function returned an error.
    #[error("operator '{operator}': {source}")]
    User {
        /// The operator.
        operator: super::OperatorId,
        /// What it returned.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// An asynchronous function has no answer for a record, and nothing else is given in its place. The text does not tell the record:
    /// the event of the failure has it, in what says [where](super::FailedRecord::record) that was.
    #[error("operator '{operator}': no answer for a record after {attempts} attempts: {reason}")]
    Unanswered {
        /// The operator.
        operator: super::OperatorId,
        /// The record, as JSON, at most some 200 bytes of it; `None` if it cannot be told so.
        record: Option<String>,
        /// How often it was asked for in this attempt of the task.
        attempts: u32,
        /// Whether it may help to ask again.
        is_retryable: bool,
        /// Why there is none.
        #[source]
        reason: Arc<dyn StdError + Send + Sync>,
    },
    /// A thread or another resource of the system was refused.
    #[error("cannot start a connector thread: {0}")]
    Thread(Arc<std::io::Error>),
}

impl TaskError {
    /// Whether a restart may cure it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Source(error) => error.is_retryable(),
            Self::Sink(error) => error.is_retryable(),
            Self::State(error) => error.is_retryable(),
            Self::Restore(error) => error.is_retryable(),
            Self::EmitLimit { .. } | Self::ChannelOutOfRange { .. } | Self::TargetsMissing { .. } => false,
            Self::Unanswered { is_retryable, .. } => *is_retryable,
            Self::User { .. } | Self::Thread(_) => true,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Source(error) => error.fault(),
            Self::Sink(error) => error.fault(),
            Self::State(error) => error.fault(),
            Self::Restore(error) => error.fault(),
            Self::EmitLimit { .. }
            | Self::ChannelOutOfRange { .. }
            | Self::TargetsMissing { .. }
            | Self::User { .. } => Fault::User,
            Self::Unanswered { .. } | Self::Thread(_) => Fault::External,
        }
    }
}

impl From<SourceError> for TaskError {
    fn from(error: SourceError) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl From<SinkError> for TaskError {
    fn from(error: SinkError) -> Self {
        Self::Sink(Arc::new(error))
    }
}

impl From<StateError> for TaskError {
    fn from(error: StateError) -> Self {
        Self::State(Arc::new(error))
    }
}

impl From<SnapshotError> for TaskError {
    fn from(error: SnapshotError) -> Self {
        Self::Restore(Arc::new(error))
    }
}

/// Why an actor came to its end.
///
/// [`FailureRecord`](crate::FailureRecord) has an example.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It was told to stop.
    Stopped,
    /// It panicked.
    Panicked(PanicReport),
    /// It failed.
    Failed(TaskError),
    /// Its arbiter went away, or was condemned.
    Abandoned,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Panicked(report) => write!(f, "panicked: {report}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Abandoned => f.write_str("lost its arbiter"),
        }
    }
}
