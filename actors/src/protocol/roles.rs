//! What a task is, and how far a source is.

/// How far a source is, as of a barrier it emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// It reads on.
    Reading,
    /// It was told to stop reading.
    Stopped,
    /// Its input has ended.
    Ended,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Reads a source.
    Source,
    /// Runs operators.
    Operator,
    /// Writes a sink.
    Sink,
}
