//! What waits to become durable: bounded in records and bytes. Senders for whom there is no room wait in their order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::askers::{Given, GivenCall};
use super::batch::RECORD_OVERHEAD;
use super::record::{EncodedRecord, IngestReceipt};
use super::{IngestError, IngestLogError};

/// Receipts of one call; most have one.
pub(super) type Receipts = SmallVec<[IngestReceipt; 1]>;

/// Where a call is answered.
pub(super) type Answer = oneshot::Receiver<Result<Receipts, IngestError>>;

/// Where many have just been told, most of them are about to send again: the writer waits so long for that, at most, rather than
/// sync for the first few.
const GATHER_MAX: Duration = Duration::from_micros(200);

/// From this many waiting senders on, those that have given up are removed from time to time.
const SWEEP_MIN: usize = 64;

/// Records that are to become durable together, and who waits for that.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) records: Vec<EncodedRecord>,
    pub(super) size: Size,
    pub(super) reply: oneshot::Sender<Result<Receipts, IngestError>>,
}

/// How much of something there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Size {
    pub(super) fn of(records: &[EncodedRecord]) -> Self {
        Self { records: records.len(), bytes: records.iter().map(EncodedRecord::size).sum() }
    }

    /// What it takes of the log, at most.
    pub(super) fn stored(self) -> u64 {
        self.bytes.saturating_add(self.records.saturating_mul(RECORD_OVERHEAD)) as u64
    }
}

/// Whether a log takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It does.
    Open,
    /// The job is about to stop reading, and may go on after all.
    Draining,
    /// The job is about to end its input: all that is acknowledged is read before that, and nothing else is acknowledged.
    Finishing,
    /// Nobody reads it any more.
    Ended,
}

/// What its writer is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Make these durable, if any, and remove what is not needed.
    Write(Vec<Call>, Vec<GivenCall>),
    /// Try again what has failed.
    Retry,
    /// Open the file again: it could not be read.
    Reopen,
    /// Let go of the log.
    End,
}

/// See the module.
pub(crate) struct Queue {
    log: Arc<str>,
    most: Size,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// It cannot be written any more.
    lost: Option<Arc<IngestLogError>>,
    calls: VecDeque<Call>,
    /// Answers that are to be written. They take no room: each is of a record that was let in.
    given: Vec<GivenCall>,
    /// Of the room so much is taken: by calls that wait or are written, and by those about to.
    taken: Size,
    waiting: VecDeque<Waiter>,
    sweep_at: usize,
    /// Calls are being written.
    is_writing: bool,
    /// How many were written together last.
    written_last: usize,
    /// The writer is woken when so many wait.
    wake_at: usize,
    /// Something is not needed any more.
    trims: bool,
    /// Senders wait for the log to be trimmed, and that was said.
    is_full: bool,
    /// The file could not be read, and may have to be opened again for that.
    is_suspect: bool,
}

struct Waiter {
    size: Size,
    room: oneshot::Sender<Result<Room, IngestError>>,
}

/// How a sender is let in.
pub(super) enum Admission {
    /// At once.
    Now(Room),
    /// When it is told.
    Later(Waiting),
}

/// A sender that waits for room. When it gives up, those behind it may be let in.
pub(super) struct Waiting {
    queue: Arc<Queue>,
    told: oneshot::Receiver<Result<Room, IngestError>>,
}

impl Waiting {
    /// Waits for it.
    pub(super) async fn room(&mut self) -> Result<Room, IngestError> {
        (&mut self.told).await.unwrap_or_else(|_| Err(self.queue.left_without_answer()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.told.close();
        self.queue.let_in();
    }
}

/// Room for a call; given back when it is dropped.
pub(super) struct Room {
    queue: Arc<Queue>,
    size: Size,
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.size != Size::default() {
            self.queue.release(self.size);
        }
    }
}

impl Room {
    /// Has the records written. Answers where to wait for that.
    ///
    /// # Errors
    /// What [`Queue::refusal`] says.
    pub(super) fn fill(mut self, records: Vec<EncodedRecord>) -> Result<Answer, IngestError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.clone();
        let mut state = queue.lock();
        if let Some(error) = queue.refusal(&state) {
            drop(state);
            return Err(error);
        }
        // The room is the call's now.
        state.calls.push_back(Call { records, size: std::mem::take(&mut self.size), reply });
        let is_enough = state.calls.len() == state.wake_at;
        drop(state);
        if is_enough {
            queue.changed.notify_one();
        }
        Ok(answer)
    }
}

impl State {
    fn has_room(&self, size: Size, most: Size) -> bool {
        self.taken.records + size.records <= most.records && self.taken.bytes + size.bytes <= most.bytes
    }

    fn take(&mut self, size: Size) {
        self.taken.records += size.records;
        self.taken.bytes += size.bytes;
    }

