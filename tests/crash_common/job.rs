//! The job: two sources, a union, a keyed fold, files. Figures are keyed by key and source, and each source is one
//! subtask, so the output depends neither on interleaving nor on parallelism.

use std::path::Path;
use std::time::Duration;

use millstream::Limits;
use millstream::prelude::*;
use millstream::sink::Sink;
use serde::{Deserialize, Serialize};

/// Different keys of a source.
pub(crate) const KEYS: u64 = 7;
/// Number of sources.
pub(crate) const SOURCES: u8 = 2;

/// How much is read, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Of each source.
    pub(crate) records: u64,
    /// Of each source.
    pub(crate) per_second: u64,
    pub(crate) parallelism: u32,
    pub(crate) checkpoint_ms: u64,
}

impl Shape {
    /// An environment for the job.
    pub(crate) fn environment(&self) -> StreamEnvironment {
        // All events of a run: what a test looks for is followed by those of many checkpoints.
        let mut limits = Limits::default();
        limits.history_len = 1 << 16;
        StreamEnvironment::new("figures")
            .parallelism(self.parallelism)
            .limits(limits)
            .checkpointing(Checkpointing::every(Duration::from_millis(self.checkpoint_ms)))
    }

    /// The first record of a source.
    pub(crate) fn first(source: u8) -> u64 {
        u64::from(source) * 1_000_000
    }
}

/// The running figures of a key of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) key: u64,
    pub(crate) source: u8,
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

/// Writes the job. `look` is called with each record, as `(source, number)`, before it is folded.
pub(crate) fn write(
    env: &StreamEnvironment,
    shape: Shape,
    look: impl Fn(&(u8, u64)) + Clone + Send + 'static,
    sink: impl Sink<Item = Figures>,
) {
    let numbers = |id: &str, source: u8| {
        let first = Shape::first(source);
        let numbers = SequenceSource::new(first..first + shape.records).rate_per_second(shape.per_second);
        let look = look.clone();
        env.source(id, numbers)
            .parallelism(1)
            .map(move |number| (source, number))
            .parallelism(1)
            .inspect(look)
            .parallelism(1)
    };
    numbers("left", 0)
        .union(numbers("right", 1))
        .key_by(|(source, number)| (number % KEYS, *source))
        .fold_map(
            "figures",
            (0, 0),
            |(count, sum): &mut (u64, u64), (_, number)| {
                *count += 1;
                *sum += number;
            },
            |(key, source), (count, sum)| Figures { key: *key, source: *source, count: *count, sum: *sum },
        )
        .sink("out", sink);
}

/// Where the job writes files.
pub(crate) fn files(dir: &Path) -> FileSink<Figures> {
    FileSink::json_lines(dir)
}
