//! Where queries of a subtask's state go, in its attempts.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};
use tokio::sync::{oneshot, watch};

use crate::contract::{Asked, StoredStates};
use crate::protocol::{Attempt, Milestone, OperatorId, PanicReport};
use crate::task::milestones::{Full, SourcePlace, Waits};

/// To the task that has an operator: answer this query of its state, once that has been given this milestone. May be lost with the attempt.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeQuery {
    pub(super) operator: OperatorId,
    pub(super) query: Box<dyn Any + Send>,
    pub(super) behind: Milestone,
    pub(super) reply: oneshot::Sender<Answer>,
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
    pub(super) fn open(&self, task: Recipient<TakeQuery>, attempt: Attempt) {
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

    pub(super) fn take(&self, readers: impl IntoIterator<Item = (OperatorId, Box<dyn StoredStates>)>) {
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
