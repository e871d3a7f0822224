//! A parked region that reads from a log which is trimmed, and writes to a database: what it needs is kept, and what was acknowledged
//! comes once. P4.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::Collected;
use millstream::source::{IngestHandle, IngestOptions};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::handed::{Hand, HandedSource};
use crate::parked::parks;
use crate::rig::{Fault, in_system};
use crate::several::{SECOND, Told};

const ROWS: TableDefinition<'_, u64, u64> = TableDefinition::new("rows");

/// A job of two regions, of which the second one takes what is sent to it.
struct Taking {
    job: JobHandle,
    told: Told,
    log: IngestHandle<u64>,
    fault: Fault,
    /// Of the first region.
    hand: Hand,
}

fn start(dir: &Path, store: &MemoryStore, (sink, database): (CollectSink<u64>, &Arc<Database>)) -> Taking {
    let (source, log) = IngestSource::open(dir.join("numbers.log"), IngestOptions::new().splits(1)).expect("a log");
    let env = StreamEnvironment::new("takes")
        .snapshot_store(store.clone())
        .checkpointing(Checkpointing::every(Duration::from_secs(86_400)))
        .restart_strategy(RestartStrategy::none())
        .tell_panic_hook(false);
    let told = Told::of(&env);
    let (hand, fault) = (Hand::default(), Fault::default());
    env.source("ticks", HandedSource(hand.clone())).for_each("ticked", |_| {});
    let armed = fault.clone();
    let numbers = env.source("numbers", source).region_policy(parks()).inspect(move |_| armed.meet("operator"));
    numbers.clone().sink("collected", sink);
    let rows = RedbSink::new(database.clone(), ROWS, |n: u64, rows: &mut RedbRows<'_, u64, u64>| rows.insert(n, n));
    numbers.sink("rows", rows);
    Taking { job: env.start().expect("the job starts"), told, log, fault, hand }
}

impl Taking {
    async fn send(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            self.log.send(n).await.expect("it is acknowledged");
        }
    }

    /// Parked, and more checkpoints than are retained after that.
    async fn park(&mut self, collected: &Collected<u64>) {
        self.send(0..100).await;
        while collected.len() < 100 {
            self.job.checkpoint().await.expect("nothing fails yet");
        }
        self.fault.arm(1);
        self.send(100..150).await;
        self.told.until_parked().await;
        for end in 1..6 {
            self.hand.allow(end);
            self.hand.read(end).await;
            self.job.checkpoint().await.expect("checkpoints go on");
        }
        self.send(150..200).await;
    }
}

fn assert_taken(collected: &Collected<u64>, database: &Database) {
    assert_eq!(collected.snapshot(), (0..200).collect::<Vec<_>>());
    let read = database.begin_read().expect("it reads");
    let table = read.open_table(ROWS).expect("the table is there");
    let rows: Vec<u64> = table.iter().expect("rows").map(|row| row.expect("a row").0.value()).collect();
    assert_eq!(rows, (0..200).collect::<Vec<_>>());
}

fn database(dir: &Path) -> Arc<Database> {
    Arc::new(Database::create(dir.join("rows.redb")).expect("a database"))
}

#[test]
fn what_is_acknowledged_before_and_while_the_region_is_parked_comes_once() {
    in_system(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (sink, database, store) = (CollectSink::new(), database(dir.path()), MemoryStore::new());
        let collected = sink.handle();
        let mut taking = start(dir.path(), &store, (sink, &database));
        taking.park(&collected).await;
        taking.job.resume_region(SECOND).await.expect("it runs");
        for _ in 0..5 {
            taking.job.checkpoint().await.expect("nothing fails any more");
        }
        assert_eq!(taking.job.finish().await.expect("it ends").kind, OutcomeKind::Finished);
        assert_taken(&collected, &database);
    });
}

/// The log is kept and read on, whoever reads it then.
#[test]
fn what_is_acknowledged_comes_once_also_if_the_job_is_rescaled_while_the_region_is_parked() {
    in_system(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (sink, database, store) = (CollectSink::new(), database(dir.path()), MemoryStore::new());
        let collected = sink.handle();
        let mut taking = start(dir.path(), &store, (sink, &database));
        taking.park(&collected).await;
        for (to, numbers) in [(3, 200..210), (1, 210..220)] {
            taking.job.rescale(to).await.expect("the other has other tasks");
            taking.send(numbers).await;
        }
        taking.job.resume_region(SECOND).await.expect("it runs");
        taking.send(220..230).await;
        taking.job.rescale(2).await.expect("both have other tasks");
        assert_eq!(taking.job.finish().await.expect("it ends").kind, OutcomeKind::Finished);
        let mut taken = collected.snapshot();
        taken.sort_unstable();
        assert_eq!(taken, (0..230).collect::<Vec<_>>());
        let read = database.begin_read().expect("it reads");
        assert_eq!(read.open_table(ROWS).expect("the table").iter().expect("rows").count(), 230);
    });
}

#[test]
fn next_process_reads_what_the_parked_region_had_not() {
    in_system(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (database, store) = (database(dir.path()), MemoryStore::new());
        let collected = {
            let sink = CollectSink::new();
            let collected = sink.handle();
            let mut taking = start(dir.path(), &store, (sink, &database));
            taking.park(&collected).await;
            taking.job.cancel().await.expect("at once");
            collected
        };
        assert_eq!(collected.snapshot(), (0..100).collect::<Vec<_>>(), "what the checkpoint covers");
        let sink = CollectSink::new();
        let later = sink.handle();
        let taking = start(dir.path(), &store, (sink, &database));
        assert_eq!(taking.job.finish().await.expect("it ends").kind, OutcomeKind::Finished);
        // Of the first hundred nothing comes again.
        assert_eq!(later.snapshot(), (100..200).collect::<Vec<_>>());
        let read = database.begin_read().expect("it reads");
        assert_eq!(read.open_table(ROWS).expect("the table").iter().expect("rows").count(), 200);
    });
}
