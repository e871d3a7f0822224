use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use millstream_actors::contract::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream_actors::protocol::CheckpointId;
use redb::backends::InMemoryBackend;
use redb::{
    Database, MultimapTableDefinition, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use super::ledger::{MARKS, ROWS};
use super::{RedbRows, RedbSink, RedbSinkError};
use crate::sink::driver::context;
use crate::testing::SinkHarness;

pub(super) const TABLE: TableDefinition<'_, u32, u64> = TableDefinition::new("numbers");

/// Where the service puts what it takes, by number.
const TAKEN: TableDefinition<'_, u64, u32> = TableDefinition::new("taken");

/// A database, and a service that moves rows out of its table: a row that is written twice is taken twice.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) database: Arc<Database>,
}

impl Service {
    pub(super) fn new() -> Self {
        Self::on(Database::builder().create_with_backend(InMemoryBackend::new()).unwrap())
    }

    pub(super) fn on(database: Database) -> Self {
        Self { database: Arc::new(database) }
    }

    pub(super) fn sink(&self) -> RedbSink<u32> {
        RedbSink::new(self.database.clone(), TABLE, |number, rows: &mut RedbRows<'_, u32, u64>| {
            rows.insert(number, u64::from(number));
        })
    }

    fn rows(&self) -> Vec<(u32, u64)> {
        let Ok(table) = self.database.begin_read().unwrap().open_table(TABLE) else { return Vec::new() };
        table.iter().unwrap().map(|row| row.unwrap()).map(|(key, value)| (key.value(), value.value())).collect()
    }

    /// All that was in the table when the service looked; takes what is there.
    pub(super) fn take(&self) -> Vec<u32> {
        let rows = self.rows();
        if !rows.is_empty() {
            let transaction = self.database.begin_write().unwrap();
            let (mut table, mut taken) =
                (transaction.open_table(TABLE).unwrap(), transaction.open_table(TAKEN).unwrap());
            for (key, _) in rows {
                table.remove(key).unwrap();
                let number = taken.len().unwrap();
                taken.insert(number, key).unwrap();
            }
            drop((table, taken));
            transaction.commit().unwrap();
        }
        let Ok(taken) = self.database.begin_read().unwrap().open_table(TAKEN) else { return Vec::new() };
        taken.iter().unwrap().map(|row| row.unwrap().1.value()).collect()
    }

    /// How many prepared pieces and marks there are.
    pub(super) fn kept(&self) -> (u64, u64) {
        let read = self.database.begin_read().unwrap();
        let rows = read.open_table(ROWS).map_or(0, |table| table.len().unwrap());
        (rows, read.open_table(MARKS).map_or(0, |table| table.len().unwrap()))
    }
}

pub(super) fn batch<T>(records: impl IntoIterator<Item = T>) -> Batch<T> {
    Batch::from_iter(records)
}

pub(super) fn restored(checkpoint: u64, pending: &[PendingCommit]) -> SinkRestore {
    SinkRestore { checkpoint: Some(CheckpointId(checkpoint)), pending: pending.to_vec(), ..SinkRestore::default() }
}

pub(super) fn reason(error: &SinkError) -> &RedbSinkError {
    error.reason().downcast_ref().unwrap_or_else(|| panic!("{error}"))
}

/// Writes a number with each of these checkpoints, and commits it.
fn write_with(writer: &mut dyn SinkWriter<Item = u32>, checkpoints: impl IntoIterator<Item = u64>) {
    for checkpoint in checkpoints {
        writer.write(&mut batch([checkpoint as u32])).unwrap();
        writer.prepare(CheckpointId(checkpoint)).unwrap();
        writer.commit(CheckpointId(checkpoint)).unwrap();
    }
}

// Guarantees G2 and O2.
#[test]
fn every_life_of_a_job_shows_each_row_once_to_a_service_that_takes_rows_away() {
    SinkHarness::new(Service::new, |service| Arc::new(service.sink()), Service::take).check(0..4);
}

