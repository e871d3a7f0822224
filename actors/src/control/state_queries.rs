//! Asks for state: the task that has it, or the newest checkpoint.
//!
//! What is asked, and how it is answered, is the operators' business: a query is opaque here.
//!
//! A query that is to see a record waits twice: until the source has read the record, and until the operator has been given a milestone that
//! all sources of the region send behind what they have read by then. Both are of one attempt, whose state is the effect of what its sources
//! have read since the checkpoint that it restored, and of what that covers. If another one begins meanwhile, what was waited for counts for
//! nothing.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::contract::{
    Asked, ChunkRef, Located, Manifest, RestoredChunk, RestoredState, SnapshotError, StateScope, StoredGroup, owner_of,
};
use crate::control::job_context::JobContext;
use crate::control::lock::lock;
use crate::control::outcome::Published;
use crate::control::pins::Pin;
use crate::control::query_board::{QueryBoard, task_of};
use crate::protocol::{
    Attempt, CheckpointId, Claim, KeyGroupRange, Milestone, OperatorId, QueryError, RETRY_AFTER, RegionId, Succession,
    TaskId, subtask_of_group,
};
use crate::runtime::blocking;
use crate::runtime::guard::{catch_panic, tell_host};
use crate::runtime::spawn_here;
use crate::task::{AwaitedRead, Full, SentQuery, StoredReader, TaskSpec};

/// A query as it travels. The answer comes back in it.
pub type OpaqueQuery = Box<dyn Any + Send>;

/// Queries that may read a checkpoint at a time, of all that a job is asked.
const READING_MAX: usize = 16;

/// How often a checkpoint is read anew that has expired meanwhile.
const READ_TRIES: u32 = 3;

/// Asks for the state of a job's operators.
#[derive(Clone)]
pub struct StateQueries {
    pub(crate) board: Arc<QueryBoard>,
    pub(crate) outcome: watch::Receiver<Published>,
}

/// An operator of the job, as it was found by its id or name.
#[derive(Clone, Debug)]
pub struct QueriedOperator {
    /// Its id.
    pub id: OperatorId,
    /// Key groups of the job.
    pub max_parallelism: u32,
    task: TaskId,
    region: RegionId,
}

/// A record that has been read in an attempt, and from when on the operators of its region have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    attempt: Attempt,
    milestone: Milestone,
}

/// A place in what a source reads, in front of the operator that is asked.
#[derive(Clone, Debug)]
pub struct AwaitedPlace {
    task: TaskId,
    source: OperatorId,
    split: String,
    offset: u64,
}

/// What a checkpoint has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromCheckpoint {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// How long ago it was triggered, by the job's clock.
    pub age: Duration,
    /// Bytes that were read for the answer.
    pub bytes_read: u64,
}

impl fmt::Debug for StateQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateQueries({:?})", self.board)
    }
}

impl StateQueries {
    /// Finds an operator by its id, or its name.
    ///
    /// # Errors
    /// [`QueryError::UnknownOperator`], [`QueryError::JobEnded`].
    pub fn operator(&self, operator: &str) -> Result<QueriedOperator, QueryError> {
        let job = self.job()?;
        let plan = job.layout();
        let Some((task, id)) = task_of(&plan.spec.tasks, operator) else {
            let known = plan.spec.tasks.iter().flat_map(|task| &task.operators);
            let known = known.map(|operator| operator.id().as_str().into()).collect();
            return Err(QueryError::UnknownOperator { operator: operator.into(), known });
        };
        let (id, max_parallelism) = (id.clone(), plan.spec.max_parallelism);
        Ok(QueriedOperator { id, max_parallelism, task: task.id, region: task.region })
    }

    /// The subtask that has a key group, and one past its last group.
    ///
    /// # Errors
    /// [`QueryError::Restarting`], [`QueryError::NoKeyedState`], [`QueryError::JobEnded`].
    pub fn subtask_of(&self, operator: &QueriedOperator, group: u32) -> Result<(u32, u32), QueryError> {
        let max = operator.max_parallelism;
        match self.board.places(operator.task, &operator.id).len() as u32 {
            0 => Err(self.not_running(operator)),
            subtasks if subtasks > max => Err(QueryError::NoKeyedState { operator: operator.id.clone() }),
            subtasks => {
                let subtask = subtask_of_group(group, subtasks, max);
                Ok((subtask, KeyGroupRange::of_subtask(subtask, subtasks, max).end))
            }
        }
    }

