//! Chunks with flipped bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use millstream::prelude::*;
use millstream::sink::{Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter, Threading};
use millstream::snapshot::{ChunkRef, Manifest, SnapshotError, SnapshotStore};
use millstream::testing::{FaultyStore, StoreCall, StoreFault};
use millstream::{Incarnation, JobEventKind, NoRestore};

use crate::crash_common::job::{self, Figures};
use crate::crash_common::published;
use crate::listener::{events_from_the_start, events_of};
use crate::run::{ENDLESS, Trap, block_on, run_and_cancel, start, start_with};

/// The file sink, were it unable to withdraw.
struct Irrevocable(FileSink<Figures>);

impl Sink for Irrevocable {
    type Item = Figures;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn threading(&self) -> Threading {
        self.0.threading()
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = Figures>>, SinkError> {
        self.0.open(cx, SinkRestore { withdraw: Vec::new(), ..restored })
    }
}

/// The retained checkpoints of the job's store at `path`, oldest first.
fn retained(path: &Path) -> Vec<Arc<Manifest>> {
    retained_of("figures", path)
}

/// As [`retained`], of this job.
pub(crate) fn retained_of(job: &str, path: &Path) -> Vec<Arc<Manifest>> {
    let store = RedbStore::open(path).unwrap();
    let opening = store.open_job(job, Incarnation(0)).unwrap();
    store.close();
    opening.retained
}

/// Flips a bit of a chunk of each of these checkpoints, in the file.
fn flip(path: &Path, manifests: &[Arc<Manifest>]) {
    flip_of("figures", path, manifests);
}

/// As [`flip`], of a chunk of this operator.
fn flip_of(operator: &str, path: &Path, manifests: &[Arc<Manifest>]) {
    flip_longest(("figures", operator), path, manifests, |_, _| true);
}

/// As [`flip_of`], of this job, and of a chunk that was written for the checkpoint: older ones stay whole.
pub(crate) fn flip_newest_of(job: &str, operator: &str, path: &Path, manifests: &[Arc<Manifest>]) {
    let is_own = |manifest: &Manifest, chunk: &ChunkRef| chunk.address.checkpoint == manifest.checkpoint;
    flip_longest((job, operator), path, manifests, is_own);
}

/// Flips a bit of the longest chunk of an operator in each of these checkpoints.
fn flip_longest(
    (job, operator): (&str, &str),
    path: &Path,
    manifests: &[Arc<Manifest>],
    of: impl Fn(&Manifest, &ChunkRef) -> bool,
) {
    let chunks: Vec<Vec<u8>> = {
        let store = RedbStore::open(path).unwrap();
        store.open_job(job, Incarnation(0)).unwrap();
        let longest = manifests.iter().map(|manifest| {
            let chunks = manifest.chunks.iter().filter(|chunk| of(manifest, chunk));
            let of_operator = chunks.filter(|chunk| chunk.address.operator.as_str() == operator);
            // One that older checkpoints have, too, would be damaged in these as well.
            of_operator.max_by_key(|chunk| (chunk.address.checkpoint == manifest.checkpoint, chunk.len)).unwrap()
        });
        let chunks = longest.map(|chunk| store.read_chunk(chunk).unwrap()).collect();
        store.close();
        chunks
    };
    let mut bytes = fs::read(path).unwrap();
    for chunk in chunks {
        let places: Vec<usize> = (0..bytes.len() - chunk.len()).filter(|at| bytes[*at..].starts_with(&chunk)).collect();
        assert!(!places.is_empty(), "the chunk is not found in the file");
        for at in places {
            bytes[at + chunk.len() / 2] ^= 1;
        }
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_newest_checkpoint_falls_back_and_withdraws_what_it_published() {
    for damaged in 1..=2 {
        let dir = tempfile::tempdir().unwrap();
        let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
        run_and_cancel(&path, job::files(&out), 5);
        let manifests = retained(&path);
        let (whole, broken) = manifests.split_at(manifests.len() - damaged);
        flip(&path, broken);
        block_on("a fallback", async {
            let job = start(ENDLESS, RedbStore::open(&path).unwrap(), job::files(&out)).unwrap();
            let mut events = events_from_the_start(&job);
            let last_whole = whole.last().unwrap().checkpoint;
            let to_it = |kind: &_| matches!(kind, JobEventKind::FellBack { to, .. } if *to == last_whole);
            let fell_back = events.until(to_it).await;
            let JobEventKind::FellBack { withdrawn, .. } = fell_back else { unreachable!("waited for") };
            assert_eq!(withdrawn, broken.iter().map(|manifest| manifest.checkpoint).collect::<Vec<_>>());
            events.checkpoints(2).await;
            assert_eq!(job.finish().await.unwrap().kind, OutcomeKind::Finished);
        });
        published::assert_ended(&out, ENDLESS);
    }
}

#[test]
fn job_that_had_ended_goes_on_from_an_older_checkpoint_if_its_last_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    let run = |checkpoints| {
        let (path, out) = (path.clone(), out.clone());
        block_on("a job that is finished", async move {
            let job = start(ENDLESS, RedbStore::open(&path).unwrap(), job::files(&out)).unwrap();
            let mut events = events_of(&job);
            if checkpoints > 0 {
                events.checkpoints(checkpoints).await;
            }
            job.finish().await.unwrap()
        })
    };
    assert!(!run(5).already_complete);
    assert!(run(0).already_complete);
    let manifests = retained(&path);
    let (last, older) = manifests.split_last().unwrap();
    assert!(last.is_final && older.iter().all(|manifest| !manifest.is_final));
    flip_of("out", &path, std::slice::from_ref(last));
    let outcome = run(2);
    assert_eq!((outcome.kind, outcome.already_complete), (OutcomeKind::Finished, false));
    assert!(outcome.last_checkpoint > Some(last.checkpoint));
    published::assert_ended(&out, ENDLESS);
    assert!(run(0).already_complete);
}

#[test]
fn fallback_outlives_a_store_that_fails_to_note_it() {
    for fault in [StoreFault::Fail, StoreFault::FailAfter] {
        let dir = tempfile::tempdir().unwrap();
        let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
        run_and_cancel(&path, job::files(&out), 4);
        let manifests = retained(&path);
        flip(&path, &manifests[2..]);
        let store = FaultyStore::new(Arc::new(RedbStore::open(&path).unwrap()));
        store.inject(StoreCall::AbandonAbove, 1, fault);
        block_on("a fallback that is noted at the second try", async {
            let job = start(ENDLESS, store.clone(), job::files(&out)).unwrap();
            events_of(&job).checkpoints(2).await;
            job.finish().await.unwrap()
        });
        assert!(store.calls(StoreCall::AbandonAbove) >= 1);
        published::assert_ended(&out, ENDLESS);
    }
}

#[test]
fn damage_without_an_older_checkpoint_is_a_typed_error_and_changes_no_output() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    run_and_cancel(&path, job::files(&out), 4);
    flip(&path, &retained(&path));
    let error = block_on("a store full of damage", async {
        start(ENDLESS, RedbStore::open(&path).unwrap(), job::files(&out)).unwrap().await.unwrap_err()
    });
    assert!(matches!(&error, JobError::Damaged { reason: NoRestore::NoOlder, .. }), "{error}");
    published::assert_prefix(&published::records(&published::files(&out)), ENDLESS);
}

#[test]
fn sink_that_cannot_withdraw_gets_an_error_that_names_chunk_checkpoints_and_override() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("store.redb"), dir.path().join("out"));
    let sink = || Irrevocable(job::files(&out));
    run_and_cancel(&path, sink(), 5);
    let manifests = retained(&path);
    let newest = &manifests[2];
    flip(&path, &manifests[2..]);
    let before = published::files(&out);

    let error = block_on("a refused fallback", async {
        start(ENDLESS, RedbStore::open(&path).unwrap(), sink()).unwrap().await.unwrap_err()
    });
    let JobError::Damaged { checkpoint, error: damage, reason: NoRestore::WouldRepeat { older, .. }, .. } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*checkpoint, newest.checkpoint);
    assert_eq!(*older, [manifests[0].checkpoint, manifests[1].checkpoint]);
    let SnapshotError::Damaged { what, checkpoints, .. } = &**damage else { panic!("{damage}") };
    assert!(what.contains("figures"), "{what}");
    assert_eq!(*checkpoints, [newest.checkpoint]);
    assert!(error.to_string().contains("accept_repeats(true)"), "{error}");
    // The cancelled job may have left commits of a completed checkpoint.
    let after = published::files(&out);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "a refused start has removed output");
    published::assert_prefix(&published::records(&after), ENDLESS);

    block_on("an accepted fallback", async {
        let accepting = Checkpointing::every(std::time::Duration::from_millis(4)).accept_repeats(true);
        let env = ENDLESS.environment().checkpointing(accepting);
        let store = RedbStore::open(&path).unwrap();
        let job = start_with(env, ENDLESS, store, &Trap::default(), sink()).unwrap();
        events_of(&job).checkpoints(2).await;
        assert_eq!(job.finish().await.unwrap().kind, OutcomeKind::Finished);
    });
    let mut figures = published::records(&published::files(&out));
    let all = figures.len();
    figures.sort_by_key(|figures| (figures.key, figures.source, figures.count));
    figures.dedup();
    assert!(figures.len() < all, "nothing was repeated: the damage was not met");
    published::assert_prefix(&figures, ENDLESS);
}