#[test]
fn rows_of_a_checkpoint_appear_together_and_in_order_and_nothing_is_left_of_them() {
    let service = Service::new();
    let sink = RedbSink::new(service.database.clone(), TABLE, |n: u32, rows: &mut RedbRows<'_, u32, u64>| {
        rows.insert(n % 3, u64::from(n));
        if n.is_multiple_of(4) {
            rows.remove(n % 3);
        }
    });
    let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    writer.write(&mut batch(0..9)).unwrap();
    let pending = writer.prepare(CheckpointId(1)).unwrap();
    assert_eq!((service.rows(), service.kept()), (vec![], (1, 0)));
    writer.write(&mut batch([1])).unwrap();
    assert_eq!(writer.prepare(CheckpointId(2)).unwrap().len(), 1, "the newest stands for both");
    writer.commit(CheckpointId(1)).unwrap();
    assert_eq!((service.rows(), service.kept()), (vec![(0, 6), (1, 7)], (1, 1)));
    writer.commit(CheckpointId(2)).unwrap();
    writer.commit(CheckpointId(2)).unwrap();
    assert_eq!((service.rows(), service.kept()), (vec![(0, 6), (1, 1)], (0, 1)));
    assert!(writer.prepare(CheckpointId(3)).unwrap().is_empty());
    // What was settled long ago is not written over what came since.
    drop(writer);
    sink.open(&context(1, 2, 0, 1), restored(2, &pending)).unwrap();
    assert_eq!(service.rows(), [(0, 6), (1, 1)]);
}

// Guarantee O2: rows of a checkpoint that was aborted come before those of the next, whoever settles them.
#[test]
fn rows_of_one_key_keep_their_order_over_an_aborted_checkpoint_and_a_restart() {
    let service = Service::new();
    let sink =
        RedbSink::new(service.database.clone(), TABLE, |n: u64, rows: &mut RedbRows<'_, u32, u64>| rows.insert(7, n));
    let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    let mut pending = Vec::new();
    for checkpoint in 1..=3 {
        writer.write(&mut batch([checkpoint])).unwrap();
        pending = writer.prepare(CheckpointId(checkpoint)).unwrap();
    }
    drop(writer);
    sink.open(&context(1, 2, 0, 1), restored(3, &pending)).unwrap();
    assert_eq!(service.rows(), [(7, 3)]);
}

#[test]
fn rows_beyond_what_memory_is_for_wait_in_the_database() {
    let service = Service::new();
    let table: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blobs");
    let sink = RedbSink::new(service.database.clone(), table, |n: u64, rows: &mut RedbRows<'_, u64, &[u8]>| {
        rows.insert(n, [n as u8; 1000].as_slice());
    });
    let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    for n in 0..40 {
        writer.write(&mut batch(n * 100..(n + 1) * 100)).unwrap();
    }
    let (pieces, _) = service.kept();
    assert!(pieces >= 16, "{pieces} pieces of 4 MB");
    let pending = writer.prepare(CheckpointId(1)).unwrap();
    // Another attempt settles it, and has nothing of what came after.
    for n in 0..40 {
        writer.write(&mut batch(n * 100..(n + 1) * 100)).unwrap();
    }
    drop(writer);
    sink.open(&context(1, 2, 0, 1), restored(1, &pending)).unwrap();
    assert_eq!(service.kept(), (0, 1));
    let table = service.database.begin_read().unwrap().open_table(table).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap());
    assert_eq!(rows.filter(|(key, value)| value.value() == [key.value() as u8; 1000]).count(), 4000);
}

// Guarantee O3.
#[test]
fn start_from_before_what_is_written_is_refused_and_names_both_checkpoints() {
    let service = Service::new();
    let mut writer = service.sink().open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    write_with(&mut *writer, [4, 7]);
    drop(writer);
    let starts = [(SinkRestore::default(), None), (restored(4, &[]), Some(CheckpointId(4)))];
    for (restore, from) in starts.clone() {
        let error = service.sink().open(&context(2, 1, 0, 1), restore).err().unwrap();
        let RedbSinkError::WouldRepeat { committed, restored } = reason(&error) else { panic!("{error}") };
        assert_eq!((*committed, *restored), (CheckpointId(7), from));
        assert!(!error.is_retryable() && error.to_string().contains("accept_repeats"), "{error}");
    }
    // From what is written on, or after it: nothing would be repeated.
    for from in [7, 9] {
        service.sink().open(&context(2, 1, 0, 1), restored(from, &[])).unwrap();
    }
    // Another job and another sink know nothing of it.
    let other = SinkContext { job: "other".into(), ..context(2, 1, 0, 1) };
    service.sink().open(&other, SinkRestore::default()).unwrap();
    let other = SinkContext { operator: "other".into(), ..context(2, 1, 0, 1) };
    service.sink().open(&other, SinkRestore::default()).unwrap();

    for (incarnation, (restore, _)) in (3..).zip(starts) {
        let accepts = service.sink().accept_repeats(true);
        for subtask in 0..2 {
            accepts.open(&context(incarnation, 1, subtask, 2), restore.clone()).unwrap();
        }
        // Accepted once: then it is where it was taken back to.
        service.sink().open(&context(incarnation, 2, 0, 1), restore).unwrap();
        let mut writer = accepts.open(&context(incarnation, 3, 0, 1), restored(9, &[])).unwrap();
        write_with(&mut *writer, [11]);
    }
}

