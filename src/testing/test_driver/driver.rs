//! The driver.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::runtime::stage::StageRunner;

use super::life::{Life, now};
use super::seeded::{Seeded, slice_clock};
use super::{TestDriverError, TestSink, TestSource};
use crate::environment::{StageError, Staging};
use crate::graph::{OtherRecords, StandIns};
use crate::sink::shown::Shown;
use crate::snapshot::MemoryStore;
use crate::source::WAIT_FOR_OTHERS;
use crate::source::fed::Feed;
use crate::time::ManualClock;
use crate::{CheckpointId, Clock, JobEvent, JobOutcome, JobStatus, StreamEnvironment};

/// Most steps of one call: a job that takes more without time passing will not come to rest.
const STEPS_MAX: u64 = 10_000_000;

/// Makes the environment of a life.
type Build = Box<dyn Fn() -> StreamEnvironment>;

/// Runs a whole job on the calling thread, step by step, in an order that a seed repeats: the test feeds its sources, reads its
/// sinks, moves its time, and crashes it wherever it likes.
///
/// It is given the function that builds the job, the same that the program starts it with. Each source of the graph, whatever its
/// connector, is replaced by one that the test [feeds](Self::source), each sink by one that it [reads](Self::sink), by their
/// ids. All between them is as in production: the driver does not imitate the engine, it runs it. The actors of tasks,
/// coordinator and supervisors are polled one at a time, and which one is next, how far it works before it lets others run, and how
/// much a source finds at hand is drawn from the seed. The same seed and the same calls give the same run, to the byte; another
/// seed another order of what may come in any order.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::testing::TestDriver;
///
/// /// Also what the program starts: `visits().start()?`.
/// fn visits() -> StreamEnvironment {
///     let env = StreamEnvironment::new("visits").parallelism(2);
///     env.source("clicks", FileSource::lines("clicks/*.log"))
///         .key_by(|user| user.clone())
///         .fold("count", 0_u64, |visits, _| *visits += 1)
///         .sink("visits", FileSink::csv("visits"));
///     env
/// }
///
/// for seed in 0..10 {
///     let mut driver = TestDriver::new(seed, visits)?;
///     let clicks = driver.source("clicks")?;
///     let visits = driver.sink::<(String, u64)>("visits")?;
///
///     clicks.feed_all(["ada", "bob", "ada"].map(str::to_owned));
///     driver.checkpoint()?;
///     clicks.feed("ada".to_owned());
///     driver.step()?;                                         // somewhere on its way
///     driver.crash()?;                                        // back to the checkpoint, and on
///     driver.finish()?;
///
///     let mut counted = visits.committed();
///     counted.sort();
///     let (ada, bob) = ("ada".to_owned(), "bob".to_owned());
///     assert_eq!(counted, [(ada.clone(), 1), (ada.clone(), 2), (ada, 3), (bob, 1)]);
/// }
/// # Ok::<(), millstream::testing::TestDriverError>(())
/// ```
///
/// | of the job | in the driver |
/// |---|---|
/// | operators, state and its backends, windows, timers, joins, side outputs | as they are |
/// | parallelism, chaining, limits, mode of checkpoints | as the environment says |
/// | sources | fed. A strategy for watermarks that the source was given holds for what is fed |
/// | sinks, [`for_each`](crate::stream::DataStream::for_each) too | read, exactly once. The function of a `for_each` is not called |
/// | time | stands still, from 2023-11-14 22:13:20 UTC on, but where [`advance_processing_time`](Self::advance_processing_time) moves it |
/// | checkpoints | those that are [asked for](Self::checkpoint), and the last at the end of the input; periodic ones are not taken |
/// | snapshot store | one in memory, over all lives |
/// | restarts | none. A panic of a function, or another failure, is a [`TestDriverError::Failed`], and [`crash`](Self::crash) goes on from the newest checkpoint |
///
/// There is no runtime: nothing that is asynchronous in a function of the job can wait for tokio's timers or its sockets, and
/// what another thread answers comes when it comes, which no seed repeats. Where alignment has a source
/// [wait for others](crate::time::WatermarkStrategy::with_alignment), it looks again after a millisecond of processing time.
pub struct TestDriver {
    build: Build,
    seeded: Seeded,
    clock: ManualClock,
    store: MemoryStore,
    stand_ins: StandIns,
    /// `None` where a start has failed.
    life: Option<Life>,
    lives: u64,
    steps: u64,
    crash_at: Option<u64>,
}

impl TestDriver {
    /// Starts the job that `build` gives; it has done nothing yet. `build` is called again after each crash, as a program is
    /// started again: it should give the same each time.
    ///
    /// # Errors
    /// [`TestDriverError::Start`]: as the job's own start.
    pub fn new(seed: u64, build: impl Fn() -> StreamEnvironment + 'static) -> Result<Self, TestDriverError> {
        let seeded = Seeded::new(seed);
        let drawn = seeded.clone();
        let mut driver = Self {
            build: Box::new(build),
            seeded,
            clock: ManualClock::new(),
            store: MemoryStore::new(),
            stand_ins: StandIns::new(Arc::new(move |bound| drawn.below(bound))),
            life: None,
            lives: 0,
            steps: 0,
            crash_at: None,
        };
        driver.life()?;
        Ok(driver)
    }

