//! A job that dies again and again and goes on at another parallelism each time: its output is that of one run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::PendingCommit;
use millstream::snapshot::{Manifest, SnapshotStore, StateScope};
use millstream::{ActorName, Incarnation, Probe, Step};
use serde::de::IgnoredAny;

use common::{events_of, left_over, run, watched};
use job::{Files, Portion, Results};

mod common;
#[path = "rescale/held_back.rs"]
mod held_back;
#[path = "rescale/job.rs"]
mod job;

const SINKS: [&str; 3] = ["accounts", "priced", "tallies"];

/// How a life of the job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The sinks panic when they are about to commit the second checkpoint, and nothing restarts them. What they were to
    /// commit is pending then.
    Panic,
    /// `cancel()`, without draining.
    Cancel,
    /// `stop_with_savepoint()`.
    Savepoint,
}

/// One life of the job.
#[derive(Clone, Copy, Debug)]
struct Life {
    parallelism: u32,
    chaining: bool,
    portion: Portion,
}

/// Where lives of the job go on.
#[derive(Clone)]
enum Carrier {
    Memory(MemoryStore),
    File(PathBuf),
    /// A savepoint, in a store that is new in each life.
    Savepoint {
        path: PathBuf,
        store: MemoryStore,
    },
}

impl Carrier {
    fn store(&self) -> Arc<dyn SnapshotStore> {
        match self {
            Self::Memory(store) | Self::Savepoint { store, .. } => Arc::new(store.clone()),
            Self::File(path) => Arc::new(RedbStore::open(path).expect("the store opens")),
        }
    }

    /// An environment of a job that goes on where the life before had its newest checkpoint or savepoint.
    fn resuming(&self) -> StreamEnvironment {
        let env = StreamEnvironment::new("rescaled");
        match self {
            Self::Memory(store) => env.snapshot_store(store.clone()),
            Self::File(path) => env.snapshot_store(RedbStore::open(path).expect("the store opens")),
            Self::Savepoint { path, store } if path.exists() => env.snapshot_store(store.clone()).restore_from(path),
            Self::Savepoint { store, .. } => env.snapshot_store(store.clone()),
        }
    }

    /// The next life's.
    fn next(&self) -> Self {
        match self {
            Self::Savepoint { path, .. } => Self::Savepoint { path: path.clone(), store: MemoryStore::new() },
            same => same.clone(),
        }
    }

    /// What the next life will find.
    fn newest(&self) -> Newest {
        let store = self.store();
        let opening = store.open_job("rescaled", Incarnation(0)).expect("the store of the job");
        let manifest = opening.retained.last().expect("a completed checkpoint").clone();
        let newest = Newest::read(&manifest, &*store);
        store.close();
        newest
    }
}

/// What the newest checkpoint holds, as far as the test wants to know that it holds anything.
#[derive(Debug, Default)]
struct Newest {
    /// Names of the files that sinks had prepared for it.
    prepared: BTreeSet<PathBuf>,
    keyed_bytes: u64,
    /// Items of each subtask.
    waiting: Vec<usize>,
    tallies: Vec<usize>,
    rules: Vec<usize>,
}

impl Newest {
    fn read(manifest: &Manifest, store: &dyn SnapshotStore) -> Self {
        let mut newest = Self::default();
        for chunk in &manifest.chunks {
            let bytes = store.read_chunk(chunk).expect("a sound chunk");
            let StateScope::Subtask(_) = chunk.address.scope else {
                newest.keyed_bytes += bytes.len() as u64;
                continue;
            };
            let operator = chunk.address.operator.to_string();
            match &*chunk.address.state {
                "pending" => {
                    let dir = operator.strip_suffix("-out").expect("a sink of this job").to_owned();
                    let (_, pending): (u8, Vec<PendingCommit>) = rmp_serde::from_slice(&bytes).expect("a list");
                    newest.prepared.extend(pending.iter().map(|pending| Path::new(&dir).join(finished_name(pending))));
                }
                "waiting" => newest.waiting.push(items(&bytes)),
                "tallies" => newest.tallies.push(items(&bytes)),
                "rules" => newest.rules.push(items(&bytes)),
                _ => {}
            }
        }
        newest
    }
}

