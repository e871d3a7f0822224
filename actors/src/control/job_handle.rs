//! The user's end of a running job.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use actix::Recipient;
use tokio::sync::{oneshot, watch};

use crate::contract::{Savepoint, monotonic};
use crate::control::checkpoint_coordinator::{RequestCheckpoint, RequestSavepoint};
use crate::control::event::JobEvent;
use crate::control::event_log::{EventLog, JobStatus};
use crate::control::event_subscribers::JobEvents;
use crate::control::figures::{FigureBoard, SubtaskFigures};
use crate::control::job_supervisor::{EndJob, RequestPause, RequestRescale};
use crate::control::metrics::JobMetrics;
use crate::control::outcome::{CheckpointError, JobError, JobOutcome, Published, SavepointError};
use crate::control::parked_region::ResumeRegionError;
use crate::control::pause_error::PauseError;
use crate::control::plan::JobPlan;
use crate::control::query_board::QueryBoard;
use crate::control::region_supervisor::ResumeRegion;
use crate::control::rescale_error::{RescaleError, Rescaled};
use crate::control::state_queries::StateQueries;
use crate::protocol::{CheckpointId, PauseWish, RegionId};
use crate::runtime::block_on::block_on;

/// A future of a handle.
type BoxedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A running job. Clones are one job; survives restarts of everything below it; any thread may use it, and await it on
/// any runtime. Dropping every handle detaches the job: it runs on.
///
/// A program on tokio, or on any other runtime, uses it so:
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let env = StreamEnvironment::new("ticks").checkpointing(Checkpointing::every(Duration::from_millis(10)));
///     env.source("ticks", SequenceSource::unbounded().rate_per_second(1_000)).sink("collected", CollectSink::new());
///     let job = env.start()?;
///
///     let mut events = job.events(100);
///     while job.status().checkpoints == 0 {
///         println!("{:?}", events.next().await);
///     }
///     let outcome = job.drain().await?;
///     assert_eq!(outcome.kind, OutcomeKind::Drained);
///     Ok(())
/// }
/// ```
///
/// A program without a runtime waits by blocking:
///
/// ```
/// use millstream::prelude::*;
///
/// let sink = CollectSink::new();
/// let collected = sink.handle();
/// let env = StreamEnvironment::new("evens");
/// env.source("numbers", SequenceSource::new(0..10)).filter(|n| n % 2 == 0).sink("evens", sink);
/// let outcome = env.start()?.wait()?;
///
/// assert_eq!(outcome.kind, OutcomeKind::Finished);
/// assert_eq!(collected.snapshot(), [0, 2, 4, 6, 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JobHandle {
    pub(crate) name: Arc<str>,
    pub(crate) outcome: watch::Receiver<Published>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) figures: Arc<FigureBoard>,
    pub(crate) queries: Arc<QueryBoard>,
    /// `None` if the job could not be started.
    pub(crate) ports: Option<HandlePorts>,
}

/// Where a job takes orders.
#[derive(Clone)]
pub(crate) struct HandlePorts {
    pub(crate) end: Recipient<EndJob>,
    pub(crate) pause: Recipient<RequestPause>,
    pub(crate) rescale: Recipient<RequestRescale>,
    pub(crate) checkpoint: Recipient<RequestCheckpoint>,
    pub(crate) savepoint: Recipient<RequestSavepoint>,
    /// By region.
    pub(crate) resume_regions: Vec<Recipient<ResumeRegion>>,
}

impl JobHandle {
    /// The job's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tasks and the edges between them, as they are now: a [rescale](Self::rescale) changes them.
    pub fn plan(&self) -> Arc<JobPlan> {
        self.figures.plan()
    }

    /// What the job is doing now, and its figures: checkpoints, interval, restores. After its end, what it was last.
    pub fn status(&self) -> JobStatus {
        let (mut held_back, status) = (self.figures.held_back(self.events.now()), self.events.status());
        held_back.retain(|region, _| !status.parked.contains_key(region));
        JobStatus { held_back, ..status }
    }

    /// All figures of the job, as they are while this is called; after its end what they were last. Reading them disturbs nothing: it
    /// costs tasks nothing, and asks neither them nor the store.
    pub fn metrics(&self) -> JobMetrics {
        self.events.metrics(&self.figures, monotonic())
    }

