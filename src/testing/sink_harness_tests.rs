//! That the harness finds sinks which break the protocol.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use millstream_actors::contract::{
    Batch, PendingCommit, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter,
};
use millstream_actors::protocol::CheckpointId;

use super::*;
use crate::sink::ForEachSink;

/// What is wrong with a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    CommitAddsAgain,
    ForgetsPendingAtOpen,
    ShowsWhatIsPrepared,
    ForgetsAborted,
    CommitsOnlyTheNewest,
    PublishesWhenDropped,
    DoesNotWithdraw,
}

/// Rows by the transactions that committed them, and those that are prepared.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    committed: Vec<(CheckpointId, u32)>,
    prepared: BTreeMap<Vec<u8>, Vec<u32>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap()
    }

    fn commit(&self, transaction: &PendingCommit, again: bool) {
        let mut rows = self.lock();
        let prepared = rows.prepared.get(&transaction.data).cloned().unwrap_or_default();
        rows.committed.extend(prepared.into_iter().map(|row| (transaction.checkpoint, row)));
        if !again {
            rows.prepared.remove(&transaction.data);
        }
    }
}

struct TableSink(Table, Flaw);

struct TableWriter {
    table: Table,
    flaw: Flaw,
    name: String,
    rows: Vec<u32>,
    pending: Vec<PendingCommit>,
}

impl Sink for TableSink {
    type Item = u32;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn can_withdraw(&self) -> bool {
        true
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u32>>, SinkError> {
        let (table, flaw) = (self.0.clone(), self.1);
        if flaw != Flaw::DoesNotWithdraw {
            let (after, up_to) = (restored.checkpoint.unwrap_or(CheckpointId::NONE), restored.withdraw.iter().max());
            table.lock().committed.retain(|(checkpoint, _)| *checkpoint <= after || Some(checkpoint) > up_to);
        }
        if flaw != Flaw::ForgetsPendingAtOpen {
            restored.pending.iter().for_each(|pending| table.commit(pending, flaw == Flaw::CommitAddsAgain));
        }
        let name = format!("{:?} {}", cx.execution, cx.subtask_index);
        Ok(Box::new(TableWriter { table, flaw, name, rows: Vec::new(), pending: Vec::new() }))
    }
}

impl SinkWriter for TableWriter {
    type Item = u32;

    fn write(&mut self, batch: &mut Batch<u32>) -> Result<(), SinkError> {
        self.rows.extend(batch.drain());
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        if self.flaw == Flaw::ForgetsAborted {
            self.pending.clear();
        }
        let data = format!("{} {checkpoint}", self.name).into_bytes();
        let rows = std::mem::take(&mut self.rows);
        if self.flaw == Flaw::ShowsWhatIsPrepared {
            self.table.lock().committed.extend(rows.into_iter().map(|row| (checkpoint, row)));
        } else {
            self.table.lock().prepared.insert(data.clone(), rows);
            self.pending.push(PendingCommit { checkpoint, data });
        }
        Ok(self.pending.clone())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        let again = self.flaw == Flaw::CommitAddsAgain;
        let only_newest = self.flaw == Flaw::CommitsOnlyTheNewest;
        for pending in self.pending.iter().filter(|pending| !only_newest || pending.checkpoint == up_to) {
            self.table.commit(pending, again);
        }
        if !again {
            self.pending.retain(|pending| pending.checkpoint > up_to);
        }
        Ok(())
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if self.flaw == Flaw::PublishesWhenDropped {
            self.pending.iter().for_each(|pending| self.table.commit(pending, false));
        }
    }
}

fn check(flaw: Flaw) {
    let sink = move |table: &Table| Arc::new(TableSink(table.clone(), flaw));
    let visible = |table: &Table| table.lock().committed.iter().map(|(_, row)| *row).collect();
    SinkHarness::new(Table::default, sink, visible).check(0..14);
}

#[test]
fn sink_that_keeps_its_promise_passes() {
    check(Flaw::None);
}

#[test]
fn sink_that_writes_at_once_is_held_to_at_least_once() {
    type Seen = Arc<Mutex<Vec<u32>>>;
    let sink = |seen: &Seen| {
        let seen = seen.clone();
        Arc::new(ForEachSink::new(move |record: u32| {
            seen.lock().unwrap().push(record);
            Ok(())
        }))
    };
    SinkHarness::new(Seen::default, sink, |seen| seen.lock().unwrap().clone()).check(0..14);
}

flaws_are_found! {
    commit_that_adds_again_is_found: CommitAddsAgain, "more often than it was written";
    prepared_work_that_is_forgotten_at_a_restore_is_found: ForgetsPendingAtOpen,
        "when all writers were open: 0 is not visible";
    write_that_shows_before_its_checkpoint_is_found: ShowsWhatIsPrepared,
        "after prepare of writer 0, newest checkpoint 1: 0 is visible before";
    work_of_an_aborted_checkpoint_that_is_forgotten_is_found: ForgetsAborted, "is not visible, or less often";
    commit_that_does_not_cover_earlier_checkpoints_is_found: CommitsOnlyTheNewest, "is not visible, or less often";
    writer_that_publishes_when_it_is_dropped_is_found: PublishesWhenDropped, "another attempt";
    output_that_is_not_withdrawn_is_found: DoesNotWithdraw, "fallen back behind checkpoints";
}