/// The name that a file of a `FileSink` gets when it is committed.
fn finished_name(pending: &PendingCommit) -> String {
    type Pending = (u8, String, String, u64, u64);
    let (_, _, finished, ..): Pending = rmp_serde::from_slice(&pending.data).expect("a pending file");
    finished
}

/// Number of items of a list or a map, which is stored with its version.
fn items(section: &[u8]) -> usize {
    let list: Result<(u8, Vec<IgnoredAny>), _> = rmp_serde::from_slice(section);
    list.map(|(_, items)| items.len()).unwrap_or_else(|_| {
        let map: (u8, std::collections::BTreeMap<u64, IgnoredAny>) = rmp_serde::from_slice(section).expect("a map");
        map.1.len()
    })
}

/// From when the second checkpoint is complete, and nobody has heard of it, every sink that is about to commit panics: so
/// nothing that was prepared for that checkpoint is published.
#[derive(Default)]
struct DiesAtCommit {
    complete: AtomicU64,
}

impl Probe for DiesAtCommit {
    fn reached(&self, step: Step, _: &ActorName) {
        match step {
            Step::Completed => drop(self.complete.fetch_add(1, Ordering::Relaxed)),
            Step::SinkCommitting if self.complete.load(Ordering::Relaxed) >= 2 => panic!("injected: the second commit"),
            _ => {}
        }
    }
}

fn environment(env: StreamEnvironment, files: &Files, life: Life) -> StreamEnvironment {
    let env = env
        .parallelism(life.parallelism)
        .chaining(life.chaining)
        .checkpointing(Checkpointing::every(Duration::from_millis(1)))
        .restart_strategy(RestartStrategy::none());
    job::write(&env, files, life.portion);
    env
}

/// A life that ends before its input does.
fn live_and_die(carrier: &Carrier, files: &Files, life: Life, end: End) {
    let (carrier, files) = (carrier.clone(), files.clone());
    let outcome = run(&format!("{life:?}"), move |handles| async move {
        let env = environment(carrier.resuming(), &files, life);
        let env = match end {
            End::Panic => env.probe(DiesAtCommit::default()),
            End::Cancel | End::Savepoint => env,
        };
        let job = env.start().expect("starts");
        watched(&handles, &job);
        match end {
            End::Panic => job.await,
            End::Cancel => {
                events_of(&job).checkpoints(4).await;
                job.cancel().await
            }
            End::Savepoint => {
                let Carrier::Savepoint { path, .. } = &carrier else { panic!("no place for a savepoint") };
                events_of(&job).checkpoints(4).await;
                // One does not take the place of another.
                let fresh = path.with_extension("next");
                let stopped = job.stop_with_savepoint(&fresh).await;
                std::fs::rename(&fresh, path).expect("renamed");
                Ok(stopped.expect("a savepoint").0)
            }
        }
    });
    match (end, outcome) {
        (End::Panic, Err(error)) => assert!(error.to_string().contains("the second commit"), "{error}"),
        (End::Savepoint, Ok(outcome)) => assert_eq!(outcome.kind, OutcomeKind::Drained),
        (End::Cancel, Ok(outcome)) => assert_eq!(outcome.kind, OutcomeKind::Cancelled),
        (_, outcome) => panic!("{life:?} ended by {outcome:?}, not by {end:?}"),
    }
}

fn live_to_the_end(carrier: &Carrier, files: &Files, life: Life) {
    let (carrier, files) = (carrier.clone(), files.clone());
    let outcome = run(&format!("{life:?}"), move |handles| async move {
        let job = environment(carrier.resuming(), &files, life).start().expect("starts");
        watched(&handles, &job);
        job.await
    });
    let outcome = outcome.expect("finished");
    assert!(outcome.kind == OutcomeKind::Finished && !outcome.already_complete, "{outcome:?}");
}

