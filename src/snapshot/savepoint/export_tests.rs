use std::sync::Mutex;

use millstream_actors::contract::{Chunk, ChunkAddress, ChunkRef, StateScope};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::*;

/// A file on a disk with so much room left, or one that cannot be synced.
struct SmallDisk {
    room: usize,
    syncs: bool,
    written: Arc<Mutex<usize>>,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room);
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= len;
        *self.written.lock().unwrap() += len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DurableFile for SmallDisk {
    fn sync(&mut self) -> io::Result<()> {
        if self.syncs { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

struct One(Chunk);

impl ChunkSource for One {
    fn read_chunk(&self, _: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        Ok(self.0.bytes.clone())
    }
}

fn checkpoint() -> (Manifest, One) {
    let address = ChunkAddress {
        checkpoint: CheckpointId(1),
        operator: "count".into(),
        state: "sum".into(),
        scope: StateScope::Subtask(0),
        seq: 0,
    };
    let chunk = Chunk::seal(address, vec![7; 40]);
    let manifest = Manifest {
        checkpoint: CheckpointId(1),
        job: "job".to_owned(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 0,
        max_parallelism: 8,
        is_final: false,
        durations: millstream_actors::contract::CheckpointDurations::default(),
        chunks: vec![chunk.reference.clone()],
    };
    (manifest, One(chunk))
}

fn write_on(path: &Path, room: usize, syncs: bool) -> (Result<Savepoint, SavepointFileError>, usize) {
    let (manifest, chunks) = checkpoint();
    let (unfinished, _) = create_beside(path).unwrap();
    let written = Arc::new(Mutex::new(0));
    let file = Box::new(SmallDisk { room, syncs, written: written.clone() });
    let export = Box::new(FileExport { path: path.to_owned(), file, unfinished });
    let result = export.write(&manifest, &chunks, &mut |_| true);
    let written = *written.lock().unwrap();
    (result, written)
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn disk_that_fills_up_at_any_byte_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let (whole, len) = write_on(&path, usize::MAX, true);
    whole.unwrap();
    assert_eq!(names(dir.path()), ["savepoint"]);
    fs::remove_file(&path).unwrap();
    for room in 0..len {
        let (result, written) = write_on(&path, room, true);
        let Err(SavepointFileError::Io { action: "write", source, .. }) = &result else { panic!("{result:?}") };
        assert_eq!((source.kind(), written), (io::ErrorKind::StorageFull, room));
        assert!(names(dir.path()).is_empty(), "room for {room} bytes");
    }
    let (result, _) = write_on(&path, len, false);
    assert!(matches!(result, Err(SavepointFileError::Io { action: "make durable", .. })), "{result:?}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn name_that_is_or_gets_taken_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let (manifest, chunks) = checkpoint();
    let first = SavepointFiles.begin(&path).unwrap();
    let second = SavepointFiles.begin(&path).unwrap();
    first.write(&manifest, &chunks, &mut |_| true).unwrap();
    let bytes = fs::read(&path).unwrap();
    let error = second.write(&manifest, &chunks, &mut |_| true).unwrap_err();
    assert!(matches!(error, SavepointFileError::Exists { .. }), "{error}");
    assert!(matches!(SavepointFiles.begin(&path), Err(SavepointFileError::Exists { .. })));
    assert_eq!((fs::read(&path).unwrap(), names(dir.path()).len()), (bytes, 1));
}

#[test]
fn files_that_killed_exports_have_left_are_removed_and_stand_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sp");
    let create = |name| File::create_new(dir.path().join(name)).unwrap();
    let names_of = [
        "sp.creating-0000000000000001",
        "sp.creating-0000000000000002",
        "sp.creating-0000000000000002.lock",
        "sp2.creating-0000000000000001",
        "sp2.creating-0000000000000001.lock",
    ];
    let [_, _, used, _, _] = names_of.map(create);
    used.try_lock().unwrap();
    create("sp.creating-0000000000000001.lock");
    for _ in 0..2 {
        write_on(&path, usize::MAX, true).0.unwrap();
        let mut names = names(dir.path());
        names.sort_unstable();
        assert_eq!(names, ["sp", names_of[1], names_of[2], names_of[3], names_of[4]]);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn place_that_cannot_be_written_is_refused_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("no/such/folder"), dir.path().join("..")] {
        let Err(error) = SavepointFiles.begin(&path) else { panic!("{} is written", path.display()) };
        let expected = matches!(error, SavepointFileError::Io { .. } | SavepointFileError::Exists { .. });
        assert!(expected && !error.to_string().is_empty(), "{error}");
    }
}

#[test]
fn export_that_is_not_wanted_any_more_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let (manifest, chunks) = checkpoint();
    let error = SavepointFiles.begin(&path).unwrap().write(&manifest, &chunks, &mut |_| false).unwrap_err();
    assert!(matches!(error, SavepointFileError::Stopped { .. }), "{error}");
    drop(SavepointFiles.begin(&path).unwrap());
    assert!(names(dir.path()).is_empty());
}

#[test]
fn directory_that_is_removed_or_replaced_meanwhile_gets_no_savepoint() {
    for is_replaced in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("savepoints");
        fs::create_dir(&parent).unwrap();
        let export = SavepointFiles.begin(&parent.join("sp")).unwrap();
        fs::remove_dir_all(&parent).unwrap();
        if is_replaced {
            fs::create_dir(&parent).unwrap();
        }
        let (manifest, chunks) = checkpoint();
        let error = export.write(&manifest, &chunks, &mut |_| true).unwrap_err();
        assert!(matches!(error, SavepointFileError::Io { .. }) && !error.is_retryable(), "{error}");
        assert!(!is_replaced || names(&parent).is_empty());
    }
}
