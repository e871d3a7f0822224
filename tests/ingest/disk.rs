//! Disks that fail.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream::prelude::*;
use millstream::source::{IngestError, IngestHandle, IngestLogError, IngestOptions, IngestRecord};
use millstream::testing::{DiskFault, DiskHandle, FaultyDisk};
use redb::StorageBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{run, sorted};
use crate::{close, read_all, wait};

fn open(disk: &FaultyDisk) -> Result<(IngestSource<u64>, IngestHandle<u64>), IngestLogError> {
    let opened = disk.clone();
    IngestSource::open_on("disk", move || Ok(opened.handle()), IngestOptions::new().splits(3))
}

#[test]
fn full_disk_refuses_records_which_do_not_count_and_takes_others_when_there_is_space() {
    let disk = FaultyDisk::new();
    let (source, handle) = open(&disk).unwrap();
    let mut taken = Vec::new();
    let mut next = 0..;
    let portion = |n: u64| n * 1_000..(n + 1) * 1_000;
    for round in 0..3 {
        disk.limit(Some(disk.handle().len().unwrap()));
        let refused = loop {
            let n = next.next().unwrap();
            match wait(handle.send_all(portion(n))) {
                Ok(_) => taken.extend(portion(n)),
                Err(error) => break error,
            }
            assert!(n < 1_000, "it is never full");
        };
        let IngestError::Log(error) = &refused else { panic!("{refused}") };
        assert!(matches!(**error, IngestLogError::Io { .. }) && refused.is_retryable(), "{refused}");
        disk.limit(None);
        let n = next.next().unwrap();
        wait(handle.send_all(portion(n))).unwrap_or_else(|error| panic!("round {round}: {error}"));
        taken.extend(portion(n));
    }
    assert_eq!(sorted(read_all(&source).records), taken);
    close((source, handle));
    let (source, _handle) = open(&FaultyDisk::with_bytes(disk.after_power_cut(disk.operations(), None))).unwrap();
    assert_eq!(sorted(read_all(&source).records), taken);
}

#[test]
fn failure_of_any_operation_of_the_disk_refuses_what_does_not_count_and_nothing_else() {
    let sends = 12;
    let undisturbed = FaultyDisk::new();
    let (source, handle) = open(&undisturbed).unwrap();
    let begin = undisturbed.operations();
    for n in 0..sends {
        wait(handle.send(n)).unwrap();
    }
    let end = undisturbed.operations();
    drop(source);
    for at in begin + 1..=end {
        for fault in [DiskFault::Fail, DiskFault::Torn(5)] {
            let disk = FaultyDisk::new();
            let (source, handle) = open(&disk).unwrap();
            disk.inject(at, fault);
            let keyed = |n: u64| IngestRecord::new(n).idempotency_key(n.to_string());
            let mut taken = Vec::new();
            let mut refused = 0;
            for n in 0..sends {
                match wait(handle.send(keyed(n))) {
                    Ok(receipt) => {
                        assert!(!receipt.is_repeated);
                        taken.push(n);
                    }
                    Err(_) => refused += 1,
                }
            }
            assert!(refused <= 1, "operation {at}, {fault:?}: {refused} refused");
            assert_eq!(sorted(read_all(&source).records), taken, "operation {at}, {fault:?}");
            close((source, handle));
            let bytes = disk.after_power_cut(disk.operations(), None);
            let (source, handle) = open(&FaultyDisk::with_bytes(bytes)).unwrap();
            for n in 0..sends {
                assert_eq!(wait(handle.send(keyed(n))).unwrap().is_repeated, taken.contains(&n), "the key of {n}");
            }
            assert!(sorted(read_all(&source).records).into_iter().eq(0..sends), "operation {at}, {fault:?}");
        }
    }
}

#[test]
fn power_cut_at_any_operation_of_the_disk_keeps_what_was_acknowledged() {
    let disk = FaultyDisk::new();
    let (source, handle) = open(&disk).unwrap();
    let begin = disk.operations();
    let mut acknowledged_at = Vec::new();
    for n in 0..8 {
        wait(handle.send_all([2 * n, 2 * n + 1])).unwrap();
        acknowledged_at.push(disk.operations());
    }
    drop(source);
    for operations in begin..=*acknowledged_at.last().unwrap() {
        for seed in 0..6 {
            let bytes = disk.after_power_cut(operations, Some(seed));
            let (source, _handle) = open(&FaultyDisk::with_bytes(bytes))
                .unwrap_or_else(|error| panic!("after {operations} operations, seed {seed}: {error}"));
            let there: BTreeSet<u64> = read_all(&source).records.into_iter().collect();
            let sure = 2 * acknowledged_at.iter().filter(|at| **at <= operations).count() as u64;
            assert!((0..sure).all(|n| there.contains(&n)), "after {operations} operations, seed {seed}: {there:?}");
            assert!(there.len() as u64 <= sure + 2 && there.len().is_multiple_of(2), "whole calls: {there:?}");
        }
    }
}

#[test]
fn damaged_log_is_refused_when_it_is_opened_or_read() {
    let disk = FaultyDisk::new();
    let (source, handle) = open(&disk).unwrap();
    wait(handle.send_all((0..2_000).map(|n| n << 32))).unwrap();
    close((source, handle));
    let whole = disk.after_power_cut(disk.operations(), None);
    let records: Vec<u64> = (0..2_000).map(|n| n << 32).collect();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(331) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let Ok((source, _handle)) = open(&FaultyDisk::with_bytes(bytes)) else {
            noticed += 1;
            continue;
        };
        match read(&source) {
            Ok(read) => assert!(sorted(read) == records, "byte {at}"),
            Err(()) => noticed += 1,
        }
    }
    assert!(noticed > 20, "{noticed}");
}

/// All records, or that a read has failed.
fn read<T>(source: &IngestSource<T>) -> Result<Vec<T>, ()>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    use millstream::source::{Batch, ReadStatus, Source};

    let cx = millstream::testing::source_context(0, 1);
    let mut reader = source.open(&cx, None).map_err(drop)?;
    reader.finish();
    let (mut batch, mut records) = (Batch::new(), Vec::new());
    while reader.read(&mut batch).map_err(drop)? != ReadStatus::End {
        records.extend(batch.drain());
        batch.clear();
    }
    records.extend(batch.drain());
    Ok(records)
}

/// A disk whose reads fail while it is told to.
#[derive(Debug)]
struct Unreadable(DiskHandle, Arc<AtomicBool>);

impl StorageBackend for Unreadable {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::Error::other("told to"));
        }
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Cause: a database that has failed once answers nothing until it is opened again, and only the next records had that done.
/// Repair: readers have the writer open it, which tries again by itself.
#[test]
fn file_that_could_not_be_read_is_opened_again_though_nobody_sends() {
    run("reads that fail", |_| async {
        let (disk, fails) = (FaultyDisk::new(), Arc::new(AtomicBool::new(false)));
        let open = || {
            let (opened, fails) = (disk.clone(), fails.clone());
            let backend = move || Ok(Unreadable(opened.handle(), fails.clone()));
            IngestSource::<String>::open_on("disk", backend, IngestOptions::new().splits(1)).unwrap()
        };
        let (source, handle) = open();
        // More than a database keeps in memory.
        for _ in 0..80 {
            handle.send("x".repeat(500_000)).await.unwrap();
        }
        drop(source);
        handle.closed().await;
        let (source, _handle) = open();
        fails.store(true, Ordering::SeqCst);
        assert!(read(&source).is_err());
        fails.store(false, Ordering::SeqCst);
        while read(&source).is_err() {
            actix_rt::task::yield_now().await;
        }
    });
}
