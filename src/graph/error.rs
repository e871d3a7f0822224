//! Mistakes in a graph, reported all at once.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use millstream_actors::protocol::OperatorId;

/// Where in the user's program something was said.
pub(crate) type At = &'static Location<'static>;

/// One mistake in a graph. The user's to mend.
///
/// ```
/// use millstream::GraphError;
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("same", SequenceSource::new(0..10)).sink("same", CollectSink::new());
/// let mistakes = env.explain().unwrap_err();
/// // Each says where in the program it was made.
/// assert!(matches!(&mistakes.0[0], GraphError::DuplicateId { id, second, .. } if id.as_str() == "same" && second.line() > 0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two operators have one id: their state could not be told apart.
    #[error("{second}: id '{id}' is taken by the operator at {first}; give each its own")]
    #[non_exhaustive]
    DuplicateId {
        /// The id.
        id: OperatorId,
        /// Where it was used first.
        first: At,
        /// Where it was used again.
        second: At,
    },
    /// An id has no text.
    #[error("{at}: an id must not be empty; it names the operator's state from run to run")]
    #[non_exhaustive]
    EmptyId {
        /// Where.
        at: At,
    },
    /// A parallelism of zero.
    #[error("{at}: operator '{operator}' has parallelism 0; it must be at least 1")]
    #[non_exhaustive]
    ZeroParallelism {
        /// The operator.
        operator: OperatorId,
        /// Where it was made.
        at: At,
    },
    /// A parallelism above the number of key groups.
    #[error("{at}: operator '{operator}' has parallelism {parallelism}, above the job's max parallelism {max}")]
    #[non_exhaustive]
    ParallelismAboveMax {
        /// The operator.
        operator: OperatorId,
        /// Its parallelism.
        parallelism: u32,
        /// The job's key groups.
        max: u32,
        /// Where it was made.
        at: At,
    },
    /// A job without a source.
    #[error("job '{job}' has no source; add one with env.source(..)")]
    #[non_exhaustive]
    NoSource {
        /// The job.
        job: String,
    },
    /// A job, an operator or a side output is called what nothing can be called.
    #[error("{at}: {what} {name:?}: {reason}")]
    #[non_exhaustive]
    InvalidName {
        /// What is called so.
        what: &'static str,
        /// The name.
        name: String,
        /// Why that cannot be.
        reason: &'static str,
        /// Where.
        at: At,
    },
    /// A setting of the job that cannot work.
    #[error("{at}: {setting}: {reason}")]
    #[non_exhaustive]
    InvalidSetting {
        /// The setting.
        setting: &'static str,
        /// What is wrong.
        reason: String,
        /// Where it was made.
        at: At,
    },
    /// Two streams of one region want it to be supervised in different ways.
    #[error(
        "{second}: the region has other {what} already, by the region_policy(..) at {first}; say it once for each region"
    )]
    #[non_exhaustive]
    RegionPolicies {
        /// What differs.
        what: &'static str,
        /// Where it was said first.
        first: At,
        /// Where it was said again.
        second: At,
    },
    /// A source or sink that is set so that it cannot work.
    #[error("{at}: '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidConnector {
        /// The source or sink.
        operator: OperatorId,
        /// What is wrong.
        reason: String,
        /// Where it was added.
        at: At,
    },
    /// Two sinks write to what only one may write to.
    #[error("{second}: sink '{sink}' writes to {output}, and so does the sink at {first}")]
    #[non_exhaustive]
    OutputTaken {
        /// The second sink.
        sink: OperatorId,
        /// What both write to.
        output: String,
        /// Where the first was added.
        first: At,
        /// Where the second was added.
        second: At,
    },
    /// A job without a name.
    #[error("{at}: a job must have a name; it is its identity in the snapshot store")]
    #[non_exhaustive]
    EmptyJobName {
        /// Where.
        at: At,
    },
    /// A sink that commits with checkpoints, in a job that never ends and takes none.
    #[error(
        "{at}: sink '{sink}' commits with checkpoints, the job reads the unbounded source '{source_id}', and \
         checkpointing is disabled: it would never publish anything; enable checkpointing"
    )]
    #[non_exhaustive]
    NeverCommits {
        /// The sink.
        sink: OperatorId,
        /// The unbounded source.
        source_id: OperatorId,
        /// Where the sink was made.
        at: At,
    },
    /// The side output of an operator was asked for twice.
    #[error("{at}: side output '{tag}' of operator '{operator}' is already taken; clone its stream instead")]
    #[non_exhaustive]
    TagUsedTwice {
        /// The tag.
        tag: String,
        /// The operator.
        operator: OperatorId,
        /// Where it was asked for again.
        at: At,
    },
    /// A function declares two states of one name.
    #[error("{at}: operator '{operator}' declares two states called '{state}'")]
    #[non_exhaustive]
    DuplicateState {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: String,
        /// Where the operator was made.
        at: At,
    },
    /// Windows that cannot be: sizes, gaps, intervals or a lateness that are none or not whole milliseconds, an offset that is too
    /// large, a number of records that is none.
    #[error("{at}: windows of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidWindows {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// An aggregate that cannot be: the greatest of no records.
    #[error("{at}: aggregate of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidAggregate {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// A join that cannot be: an interval without a millisecond or without a bound, or a time to live that is none or not whole
    /// milliseconds.
    #[error("{at}: join of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidJoin {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// A pattern that cannot be: one whose stages share a name or are said to be what they cannot be, that would have to wait for ever,
    /// or that skips to a stage that is not there.
    #[error("{at}: pattern of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidPattern {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// An asynchronous function whose answers cannot be waited for as it is said: no time, no room, or a retry that is none.
    #[error("{at}: asynchronous function of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidAsync {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// A watermark strategy that cannot be given in mid-stream: one that has sources wait for each other, or that is idle after no
    /// time.
    #[error("{at}: watermarks of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidWatermarks {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// A record directive that cannot do what it says: it is for other records than the operator takes, nothing reads its dead letters, its
    /// numbers are none, or the restart strategy gives up before it has its say.
    #[error("{at}: on_panic of operator '{operator}': {reason}")]
    #[non_exhaustive]
    InvalidDirective {
        /// The operator.
        operator: OperatorId,
        /// What cannot be.
        reason: String,
        /// Where the directive was given.
        at: At,
    },
    /// The declaration of a state does not fit together: its migrations leave a version out or do not meet in their
    /// types, or its time to live is none.
    #[error("{at}: operator '{operator}', state '{state}': {reason}")]
    #[non_exhaustive]
    InvalidState {
        /// The operator.
        operator: OperatorId,
        /// The state.
        state: String,
        /// What does not fit.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// The version and the migrations of an operator's keys do not fit together.
    #[error("{at}: operator '{operator}', keys: {reason}")]
    #[non_exhaustive]
    InvalidKeys {
        /// The operator.
        operator: OperatorId,
        /// What does not fit.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// An id that an operator is said to have had cannot be it.
    #[error("{at}: operator '{operator}' is said to have been '{former}', {reason}")]
    #[non_exhaustive]
    InvalidFormerId {
        /// The operator.
        operator: OperatorId,
        /// The id that it is said to have had.
        former: OperatorId,
        /// Why it cannot have had it.
        reason: String,
        /// Where the operator was made.
        at: At,
    },
    /// A setting was made on something that is no operator: a union, or a stream about to be redistributed.
    #[error("{at}: {setting} must directly follow the operator it is for")]
    #[non_exhaustive]
    NothingToSet {
        /// The setting.
        setting: &'static str,
        /// Where.
        at: At,
    },
    /// Streams of different environments were joined.
    #[error("{at}: two streams of different environments cannot be brought together")]
    #[non_exhaustive]
    ForeignStream {
        /// Where.
        at: At,
    },
    /// A state backend that cannot be.
    #[error("{at}: {}: {mistake}", match operator { Some(id) => format!("the state of operator '{id}'"), None => "the job's state".to_owned() })]
    #[non_exhaustive]
    StateBackend {
        /// The operator; none if it is the job's.
        operator: Option<OperatorId>,
        /// What is wrong.
        mistake: &'static str,
        /// Where the operator, or the environment, was made.
        at: At,
    },
    /// A checkpoint interval of zero.
    #[error("{at}: a checkpoint interval of zero; use a positive one, or Checkpointing::disabled()")]
    #[non_exhaustive]
    ZeroInterval {
        /// Where.
        at: At,
    },
    /// A recovery is to be over within no time, or within more than 365 days.
    #[error("{at}: recovery within {objective:?}: the objective must be above zero and at most 365 days")]
    #[non_exhaustive]
    RecoveryObjective {
        /// The objective.
        objective: Duration,
        /// Where.
        at: At,
    },
    /// A recovery objective in a job without periodic checkpoints.
    #[error(
        "{at}: recovery within {objective:?} needs periodic checkpoints, and checkpointing is disabled; use \
         Checkpointing::every(..)"
    )]
    #[non_exhaustive]
    ObjectiveWithoutCheckpoints {
        /// The objective.
        objective: Duration,
        /// Where.
        at: At,
    },
    /// Bounds of the checkpoint interval that leave none to choose.
    #[error(
        "{at}: checkpoint intervals from {min:?} to {max:?}: the shortest must be above zero, the longest no shorter \
         and at most 365 days"
    )]
    #[non_exhaustive]
    IntervalBounds {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
        /// Where.
        at: At,
    },
    /// A bad number of key groups.
    #[error("{at}: max parallelism {max} is not between 1 and 32768")]
    #[non_exhaustive]
    MaxParallelism {
        /// The number.
        max: u32,
        /// Where.
        at: At,
    },
    /// Not a possible number of arbiters.
    #[error("{at}: a job cannot have {arbiters} arbiters of its own; give own_arbiters(..) a number from 1 to 1,024")]
    #[non_exhaustive]
    OwnArbiters {
        /// The number.
        arbiters: u32,
        /// Where.
        at: At,
    },
}

/// All mistakes of a graph, in the order in which they were made.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers").parallelism(0);
/// env.source("numbers", SequenceSource::new(0..10)).sink("numbers", CollectSink::new());
/// let mistakes = env.explain().unwrap_err();
/// assert_eq!(mistakes.0.len(), 3, "{mistakes}");     // an id that is used twice, and the parallelism of each operator
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphErrors(pub Vec<GraphError>);

impl fmt::Display for GraphErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s) in the graph:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for GraphErrors {}
