//! How a task takes snapshots: begun at a barrier, written in slices between batches. `loading.rs` is the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::Recipient;

use crate::contract::{Progress, SPARE_BUFFERS_MAX, SectionWriter, StateError, Step, monotonic};
use crate::protocol::{AckFacts, Barrier, CheckpointId, TaskError};
use crate::task::{AcknowledgeCheckpoint, ChunksStored, DeclineCheckpoint, StoreChunks, SubtaskContext};

/// Tells the coordinator that this subtask has no snapshot for the checkpoint.
pub(crate) fn decline(cx: &SubtaskContext, checkpoint: CheckpointId, reason: TaskError) {
    let (execution, subtask) = (cx.info.execution, cx.info.subtask);
    cx.reports.decline.do_send(DeclineCheckpoint { execution, subtask, checkpoint, reason });
}

/// The snapshots of one task: the one that is being taken, and what those before it have left.
///
/// The chunks of a snapshot go to the writer as they are complete; once all are sent it is acknowledged. In this order,
/// so that the chunks are there when the manifest is written. While
/// [`capture_bytes_in_flight`](crate::protocol::Limits::capture_bytes_in_flight) are on their way to the store, nothing
/// more is written.
pub(crate) struct Snapshots {
    /// Told when chunks are stored.
    stored: Recipient<ChunksStored>,
    /// Begun, and not all written.
    open: Option<OpenSnapshot>,
    /// Emptied buffers.
    buffers: Vec<Vec<u8>>,
    /// Bytes sent to the writer and not stored, by checkpoint. The writer answers in order.
    in_flight: BTreeMap<CheckpointId, usize>,
}

struct OpenSnapshot {
    writer: SectionWriter,
    facts: AckFacts,
    /// Time that writing it has held up records.
    held_up: Duration,
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Written {
    /// There is more to write.
    Part,
    /// All is written, sent and acknowledged.
    All,
    /// It could not be written: the checkpoint is declined, and what was begun is to be given up.
    Declined,
}

impl Snapshots {
    /// How many bytes of chunks are worth a message before the snapshot is complete.
    const SEND_BYTES_MIN: usize = 1 << 20;

    /// Those of the task at `stored`, which hears when chunks are stored.
    pub(crate) fn new(stored: Recipient<ChunksStored>) -> Self {
        Self { stored, open: None, buffers: Vec::new(), in_flight: BTreeMap::new() }
    }

    /// Begins one for `barrier` by `write`.
    ///
    /// # Panics
    /// If one is open.
    pub(crate) fn begin(
        &mut self,
        cx: &SubtaskContext,
        barrier: Barrier,
        facts: AckFacts,
        write: impl FnOnce(&mut SectionWriter) -> Result<Progress, StateError>,
    ) -> Written {
        assert!(self.open.is_none(), "a snapshot is given up before the next one is begun");
        let mut writer = SectionWriter::new(barrier.checkpoint, barrier.base, cx.info.subtask.index);
        // One message at least, so that an answer comes; but each that is given up adds no more than that.
        writer.set_room(self.room(cx, 0).max(1));
        writer.recycle(std::mem::take(&mut self.buffers));
        self.advance(cx, OpenSnapshot { writer, facts, held_up: Duration::ZERO }, write)
    }

    /// Writes a slice of the open snapshot by `write`, which stops where the writer has no room. `None` if none is open.
    pub(crate) fn write_slice(
        &mut self,
        cx: &SubtaskContext,
        write: impl FnOnce(&mut SectionWriter) -> Result<Progress, StateError>,
    ) -> Option<Written> {
        let (can_write, open) = (self.can_write(), self.open.take()?);
        let written = self.advance(cx, open, write);
        if can_write && written == Written::Part {
            cx.info.counters.snapshot_slices.add(1);
            cx.reached(Step::SliceWritten);
        }
        Some(written)
    }

    /// Whether a snapshot is open, and may be written on before the store has taken something.
    pub(crate) fn can_write(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.writer.room() > 0)
    }

    /// The checkpoint of the open snapshot.
    pub(crate) fn open(&self) -> Option<CheckpointId> {
        self.open.as_ref().map(|open| open.writer.checkpoint())
    }

