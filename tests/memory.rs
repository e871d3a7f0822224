//! What is in flight is bounded by configuration, however slow the sink is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading};
use millstream::source::{ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition};
use millstream::{CheckpointId, JobHandle, Limits};

use common::{run, watched};

mod common;

/// A batch closes at this many records, or at this many bytes.
const BATCH_RECORDS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Batches beside those that hold a credit: the one that a source's step works on, and the one that it cannot send.
const BATCHES_OUTSIDE_CHANNELS: usize = 2;
/// Turns that other threads get before a source that has not moved counts as stalled. Too few weaken a test, and never
/// fail it.
const TURNS: usize = 20_000;

/// Counts records that are alive, and everything else that a test wants to know of them.
#[derive(Debug, Default)]
struct Counts {
    made: AtomicUsize,
    live: AtomicUsize,
    live_max: AtomicUsize,
    written: AtomicUsize,
    /// How often the sink waited for the source to come to a halt.
    stalls: AtomicUsize,
}

/// A record that knows how many of it there are.
#[derive(Debug)]
struct Counted {
    counts: Arc<Counts>,
    _payload: Vec<u8>,
}

impl Counted {
    fn new(counts: &Arc<Counts>, bytes: usize) -> Self {
        counts.made.fetch_add(1, Ordering::SeqCst);
        let live = counts.live.fetch_add(1, Ordering::SeqCst) + 1;
        counts.live_max.fetch_max(live, Ordering::SeqCst);
        Self { counts: counts.clone(), _payload: vec![0; bytes] }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes records as fast as it is asked to.
struct CountedSource {
    counts: Arc<Counts>,
    records: usize,
    bytes: usize,
}

struct CountedReader {
    counts: Arc<Counts>,
    left: usize,
    bytes: usize,
}

impl Source for CountedSource {
    type Item = Counted;

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Counted>>, SourceError> {
        let left = if cx.owns("all") { self.records } else { 0 };
        Ok(Box::new(CountedReader { counts: self.counts.clone(), left, bytes: self.bytes }))
    }
}

impl SourceReader for CountedReader {
    type Item = Counted;

    fn read(&mut self, batch: &mut Batch<Counted>) -> Result<ReadStatus, SourceError> {
        while self.left > 0 && !batch.is_full() {
            self.left -= 1;
            batch.push(Counted::new(&self.counts, self.bytes), self.bytes);
        }
        Ok(if self.left > 0 { ReadStatus::More } else { ReadStatus::End })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

/// Waits with each of its first writes until the source has come to a halt: slower than its source by any factor.
struct HeldSink {
    counts: Arc<Counts>,
    held_writes: usize,
}

struct HeldWriter {
    counts: Arc<Counts>,
    held_writes: usize,
}

impl Sink for HeldSink {
    type Item = Counted;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = Counted>>, SinkError> {
        Ok(Box::new(HeldWriter { counts: self.counts.clone(), held_writes: self.held_writes }))
    }
}

impl SinkWriter for HeldWriter {
    type Item = Counted;

    fn write(&mut self, batch: &mut Batch<Counted>) -> Result<(), SinkError> {
        if self.held_writes > 0 {
            self.held_writes -= 1;
            until_stalled(&self.counts);
        }
        self.counts.written.fetch_add(batch.len(), Ordering::SeqCst);
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Waits until no record is made any more although every other thread has had its turns.
fn until_stalled(counts: &Counts) {
    let mut made = counts.made.load(Ordering::SeqCst);
    loop {
        (0..TURNS).for_each(|_| thread::yield_now());
        let now = counts.made.load(Ordering::SeqCst);
        if now == made {
            break;
        }
        made = now;
    }
    counts.stalls.fetch_add(1, Ordering::SeqCst);
}

/// Runs a job over counted records, and returns what was counted.
fn run_counted(
    what: &str,
    records: usize,
    bytes: usize,
    held_writes: usize,
    sink_parallelism: u32,
    between: impl FnOnce(DataStream<Counted>, Arc<Counts>) -> DataStream<Counted> + Send + 'static,
) -> Arc<Counts> {
    run(what, move |handles| async move {
        let counts = Arc::new(Counts::default());
        let env = StreamEnvironment::new("bounded").snapshot_store(MemoryStore::new());
        let stream = env.source("counted", CountedSource { counts: counts.clone(), records, bytes });
        let sink = HeldSink { counts: counts.clone(), held_writes };
        between(stream, counts.clone()).sink("held", sink).parallelism(sink_parallelism);
        let job: JobHandle = env.start().expect("starts");
        watched(&handles, &job);
        let outcome = job.await.expect("finished");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        counts
    })
}

/// Guarantee G6: `live_max` records were in flight at most, and it was put to the test.
fn assert_bounded(counts: &Counts, bound: usize) {
    let (live_max, made) = (counts.live_max.load(Ordering::SeqCst), counts.made.load(Ordering::SeqCst));
    let stalls = counts.stalls.load(Ordering::SeqCst);
    println!("{live_max} of {made} records in flight at most, bound {bound}, {stalls} stalls");
    assert!(stalls > 0, "the sink never held its source up");
    assert!(live_max <= bound, "{live_max} records in flight, bound {bound}");
    assert!(made > 2 * bound, "{made} records cannot break the bound {bound}");
    assert_eq!(counts.live.load(Ordering::SeqCst), 0, "records are left");
}

#[test]
fn sink_slower_than_its_source_holds_it_up_at_the_credits_of_its_channel() {
    let counts = run_counted("a slow sink", 60_000, 0, 30, 1, |stream, _| stream);
    let credits = Limits::default().credits_same_arbiter as usize;
    assert_bounded(&counts, (credits + BATCHES_OUTSIDE_CHANNELS) * BATCH_RECORDS_MAX);
    assert_eq!(counts.written.load(Ordering::SeqCst), 60_000);
}

#[test]
fn slow_sinks_on_other_arbiters_hold_their_source_up_at_the_credits_of_their_channels() {
    let counts = run_counted("two slow sinks", 400_000, 0, 10, 2, |stream, _| stream.rebalance());
    // One channel stays on the source's arbiter.
    let limits = Limits::default();
    let credits = (limits.credits_same_arbiter + limits.credits_per_channel_max) as usize;
    let unsent = 1;
    assert_bounded(&counts, (credits + BATCHES_OUTSIDE_CHANNELS + unsent) * BATCH_RECORDS_MAX);
    assert_eq!(counts.written.load(Ordering::SeqCst), 400_000);
}

#[test]
fn records_of_one_megabyte_travel_one_to_a_batch() {
    let bytes = 1 << 20;
    let counts = run_counted("large records", 100, bytes, 20, 1, |stream, _| stream.map(|record| record));
    let credits = Limits::default().credits_same_arbiter as usize;
    let batch_records = BATCH_BYTES_MAX.div_ceil(bytes);
    assert_bounded(&counts, (credits + BATCHES_OUTSIDE_CHANNELS) * batch_records);
    assert_eq!(counts.written.load(Ordering::SeqCst), 100);
}

#[test]
fn flat_map_that_emits_a_million_records_for_one_holds_one_call_and_the_credits() {
    const EMITTED: usize = 1_000_000;
    let counts = run_counted("a large flat_map", 4, 0, 20, 1, |stream, counts| {
        stream.flat_map(move |_, out| (0..EMITTED).for_each(|_| out.emit(Counted::new(&counts, 0))))
    });
    let credits = Limits::default().credits_same_arbiter as usize;
    // The input records too.
    assert_bounded(&counts, EMITTED + (credits + BATCHES_OUTSIDE_CHANNELS) * BATCH_RECORDS_MAX + 4);
    assert_eq!(counts.written.load(Ordering::SeqCst), 4 * EMITTED);
}
