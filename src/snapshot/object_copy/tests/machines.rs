//! Machines that are lost, and machines that run at the same time.

use super::*;

#[test]
fn new_machine_starts_from_the_newest_copy_and_only_changes_are_copied() {
    let objects = FaultyObjects::new();
    let mut run = Run::start(&objects, MemoryStore::new());
    for checkpoint in 1..=12 {
        assert_eq!(run.complete_and_copy(), checkpoint);
        assert_eq!(run.store.progress().copied_up_to(), CheckpointId(checkpoint));
    }
    assert_eq!(Some(found_by_a_new_machine(&objects)), run.base);
    // Old copies are removed after the newest is told to be there. 4 chunks of 2,000 bytes a checkpoint are 2 packs; chains
    // reach at most 3 back from the older of two.
    let tidied = async {
        loop {
            let left = list_all(&objects.inner).await;
            let manifests = left.iter().filter(|object| matches!(object, Object::Manifest(_))).count();
            let packs = left.iter().filter(|object| matches!(object, Object::Pack(_))).count();
            if manifests == 2 && packs <= 2 * 5 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let outcome = wait(async { tokio::time::timeout(LONG, tidied).await });
    assert!(outcome.is_ok(), "{:?}", wait(list_all(&objects.inner)));
}

#[test]
fn chains_go_on_in_the_store_that_a_copy_was_brought_to() {
    let objects = FaultyObjects::new();
    let mut local = MemoryStore::new();
    let mut newest = None;
    for life in 0..6 {
        let mut run = Run::start(&objects, local.clone());
        assert_eq!(run.base, newest, "life {life}");
        run.complete_all(3);
        run.flush();
        run.store.close();
        newest = run.base;
        if life % 2 == 0 {
            local = MemoryStore::new();
        }
    }
    assert_eq!(Some(found_by_a_new_machine(&objects)), newest);
}

#[test]
fn copies_of_another_job_are_refused() {
    let objects = FaultyObjects::new();
    let mut run = Run::start(&objects, MemoryStore::new());
    run.complete_and_copy();
    run.store.close();
    let (theirs, ours) = (Layout::new("backup", JOB), Layout::new("backup", "other"));
    wait(async {
        for object in list_all(&objects.inner).await {
            objects.inner.copy(&theirs.path(object), &ours.path(object)).await.unwrap();
        }
    });
    let other = copied_to(&objects, MemoryStore::new());
    match other.open_job("other", Incarnation(1)) {
        Err(SnapshotError::OtherJob { owner, job, .. }) => assert_eq!((&*owner, &*job), (JOB, "other")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_machines_the_later_keeps_the_copies() {
    let objects = FaultyObjects::new();
    let old_local = MemoryStore::new();
    let mut old = Run::start(&objects, old_local.clone());
    old.complete_all(3);
    old.flush();

    let mut new = Run::start(&objects, MemoryStore::new());
    assert_eq!(new.base, old.base);
    new.complete_and_copy();
    old.complete_all(8);
    assert!(!old.store.flush(LONG));
    assert!(old.store.progress().is_fenced());
    let newest = new.complete_and_copy();
    old.store.close();
    new.store.close();
    assert_eq!(Some(found_by_a_new_machine(&objects)), new.base);
    match open(&copied_to(&objects, old_local)) {
        Err(SnapshotError::Superseded { newest: here, found, .. }) => assert_eq!((here.0, found.0), (11, newest)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_lives_under_one_incarnation_do_not_both_copy() {
    let objects = FaultyObjects::new();
    let [mut first, mut second] = [(); 2].map(|()| Run::start(&objects, MemoryStore::new()));
    assert_eq!(first.opening.incarnation, second.opening.incarnation);
    first.complete_and_copy();
    second.complete();
    second.complete();
    assert!(!second.store.flush(LONG));
    assert!(second.store.progress().is_fenced());
    assert_eq!(Some(found_by_a_new_machine(&objects)), first.base);
}

#[test]
fn pack_that_another_removed_is_copied_again() {
    let objects = FaultyObjects::new();
    let mut run = Run::start(&objects, MemoryStore::new());
    let layout = Layout::new("backup", JOB);
    for odd in [0, 1, 0, 1, 0, 1] {
        run.complete_and_copy();
        wait(async {
            for object in list_all(&objects.inner).await {
                if matches!(object, Object::Pack(pack) if pack.seq % 2 == odd) {
                    objects.inner.delete(&layout.path(object)).await.unwrap();
                }
            }
        });
    }
    run.complete_and_copy();
    assert_eq!(Some(found_by_a_new_machine(&objects)), run.base);
}
