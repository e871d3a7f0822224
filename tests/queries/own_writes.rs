//! Q6: a query that is not to be answered before a record sees what that has led to, whatever the job is like and however often it fails.

use std::cell::Cell;
use std::future::poll_fn;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::query::{AsOf, Consistency, StateQuery};
use millstream::source::{IngestHandle, IngestOptions, IngestPosition, IngestReceipt, IngestRecord};
use millstream::{Fault, QueryError};

use crate::common::{CountedPanics, QueueSource, checkpointed, run, sorted, watched};
use crate::rig::{backends, scanned};

/// Senders at a time, each with a key of its own.
const SENDERS: u64 = 8;
/// Records of each.
const RECORDS: u64 = 40;

type Counts = StateQuery<u64, u64>;

/// What is sent: the sender's key, and the how-many-th of its records.
type Sent = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Source, function and sink in one task.
    Chain,
    /// Records go to the task with their key, side outputs of the one function and another source beside them.
    Exchange,
    /// An asynchronous function holds records up.
    Asynchronous,
    /// By two inputs of one operator, of which the other one is silent.
    TwoInputs,
}

fn log(dir: &Path, splits: u32) -> (IngestSource<Sent>, IngestHandle<Sent>) {
    IngestSource::open(dir.join("sent.log"), IngestOptions::new().splits(splits)).unwrap()
}

/// Is pending for some polls.
async fn slowly(record: Sent) -> Sent {
    let mut polls = record.1 % 5;
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(());
        }
        polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    record
}

/// Counts those of the first stream.
#[derive(Clone)]
struct CountFirst(CountedPanics);

impl KeyedCoProcessFunction<u64, Sent, u64> for CountFirst {
    type Out = Sent;
    type State = ValueState<u64>;

    fn state(&self) -> ValueState<u64> {
        ValueState::new("accumulator")
    }

    fn process_first(
        &mut self,
        _: Sent,
        mut count: ValueHandle<'_, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Sent>,
    ) {
        self.0.count_and_panic();
        count.set(count.get().copied().unwrap_or(0) + 1);
        out.emit((*ctx.key(), count.get().copied().unwrap()));
    }

    fn process_second(
        &mut self,
        _: u64,
        _: ValueHandle<'_, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Sent>,
    ) {
    }
}

/// Counts the records of each key in an operator called "counts".
fn build(
    env: &StreamEnvironment,
    shape: Shape,
    source: IngestSource<Sent>,
    panics: CountedPanics,
    sink: CollectSink<Sent>,
) {
    let key = |sent: &Sent| sent.0;
    let count = move |count: &mut u64, _: Sent| {
        panics.count_and_panic();
        *count += 1;
    };
    match shape {
        Shape::Chain => {
            env.source("sent", source).key_by(key).fold("counts", 0, count).sink("out", sink);
        }
        Shape::Exchange => {
            // One that says nothing, ever, and one that has ended.
            let others =
                env.source("silent", QueueSource::default()).union(env.source("ended", VecSource::new(vec![])));
            let sent = env.source("sent", source).filter(|(_, n)| *n > 0).rebalance();
            sent.union(others.map(|n| (n, n))).key_by(key).fold("counts", 0, count).sink("out", sink);
        }
        Shape::Asynchronous => {
            let wait = AsyncWait::unordered(Duration::MAX).capacity(3);
            let sent = env.source("sent", source).async_map("slow", wait, |sent| async move { Ok(slowly(sent).await) });
            sent.key_by(key).fold("counts", 0, count).sink("out", sink);
        }
        Shape::TwoInputs => unreachable!("it has a function of its own"),
    }
}

