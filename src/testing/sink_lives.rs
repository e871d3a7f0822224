//! The lives of a job on one store, as its sink sees them.

use std::fmt::Debug;
use std::sync::Arc;

use millstream_actors::contract::{
    Batch, PendingCommit, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::{Attempt, CheckpointId, Execution, Incarnation, RegionId};

use super::{SinkHarness, sink_context};

type Writers<T> = Vec<Box<dyn SinkWriter<Item = T>>>;

/// Who goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// Another attempt of the same start, so with the same sink.
    Attempt,
    /// Another start, with a sink of its own.
    Start,
}

/// The calls of a life have been made up to where it is to stop.
struct Stopped;

/// A completed checkpoint.
#[derive(Clone)]
struct Manifest {
    checkpoint: CheckpointId,
    /// So many records were read.
    read: usize,
    pending: Vec<PendingCommit>,
}

/// What becomes of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    AbortedAfterOne,
    AbortedAfterAll,
    /// It completes, and the writers are not told.
    Untold,
    CommittedTwice,
}

/// A world, the checkpoints that have completed, and what has happened so far.
pub(super) struct Lives<'a, W, S: Sink> {
    harness: &'a SinkHarness<W, S>,
    records: &'a [S::Item],
    world: W,
    sink: Arc<S>,
    incarnation: u64,
    attempt: u32,
    cx: SinkContext,
    completed: Vec<Manifest>,
    withdraw: Vec<CheckpointId>,
    last_checkpoint: CheckpointId,
    /// Those of attempts that hang.
    hanging: Writers<S::Item>,
    /// In words, for who reads that something is wrong.
    story: String,
    calls: usize,
    calls_max: usize,
    last_call: String,
}

