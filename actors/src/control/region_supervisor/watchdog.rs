//! Looks after tasks that hold their arbiter, and after splits that hold event time back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::RegionSupervisor;
use crate::control::event::JobEventKind;
use crate::control::lock::lock;
use crate::protocol::{HeldBackNews, RegionState, SubtaskId};
use crate::runtime::arbiters::{ArbiterId, Berth};
use crate::runtime::guard::{Sample, TaskGuard};

/// What the last round saw on each arbiter, and what was reported.
#[derive(Default)]
pub(super) struct Watchdog {
    seen: BTreeMap<ArbiterId, Sample>,
    reported: BTreeMap<ArbiterId, Sample>,
    /// Sent when the subtasks were told to stop: set where the arbiter has run since.
    pub(super) pings: BTreeMap<ArbiterId, Arc<AtomicBool>>,
    held_back: HeldBackNews,
}

impl RegionSupervisor {
    /// Looks at the region's arbiters each `stuck_after`. A subtask that is seen in the same poll by two looks in a row has
    /// held its arbiter for at least that long.
    pub(super) fn watch(&self, ctx: &mut Context<Self>) {
        let sleep = self.seed.job.clock.sleep(self.seed.job.limits.stuck_after);
        ctx.spawn(sleep.into_actor(self).map(|(), this, ctx| {
            this.look(ctx);
            this.look_at_event_time();
            this.watch(ctx);
        }));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let mut seen = BTreeMap::new();
        for berth in self.berths() {
            let Some(sample) = berth.activity().sample() else { continue };
            seen.insert(berth.id(), sample);
            let stuck = self.watchdog.seen.get(&berth.id()) == Some(&sample);
            let Some(task) = stuck.then(|| berth.activity().task_of(sample)).flatten() else { continue };
            match self.ours(&task, ctx) {
                Some(subtask) if self.watchdog.reported.insert(berth.id(), sample) != Some(sample) => {
                    self.found_stuck(subtask, &berth, ctx);
                }
                None if task.exit == ctx.address().recipient() => self.found_left_behind(&berth, ctx),
                _ => {}
            }
        }
        self.watchdog.seen = seen;
    }

    fn look_at_event_time(&mut self) {
        let (job, region) = (self.seed.job.clone(), self.seed.region);
        let held_back = job.figures.held_back(job.clock.now()).remove(&region);
        // One that does not run holds back nothing that could go on.
        let held_back = held_back.filter(|_| self.state != RegionState::Parked);
        if let Some(held_back) = self.watchdog.held_back.news(held_back, job.limits.event_time_held_after) {
            job.emit(JobEventKind::EventTimeHeldBack { region, held_back });
        }
    }

    /// The subtask, if it is one of this region's, and no other's that has the same numbers.
    pub(super) fn ours(&self, task: &TaskGuard, ctx: &Context<Self>) -> Option<SubtaskId> {
        let reports_here = task.exit == ctx.address().recipient();
        let key = (task.execution.attempt, task.subtask);
        (reports_here && lock(self.memory()).children.contains_key(&key)).then_some(task.subtask)
    }

    fn found_stuck(&mut self, subtask: SubtaskId, berth: &Berth, ctx: &mut Context<Self>) {
        let job = self.seed.job.clone();
        let (actor, held_for) = (job.name_of(subtask), job.limits.stuck_after);
        job.emit(JobEventKind::SubtaskStuck { actor, held_for });
        if job.limits.replace_stuck {
            self.condemn(berth);
            self.lose_arbiter(berth.id(), ctx);
        }
    }

    /// A subtask that was left behind holds its arbiter, which ran when the subtask was told to stop, or the next attempt would not be
    /// there.
    fn found_left_behind(&mut self, berth: &Berth, ctx: &mut Context<Self>) {
        self.condemn(berth);
        self.move_off(berth.id(), ctx);
    }

    /// The arbiters of the region's children, each once.
    pub(super) fn berths(&self) -> Vec<Berth> {
        let mut known = BTreeSet::new();
        let memory = lock(self.memory());
        let berths = memory.children.values().map(|child| &child.berth);
        berths.filter(|berth| known.insert(berth.id())).cloned().collect()
    }
}
