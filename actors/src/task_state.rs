//! Between a task and its snapshots: taking one at a barrier, loading one at a start.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint_coordinator::{AcknowledgeCheckpoint, DeclineCheckpoint};
use crate::contract::{
    ChunkRef, RestoredSection, RestoredState, SnapshotError, SnapshotWriter, StateError, StateScope, Step,
};
use crate::protocol::SourceState;
use crate::protocol::{Barrier, CheckpointId, OperatorId, TaskError};
use crate::snapshot_writer::StoreChunks;
use crate::task::{RestoreFigures, RestorePlan, SubtaskContext};
use crate::time::monotonic;

/// Version of the engine's own sections (positions, pending commits): MessagePack arrays `[version, items]`.
const SECTION_VERSION: u8 = 1;

/// Sends the snapshot to the writer and then says so to the coordinator: in this order, so that the chunks are there
/// when the manifest is written.
pub(crate) fn acknowledge(
    cx: &SubtaskContext,
    writer: SnapshotWriter,
    source: Option<SourceState>,
    alignment: Duration,
    snapshot: Duration,
) {
    let checkpoint = writer.checkpoint();
    let chunks = writer.finish();
    let references: Vec<ChunkRef> = chunks.iter().map(|chunk| chunk.reference.clone()).collect();
    if !chunks.is_empty() {
        cx.reports.chunks.do_send(StoreChunks { execution: cx.execution, checkpoint, chunks });
    }
    cx.reached(Step::SnapshotTaken);
    cx.reports.acknowledge.do_send(AcknowledgeCheckpoint {
        execution: cx.execution,
        subtask: cx.subtask,
        checkpoint,
        chunks: references,
        source,
        alignment,
        snapshot,
    });
    cx.reached(Step::Acknowledged);
}

/// Tells the coordinator that this subtask has no snapshot for the checkpoint.
pub(crate) fn decline(cx: &SubtaskContext, checkpoint: CheckpointId, reason: TaskError) {
    let (execution, subtask) = (cx.execution, cx.subtask);
    cx.reports.decline.do_send(DeclineCheckpoint { execution, subtask, checkpoint, reason });
}

/// Writes the state that `write` puts into a snapshot of `barrier` and acknowledges it, or declines.
pub(crate) fn snapshot(
    cx: &SubtaskContext,
    barrier: Barrier,
    source: Option<SourceState>,
    alignment: Duration,
    write: impl FnOnce(&mut SnapshotWriter) -> Result<(), StateError>,
) {
    let started = monotonic();
    let mut writer = SnapshotWriter::new(barrier.checkpoint, barrier.base, cx.subtask.index);
    match write(&mut writer) {
        Ok(()) => acknowledge(cx, writer, source, alignment, monotonic() - started),
        Err(error) => decline(cx, barrier.checkpoint, error.into()),
    }
}

/// What loading gave.
pub(crate) type Loaded = Result<(RestoredState, RestoreFigures), SnapshotError>;

/// A task that loads its state before it begins.
pub(crate) trait Loading: Actor<Context = Context<Self>> {
    /// What it knows of its job.
    fn context(&self) -> &SubtaskContext;

    /// Its state is loaded, or is not.
    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>);
}

/// Loads the state of these operators on a blocking thread.
pub(crate) fn start_loading<A: Loading>(
    task: &mut A,
    plan: RestorePlan,
    operators: Vec<OperatorId>,
    ctx: &mut Context<A>,
) {
    let cx = task.context().clone();
    cx.reached(Step::Restoring);
    let loading = actix_rt::task::spawn_blocking(move || load(&plan, &cx, &operators));
    ctx.spawn(loading.into_actor(task).map(|loaded, task, ctx| {
        // A panic on the blocking thread goes on here, under the task's guard.
        task.loaded(loaded.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())), ctx);
    }));
}

/// Reads what a subtask restores: its key groups' sections, and every subtask's sections of its operators. Blocks.
fn load(plan: &RestorePlan, cx: &SubtaskContext, operators: &[OperatorId]) -> Loaded {
    let started = monotonic();
    let mut chunks = Vec::new();
    let mut bytes = 0;
    for reference in plan.manifest.chunks.iter().filter(|chunk| operators.contains(&chunk.address.operator)) {
        let mine = match reference.address.scope {
            StateScope::KeyGroup(group) => cx.key_groups.contains(group),
            StateScope::Subtask(_) => true,
        };
        if mine {
            bytes += u64::from(reference.len);
            chunks.push((reference.address.clone(), plan.store.read_chunk(reference)?));
        }
    }
    let figures = RestoreFigures { bytes, took: monotonic() - started };
    Ok((RestoredState::from_chunks(chunks), figures))
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
