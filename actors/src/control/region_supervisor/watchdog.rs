//! Looks after tasks that hold their arbiter, and gives up arbiters whose tasks do not stop.

use std::collections::{BTreeMap, BTreeSet};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::RegionSupervisor;
use crate::control::event::JobEventKind;
use crate::control::job_context::lock;
use crate::control::outcome::JobError;
use crate::protocol::Cause;
use crate::runtime::arbiters::{ArbiterId, Berth};
use crate::runtime::guard::Sample;

/// What the last round saw on each arbiter, and what was reported.
#[derive(Default)]
pub(super) struct Watchdog {
    seen: BTreeMap<ArbiterId, Sample>,
    reported: BTreeMap<ArbiterId, Sample>,
}

impl RegionSupervisor {
    /// Looks at the region's arbiters each `stuck_after`. A subtask that is seen in the same poll by two looks in a row has
    /// held its arbiter for at least that long.
    pub(super) fn watch(&self, ctx: &mut Context<Self>) {
        let sleep = self.seed.job.clock.sleep(self.seed.job.limits.stuck_after);
        ctx.spawn(sleep.into_actor(self).map(|(), this, ctx| {
            this.look();
            this.watch(ctx);
        }));
    }

    fn look(&mut self) {
        let job = self.seed.job.clone();
        let mut seen = BTreeMap::new();
        for Berth { id, activity, .. } in self.berths() {
            let Some(sample) = activity.sample() else { continue };
            seen.insert(id, sample);
            let stuck = self.watchdog.seen.get(&id) == Some(&sample);
            if !stuck || self.watchdog.reported.get(&id) == Some(&sample) {
                continue;
            }
            let Some((execution, subtask)) = activity.task_of(sample) else { continue };
            let ours = lock(self.memory()).children.contains_key(&(execution.attempt, subtask));
            if !ours || execution.region != self.seed.region || execution.incarnation != job.incarnation {
                continue;
            }
            self.watchdog.reported.insert(id, sample);
            let (actor, held_for) = (job.name_of(subtask), job.limits.stuck_after);
            job.emit(JobEventKind::SubtaskStuck { actor, held_for });
            if job.limits.replace_stuck {
                self.condemn(id);
            }
        }
        self.watchdog.seen = seen;
    }

    /// The time to stop is over: the subtasks that are left are fenced, and their arbiters given up.
    pub(super) fn stop_timed_out(&mut self, ctx: &mut Context<Self>) {
        if !self.state.is_stopping() {
            return;
        }
        for berth in self.berths() {
            self.condemn(berth.id);
            self.lose_arbiter(berth.id, ctx);
        }
    }

    /// Everything on this arbiter is lost.
    pub(super) fn lose_arbiter(&mut self, arbiter: ArbiterId, ctx: &mut Context<Self>) {
        let mut memory = lock(self.memory());
        let lost: Vec<_> =
            memory.children.iter().filter(|(_, child)| child.berth.id == arbiter).map(|(key, _)| *key).collect();
        let mut lost_children = Vec::new();
        for key in lost {
            let child = memory.children.remove(&key).expect("listed above");
            child.fence.raise();
            lost_children.push((child.attempt, child.name));
        }
        drop(memory);
        let Some((attempt, name)) = lost_children.into_iter().next_back() else { return };
        if attempt == self.execution.attempt && !self.state.is_stopping() {
            self.subtask_failed(attempt, name, Cause::Abandoned, 0, ctx);
        }
        self.check_ended(ctx);
    }

    fn condemn(&mut self, arbiter: ArbiterId) {
        let subtasks = self.on_arbiter(arbiter);
        match self.seed.job.pool.condemn(arbiter) {
            Ok(()) => {
                let region = self.seed.region;
                self.seed.job.emit(JobEventKind::ArbiterCondemned { region, subtasks });
            }
            // Without a fresh thread no attempt can follow.
            Err(error) => self.final_error(JobError::Arbiter(std::sync::Arc::new(error))),
        }
    }

    fn on_arbiter(&self, arbiter: ArbiterId) -> usize {
        lock(self.memory()).children.values().filter(|child| child.berth.id == arbiter).count()
    }

    /// The arbiters of the region's children, each once.
    fn berths(&self) -> Vec<Berth> {
        let mut known = BTreeSet::new();
        let memory = lock(self.memory());
        let berths = memory.children.values().map(|child| &child.berth);
        berths.filter(|berth| known.insert(berth.id)).cloned().collect()
    }
}
