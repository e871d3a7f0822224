//! Requests that fail, are cut, slow or lost, and copies that are damaged.

use bytes::Bytes;
use object_store::path::Path;

use super::*;
use crate::testing::{FaultyStore, StoreCall, StoreFault};

#[test]
fn any_request_that_fails_once_changes_nothing() {
    let run = |objects: &Arc<FaultyObjects>, plan: Option<(u64, Fault)>| {
        let mut run = Run::start(objects, MemoryStore::new());
        let from = objects.requests();
        if let Some((nth, fault)) = plan {
            objects.fail(nth..nth + 1, fault);
        }
        run.copy_all(5);
        assert_eq!(run.store.progress().outage(), None);
        run.store.close();
        let requests = objects.requests() - from;
        objects.heal();
        assert_eq!(Some(found_by_a_new_machine(objects)), run.base, "{plan:?}");
        requests
    };
    let requests = run(&FaultyObjects::new(), None);
    assert!(requests > 20, "{requests}");
    for nth in 0..requests {
        for fault in [Fault::Refuse, Fault::LoseAnswer, Fault::Cut] {
            run(&FaultyObjects::new(), Some((nth, fault)));
        }
        if nth % 5 == 0 {
            run(&FaultyObjects::new(), Some((nth, Fault::Hang)));
        }
    }
}

#[test]
fn any_read_that_fails_once_does_not_fail_a_new_machine() {
    let objects = FaultyObjects::new();
    let mut run = Run::start(&objects, MemoryStore::new());
    run.complete_all(5);
    run.flush();
    run.store.close();
    for nth in 0..12 {
        for fault in [Fault::Refuse, Fault::Cut, Fault::Hang] {
            objects.fail(nth..nth + 1, fault);
            assert_eq!(Some(found_by_a_new_machine(&objects)), run.base, "{fault:?} at {nth}");
        }
    }
    objects.fail(0..u64::MAX, Fault::Refuse);
    let refused = open(&copied_to(&objects, MemoryStore::new()));
    assert!(matches!(refused, Err(SnapshotError::Io { .. })), "started as if there were no copy: {refused:?}");
}

/// A life that reads its own copy wrongly writes it anew; the machine may be lost at any moment of that.
#[test]
fn copy_that_is_written_anew_is_there_at_every_moment() {
    let mut rewritten = 0;
    for misread in 0..6 {
        for lost in misread + 1..20 {
            let objects = FaultyObjects::new();
            let local = MemoryStore::new();
            let mut run = Run::start(&objects, local.clone());
            run.copy_all(5);
            run.store.close();
            let packs = |objects: &FaultyObjects| wait(list_all(&objects.inner)).len();
            let before = packs(&objects);
            objects.fail_each([(misread..misread + 1, Fault::Cut), (lost..u64::MAX, Fault::Refuse)]);
            let again = CopiedStore::new(local, objects.clone(), options().flush_timeout(Duration::from_millis(20)));
            open(&again).unwrap();
            again.close();
            rewritten += u32::from(packs(&objects) > before + 1);
            objects.heal();
            assert_eq!(Some(found_by_a_new_machine(&objects)), run.base, "{misread} misread, lost at {lost}");
        }
    }
    assert!(rewritten > 0, "none was written anew");
}

#[test]
fn outage_delays_copies_and_nothing_else() {
    let objects = FaultyObjects::new();
    let local = MemoryStore::new();
    let mut run = Run::start(&objects, local.clone());
    run.complete_and_copy();
    objects.fail(0..u64::MAX, Fault::Refuse);
    (2..=9).for_each(|checkpoint| assert_eq!(run.complete(), checkpoint));
    assert!(!run.store.flush(Duration::from_millis(50)));
    let progress = run.store.progress();
    assert_eq!((progress.copied_up_to(), progress.completed_up_to()), (CheckpointId(1), CheckpointId(9)));
    // The thread that copies may have had no turn yet.
    let outage = std::iter::repeat_with(|| progress.outage()).inspect(|_| std::thread::yield_now()).flatten().next();
    assert!(outage.unwrap().contains("told to fail"));
    // Four chunks a checkpoint: what is retained or pinned names at most all of them.
    assert!(local.chunk_bytes() <= 9 * 4 * 2_000, "{} bytes", local.chunk_bytes());
    objects.heal();
    run.flush();
    assert_eq!((progress.copied_up_to(), progress.outage()), (CheckpointId(9), None));
    assert_eq!(Some(found_by_a_new_machine(&objects)), run.base);
}

#[test]
fn job_with_a_local_checkpoint_starts_while_the_object_store_is_away() {
    let objects = FaultyObjects::new();
    let local = MemoryStore::new();
    let mut run = Run::start(&objects, local.clone());
    run.complete_and_copy();
    run.store.close();
    objects.fail(0..u64::MAX, Fault::Refuse);
    let mut run = Run::start(&objects, local);
    let newest = run.complete();
    objects.heal();
    run.flush();
    assert_eq!(found_by_a_new_machine(&objects).checkpoint.0, newest);
}