/// Shows that there is something of every kind to be dealt out anew, and gives the files that were prepared for the
/// newest checkpoint and are not published.
fn at_a_switch(carrier: &Carrier, files: &Files, parallelism: u32) -> Vec<PathBuf> {
    let newest = carrier.newest();
    println!("at parallelism {parallelism}: {newest:?}");
    assert!(newest.keyed_bytes > 0, "{newest:?}");
    for subtasks in [&newest.waiting, &newest.tallies, &newest.rules] {
        assert_eq!(subtasks.len(), parallelism as usize, "each subtask has its own: {newest:?}");
        assert!(subtasks.iter().sum::<usize>() > 0, "{newest:?}");
    }
    assert!(newest.rules.iter().all(|rules| *rules == newest.rules[0]), "one map, on all: {newest:?}");
    let prepared = newest.prepared.iter().map(|name| files.out("").join(name));
    prepared.filter(|file| !file.exists()).collect()
}

/// Lives at these parallelisms, one after the other, of which all but the last die.
fn live_on(carrier: &Carrier, lives: &[(u32, End)], last: u32, chaining: bool) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let files = Files::write(scratch.path());
    let (mut carrier, mut pending) = (carrier.clone(), Vec::new());
    for (parallelism, end) in lives.iter().copied() {
        let life = Life { parallelism, chaining, portion: Portion::FIFTH };
        live_and_die(&carrier, &files, life, end);
        let unpublished = at_a_switch(&carrier, &files, parallelism);
        match end {
            End::Panic => assert!(!unpublished.is_empty(), "no commit was pending when {life:?} had ended"),
            End::Savepoint => assert_eq!(unpublished, Vec::<PathBuf>::new(), "{life:?} was to commit"),
            End::Cancel => {}
        }
        pending.extend(unpublished);
        carrier = carrier.next();
    }
    live_to_the_end(&carrier, &files, Life { parallelism: last, chaining, portion: Portion::ALL });
    // Guarantee G1, guarantee G2, guarantee G9.
    assert!(files.output() == Results::expected(), "{:#?}\n{:#?}", files.output(), Results::expected());
    for file in pending {
        assert!(file.exists(), "{} was pending and was never committed", file.display());
    }
    for sink in SINKS {
        assert_eq!(left_over(&files.out(sink)), Vec::<String>::new());
    }
}

#[test]
fn undisturbed_job_gives_what_a_plain_loop_gives_at_any_parallelism() {
    for parallelism in [1, 3] {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let files = Files::write(scratch.path());
        let carrier = Carrier::Memory(MemoryStore::new());
        live_to_the_end(&carrier, &files, Life { parallelism, chaining: true, portion: Portion::ALL });
        assert!(files.output() == Results::expected(), "{:#?}\n{:#?}", files.output(), Results::expected());
    }
}

#[test]
fn job_that_dies_with_commits_pending_goes_on_at_other_parallelisms() {
    let carrier = Carrier::Memory(MemoryStore::new());
    live_on(&carrier, &[(1, End::Panic), (3, End::Panic), (2, End::Panic)], 4, true);
}

#[test]
fn job_on_disk_without_chaining_is_cancelled_and_goes_on_at_other_parallelisms() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let carrier = Carrier::File(scratch.path().join("store.redb"));
    live_on(&carrier, &[(1, End::Cancel), (3, End::Panic), (2, End::Cancel)], 4, false);
}

#[test]
fn job_stopped_with_savepoints_goes_on_from_them_at_other_parallelisms() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let carrier = Carrier::Savepoint { path: scratch.path().join("savepoint"), store: MemoryStore::new() };
    live_on(&carrier, &[(1, End::Savepoint), (3, End::Savepoint), (2, End::Savepoint)], 4, true);
}
