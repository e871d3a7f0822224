//! Lives of one job on one store, each of another version of the program, and the sums that they should give.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use millstream::prelude::*;
use millstream::stream::DataStream;

use crate::common::{QueueSource, Tagged, TaggedSink, run, watched};

/// Keys of the records: `n % KEYS`.
pub(crate) const KEYS: u64 = 60;

/// This record makes the job panic, where it is read first in an attempt.
pub(crate) const TRAP: u64 = u64::MAX;

/// Numbers from here on take the sum of their key out of the state.
pub(crate) const CLEARS: u64 = 1_000_000;

/// The operator of one version of the program: sums of numbers by `n % KEYS`, which are given as key and sum with each
/// number.
pub(crate) type Version = fn(DataStream<u64>) -> DataStream<(u64, u64)>;

/// Adds up the numbers of each key, in a state of this name.
#[derive(Clone)]
pub(crate) struct Sums(pub(crate) fn() -> ValueState<u64>);

impl<K> KeyedProcessFunction<K, u64> for Sums {
    type Out = (u64, u64);
    type State = ValueState<u64>;

    fn state(&self) -> ValueState<u64> {
        (self.0)()
    }

    fn process(
        &mut self,
        n: u64,
        mut sum: Row<'_, Self, K, u64>,
        _: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        if n >= CLEARS {
            sum.clear();
            return out.emit((n % KEYS, 0));
        }
        let sum = sum.get_or_insert_with(|| 0);
        *sum += n;
        out.emit((n % KEYS, *sum));
    }
}

/// A store, and what should be in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    is_spilled: bool,
    sums: BTreeMap<u64, u64>,
}

impl Place {
    pub(crate) fn new(is_spilled: bool) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), is_spilled, sums: BTreeMap::new() }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A start on the store of this name.
    pub(crate) fn on(&self, store: &'static str, parallelism: u32) -> Start {
        let dir = self.dir.path().to_owned();
        Start { dir, store, is_spilled: self.is_spilled, parallelism, savepoint: None }
    }

    /// One life: reads each of these ranges and takes a checkpoint after it, fails at once and after the second one, and is
    /// cancelled.
    ///
    /// # Panics
    /// If it does not give the sums that go on from those of earlier lives.
    pub(crate) fn live(&mut self, parallelism: u32, version: Version, rounds: Vec<Range<u64>>) {
        self.live_in(self.on("store.redb", parallelism), version, rounds, None);
    }

    /// As [`live`](Self::live), started like this; stops with a savepoint, if it has a name.
    pub(crate) fn live_in(&mut self, start: Start, version: Version, rounds: Vec<Range<u64>>, savepoint: Option<&str>) {
        let savepoint = savepoint.map(|name| self.at(name));
        let records = rounds.clone();
        let mut given = run("a life", move |handles| async move {
            let env = start.environment();
            let (numbers, given) = (QueueSource::default(), Tagged::default());
            let read = env.source("numbers", numbers.clone()).parallelism(1);
            version(read.inspect(|n| assert_ne!(*n, TRAP)).parallelism(1)).sink("given", TaggedSink(given.clone()));
            let job = env.start().unwrap();
            watched(&handles, &job);
            // Of nothing that has changed: what is carried on must be there under today's names.
            job.checkpoint().await.unwrap();
            let mut expected = 0;
            for (round, records) in rounds.into_iter().enumerate() {
                if round == 0 || round == 2 {
                    fail_once(&job, &numbers).await;
                }
                expected += records.clone().count();
                numbers.push(records);
                // The source does not read again: all must be in a checkpoint that was begun behind it.
                loop {
                    let are_all_given = given.lock().unwrap().iter().map(Vec::len).sum::<usize>() == expected;
                    job.checkpoint().await.unwrap();
                    if are_all_given {
                        break;
                    }
                }
            }
            match savepoint {
                Some(path) => drop(job.stop_with_savepoint(path).await.unwrap()),
                None => drop(job.cancel().await.unwrap()),
            }
            given.lock().unwrap().concat()
        });
        given.sort_unstable();
        let mut expected = Vec::new();
        for n in records.into_iter().flatten() {
            let sum = self.sums.entry(n % KEYS).or_default();
            *sum = if n >= CLEARS { 0 } else { *sum + n };
            expected.push((n % KEYS, *sum));
        }
        expected.sort_unstable();
        let wrong: Vec<_> = given.iter().zip(&expected).filter(|(given, expected)| given != expected).take(3).collect();
        assert_eq!((given.len(), wrong), (expected.len(), Vec::new()), "given and expected");
    }
}

/// Has the job panic, and waits until it is restored.
async fn fail_once(job: &JobHandle, numbers: &QueueSource) {
    let before = job.status().restarts;
    numbers.push([TRAP]);
    while job.status().restarts == before {
        // Answered after the restart, or refused by a job that is just failing.
        let _ = job.checkpoint().await;
    }
}

/// How a life begins.
pub(crate) struct Start {
    dir: PathBuf,
    store: &'static str,
    is_spilled: bool,
    parallelism: u32,
    savepoint: Option<PathBuf>,
}

impl Start {
    /// From this savepoint.
    pub(crate) fn from(mut self, savepoint: &str) -> Self {
        self.savepoint = Some(self.dir.join(savepoint));
        self
    }

    pub(crate) fn environment(&self) -> StreamEnvironment {
        let dir = &self.dir;
        let backend = if self.is_spilled { StateBackend::redb(dir).cache_bytes(1) } else { StateBackend::memory() };
        let env = StreamEnvironment::new("sums")
            .parallelism(self.parallelism)
            .snapshot_store(RedbStore::open(dir.join(self.store)).unwrap())
            .state_backend(backend)
            .restart_strategy(RestartStrategy::fixed_delay(10, Duration::ZERO))
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)));
        match &self.savepoint {
            Some(savepoint) => env.restore_from(savepoint),
            None => env.max_parallelism(16),
        }
    }
}

/// Rounds of a life: all keys, and then some of them, so that checkpoints are changes over others.
pub(crate) fn rounds() -> Vec<Range<u64>> {
    vec![0..400, 400..410, 410..415, 415..430]
}

/// Runs a test with state in memory and with state that does not all fit.
pub(crate) fn with_each_backend(test: impl Fn(Place)) {
    [false, true].into_iter().for_each(|is_spilled| test(Place::new(is_spilled)));
}