    /// The source with this id, to be fed.
    ///
    /// # Errors
    /// [`TestDriverError::UnknownSource`], which names those that there are; [`TestDriverError::SourceType`] if its records are no
    /// `T`.
    pub fn source<T: Send + 'static>(&self, id: &str) -> Result<TestSource<T>, TestDriverError> {
        let sources = &self.stand_ins.sources;
        let id = id.to_owned();
        let Some(found) = sources.get(&id.as_str().into()) else {
            let known = sources.keys().map(|id| id.as_str().to_owned()).collect();
            return Err(TestDriverError::UnknownSource { id, known });
        };
        let feed: Arc<dyn Any + Send + Sync> = found.data.clone();
        let other =
            || TestDriverError::SourceType { id: id.clone(), actual: found.item, asked: std::any::type_name::<T>() };
        let feed = feed.downcast_ref::<Feed<T>>().ok_or_else(other)?.clone();
        Ok(TestSource { id, feed })
    }

    /// The sink with this id, to be read.
    ///
    /// # Errors
    /// [`TestDriverError::UnknownSink`], which names those that there are; [`TestDriverError::SinkType`] if it does not take a
    /// `T`.
    pub fn sink<T: Send + 'static>(&self, id: &str) -> Result<TestSink<T>, TestDriverError> {
        let sinks = &self.stand_ins.sinks;
        let id = id.to_owned();
        let Some(found) = sinks.get(&id.as_str().into()) else {
            let known = sinks.keys().map(|id| id.as_str().to_owned()).collect();
            return Err(TestDriverError::UnknownSink { id, known });
        };
        let other =
            || TestDriverError::SinkType { id: id.clone(), actual: found.item, asked: std::any::type_name::<T>() };
        let shown: Arc<dyn Any + Send + Sync> = found.data.clone();
        let shown = shown.downcast_ref::<Shown<T>>().ok_or_else(other)?.clone();
        Ok(TestSink { id, shown })
    }

    /// Takes one step: lets one actor, or one call of the store, do its next piece of work. False, and nothing is done, if all wait:
    /// for more to be fed, for time to advance, or for another thread.
    ///
    /// # Errors
    /// [`TestDriverError::Failed`] if the job fails in this step, or has failed before. [`TestDriverError::Start`] if
    /// [`crash_at`](Self::crash_at) has it start anew, and it does not.
    pub fn step(&mut self) -> Result<bool, TestDriverError> {
        if self.crash_at == Some(self.steps) {
            self.crash_at = None;
            self.crash()?;
        }
        let seeded = self.seeded.clone();
        let life = self.life()?;
        let has_stepped = seeded.during(|| life.step(|turns| seeded.below(turns)));
        if let Some(Err(error)) = life.ended() {
            return Err(TestDriverError::Failed(error.clone()));
        }
        self.steps += u64::from(has_stepped);
        Ok(has_stepped)
    }

    /// Takes steps until there is nothing to do: all that was fed has gone as far as it can without time passing.
    ///
    /// # Errors
    /// As [`step`](Self::step); [`TestDriverError::Busy`] after ten million steps.
    pub fn run_until_idle(&mut self) -> Result<(), TestDriverError> {
        for _ in 0..STEPS_MAX {
            if !self.step()? {
                return Ok(());
            }
        }
        Err(TestDriverError::Busy { steps: STEPS_MAX })
    }

    /// Moves processing time, and the wall clock, by so much: from one moment at which something is due to the next, with
    /// everything done at each that there is to do. What was fed before is worked off first.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn advance_processing_time(&mut self, by: Duration) -> Result<(), TestDriverError> {
        let until = self.clock.now().saturating_add(by);
        self.run_until_idle()?;
        while let Some(due) = self.clock.next_deadline().filter(|due| *due <= until) {
            self.clock.advance(due.saturating_sub(self.clock.now()));
            self.run_until_idle()?;
        }
        self.clock.advance(until.saturating_sub(self.clock.now()));
        self.run_until_idle()
    }

    /// The wall clock of the job, Unix milliseconds.
    pub fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// Takes a checkpoint, and steps until it is complete, sinks have committed it, and nothing is left to do. If the job
    /// crashes meanwhile, it is asked for anew.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle); [`TestDriverError::Checkpoint`] if there is none, as after the job's end;
    /// [`TestDriverError::Stalled`] if it cannot be completed without time passing.
    pub fn checkpoint(&mut self) -> Result<CheckpointId, TestDriverError> {
        let mut asked = Box::pin(self.life()?.job.checkpoint());
        let mut of_life = self.lives;
        for _ in 0..STEPS_MAX {
            match now(&mut asked) {
                Some(Ok(checkpoint)) => return self.run_until_idle().map(|()| checkpoint),
                Some(Err(error)) => return Err(TestDriverError::Checkpoint(error)),
                None => {}
            }
            let has_stepped = self.step()?;
            if self.lives != of_life {
                of_life = self.lives;
                asked = Box::pin(self.life()?.job.checkpoint());
            } else if !has_stepped {
                return Err(TestDriverError::Stalled { waits_for: "the checkpoint" });
            }
        }
        Err(TestDriverError::Busy { steps: STEPS_MAX })
    }

    /// Asks for a checkpoint and takes no step: its barriers set out with the steps that follow, among the records. One that is
    /// asked for before the last is complete follows that.
    ///
    /// # Errors
    /// [`TestDriverError::Start`] if an earlier start has failed, and does again.
    pub fn begin_checkpoint(&mut self) -> Result<(), TestDriverError> {
        drop(self.life()?.job.checkpoint());
        Ok(())
    }

    /// Ends the life of the job here, as the death of its process would, and starts it again on its newest complete
    /// checkpoint. Sources read again what they were fed since; what sinks had written and not prepared for a checkpoint is gone. No
    /// step is taken: with the steps that follow, what they had prepared for that checkpoint is committed, and for a later one dropped.
    /// Time and what was fed stay.
    ///
    /// # Errors
    /// [`TestDriverError::Start`]: as the job's own start.
    pub fn crash(&mut self) -> Result<(), TestDriverError> {
        self.life = None;
        self.stand_ins.sinks.values().for_each(|sink| sink.data.crashed());
        self.life().map(drop)
    }

    /// Has the job [crash](Self::crash) before the step with this number, the first being 0, whichever call takes it: so a test
    /// is repeated with a crash at another moment each time. A number that is set before that takes its place; one that is
    /// not reached does nothing.
    ///
    /// # Panics
    /// If as many steps were taken already and more.
    pub fn crash_at(&mut self, step: u64) {
        assert!(step >= self.steps, "step {step} is over: {} were taken", self.steps);
        self.crash_at = Some(step);
    }

    /// As [`crash`](Self::crash), but the job goes on as `build` has it from now on: at another parallelism, or in another
    /// version of the program. Sources keep the splits that they have.
    ///
    /// # Errors
    /// [`TestDriverError::Start`], as where the checkpoint does not fit the job; [`TestDriverError::SourceType`],
    /// [`TestDriverError::SinkType`] if one of an id has other records than before.
    pub fn restart_as(&mut self, build: impl Fn() -> StreamEnvironment + 'static) -> Result<(), TestDriverError> {
        self.build = Box::new(build);
        self.crash()
    }

    /// Ends all sources, and steps until the job has worked everything off, has committed it, and has ended. Time moves only by the
    /// milliseconds after which sources that wait for others look again.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle); [`TestDriverError::Stalled`] if the job waits for time to pass.
    pub fn finish(&mut self) -> Result<JobOutcome, TestDriverError> {
        self.stand_ins.sources.values().for_each(|source| source.data.end_all());
        self.run_until_idle()?;
        while self.outcome().is_none()
            && let Some(due) = self.clock.next_deadline()
            && due <= self.clock.now() + WAIT_FOR_OTHERS
        {
            self.clock.advance(due.saturating_sub(self.clock.now()));
            self.run_until_idle()?;
        }
        self.outcome().ok_or(TestDriverError::Stalled { waits_for: "the end of the job" })
    }

    /// How the job has ended, if it has: once all its sources were ended.
    pub fn outcome(&mut self) -> Option<JobOutcome> {
        self.life.as_mut()?.ended()?.clone().ok()
    }

    /// How many steps were taken, in all lives.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What the job is doing now, and its figures; `None` if its last start has failed.
    pub fn status(&self) -> Option<JobStatus> {
        self.life.as_ref().map(|life| life.job.status())
    }

    /// The newest events of this life of the job, oldest first.
    pub fn history(&self) -> Vec<JobEvent> {
        self.life.as_ref().map(|life| life.job.history()).unwrap_or_default()
    }

    /// The life of the job, which is started if there is none.
    fn life(&mut self) -> Result<&mut Life, TestDriverError> {
        let life = match self.life.take() {
            Some(life) => life,
            None => self.start()?,
        };
        Ok(self.life.insert(life))
    }

    fn start(&mut self) -> Result<Life, TestDriverError> {
        let runner = StageRunner::new();
        let staging = Staging {
            stand_ins: &mut self.stand_ins,
            clock: Arc::new(self.clock.clone()),
            // Another handle, as another process has: that of the life before is closed by it.
            store: Arc::new(self.store.clone()),
            slice_clock: Some(slice_clock),
        };
        let job = (self.build)().start_on(runner.stage(), staging)?;
        self.lives += 1;
        Ok(Life::new(runner, job))
    }
}

impl From<StageError> for TestDriverError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Start(error) => Self::Start(error),
            StageError::Records(OtherRecords { is_source, id, before, now }) => {
                let (id, actual, asked) = (id.as_str().to_owned(), now, before);
                if is_source { Self::SourceType { id, actual, asked } } else { Self::SinkType { id, actual, asked } }
            }
        }
    }
}

impl fmt::Debug for TestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.life.as_ref().map(|life| &life.job);
        f.debug_struct("TestDriver").field("steps", &self.steps).field("job", &status).finish_non_exhaustive()
    }
}
