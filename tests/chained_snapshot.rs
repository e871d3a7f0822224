//! A keyed operator at parallelism 1 runs in the task of its source: its state is written in slices between batches.
//!
//! Cause of what the tests here hold off: the task of a source wrote its whole snapshot in one go, and stopped for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::prelude::*;
use millstream::snapshot::SnapshotStore;
use millstream::state::{ValueHandle, ValueState};
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::time::ManualClock;
use millstream::{ActorName, CheckpointError, CheckpointId, JobEventKind, JobHandle, Limits, Probe, Step};
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::mpsc;

use common::{At, Fault, FaultProbe, InputEnd, Point, SteppedSource, events_of, run, watched};

mod common;

const KEYS: u64 = 20_000;
const GROUPS: u32 = 8;
/// Of each row, besides what counts it.
const TEXT_BYTES: usize = 400;
/// After all keys are there, only these are updated.
const UPDATED: u64 = 4_000;
/// Rows that the sweep writes between two looks at the clock, at most.
const ROWS_PER_LOOK: u64 = 512;
const LOOK: Duration = Duration::from_micros(50);
/// A slice of 200 us is over at the fourth look.
const LOOKS_PER_SLICE: u64 = 4;
const CHUNK_BYTES_MAX: u64 = 256 << 10;

thread_local! {
    /// What the task on this thread has written and taken, and how often it has looked at the clock.
    static ROWS: Cell<u64> = const { Cell::new(0) };
    static RECORDS: Cell<u64> = const { Cell::new(0) };
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// A clock that goes on by [`LOOK`] each time that somebody looks at it.
fn clock_that_looks_move() -> Duration {
    LOOKS.set(LOOKS.get() + 1);
    LOOK * u32::try_from(LOOKS.get()).expect("a short test")
}

/// A row that is counted when it is written. What was written of the first ones, and of some later ones, is read back and
/// compared, for which they are written again ([`READ_BACK_MAX`]); what was read is not counted.
#[derive(Clone, Deserialize)]
struct Row {
    count: u64,
    text: String,
    #[serde(skip, default = "yes")]
    is_decoded: bool,
}

fn yes() -> bool {
    true
}

/// Most rows of a checkpoint that are written again for a comparison: 64 KiB of them, and one in 512.
const READ_BACK_MAX: u64 = (64 << 10) / TEXT_BYTES as u64 + 2 * KEYS / 512;

/// Each row of all keys was written once.
fn assert_once(rows: u64) {
    assert!((KEYS..=KEYS + READ_BACK_MAX).contains(&rows), "{rows} rows of {KEYS}");
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            count: u64,
            text: &'a str,
        }
        ROWS.set(ROWS.get() + u64::from(!self.is_decoded));
        Written { count: self.count, text: &self.text }.serialize(serializer)
    }
}

/// Counts per key, and says how many records it has taken.
#[derive(Clone)]
struct Count(mpsc::UnboundedSender<u64>);

impl KeyedProcessFunction<u64, u64> for Count {
    type Out = u64;
    type State = ValueState<Row>;

    fn state(&self) -> Self::State {
        ValueState::new("counts")
    }

    fn process(
        &mut self,
        _: u64,
        mut row: ValueHandle<'_, Row>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        row.get_or_insert_with(|| Row { count: 0, text: "x".repeat(TEXT_BYTES), is_decoded: false }).count += 1;
        RECORDS.set(RECORDS.get() + 1);
        if RECORDS.get().is_multiple_of(KEYS) {
            // The test may have seen enough.
            let _ = self.0.send(RECORDS.get());
        }
    }
}

/// What the task of the source had done when it came to a step.
#[derive(Clone, Copy, Debug)]
struct Seen {
    step: Step,
    rows: u64,
    records: u64,
}

#[derive(Clone, Default)]
struct Watch {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Rows written so far.
    rows: Arc<AtomicU64>,
}

impl Watch {
    /// What was seen from the last barrier on.
    fn since_barrier(&self) -> Vec<Seen> {
        let seen = self.seen.lock().expect("no panic under it");
        let barrier = seen.iter().rposition(|seen| seen.step == Step::BarrierForwarded).expect("a barrier");
        seen[barrier..].to_vec()
    }
}

impl Probe for Watch {
    fn reached(&self, step: Step, actor: &ActorName) {
        let steps = [Step::BarrierForwarded, Step::SliceWritten, Step::SnapshotTaken];
        if matches!(actor, ActorName::Subtask { subtask, .. } if subtask.task.0 == 0) {
            self.rows.store(ROWS.get(), Ordering::SeqCst);
            if steps.contains(&step) {
                let seen = Seen { step, rows: ROWS.get(), records: RECORDS.get() };
                self.seen.lock().expect("no panic under it").push(seen);
            }
        }
    }
}

/// A job that counts for ever, with a store that can be held.
struct Counting {
    job: JobHandle,
    watch: Watch,
    store: FaultyStore,
    /// Moves only when a test moves it.
    clock: ManualClock,
    /// Each time that so many more records were taken.
    taken: mpsc::UnboundedReceiver<u64>,
}

