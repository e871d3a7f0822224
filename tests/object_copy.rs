//! The job of a lost machine starts on another from the copies in an object store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::RedbSinkError;
use millstream::snapshot::object_store::ObjectStore;
use millstream::snapshot::object_store::local::LocalFileSystem;
use millstream::snapshot::object_store::memory::InMemory;
use millstream::snapshot::{CopiedStore, CopyOptions, CopyProgress, SnapshotStore};
use millstream::{CheckpointId, JobError, TaskError};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

#[path = "crash_common/watchdog.rs"]
mod watchdog;

/// So many that they last longer than a machine does: a minute at the rate of those that are lost.
const NUMBERS: u64 = 60_000;
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
            let (job, progress) = start(machine.path(), &out, &used, 1_000);
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

const NUMBERS_SEEN: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

/// Starts a job on an empty machine that writes numbers into the service's database.
fn start_numbers(
    machine: &Path,
    objects: &Arc<dyn ObjectStore>,
    checkpointing: Checkpointing,
    sink: RedbSink<u64>,
) -> (JobHandle, CopyProgress) {
    let local = RedbStore::open(machine.join("store.redb")).unwrap();
    let store = CopiedStore::new(local, objects.clone(), CopyOptions::new("copies").flush_timeout(Duration::ZERO));
    let progress = store.progress();
    let env = StreamEnvironment::new("numbers").parallelism(1).checkpointing(checkpointing).snapshot_store(store);
    env.source("numbers", SequenceSource::unbounded().rate_per_second(20_000)).sink("out", sink);
    (env.start().unwrap(), progress)
}

// Guarantee O3. Cause: a start from copies has sinks withdraw what may have completed after them, which `RedbSink` took for a
// fall-back that the job accepts. Repair: a sink is told what is accepted.
#[test]
fn start_from_copies_that_are_older_than_the_service_database_is_refused_unless_it_is_accepted() {
    let _watchdog = watchdog::Watchdog::watch("rows of a machine that is lost", Duration::from_secs(50));
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(Database::create(folder.path().join("service.redb")).unwrap());
    let sink = || RedbSink::new(database.clone(), NUMBERS_SEEN, |n: u64, rows| rows.insert(n, n));
    let rows = || database.begin_read().unwrap().open_table(NUMBERS_SEEN).unwrap().len().unwrap();
    let every = || Checkpointing::every(Duration::from_millis(10));
    actix_rt::System::new().block_on(async {
        let copies = Arc::new(InMemory::new());
        let machine = tempfile::tempdir().unwrap();
        let used: Arc<dyn ObjectStore> = copies.clone();
        let (job, progress) = start_numbers(machine.path(), &used, every(), sink());
        while progress.copied_up_to() == CheckpointId::NONE {
            job.checkpoint().await.unwrap();
        }
        let objects: Arc<dyn ObjectStore> = Arc::new(copies.fork());
        let before = rows();
        while rows() == before {
            job.checkpoint().await.unwrap();
        }
        job.drain().await.unwrap();
        let written = rows();

        let machine = tempfile::tempdir().unwrap();
        let (job, _) = start_numbers(machine.path(), &objects, every(), sink());
        let error = job.await.unwrap_err();
        let JobError::Failed { error: TaskError::Sink(refused), .. } = &error else { panic!("{error}") };
        let Some(RedbSinkError::WouldRepeat { restored: Some(_), .. }) = refused.reason().downcast_ref() else {
            panic!("{refused}")
        };
        assert_eq!(rows(), written);

        let accepting = [(every().accept_repeats(true), sink()), (every(), sink().accept_repeats(true))];
        for (checkpointing, sink) in accepting {
            let machine = tempfile::tempdir().unwrap();
            let (job, _) = start_numbers(machine.path(), &objects, checkpointing, sink);
            let before = rows();
            while rows() == before {
                job.checkpoint().await.unwrap();
            }
            job.drain().await.unwrap();
            let table = database.begin_read().unwrap().open_table(NUMBERS_SEEN).unwrap();
            assert!(table.iter().unwrap().map(|row| row.unwrap().0.value()).eq(0..table.len().unwrap()));
        }
    });
}