    /// Where a place that the program was told of lies, of which a record is that a query is to see.
    ///
    /// # Errors
    /// [`QueryError::UnknownPosition`], [`QueryError::PositionLost`], [`QueryError::NotDownstream`], [`QueryError::JobEnded`].
    pub fn locate(&self, operator: &QueriedOperator, place: &dyn Any) -> Result<AwaitedPlace, QueryError> {
        let plan = self.job()?.layout();
        for task in &plan.spec.tasks {
            let Some(source) = task.operators.first().map(|source| source.id().clone()) else { continue };
            let located = catch_panic(|| task.factory.locate(place));
            return match located.map_err(|report| QueryError::Panicked { report })? {
                Located::Elsewhere => continue,
                Located::Lost { reason } => Err(QueryError::PositionLost { source_id: source, reason }),
                Located::At { .. } if !leads_to(&plan.spec.tasks, task.id, operator.task) => {
                    Err(QueryError::NotDownstream { operator: operator.id.clone(), source_id: source })
                }
                Located::At { split, offset } => Ok(AwaitedPlace { task: task.id, source, split, offset }),
            };
        }
        Err(QueryError::UnknownPosition { operator: operator.id.clone() })
    }

    /// Waits until all of these places have been read, in one attempt, for `within` each, by the job's clock.
    ///
    /// # Errors
    /// [`QueryError::NotReached`], [`QueryError::Restarting`], [`QueryError::Overloaded`], [`QueryError::JobEnded`].
    pub async fn reach(
        &self,
        operator: &QueriedOperator,
        places: &[AwaitedPlace],
        within: Duration,
    ) -> Result<Reached, QueryError> {
        let mut awaited = Vec::with_capacity(places.len());
        for place in places {
            let subtasks = self.board.sources(place.task, &place.source);
            let owner = owner_of(&place.split, subtasks.len() as u32);
            let subtask = owner.and_then(|owner| subtasks.get(owner as usize));
            let sent = subtask.map(|subtask| subtask.await_read(place.split.clone(), place.offset)).transpose();
            let sent = sent.map_err(overloaded)?.flatten();
            awaited.push((place, sent.ok_or_else(|| self.not_running(operator))?));
        }
        let mut attempts = Vec::with_capacity(awaited.len());
        for (place, AwaitedRead { attempt, told, mut closes, .. }) in awaited {
            let clock = self.job()?.clock.clone();
            let told = before(async { drop(closes.changed().await) }, told);
            let after = || QueryError::NotReached { source_id: place.source.clone(), after: within };
            let told = before(clock.sleep(within), told).await.ok_or_else(after)?;
            let is_read = matches!(told, Some(Ok(())));
            attempts.push(is_read.then_some(attempt).ok_or_else(|| self.not_running(operator))?);
        }
        let attempt = attempts.first().copied().filter(|first| attempts.iter().all(|attempt| attempt == first));
        let emit = |attempt| {
            // After all of them are read: what the sources send from here on is behind that.
            let milestone = self.board.emit_milestone(&self.job()?.layout().spec.tasks, operator.region, attempt);
            Ok::<_, QueryError>(milestone.map(|milestone| Reached { attempt, milestone }))
        };
        let reached = attempt.map(emit).transpose()?.flatten();
        reached.ok_or_else(|| self.not_running(operator))
    }

    /// Sends a query to a subtask of the operator, and waits for the answer for `within`, by the job's clock. If something is to be
    /// `reached`, it is answered once the operator has that.
    ///
    /// # Errors
    /// [`QueryError::Restarting`], [`QueryError::Overloaded`], [`QueryError::TimedOut`], [`QueryError::NoKeyedState`],
    /// [`QueryError::Panicked`], [`QueryError::JobEnded`].
    ///
    /// # Cancellation
    /// The query is dropped where it waits.
    pub async fn ask(
        &self,
        operator: &QueriedOperator,
        subtask: u32,
        query: OpaqueQuery,
        within: Duration,
        reached: Option<Reached>,
    ) -> Result<(OpaqueQuery, Attempt), QueryError> {
        let clock = self.job()?.clock.clone();
        let places = self.board.places(operator.task, &operator.id);
        // There may be others than when it was asked which.
        let Some(place) = places.get(subtask as usize) else { return Err(self.not_running(operator)) };
        let behind = reached.map(|Reached { attempt, milestone }| (attempt, milestone));
        let sent = place.send(&operator.id, query, behind).map_err(overloaded)?;
        let Some(SentQuery { attempt, answer, mut closes, .. }) = sent else { return Err(self.not_running(operator)) };
        // A subtask that is left behind keeps what it was sent.
        let answer = before(async { drop(closes.changed().await) }, answer);
        let answer = before(clock.sleep(within), answer).await.ok_or(QueryError::TimedOut { after: within })?;
        match answer {
            Some(Ok(Ok((Asked::NotForQueries, _)))) => Err(QueryError::NoKeyedState { operator: operator.id.clone() }),
            Some(Ok(Ok((Asked::Answered | Asked::Suspended, query)))) => Ok((query, attempt)),
            Some(Ok(Err(report))) => Err(QueryError::Panicked { report }),
            Some(Err(_)) | None => Err(self.not_running(operator)),
        }
    }

