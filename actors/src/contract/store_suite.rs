//! What every [`SnapshotStore`] must do, as checks that panic with what was expected and what was found.
//!
//! For a store of your own, call [`check_store`] in a test:
//!
//! ```ignore
//! #[test]
//! fn my_store_fulfils_the_contract() {
//!     millstream_actors::contract::store_suite::check_store(|| Arc::new(MyStore::new_in_an_empty_place()));
//! }
//! ```
//!
//! What only the store itself can arrange, damaged bytes and power cuts, is for its own tests.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::{
    CHUNK_BYTES_MAX, CheckpointDurations, Chunk, ChunkAddress, Manifest, SnapshotError, SnapshotStore, StateScope,
    StoreOpening,
};
use crate::protocol::{CheckpointId, Incarnation};

const JOB: &str = "suite";
const FLOOR: Incarnation = Incarnation(1_000);

type Store = Arc<dyn SnapshotStore>;
type Check = (&'static str, fn(&Store));

/// Runs every check, each on a new store from `fresh`, which must answer an empty one at each call.
///
/// # Panics
/// At the first violation, naming the check.
pub fn check_store(fresh: impl Fn() -> Arc<dyn SnapshotStore>) {
    let checks: [Check; 20] = [
        ("an empty store opens with nothing in it", check_empty),
        ("incarnations rise", check_incarnations),
        ("another job is refused", check_other_job),
        ("an open store is locked", check_locked),
        ("reserved ids outlive the life that reserved them", check_reserved_ids),
        ("a completed checkpoint reads back", check_round_trip),
        ("checkpoints expire oldest first", check_expiry),
        ("chunks of older checkpoints live while they are named", check_shared_chunks),
        ("a missing chunk prevents completion", check_missing_chunk),
        ("a wrong chunk prevents completion", check_wrong_chunk),
        ("a chunk of an earlier checkpoint that no retained one names is missing", check_unnamed_older_chunk),
        ("a chunk of an earlier checkpoint with other bytes is damaged", check_wrong_older_chunk),
        ("a chunk that is named stays as it is", check_named_chunk_stays),
        ("of chains of deltas only what is named stays", check_chains),
        ("a chunk stored again is replaced", check_replaced_chunk),
        ("garbage goes, pending chunks stay", check_garbage),
        ("abandoned checkpoints are reported until one completes", check_abandoned),
        ("reopening answers what is retained", check_reopen),
        ("a closed store refuses work", check_closed),
        ("several threads read at once", check_parallel_reads),
    ];
    for (name, check) in checks {
        run_check(name, || check(&fresh()));
    }
}

/// Checks of a store from which checkpoints are to be copied, and to which copies are brought back.
///
/// # Panics
/// At the first violation, naming the check.
pub fn check_copyable_store(fresh: impl Fn() -> Arc<dyn SnapshotStore>) {
    let checks: [Check; 3] = [
        ("pinned checkpoints stay readable", check_pins),
        ("an imported checkpoint is retained, and what was lost is reported", check_import),
        ("an import is verified", check_wrong_import),
    ];
    for (name, check) in checks {
        run_check(name, || check(&fresh()));
    }
}

fn run_check(name: &str, check: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(check)) {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        panic!("snapshot store violates '{name}': {}", text.unwrap_or("it panicked"));
    }
}

fn check_empty(store: &Store) {
    let opening = open(store);
    assert_eq!(opening.incarnation, FLOOR, "incarnation of the first life");
    assert_eq!(opening.reserved_up_to, CheckpointId::NONE, "reserved ids");
    assert_retained(&opening, &[]);
    assert_eq!(opening.abandoned, [], "abandoned checkpoints");
    assert!(!store.describe().is_empty(), "describe() is empty");
}

fn check_incarnations(store: &Store) {
    let mut last = open(store).incarnation;
    for floor in [Incarnation(0), FLOOR, Incarnation(5_000), Incarnation(5_000)] {
        store.close();
        let now = ok("open_job", store.open_job(JOB, floor)).incarnation;
        assert!(now > last && now >= floor, "incarnation {now} after {last}, floor {floor}");
        last = now;
    }
}