    /// The figures of all subtasks that have started, in the order of the graph, as they are while this is called; after
    /// the job's end what they were last. Reading them disturbs nothing.
    pub fn figures(&self) -> Vec<SubtaskFigures> {
        self.figures.read()
    }

    /// Asks for the state of its operators. For the `query` of programs, which knows what keys and values are.
    #[doc(hidden)]
    pub fn state_queries(&self) -> StateQueries {
        StateQueries { board: self.queries.clone(), outcome: self.outcome.clone() }
    }

    /// The newest events, oldest first; at most [`Limits::history_len`](crate::protocol::Limits::history_len).
    pub fn history(&self) -> Vec<JobEvent> {
        self.events.history()
    }

    /// Sends every later event to `recipient`, in order, until it is disconnected. Nothing bounds how many wait there. An actor
    /// whose address nobody else has lives until it has handled the event of the job's end.
    pub fn subscribe(&self, recipient: Recipient<JobEvent>) {
        self.events.subscribe(recipient.into());
    }

    /// Every later event, to be awaited on any runtime; ends with the job. At most `capacity` wait, at least 1: beyond that
    /// the oldest are dropped, and counted. For those from the start on see `StreamEnvironment::events`.
    pub fn events(&self, capacity: usize) -> JobEvents {
        let (sender, events) = JobEvents::channel(capacity);
        self.events.subscribe(sender);
        events
    }

    /// Blocks the calling thread until the job has ended and let go of its store: for programs without a runtime. To be
    /// called on a thread of the host's only; a function of the job that waits for it waits for ever.
    ///
    /// # Errors
    /// As the job's own outcome.
    pub fn wait(&self) -> Result<JobOutcome, JobError> {
        block_on(self.clone().into_future())
    }

