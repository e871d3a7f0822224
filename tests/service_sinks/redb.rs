//! Rows in the service's database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millstream::prelude::*;
use millstream::{JobError, Step};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::common::{CountedPanics, events_of, run, run_to_end, sorted, watched};
use crate::figures::{Figure, PanicAt, environment, expected, write};

const RECORDS: u64 = 1_500;

/// By key and count.
const FIGURES: TableDefinition<'_, (u64, u64), u64> = TableDefinition::new("figures");
/// What the service has taken, by number.
const TAKEN: TableDefinition<'_, u64, (u64, u64, u64)> = TableDefinition::new("taken");

/// Millstream's own.
const PREPARED: TableDefinition<'_, PieceKey, &[u8]> = TableDefinition::new("millstream.sink.rows");
type PieceKey = (&'static str, &'static str, u64, u32, u32, u32, u64);

pub(crate) fn open(path: &Path) -> Arc<Database> {
    Arc::new(Database::create(path).unwrap())
}

pub(crate) fn sink(database: &Arc<Database>) -> RedbSink<Figure> {
    RedbSink::new(database.clone(), FIGURES, |(key, count, sum): Figure, rows| rows.insert((key, count), sum))
}

/// Takes the rows out of the table, as a service does that works them off: one that is written again is taken again.
pub(crate) fn take(database: &Database) {
    let transaction = database.begin_write().unwrap();
    let (mut figures, mut taken) = (transaction.open_table(FIGURES).unwrap(), transaction.open_table(TAKEN).unwrap());
    let rows: Vec<_> =
        figures.iter().unwrap().map(|row| row.map(|(key, sum)| (key.value(), sum.value())).unwrap()).collect();
    for ((key, count), sum) in rows {
        figures.remove((key, count)).unwrap();
        let number = taken.len().unwrap();
        taken.insert(number, (key, count, sum)).unwrap();
    }
    drop((figures, taken));
    transaction.commit().unwrap();
}

/// All that was ever in the table, sorted.
pub(crate) fn all(database: &Database) -> Vec<Figure> {
    take(database);
    let taken = database.begin_read().unwrap().open_table(TAKEN).unwrap();
    sorted(taken.iter().unwrap().map(|row| row.unwrap().1.value()).collect())
}

/// Prepared rows that nobody has written.
pub(crate) fn left_over(database: &Database) -> u64 {
    database.begin_read().unwrap().open_table(PREPARED).unwrap().len().unwrap()
}

/// The database has what some numbers give, each figure once, and nothing is left over.
pub(crate) fn assert_whole(database: &Database) -> Vec<Figure> {
    let figures = all(database);
    // Of which numbers follows from how many figures there are.
    assert!(figures == expected(figures.len() as u64), "{} figures", figures.len());
    assert_eq!(left_over(database), 0);
    figures
}

/// A service that works rows off while jobs write them.
struct Working(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Working {
    fn start(database: &Arc<Database>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (database, ends) = (database.clone(), over.clone());
        let working = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                take(&database);
                thread::yield_now();
            }
        });
        Self(over, Some(working))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let ended = self.1.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok());
    }
}

fn numbers() -> SequenceSource {
    SequenceSource::new(0..RECORDS).rate_per_second(20_000)
}

// Guarantees G2 and O2.
#[test]
fn job_that_panics_at_any_step_of_a_commit_or_in_between_writes_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = 0;
    for step in [Step::SinkPreparing, Step::SinkPrepared, Step::SinkCommitting, Step::SinkCommitted, Step::Completed] {
        for (nth, parallelism) in [(1, 1), (7, 3)] {
            life += 1;
            let what = format!("panic at {step:?} number {nth}, parallelism {parallelism}");
            let database = open(&folder.path().join(format!("service-{life}.redb")));
            let working = Working::start(&database);
            let (sink, panics) = (sink(&database), CountedPanics::at(&[300, 900]));
            let (outcome, _) = run_to_end(&what, move || {
                let env = environment(parallelism).snapshot_store(MemoryStore::new()).probe(PanicAt::new(step, nth));
                write(&env, numbers(), move |_| panics.count_and_panic(), sink);
                env
            });
            assert!(outcome.unwrap().restarts > 0, "{what}");
            drop(working);
            assert!(all(&database) == expected(RECORDS), "{what}");
            assert_eq!(left_over(&database), 0, "{what}");
        }
    }
}