    /// Answers queries of one state from the newest checkpoint, the same for all: reads all that it has of the state in the key group of
    /// each, on a thread for calls that block, and waits for that for `within`, by the job's clock.
    ///
    /// # Errors
    /// [`QueryError::NoCheckpoint`], [`QueryError::Checkpoint`], [`QueryError::Restarting`] before the operator has been ready once,
    /// and as [`ask`](Self::ask).
    ///
    /// # Cancellation
    /// What is being read is read all the same.
    pub async fn ask_checkpoint(
        &self,
        operator: &QueriedOperator,
        state: &Arc<str>,
        queries: Vec<(u32, OpaqueQuery)>,
        within: Duration,
    ) -> Result<(Vec<OpaqueQuery>, FromCheckpoint), QueryError> {
        let (answer, clock) = {
            let job = self.job()?;
            if self.board.newest().is_none() {
                return Err(QueryError::NoCheckpoint { retry_after: RETRY_AFTER });
            }
            let Some(reader) = self.board.readers().of(&operator.id) else {
                return Err(self.not_running(operator));
            };
            let reading = Reading::begin(&self.board.reading)?;
            let (board, tells_host) = (self.board.clone(), job.tells_host);
            let asked = AskedOfStore { operator: operator.id.clone(), state: state.clone(), queries };
            let (sender, answer) = oneshot::channel();
            let read = move || {
                let _reading = reading;
                tell_host(tells_host);
                // Nobody may wait any more.
                drop(sender.send(catch_panic(|| read_newest(&board, &reader, asked))));
            };
            job.pool.control().spawn_fn(move || spawn_here(blocking(read)));
            (answer, job.clock.clone())
        };
        let answer = before(clock.sleep(within), answer).await.ok_or(QueryError::TimedOut { after: within })?;
        match answer {
            Ok(Ok(answered)) => answered,
            Ok(Err(report)) => Err(QueryError::Panicked { report }),
            Err(_) => Err(self.not_running(operator)),
        }
    }

    /// The error of a query that found another parallelism than when it was sent.
    pub fn moved(&self, operator: &QueriedOperator) -> QueryError {
        QueryError::Restarting { region: operator.region, retry_after: RETRY_AFTER }
    }

    fn job(&self) -> Result<Arc<JobContext>, QueryError> {
        let job = self.board.job().filter(|_| self.outcome.borrow().is_none());
        job.ok_or(QueryError::JobEnded)
    }

    /// The operator does not take queries: its region does not run, or it has no state of keys.
    fn not_running(&self, operator: &QueriedOperator) -> QueryError {
        let Ok(job) = self.job() else { return QueryError::JobEnded };
        let (memory, region) = (lock(&job.memory), operator.region);
        if memory.running.contains_key(&region) && self.board.readers().of(&operator.id).is_none() {
            return QueryError::NoKeyedState { operator: operator.id.clone() };
        }
        if memory.parked.contains_key(&region) {
            return QueryError::Parked { region };
        }
        let left = memory.restarts_at.get(&region).map(|(_, at)| at.saturating_sub(job.clock.now()));
        QueryError::Restarting { region, retry_after: left.unwrap_or_default().max(RETRY_AFTER) }
    }
}

fn overloaded(full: Full) -> QueryError {
    QueryError::Overloaded { waiting: full.waiting, retry_after: RETRY_AFTER }
}

/// Whether what a task emits comes to another one, or is taken in that task itself.
fn leads_to(tasks: &[TaskSpec], from: TaskId, to: TaskId) -> bool {
    // Tasks are in topological order.
    let mut reached = BTreeSet::from([from]);
    for task in tasks {
        if reached.contains(&task.id) {
            reached.extend(task.outputs.iter().map(|edge| edge.to));
        }
    }
    reached.contains(&to)
}

/// A query that reads a checkpoint, for as long as this lives.
struct Reading(Arc<AtomicUsize>);

