//! When a task lets others run, and how it notices that no more input is at hand.
//!
//! An actor's poll drains its mailbox without limit (actix issue 520), so a task yields by itself. A future given to
//! `ctx.spawn` is polled only once the mailbox is drained, which makes a ready one the cheapest sign of "no more input
//! at hand": no timer, 16 ns.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};

use crate::contract::RunBudget;

/// A task that works in steps.
pub(crate) trait Paced: Actor<Context = Context<Self>> {
    /// The task's pacing.
    fn pacing(&mut self) -> &mut Pacing;

    /// Takes steps until there is nothing to do or the budget is exhausted.
    fn run(&mut self, ctx: &mut Context<Self>);

    /// No more input is at hand.
    fn drained(&mut self, ctx: &mut Context<Self>);
}

/// A task's budget, and what it has asked for.
#[derive(Debug)]
pub(crate) struct Pacing {
    /// Time until the task must yield.
    pub(crate) budget: RunBudget,
    resumes: bool,
    awaits_drain: bool,
}

impl Pacing {
    /// Whether the task has yielded and runs again by itself: messages that come before take no more than their own time.
    pub(crate) fn will_run(&self) -> bool {
        self.resumes
    }

    /// Of a task whose slices `now` measures.
    pub(crate) fn new(now: fn() -> Duration) -> Self {
        Self { budget: RunBudget::start(now), resumes: false, awaits_drain: false }
    }
}

/// Lets every other actor of the arbiter run, takes what has arrived meanwhile, and runs on.
pub(crate) fn yield_then_run<A: Paced>(task: &mut A, ctx: &mut Context<A>) {
    if std::mem::replace(&mut task.pacing().resumes, true) {
        return;
    }
    ctx.wait(tokio::task::yield_now().into_actor(task).map(|(), task, _| task.pacing().budget.restart()));
    ctx.spawn(actix::fut::ready(()).map(|(), task: &mut A, ctx| {
        task.pacing().resumes = false;
        task.run(ctx);
    }));
}

/// Calls [`Paced::drained`] once the mailbox is empty.
pub(crate) fn when_drained<A: Paced>(task: &mut A, ctx: &mut Context<A>) {
    if std::mem::replace(&mut task.pacing().awaits_drain, true) {
        return;
    }
    ctx.spawn(actix::fut::ready(()).map(|(), task: &mut A, ctx| {
        task.pacing().awaits_drain = false;
        task.pacing().budget.restart();
        task.drained(ctx);
    }));
}
