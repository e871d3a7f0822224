//! Exports: the writer's part in savepoints. Files are written on blocking threads, so that checkpoints go on meanwhile;
//! the store is closed only after the last export has ended.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::*;
use crate::contract::{ChunkSource, Savepoint, SavepointExport, SavepointFileError, SnapshotStore, monotonic};
use crate::control::event::Bytes;
use crate::control::outcome::SavepointError;
use crate::control::pins::Pin;
use crate::protocol::{PanicReport, TaskKind};
use crate::runtime::blocking;
use crate::task::OperatorInfo;
use crate::task::sink_task::PENDING;

/// What the coordinator wants for a savepoint.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum ExportRequest {
    /// Claim room for it.
    Prepare { request: u64, path: PathBuf },
    /// Write a checkpoint.
    Write(Export),
}

/// A checkpoint that all sinks have committed, to be written for as long as it is wanted.
pub(crate) struct Export {
    pub(crate) request: u64,
    pub(crate) target: Box<dyn SavepointExport>,
    pub(crate) path: PathBuf,
    pub(crate) checkpoint: CheckpointId,
    pub(crate) pin: Pin,
    pub(crate) wanted: Weak<()>,
}

/// What became of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum ExportReply {
    Prepared { request: u64, result: Result<Box<dyn SavepointExport>, SavepointError> },
    Written { request: u64, result: Result<Savepoint, SavepointError> },
}

/// The exports under way.
#[derive(Default)]
pub(super) struct Exports {
    running: usize,
    /// Gone when the writer is, or closes: exports end then.
    until: Arc<()>,
    /// Waits for the last export, to close the store.
    closing: Option<oneshot::Sender<()>>,
}

impl SnapshotWriter {
    /// Closes the store once no export reads it.
    pub(super) fn close(&mut self, done: oneshot::Sender<()>, ctx: &mut Context<Self>) {
        self.exports.until = Arc::default();
        self.exports.closing = Some(done);
        self.close_if_idle(ctx);
    }

    fn close_if_idle(&mut self, ctx: &mut Context<Self>) {
        if self.exports.running == 0
            && let Some(done) = self.exports.closing.take()
        {
            let closed = |_: &mut Self, (), ctx: &mut Context<Self>| {
                // Nobody waits for it if the root has gone.
                let _ = done.send(());
                ctx.stop();
            };
            self.call_then(|session| session.close(), closed, ctx);
        }
    }

    /// The checkpoint without what belongs to its job alone: pending commits, which are committed, and the note of the
    /// job's own origin.
    fn portable(&self, retained: &Manifest) -> Manifest {
        let mut manifest = retained.clone();
        let plan = self.seed.job.layout();
        let sinks = plan.spec.tasks.iter().filter(|task| task.kind == TaskKind::Sink);
        let sinks: Vec<_> = sinks.flat_map(|task| &task.operators).map(OperatorInfo::id).collect();
        manifest.chunks.retain(|chunk| {
            let is_pending = &*chunk.address.state == PENDING && sinks.contains(&&chunk.address.operator);
            !is_pending && !is_mark(&chunk.address)
        });
        manifest
    }

    /// Writes a checkpoint, if the store still has it.
    fn write(&mut self, export: Export, retained: Option<Arc<Manifest>>, ctx: &mut Context<Self>) {
        let Export { request, target, path, checkpoint, pin, wanted } = export;
        let Some(retained) = retained else {
            let result = Err(SavepointError::Gone { checkpoint });
            return self.seed.exported.do_send(ExportReply::Written { request, result });
        };
        let manifest = self.portable(&retained);
        let (store, until) = (self.seed.job.store.clone(), Arc::downgrade(&self.exports.until));
        let name = self.seed.job.layout().spec.name.clone();
        let tells_every = self.seed.job.limits.savepoint_progress_every;
        let under_way = self.seed.job.events.exports(path, checkpoint, manifest.state_bytes());
        let work = move || {
            let wanted = |done| {
                under_way.has_written(done);
                wanted.strong_count() > 0 && until.strong_count() > 0
            };
            let written = write((&name, tells_every), target, &manifest, &store, wanted);
            drop((pin, under_way));
            written.map_err(SavepointError::from)
        };
        self.export(work, move |result| ExportReply::Written { request, result }, ctx);
    }

    /// Runs `work` on a blocking thread and tells the coordinator what `reply` makes of it.
    fn export<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, SavepointError> + Send + 'static,
        reply: impl FnOnce(Result<T, SavepointError>) -> ExportReply + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.exports.running += 1;
        let tells_host = self.seed.job.tells_host;
        let working = blocking(move || {
            guard::tell_host(tells_host);
            guard::catch_panic(work)
        });
        ctx.spawn(working.into_actor(self).map(|result, this, ctx| {
            let result = result.unwrap_or_else(|PanicReport { message, .. }| Err(SavepointError::Panicked { message }));
            this.seed.exported.do_send(reply(result));
            this.exports.running = this.exports.running.saturating_sub(1);
            this.close_if_idle(ctx);
        }));
    }
}

impl Handler<ExportRequest> for SnapshotWriter {
    type Result = ();

    fn handle(&mut self, request: ExportRequest, ctx: &mut Self::Context) {
        match request {
            ExportRequest::Prepare { request, path } => {
                let format = self.seed.job.savepoints.clone();
                let work = move || format.begin(&path).map_err(SavepointError::from);
                self.export(work, move |result| ExportReply::Prepared { request, result }, ctx);
            }
            ExportRequest::Write(export) => {
                let checkpoint = export.checkpoint;
                let work = move |session: &mut StoreSession| {
                    session.reached(Step::ExportStarting);
                    session.retained(checkpoint)
                };
                self.call_then(work, |this, retained, ctx| this.write(export, retained, ctx), ctx);
            }
        }
    }
}

/// Writes the file, and says in the log how far it is, while somebody wants it.
fn write(
    (job, tells_every): (&str, Duration),
    target: Box<dyn SavepointExport>,
    manifest: &Manifest,
    store: &Arc<dyn SnapshotStore>,
    wanted: impl Fn(u64) -> bool,
) -> Result<Savepoint, SavepointFileError> {
    let (of, mut told_at) = (manifest.state_bytes(), monotonic());
    let mut progress = |done: u64| {
        if monotonic() - told_at >= tells_every {
            told_at = monotonic();
            let (done, of) = (Bytes(done), Bytes(of));
            let checkpoint = manifest.checkpoint;
            log::info!(
                target: "millstream::checkpoint",
                "job={job} savepoint of checkpoint={checkpoint}: {done} of {of} written"
            );
        }
        wanted(done)
    };
    let chunks: &dyn ChunkSource = store;
    target.write(manifest, chunks, &mut progress)
}
