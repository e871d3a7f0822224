//! Asks for records outside, and passes answers on.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use millstream_actors::contract::{
    Batch, BatchOperator, Clock, Demand, Held, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError,
    Stateful,
};
use millstream_actors::protocol::{Mark, NO_TIME, OperatorId, TaskError, Timestamp};
use millstream_actors::runtime::guard::{note_record, noting};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::requests::{DueRequest, Requests};
use super::waiting::{Leaving, Record, Waiting};
use super::{AsyncError, AsyncWait};
use crate::operator::{HeldStates, json_text};
use crate::state::{Ended, OperatorListState, Reached, Said, Share, take_notes};

/// The state with the records that wait.
pub(crate) const IN_FLIGHT: &str = "in-flight";

/// So many records are asked for, or answered, between two looks at the time.
const LOOK_EVERY: u32 = 8;

/// So many records, or bytes of them as their source counts them, that come before a barrier are taken beside those that are asked
/// for. A barrier that has more before it waits until some are answered.
const UNASKED_MAX: (usize, usize) = (1 << 16, 64 << 20);

/// Where the task has not come to look for so long, though there was something to look at, that time does not count against answers.
const STALL_MIN: Duration = Duration::from_millis(50);

/// Deadlines are multiples of such a part of the time-out, so that the alarm is not set anew for each record.
const DEADLINES_IN_TIMEOUT: u32 = 128;

/// A record that waited, and its event time.
type InFlight<T> = (T, Option<Timestamp>);

/// Calls an asynchronous function `F`, whose futures are `Fut`, with each record. After Flink's `AsyncWaitOperator`.
///
/// The futures are polled between the task's other work, on its arbiter. What waits is in each snapshot, and is asked for again by who
/// restores that; marks are held back and not in it, since every stream before says them anew.
pub struct AsyncMap<T, U, F, Fut> {
    operator: OperatorId,
    share: Share,
    clock: Arc<dyn Clock>,
    wait: AsyncWait<T, U>,
    function: F,
    waiting: Waiting<T, U>,
    requests: Requests<Fut>,
    woken: Arc<Woken>,
    /// Of [`Woken`].
    waker: Waker,
}

/// That something may have an answer, or is to be looked at again.
struct Woken {
    /// Since when, in nanoseconds of the clock, or [`NEVER`].
    since: AtomicU64,
    clock: Arc<dyn Clock>,
    /// Has the operator asked when it is due.
    task: OnceLock<Waker>,
}

/// It is not set.
const NEVER: u64 = u64::MAX;

impl Woken {
    /// Whether it was not set before. Writes in any case: what was done before is seen by whoever takes it next.
    fn set(&self) -> bool {
        let now = u64::try_from(self.clock.now().as_nanos()).unwrap_or(NEVER).min(NEVER - 1);
        self.since.fetch_min(now, Ordering::AcqRel) == NEVER
    }

    fn is_set(&self) -> bool {
        self.since.load(Ordering::Acquire) != NEVER
    }

    /// Since when it was set, if it was. What is waited for is to be looked at behind this: by an exchange, so that either that is seen,
    /// or whoever wakes later sees that it is not set.
    fn take(&self) -> Option<Duration> {
        Some(self.since.swap(NEVER, Ordering::AcqRel)).filter(|since| *since != NEVER).map(Duration::from_nanos)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.set()
            && let Some(task) = self.task.get()
        {
            task.wake_by_ref();
        }
    }
}

impl<T, U, F, Fut> AsyncMap<T, U, F, Fut>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<U, AsyncError>>,
{
    /// An operator that waits for nothing yet, in one subtask, by this clock.
    pub fn new(operator: OperatorId, share: Share, clock: Arc<dyn Clock>, wait: AsyncWait<T, U>, function: F) -> Self {
        let woken = Arc::new(Woken { since: AtomicU64::new(NEVER), clock: clock.clone(), task: OnceLock::new() });
        Self {
            share,
            clock,
            waiting: Waiting::new(wait.is_ordered),
            wait,
            function,
            requests: Requests::new(),
            operator,
            waker: woken.clone().into(),
            woken,
        }
    }