impl Counting {
    /// Starts it, and waits until all keys are there.
    async fn start(limit: impl FnOnce(&mut Limits)) -> Self {
        let (sender, taken) = mpsc::unbounded_channel();
        let (watch, clock) = (Watch::default(), ManualClock::new());
        let store = FaultyStore::new(Arc::new(MemoryStore::new()) as Arc<dyn SnapshotStore>);
        let mut limits = Limits::default();
        limit(&mut limits);
        // What is counted is counted for a thread.
        let env = StreamEnvironment::new("counting")
            .own_arbiters(1)
            .max_parallelism(GROUPS)
            .limits(limits)
            .clock(clock.clone())
            .slice_clock(clock_that_looks_move)
            .probe(watch.clone())
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)))
            .snapshot_store(store.clone());
        let key = |n: &u64| if *n < KEYS { *n } else { n % UPDATED * (KEYS / UPDATED) };
        env.source("numbers", SequenceSource::unbounded())
            .key_by(key)
            .process("count", Count(sender))
            .sink("nothing", CollectSink::new());
        let job = env.start().expect("starts");
        let mut counting = Self { job, watch, store, clock, taken };
        counting.more().await;
        counting
    }

    /// Waits until [`KEYS`] more records were taken.
    async fn more(&mut self) {
        while self.taken.try_recv().is_ok() {}
        for _ in 0..2 {
            self.taken.recv().await.expect("the job runs");
        }
    }

    /// Holds the store at the first chunks, and asks for a checkpoint. Returns once chunks wait.
    async fn checkpoint_held(&self) -> (Gate, impl Future<Output = Result<CheckpointId, CheckpointError>> + use<>) {
        let gate = Gate::new();
        self.store.inject_next(StoreCall::PutChunks, StoreFault::Hold(gate.clone()));
        let asked = self.job.checkpoint();
        let at_gate = gate.clone();
        actix_rt::task::spawn_blocking(move || at_gate.wait_for_arrival()).await.expect("no panic");
        (gate, asked)
    }
}

/// A counting job in a system of its own, with these limits.
fn counting<F: Future<Output = ()>>(
    what: &str,
    limit: impl FnOnce(&mut Limits) + Send + 'static,
    test: impl FnOnce(Counting) -> F + Send + 'static,
) {
    run(what, move |handles| async move {
        let counting = Counting::start(limit).await;
        watched(&handles, &counting.job);
        let job = counting.job.clone();
        test(counting).await;
        assert_eq!(job.cancel().await.expect("cancelled").kind, OutcomeKind::Cancelled);
    });
}

#[test]
fn records_flow_between_slices_that_keep_to_their_budget() {
    counting(
        "a job whose slices are counted",
        |_| {},
        |counting| async move {
            counting.job.checkpoint().await.expect("complete");
            let seen = counting.watch.since_barrier();
            let (first, last) = (seen[0], seen[seen.len() - 1]);
            assert_eq!(last.step, Step::SnapshotTaken);
            assert_once(last.rows - first.rows);
            assert!(seen.len() as u64 > KEYS / (LOOKS_PER_SLICE * ROWS_PER_LOOK), "{seen:?}");
            for (before, after) in seen.iter().zip(&seen[1..]) {
                // A record has its own row written before it changes it.
                let records = after.records - before.records;
                let swept = (after.rows - before.rows).saturating_sub(records);
                assert!(swept <= LOOKS_PER_SLICE * ROWS_PER_LOOK, "{before:?} {after:?}");
                let is_between = before.step == Step::SliceWritten;
                assert!(!is_between || records > 0, "no record between {before:?} and {after:?}");
            }
        },
    );
}

#[test]
fn sweep_waits_for_the_store_while_records_flow() {
    const IN_FLIGHT: usize = 1 << 20;
    let limit = |limits: &mut Limits| limits.capture_bytes_in_flight = IN_FLIGHT;
    counting("a job whose store is held", limit, |mut counting| async move {
        let before = counting.watch.rows.load(Ordering::SeqCst);
        let (gate, checkpoint) = counting.checkpoint_held().await;
        counting.more().await;
        // Rows of records count against another limit, and there are few.
        let rows = counting.watch.rows.load(Ordering::SeqCst) - before;
        let bytes = rows.saturating_sub(UPDATED) * TEXT_BYTES as u64;
        // What is closed goes to the store; of each group a piece is open, and the slice may have closed one too many.
        let bound = IN_FLIGHT as u64 + u64::from(GROUPS + 1) * CHUNK_BYTES_MAX;
        assert!(bytes > 0 && bytes <= bound, "{bytes} bytes of {rows} rows");
        assert!(rows < KEYS, "the sweep did not wait");
        gate.open();
        checkpoint.await.expect("complete");
        assert_once(counting.watch.rows.load(Ordering::SeqCst) - before);
    });
}