fn check_other_job(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 1);
    store.close();
    match store.open_job("other", Incarnation(900_000)) {
        Err(SnapshotError::OtherJob { owner, job, .. }) => assert_eq!((&*owner, &*job), (JOB, "other")),
        other => panic!("open_job for another job: OtherJob expected, found {other:?}"),
    }
    let opening = open(store);
    assert_retained(&opening, &[1]);
    assert!(opening.incarnation < Incarnation(900_000), "a refused job raised the incarnation");
}

fn check_locked(store: &Store) {
    open(store);
    let again = store.open_job(JOB, FLOOR);
    assert!(matches!(again, Err(SnapshotError::Locked { .. })), "second open_job: Locked expected, found {again:?}");
    ok("reserve_ids after a refused open_job", store.reserve_ids(CheckpointId(1)));
}

fn check_reserved_ids(store: &Store) {
    open(store);
    ok("reserve_ids", store.reserve_ids(CheckpointId(100)));
    ok("reserve_ids", store.reserve_ids(CheckpointId(50)));
    assert_eq!(next_life(store).reserved_up_to, CheckpointId(100), "reserved ids in the next life");
}

fn check_round_trip(store: &Store) {
    open(store);
    let chunks = vec![
        chunk(3, "empty", 0, Vec::new()),
        chunk(3, "large", 0, pattern(7, CHUNK_BYTES_MAX)),
        chunk(3, "large", 1, pattern(8, CHUNK_BYTES_MAX - 1)),
        chunk(3, "small", 0, vec![0]),
    ];
    ok("put_chunks", store.put_chunks(&chunks[..2]));
    ok("put_chunks", store.put_chunks(&[]));
    ok("put_chunks", store.put_chunks(&chunks[2..]));
    let manifest = Manifest {
        is_final: true,
        max_parallelism: 17,
        triggered_unix_ms: u64::MAX,
        incarnation: Incarnation(u64::MAX),
        ..manifest(3, &chunks)
    };
    let finalised = ok("finalise", store.finalise(&manifest, 2));
    assert_eq!(finalised.expired, [], "expired by the first checkpoint");
    let opening = next_life(store);
    assert_retained(&opening, &[3]);
    assert_eq!(*opening.retained[0], manifest, "the manifest in the next life");
    for chunk in &chunks {
        assert_reads(store, chunk);
    }
}

fn check_expiry(store: &Store) {
    open(store);
    for (checkpoint, expired) in [(1, vec![]), (2, vec![]), (5, vec![1]), (6, vec![2])] {
        assert_eq!(complete(store, checkpoint, &["a"], 2), ids(&expired), "expired by checkpoint {checkpoint}");
    }
    assert_missing(store, &chunk_of(1, "a"));
    assert_missing(store, &chunk_of(2, "a"));
    assert_reads(store, &chunk_of(5, "a"));
    assert_retained(&next_life(store), &[5, 6]);
    assert_eq!(complete(store, 7, &["a"], 1), ids(&[5, 6]), "expired when fewer are retained");
    assert_eq!(complete(store, 8, &["a"], 0), ids(&[7]), "expired with retain = 0");
    assert_retained(&next_life(store), &[8]);
}

fn check_shared_chunks(store: &Store) {
    open(store);
    complete(store, 1, &["kept", "lost"], 1);
    let own = chunk_of(2, "own");
    ok("put_chunks", store.put_chunks(std::slice::from_ref(&own)));
    let shared = manifest(2, &[chunk_of(1, "kept"), own.clone()]);
    assert_eq!(ok("finalise", store.finalise(&shared, 1)).expired, ids(&[1]));
    for _ in 0..2 {
        assert_reads(store, &chunk_of(1, "kept"));
        assert_reads(store, &own);
        assert_missing(store, &chunk_of(1, "lost"));
        assert_retained(&next_life(store), &[2]);
        ok("discard", store.discard(CheckpointId(1)));
    }
    assert_reads(store, &chunk_of(1, "kept"));
    complete(store, 3, &["a"], 1);
    assert_missing(store, &chunk_of(1, "kept"));
}

