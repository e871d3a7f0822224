//! Pausing: the region's part, which tells its sources.

use tokio::sync::oneshot;

use super::*;
use crate::task::SetPaused;

/// Have the sources pause, or read on, as the job says; `done` is dropped once no source reads, or all have been told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PauseRegion {
    pub(crate) done: oneshot::Sender<()>,
}

impl RegionSupervisor {
    /// Sources that are ready are told before they begin, if the job is paused.
    pub(super) fn begin_reading(&self) {
        let paused = self.seed.job.sources_wait();
        for source in self.subtasks.iter().filter_map(|subtask| subtask.source.as_ref()) {
            if paused {
                source.pause.do_send(SetPaused { paused });
            }
            source.begin.do_send(BeginReading);
        }
    }

    /// Whoever waits for the sources of this attempt waits no more: what they still read has no effect.
    pub(super) fn let_go_of_pause(&mut self, ctx: &mut Context<Self>) {
        for (_, telling) in std::mem::take(&mut self.telling_pause) {
            ctx.cancel_future(telling);
        }
    }
}

impl Handler<PauseRegion> for RegionSupervisor {
    type Result = ();

    fn handle(&mut self, PauseRegion { done }: PauseRegion, ctx: &mut Self::Context) {
        if self.state != RegionState::Running {
            return;
        }
        let paused = self.seed.job.sources_wait();
        let sources = self.subtasks.iter().filter_map(|subtask| subtask.source.as_ref());
        let told: Vec<_> = sources.map(|source| source.pause.send(SetPaused { paused })).collect();
        let all = async move {
            for source in told {
                // One that has ended reads nothing.
                let _ = source.await;
            }
            drop(done);
        };
        let order = self.telling_pause.last_key_value().map_or(0, |(last, _)| last + 1);
        let all = all.into_actor(self).map(move |(), this, _| {
            this.telling_pause.remove(&order);
        });
        self.telling_pause.insert(order, ctx.spawn(all));
    }
}