#[test]
fn checkpoint_that_expires_while_it_is_copied_stays_readable() {
    let objects = FaultyObjects::new();
    let mut run = Run::start(&objects, MemoryStore::new());
    run.complete_and_copy();
    for round in 0..6 {
        // The first request of the next copy does not return before newer ones have completed.
        objects.fail(0..1, Fault::Hang);
        run.complete_all(6);
        run.flush();
        assert_eq!(run.store.progress().outage(), None, "round {round}");
    }
    assert_eq!(Some(found_by_a_new_machine(&objects)), run.base);
}

#[test]
fn damaged_copy_is_named_and_an_older_one_taken_only_if_accepted() {
    for damage in ["cut", "flip", "remove"] {
        for of_manifest in [true, false] {
            let objects = FaultyObjects::new();
            let mut run = Run::start(&objects, MemoryStore::new());
            run.copy_all(3);
            run.store.close();
            let path = newest_object(&objects, of_manifest);
            wait(async {
                let mut bytes = objects.inner.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
                match damage {
                    "cut" => bytes.truncate(bytes.len() - 1),
                    "flip" => bytes[100] ^= 1,
                    _ => return objects.inner.delete(&path).await.unwrap(),
                }
                objects.inner.put(&path, Bytes::from(bytes).into()).await.unwrap();
            });
            let what = format!("{damage}, manifest: {of_manifest}");
            if (damage, of_manifest) == ("remove", true) {
                assert_eq!(found_by_a_new_machine(&objects).checkpoint.0, 2, "{what}: it never completed");
                continue;
            }
            match open(&copied_to(&objects, MemoryStore::new())) {
                Err(SnapshotError::Damaged { checkpoints, .. }) => assert_eq!(checkpoints, [CheckpointId(3)], "{what}"),
                other => panic!("{what}: {other:?}"),
            }
            let store = CopiedStore::new(MemoryStore::new(), objects.clone(), options().accept_older(true));
            let opening = open(&store).unwrap();
            assert_eq!(opening.retained.last().unwrap().checkpoint, CheckpointId(2), "{what}");
            assert!(opening.abandoned.last() > Some(&CheckpointId(3)), "{what}: {:?}", opening.abandoned);
        }
    }
}

/// What completes checkpoint 3, or the last pack that only it needs.
fn newest_object(objects: &FaultyObjects, is_manifest: bool) -> Path {
    let mut found = wait(list_all(&objects.inner)).into_iter().filter(|object| match object {
        Object::Manifest(version) => is_manifest && version.checkpoint.0 == 3,
        Object::Pack(pack) => !is_manifest && pack.checkpoint.0 == 3,
        Object::Claim(_) => false,
    });
    Layout::new("backup", JOB).path(found.next_back().unwrap())
}

#[test]
fn abandoned_checkpoints_are_removed_before_the_local_store_gives_them_up() {
    let objects = FaultyObjects::new();
    let mut run = Run::start(&objects, MemoryStore::new());
    run.copy_all(3);
    objects.fail(0..u64::MAX, Fault::Refuse);
    let refused = run.store.abandon_above(CheckpointId(2));
    assert!(matches!(refused, Err(SnapshotError::Io { .. })), "{refused:?}");
    assert_eq!(run.store.abandon_above(CheckpointId(3)).unwrap(), [], "nothing is above: no request is needed");
    assert_eq!(run.store.reopen().unwrap().last().unwrap().checkpoint, CheckpointId(3));
    objects.heal();
    assert_eq!(run.store.abandon_above(CheckpointId(2)).unwrap(), [CheckpointId(3)]);
    assert_eq!(found_by_a_new_machine(&objects).checkpoint, CheckpointId(2));
}

#[test]
fn finalisation_that_turns_out_complete_is_copied() {
    let objects = FaultyObjects::new();
    let local = FaultyStore::new(Arc::new(MemoryStore::new()));
    let script = local.clone();
    let store = CopiedStore::new(local, objects.clone(), options());
    let incarnation = open(&store).unwrap().incarnation;
    script.inject(StoreCall::Finalise, 1, StoreFault::FailAfter);
    let mut copy = Run::start(&FaultyObjects::new(), MemoryStore::new());
    copy.complete();
    let manifest = Manifest { incarnation, ..copy.base.unwrap() };
    store.put_chunks(&(0..4).map(|group| chunk(1, group)).collect::<Vec<_>>()).unwrap();
    store.finalise(&manifest, 2).unwrap_err();
    assert_eq!(store.reopen().unwrap().len(), 1);
    assert!(store.flush(LONG));
    assert_eq!(found_by_a_new_machine(&objects), manifest);
}
