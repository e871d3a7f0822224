//! How a task takes a snapshot at a barrier; `loading.rs` is the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::Recipient;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::{Progress, RestoredSection, SPARE_BUFFERS_MAX, SnapshotWriter, StateError, StateScope, Step};
use crate::protocol::{AckFacts, Barrier, CheckpointId, OperatorId, TaskError};
use crate::runtime::time::monotonic;
use crate::task::{AcknowledgeCheckpoint, ChunksStored, DeclineCheckpoint, StoreChunks, SubtaskContext};

/// Version of the engine's own sections (positions, pending commits): MessagePack arrays `[version, items]`.
const SECTION_VERSION: u8 = 1;

/// Tells the coordinator that this subtask has no snapshot for the checkpoint.
pub(crate) fn decline(cx: &SubtaskContext, checkpoint: CheckpointId, reason: TaskError) {
    let (execution, subtask) = (cx.info.execution, cx.info.subtask);
    cx.reports.decline.do_send(DeclineCheckpoint { execution, subtask, checkpoint, reason });
}

/// What goes on from one capture to the next.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Emptied buffers.
    buffers: Vec<Vec<u8>>,
    /// Bytes sent to the writer and not stored, by checkpoint. The writer answers in order.
    in_flight: BTreeMap<CheckpointId, usize>,
}

impl Remains {
    /// Chunks are stored. Of earlier checkpoints no answer comes any more: a writer that died has lost one.
    pub(crate) fn stored(&mut self, message: ChunksStored) {
        self.buffers.extend(message.buffers);
        self.buffers.truncate(SPARE_BUFFERS_MAX);
        self.answered(message.checkpoint, message.bytes);
    }

    fn answered(&mut self, checkpoint: CheckpointId, bytes: usize) {
        self.in_flight.retain(|of, _| *of >= checkpoint);
        if let Some(left) = self.in_flight.get_mut(&checkpoint) {
            *left = left.saturating_sub(bytes);
        }
    }

    fn room(&self, cx: &SubtaskContext, pending: usize) -> usize {
        let taken = self.in_flight.values().sum::<usize>() + pending;
        cx.info.limits.capture_bytes_in_flight.max(1).saturating_sub(taken)
    }
}

/// A snapshot that is being taken: written at once, or in slices between batches.
///
/// Its chunks go to the writer as they are complete; once all are sent it is acknowledged. In this order, so that the
/// chunks are there when the manifest is written.
pub(crate) struct Capture {
    writer: SnapshotWriter,
    facts: AckFacts,
    started: Duration,
    /// Time that writing it has held up records.
    held_up: Duration,
    remains: Remains,
    stored: Option<Recipient<ChunksStored>>,
}

impl Capture {
    /// How many bytes of chunks are worth a message before the snapshot is complete.
    const SEND_BYTES_MIN: usize = 1 << 20;

    /// Begins one for `barrier`. `stored` is told when chunks are stored, if the snapshot takes several messages.
    pub(crate) fn new(
        cx: &SubtaskContext,
        barrier: Barrier,
        facts: AckFacts,
        mut remains: Remains,
        stored: Option<Recipient<ChunksStored>>,
    ) -> Self {
        let mut writer = SnapshotWriter::new(barrier.checkpoint, barrier.base, cx.info.subtask.index);
        if stored.is_some() {
            // One message at least, so that an answer comes; but each abandoned capture adds no more than that.
            writer.set_room(remains.room(cx, 0).max(1));
        }
        writer.recycle(std::mem::take(&mut remains.buffers));
        Self { writer, facts, started: monotonic(), held_up: Duration::ZERO, remains, stored }
    }

    /// The checkpoint.
    pub(crate) fn checkpoint(&self) -> CheckpointId {
        self.writer.checkpoint()
    }

    /// What the next capture goes on with.
    pub(crate) fn into_remains(mut self) -> Remains {
        self.take_remains()
    }

    fn take_remains(&mut self) -> Remains {
        let buffers = std::iter::from_fn(|| self.writer.buffer()).collect();
        Remains { buffers, ..std::mem::take(&mut self.remains) }
    }

    /// Some of its chunks are stored.
    pub(crate) fn stored(&mut self, cx: &SubtaskContext, message: ChunksStored) {
        self.writer.recycle(message.buffers);
        self.remains.answered(message.checkpoint, message.bytes);
        self.writer.set_room(self.remains.room(cx, self.writer.pending_bytes()));
    }

    /// Whether it can go on before the store has written something.
    pub(crate) fn has_room(&self) -> bool {
        self.writer.room() > 0
    }