    /// How many of the calls are together at most so many bytes in the log.
    fn calls_within(&self, log_room: u64) -> usize {
        let sizes = self.calls.iter().scan(0, |bytes, call| {
            *bytes += call.size.stored();
            Some(*bytes)
        });
        sizes.take_while(|bytes| *bytes <= log_room).count()
    }

    /// Senders that have given up are not kept.
    fn sweep(&mut self) {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|waiter| !waiter.room.is_closed());
            self.sweep_at = SWEEP_MIN.max(2 * self.waiting.len());
        }
    }
}

impl Queue {
    pub(super) fn new(log: Arc<str>, most: Size) -> Self {
        let state = State {
            phase: Phase::Open,
            lost: None,
            calls: VecDeque::new(),
            given: Vec::new(),
            taken: Size::default(),
            waiting: VecDeque::new(),
            sweep_at: SWEEP_MIN,
            is_writing: false,
            written_last: 0,
            wake_at: 1,
            trims: false,
            is_full: false,
            is_suspect: false,
        };
        Self { log, most, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it takes nothing, if it does not.
    fn refusal(&self, state: &State) -> Option<IngestError> {
        let log = self.log.clone();
        match state.phase {
            Phase::Draining | Phase::Finishing => Some(IngestError::Draining { log }),
            Phase::Ended => Some(IngestError::Ended { log }),
            Phase::Open => state.lost.clone().map(IngestError::Log),
        }
    }

    /// Why a sender was left without an answer: the writer has panicked.
    pub(crate) fn left_without_answer(&self) -> IngestError {
        self.refusal(&self.lock()).unwrap_or_else(|| {
            let (what, reason) = ("its writer".to_owned(), "it gave no answer".to_owned());
            IngestError::Log(Arc::new(IngestLogError::Damaged { log: self.log.clone(), what, reason }))
        })
    }

    /// Refuses more than there may be at a time.
    pub(super) fn check_size(&self, size: Size) -> Result<(), IngestError> {
        if size.records > self.most.records || size.bytes > self.most.bytes {
            let (records_max, bytes_max) = (self.most.records, self.most.bytes);
            return Err(IngestError::TooLarge { records: size.records, bytes: size.bytes, records_max, bytes_max });
        }
        Ok(())
    }

    fn check(&self, state: &State, size: Size) -> Result<(), IngestError> {
        self.check_size(size)?;
        self.refusal(state).map_or(Ok(()), Err)
    }

    /// Room for so much, behind all that wait for it.
    pub(super) fn admit(self: &Arc<Self>, size: Size) -> Result<Admission, IngestError> {
        let mut state = self.lock();
        self.check(&state, size)?;
        if state.waiting.is_empty() && state.has_room(size, self.most) {
            state.take(size);
            return Ok(Admission::Now(Room { queue: self.clone(), size }));
        }
        state.sweep();
        let (room, told) = oneshot::channel();
        state.waiting.push_back(Waiter { size, room });
        drop(state);
        Ok(Admission::Later(Waiting { queue: self.clone(), told }))
    }

    /// Room for so much now.
    pub(super) fn try_admit(self: &Arc<Self>, size: Size) -> Result<Room, IngestError> {
        let mut state = self.lock();
        self.check(&state, size)?;
        if state.waiting.iter().all(|waiter| waiter.room.is_closed()) && state.has_room(size, self.most) {
            state.take(size);
            return Ok(Room { queue: self.clone(), size });
        }
        let Size { records, bytes } = state.taken;
        Err(IngestError::Full { log: self.log.clone(), records, bytes })
    }

    fn release(self: &Arc<Self>, size: Size) {
        let mut state = self.lock();
        state.taken.records -= size.records;
        state.taken.bytes -= size.bytes;
        drop(state);
        self.let_in();
    }

    /// Tells those who wait that there is room, as many as it takes.
    fn let_in(self: &Arc<Self>) {
        let mut told = Vec::new();
        let mut state = self.lock();
        while let Some(first) = state.waiting.front() {
            let (size, has_given_up) = (first.size, first.room.is_closed());
            if !has_given_up && !state.has_room(size, self.most) {
                break;
            }
            let Some(waiter) = state.waiting.pop_front() else { break };
            if !has_given_up {
                state.take(size);
                told.push((waiter.room, Room { queue: self.clone(), size }));
            }
        }
        drop(state);
        for (waiter, room) in told {
            // One that has just given up gives its room back.
            let _ = waiter.send(Ok(room));
        }
    }

    /// What is to be written next, of calls that are together at most `log_room` bytes. Waits for it, and no longer than `retry_in`
    /// where something is to be tried again then.
    pub(super) fn next(&self, log_room: u64, retry_in: Option<Duration>) -> Work {
        let mut state = self.lock();
        let mut has_gathered = false;
        loop {
            if state.phase == Phase::Ended {
                return Work::End;
            }
            if std::mem::take(&mut state.is_suspect) {
                return Work::Reopen;
            }
            let enough = state.written_last - state.written_last / 4;
            if !has_gathered && state.given.is_empty() && (1..enough).contains(&state.calls.len()) {
                has_gathered = true;
                state = self.gather(state, enough);
                continue;
            }
            let count = state.calls_within(log_room);
            let trims = std::mem::take(&mut state.trims) && state.lost.is_none();
            if count > 0 || trims || !state.given.is_empty() {
                state.is_writing = true;
                state.is_full &= count == 0;
                state.written_last = count;
                let calls = state.calls.drain(..count).collect();
                return Work::Write(calls, std::mem::take(&mut state.given));
            }
            if !state.calls.is_empty() && !std::mem::replace(&mut state.is_full, true) {
                log::warn!(
                    target: "millstream::ingest",
                    "ingest log {} is full: senders wait until a checkpoint lets it be trimmed. If none does, the job takes no \
                     checkpoints, or its program says restore_from: leave that out once the job has checkpoints of its own",
                    self.log
                );
            }
            let Some(delay) = retry_in.filter(|_| state.lost.is_none()) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.changed.wait_timeout(state, delay).unwrap_or_else(PoisonError::into_inner);
            if waited.1.timed_out() {
                return Work::Retry;
            }
            state = waited.0;
        }
    }

    /// Waits until enough calls are there, but not for long.
    fn gather<'a>(&self, mut state: MutexGuard<'a, State>, enough: usize) -> MutexGuard<'a, State> {
        state.wake_at = enough;
        let is_short = |state: &mut State| state.calls.len() < enough && state.phase != Phase::Ended;
        let waited = self.changed.wait_timeout_while(state, GATHER_MAX, is_short);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.wake_at = 1;
        state
    }

