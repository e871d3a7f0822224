//! The job of a lost machine starts on another from the copies in an object store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::snapshot::object_store::ObjectStore;
use millstream::snapshot::object_store::local::LocalFileSystem;
use millstream::snapshot::object_store::memory::InMemory;
use millstream::snapshot::{CopiedStore, CopyOptions, CopyProgress, SnapshotStore};

#[path = "crash_common/watchdog.rs"]
mod watchdog;

const NUMBERS: u64 = 30_000;
const KEYS: u64 = 7;

#[derive(Clone)]
struct Sum;

impl KeyedProcessFunction<u64, u64> for Sum {
    type Out = (u64, u64);
    type State = (ValueState<u64>,);

    fn state(&self) -> Self::State {
        (ValueState::new("sum"),)
    }

    fn process(
        &mut self,
        number: u64,
        (mut sum,): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let total = sum.get().copied().unwrap_or(0) + number;
        sum.set(total);
        out.emit((*ctx.key(), total));
    }
}

/// Starts the job on a machine: its store is in a file there, its output on a disk that machines share.
fn start(machine: &Path, shared: &Path, objects: &Arc<dyn ObjectStore>, per_second: u64) -> (JobHandle, CopyProgress) {
    let local = RedbStore::open(machine.join("store.redb")).unwrap();
    let store = CopiedStore::new(local, objects.clone(), CopyOptions::new("copies").flush_timeout(Duration::ZERO));
    let progress = store.progress();
    (start_on(store, shared, per_second), progress)
}

fn start_on(store: impl SnapshotStore, shared: &Path, per_second: u64) -> JobHandle {
    let env = StreamEnvironment::new("sums")
        .parallelism(2)
        .checkpointing(Checkpointing::every(Duration::from_millis(10)))
        .snapshot_store(store);
    env.source("numbers", SequenceSource::new(0..NUMBERS).rate_per_second(per_second))
        .parallelism(1)
        .key_by(|number| number % KEYS)
        .process("sum", Sum)
        .sink("out", FileSink::json_lines(shared));
    env.start().unwrap()
}

/// Every result that is published, sorted.
fn published(shared: &Path) -> Vec<(u64, u64)> {
    let mut published = Vec::new();
    for path in glob::glob(&format!("{}/part-*.jsonl", shared.display())).unwrap() {
        let text = fs::read_to_string(path.unwrap()).unwrap();
        published.extend(text.lines().map(|line| serde_json::from_str::<(u64, u64)>(line).unwrap()));
    }
    published.sort_unstable();
    published
}

fn expected() -> Vec<(u64, u64)> {
    let mut sums = [0; KEYS as usize];
    let mut expected: Vec<(u64, u64)> = (0..NUMBERS)
        .map(|number| {
            let key = number % KEYS;
            sums[key as usize] += number;
            (key, sums[key as usize])
        })
        .collect();
    expected.sort_unstable();
    expected
}

/// Runs the job on two machines that are lost, and to its end on a third. What is copied when a machine is lost is what
/// `frozen` answers.
fn lose_machines<O: ObjectStore>(mut objects: Arc<O>, frozen: impl Fn(&Arc<O>) -> Arc<O>) {
    let _watchdog = watchdog::Watchdog::watch("jobs on machines that are lost", Duration::from_secs(50));
    let shared = tempfile::tempdir().unwrap();
    let out = shared.path().join("out");
    actix_rt::System::new().block_on(async {
        for _ in 0..2 {
            let machine = tempfile::tempdir().unwrap();
            let used: Arc<dyn ObjectStore> = objects.clone();
            let (job, progress) = start(machine.path(), &out, &used, 20_000);
            job.checkpoint().await.unwrap();
            let before = progress.copied_up_to();
            while progress.copied_up_to() == before {
                job.checkpoint().await.unwrap();
            }
            objects = frozen(&objects);
            // These complete, and their results are published.
            job.checkpoint().await.unwrap();
            job.checkpoint().await.unwrap();
            job.cancel().await.unwrap();
        }
        let machine = tempfile::tempdir().unwrap();
        let last: Arc<dyn ObjectStore> = objects.clone();
        let (job, _) = start(machine.path(), &out, &last, 10_000_000);
        let outcome = job.clone().await.unwrap();
        assert_eq!((outcome.kind, outcome.already_complete), (OutcomeKind::Finished, false));
        let restored = job.history().into_iter().any(|event| event.kind.to_string().contains("restored checkpoint"));
        assert!(restored, "it began from nothing");
    });
    assert!(published(&out) == expected(), "the output differs");
}

#[test]
fn job_of_a_lost_machine_goes_on_from_copies_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let objects = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    lose_machines(Arc::new(objects), Arc::clone);
}

#[test]
fn what_a_lost_machine_published_and_did_not_copy_is_withdrawn() {
    lose_machines(Arc::new(InMemory::new()), |objects| Arc::new(objects.fork()));
}
