//! Leaves subtasks behind that do not stop, and arbiters that do not run.
//!
//! Who is left behind is fenced, and has its thread until its call returns. What is done about the arbiter depends on who holds
//! it:
//!
//! | the arbiter | what is done |
//! |---|---|
//! | runs: the call is one of a connector, on a thread of its own | nothing |
//! | is held by a subtask of this region, or by nobody knows whom | it is condemned: others who are there are told to move |
//! | is held by a subtask of another region | this region goes on on a fresh one; what becomes of the others is their matter |

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Context;

use super::RegionSupervisor;
use crate::control::event::JobEventKind;
use crate::control::job_context::Child;
use crate::control::lock::lock;
use crate::control::outcome::JobError;
use crate::protocol::{Cause, RegionEvent};
use crate::runtime::arbiters::{ArbiterId, Berth};

impl RegionSupervisor {
    /// Asks the arbiters of the region to answer if they run.
    pub(super) fn ping_arbiters(&mut self) {
        self.watchdog.pings = self.berths().iter().map(|berth| (berth.id(), berth.ping())).collect();
    }

    /// The time to stop is over: the subtasks that are left are left behind.
    pub(super) fn stop_timed_out(&mut self, ctx: &mut Context<Self>) {
        if !self.state.is_stopping() {
            return;
        }
        for berth in self.berths() {
            let runs = self.watchdog.pings.get(&berth.id()).is_some_and(|ping| ping.load(Ordering::Acquire));
            if !runs && self.is_held_by_others(&berth, ctx) {
                let replaced = self.seed.job.pool.replace(&berth);
                self.need_arbiter(replaced);
            } else if !runs {
                self.condemn(&berth);
            }
            for Child { attempt, name: actor, .. } in self.leave(berth.id()) {
                self.seed.job.emit(JobEventKind::SubtaskLeftBehind { attempt, actor });
            }
        }
        self.check_ended(ctx);
    }

    fn is_held_by_others(&self, berth: &Berth, ctx: &Context<Self>) -> bool {
        let task = berth.activity().sample().and_then(|sample| berth.activity().task_of(sample));
        task.is_some_and(|task| self.ours(&task, ctx).is_none())
    }

    /// An arbiter that a subtask of this region holds was condemned.
    pub(super) fn lose_arbiter(&mut self, arbiter: ArbiterId, ctx: &mut Context<Self>) {
        if let Some(Child { attempt, name, .. }) = self.leave(arbiter).pop()
            && attempt == self.execution.attempt
            && !self.state.is_stopping()
        {
            self.subtask_failed(attempt, name, (Cause::Abandoned, 0, None, None), ctx);
        }
        self.check_ended(ctx);
    }

    /// An arbiter was condemned for a task of another region: what this region has there cannot go on there. The region starts
    /// again at once, and it counts as no failure.
    pub(super) fn move_off(&mut self, arbiter: ArbiterId, ctx: &mut Context<Self>) {
        let left = self.leave(arbiter);
        let of_attempt = left.iter().filter(|child| child.attempt == self.execution.attempt);
        let subtasks = of_attempt.count();
        if subtasks > 0 && !self.state.is_stopping() && self.go(RegionEvent::Failed) {
            let region = self.seed.region;
            self.seed.job.emit(JobEventKind::RegionMoving { region, subtasks });
            self.delay = Duration::ZERO;
            self.stop_subtasks(false, ctx);
        }
        self.check_ended(ctx);
    }

    /// Fences the subtasks on an arbiter, and waits for them no more.
    fn leave(&mut self, arbiter: ArbiterId) -> Vec<Child> {
        let mut memory = lock(self.memory());
        let children = std::mem::take(&mut memory.children).into_iter();
        let (left, kept): (BTreeMap<_, _>, _) = children.partition(|(_, child)| child.berth.id() == arbiter);
        memory.children = kept;
        drop(memory);
        left.values().for_each(|child| child.fence.raise());
        left.into_values().collect()
    }

    pub(super) fn condemn(&mut self, berth: &Berth) {
        let arbiter = berth.id();
        let subtasks = lock(self.memory()).children.values().filter(|child| child.berth.id() == arbiter).count();
        let condemned = self.seed.job.pool.condemn(berth);
        if condemned.is_ok() {
            let region = self.seed.region;
            self.seed.job.emit(JobEventKind::ArbiterCondemned { region, subtasks });
        }
        self.need_arbiter(condemned);
    }

    /// Without a fresh thread no attempt can follow.
    fn need_arbiter(&mut self, replaced: io::Result<()>) {
        if let Err(error) = replaced {
            self.final_error(JobError::Arbiter(Arc::new(error)));
        }
    }
}
