//! Queries of state, as a task takes them: between its steps, in slices, as many as may wait.
//!
//! A query is a message, so a task to which none is sent does nothing for them. In one turn of the task on its arbiter
//! queries have one slice of time in all; what is left over waits for the next turn, behind a slice of steps.

use std::any::Any;
use std::collections::VecDeque;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture, fut};

use crate::contract::{Asked, RunBudget, SliceClock, StoredStates};
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::Pipeline;
use crate::protocol::{Milestone, OperatorId};
use crate::runtime::guard::catch_panic;
use crate::runtime::yield_now;
use crate::task::milestones::WAITING_MAX;
use crate::task::query_place::TakeQuery;
use crate::task::stepper::{Task, Work};

/// Operators that are asked for their state, whatever they take.
pub(crate) trait Queried {
    /// Has an operator answer a query, as far as the budget goes.
    fn query(&mut self, operator: &OperatorId, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked;

    /// The last milestone that an operator was given.
    fn milestone(&self, operator: &OperatorId) -> Milestone;

    /// What answers queries of them from checkpoints.
    fn stored_states(&mut self) -> Vec<(OperatorId, Box<dyn StoredStates>)>;
}

impl<B: InputBatch> Queried for Pipeline<B> {
    fn query(&mut self, operator: &OperatorId, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked {
        self.query(operator, query, budget)
    }

    fn milestone(&self, operator: &OperatorId) -> Milestone {
        self.milestone(operator)
    }

    fn stored_states(&mut self) -> Vec<(OperatorId, Box<dyn StoredStates>)> {
        self.stored_states()
    }
}

/// Queries that wait in a task.
pub(crate) struct Queries {
    waiting: VecDeque<TakeQuery>,
    /// Those whose operator has not been given their milestone.
    held: Vec<TakeQuery>,
    /// Of the task's turn.
    budget: RunBudget,
    /// Some have come in this turn, or are left over.
    has_turn: bool,
}

impl Queries {
    pub(crate) fn new(clock: SliceClock) -> Self {
        Self { waiting: VecDeque::new(), held: Vec::new(), budget: RunBudget::start_by(clock), has_turn: false }
    }
}

impl<W: Work> Task<W> {
    /// Takes queries from now on.
    pub(super) fn open_for_queries(&mut self, ctx: &Context<Self>) {
        let port = &self.stepper.cx.queries;
        let stored = self.work.queried().map(|operators| operators.stored_states()).unwrap_or_default();
        if stored.is_empty() {
            return;
        }
        port.readers.take(stored);
        port.place.open(ctx.address().recipient(), self.stepper.cx.info.execution.attempt);
    }

    /// Answers queries until none is left or their time in this turn is up.
    fn answer_queries(&mut self) {
        let Self { stepper, work } = self;
        let queries = &mut stepper.queries;
        while !queries.budget.check()
            && let Some(mut asked) = queries.waiting.pop_front()
        {
            if asked.reply.is_closed() {
                continue;
            }
            let TakeQuery { operator, query, .. } = &mut asked;
            let budget = &mut queries.budget;
            let mut ask = || Some(work.queried()?.query(operator, &mut **query, budget));
            match catch_panic(|| ask().unwrap_or(Asked::NotForQueries)) {
                Ok(Asked::Suspended) => queries.waiting.push_front(asked),
                // Nobody waits any more for what was given up.
                Ok(outcome) => drop(asked.reply.send(Ok((outcome, asked.query)))),
                Err(report) => drop(asked.reply.send(Err(report))),
            }
        }
    }

    /// The mailbox is drained: what is left has the next turn, if others have had theirs.
    fn end_turn_of_queries(&mut self, ctx: &mut Context<Self>) {
        if self.stepper.queries.waiting.is_empty() {
            self.stepper.queries.has_turn = false;
            return;
        }
        ctx.spawn(yield_now().into_actor(self).map(|(), task, ctx| {
            task.stepper.queries.budget.restart();
            task.answer_queries();
            task.end_turn_of_queries(ctx);
        }));
    }
}

impl<W: Work> Task<W> {
    /// Steps were taken: answers the queries whose operators have been given their milestones by that.
    pub(super) fn release_queries(&mut self, ctx: &mut Context<Self>) {
        let Self { stepper, work } = self;
        let queries = &mut stepper.queries;
        if queries.held.is_empty() {
            return;
        }
        let Some(operators) = work.queried() else { return };
        let is_free = |held: &TakeQuery| held.behind <= operators.milestone(&held.operator);
        queries.held.retain(|held| !held.reply.is_closed());
        let (free, held) = std::mem::take(&mut queries.held).into_iter().partition::<Vec<_>, _>(is_free);
        queries.held = held;
        if !free.is_empty() {
            queries.waiting.extend(free);
            self.take_turn_of_queries(ctx);
        }
    }

    fn take_turn_of_queries(&mut self, ctx: &mut Context<Self>) {
        let queries = &mut self.stepper.queries;
        if !std::mem::replace(&mut queries.has_turn, true) {
            queries.budget.restart();
            ctx.spawn(fut::ready(()).map(|(), task: &mut Self, ctx| task.end_turn_of_queries(ctx)));
        }
        self.answer_queries();
    }
}

impl<W: Work> Handler<TakeQuery> for Task<W> {
    type Result = ();

    fn handle(&mut self, query: TakeQuery, ctx: &mut Context<Self>) {
        let Self { stepper, work } = self;
        let queries = &mut stepper.queries;
        let mut given = || work.queried().map_or(Milestone::END, |operators| operators.milestone(&query.operator));
        if query.behind > Milestone::NONE && query.behind > given() {
            if queries.held.len() >= WAITING_MAX {
                queries.held.retain(|held| !held.reply.is_closed());
            }
            queries.held.push(query);
            return;
        }
        queries.waiting.push_back(query);
        self.take_turn_of_queries(ctx);
    }
}