    /// Lets go of the open snapshot. True if there was one: what was begun is to be given up.
    pub(crate) fn give_up(&mut self) -> bool {
        self.open.take().is_some_and(|mut open| {
            self.keep_buffers(&mut open.writer);
            true
        })
    }

    /// Chunks are stored. Of earlier checkpoints no answer comes any more: a writer that died has lost one.
    pub(crate) fn stored(&mut self, cx: &SubtaskContext, message: ChunksStored) {
        let ChunksStored { checkpoint, bytes, buffers } = message;
        self.in_flight.retain(|of, _| *of >= checkpoint);
        if let Some(left) = self.in_flight.get_mut(&checkpoint) {
            *left = left.saturating_sub(bytes);
        }
        match self.open.take() {
            Some(mut open) => {
                open.writer.recycle(buffers);
                open.writer.set_room(self.room(cx, open.writer.pending_bytes()));
                self.open = Some(open);
            }
            None => {
                self.buffers.extend(buffers);
                self.buffers.truncate(SPARE_BUFFERS_MAX);
            }
        }
    }

    fn room(&self, cx: &SubtaskContext, pending: usize) -> usize {
        let taken = self.in_flight.values().sum::<usize>() + pending;
        cx.info.limits.capture_bytes_in_flight.max(1).saturating_sub(taken)
    }

    fn keep_buffers(&mut self, writer: &mut SectionWriter) {
        self.buffers.extend(std::iter::from_fn(|| writer.buffer()));
    }

    fn advance(
        &mut self,
        cx: &SubtaskContext,
        mut open: OpenSnapshot,
        write: impl FnOnce(&mut SectionWriter) -> Result<Progress, StateError>,
    ) -> Written {
        let started = monotonic();
        let written = write(&mut open.writer).and_then(|progress| open.writer.check().map(|()| progress));
        let took = monotonic() - started;
        open.held_up += took;
        cx.info.counters.snapshot_ns.add_time(took);
        match written {
            Err(error) => {
                decline(cx, open.writer.checkpoint(), error.into());
                self.keep_buffers(&mut open.writer);
                Written::Declined
            }
            Ok(Progress::Suspended) => {
                if open.writer.pending_bytes() >= Self::SEND_BYTES_MIN || open.writer.room() == 0 {
                    self.send(cx, &mut open);
                }
                self.open = Some(open);
                Written::Part
            }
            Ok(Progress::Done) => {
                self.acknowledge(cx, open);
                Written::All
            }
        }
    }

    fn send(&mut self, cx: &SubtaskContext, open: &mut OpenSnapshot) {
        let (execution, checkpoint) = (cx.info.execution, open.writer.checkpoint());
        self.sends(cx, checkpoint, open.writer.pending_bytes());
        let chunks = open.writer.take_chunks();
        if !chunks.is_empty() {
            let stored = Some(self.stored.clone());
            cx.reports.chunks.do_send(StoreChunks { execution, checkpoint, chunks, stored });
        }
    }

    fn sends(&mut self, cx: &SubtaskContext, checkpoint: CheckpointId, bytes: usize) {
        *self.in_flight.entry(checkpoint).or_default() += bytes;
        cx.info.counters.snapshot_bytes.add(bytes as u64);
    }

    fn acknowledge(&mut self, cx: &SubtaskContext, mut open: OpenSnapshot) {
        self.keep_buffers(&mut open.writer);
        let (execution, subtask, checkpoint) = (cx.info.execution, cx.info.subtask, open.writer.checkpoint());
        let (chunks, written) = open.writer.finish();
        let aligned_at = open.facts.barrier_at + open.facts.alignment;
        open.facts.capture = cx.info.clock.now().saturating_sub(aligned_at);
        if !chunks.is_empty() {
            let bytes = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
            self.sends(cx, checkpoint, bytes);
            cx.reports.chunks.do_send(StoreChunks { execution, checkpoint, chunks, stored: Some(self.stored.clone()) });
        }
        cx.info.counters.snapshots.add(1);
        cx.reached(Step::SnapshotTaken);
        cx.reports.acknowledge.do_send(AcknowledgeCheckpoint {
            execution,
            subtask,
            checkpoint,
            written,
            facts: open.facts,
            snapshot: open.held_up,
        });
        cx.reached(Step::Acknowledged);
    }
}
