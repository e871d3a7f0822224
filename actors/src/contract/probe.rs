//! A test seam: somebody who is told of each step of the protocol, on the thread that takes it, and may panic there.

use crate::protocol::ActorName;

/// A step that an actor is about to take or has just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// A task builds its operators.
    Starting,
    /// A task is about to load its state.
    Restoring,
    /// A task has loaded its state.
    Restored,
    /// A task takes a batch.
    Batch,
    /// A task has all barriers of a checkpoint, or a source was asked for one.
    BarrierReached,
    /// A task has forwarded the barrier, its own snapshot not taken.
    BarrierForwarded,
    /// A task has written a slice of its snapshot, and there is more to write.
    SliceWritten,
    /// A task has taken its snapshot and sent it to the writer, not acknowledged.
    SnapshotTaken,
    /// A task has acknowledged.
    Acknowledged,
    /// A task heard of a completed checkpoint.
    CompleteReceived,
    /// A task heard of an aborted checkpoint.
    AbortReceived,
    /// A sink is about to prepare a checkpoint.
    SinkPreparing,
    /// A sink has prepared a checkpoint.
    SinkPrepared,
    /// A sink is about to commit.
    SinkCommitting,
    /// A sink has committed, and has not said so.
    SinkCommitted,
    /// The coordinator is about to ask the sources for barriers.
    Triggering,
    /// The coordinator takes an acknowledgement.
    AcknowledgementReceived,
    /// The coordinator is about to have the manifest written.
    Finalising,
    /// The coordinator knows that the checkpoint is complete, and has told nobody.
    Completed,
    /// The coordinator has told all tasks.
    CompletionSent,
    /// The coordinator takes a sink's word that it has committed.
    CommittedReceived,
    /// Coordinator: a savepoint's checkpoint is committed by all sinks, and its export is about to be ordered.
    Exporting,
    /// Writer: about to export.
    ExportStarting,
    /// Coordinator: an export has ended.
    Exported,
    /// The writer is about to store chunks.
    StoringChunks,
    /// The writer is about to commit the manifest.
    CommittingManifest,
    /// The writer has committed the manifest, and has told nobody.
    ManifestCommitted,
    /// A region supervisor is about to start its tasks.
    RegionStarting,
    /// A region supervisor is about to stop its tasks.
    RegionStopping,
    /// A region supervisor asks which checkpoint to restore.
    RegionRestoring,
    /// A region supervisor knows that all tasks are ready.
    RegionReady,
    /// The job supervisor learnt something from a child.
    JobSupervising,
}

/// Told of each [`Step`], on the thread and inside the guard of the actor that takes it. Meant for tests: one that
/// panics kills that actor at exactly that step.
pub trait Probe: Send + Sync + 'static {
    /// `actor` is at `step`.
    fn reached(&self, step: Step, actor: &ActorName);
}