fn check_missing_chunk(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 3);
    let (there, missing) = (chunk_of(2, "a"), chunk_of(2, "b"));
    ok("put_chunks", store.put_chunks(std::slice::from_ref(&there)));
    match store.finalise(&manifest(2, &[there, missing.clone()]), 3) {
        Err(SnapshotError::ChunkMissing { address, .. }) => assert_eq!(*address, missing.reference.address),
        other => panic!("finalise without a chunk: ChunkMissing expected, found {other:?}"),
    }
    assert_retained(&next_life(store), &[1]);
    complete(store, 3, &["a"], 3);
}

fn check_wrong_chunk(store: &Store) {
    open(store);
    let good = chunk_of(1, "a");
    let mut flipped = good.clone();
    flipped.bytes[0] ^= 1;
    let mut cut = good.clone();
    cut.bytes.pop();
    for wrong in [flipped, cut] {
        ok("put_chunks", store.put_chunks(std::slice::from_ref(&wrong)));
        let refused = store.finalise(&manifest(1, std::slice::from_ref(&good)), 3);
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "finalise: Damaged expected, found {refused:?}");
        let read = store.read_chunk(&good.reference);
        assert!(matches!(read, Err(SnapshotError::Damaged { .. })), "read_chunk: Damaged expected, found {read:?}");
    }
    assert_retained(&next_life(store), &[]);
}

fn check_unnamed_older_chunk(store: &Store) {
    open(store);
    complete(store, 1, &["a", "kept"], 1);
    ok("put_chunks", store.put_chunks(&[chunk_of(2, "aborted")]));
    for unnamed in [chunk_of(1, "never"), chunk_of(2, "aborted")] {
        let own = chunk_of(3, "a");
        ok("put_chunks", store.put_chunks(std::slice::from_ref(&own)));
        match store.finalise(&manifest(3, &[chunk_of(1, "kept"), unnamed.clone(), own]), 2) {
            Err(SnapshotError::ChunkMissing { address, .. }) => assert_eq!(*address, unnamed.reference.address),
            other => panic!("finalise: ChunkMissing expected, found {other:?}"),
        }
        assert_reads(store, &chunk_of(1, "kept"));
        assert_reads(store, &chunk_of(1, "a"));
    }
    complete(store, 4, &["a"], 1);
    let gone = store.finalise(&manifest(5, &[chunk_of(1, "kept")]), 1);
    assert!(matches!(gone, Err(SnapshotError::ChunkMissing { .. })), "finalise with a dropped chunk: {gone:?}");
    assert_retained(&next_life(store), &[4]);
}

fn check_wrong_older_chunk(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 2);
    let other = chunk(1, "a", 0, pattern(99, 1_000));
    let shorter = chunk(1, "a", 0, pattern(99, 999));
    for wrong in [other, shorter] {
        let refused = store.finalise(&manifest(2, &[wrong]), 2);
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "finalise: Damaged expected, found {refused:?}");
    }
    assert_reads(store, &chunk_of(1, "a"));
    assert_retained(&next_life(store), &[1]);
}

fn check_named_chunk_stays(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 2);
    ok("put_chunks", store.put_chunks(&[chunk(1, "a", 0, pattern(99, 500))]));
    assert_reads(store, &chunk_of(1, "a"));
    ok("discard", store.discard(CheckpointId(1)));
    assert_reads(store, &chunk_of(1, "a"));
    ok("finalise", store.finalise(&manifest(2, &[chunk_of(1, "a")]), 2));
    ok("abandon_above", store.abandon_above(CheckpointId(1)));
    complete(store, 3, &["a"], 2);
    assert_reads(store, &chunk_of(1, "a"));
    assert_retained(&next_life(store), &[1, 3]);
}

