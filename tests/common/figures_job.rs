//! The job whose recovery is shown: two sources, a union, a keyed shuffle and a file sink. Running figures are per key
//! and source, so that the output does not depend on how the sources interleave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{JobError, JobHandle, JobOutcome};
use serde::{Deserialize, Serialize};

use super::{Fault, FaultProbe, InputEnd, SteppedSource, committed_lines, run, watched};

/// Keys of each source; a multiple of the splits of a source, so that a key's records are in one split.
const KEYS: u64 = 20;
const SOURCES: [&str; 2] = ["left", "right"];

/// A key's figures after one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) key: u64,
    pub(crate) source: String,
    /// The record.
    pub(crate) id: u64,
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Figures {
    id: u64,
    count: u64,
    sum: u64,
}

/// Lines by key and source, in order.
pub(crate) type Lines = BTreeMap<(u64, String), Vec<Line>>;

/// How the job is run.
#[derive(Clone)]
pub(crate) struct FiguresJob {
    pub(crate) store: MemoryStore,
    /// A file, to be used instead of `store`.
    pub(crate) store_file: Option<PathBuf>,
    pub(crate) out: PathBuf,
    /// Of each source.
    pub(crate) records: u64,
    /// Records of a source between two barriers.
    pub(crate) step: u64,
    /// See [`SteppedSource::hold_at`].
    pub(crate) hold_at: u64,
    pub(crate) source_parallelism: u32,
    pub(crate) parallelism: u32,
    pub(crate) chaining: bool,
    pub(crate) checkpointing: Checkpointing,
    pub(crate) restart: RestartStrategy,
}

/// A job that runs.
pub(crate) struct RunningFigures {
    pub(crate) job: JobHandle,
    pub(crate) probe: FaultProbe,
    pub(crate) input: InputEnd,
}

impl FiguresJob {
    pub(crate) fn new(out: &Path) -> Self {
        Self {
            store: MemoryStore::new(),
            store_file: None,
            out: out.to_owned(),
            records: 240,
            step: 40,
            hold_at: u64::MAX,
            source_parallelism: 1,
            parallelism: 3,
            chaining: true,
            checkpointing: Checkpointing::every(Duration::from_millis(1)),
            restart: RestartStrategy::fixed_delay(1000, Duration::ZERO),
        }
    }

    /// Starts it, on whatever the store holds, with panics in store.
    pub(crate) fn start(&self, plan: Vec<Fault>) -> RunningFigures {
        let input = InputEnd::default();
        let probe = FaultProbe::new(&input, plan);
        let env = StreamEnvironment::new("figures")
            .parallelism(self.parallelism)
            .chaining(self.chaining)
            .checkpointing(self.checkpointing.clone())
            .restart_strategy(self.restart.clone())
            .probe(probe.clone());
        let env = match &self.store_file {
            Some(path) => env.snapshot_store(RedbStore::open(path).expect("the store opens")),
            None => env.snapshot_store(self.store.clone()),
        };
        let [left, right] = SOURCES.map(|name| {
            env.source(name, SteppedSource::new(name, self.records, self.step, &input).hold_at(self.hold_at))
                .parallelism(self.source_parallelism)
                .map(|(source, id)| (source.to_owned(), id))
                .parallelism(self.source_parallelism)
        });
        left.union(right)
            .key_by(|(source, id)| (id % KEYS, source.clone()))
            .fold_map(
                "figures",
                Figures::default(),
                |figures, (_, id)| {
                    *figures = Figures { id, count: figures.count + 1, sum: figures.sum + id };
                },
                |(key, source), figures| Line {
                    key: *key,
                    source: source.clone(),
                    id: figures.id,
                    count: figures.count,
                    sum: figures.sum,
                },
            )
            .sink("lines", FileSink::json_lines(&self.out));
        RunningFigures { job: env.start().expect("starts"), probe, input }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, what: &str, plan: Vec<Fault>) -> (Result<JobOutcome, JobError>, FaultProbe) {
        let this = self.clone();
        run(what, move |handles| async move {
            let RunningFigures { job, probe, .. } = this.start(plan);
            watched(&handles, &job);
            (job.await, probe)
        })
    }

    /// The output so far.
    pub(crate) fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        for line in committed_lines(&self.out) {
            let line: Line = serde_json::from_str(&line).expect("a whole line");
            lines.entry((line.key, line.source.clone())).or_default().push(line);
        }
        lines
    }

    /// What a plain loop gives.
    pub(crate) fn expected(&self) -> Lines {
        let mut lines = Lines::new();
        for source in SOURCES {
            for id in 0..self.records {
                let of_key = lines.entry((id % KEYS, source.to_owned())).or_default();
                let sum = of_key.last().map_or(0, |line: &Line| line.sum) + id;
                let count = of_key.len() as u64 + 1;
                of_key.push(Line { key: id % KEYS, source: source.to_owned(), id, count, sum });
            }
        }
        lines
    }
}