#[test]
fn snapshot_that_holds_too_much_is_declined_and_the_next_one_is_whole() {
    // More than two looks' worth of rows, less than those that are updated.
    const HELD_MAX: usize = 1 << 20;
    let limit = |limits: &mut Limits| {
        limits.capture_bytes_in_flight = 1;
        limits.capture_bytes_max = HELD_MAX;
    };
    counting("a job whose records change more than may be held", limit, |counting| async move {
        let mut events = events_of(&counting.job);
        let (gate, checkpoint) = counting.checkpoint_held().await;
        let declined = events.until(|kind| matches!(kind, JobEventKind::CheckpointDeclined { .. })).await;
        let JobEventKind::CheckpointDeclined { reason, .. } = declined else { unreachable!("waited for") };
        assert!(reason.to_string().contains("Limits::capture_bytes_max"), "{reason}");
        gate.open();
        let error = checkpoint.await.expect_err("declined");
        assert!(matches!(error, CheckpointError::Aborted(_)), "{error}");
    });
}

#[test]
fn abort_in_the_middle_of_a_snapshot_leaves_all_rows_to_the_next() {
    let limit = |limits: &mut Limits| limits.capture_bytes_in_flight = 1 << 20;
    counting("a job whose checkpoint takes too long", limit, |mut counting| async move {
        let (gate, checkpoint) = counting.checkpoint_held().await;
        counting.more().await;
        counting.clock.advance(Duration::from_secs(600));
        let error = checkpoint.await.expect_err("aborted");
        assert!(matches!(error, CheckpointError::Aborted(_)), "{error}");
        gate.open();
        counting.more().await;
        let before = counting.watch.rows.load(Ordering::SeqCst);
        counting.job.checkpoint().await.expect("complete");
        assert_once(counting.watch.rows.load(Ordering::SeqCst) - before);
    });
}

/// A clock with which each look ends a slice.
fn clock_without_time() -> Duration {
    LOOKS.set(LOOKS.get() + 1);
    Duration::from_millis(LOOKS.get())
}

/// What a job gave that counts ids by 20 keys.
struct Counted {
    /// Key, running count and running sum, ordered.
    counts: Vec<(u64, u64, u64)>,
    /// The panics that came about.
    fired: Vec<Fault>,
    /// How often each point was reached since the last of them.
    reached: Vec<(Point, u64)>,
}

fn chained_counts(plan: Vec<Fault>) -> Counted {
    let what = format!("a chained job with panics at {plan:?}");
    run(&what, move |handles| async move {
        let input = InputEnd::default();
        let probe = FaultProbe::new(&input, plan);
        let sink = CollectSink::new();
        let collected = sink.handle();
        let env = StreamEnvironment::new("chained")
            .max_parallelism(GROUPS)
            .slice_clock(clock_without_time)
            .checkpointing(Checkpointing::every(Duration::from_millis(1)))
            .restart_strategy(RestartStrategy::fixed_delay(1000, Duration::ZERO))
            .probe(probe.clone());
        env.source("ids", SteppedSource::new("ids", 240, 40, &input))
            .map(|(_, id)| id)
            .key_by(|id| id % 20)
            .fold_map(
                "counts",
                (0u64, 0u64),
                |counts, id| *counts = (counts.0 + 1, counts.1 + id),
                |key, counts| (*key, counts.0, counts.1),
            )
            .sink("all", sink);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        assert_eq!(job.await.expect("finished").kind, OutcomeKind::Finished);
        let mut counts = collected.snapshot();
        counts.sort_unstable();
        Counted { counts, fired: probe.fired(), reached: probe.reached() }
    })
}

#[test]
fn panic_between_slices_leaves_the_output_of_an_undisturbed_run() {
    let mut expected = Vec::new();
    for key in 0..20 {
        let ids = (0..240).filter(|id| id % 20 == key);
        let sums = ids.scan((0, 0), |counts, id: u64| {
            *counts = (counts.0 + 1, counts.1 + id);
            Some(*counts)
        });
        expected.extend(sums.map(|(count, sum)| (key, count, sum)));
    }
    let Counted { counts, reached, .. } = chained_counts(Vec::new());
    assert_eq!(counts, expected);
    let (point, slices) = reached.iter().find(|((step, _), _)| *step == Step::SliceWritten).expect("slices").clone();
    assert!(slices >= 40, "{slices} slices");
    let at = |occurrence| Fault { point: point.clone(), at: At::Occurrence(occurrence) };
    let singles = (1..=slices.min(40)).map(|occurrence| vec![at(occurrence)]);
    // The attempt after the first panic comes no further, or a little.
    let doubles = (1..=20).map(|occurrence| vec![at(20), at(occurrence), at(21 - occurrence)]);
    for plan in singles.chain(doubles) {
        let Counted { counts, fired, .. } = chained_counts(plan.clone());
        assert_eq!(fired, plan, "a panic did not come about");
        // Guarantee G1, guarantee G2.
        assert_eq!(counts, expected, "{plan:?}");
    }
}