/// Groups whose chains grow by a delta or start anew; aborted checkpoints, lives and reopenings in between.
fn check_chains(store: &Store) {
    open(store);
    let groups = ["g0", "g1", "g2", "g3", "g4"];
    let mut chains: Vec<Vec<Chunk>> = vec![Vec::new(); groups.len()];
    let mut written: Vec<Chunk> = Vec::new();
    let mut named: Vec<Vec<Chunk>> = Vec::new();
    let mut random = pattern(42, 4_096).into_iter();
    let mut draw = |below: u8| random.next().is_some_and(|byte| byte % below == 0);
    for checkpoint in 1..=60 {
        let base = chains.clone();
        let mut own = Vec::new();
        for (group, chain) in groups.iter().zip(&mut chains) {
            if chain.is_empty() || draw(5) {
                chain.clear();
            } else if draw(2) {
                continue;
            }
            chain.push(chunk_of(checkpoint, group));
            own.push(chunk_of(checkpoint, group));
        }
        ok("put_chunks", store.put_chunks(&own));
        written.append(&mut own);
        let chunks: Vec<Chunk> = chains.iter().flatten().cloned().collect();
        if draw(4) {
            chains = base;
            if draw(2) {
                ok("discard", store.discard(CheckpointId(checkpoint)));
            }
            continue;
        }
        ok("finalise", store.finalise(&manifest(checkpoint, &chunks), 2));
        named.push(chunks);
        named.drain(..named.len().saturating_sub(2));
        match checkpoint % 8 {
            0 => drop(next_life(store)),
            4 => drop(ok("reopen", store.reopen())),
            _ => {}
        }
        for chunk in &written {
            if named.iter().flatten().any(|named| named == chunk) {
                assert_reads(store, chunk);
            } else {
                assert_missing(store, chunk);
            }
        }
    }
}

fn check_pins(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 1);
    store.pin(&[CheckpointId(1)]);
    for checkpoint in 2..5 {
        complete(store, checkpoint, &["a", "b"], 1);
        assert_reads(store, &chunk_of(1, "a"));
    }
    ok("discard", store.discard(CheckpointId(1)));
    ok("reopen", store.reopen());
    complete(store, 5, &["a"], 1);
    assert_reads(store, &chunk_of(1, "a"));
    assert_missing(store, &chunk_of(4, "a"));
    store.pin(&[CheckpointId(1), CheckpointId(5), CheckpointId(4)]);
    complete(store, 6, &["a"], 1);
    assert_reads(store, &chunk_of(1, "a"));
    assert_reads(store, &chunk_of(5, "a"));
    store.pin(&[CheckpointId(5)]);
    complete(store, 7, &["a"], 1);
    assert_missing(store, &chunk_of(1, "a"));
    assert_reads(store, &chunk_of(5, "a"));
    assert_retained(&next_life(store), &[7]);
    assert_missing(store, &chunk_of(5, "a"));
}

fn check_import(store: &Store) {
    open(store);
    ok("put_chunks", store.put_chunks(&[chunk_of(3, "old"), chunk_of(9, "own"), chunk_of(9, "unnamed")]));
    let copied = manifest(9, &[chunk_of(3, "old"), chunk_of(9, "own")]);
    ok("import", store.import(&copied, CheckpointId(50)));
    for _ in 0..2 {
        let opening = next_life(store);
        assert_retained(&opening, &[9]);
        assert_eq!(*opening.retained[0], copied, "the imported manifest");
        assert_eq!(opening.abandoned, ids(&[50]), "what may have been lost");
        assert_eq!(opening.reserved_up_to, CheckpointId(50), "reserved ids");
        assert_reads(store, &chunk_of(3, "old"));
        assert_reads(store, &chunk_of(9, "own"));
        assert_missing(store, &chunk_of(9, "unnamed"));
    }
    complete(store, 51, &["a"], 1);
    assert_missing(store, &chunk_of(3, "old"));
    let opening = next_life(store);
    assert_retained(&opening, &[51]);
    assert_eq!(opening.abandoned, [], "abandoned checkpoints after a completed one");
}

fn check_wrong_import(store: &Store) {
    open(store);
    let missing = manifest(9, &[chunk_of(3, "old"), chunk_of(9, "own")]);
    ok("put_chunks", store.put_chunks(&[chunk_of(9, "own")]));
    let refused = store.import(&missing, CheckpointId(9));
    assert!(matches!(refused, Err(SnapshotError::ChunkMissing { .. })), "import without a chunk: {refused:?}");
    let mut wrong = chunk_of(3, "old");
    wrong.bytes[0] ^= 1;
    ok("put_chunks", store.put_chunks(&[wrong]));
    let refused = store.import(&missing, CheckpointId(9));
    assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "import of a wrong chunk: {refused:?}");
    assert_retained(&next_life(store), &[]);
}

