//! Why a query of state got no answer.

use std::sync::Arc;
use std::time::Duration;

use super::{CheckpointId, Fault, OperatorId, PanicReport, RegionId, SnapshotError, StateError};

/// Why a query of a job's state got no answer. The job is as it was.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::QueryError;
///
/// fn answer(error: &QueryError) -> (u16, Option<Duration>) {
///     match error.retry_after() {
///         Some(delay) => (503, Some(delay)),               // with a Retry-After header
///         None => (500, None),
///     }
/// }
/// # assert_eq!(answer(&QueryError::NoCheckpoint { retry_after: Duration::from_millis(5) }).0, 503);
/// # assert_eq!(answer(&QueryError::JobEnded), (500, None));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The job has no such operator.
    #[error("the job has no operator '{operator}'; it has {}", listed(known))]
    UnknownOperator {
        /// What was asked for.
        operator: Arc<str>,
        /// Those that it has.
        known: Vec<Arc<str>>,
    },
    /// The operator keeps no state of keys.
    #[error("operator '{operator}' keeps no state of keys, so there is nothing to query")]
    NoKeyedState {
        /// The operator.
        operator: OperatorId,
    },
    /// The operator declares no such state.
    #[error("operator '{operator}' has no state '{state}'; it has {}", listed(known))]
    UnknownState {
        /// The operator.
        operator: OperatorId,
        /// What was asked for.
        state: Arc<str>,
        /// Those that it has.
        known: Vec<Arc<str>>,
    },
    /// The state is of the engine's own, as windows and timers are.
    #[error("state '{state}' of operator '{operator}' is one of the engine's own, which cannot be queried")]
    NotQueryable {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
    },
    /// The operator's keys are of another type.
    #[error("the keys of operator '{operator}' are {stored}, not {asked}")]
    WrongKeyType {
        /// The operator.
        operator: OperatorId,
        /// The type of its keys.
        stored: &'static str,
        /// The type that was asked for.
        asked: &'static str,
    },
    /// The state's values are of another type.
    #[error("state '{state}' of operator '{operator}' is queried as {stored}, not as {asked}")]
    WrongValueType {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// The type that it has.
        stored: &'static str,
        /// The type that was asked for.
        asked: &'static str,
    },
    /// A list or a map has more entries than the query allows.
    #[error(
        "a value of state '{state}' of operator '{operator}' has {entries} entries, the query allows {max}: raise \
         entries_max(..) if the job can bear that"
    )]
    TooLarge {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// How many it has.
        entries: usize,
        /// How many are allowed.
        max: usize,
    },
    /// More was asked for at once than one query may.
    #[error("{asked} keys in one query, of {max} at most: ask in parts")]
    TooMany {
        /// How many.
        asked: usize,
        /// How many there may be.
        max: usize,
    },
    /// The values of several keys are too large for one answer. One value may be of any size.
    #[error(
        "the values of the first {keys} keys have {bytes} bytes, one answer has {max} at most: ask for fewer keys at once"
    )]
    AnswerTooLarge {
        /// How many keys were read.
        keys: usize,
        /// The bytes of their values.
        bytes: usize,
        /// How many bytes there may be.
        max: usize,
    },
    /// The region of the operator is parked. Its state as of the newest checkpoint can be asked for.
    #[error(
        "region {region} is parked, and takes no queries of live state; ask for the state of the checkpoint, or resume the region"
    )]
    Parked {
        /// The region.
        region: RegionId,
    },
    /// A page of a scan is to have no key.
    #[error("a page of a scan has one key or more, the limit is 0")]
    NoLimit,
    /// Too many queries wait already.
    #[error("{waiting} queries wait already; ask again in {retry_after:?}")]
    Overloaded {
        /// How many.
        waiting: usize,
        /// When to ask again.
        retry_after: Duration,
    },
    /// No answer came in time.
    #[error("no answer within {after:?}: a function of the task may be slow, or its output blocked by one that is")]
    TimedOut {
        /// How long the query was given.
        after: Duration,
    },
    /// No source of the job reads the log that the position is of.
    #[error(
        "no source of the job reads what the position is of, for which the query of operator '{operator}' is to wait"
    )]
    UnknownPosition {
        /// The operator.
        operator: OperatorId,
    },
    /// The record that the query is to wait for is not in the log any more: it was lost, or never there.
    #[error("the position of source '{source_id}' cannot be reached: {reason}")]
    PositionLost {
        /// The source.
        source_id: OperatorId,
        /// What is known of that.
        reason: String,
    },
    /// No record of the source comes to the operator.
    #[error("operator '{operator}' has no records of source '{source_id}': it is not behind that in the job")]
    NotDownstream {
        /// The operator.
        operator: OperatorId,
        /// The source.
        source_id: OperatorId,
    },
    /// What a query is to wait for has not been read in time, or has not come to the operator.
    #[error(
        "what the query waits for has not come from source '{source_id}' within {after:?}: the job may be paused, behind with its input, \
         or blocked"
    )]
    NotReached {
        /// The source.
        source_id: OperatorId,
        /// How long the query was given.
        after: Duration,
    },
    /// A query of a checkpoint is to wait for a record.
    #[error("a query of a checkpoint cannot wait for a position: ask for live state")]
    PositionOfCheckpoint,
    /// The region of the operator starts, or restarts after a failure.
    #[error("region {region} does not run at present; ask again in {retry_after:?}")]
    Restarting {
        /// The region.
        region: RegionId,
        /// When to ask again: what is left of the restart's delay, and at least 100 ms.
        retry_after: Duration,
    },
    /// The job has no checkpoint yet.
    #[error("the job has no checkpoint yet; ask again in {retry_after:?}")]
    NoCheckpoint {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The checkpoint is of an earlier run, and the operator migrates keys, or finds some with another hash: only a restore brings them
    /// to where they belong now. The first checkpoint of this run has all there.
    #[error(
        "checkpoint {checkpoint} is of an earlier run of the job, and may have keys of operator '{operator}' of an older \
         version, or under another hash; ask of the first checkpoint of this run"
    )]
    OlderKeys {
        /// The operator.
        operator: OperatorId,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The checkpoint cannot be read.
    #[error("checkpoint {checkpoint} cannot be read: {error}")]
    Checkpoint {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        #[source]
        error: Arc<SnapshotError>,
    },
    /// The state cannot be read.
    #[error("the state cannot be read: {0}")]
    State(#[source] Arc<StateError>),
    /// A value or key does not become bytes, or none of what was asked for again.
    #[error("state '{state}' of operator '{operator}': a value or key cannot be handed over: {reason}")]
    Unreadable {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: Arc<str>,
        /// What the serializer said.
        reason: String,
    },
    /// The serializer of a value or key panicked, or its comparison or hash did. The task goes on.
    #[error("the query panicked: {report}")]
    Panicked {
        /// The panic.
        report: PanicReport,
    },
    /// The job has ended, and has let go of its store.
    #[error("the job has ended")]
    JobEnded,
}

/// After which time it is worth asking again where nothing tells.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

fn listed(known: &[Arc<str>]) -> String {
    match known {
        [] => "none".to_owned(),
        known => format!("'{}'", known.join("', '")),
    }
}

impl QueryError {
    /// When the same query may succeed; `None` if it will not. At least 1 ms, and a second for what timed out.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::Restarting { retry_after, .. }
            | Self::NoCheckpoint { retry_after } => Some((*retry_after).max(Duration::from_millis(1))),
            Self::TimedOut { .. } | Self::NotReached { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Whether the same query may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.retry_after().is_some()
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownOperator { .. }
            | Self::NoKeyedState { .. }
            | Self::UnknownState { .. }
            | Self::NotQueryable { .. }
            | Self::WrongKeyType { .. }
            | Self::WrongValueType { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::AnswerTooLarge { .. }
            | Self::NoLimit
            | Self::UnknownPosition { .. }
            | Self::NotDownstream { .. }
            | Self::PositionOfCheckpoint
            | Self::Unreadable { .. }
            | Self::Panicked { .. } => Fault::User,
            Self::State(error) => error.fault(),
            _ => Fault::External,
        }
    }
}
