//! Pausing: the region's part, which tells its sources.

use tokio::sync::oneshot;

use super::*;
use crate::task::SetPaused;

/// Have the sources pause, or read on; `done` is dropped once no source reads, or all have been told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PauseRegion {
    pub(crate) paused: bool,
    pub(crate) done: oneshot::Sender<()>,
}

impl RegionSupervisor {
    /// Sources that are ready are told before they begin, if the job is paused.
    pub(super) fn begin_reading(&self) {
        let paused = lock(&self.seed.job.paused_since).is_some();
        for source in self.subtasks.iter().filter_map(|subtask| subtask.source.as_ref()) {
            if paused {
                source.pause.do_send(SetPaused { paused });
            }
            source.begin.do_send(BeginReading);
        }
    }

    /// Whoever waits for the sources of this attempt waits no more: what they still read has no effect.
    pub(super) fn let_go_of_pause(&mut self, ctx: &mut Context<Self>) {
        if let Some(telling) = self.telling_pause.take() {
            ctx.cancel_future(telling);
        }
    }
}

impl Handler<PauseRegion> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, PauseRegion { paused, done }: PauseRegion, ctx: &mut Self::Context) {
        if self.state != RegionState::Running {
            return;
        }
        let sources = self.subtasks.iter().filter_map(|subtask| subtask.source.as_ref());
        let told: Vec<_> = sources.map(|source| source.pause.send(SetPaused { paused })).collect();
        let all = async move {
            for source in told {
                // One that has ended reads nothing.
                let _ = source.await;
            }
            drop(done);
        };
        // The root has one such request at a time.
        self.let_go_of_pause(ctx);
        self.telling_pause = Some(ctx.spawn(all.into_actor(self)));
    }
}