    /// Takes a checkpoint as soon as none is in flight and all regions run; the request is made at once, not when the
    /// future is polled. It waits while regions start and load state. While one waits for its restart for more than a second
    /// it is refused at once: asking changes nothing about the delay. After the input has ended it resolves with the final
    /// checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`]. The job goes on, except after [`CheckpointError::JobFailed`].
    pub fn checkpoint(&self) -> impl Future<Output = Result<CheckpointId, CheckpointError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        if let Some(ports) = &self.ports {
            ports.checkpoint.do_send(RequestCheckpoint { reply });
        }
        let failed = |error| CheckpointError::JobFailed(Box::new(error));
        self.clone().answer_or_end(answer, failed, CheckpointError::Interrupted)
    }

    /// Pauses the job: its sources read nothing until it is [resumed](Self::resume). Resolves once that is durable in the store and no
    /// source reads any more; what they have read is worked off, and operators, timers of processing time, checkpoints and savepoints go
    /// on. A pause outlives restarts, the job's end and the process: the next start on the store is paused, unless it says otherwise
    /// (`StreamEnvironment::start_paused`). Ordered at once, whether or not the future is awaited; of a paused job nothing is changed.
    ///
    /// `docs/lifecycle.md` says what each other order does to a paused job.
    ///
    /// # Errors
    /// [`PauseError`]: the job goes on as it was.
    pub fn pause(&self) -> impl Future<Output = Result<(), PauseError>> + Send + use<> {
        self.request_pause(PauseWish::Pause)
    }

    /// Has the sources of a [paused](Self::pause) job read on. Resolves once that is durable and they have been told. Ordered at once,
    /// whether or not the future is awaited; of a job that is not paused nothing is changed.
    ///
    /// # Errors
    /// [`PauseError`]: the job goes on as it was.
    pub fn resume(&self) -> impl Future<Output = Result<(), PauseError>> + Send + use<> {
        self.request_pause(PauseWish::Resume)
    }

    fn request_pause(&self, wish: PauseWish) -> impl Future<Output = Result<(), PauseError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        if let Some(ports) = &self.ports {
            ports.pause.do_send(RequestPause { wish, reply });
        }
        let failed = |error| PauseError::JobFailed(Box::new(error));
        self.clone().answer_or_end(answer, failed, PauseError::Ended)
    }

    /// Has the job go on at another parallelism, in this process and with this handle: `parallelism` is from then on the number of
    /// subtasks of each operator that sets none of its own; the others keep theirs. Its sources wait, a checkpoint is taken, all
    /// regions stop, and start again from it with other tasks. Resolves once all of them run. Ordered at once, whether or not
    /// the future is awaited; orders are carried out in turn. If every task has as many subtasks already, nothing is changed.
    ///
    /// It is no failure: it counts for no restart strategy. A paused job stays paused. The parallelism of the next start is what its
    /// program says. `docs/lifecycle.md` says what every other order does meanwhile.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let sink = CollectSink::new();
    /// let numbers = sink.handle();
    /// let env = StreamEnvironment::new("numbers").parallelism(1);
    /// env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000))
    ///     .key_by(|n| n % 8)
    ///     .fold("count", 0, |count: &mut u64, _| *count += 1)
    ///     .sink("out", sink);
    /// let job = env.start()?;
    ///
    /// let rescaled = job.rescale(2).await?;                       // more work than one core does
    /// assert_eq!((rescaled.from, rescaled.to), (1, 2));
    /// assert_eq!(job.status().parallelism, 2);
    /// job.rescale(1).await?;
    /// assert_eq!(job.drain().await?.restarts, 0);
    /// # drop(numbers);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`RescaleError`]: the job goes on as it was, unless it has ended.
    ///
    /// If the tasks cannot start at the new parallelism that is a failure as any other: the restart strategy decides, and the
    /// future resolves when all regions run or are [parked](JobStatus::parked), or with [`RescaleError::JobFailed`]. A parked region stays
    /// so, and has the new parallelism when it is resumed.
    pub fn rescale(&self, parallelism: u32) -> impl Future<Output = Result<Rescaled, RescaleError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        if let Some(ports) = &self.ports {
            ports.rescale.do_send(RequestRescale { to: parallelism, reply });
        }
        let failed = |error| RescaleError::JobFailed(Box::new(error));
        self.clone().answer_or_end(answer, failed, RescaleError::Ended)
    }

    /// Starts a [parked](JobStatus::parked) region again, from the checkpoint at which it stands and with a fresh restart budget. Resolves
    /// once it runs. One that gives up again becomes what its policy, or the host, says then. Ordered at once, whether or not the future
    /// is awaited.
    ///
    /// `docs/supervision.md` says what each other order does while a region is parked.
    ///
    /// # Errors
    /// [`ResumeRegionError`]: the job goes on as it was.
    pub fn resume_region(
        &self,
        region: RegionId,
    ) -> impl Future<Output = Result<(), ResumeRegionError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let regions = self.ports.iter().flat_map(|ports| &ports.resume_regions).count() as u32;
        if let Some(port) = self.ports.as_ref().and_then(|ports| ports.resume_regions.get(region.0 as usize)) {
            port.do_send(ResumeRegion { reply });
        }
        let job = self.clone();
        async move {
            match answer.await {
                Ok(result) => result,
                Err(_) if job.outcome.borrow().is_some() => Err(ResumeRegionError::Ended),
                Err(_) if region.0 >= regions => Err(ResumeRegionError::Unknown { region, regions }),
                Err(_) => Err(ResumeRegionError::Interrupted),
            }
        }
    }

    /// Stops the job now, without a checkpoint. The next start goes on from the newest one. Ordered at once, whether or
    /// not the future is awaited.
    ///
    /// # Errors
    /// As the job's own outcome.
    pub fn cancel(&self) -> impl Future<Output = Result<JobOutcome, JobError>> + Send + use<> {
        self.end(EndJob::Cancel)
    }

    /// Stops reading, takes a last checkpoint, commits, and ends the job; the next start goes on where this one ended.
    /// Ordered at once; outlives restarts. A region that waits for its restart starts again at once, and one that fails
    /// again after at most a second, as often as the restart strategy allows; a line in the log says what is waited for.
    ///
    /// # Errors
    /// As the job's own outcome.
    pub fn drain(&self) -> impl Future<Output = Result<JobOutcome, JobError>> + Send + use<> {
        self.end(EndJob::Drain)
    }

    /// Ends the input here (of a source that [ends by itself](crate::contract::Source::ends_on_finish) then, where that does):
    /// windows fire, everything is committed, and the job is complete: it cannot be resumed.
    /// Ordered at once; outlives restarts, and cuts their delays short as [`drain`](Self::drain) does.
    ///
    /// # Errors
    /// As the job's own outcome.
    pub fn finish(&self) -> impl Future<Output = Result<JobOutcome, JobError>> + Send + use<> {
        self.end(EndJob::Finish)
    }

    /// Writes a savepoint: takes a checkpoint as [`checkpoint`](Self::checkpoint) does, waits until every sink has
    /// committed it, and exports exactly that one into a new file at `path`, beside which nothing else is needed to
    /// start a job from it. Checkpoints go on meanwhile. A checkpoint that fails is tried again, 3 times, and 16 if
    /// restarts abort it; each counts as any failed checkpoint does. Ordered at once, whether or not the future is awaited; after the input has ended it is of the
    /// final checkpoint, and the job ends once it is written.
    ///
    /// While a region waits for its restart it is refused as [`checkpoint`](Self::checkpoint) is.
    ///
    /// # Errors
    /// [`SavepointError`]. Nothing is left at `path`, what was there is as it was, and the job goes on, except after
    /// [`SavepointError::JobFailedFirst`].
    pub fn savepoint(&self, path: impl AsRef<Path>) -> BoxedFuture<Result<Savepoint, SavepointError>> {
        Box::pin(self.request_savepoint(path.as_ref().to_owned(), false))
    }

    /// Stops reading, takes a last checkpoint, commits, writes it as a savepoint to `path` and ends the job, as
    /// [`drain`](Self::drain) does. The next start on the store goes on where this one ended, and so does a start from
    /// the savepoint on an empty one. Ordered at once; outlives restarts, and cuts their delays short as
    /// [`drain`](Self::drain) does.
    ///
    /// # Errors
    /// [`SavepointError`]. Nothing is left at `path`, and the job goes on reading from where it had stopped, unless it
    /// was asked to end in another way, too.
    pub fn stop_with_savepoint(
        &self,
        path: impl AsRef<Path>,
    ) -> BoxedFuture<Result<(JobOutcome, Savepoint), SavepointError>> {
        let written = self.request_savepoint(path.as_ref().to_owned(), true);
        let job = self.clone();
        Box::pin(async move {
            let savepoint = written.await?;
            match job.await {
                Ok(outcome) => Ok((outcome, savepoint)),
                Err(error) => Err(SavepointError::JobFailed { savepoint, error: Box::new(error) }),
            }
        })
    }

    fn request_savepoint(
        &self,
        path: PathBuf,
        then_stop: bool,
    ) -> impl Future<Output = Result<Savepoint, SavepointError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        if let Some(ports) = &self.ports {
            ports.savepoint.do_send(RequestSavepoint { path, then_stop, reply });
        }
        let failed = |error| SavepointError::JobFailedFirst { error: Box::new(error) };
        self.clone().answer_or_end(answer, failed, SavepointError::Interrupted)
    }

    /// The answer to a request. A job that had ended before gives none; its error says why.
    async fn answer_or_end<T, E>(
        self,
        answer: oneshot::Receiver<Result<T, E>>,
        failed: impl FnOnce(JobError) -> E,
        interrupted: E,
    ) -> Result<T, E> {
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(match self.outcome.borrow().clone() {
                Some(Err(error)) => failed(error),
                Some(Ok(_)) | None => interrupted,
            }),
        }
    }

    fn end(&self, how: EndJob) -> impl Future<Output = Result<JobOutcome, JobError>> + Send + use<> {
        if let Some(ports) = &self.ports {
            ports.end.do_send(how);
        }
        self.clone().into_future()
    }
}

impl IntoFuture for JobHandle {
    type Output = Result<JobOutcome, JobError>;
    type IntoFuture = BoxedFuture<Self::Output>;

    /// Resolves when the job has ended and let go of its store.
    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Err(JobError::SystemStopped)),
                Err(_) => Err(JobError::SystemStopped),
            }
        })
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("name", &self.name).field("status", &self.status()).finish()
    }
}
