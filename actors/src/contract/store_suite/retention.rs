//! Which chunks stay, and which go.

use super::Store;
use super::fixtures::*;
use crate::contract::Chunk;
use crate::protocol::CheckpointId;

pub(super) fn check_expiry(store: &Store) {
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

pub(super) fn check_shared_chunks(store: &Store) {
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

pub(super) fn check_named_chunk_stays(store: &Store) {
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
pub(super) fn check_chains(store: &Store) {
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

pub(super) fn check_garbage(store: &Store) {
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
