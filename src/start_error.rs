//! Why jobs do not start.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::{SavepointFileError, SnapshotError};
use millstream_actors::protocol::{CheckpointId, Conflict};

use crate::graph::GraphErrors;
use crate::restore::UnmatchedOperator;

/// Why a job did not start.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("numbers", PrintSink::new());
/// match env.start() {
///     Err(StartError::Graph(mistakes)) => println!("{mistakes}"),     // each with file and line
///     _ => panic!("two operators have one id"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The graph has mistakes.
    #[error(transparent)]
    Graph(#[from] GraphErrors),
    /// The snapshot store does not open.
    #[error(transparent)]
    Store(#[from] SnapshotError),
    /// The directory for state that is not in memory cannot be used.
    #[error(
        "cannot keep state in {}: {source}; it must be a directory that exists and can be written to (StateBackend::redb)",
        dir.display()
    )]
    #[non_exhaustive]
    StateDirectory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The checkpoint holds state of operators that the job does not have.
    #[error(
        "checkpoint {checkpoint} in {store} holds state of operators that the job does not have: {}; if such an operator has \
         another id now, say formerly(\"{}\") on it; drop the state with allow_unmatched_state(true), or start on another \
         store",
        list(operators),
        operators.first().map_or("", |operator| operator.id.as_str())
    )]
    #[non_exhaustive]
    UnmatchedState {
        /// The store, or the savepoint.
        store: String,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// All of them, sorted.
        operators: Vec<UnmatchedOperator>,
    },
    /// The checkpoint holds states that their operators do not declare any more.
    #[error(
        "checkpoint {checkpoint} in {store} holds states that their operators do not declare: {}; if such a state has another \
         name now, say formerly(\"{}\") on it, and if it is not wanted any more, drop_state(\"{}\") on the operator",
        list(operators),
        first_state(operators),
        first_state(operators)
    )]
    #[non_exhaustive]
    UndeclaredState {
        /// The store, or the savepoint.
        store: String,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// All of them, sorted.
        operators: Vec<UnmatchedOperator>,
    },
    /// The checkpoint holds two operators or states that the job takes for one, as it has been told what their names were.
    #[error("checkpoint {checkpoint} in {store}: {conflict}")]
    #[non_exhaustive]
    TakenTwice {
        /// The store, or the savepoint.
        store: String,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The two names.
        conflict: Conflict,
    },
    /// The savepoint cannot be read.
    #[error(transparent)]
    Savepoint(#[from] SavepointFileError),
    /// A savepoint was given, and the store holds checkpoints that do not go back to it.
    #[error(
        "{store} holds checkpoint {checkpoint}, which does not go back to savepoint {}; give the job a fresh store to \
         start from the savepoint, or start without restore_from to go on from the store",
        savepoint.display()
    )]
    #[non_exhaustive]
    StoreNotEmpty {
        /// The store.
        store: String,
        /// Its newest checkpoint.
        checkpoint: CheckpointId,
        /// The savepoint.
        savepoint: PathBuf,
    },
    /// The number of key groups is fixed at the first checkpoint.
    #[error(
        "checkpoint {checkpoint} in {store} was written with max parallelism {stored}, the job has {configured}; it \
         is fixed at the first checkpoint: set max_parallelism({stored}), or start on another store"
    )]
    #[non_exhaustive]
    MaxParallelismChanged {
        /// The store.
        store: String,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// That of the checkpoint.
        stored: u32,
        /// That of the job.
        configured: u32,
    },
}

fn first_state(operators: &[UnmatchedOperator]) -> &str {
    operators.first().and_then(|operator| operator.states.first()).map_or("", |(state, _)| state)
}

fn list(operators: &[UnmatchedOperator]) -> String {
    operators.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