/// The count of a key, as of when its record is in it.
async fn count_after(counts: &Counts, key: u64, receipt: IngestReceipt) -> Option<u64> {
    loop {
        match counts.clone().not_before(receipt).get(&key).await {
            Ok(answer) => {
                assert!(matches!(answer.as_of, AsOf::Live { .. }), "{answer:?}");
                return answer.value;
            }
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// What a query is answered once its region runs.
async fn once_it_runs<T, F: Future<Output = Result<T, QueryError>>>(ask: impl Fn() -> F) -> Result<T, QueryError> {
    loop {
        match ask().await {
            Err(QueryError::Restarting { .. }) => tokio::task::yield_now().await,
            answered => return answered,
        }
    }
}

/// Many send at once, and each asks for its own writes; the function panics at these calls.
fn each_reads_its_own_writes(shape: Shape, parallelism: u32, backend: StateBackend, at: &'static [u64]) {
    let what = format!("{shape:?}, parallelism {parallelism}, {backend:?}, panics at {at:?}");
    let shown = what.clone();
    let output = run(&shown, move |handles| async move {
        let (dir, sink, panics) = (tempfile::tempdir().unwrap(), CollectSink::new(), CountedPanics::at(at));
        let (collected, (source, handle)) = (sink.handle(), log(dir.path(), parallelism.min(2)));
        let env =
            checkpointed("own-writes", parallelism, None).state_backend(backend).snapshot_store(MemoryStore::new());
        let env = env.restart_strategy(RestartStrategy::fixed_delay(9, Duration::from_millis(1)));
        if shape == Shape::TwoInputs {
            let silent = env.source("silent", QueueSource::default()).key_by(|n| *n);
            let sent = env.source("sent", source).key_by(|sent| sent.0);
            sent.connect(silent).process("counts", CountFirst(panics)).sink("out", sink);
        } else {
            build(&env, shape, source, panics, sink);
        }
        let job = env.start().unwrap();
        watched(&handles, &job);
        let counts: Counts = job.query("counts", "accumulator").timeout(Duration::from_secs(60));
        let senders = (0..SENDERS).map(|key| {
            let (handle, counts, what) = (handle.clone(), counts.clone(), &what);
            async move {
                for n in 1..=RECORDS {
                    // All of a key are in one split: one that has the last has those before it.
                    let receipt = handle.send(IngestRecord::new((key, n)).key(&key)).await.unwrap();
                    assert_eq!(count_after(&counts, key, receipt).await, Some(n), "{what}");
                }
            }
        });
        join_all(senders).await;
        let outcome = job.finish().await.unwrap();
        // Two subtasks may panic at once.
        let restarts = usize::from(!at.is_empty())..=at.len();
        assert!(restarts.contains(&(outcome.restarts as usize)), "{} restarts: {what}", outcome.restarts);
        sorted(collected.snapshot())
    });
    let expected: Vec<Sent> = (0..SENDERS).flat_map(|key| (1..=RECORDS).map(move |n| (key, n))).collect();
    assert_eq!(output, expected);
}

/// Guarantees Q6 and G1.
#[test]
fn senders_see_their_own_writes_at_each_parallelism_in_both_backends() {
    let dir = tempfile::tempdir().unwrap();
    for shape in [Shape::Chain, Shape::Exchange, Shape::Asynchronous, Shape::TwoInputs] {
        for parallelism in if shape == Shape::Chain { 1..=1 } else { 1..=4 } {
            let [memory, redb] = backends(dir.path());
            let backend = if parallelism % 2 == 1 { memory } else { redb };
            each_reads_its_own_writes(shape, parallelism, backend, &[]);
        }
    }
}

/// Guarantees Q6 and G1.
#[test]
fn senders_see_their_own_writes_while_functions_panic() {
    let dir = tempfile::tempdir().unwrap();
    for shape in [Shape::Chain, Shape::Exchange, Shape::Asynchronous, Shape::TwoInputs] {
        for backend in backends(dir.path()) {
            let parallelism = if shape == Shape::Chain { 1 } else { 3 };
            each_reads_its_own_writes(shape, parallelism, backend, &[50, 130, 131]);
        }
    }
}

/// Guarantees Q6 and L6. Tasks are others, and of another number, while senders wait.
#[test]
fn senders_see_their_own_writes_while_the_job_is_rescaled() {
    run("own writes over rescales", |handles| async move {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let (collected, (source, handle)) = (sink.handle(), log(dir.path(), 3));
        let env = checkpointed("rescaled", 1, None).snapshot_store(MemoryStore::new());
        build(&env, Shape::Asynchronous, source, CountedPanics::at(&[]), sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let counts: Counts = job.query("counts", "accumulator").timeout(Duration::from_secs(60));
        let seen = &Cell::new(0);
        let senders = join_all((0..SENDERS).map(|key| {
            let (handle, counts) = (handle.clone(), counts.clone());
            async move {
                for n in 1..=RECORDS {
                    let receipt = handle.send(IngestRecord::new((key, n)).key(&key)).await.unwrap();
                    assert_eq!(count_after(&counts, key, receipt).await, Some(n));
                    seen.set(seen.get() + 1);
                }
            }
        }));
        let rescaled = async {
            for (to, after) in [2, 1, 3, 4, 1, 2].into_iter().zip((1..).map(|round| round * SENDERS * RECORDS / 7)) {
                while seen.get() < after {
                    tokio::task::yield_now().await;
                }
                assert_eq!(job.rescale(to).await.unwrap().to, to);
            }
        };
        futures_util::future::join(senders, rescaled).await;
        job.finish().await.unwrap();
        let expected: Vec<Sent> = (0..SENDERS).flat_map(|key| (1..=RECORDS).map(move |n| (key, n))).collect();
        assert_eq!(sorted(collected.snapshot()), expected);
    });
}

/// Guarantee Q6.
#[test]
fn several_positions_are_all_waited_for_by_keys_and_by_pages() {
    run("several positions", |handles| async move {
        let dir = tempfile::tempdir().unwrap();
        let (source, handle) = log(dir.path(), 3);
        let env = StreamEnvironment::new("several").parallelism(2);
        build(&env, Shape::Exchange, source, CountedPanics::at(&[]), CollectSink::new());
        let job = env.start().unwrap();
        watched(&handles, &job);
        for round in 1..=20 {
            let receipts = handle.send_all((0..30).map(|key| (key, round))).await.unwrap();
            let counts: Counts = job.query("counts", "accumulator");
            let counts = receipts.into_iter().fold(counts, Counts::not_before);
            let keys: Vec<u64> = (0..30).collect();
            let answer = once_it_runs(|| counts.get_all(&keys)).await.unwrap();
            assert_eq!(answer.value, vec![Some(round); 30]);
            let (entries, _) = scanned(&counts.consistency(Consistency::LiveOrCheckpoint), 7).await;
            assert_eq!(entries, keys.into_iter().map(|key| (key, round)).collect::<Vec<_>>());
        }
        job.cancel().await.unwrap();
    });
}

/// Guarantee Q6.
#[test]
fn positions_of_earlier_lives_hold() {
    run("a second life", |handles| async move {
        let dir = tempfile::tempdir().unwrap();
        let mut texts = Vec::new();
        for life in 1..=3 {
            let (source, handle) = log(dir.path(), 2);
            let env =
                checkpointed("lives", 2, None).snapshot_store(RedbStore::open(dir.path().join("job.redb")).unwrap());
            build(&env, Shape::Exchange, source, CountedPanics::at(&[]), CollectSink::new());
            // Before the job runs.
            let receipt = handle.send(IngestRecord::new((7, life)).key(&7)).await.unwrap();
            texts.push(serde_json::to_string(&receipt.position()).unwrap());
            let job = env.start().unwrap();
            watched(&handles, &job);
            for (before, text) in (1..).zip(&texts) {
                let position: IngestPosition = serde_json::from_str(text).unwrap();
                let query = Counts::not_before(job.query("counts", "accumulator"), position);
                let count = once_it_runs(|| query.get(&7)).await.unwrap().value;
                assert!(count >= Some(before) && count <= Some(life), "{count:?} in life {life}");
            }
            assert_eq!(count_after(&job.query("counts", "accumulator"), 7, receipt).await, Some(life));
            job.drain().await.unwrap();
            handle.closed().await;
        }
    });
}

/// Guarantee Q6.
#[test]
fn paused_job_has_the_query_time_out_and_answers_it_when_it_goes_on() {
    run("a pause", |handles| async move {
        let dir = tempfile::tempdir().unwrap();
        let (source, handle) = log(dir.path(), 1);
        let env = StreamEnvironment::new("paused").parallelism(1);
        build(&env, Shape::Exchange, source, CountedPanics::at(&[]), CollectSink::new());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let counts: Counts = job.query("counts", "accumulator");
        let before = handle.send((1, 1)).await.unwrap();
        assert_eq!(count_after(&counts, 1, before).await, Some(1));
        job.pause().await.unwrap();
        assert_eq!(count_after(&counts, 1, before).await, Some(1), "what was read is known in a pause, too");
        let receipt = handle.send((1, 2)).await.unwrap();
        let query = counts.clone().not_before(receipt);
        let error = query.clone().timeout(Duration::from_millis(20)).get(&1).await.unwrap_err();
        assert!(matches!(&error, QueryError::NotReached { source_id, .. } if source_id.as_str() == "sent"), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        let asked = async { query.timeout(Duration::from_secs(60)).get(&1).await.unwrap().value };
        let (value, resumed) = futures_util::future::join(asked, job.resume()).await;
        resumed.unwrap();
        assert_eq!(value, Some(2));
        job.cancel().await.unwrap();
    });
}

/// Guarantee Q6.
#[test]
fn positions_that_cannot_be_waited_for_are_refused() {
    run("refusals", |handles| async move {
        let [dir, other, third] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let (source, handle) = log(dir.path(), 1);
        let (beside, beside_handle) = log(other.path(), 1);
        let (_elsewhere, elsewhere_handle) = log(third.path(), 1);
        let env = StreamEnvironment::new("refusals").parallelism(1);
        build(&env, Shape::Chain, source, CountedPanics::at(&[]), CollectSink::new());
        env.source("beside", beside)
            .key_by(|sent| sent.0)
            .fold("others", 0, |_: &mut u64, _| ())
            .sink("there", CollectSink::new());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let counts: Counts = job.query("counts", "accumulator");
        let mine = handle.send((1, 1)).await.unwrap();
        assert_eq!(count_after(&counts, 1, mine).await, Some(1));

        let error = counts.clone().not_before(elsewhere_handle.send((1, 1)).await.unwrap()).get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::UnknownPosition { .. }), "{error}");
        assert_eq!((error.fault(), error.retry_after()), (Fault::User, None));

        let error = counts.clone().not_before(beside_handle.send((1, 1)).await.unwrap()).get(&1).await.unwrap_err();
        assert!(
            matches!(&error, QueryError::NotDownstream { source_id, .. } if source_id.as_str() == "beside"),
            "{error}"
        );

        let of_checkpoint = counts.clone().consistency(Consistency::Checkpoint).not_before(mine);
        let error = of_checkpoint.get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::PositionOfCheckpoint), "{error}");

        // Of a log that was longer: a copy of the file stands for it now.
        let text = mine.position().to_string();
        let (rest, offset) = text.rsplit_once('-').unwrap();
        assert_eq!(offset, "1");
        let later: IngestPosition = format!("{rest}-2").parse().unwrap();
        let error = counts.clone().not_before(later).get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::PositionLost { .. }) && error.fault() == Fault::External, "{error}");
        job.cancel().await.unwrap();
        let error = counts.not_before(mine).get(&1).await.unwrap_err();
        assert!(matches!(error, QueryError::JobEnded), "{error}");
    });
}