    /// What [`next`](Self::next) gave is done, and its room free.
    pub(super) fn done(self: &Arc<Self>, sizes: impl Iterator<Item = Size>) {
        let mut state = self.lock();
        state.is_writing = false;
        for size in sizes {
            state.taken.records -= size.records;
            state.taken.bytes -= size.bytes;
        }
        drop(state);
        self.let_in();
    }

    /// Has answers written, also while no records are taken. Answers where to wait for that.
    ///
    /// # Errors
    /// [`IngestError::Ended`], and [`IngestError::Log`] if it cannot be written any more.
    pub(crate) fn give(&self, given: Vec<Given>) -> Result<oneshot::Receiver<Result<(), IngestError>>, IngestError> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if let Some(error) = self.closed_to_answers(&state) {
            return Err(error);
        }
        state.given.push(GivenCall { given, reply });
        drop(state);
        self.changed.notify_one();
        Ok(answer)
    }

    fn closed_to_answers(&self, state: &State) -> Option<IngestError> {
        let ended = || (state.phase == Phase::Ended).then(|| IngestError::Ended { log: self.log.clone() });
        state.lost.clone().map(IngestError::Log).or_else(ended)
    }

    /// Something of the log is not needed any more.
    pub(super) fn trim(&self) {
        self.lock().trims = true;
        self.changed.notify_one();
    }

    /// The file could not be read.
    pub(super) fn suspect(&self) {
        self.lock().is_suspect = true;
        self.changed.notify_one();
    }

    /// Goes on to this phase, if it comes later than the present one. What waits and is not being written is refused.
    pub(super) fn go_on_to(&self, phase: Phase) {
        let mut state = self.lock();
        if phase > state.phase {
            state.phase = phase;
            self.refuse_all(state);
        }
    }

    /// The log cannot be written any more.
    pub(super) fn lose(&self, error: Arc<IngestLogError>) {
        let mut state = self.lock();
        state.lost.get_or_insert(error);
        self.refuse_all(state);
    }

    fn refuse_all(&self, mut state: MutexGuard<'_, State>) {
        let calls = std::mem::take(&mut state.calls);
        let waiting = std::mem::take(&mut state.waiting);
        for call in &calls {
            state.taken.records -= call.size.records;
            state.taken.bytes -= call.size.bytes;
        }
        let refusal = self.refusal(&state);
        let closed = self.closed_to_answers(&state);
        let given = if closed.is_some() { std::mem::take(&mut state.given) } else { Vec::new() };
        drop(state);
        self.changed.notify_one();
        if let Some(closed) = closed {
            given.into_iter().for_each(|call| drop(call.reply.send(Err(closed.clone()))));
        }
        let Some(error) = refusal else { return };
        // Senders may have given up.
        for waiter in waiting {
            let _ = waiter.room.send(Err(error.clone()));
        }
        for call in calls {
            let _ = call.reply.send(Err(error.clone()));
        }
    }

    /// The job reads again.
    pub(crate) fn read_on(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Draining {
            state.phase = Phase::Open;
        }
    }

    /// Nothing will be added any more, and the input is to end there. Not so once the job has ended: what is there waits for
    /// the next start.
    pub(super) fn is_complete(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Finishing && !state.is_writing
    }

    /// Records that wait, and are being written.
    pub(super) fn taken(&self) -> Size {
        self.lock().taken
    }
}