fn check_replaced_chunk(store: &Store) {
    open(store);
    let old = chunk(1, "a", 0, pattern(1, 3_000));
    let new = chunk(1, "a", 0, pattern(2, 10));
    ok("put_chunks", store.put_chunks(&[old, new.clone()]));
    ok("put_chunks", store.put_chunks(std::slice::from_ref(&new)));
    ok("finalise", store.finalise(&manifest(1, std::slice::from_ref(&new)), 1));
    assert_reads(store, &new);
}

fn check_garbage(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 5);
    ok("discard of an unknown checkpoint", store.discard(CheckpointId(9)));
    for checkpoint in [2, 3, 4] {
        ok("put_chunks", store.put_chunks(&[chunk_of(checkpoint, "a"), chunk_of(checkpoint, "b")]));
    }
    ok("discard", store.discard(CheckpointId(2)));
    assert_missing(store, &chunk_of(2, "a"));
    complete(store, 3, &["a"], 5);
    assert_missing(store, &chunk_of(3, "b"));
    assert_reads(store, &chunk_of(4, "b"));
    ok("discard of a completed checkpoint's left-overs", store.discard(CheckpointId(3)));
    assert_reads(store, &chunk_of(3, "a"));
    assert_retained(&next_life(store), &[1, 3]);
    assert_missing(store, &chunk_of(4, "a"));
    assert_reads(store, &chunk_of(1, "a"));
    assert_reads(store, &chunk_of(3, "a"));
}

fn check_abandoned(store: &Store) {
    open(store);
    for checkpoint in [1, 2, 4] {
        complete(store, checkpoint, &["a"], 9);
    }
    assert_eq!(ok("abandon_above", store.abandon_above(CheckpointId(4))), [], "nothing is above the newest");
    assert_eq!(ok("abandon_above", store.abandon_above(CheckpointId(2))), ids(&[4]), "first abandonment");
    assert_eq!(ok("abandon_above", store.abandon_above(CheckpointId(1))), ids(&[2]), "second abandonment");
    for _ in 0..2 {
        let opening = next_life(store);
        assert_eq!(opening.abandoned, ids(&[2, 4]), "abandoned checkpoints in a later life");
        assert_retained(&opening, &[1]);
    }
    assert_missing(store, &chunk_of(4, "a"));
    complete(store, 5, &["a"], 9);
    let opening = next_life(store);
    assert_eq!(opening.abandoned, [], "abandoned checkpoints after a completed one");
    assert_retained(&opening, &[1, 5]);
    complete(store, 6, &["a"], 9);
    assert_eq!(ok("abandon_above", store.abandon_above(CheckpointId::NONE)), ids(&[1, 5, 6]), "all abandoned");
    assert_retained(&next_life(store), &[]);
}

fn check_reopen(store: &Store) {
    open(store);
    complete(store, 1, &["a"], 2);
    complete(store, 2, &["a", "b"], 2);
    ok("reserve_ids", store.reserve_ids(CheckpointId(64)));
    let retained: Vec<_> = ok("reopen", store.reopen()).iter().map(|manifest| manifest.checkpoint).collect();
    assert_eq!(retained, ids(&[1, 2]), "retained after reopening");
    assert_reads(store, &chunk_of(2, "b"));
    complete(store, 3, &["a"], 2);
    let opening = next_life(store);
    assert_retained(&opening, &[2, 3]);
    assert_eq!(opening.reserved_up_to, CheckpointId(64), "reserved ids after reopening");
}

fn check_closed(store: &Store) {
    open(store);
    let chunk = complete_one(store, 1);
    store.close();
    store.close();
    let closed = |what: &str, result: Result<(), SnapshotError>| {
        assert!(matches!(result, Err(SnapshotError::Closed { .. })), "{what}: Closed expected, found {result:?}");
    };
    closed("reserve_ids", store.reserve_ids(CheckpointId(9)));
    closed("put_chunks", store.put_chunks(std::slice::from_ref(&chunk)));
    closed("finalise", store.finalise(&manifest(2, &[]), 1).map(drop));
    closed("discard", store.discard(CheckpointId(1)));
    closed("abandon_above", store.abandon_above(CheckpointId(0)).map(drop));
    closed("read_chunk", store.read_chunk(&chunk.reference).map(drop));
    closed("reopen", store.reopen().map(drop));
    assert_retained(&open(store), &[1]);
    assert_reads(store, &chunk);
}

