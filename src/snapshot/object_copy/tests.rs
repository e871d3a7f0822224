//! Copies under faults: every request fails once, answers are cut, slow, or lost; machines are lost and run twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use millstream_actors::contract::store_suite::check_store;
use millstream_actors::contract::{
    CheckpointDurations, Chunk, ChunkAddress, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StateScope,
    StoreOpening,
};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::faulty_objects::{Fault, FaultyObjects};
use super::layout::{Layout, Object};
use super::{CopiedStore, CopyOptions};
use crate::snapshot::MemoryStore;
use crate::testing::{FaultyStore, StoreCall, StoreFault};

const JOB: &str = "flights";
const LONG: Duration = Duration::from_secs(20);

fn options() -> CopyOptions {
    CopyOptions::new("backup")
        .pack_bytes(5_000)
        .retry(Duration::from_millis(1), Duration::from_millis(4))
        .request_timeout(Duration::from_millis(300))
}

fn copied_to(objects: &Arc<FaultyObjects>, local: MemoryStore) -> CopiedStore<MemoryStore> {
    CopiedStore::new(local, objects.clone(), options())
}

fn open(store: &impl SnapshotStore) -> Result<StoreOpening, SnapshotError> {
    store.open_job(JOB, Incarnation(1))
}

fn chunk(checkpoint: u64, group: u32) -> Chunk {
    let address = ChunkAddress {
        checkpoint: CheckpointId(checkpoint),
        operator: "count".into(),
        state: "totals".into(),
        scope: StateScope::KeyGroup(group),
        seq: 0,
    };
    let bytes = (0..2_000).map(|at| (at * 31 + checkpoint * 7 + u64::from(group)) as u8).collect();
    Chunk::seal(address, bytes)
}

/// A life of the job on a store.
struct Run {
    store: CopiedStore<MemoryStore>,
    opening: StoreOpening,
    /// The newest checkpoint.
    base: Option<Manifest>,
    next: u64,
}

impl Run {
    fn start(objects: &Arc<FaultyObjects>, local: MemoryStore) -> Self {
        let store = copied_to(objects, local);
        let opening = open(&store).unwrap();
        let base = opening.retained.last().map(|manifest| (**manifest).clone());
        Self { next: opening.reserved_up_to.0 + 1, store, opening, base }
    }

    /// Completes a checkpoint: each group's chain grows by a chunk, or starts anew every fourth time. Answers its id.
    fn complete(&mut self) -> u64 {
        let checkpoint = self.next;
        self.store.reserve_ids(CheckpointId(checkpoint)).unwrap();
        self.next += 1;
        let is_new = |group: u32| (checkpoint + u64::from(group)).is_multiple_of(4);
        let mut chunks: Vec<ChunkRef> = self.base.iter().flat_map(|base| base.chunks.clone()).collect();
        chunks.retain(|chunk| matches!(chunk.address.scope, StateScope::KeyGroup(group) if !is_new(group)));
        let own: Vec<Chunk> = (0..4).map(|group| chunk(checkpoint, group)).collect();
        chunks.extend(own.iter().map(|chunk| chunk.reference.clone()));
        let manifest = Manifest {
            checkpoint: CheckpointId(checkpoint),
            job: JOB.to_owned(),
            incarnation: self.opening.incarnation,
            triggered_unix_ms: 0,
            max_parallelism: 128,
            is_final: false,
            durations: CheckpointDurations::default(),
            chunks,
        };
        self.store.put_chunks(&own).unwrap();
        self.store.finalise(&manifest, 2).unwrap();
        self.base = Some(manifest);
        checkpoint
    }

    fn complete_all(&mut self, count: u32) {
        for _ in 0..count {
            self.complete();
        }
    }

    fn flush(&self) {
        assert!(self.store.flush(LONG), "{:?} {:?}", self.store.progress(), self.store.progress().outage());
    }

    fn complete_and_copy(&mut self) -> u64 {
        let checkpoint = self.complete();
        self.flush();
        checkpoint
    }

    fn copy_all(&mut self, count: u32) {
        for _ in 0..count {
            self.complete_and_copy();
        }
    }
}

/// What a new machine finds, every chunk as it was written.
fn found_by_a_new_machine(objects: &Arc<FaultyObjects>) -> Manifest {
    let Run { store, opening, base, .. } = Run::start(objects, MemoryStore::new());
    let newest = base.expect("a copy");
    assert_eq!(opening.retained.len(), 1);
    for reference in &newest.chunks {
        let StateScope::KeyGroup(group) = reference.address.scope else { unreachable!("only groups") };
        let written = chunk(reference.address.checkpoint.0, group);
        assert_eq!((reference, store.read_chunk(reference).unwrap()), (&written.reference, written.bytes));
    }
    assert!(opening.incarnation > newest.incarnation);
    assert!(opening.reserved_up_to > newest.checkpoint);
    assert_eq!(opening.abandoned, [opening.reserved_up_to], "what may have completed and was not copied");
    newest
}

async fn list_all(objects: &InMemory) -> Vec<Object> {
    let layout = Layout::new("backup", JOB);
    let found: Vec<_> = objects.list(Some(layout.root())).collect().await;
    found.into_iter().map(|meta| layout.parse(&meta.unwrap().location).expect("an object of ours")).collect()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Waits for copies before each call: what is copied stays readable while it is, beyond what the contract asks for.
struct Waiting(CopiedStore<MemoryStore>);

impl Waiting {
    fn copied(&self) -> &CopiedStore<MemoryStore> {
        // The suite has manifests of incarnations that are none of its lives'.
        let progress = self.0.progress();
        assert!(self.0.flush(LONG) || progress.is_fenced(), "{progress:?} {:?}", progress.outage());
        &self.0
    }
}

impl SnapshotStore for Waiting {
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        self.0.open_job(job, incarnation_floor)
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.copied().reserve_ids(up_to)
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        self.copied().put_chunks(chunks)
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        self.copied().finalise(manifest, retain)
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        self.copied().discard(checkpoint)
    }

    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        self.copied().abandon_above(checkpoint)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.copied().read_chunk(reference)
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        self.copied().reopen()
    }

    fn close(&self) {
        self.0.close();
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }
}

#[test]
fn fulfils_the_contract() {
    check_store(|| Arc::new(Waiting(copied_to(&FaultyObjects::new(), MemoryStore::new()))));
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    check_store(|| {
        let folder = directory.path().join(count.fetch_add(1, Ordering::SeqCst).to_string());
        std::fs::create_dir(&folder).unwrap();
        let objects = LocalFileSystem::new_with_prefix(folder).unwrap();
        Arc::new(Waiting(CopiedStore::new(MemoryStore::new(), Arc::new(objects), options())))
    });
}

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
    assert!(progress.outage().unwrap().contains("told to fail"));
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
