//! Lives of a store: opening, closing, and what one life leaves for the next.

use std::thread;

use super::fixtures::*;
use super::{FLOOR, JOB, Store};
use crate::contract::{Chunk, SnapshotError};
use crate::protocol::{CheckpointId, Incarnation};

pub(super) fn check_empty(store: &Store) {
    let opening = open(store);
    assert_eq!(opening.incarnation, FLOOR, "incarnation of the first life");
    assert_eq!(opening.reserved_up_to, CheckpointId::NONE, "reserved ids");
    assert_retained(&opening, &[]);
    assert_eq!(opening.abandoned, [], "abandoned checkpoints");
    assert!(!store.describe().is_empty(), "describe() is empty");
}

pub(super) fn check_incarnations(store: &Store) {
    let mut last = open(store).incarnation;
    for floor in [Incarnation(0), FLOOR, Incarnation(5_000), Incarnation(5_000)] {
        store.close();
        let now = ok("open_job", store.open_job(JOB, floor)).incarnation;
        assert!(now > last && now >= floor, "incarnation {now} after {last}, floor {floor}");
        last = now;
    }
}

pub(super) fn check_other_job(store: &Store) {
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

pub(super) fn check_locked(store: &Store) {
    open(store);
    let again = store.open_job(JOB, FLOOR);
    assert!(matches!(again, Err(SnapshotError::Locked { .. })), "second open_job: Locked expected, found {again:?}");
    ok("reserve_ids after a refused open_job", store.reserve_ids(CheckpointId(1)));
}

pub(super) fn check_reserved_ids(store: &Store) {
    open(store);
    ok("reserve_ids", store.reserve_ids(CheckpointId(100)));
    ok("reserve_ids", store.reserve_ids(CheckpointId(50)));
    assert_eq!(next_life(store).reserved_up_to, CheckpointId(100), "reserved ids in the next life");
}

/// A store need not keep it, but does not say that it has then.
pub(super) fn check_pause(store: &Store) {
    open(store);
    assert_eq!(store.paused_since(), None, "a new store is of no paused job");
    let kept = store.keep_pause(Some(7)).is_ok().then_some(7);
    assert_eq!(store.paused_since(), kept, "once it was kept");
    ok("reserve_ids", store.reserve_ids(CheckpointId(100)));
    complete(store, 1, &["a"], 9);
    next_life(store);
    assert_eq!(store.paused_since(), kept, "in the next life");
    if kept.is_some() {
        ok("keep_pause", store.keep_pause(None));
        ok("reopen", store.reopen());
        assert_eq!(store.paused_since(), None, "once it is over");
        next_life(store);
        assert_eq!(store.paused_since(), None, "in the life after that");
    }
}

pub(super) fn check_abandoned(store: &Store) {
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

pub(super) fn check_reopen(store: &Store) {
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

pub(super) fn check_closed(store: &Store) {
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

pub(super) fn check_parallel_reads(store: &Store) {
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