    /// The state with nothing in it.
    fn in_flight(&self) -> HeldStates<OperatorListState<InFlight<T>>> {
        HeldStates::new(self.operator.clone(), OperatorListState::new(IN_FLIGHT))
    }

    /// Does all that can be done now, until there is no room or no time.
    fn turn(&mut self, out: &mut Output<U>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let mut steps = 0;
        if let Some(since) = self.woken.take() {
            let stalled = self.clock.now().saturating_sub(since);
            if stalled >= STALL_MIN {
                self.requests.postpone(stalled);
            }
        }
        loop {
            while let Some(leaving) = if out.is_full() { None } else { self.waiting.leave() } {
                match leaving {
                    Leaving::Answer { answer, time, bytes } => {
                        out.emit_at(answer, time);
                        out.add_bytes(bytes);
                    }
                    Leaving::Mark(mark) => {
                        out.mark(mark);
                        if mark == Mark::End {
                            return Ok(Progress::Done);
                        }
                    }
                }
            }
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            self.woken.take();
            if !self.take_answer()? && !self.ask()? && !self.take_due()? {
                return Ok(Progress::Done);
            }
            steps += 1;
            if steps % LOOK_EVERY == 0 && budget.check() {
                return Ok(Progress::Suspended);
            }
        }
    }

    /// Asks for some records, if more may wait. Whether it asked.
    fn ask(&mut self) -> Result<bool, TaskError> {
        let room = self.wait.capacity.saturating_sub(self.waiting.asked()).min(LOOK_EVERY as usize);
        if room == 0 || self.waiting.unasked().0 == 0 {
            return Ok(false);
        }
        let deadline = self.deadline();
        for _ in 0..room {
            let Some(number) = self.waiting.ask() else { break };
            self.requests.begin(number, deadline);
            self.call(number)?;
        }
        Ok(true)
    }

    /// When the time is over of a record that is asked for at this moment.
    fn deadline(&self) -> Option<Duration> {
        let deadline = self.clock.now().checked_add(self.wait.timeout)?.as_nanos();
        let part = (self.wait.timeout / DEADLINES_IN_TIMEOUT).as_nanos().max(1);
        u64::try_from(deadline.next_multiple_of(part)).ok().map(Duration::from_nanos)
    }

    /// Calls the function with a record.
    fn call(&mut self, number: u64) -> Result<(), TaskError> {
        let record = self.waiting.unanswered(number).expect("it is asked for and has no answer");
        let future = noting(|| Ok::<_, Infallible>((self.function)(record.clone())), || note_record(json_text(record)));
        let Ok(future) = future;
        self.requests.ask(number, future);
        Ok(())
    }

    /// Takes one answer, if there is one. Whether there was.
    fn take_answer(&mut self) -> Result<bool, TaskError> {
        let Self { requests, waiting, waker, .. } = self;
        let polled = requests.polled();
        let mut context = Context::from_waker(waker);
        let answered = noting(
            || Ok::<_, Infallible>(requests.poll(&mut context)),
            || note_record(waiting.unanswered(polled.get()).and_then(json_text)),
        );
        let Ok(answered) = answered;
        let Some((number, answer)) = answered else { return Ok(false) };
        match answer {
            Ok(answer) => {
                self.requests.settle(number);
                self.waiting.answer(number, answer);
            }
            Err(error) => self.failed(number, error)?,
        }
        Ok(true)
    }

    /// An attempt has failed.
    fn failed(&mut self, number: u64, error: AsyncError) -> Result<(), TaskError> {
        let failed = self.requests.attempts(number);
        let retry = self.wait.retry.as_ref().filter(|_| error.is_retryable());
        let delay = retry.and_then(|retry| retry.delay(failed));
        match delay.and_then(|delay| self.clock.now().checked_add(delay)) {
            Some(at) if self.requests.ask_again(number, at) => Ok(()),
            _ => self.give_up(number, error),
        }
    }