fn check_parallel_reads(store: &Store) {
    open(store);
    let chunks: Vec<Chunk> = (0..8).map(|seq| chunk(1, "a", seq, pattern(u64::from(seq), 50_000))).collect();
    ok("put_chunks", store.put_chunks(&chunks));
    ok("finalise", store.finalise(&manifest(1, &chunks), 2));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for chunk in chunks.iter().cycle().take(64) {
                    assert_reads(store, chunk);
                }
            });
        }
        for checkpoint in 2..6 {
            ok("put_chunks", store.put_chunks(&[chunk_of(checkpoint, "b")]));
            ok("discard", store.discard(CheckpointId(checkpoint)));
            ok("reopen while others read", store.reopen());
        }
    });
}

fn open(store: &Store) -> StoreOpening {
    ok("open_job", store.open_job(JOB, FLOOR))
}

fn next_life(store: &Store) -> StoreOpening {
    store.close();
    open(store)
}

fn complete(store: &Store, checkpoint: u64, states: &[&str], retain: usize) -> Vec<CheckpointId> {
    let chunks: Vec<Chunk> = states.iter().map(|state| chunk_of(checkpoint, state)).collect();
    ok("put_chunks", store.put_chunks(&chunks));
    ok("finalise", store.finalise(&manifest(checkpoint, &chunks), retain)).expired
}

fn complete_one(store: &Store, checkpoint: u64) -> Chunk {
    complete(store, checkpoint, &["a"], 1);
    chunk_of(checkpoint, "a")
}

fn chunk_of(checkpoint: u64, state: &str) -> Chunk {
    let seed = state.bytes().fold(checkpoint, |seed, byte| seed * 31 + u64::from(byte));
    chunk(checkpoint, state, 0, pattern(seed, 1_000))
}

fn chunk(checkpoint: u64, state: &str, seq: u32, bytes: Vec<u8>) -> Chunk {
    let address = ChunkAddress {
        checkpoint: CheckpointId(checkpoint),
        operator: "operator".into(),
        state: state.into(),
        scope: StateScope::KeyGroup(5),
        seq,
    };
    Chunk::seal(address, bytes)
}

fn manifest(checkpoint: u64, chunks: &[Chunk]) -> Manifest {
    let mut chunks: Vec<_> = chunks.iter().map(|chunk| chunk.reference.clone()).collect();
    chunks.sort_by(|a, b| a.address.cmp(&b.address));
    Manifest {
        checkpoint: CheckpointId(checkpoint),
        job: JOB.to_owned(),
        incarnation: FLOOR,
        triggered_unix_ms: checkpoint,
        max_parallelism: 128,
        is_final: false,
        durations: CheckpointDurations::default(),
        chunks,
    }
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn ids(ids: &[u64]) -> Vec<CheckpointId> {
    ids.iter().copied().map(CheckpointId).collect()
}

fn ok<T>(what: &str, result: Result<T, SnapshotError>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error}"))
}

fn assert_retained(opening: &StoreOpening, expected: &[u64]) {
    let found: Vec<CheckpointId> = opening.retained.iter().map(|manifest| manifest.checkpoint).collect();
    assert_eq!(found, ids(expected), "retained checkpoints");
}

fn assert_reads(store: &Store, chunk: &Chunk) {
    let address = &chunk.reference.address;
    let bytes = store.read_chunk(&chunk.reference).unwrap_or_else(|error| panic!("cannot read {address:?}: {error}"));
    assert!(bytes == chunk.bytes, "{address:?} reads as other bytes than were stored");
}

fn assert_missing(store: &Store, chunk: &Chunk) {
    fn found(result: &impl Debug) -> String {
        format!("{result:?}").chars().take(120).collect()
    }
    let result = store.read_chunk(&chunk.reference);
    let missing = matches!(result, Err(SnapshotError::ChunkMissing { .. }));
    assert!(missing, "{:?}: ChunkMissing expected, found {}", chunk.reference.address, found(&result));
}
