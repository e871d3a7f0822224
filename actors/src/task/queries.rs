//! Queries of state, as a task takes them: between its steps, in slices, as many as may wait.
//!
//! A query is a message, so a task to which none is sent does nothing for them. In one turn of the task on its arbiter
//! queries have one slice of time in all; what is left over waits for the next turn, behind a slice of steps.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, WrapFuture, fut};
use tokio::sync::{oneshot, watch};

use crate::contract::{Asked, RunBudget, StoredStates};
use crate::data::input_batch::InputBatch;
use crate::data::pipeline::Pipeline;
use crate::protocol::{Attempt, OperatorId, PanicReport};
use crate::runtime::guard::catch_panic;
use crate::runtime::yield_now;
use crate::task::SliceClock;
use crate::task::stepper::{Task, Work};

/// Queries that may wait for one task: some milliseconds' worth.
const WAITING_MAX: usize = 1_024;

/// Operators that are asked for their state, whatever they take.
pub(crate) trait Queried {
    /// Has an operator answer a query, as far as the budget goes.
    fn query(&mut self, operator: &OperatorId, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked;

    /// What answers queries of them from checkpoints.
    fn stored_states(&mut self) -> Vec<(OperatorId, Box<dyn StoredStates>)>;
}

impl<B: InputBatch> Queried for Pipeline<B> {
    fn query(&mut self, operator: &OperatorId, query: &mut (dyn Any + Send), budget: &mut RunBudget) -> Asked {
        self.query(operator, query, budget)
    }

    fn stored_states(&mut self) -> Vec<(OperatorId, Box<dyn StoredStates>)> {
        self.stored_states()
    }
}

/// To the task that has an operator: answer this query of its state. May be lost with the attempt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeQuery {
    operator: OperatorId,
    query: Box<dyn Any + Send>,
    reply: oneshot::Sender<Answer>,
    _waits: Waits,
}

/// The query with its answer, and whether the operator had one; or how answering it panicked.
pub(crate) type Answer = Result<(Asked, Box<dyn Any + Send>), PanicReport>;

/// A query that waits, for as long as this lives.
struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

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
}

/// Too many queries wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
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

    /// Sends a query of an operator to the subtask. `None` if it is not ready, or its attempt ends.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn send(&self, operator: &OperatorId, query: Box<dyn Any + Send>) -> Result<Option<SentQuery>, Full> {
        let place = self.lock();
        let Place::Open(Open { task, attempt, waiting, closes }) = &*place else { return Ok(None) };
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let waits = Waits(waiting.clone());
        if before >= WAITING_MAX {
            return Err(Full { waiting: before });
        }
        let (reply, answer) = oneshot::channel();
        task.do_send(TakeQuery { operator: operator.clone(), query, reply, _waits: waits });
        Ok(Some(SentQuery { attempt: *attempt, answer, closes: closes.subscribe() }))
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
}

/// Queries that wait in a task.
pub(crate) struct Queries {
    waiting: VecDeque<TakeQuery>,
    /// Of the task's turn.
    budget: RunBudget,
    /// Some have come in this turn, or are left over.
    has_turn: bool,
}

impl Queries {
    pub(crate) fn new(clock: SliceClock) -> Self {
        Self { waiting: VecDeque::new(), budget: RunBudget::start(clock), has_turn: false }
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

impl<W: Work> Handler<TakeQuery> for Task<W> {
    type Result = ();

    fn handle(&mut self, query: TakeQuery, ctx: &mut Context<Self>) {
        let queries = &mut self.stepper.queries;
        queries.waiting.push_back(query);
        if !std::mem::replace(&mut queries.has_turn, true) {
            queries.budget.restart();
            ctx.spawn(fut::ready(()).map(|(), task: &mut Self, ctx| task.end_turn_of_queries(ctx)));
        }
        self.answer_queries();
    }
}
