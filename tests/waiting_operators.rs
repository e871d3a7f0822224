//! Operators of users that wait for something outside: for answers that come when they come.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use millstream::operator::{
    Batch, BatchOperator, Demand, Mark, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError,
    Stateful,
};
use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError};
use millstream::{OutcomeKind, TaskError};

use common::{Service, events_of, output_through_panics, run, watched};

mod common;

const N: u64 = 5_000;
const CAPACITY: usize = 10;

/// That there may be an answer; and the waker of the task, to whom that is told.
struct MayAnswer {
    is_set: AtomicBool,
    task: Waker,
}

impl Wake for MayAnswer {
    fn wake(self: Arc<Self>) {
        self.is_set.store(true, Ordering::SeqCst);
        self.task.wake_by_ref();
    }
}

/// Passes records on once they are answered, in order, and what is said of time and the end behind them.
struct Asks {
    service: Service,
    may_answer: Option<Arc<MayAnswer>>,
    waiting: VecDeque<u64>,
    most: Arc<Mutex<usize>>,
    holds_end: bool,
}

impl Asks {
    fn new(service: &Service, most: &Arc<Mutex<usize>>) -> Self {
        let (service, most) = (service.clone(), most.clone());
        Self { service, may_answer: None, waiting: VecDeque::new(), most, holds_end: false }
    }

    fn may_answer(&self) -> &Arc<MayAnswer> {
        self.may_answer.as_ref().expect("it is attached before all else")
    }
}

impl BatchOperator for Asks {
    type In = u64;
    type Out = u64;

    fn may_hold_end() -> bool {
        true
    }

    fn attach(&mut self, waker: Waker) {
        self.may_answer = Some(Arc::new(MayAnswer { is_set: AtomicBool::new(false), task: waker }));
    }

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        _: &mut Output<u64>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.waiting.extend(input.drain());
        let mut most = self.most.lock().unwrap();
        *most = self.waiting.len().max(*most);
        self.may_answer().clone().wake();
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u64>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        match mark {
            Mark::End if !self.waiting.is_empty() => self.holds_end = true,
            mark => out.mark(mark),
        }
        Ok(Progress::Done)
    }

    fn due(&self) -> Option<Duration> {
        self.may_answer().is_set.load(Ordering::SeqCst).then_some(Duration::ZERO)
    }

    fn wake(&mut self, out: &mut Output<u64>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let may_answer = self.may_answer().clone();
        may_answer.is_set.store(false, Ordering::SeqCst);
        let waker = Waker::from(may_answer.clone());
        while let Some(record) = self.waiting.front() {
            if out.is_full() || budget.check() {
                may_answer.is_set.store(true, Ordering::SeqCst);
                return Ok(Progress::Suspended);
            }
            if !self.service.answers(&waker) {
                return Ok(Progress::Done);
            }
            out.emit(*record);
            self.waiting.pop_front();
        }
        if std::mem::take(&mut self.holds_end) {
            out.mark(Mark::End);
        }
        Ok(Progress::Done)
    }

    fn demand(&self) -> Demand {
        if self.waiting.len() < CAPACITY { Demand::Any } else { Demand::BeforeBarrier }
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Asks {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        let bytes = writer.subtask(&"waiting".into());
        self.waiting.iter().for_each(|record| bytes.put(&record.to_le_bytes()));
        Ok(Progress::Done)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        for section in sections {
            let records = section.bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
            self.waiting.extend(records);
        }
        if !self.waiting.is_empty() {
            self.may_answer().clone().wake();
        }
        Ok(())
    }
}

/// Records of which the service answers each, in one subtask.
fn asking(env: &StreamEnvironment, service: &Service, most: &Arc<Mutex<usize>>) -> DataStream<u64> {
    let (service, most) = (service.clone(), most.clone());
    let numbers = env.source("numbers", SequenceSource::new(0..N));
    numbers.transform("asks", move || Asks::new(&service, &most)).parallelism(1)
}

/// Neither an operator that takes no input nor one that holds the end back holds up a barrier, and the final checkpoint waits for
/// the end.
#[test]
fn barriers_pass_while_an_operator_waits_for_answers() {
    run("a job whose operator waits", |handles| async move {
        let (sink, service, most) = (CollectSink::new(), Service::allowing(0), Arc::default());
        let collected = sink.handle();
        let env = StreamEnvironment::new("asks").checkpointing(Checkpointing::disabled());
        asking(&env, &service, &most).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while *most.lock().unwrap() == 0 {
            job.checkpoint().await.unwrap();
        }
        for answers in 0..5 {
            service.allow(Some(answers));
            job.checkpoint().await.unwrap();
        }
        service.allow(Some(N - 3 - service.answered()));
        while collected.len() < N as usize - 3 {
            job.checkpoint().await.unwrap();
        }
        // The end is behind three records that wait.
        for _ in 0..5 {
            job.checkpoint().await.unwrap();
        }
        assert_eq!((collected.len(), service.answered()), (N as usize - 3, N - 3));
        assert!(job.status().newest_checkpoint.is_some());
        service.allow(None);
        let outcome = job.await.unwrap();
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        assert_eq!(collected.snapshot(), (0..N).collect::<Vec<_>>());
    });
}

