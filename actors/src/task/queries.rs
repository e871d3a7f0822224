//! Queries of state, as a task takes them: between its steps, in slices, as many as may wait.
//!
//! A query is a message, so a task to which none is sent does nothing for them. In one turn of the task on its arbiter
//! queries have one slice of time in all; what is left over waits for the next turn, behind a slice of steps.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, WrapFuture, fut};
use tokio::sync::{oneshot, watch};

use crate::contract::{Asked, RunBudget, SliceClock, StoredStates};
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::Pipeline;
use crate::protocol::{Attempt, Milestone, OperatorId, PanicReport};
use crate::runtime::guard::catch_panic;
use crate::runtime::yield_now;
use crate::task::milestones::{Full, SourcePlace, WAITING_MAX, Waits};
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

/// To the task that has an operator: answer this query of its state, once that has been given this milestone. May be lost with the attempt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeQuery {
    operator: OperatorId,
    query: Box<dyn Any + Send>,
    behind: Milestone,
    reply: oneshot::Sender<Answer>,
    _waits: Option<Waits>,
}

/// The query with its answer, and whether the operator had one; or how answering it panicked.
pub(crate) type Answer = Result<(Asked, Box<dyn Any + Send>), PanicReport>;

/// Where the queries of one subtask go, in one attempt.
#[derive(Clone, Default)]
pub(crate) struct QueryPlace(Arc<Mutex<Place>>);

#[derive(Default)]
enum Place {
    /// Until the subtask is ready.
    #[default]
    NotReady,
    Open(Open),
    /// The attempt ends. Its subtask may not: one whose function does not return is left behind.
    Closed,
}

/// The subtask is ready.
struct Open {
    task: Recipient<TakeQuery>,
    attempt: Attempt,
    waiting: Arc<AtomicUsize>,
    /// Dropped with this: then nobody waits any longer.
    closes: watch::Sender<()>,
}

/// A query that was sent to a subtask.
pub(crate) struct SentQuery {
    pub(crate) attempt: Attempt,
    /// Nowhere, if the subtask ends before.
    pub(crate) answer: oneshot::Receiver<Answer>,
    /// Fails once the attempt ends.
    pub(crate) closes: watch::Receiver<()>,
    /// Of one that waits for a milestone: the task may have nothing to do for long, and not see that it is given up.
    _waits: Option<Waits>,
}

impl QueryPlace {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subtask is ready.
    fn open(&self, task: Recipient<TakeQuery>, attempt: Attempt) {
        let mut place = self.lock();
        if matches!(*place, Place::NotReady) {
            let (closes, _) = watch::channel(());
            *place = Place::Open(Open { task, attempt, waiting: Arc::default(), closes });
        }
    }

    /// The attempt ends: no query is taken any more, and nobody waits for the answer of one.
    pub(crate) fn close(&self) {
        let before = std::mem::replace(&mut *self.lock(), Place::Closed);
        drop(before);
    }

    /// Sends a query of an operator to the subtask, to be answered behind a milestone of an attempt, if one is given. `None` if the subtask
    /// is not ready, its attempt ends, or is another one.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn send(
        &self,
        operator: &OperatorId,
        query: Box<dyn Any + Send>,
        behind: Option<(Attempt, Milestone)>,
    ) -> Result<Option<SentQuery>, Full> {
        let place = self.lock();
        let Place::Open(Open { task, attempt, waiting, closes }) = &*place else { return Ok(None) };
        if behind.is_some_and(|(of, _)| of != *attempt) {
            return Ok(None);
        }
        let waits = Some(Waits::begin(waiting)?);
        let (reply, answer) = oneshot::channel();
        let (in_task, here) = if behind.is_some() { (None, waits) } else { (waits, None) };
        let behind = behind.map_or(Milestone::NONE, |(_, milestone)| milestone);
        task.do_send(TakeQuery { operator: operator.clone(), query, behind, reply, _waits: in_task });
        Ok(Some(SentQuery { attempt: *attempt, answer, closes: closes.subscribe(), _waits: here }))
    }
}

impl fmt::Debug for QueryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryPlace(open: {})", matches!(*self.lock(), Place::Open(_)))
    }
}

/// What answers queries from a checkpoint, by operator. It outlives the attempt that has put it there.
#[derive(Clone, Default)]
pub(crate) struct StoredReaders(Arc<Mutex<BTreeMap<OperatorId, StoredReader>>>);

/// Of one operator. One query at a time.
pub(crate) type StoredReader = Arc<Mutex<Box<dyn StoredStates>>>;

impl StoredReaders {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<OperatorId, StoredReader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, readers: impl IntoIterator<Item = (OperatorId, Box<dyn StoredStates>)>) {
        let mut known = self.lock();
        for (operator, reader) in readers {
            known.entry(operator).or_insert_with(|| Arc::new(Mutex::new(reader)));
        }
    }

    /// That of an operator, once one of its subtasks has been ready.
    pub(crate) fn of(&self, operator: &OperatorId) -> Option<StoredReader> {
        self.lock().get(operator).cloned()
    }
}

impl fmt::Debug for StoredReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

/// What a subtask is given for queries.
#[derive(Clone, Debug, Default)]
pub struct QueryPort {
    pub(crate) place: QueryPlace,
    pub(crate) readers: StoredReaders,
    pub(crate) source: SourcePlace,
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