// Guarantees G2, G9 and O2: what is pending is settled at another parallelism.
#[test]
fn job_that_dies_before_its_commits_goes_on_at_any_parallelism_and_writes_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder.path().join("service.redb"));
    let store = MemoryStore::new();
    for (life, parallelism) in [2, 3, 1, 4, 2].into_iter().enumerate() {
        let (sink, store) = (sink(&database), store.clone());
        let (outcome, _) = run_to_end(&format!("life {life}"), move || {
            // It dies when a subtask is about to commit a checkpoint that is complete; others may have.
            let nth = 1 + life as u64 % u64::from(parallelism);
            let env = environment(parallelism).snapshot_store(store).restart_strategy(RestartStrategy::none());
            let env = env.probe(PanicAt::new(Step::SinkCommitting, nth));
            write(&env, SequenceSource::unbounded().rate_per_second(10_000), |_| (), sink);
            env
        });
        let error = outcome.unwrap_err();
        assert!(matches!(error, JobError::GaveUp { .. }), "{error}");
        take(&database);
    }
    let last = sink(&database);
    run("the last life", move |handles| async move {
        let env = environment(3).snapshot_store(store);
        write(&env, SequenceSource::unbounded().rate_per_second(10_000), |_| (), last);
        let job = env.start().unwrap();
        watched(&handles, &job);
        events_of(&job).checkpoints(2).await;
        job.drain().await.unwrap();
    });
    assert_whole(&database);
}

#[test]
fn two_jobs_with_two_sinks_each_write_to_one_database_and_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder.path().join("service.redb"));
    /// By job, sink and number.
    const SHARED: TableDefinition<'_, (&str, &str, u64), u64> = TableDefinition::new("shared");
    let (shared, panics) = (database.clone(), CountedPanics::at(&[100, 700]));
    run("two jobs", move |handles| async move {
        let mut jobs = Vec::new();
        for name in ["one", "two"] {
            let env = StreamEnvironment::new(name)
                .parallelism(2)
                .snapshot_store(MemoryStore::new())
                .checkpointing(Checkpointing::every(std::time::Duration::from_millis(5)));
            let panics = panics.clone();
            let numbers = env.source("numbers", numbers()).inspect(move |_| panics.count_and_panic());
            for sink in ["left", "right"] {
                let rows = RedbSink::new(shared.clone(), SHARED, move |n: u64, rows| rows.insert((name, sink, n), n));
                numbers.clone().sink(sink, rows);
            }
            let job = env.start().unwrap();
            watched(&handles, &job);
            jobs.push(job);
        }
        for job in jobs {
            job.await.unwrap();
        }
    });
    let table = database.begin_read().unwrap().open_table(SHARED).unwrap();
    assert_eq!(table.len().unwrap(), 4 * RECORDS);
}

// Guarantee O1: a transaction of the service that stays open holds back the sink, and no arbiter.
#[test]
fn transaction_of_the_service_that_stays_open_holds_up_nobody_but_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder.path().join("service.redb"));
    let (sink, held) = (sink(&database), database.begin_write().unwrap());
    run("an open transaction", move |handles| async move {
        let env = environment(2).snapshot_store(MemoryStore::new());
        write(&env, numbers(), |_| (), sink);
        let waiting = env.start().unwrap();
        watched(&handles, &waiting);
        for _ in 0..4 {
            let collected = CollectSink::new();
            let env = StreamEnvironment::new("other").parallelism(2);
            env.source("numbers", SequenceSource::new(0..100)).sink("out", collected);
            env.start().unwrap().await.unwrap();
        }
        drop(held);
        waiting.await.unwrap();
    });
    assert!(all(&database) == expected(RECORDS));
}