#[test]
fn fall_back_that_the_job_accepts_is_accepted() {
    let service = Service::new();
    let mut writer = service.sink().open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    write_with(&mut *writer, [4, 7]);
    drop(writer);
    // Without a word the list is that of a start from copies: what is above them all may have been written.
    let from_copies = SinkRestore { withdraw: vec![CheckpointId(1000)], ..restored(4, &[]) };
    let error = service.sink().open(&context(1, 2, 0, 1), from_copies).err().unwrap();
    assert!(matches!(reason(&error), RedbSinkError::WouldRepeat { .. }), "{error}");
    // With it a start from before anything was abandoned is refused all the same.
    let empty = SinkRestore { accepts_repeats: true, ..SinkRestore::default() };
    let error = service.sink().open(&context(1, 2, 0, 1), empty).err().unwrap();
    assert!(matches!(reason(&error), RedbSinkError::WouldRepeat { .. }), "{error}");

    let restore = SinkRestore { withdraw: vec![CheckpointId(7)], accepts_repeats: true, ..restored(4, &[]) };
    assert!(!service.sink().can_withdraw());
    service.sink().open(&context(1, 2, 0, 1), restore).unwrap();
    assert_eq!(service.take(), [4, 7]);
}

// Cause: a writer began with piece 0 although there was a mark of its id, from beside a store that is gone, so what was below the mark
// was taken for written. Repair: it begins above the mark, and what it has left over is removed.
#[test]
fn writer_whose_id_was_in_use_before_writes_all_of_its_rows() {
    let service = Service::new();
    let cx = context(1, 1, 0, 1);
    let mut writer = service.sink().open(&cx, SinkRestore::default()).unwrap();
    write_with(&mut *writer, 1..4);
    writer.write(&mut batch([50])).unwrap();
    writer.prepare(CheckpointId(4)).unwrap();
    drop(writer);
    assert_eq!(service.take(), [1, 2, 3]);

    let mut writer = service.sink().accept_repeats(true).open(&cx, SinkRestore::default()).unwrap();
    assert_eq!(service.kept().0, 0, "of what was prepared before");
    write_with(&mut *writer, 1..6);
    assert_eq!(service.take(), [1, 2, 3, 1, 2, 3, 4, 5]);
}

#[test]
fn rows_and_marks_move_with_an_id() {
    let service = Service::new();
    let mut writer = service.sink().open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    write_with(&mut *writer, [1]);
    writer.write(&mut batch([50])).unwrap();
    let pending = writer.prepare(CheckpointId(2)).unwrap();
    drop(writer);
    let renamed = |incarnation| SinkContext {
        operator: "new".into(),
        former_operators: vec!["sink".into(), "never".into()],
        ..context(incarnation, 1, 0, 1)
    };
    service.sink().open(&renamed(2), restored(2, &pending)).unwrap();
    assert_eq!((service.take(), service.kept()), (vec![1, 50], (0, 1)));
    let error = service.sink().open(&renamed(3), restored(1, &[])).err().unwrap();
    assert!(matches!(reason(&error), RedbSinkError::WouldRepeat { .. }), "{error}");
}

#[test]
fn marks_of_earlier_executions_are_forgotten_and_how_far_they_were_is_not() {
    let service = Service::new();
    for attempt in 1..=5 {
        let mut writer = service.sink().open(&context(1, attempt, 0, 1), restored(u64::from(attempt), &[])).unwrap();
        write_with(&mut *writer, [u64::from(attempt) + 1]);
    }
    assert_eq!(service.kept(), (0, 5));
    let mut writer = service.sink().open(&context(2, 1, 0, 1), restored(10, &[])).unwrap();
    // No rows of its own.
    for checkpoint in 11..11 + 64 {
        writer.prepare(CheckpointId(checkpoint)).unwrap();
        writer.commit(CheckpointId(checkpoint)).unwrap();
        writer.commit(CheckpointId(checkpoint)).unwrap();
    }
    assert_eq!(service.kept(), (0, 1));
    let error = service.sink().open(&context(3, 1, 0, 1), restored(5, &[])).err().unwrap();
    let RedbSinkError::WouldRepeat { committed, .. } = reason(&error) else { panic!("{error}") };
    assert_eq!(*committed, CheckpointId(6));
}