    /// Writes some of it by `write`. When all is written it is acknowledged, and declined if it cannot be written.
    /// Gives itself back if there is more to do.
    pub(crate) fn advance(
        mut self,
        cx: &SubtaskContext,
        write: impl FnOnce(&mut SnapshotWriter) -> Result<Progress, StateError>,
    ) -> CaptureStep {
        let started = monotonic();
        let written = write(&mut self.writer).and_then(|progress| self.writer.check().map(|()| progress));
        self.held_up += monotonic() - started;
        match written {
            Err(error) => {
                decline(cx, self.checkpoint(), error.into());
                CaptureStep::Declined(self)
            }
            Ok(Progress::Suspended) => {
                if self.writer.pending_bytes() >= Self::SEND_BYTES_MIN || !self.has_room() {
                    self.send(cx);
                }
                CaptureStep::More(self)
            }
            Ok(Progress::Done) => CaptureStep::Acknowledged(self.acknowledge(cx)),
        }
    }

    fn send(&mut self, cx: &SubtaskContext) {
        let (execution, checkpoint, stored) = (cx.info.execution, self.checkpoint(), self.stored.clone());
        *self.remains.in_flight.entry(checkpoint).or_default() += self.writer.pending_bytes();
        let chunks = self.writer.take_chunks();
        if !chunks.is_empty() {
            cx.reports.chunks.do_send(StoreChunks { execution, checkpoint, chunks, stored });
        }
    }

    fn acknowledge(mut self, cx: &SubtaskContext) -> Remains {
        let mut remains = self.take_remains();
        let (execution, subtask, checkpoint) = (cx.info.execution, cx.info.subtask, self.checkpoint());
        let (chunks, written) = self.writer.finish();
        if !chunks.is_empty() {
            let bytes = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
            *remains.in_flight.entry(checkpoint).or_default() += bytes;
            cx.reports.chunks.do_send(StoreChunks { execution, checkpoint, chunks, stored: self.stored });
        }
        cx.reached(Step::SnapshotTaken);
        let capture = monotonic() - self.started;
        cx.reports.acknowledge.do_send(AcknowledgeCheckpoint {
            execution,
            subtask,
            checkpoint,
            written,
            facts: AckFacts { capture, ..self.facts },
            snapshot: self.held_up,
        });
        cx.reached(Step::Acknowledged);
        remains
    }
}

/// What has become of a capture.
pub(crate) enum CaptureStep {
    /// There is more to write.
    More(Capture),
    /// All is written.
    Acknowledged(Remains),
    /// It cannot be written.
    Declined(Capture),
}

/// Takes a snapshot of `barrier` that `write` writes at once.
pub(crate) fn snapshot(
    cx: &SubtaskContext,
    barrier: Barrier,
    facts: AckFacts,
    write: impl FnOnce(&mut SnapshotWriter) -> Result<(), StateError>,
) {
    Capture::new(cx, barrier, facts, Remains::default(), None)
        .advance(cx, |writer| write(writer).map(|()| Progress::Done));
}

/// Writes a list of the engine's own as one section of this subtask.
pub(crate) fn write_list<T: Serialize>(
    writer: &mut SnapshotWriter,
    operator: &OperatorId,
    state: &str,
    items: &[T],
) -> Result<(), StateError> {
    writer.set_operator(operator);
    let section = writer.subtask(&state.into());
    rmp_serde::encode::write(section, &(SECTION_VERSION, items)).map_err(|error| StateError::Encode {
        operator: operator.clone(),
        state: state.into(),
        scope: StateScope::Subtask(0),
        reason: error.to_string(),
    })
}

/// Reads such lists back: those of all subtasks, in order.
pub(crate) fn read_lists<T: DeserializeOwned>(
    operator: &OperatorId,
    state: &str,
    sections: Vec<RestoredSection>,
) -> Result<Vec<T>, StateError> {
    let mut items = Vec::new();
    if let Some(other) = sections.iter().find(|section| &*section.state != state) {
        let reason =
            format!("the checkpoint holds its state '{}', not '{state}': the id was another kind's", other.state);
        return Err(StateError::Mismatch { operator: operator.clone(), reason });
    }
    for section in &sections {
        let decoded: Result<(u8, Vec<T>), _> = rmp_serde::from_slice(&section.bytes);
        match decoded {
            Ok((SECTION_VERSION, more)) => items.extend(more),
            Ok((version, _)) => return Err(undecodable(operator, section, version.into(), "unknown version".into())),
            Err(error) => return Err(undecodable(operator, section, SECTION_VERSION.into(), error.to_string())),
        }
    }
    Ok(items)
}

fn undecodable(operator: &OperatorId, section: &RestoredSection, version: u32, reason: String) -> StateError {
    StateError::Decode {
        operator: operator.clone(),
        state: section.state.clone(),
        scope: section.scope,
        version,
        reason,
    }
}
