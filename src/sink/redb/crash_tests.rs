//! Jobs that are cut off at every single operation of the disk under the service's database, and run again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use millstream_actors::contract::{PendingCommit, Sink, SinkError, SinkRestore, SinkWriter};
use millstream_actors::protocol::{CheckpointId, Fault};
use redb::{Database, StorageBackend};

use super::RedbSinkError;
use super::tests::{Service, batch, reason};
use crate::sink::driver::context;
use crate::testing::{DiskFault, FaultyDisk};

const RECORDS: u32 = 8;
const RECORDS_PER_CHECKPOINT: u32 = 4;

/// A completed checkpoint: how many records were read, what is pending, and how many operations the disk had seen.
#[derive(Clone, Default)]
struct Manifest {
    checkpoint: u64,
    read: u32,
    pending: Vec<PendingCommit>,
    at: u64,
}

/// A store, and the disk beside it.
struct World {
    disk: FaultyDisk,
    completed: Vec<Manifest>,
    last_checkpoint: u64,
}

fn open(disk: &FaultyDisk) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(1 << 20).create_with_backend(disk.handle())
}

impl World {
    /// With a database that is there, and empty.
    fn new() -> Self {
        let disk = FaultyDisk::new();
        open(&disk).unwrap();
        Self { disk, completed: Vec::new(), last_checkpoint: 0 }
    }

    /// One life of the job. Every first checkpoint of two is aborted after all have prepared.
    fn live(&mut self, incarnation: u64, parallelism: u32) -> Result<(), SinkError> {
        let Ok(database) = open(&self.disk) else {
            return Err(SinkError::configuration("the service does not start"));
        };
        let service = Service::on(database);
        let sink = service.sink();
        let newest = self.completed.last().cloned();
        let mut writers: Vec<Box<dyn SinkWriter<Item = u32>>> = Vec::new();
        for index in 0..parallelism {
            let dealt = newest.as_ref().map(|manifest| {
                let pending = manifest.pending.iter().cloned();
                SinkRestore::dealt(CheckpointId(manifest.checkpoint), pending, index, parallelism)
            });
            let restored = dealt.unwrap_or_default();
            writers.push(sink.open(&context(incarnation, 1, index, parallelism), restored)?);
        }
        let mut read = newest.map_or(0, |manifest| manifest.read);
        while read < RECORDS {
            for record in read..read + RECORDS_PER_CHECKPOINT {
                writers[(record % parallelism) as usize].write(&mut batch([record]))?;
            }
            read += RECORDS_PER_CHECKPOINT;
            for aborted in [true, false] {
                self.checkpoint(&mut writers, read, aborted)?;
            }
            // redb panics where a failure of the disk has shut it.
            let taken = catch_unwind(AssertUnwindSafe(|| service.take()));
            taken.map_err(|_| RedbSinkError::of("serve", redb::Error::PreviousIo).at("taken"))?;
        }
        Ok(())
    }

    fn checkpoint(
        &mut self,
        writers: &mut [Box<dyn SinkWriter<Item = u32>>],
        read: u32,
        aborted: bool,
    ) -> Result<(), SinkError> {
        self.last_checkpoint += 1;
        let checkpoint = CheckpointId(self.last_checkpoint);
        let mut pending = Vec::new();
        for writer in &mut *writers {
            pending.extend(writer.prepare(checkpoint)?);
        }
        if aborted {
            return Ok(());
        }
        self.completed.push(Manifest { checkpoint: checkpoint.0, read, pending, at: self.disk.operations() });
        writers.iter_mut().try_for_each(|writer| writer.commit(checkpoint))
    }

    /// What was there when the disk had seen so many operations, with what a power cut leaves of it by chance. A checkpoint that had
    /// completed in that moment has made it into the store, or not.
    fn cut(&self, operations: u64, seed: Option<u64>, newest_survives: bool) -> Self {
        let disk = FaultyDisk::with_bytes(self.disk.after_power_cut(operations, seed));
        let survives = |manifest: &&Manifest| manifest.at < operations || manifest.at == operations && newest_survives;
        let completed = self.completed.iter().filter(survives).cloned().collect();
        Self { disk, completed, last_checkpoint: self.last_checkpoint }
    }

    fn assert_once(&self, case: &str) {
        let service = Service::on(open(&self.disk).unwrap());
        let mut taken = service.take();
        taken.sort_unstable();
        assert!(taken.iter().copied().eq(0..RECORDS), "{case}: {taken:?}");
        assert_eq!(service.kept().0, 0, "{case}: prepared rows are left over");
    }
}

// Guarantees G7 and O2.
#[test]
fn power_cut_at_any_operation_of_the_disk_shows_each_row_once() {
    for (before, after) in [(1, 1), (2, 3)] {
        let mut undisturbed = World::new();
        let first = undisturbed.disk.operations();
        undisturbed.live(1, before).unwrap();
        let operations = undisturbed.disk.operations();
        undisturbed.assert_once("undisturbed");
        assert!(operations > 60, "only {operations} operations");
        for cut in first..=operations {
            let at_completion = undisturbed.completed.iter().any(|manifest| manifest.at == cut);
            for newest_survives in [true, false] {
                if !at_completion && !newest_survives {
                    continue;
                }
                // By turns all that was written is there, and a part of it.
                let seed = (cut % 2 == 0).then_some(cut);
                let case = format!("{before} -> {after}, cut at {cut} of {operations}, {seed:?}, {newest_survives}");
                let mut world = undisturbed.cut(cut, seed, newest_survives);
                world.live(2, after).unwrap_or_else(|error| panic!("{case}: {error}"));
                world.assert_once(&case);
            }
        }
    }
}

/// Lives of the job, until one comes to its end.
fn live_on(world: &mut World, case: &str) {
    world.disk.limit(None);
    world.live(2, 3).unwrap_or_else(|error| panic!("{case}: {error}"));
    world.assert_once(case);
}

fn assert_told(error: &SinkError, case: &str) {
    let is_start = error.fault() == Fault::User;
    assert!(is_start || matches!(reason(error), RedbSinkError::Database { .. }), "{case}: {error}");
    assert!(!error.is_retryable(), "{case}: {error}");
}

#[test]
fn failure_of_any_operation_is_told_and_the_next_start_shows_each_row_once() {
    let mut undisturbed = World::new();
    let first = undisturbed.disk.operations();
    undisturbed.live(1, 2).unwrap();
    let operations = undisturbed.disk.operations();
    for failing in first + 1..=operations {
        let fault = if failing % 2 == 0 { DiskFault::Fail } else { DiskFault::Torn(100) };
        let case = format!("{fault:?} at {failing} of {operations}");
        let mut world = World::new();
        world.disk.inject(failing, fault);
        match world.live(1, 2) {
            Ok(()) => world.assert_once(&case),
            Err(error) => {
                assert_told(&error, &case);
                live_on(&mut world, &case);
            }
        }
    }
}

#[test]
fn disk_that_is_full_is_told_and_loses_nothing() {
    let mut undisturbed = World::new();
    undisturbed.live(1, 2).unwrap();
    let len = undisturbed.disk.handle().len().unwrap();
    let mut full = 0;
    for limit in (4096..len).step_by(16 << 10) {
        let mut world = World::new();
        world.disk.limit(Some(limit));
        let case = format!("{limit} of {len} bytes");
        if let Err(error) = world.live(1, 2) {
            full += 1;
            assert_told(&error, &case);
            live_on(&mut world, &case);
        }
    }
    assert!(full > 3, "{full} of {len}");
}