impl Reading {
    fn begin(reading: &Arc<AtomicUsize>) -> Result<Self, QueryError> {
        let before = reading.fetch_add(1, Ordering::Relaxed);
        let begun = Self(reading.clone());
        if before >= READING_MAX {
            return Err(QueryError::Overloaded { waiting: before, retry_after: RETRY_AFTER });
        }
        Ok(begun)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What `answer` gives, unless `end` comes first.
pub(crate) async fn before<T>(end: impl Future<Output = ()>, answer: impl Future<Output = T>) -> Option<T> {
    let (mut end, mut answer) = (pin!(end), pin!(answer));
    poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// What is asked of a checkpoint.
struct AskedOfStore {
    operator: OperatorId,
    state: Arc<str>,
    /// Each with its key group.
    queries: Vec<(u32, OpaqueQuery)>,
}

/// Has queries answered from the newest checkpoint. Blocks.
fn read_newest(
    board: &QueryBoard,
    reader: &StoredReader,
    mut asked: AskedOfStore,
) -> Result<(Vec<OpaqueQuery>, FromCheckpoint), QueryError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let job = board.job().ok_or(QueryError::JobEnded)?;
        let manifest = board.newest().ok_or(QueryError::NoCheckpoint { retry_after: RETRY_AFTER })?;
        let checkpoint = manifest.checkpoint;
        let _pin = Pin::new(&job.pins, checkpoint);
        match answer_from(&job, &manifest, reader, &mut asked) {
            Ok(bytes_read) => {
                let age = Duration::from_millis(job.clock.unix_ms().saturating_sub(manifest.triggered_unix_ms));
                let queries = asked.queries.into_iter().map(|(_, query)| query).collect();
                return Ok((queries, FromCheckpoint { checkpoint, age, bytes_read }));
            }
            Err(SnapshotError::Closed { .. }) => return Err(QueryError::JobEnded),
            // It may have expired before it was pinned.
            Err(_) if tries < READ_TRIES && board.newest().is_some_and(|newest| newest.checkpoint != checkpoint) => {}
            Err(error) => return Err(QueryError::Checkpoint { checkpoint, error: Arc::new(error) }),
        }
    }
}

/// Has queries answered from a checkpoint, and gives how many bytes were read. One that was answered before is answered anew.
fn answer_from(
    job: &JobContext,
    manifest: &Manifest,
    reader: &StoredReader,
    AskedOfStore { operator, state, queries }: &mut AskedOfStore,
) -> Result<u64, SnapshotError> {
    let mut bytes_read = 0;
    for (group, query) in queries {
        let (bytes, mut sections) = read(job, manifest, operator, state, *group)?;
        bytes_read += bytes;
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (checkpoint, is_of_this_run) = (manifest.checkpoint, manifest.incarnation == job.incarnation);
        let sections = &sections.take(operator);
        reader.query(StoredGroup { checkpoint, is_of_this_run, group: *group, sections }, &mut **query);
    }
    Ok(bytes_read)
}

/// The sections of a state in a key group, and how many bytes they have.
fn read(
    job: &JobContext,
    manifest: &Manifest,
    operator: &OperatorId,
    state: &str,
    group: u32,
) -> Result<(u64, RestoredState), SnapshotError> {
    let plan = job.layout();
    let succession = plan.spec.successions().find(|succession| succession.id == *operator);
    let of_group = || manifest.chunks.iter().filter(|chunk| chunk.address.scope == StateScope::KeyGroup(group));
    let chunks = succession.into_iter().flat_map(|of| of_group().filter_map(move |chunk| claimed(of, chunk)));
    let store = job.chunks_of(manifest);
    let (mut bytes_read, mut read) = (0, Vec::new());
    for (chunk, today, is_renamed) in chunks.filter(|(_, today, _)| **today == *state) {
        let mut address = chunk.address.clone();
        (address.operator, address.state) = (operator.clone(), today);
        bytes_read += u64::from(chunk.len);
        read.push(RestoredChunk { address, is_renamed, bytes: store.read_chunk(chunk)? });
    }
    Ok((bytes_read, RestoredState::from_chunks(read)))
}

/// A chunk that is the operator's, and the name that its state has now.
fn claimed<'a>(of: &Succession, chunk: &'a ChunkRef) -> Option<(&'a ChunkRef, Arc<str>, bool)> {
    match of.claim(&chunk.address) {
        Claim::Taken { state, is_renamed } => Some((chunk, state, is_renamed)),
        Claim::Foreign | Claim::Dropped => None,
    }
}