impl<'a, W, S> Lives<'a, W, S>
where
    S: Sink,
    S::Item: Clone + Debug + Ord,
{
    pub(super) fn new(harness: &'a SinkHarness<W, S>, records: &'a [S::Item]) -> Self {
        let world = (harness.world)();
        Self {
            harness,
            records,
            sink: (harness.sink)(&world),
            world,
            incarnation: 1,
            attempt: 1,
            cx: sink_context(0, 1),
            completed: Vec::new(),
            withdraw: Vec::new(),
            last_checkpoint: CheckpointId::NONE,
            hanging: Vec::new(),
            story: String::new(),
            calls: 0,
            calls_max: usize::MAX,
            last_call: String::new(),
        }
    }

    /// The number of calls of the last life.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Lets others go on; writers that have hung are dropped at the end of it all.
    pub(super) fn restart(&mut self, restart: Restart, drops_writers: bool) {
        self.cx.fenced.raise();
        self.attempt += 1;
        if restart == Restart::Start {
            (self.incarnation, self.attempt) = (self.incarnation + 1, 1);
            self.sink = (self.harness.sink)(&self.world);
        }
        if drops_writers {
            self.hanging.clear();
        }
        let hang = if drops_writers { "" } else { ", while they hang" };
        self.story += match restart {
            Restart::Attempt => "; then another attempt",
            Restart::Start => "; then another start",
        };
        self.story += hang;
    }

    /// Falls back behind so many of the newest checkpoints.
    pub(super) fn abandon(&mut self, checkpoints: usize) {
        let kept = self.completed.len().saturating_sub(checkpoints);
        self.withdraw = self.completed.drain(kept..).map(|manifest| manifest.checkpoint).collect();
        self.story += &format!(", fallen back behind checkpoints {:?}", self.withdraw);
    }

    /// A life: to the end, or until so many calls have been made.
    pub(super) fn live(&mut self, parallelism: u32, stop: Option<usize>) {
        (self.calls, self.calls_max) = (0, stop.unwrap_or(usize::MAX));
        self.story += &format!(" {parallelism} writers");
        let mut writers = Vec::new();
        match self.run(parallelism, &mut writers) {
            Ok(()) => {
                assert!(stop.is_none_or(|stop| stop >= self.calls), "a job that is to stop has stopped");
                self.hanging.clear();
                self.expect_all_covered("when writers that had hung were dropped");
            }
            Err(Stopped) => self.story += &format!(", stopped after {}", self.last_call),
        }
        if self.calls == self.calls_max {
            self.hanging.append(&mut writers);
        }
    }

    fn run(&mut self, parallelism: u32, writers: &mut Writers<S::Item>) -> Result<(), Stopped> {
        self.open(parallelism, writers)?;
        let newest = self.completed.last();
        let (mut read, portion) = (newest.map_or(0, |manifest| manifest.read), self.records.len().div_ceil(6).max(1));
        let fates = [Fate::CommittedTwice, Fate::AbortedAfterOne, Fate::Untold, Fate::AbortedAfterAll];
        for fate in fates.into_iter().cycle() {
            if read == self.records.len() {
                break;
            }
            for _ in 0..2 {
                let end = (read + portion.div_ceil(2)).min(self.records.len());
                self.write(writers, read, end)?;
                read = end;
            }
            self.checkpoint(writers, read, fate)?;
        }
        // The second has nothing to commit.
        for _ in 0..2 {
            self.checkpoint(writers, read, Fate::CommittedTwice)?;
        }
        for (index, writer) in writers.iter_mut().enumerate() {
            self.call(index, "close", || writer.close())?;
        }
        self.expect_all_covered("at the end");
        Ok(())
    }

    fn open(&mut self, parallelism: u32, writers: &mut Writers<S::Item>) -> Result<(), Stopped> {
        let (incarnation, attempt) = (Incarnation(self.incarnation), Attempt(self.attempt));
        let execution = Execution { incarnation, region: RegionId(0), attempt };
        self.cx = SinkContext { execution, ..sink_context(0, parallelism) };
        let newest = self.completed.last().cloned();
        for index in 0..parallelism {
            let dealt = newest.as_ref().map(|manifest| {
                SinkRestore::dealt(manifest.checkpoint, manifest.pending.iter().cloned(), index, parallelism)
            });
            let restore = SinkRestore { withdraw: self.withdraw.clone(), ..dealt.unwrap_or_default() };
            let cx = SinkContext { subtask_index: index, ..self.cx.clone() };
            let sink = self.sink.clone();
            writers.push(self.call(index as usize, "open", || sink.open(&cx, restore))?);
        }
        self.withdraw.clear();
        self.expect_all_covered("when all writers were open");
        Ok(())
    }

    /// Has these records written, dealt out in turn.
    fn write(&mut self, writers: &mut Writers<S::Item>, from: usize, to: usize) -> Result<(), Stopped> {
        let subtasks = writers.len();
        for (index, writer) in writers.iter_mut().enumerate() {
            let mine = (from..to).filter(|record| record % subtasks == index);
            let mut batch = Batch::counted(mine.map(|record| self.records[record].clone()).collect(), 0);
            self.call(index, "write", || writer.write(&mut batch))?;
            assert!(batch.is_empty(), "{}: write has left {} records in the batch", self.story, batch.len());
            self.call(index, "flush", || writer.flush())?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, writers: &mut Writers<S::Item>, read: usize, fate: Fate) -> Result<(), Stopped> {
        self.last_checkpoint = CheckpointId(self.last_checkpoint.0 + 1);
        let (checkpoint, mut pending) = (self.last_checkpoint, Vec::new());
        for (index, writer) in writers.iter_mut().enumerate() {
            pending.extend(self.call(index, "prepare", || writer.prepare(checkpoint))?);
            if fate == Fate::AbortedAfterOne {
                break;
            }
        }
        if matches!(fate, Fate::AbortedAfterOne | Fate::AbortedAfterAll) {
            return Ok(());
        }
        let later = pending.iter().find(|pending| pending.checkpoint > checkpoint);
        assert!(later.is_none(), "{}: prepare({checkpoint}) answers {later:?}", self.story);
        self.completed.push(Manifest { checkpoint, read, pending });
        self.count_call(|| format!("checkpoint {checkpoint} was complete"))?;
        if fate == Fate::CommittedTwice {
            for times in ["once", "twice"] {
                for (index, writer) in writers.iter_mut().enumerate() {
                    self.call(index, "commit", || writer.commit(checkpoint))?;
                }
                self.expect_all_covered(&format!("when checkpoint {checkpoint} was committed {times}"));
            }
        }
        Ok(())
    }

    /// Makes a call, unless the life is to stop before it, and looks at what is visible then.
    fn call<T>(
        &mut self,
        subtask: usize,
        name: &str,
        call: impl FnOnce() -> Result<T, SinkError>,
    ) -> Result<T, Stopped> {
        let checkpoint = self.last_checkpoint;
        self.count_call(|| format!("{name} of writer {subtask}, newest checkpoint {checkpoint}"))?;
        let answer = call().unwrap_or_else(|error| panic!("{}: {} fails: {error}", self.story, self.last_call));
        self.expect_nothing_early();
        Ok(answer)
    }

    fn count_call(&mut self, name: impl FnOnce() -> String) -> Result<(), Stopped> {
        if self.calls == self.calls_max {
            return Err(Stopped);
        }
        self.calls += 1;
        self.last_call = name();
        Ok(())
    }

    /// The records that the newest completed checkpoint has.
    fn covered(&self) -> &'a [S::Item] {
        &self.records[..self.completed.last().map_or(0, |manifest| manifest.read)]
    }

    /// Nothing may be visible that was not written, nor, of a sink that promises exactly once, what is not complete. What was
    /// published for abandoned checkpoints is looked for once all writers are open.
    fn expect_nothing_early(&self) {
        if !self.withdraw.is_empty() {
            return;
        }
        let visible = sorted((self.harness.visible)(&self.world));
        let (story, call) = (&self.story, &self.last_call);
        if self.sink.guarantee() == SinkGuarantee::ExactlyOnce {
            if let Some(record) = surplus(&visible, &sorted(self.covered().to_vec())) {
                panic!(
                    "{story}; after {call}: {record:?} is visible before a checkpoint that has it is complete, or more often than \
                     it was written. Writes show at `commit`, which may be called again; `open` commits what is pending, perhaps \
                     for the second time, and removes what else earlier attempts have left"
                );
            }
        } else if let Some(record) = visible.iter().find(|record| !self.records.contains(record)) {
            panic!("{story}; after {call}: {record:?} is visible, and was never written");
        }
    }

    fn expect_all_covered(&self, moment: &str) {
        self.expect_nothing_early();
        let visible = sorted((self.harness.visible)(&self.world));
        if let Some(record) = surplus(&sorted(self.covered().to_vec()), &visible) {
            panic!(
                "{}; {moment}: {record:?} is not visible, or less often than it was written, and the newest checkpoint has it. \
                 `prepare` answers all that is not committed, also of checkpoints that were aborted; `commit` publishes it up to \
                 its checkpoint; `open` commits all that is pending",
                self.story
            );
        }
    }
}

fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort();
    records
}

/// The first record that `records` has more often than `others`; both are sorted.
fn surplus<'r, T: Ord>(records: &'r [T], others: &[T]) -> Option<&'r T> {
    let mut others = others.iter().peekable();
    records.iter().find(|record| {
        while others.next_if(|other| other < record).is_some() {}
        others.next_if(|other| other == record).is_none()
    })
}
