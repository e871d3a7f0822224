//! As of when a query is answered.

/// As of when a query is answered, and what that costs.
///
/// | consistency | the answer is | it costs |
/// |---|---|---|
/// | [`Live`](Self::Live) | what the task has when it takes the query. A restart may take it back: the records behind the last checkpoint are then read again | some microseconds of the task; with a `StateBackend` that spills, a read of its working file if the key is not in the cache |
/// | [`LiveOrCheckpoint`](Self::LiveOrCheckpoint) | live, and while the operator's region does not run that of the last checkpoint, with its age | as one of the two |
/// | [`Checkpoint`](Self::Checkpoint) | what the last completed checkpoint has: no restart takes that back | no time of the task. Snapshots have no index by key: all that the checkpoint has of the state in the key's group is read from the store and decoded, the state's bytes / `max_parallelism` on average |
///
/// ```
/// use millstream::query::Consistency;
///
/// assert_eq!(Consistency::default(), Consistency::Live);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Consistency {
    /// As of now; a restart may take it back.
    #[default]
    Live,
    /// As of now, or of the last completed checkpoint while the operator's region does not run.
    LiveOrCheckpoint,
    /// As of the last completed checkpoint.
    Checkpoint,
}