/// What it holds is bounded, but for what is before a barrier.
#[test]
fn operator_that_takes_no_input_is_given_none_without_a_barrier() {
    run("a job whose operator is full", |handles| async move {
        let (sink, service, most) = (CollectSink::new(), Service::default(), Arc::<Mutex<usize>>::default());
        let collected = sink.handle();
        let env = StreamEnvironment::new("asks").checkpointing(Checkpointing::disabled());
        asking(&env, &service, &most).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert_eq!(job.await.unwrap().kind, OutcomeKind::Finished);
        assert_eq!(collected.snapshot(), (0..N).collect::<Vec<_>>());
        let most = *most.lock().unwrap();
        assert!(most < CAPACITY + 1_024, "{most} records held: no more than fits, and one batch");
    });
}

#[test]
fn answers_are_given_once_whatever_fails() {
    for parallelism in 1..=3 {
        let (service, most) = (Service::default(), Arc::default());
        let output =
            output_through_panics("asks", (parallelism, None), &[50, 1_000, 4_000], move |env, panics, sink| {
                asking(env, &service, &most).inspect(move |_| panics.count_and_panic()).sink("out", sink);
            });
        assert_eq!(output, (0..N).collect::<Vec<_>>(), "parallelism {parallelism}");
    }
}

/// A drain stops the sources, and what waits is in its checkpoint, also behind an end that has come.
#[test]
fn drained_job_goes_on_with_what_waits() {
    for answered in [0, N - 2] {
        let store = MemoryStore::new();
        let most = Arc::<Mutex<usize>>::default();
        let life = |service: Service| {
            let sink = CollectSink::new();
            let collected = sink.handle();
            let env = StreamEnvironment::new("asks").checkpointing(Checkpointing::disabled());
            let env = env.snapshot_store(store.clone());
            asking(&env, &service, &most).sink("out", sink);
            (env.start().unwrap(), collected)
        };
        let (first, second) = (Service::allowing(answered), Service::default());
        let begun = first.clone();
        actix_rt::System::new().block_on(async {
            let (job, of_first) = life(first);
            let mut events = events_of(&job);
            while begun.answered() < answered {
                job.checkpoint().await.unwrap();
            }
            if answered > 0 {
                let taken = job.checkpoint();
                events.checkpoints(1).await;
                taken.await.unwrap();
            }
            assert_eq!(job.drain().await.unwrap().kind, OutcomeKind::Drained);
            assert_eq!(begun.answered(), answered, "nothing is answered by a drain");
            let (job, of_second) = life(second);
            assert_eq!(job.await.unwrap().kind, OutcomeKind::Finished);
            assert_eq!([of_first.snapshot(), of_second.snapshot()].concat(), (0..N).collect::<Vec<_>>());
        });
    }
}

#[test]
fn operator_that_waits_goes_on_in_the_test_driver_when_the_test_answers() {
    let (service, most) = (Service::allowing(0), Arc::<Mutex<usize>>::default());
    let (of_job, counts) = (service.clone(), most.clone());
    let build = move || {
        let env = StreamEnvironment::new("asks");
        asking(&env, &of_job, &counts).sink("out", CollectSink::new());
        env
    };
    for seed in 0..5 {
        service.allow(Some(0));
        let mut driver = TestDriver::new(seed, build.clone()).unwrap();
        let (numbers, out) = (driver.source::<u64>("numbers").unwrap(), driver.sink::<u64>("out").unwrap());
        numbers.feed_all(0..25);
        driver.checkpoint().unwrap();
        assert_eq!(out.written(), [0; 0]);
        service.allow(Some(7));
        driver.run_until_idle().unwrap();
        assert_eq!(out.written(), Vec::from_iter(0..7));
        driver.crash().unwrap();
        assert!(matches!(driver.finish(), Err(TestDriverError::Stalled { waits_for: "the end of the job", .. })));
        service.allow(None);
        assert_eq!(driver.finish().unwrap().kind, OutcomeKind::Finished);
        assert_eq!(out.committed(), Vec::from_iter(0..25), "seed {seed}");
    }
    assert!(*most.lock().unwrap() >= CAPACITY);
}