#[test]
fn prepared_rows_that_are_gone_or_damaged_are_told_with_their_checkpoint() {
    let service = Service::new();
    let mut writer = service.sink().open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    writer.write(&mut batch([1])).unwrap();
    let pending = writer.prepare(CheckpointId(3)).unwrap();
    let lost = Service::new().sink().open(&context(2, 1, 0, 1), restored(3, &pending)).err().unwrap();
    let RedbSinkError::PendingLost { checkpoint } = reason(&lost) else { panic!("{lost}") };
    assert_eq!(*checkpoint, CheckpointId(3));

    let transaction = service.database.begin_write().unwrap();
    transaction.open_table(ROWS).unwrap().insert(("job", "sink", 1, 0, 1, 0, 0), [7; 40].as_slice()).unwrap();
    transaction.commit().unwrap();
    let damaged = service.sink().open(&context(2, 1, 0, 1), restored(3, &pending)).err().unwrap();
    assert!(matches!(reason(&damaged), RedbSinkError::PendingDamaged { .. }), "{damaged}");
    assert_eq!((service.rows(), service.kept()), (vec![], (1, 0)), "it stays");

    let foreign = [PendingCommit { checkpoint: CheckpointId(3), data: vec![1, 2] }];
    assert!(service.sink().open(&context(2, 1, 0, 1), restored(3, &foreign)).is_err());
}

#[test]
fn table_of_other_types_or_of_millstreams_own_is_a_mistake() {
    let service = Service::new();
    let transaction = service.database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u32, &str>::new("numbers")).unwrap();
    transaction.open_multimap_table(MultimapTableDefinition::<u32, u64>::new("many")).unwrap();
    transaction.commit().unwrap();
    let many = RedbSink::new(
        service.database.clone(),
        TableDefinition::new("many"),
        |n, rows: &mut RedbRows<'_, u32, u64>| {
            rows.remove(n);
        },
    );
    for sink in [service.sink(), many] {
        let error = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).err().unwrap();
        assert!(matches!(reason(&error), RedbSinkError::Misfit { .. }) && !error.is_retryable(), "{error}");
        assert!(reason(&error).source().is_some());
    }
    let own = RedbSink::new(
        service.database.clone(),
        TableDefinition::new("millstream.x"),
        |_: u8, _: &mut RedbRows<'_, u32, u64>| {},
    );
    assert!(own.mistake().unwrap().contains("'millstream.x'"));
    assert_eq!(service.sink().mistake(), None);
}

#[test]
fn writer_whose_attempt_is_replaced_while_it_waits_for_the_service_writes_nothing() {
    let service = Service::new();
    let cx = context(1, 1, 0, 1);
    let mut writer = service.sink().open(&cx, SinkRestore::default()).unwrap();
    writer.write(&mut batch([1])).unwrap();
    let held = service.database.begin_write().unwrap();
    let (sender, prepared) = mpsc::channel();
    let fence = cx.fenced.clone();
    let waiting = thread::spawn(move || sender.send(writer.prepare(CheckpointId(1)).unwrap_err()).unwrap());
    assert!(prepared.try_recv().is_err(), "it waits for the service's transaction");
    fence.raise();
    drop(held);
    assert!(prepared.recv().unwrap().is_fenced());
    waiting.join().unwrap();
    assert_eq!(service.kept(), (0, 0));
}

#[test]
fn function_is_called_outside_of_transactions() {
    let service = Service::new();
    let (database, calls) = (service.database.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    let sink = RedbSink::new(service.database.clone(), TABLE, move |n: u32, rows: &mut RedbRows<'_, u32, u64>| {
        database.try_begin_write().unwrap().abort().unwrap();
        counted.fetch_add(1, Ordering::Relaxed);
        rows.insert(n, 0);
    });
    let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    write_with(&mut *writer, 1..5);
    assert_eq!((calls.load(Ordering::Relaxed), service.rows().len()), (4, 4));
}
