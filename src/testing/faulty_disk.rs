//! A disk in memory under a redb file: it fails on request, and shows what a power cut would have left.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What happens to one operation of a [`FaultyDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskFault {
    /// Nothing is done, and it fails.
    Fail,
    /// Of a write, only so many bytes are written, and it fails. A sync or a change of length fails with nothing done.
    Torn(usize),
}

/// Storage for [`RedbStore::open_on`](crate::snapshot::RedbStore::open_on). Clones are the same disk; a
/// [`DiskHandle`] is one opening of it.
///
/// Operations that change the disk (writes, changes of length, syncs) are counted from 1 and kept. So a test can get the
/// bytes that a power cut at any of them leaves: all that was written before the last sync, and any part of what was
/// written after it.
///
/// ```
/// use millstream::snapshot::RedbStore;
/// use millstream::testing::{DiskFault, FaultyDisk};
///
/// let disk = FaultyDisk::new();
/// let opened = disk.clone();
/// let store = RedbStore::open_on("disk", move || Ok(opened.handle()))?;
/// drop(store);
///
/// let after_power_cut = FaultyDisk::with_bytes(disk.after_power_cut(disk.operations(), Some(7)));
/// after_power_cut.inject(1, DiskFault::Fail);
/// # Ok::<(), millstream::snapshot::SnapshotError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk {
    shared: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    count: u64,
    faults: BTreeMap<u64, DiskFault>,
    capacity: Option<u64>,
    start: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Operation {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
    Sync,
}

impl FaultyDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds `bytes`.
    pub fn with_bytes(bytes: Vec<u8>) -> Self {
        let disk = Disk { start: bytes.clone(), bytes, ..Disk::default() };
        Self { shared: Arc::new(Mutex::new(disk)) }
    }

    /// One opening of the disk.
    pub fn handle(&self) -> DiskHandle {
        DiskHandle { disk: self.clone() }
    }

    /// How many operations have changed the disk, failed ones included.
    pub fn operations(&self) -> u64 {
        self.lock().count
    }

    /// Lets the `nth` operation meet `fault`.
    pub fn inject(&self, nth: u64, fault: DiskFault) {
        self.lock().faults.insert(nth, fault);
    }

    /// Lets operations fail that would need more than `bytes`; `None` ends that.
    pub fn limit(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The bytes a power cut after `operations` would have left: with `seed` `None`, all that was written; else what
    /// was synced, and of each later write, by chance, all, nothing or a first part in sectors of 512 bytes.
    ///
    /// # Panics
    /// If there were fewer operations.
    pub fn after_power_cut(&self, operations: u64, seed: Option<u64>) -> Vec<u8> {
        let disk = self.lock();
        let kept = &disk.operations[..usize::try_from(operations).expect("counted in memory")];
        let synced = kept.iter().rposition(|operation| matches!(operation, Operation::Sync)).unwrap_or(0);
        let mut random = seed;
        let mut bytes = disk.start.clone();
        for (index, operation) in kept.iter().enumerate() {
            match operation {
                Operation::Sync => {}
                // redb syncs after each change of length.
                Operation::SetLen(len) => bytes.resize(*len, 0),
                Operation::Write { offset, data } => {
                    let survives = match &mut random {
                        Some(state) if index > synced => surviving(data.len(), state),
                        _ => data.len(),
                    };
                    write_at(&mut bytes, *offset, &data[..survives]);
                }
            }
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of an unsynced write is on the disk after a power cut.
fn surviving(len: usize, random: &mut u64) -> usize {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    match (*random >> 33) % 3 {
        0 => 0,
        1 => len,
        _ => ((*random >> 40) as usize % (len / 512 + 1)) * 512,
    }
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Disk {
    fn run(&mut self, operation: Operation) -> io::Result<()> {
        self.count += 1;
        let fault = self.faults.remove(&self.count);
        if fault == Some(DiskFault::Fail) {
            self.operations.push(Operation::SetLen(self.bytes.len()));
            return Err(io::Error::other("injected failure"));
        }
        let needed = match &operation {
            Operation::Write { offset, data } => offset + data.len(),
            Operation::SetLen(len) => *len,
            Operation::Sync => 0,
        };
        if needed > self.bytes.len() && self.capacity.is_some_and(|capacity| needed as u64 > capacity) {
            self.operations.push(Operation::SetLen(self.bytes.len()));
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left (injected)"));
        }
        let done = match (operation, fault) {
            (Operation::Write { offset, mut data }, Some(DiskFault::Torn(len))) => {
                data.truncate(len);
                Operation::Write { offset, data }
            }
            (_, Some(_)) => Operation::SetLen(self.bytes.len()),
            (operation, None) => operation,
        };
        match &done {
            Operation::Write { offset, data } => write_at(&mut self.bytes, *offset, data),
            Operation::SetLen(len) => self.bytes.resize(*len, 0),
            Operation::Sync => {}
        }
        self.operations.push(done);
        if fault.is_some() { Err(io::Error::other("injected torn write")) } else { Ok(()) }
    }
}

/// One opening of a [`FaultyDisk`].
#[derive(Clone, Debug)]
pub struct DiskHandle {
    disk: FaultyDisk,
}

impl StorageBackend for DiskHandle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = start.checked_add(out.len()).and_then(|end| disk.bytes.get(start..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.disk.lock().run(Operation::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.lock().run(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.disk.lock().run(Operation::Write { offset, data: data.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
        let disk = FaultyDisk::new();
        let handle = disk.handle();
        handle.set_len(4096).unwrap();
        handle.write(0, &[1; 1024]).unwrap();
        handle.sync_data().unwrap();
        handle.write(0, &[2; 2048]).unwrap();
        assert_eq!(disk.operations(), 4);
        assert_eq!(disk.after_power_cut(3, Some(1))[..2], [1, 1]);
        assert_eq!(disk.after_power_cut(4, None)[..2048], [2; 2048]);
        let mut lengths: Vec<usize> =
            (0..64).map(|seed| disk.after_power_cut(4, Some(seed)).iter().filter(|byte| **byte == 2).count()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert!(lengths.len() > 3 && lengths[0] == 0 && lengths.contains(&2048), "{lengths:?}");
        assert!(lengths.iter().all(|len| len % 512 == 0), "{lengths:?}");
    }

    #[test]
    fn faults_meet_the_operation_they_were_meant_for() {
        let disk = FaultyDisk::with_bytes(vec![0; 16]);
        let handle = disk.handle();
        disk.inject(2, DiskFault::Torn(3));
        disk.inject(3, DiskFault::Fail);
        handle.write(0, &[1; 8]).unwrap();
        assert!(handle.write(8, &[2; 8]).is_err());
        assert!(handle.sync_data().is_err());
        let mut bytes = [0; 16];
        handle.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0]);
        disk.limit(Some(16));
        assert_eq!(handle.set_len(17).unwrap_err().kind(), io::ErrorKind::StorageFull);
        handle.write(0, &[9; 16]).unwrap();
        assert_eq!(handle.read(1, &mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
