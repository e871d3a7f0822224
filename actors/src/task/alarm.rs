//! The one timer of a task: it wakes the task at the earliest of its deadlines.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, SpawnHandle, fut};

use crate::contract::{Clock, Sleep};
use crate::protocol::Deadlines;

/// What a task may have come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Due {
    /// A source that had nothing is read again.
    Read,
    /// A commit that failed is tried again.
    Commit,
    /// An operator is woken.
    Operators,
}

/// The deadlines of a task, by the job's clock, and the timer that follows the earliest of them.
pub(crate) struct Alarm {
    clock: Arc<dyn Clock>,
    deadlines: Deadlines<Due>,
    /// When the timer ends.
    until: Option<Duration>,
    /// The timer is not yet what `until` says; `sleep` then takes the place of the future with `handle`.
    is_to_change: bool,
    sleep: Option<Sleep>,
    handle: Option<SpawnHandle>,
}

impl Alarm {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, deadlines: Deadlines::new(), until: None, is_to_change: false, sleep: None, handle: None }
    }

    /// Has `due` come after `delay` from now; an earlier setting of it no longer counts.
    pub(crate) fn set(&mut self, due: Due, delay: Duration) {
        let now = self.clock.now();
        self.deadlines.set(due, now.saturating_add(delay));
        self.follow(now);
    }

    /// Has `due` come at `at`, or not at all. Costs nothing where that is how it was.
    pub(crate) fn set_at(&mut self, due: Due, at: Option<Duration>) {
        if at == self.deadlines.of(due) {
            return;
        }
        let Some(at) = at else { return self.clear(due) };
        self.deadlines.set(due, at);
        self.follow(self.clock.now());
    }

    /// Has `due` not come.
    pub(crate) fn clear(&mut self, due: Due) {
        if self.deadlines.clear(due) {
            self.follow(self.clock.now());
        }
    }

    /// What has come due, the earliest first. The timer goes on once there is nothing more.
    pub(crate) fn take_due(&mut self) -> Option<Due> {
        let now = self.clock.now();
        let due = self.deadlines.take_due(now);
        if due.is_none() {
            self.follow(now);
        }
        due
    }

    /// Has the timer call `wake` at the earliest deadline. To be called whenever that may have changed.
    pub(crate) fn arm<A: Actor<Context = Context<A>>>(
        &mut self,
        ctx: &mut Context<A>,
        wake: impl FnOnce(&mut A, &mut Context<A>) + 'static,
    ) {
        if !std::mem::take(&mut self.is_to_change) {
            return;
        }
        if let Some(handle) = self.handle.take() {
            ctx.cancel_future(handle);
        }
        if let Some(sleep) = self.sleep.take() {
            self.handle = Some(ctx.spawn(fut::wrap_future::<_, A>(sleep).map(|(), actor, ctx| wake(actor, ctx))));
        }
    }

    /// The timer has ended.
    pub(crate) fn rang(&mut self) {
        (self.until, self.handle) = (None, None);
    }

    fn follow(&mut self, now: Duration) {
        let next = self.deadlines.next();
        if next != self.until {
            self.until = next;
            self.is_to_change = true;
            // Made now, so that a delay counts from the call.
            self.sleep = next.map(|at| self.clock.sleep(at.saturating_sub(now)));
        }
    }
}