    /// Does one thing whose time has come. Whether there was one.
    fn take_due(&mut self) -> Result<bool, TaskError> {
        match self.requests.take_due(self.clock.now()) {
            Some(DueRequest::TimedOut(number)) => self.give_up(number, AsyncError::timed_out(self.wait.timeout))?,
            Some(DueRequest::Again(number)) => self.call(number)?,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// No answer is waited for any more.
    fn give_up(&mut self, number: u64, error: AsyncError) -> Result<(), TaskError> {
        let attempts = self.requests.attempts(number);
        self.requests.settle(number);
        let record = self.waiting.unanswered(number).expect("it is asked for and has no answer");
        let unanswered = |error: AsyncError| TaskError::Unanswered {
            operator: self.operator.clone(),
            record: json_text(record),
            attempts,
            is_retryable: error.is_retryable(),
            reason: error.into_reason(),
        };
        let instead = || match &self.wait.or_else {
            Some(or_else) => or_else(record.clone(), error).map_err(unanswered),
            None => Err(unanswered(error)),
        };
        let answer = noting(instead, || note_record(json_text(record)))?;
        self.waiting.answer(number, answer);
        Ok(())
    }

    /// Does what can be done beside an element of the input; what is left is done when it is woken.
    fn turn_beside(&mut self, out: &mut Output<U>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        if self.turn(out, budget)? == Progress::Suspended {
            self.look_again();
        }
        Ok(Progress::Done)
    }

    /// It is due at once.
    fn look_again(&self) {
        self.woken.set();
    }
}

impl<T, U, F, Fut> BatchOperator for AsyncMap<T, U, F, Fut>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> Fut + 'static,
    Fut: Future<Output = Result<U, AsyncError>> + 'static,
{
    type In = T;
    type Out = U;

    fn may_hold_end() -> bool {
        true
    }

    fn attach(&mut self, waker: Waker) {
        self.woken.task.get_or_init(|| waker);
    }

    fn process(
        &mut self,
        input: &mut Batch<T>,
        out: &mut Output<U>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let mut front = input.front(input.len());
        let bytes = front.bytes_each();
        let mut time = front.time();
        while let Some(record) = front.next() {
            self.waiting.push(Record { record, time, bytes });
            time = front.time();
        }
        drop(front);
        self.turn_beside(out, budget)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<U>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.waiting.mark(mark);
        self.turn_beside(out, budget)
    }

    fn due(&self) -> Option<Duration> {
        if self.woken.is_set() { Some(Duration::ZERO) } else { self.requests.due() }
    }

    fn wake(&mut self, out: &mut Output<U>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.turn(out, budget)
    }

    fn demand(&self) -> Demand {
        let (records, bytes) = self.waiting.unasked();
        let (records_max, bytes_max) = UNASKED_MAX;
        if records == 0 && self.waiting.asked() < self.wait.capacity {
            Demand::Any
        } else if records < records_max && bytes < bytes_max {
            Demand::BeforeBarrier
        } else {
            Demand::Nothing
        }
    }

    fn held(&self) -> Held {
        self.waiting.held()
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl<T, U, F, Fut> Stateful for AsyncMap<T, U, F, Fut>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<U, AsyncError>>,
{
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        let in_flight = |record: &Record<T>| {
            let time = Some(record.time).filter(|time| *time != NO_TIME);
            (record.record.clone(), time)
        };
        let mut state = self.in_flight();
        state.handles().set(self.waiting.records().map(in_flight).collect());
        state.write(self.share, writer)?;
        Ok(Progress::Done)
    }

    fn restore(&mut self, mut sections: Vec<RestoredSection>) -> Result<(), StateError> {
        // A function that had its place may have written these.
        take_notes::<Ended>(&self.operator, &mut sections)?;
        take_notes::<Reached>(&self.operator, &mut sections)?;
        take_notes::<Said>(&self.operator, &mut sections)?;
        let mut state = self.in_flight();
        state.load(sections, self.share)?;
        for (record, time) in state.handles().take() {
            self.waiting.push(Record { record, time: time.unwrap_or(NO_TIME), bytes: 0 });
        }
        self.look_again();
        Ok(())
    }
}

impl<T, U, F, Fut> fmt::Debug for AsyncMap<T, U, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncMap").field("operator", &self.operator).field("wait", &self.wait).finish_non_exhaustive()
    }
}
