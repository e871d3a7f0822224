use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_actors::contract::{Chunk, ChunkAddress, SavepointFormat, StateScope};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::super::export::SavepointFiles;
use super::super::layout::newer_format;
use super::*;

/// Chunks in memory.
struct Chunks(Vec<Chunk>);

impl ChunkSource for Chunks {
    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        let chunk = self.0.iter().find(|chunk| chunk.reference == *reference).unwrap();
        Ok(chunk.bytes.clone())
    }
}

fn checkpoint() -> (Manifest, Chunks) {
    let chunk = |checkpoint, operator: &str, state: &str, scope, seq, bytes: &[u8]| {
        let (checkpoint, operator, state) = (CheckpointId(checkpoint), operator.into(), state.into());
        Chunk::seal(ChunkAddress { checkpoint, operator, state, scope, seq }, bytes.to_vec())
    };
    let chunks = vec![
        chunk(6, "count", "totals", StateScope::KeyGroup(0), 0, b"older"),
        chunk(7, "count", "timers", StateScope::Subtask(1), 0, b""),
        chunk(7, "count", "totals", StateScope::KeyGroup(0), 0, b"some bytes"),
        chunk(7, "count", "totals", StateScope::KeyGroup(0), 1, b"more of them"),
        chunk(7, "source", "positions", StateScope::Subtask(0), 0, b"here"),
    ];
    let manifest = Manifest {
        checkpoint: CheckpointId(7),
        job: "flights".to_owned(),
        incarnation: Incarnation(1_700_000_000_000),
        triggered_unix_ms: 1_700_000_000_123,
        max_parallelism: 128,
        is_final: false,
        durations: millstream_actors::contract::CheckpointDurations::default(),
        chunks: chunks.iter().map(|chunk| chunk.reference.clone()).collect(),
    };
    (manifest, Chunks(chunks))
}

fn write(path: &Path, (manifest, chunks): &(Manifest, Chunks)) {
    let written = SavepointFiles.begin(path).unwrap().write(manifest, chunks, &mut |_| true).unwrap();
    assert_eq!(written.bytes, fs::metadata(path).unwrap().len());
}

/// Everything in the file.
fn read(path: &Path) -> Result<(Manifest, Vec<Vec<u8>>), String> {
    let file = SavepointFile::open(path).map_err(|error| error.to_string())?;
    let chunks = file.manifest.chunks.iter().map(|chunk| file.read_chunk(chunk).map_err(|error| error.to_string()));
    let chunks: Result<Vec<_>, _> = chunks.collect();
    chunks.map(|chunks| (Manifest::clone(&file.manifest), chunks))
}

#[test]
fn savepoint_comes_back_equal_and_describes_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let checkpoint = checkpoint();
    write(&path, &checkpoint);
    let (manifest, chunks) = read(&path).unwrap();
    assert_eq!(manifest, checkpoint.0);
    assert!(chunks.iter().eq(checkpoint.1.0.iter().map(|chunk| &chunk.bytes)));
    let file = SavepointFile::open(&path).unwrap();
    assert_eq!(file.verify().unwrap(), 31);
    let header = file.header();
    assert_eq!((header.job.as_str(), header.checkpoint, header.max_parallelism), ("flights", CheckpointId(7), 128));
    let states: Vec<_> = header.states.iter().map(|s| (s.operator.as_str(), &*s.state, s.chunks, s.bytes)).collect();
    assert_eq!(states, [("count", "timers", 1, 0), ("count", "totals", 3, 27), ("source", "positions", 1, 4)]);
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, other) = (dir.path().join("whole"), dir.path().join("other"));
    write(&whole, &checkpoint());
    let bytes = fs::read(&whole).unwrap();
    for len in 0..bytes.len() {
        fs::write(&other, &bytes[..len]).unwrap();
        assert!(read(&other).is_err(), "cut to {len} of {}", bytes.len());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    fs::write(&other, &longer).unwrap();
    assert!(matches!(SavepointFile::open(&other), Err(SavepointFileError::Damaged { .. })));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&other, &flipped).unwrap();
        assert!(read(&other).is_err(), "bit {bit}");
    }
}

#[test]
fn what_is_no_savepoint_or_a_newer_one_is_told_from_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"redb or whatever").unwrap();
    assert!(matches!(SavepointFile::open(&path), Err(SavepointFileError::Foreign { .. })));
    fs::write(&path, b"").unwrap();
    assert!(matches!(SavepointFile::open(&path), Err(SavepointFileError::Foreign { .. })));
    fs::write(&path, newer_format()).unwrap();
    let newer = SavepointFile::open(&path);
    assert!(matches!(newer, Err(SavepointFileError::NewerFormat { found: 2, supported: 1, .. })), "{newer:?}");
    let missing = SavepointFile::open(dir.path().join("missing"));
    assert!(matches!(missing, Err(SavepointFileError::Io { action: "open", .. })), "{missing:?}");
}

/// A prefix may be sound and ask for more than there is.
#[test]
fn lengths_beyond_the_file_are_refused_before_anything_is_allocated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let mut bytes = b"MSSAVEPT".to_vec();
    for number in [1, u32::MAX, u32::MAX] {
        bytes.extend_from_slice(&u32::to_le_bytes(number));
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let refused = SavepointFile::open(&path);
    assert!(matches!(refused, Err(SavepointFileError::Damaged { .. })), "{refused:?}");
}

#[test]
fn chunk_that_is_not_in_it_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let checkpoint = checkpoint();
    write(&path, &checkpoint);
    let file = SavepointFile::open(&path).unwrap();
    let mut other = checkpoint.0.chunks[0].clone();
    other.address.checkpoint = CheckpointId(5);
    assert!(matches!(file.read_chunk(&other), Err(SnapshotError::ChunkMissing { .. })));
}

#[test]
fn chunk_that_changed_on_the_way_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    struct Changing(Chunks, AtomicUsize);
    impl ChunkSource for Changing {
        fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
            let mut bytes = self.0.read_chunk(reference)?;
            if self.1.fetch_add(1, Ordering::Relaxed) == 2 {
                bytes[0] ^= 1;
            }
            Ok(bytes)
        }
    }
    let (manifest, chunks) = checkpoint();
    let chunks = Changing(chunks, AtomicUsize::new(0));
    let error = SavepointFiles.begin(&path).unwrap().write(&manifest, &chunks, &mut |_| true).unwrap_err();
    assert!(matches!(error, SavepointFileError::Store(_)), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn random_bytes_behind_a_sound_begin_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    println!("seed {state:#x}");
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for _ in 0..2_000 {
        let (header, index) = (next() % 64, next() % 64);
        let mut bytes = b"MSSAVEPT".to_vec();
        for number in [1, header, index] {
            bytes.extend_from_slice(&u32::to_le_bytes(number));
        }
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        for len in [header, index] {
            let part: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            bytes.extend_from_slice(&part);
            bytes.extend_from_slice(&checksum(&part).to_le_bytes());
        }
        fs::write(&path, &bytes).unwrap();
        let refused = SavepointFile::open(&path);
        assert!(matches!(refused, Err(SavepointFileError::Damaged { .. })), "{refused:?}");
    }
}
