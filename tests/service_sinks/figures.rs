//! The job of these tests: running figures of numbers, by key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Sink, SinkError};
use millstream::{ActorName, JobError, Probe, Step, TaskError};

const KEYS: u64 = 7;

/// Key, how many numbers, their sum.
pub(crate) type Figure = (u64, u64, u64);

/// An environment in which checkpoints are taken all the time.
pub(crate) fn environment(parallelism: u32) -> StreamEnvironment {
    StreamEnvironment::new("figures")
        .parallelism(parallelism)
        .checkpointing(Checkpointing::every(Duration::from_millis(5)))
}

/// Writes the job. One subtask reads, so that the figures do not depend on the parallelism; `look` is called with each number.
pub(crate) fn write(
    env: &StreamEnvironment,
    source: SequenceSource,
    look: impl Fn(u64) + Clone + Send + 'static,
    sink: impl Sink<Item = Figure>,
) {
    env.source("numbers", source)
        .parallelism(1)
        .inspect(move |number| look(*number))
        .parallelism(1)
        .key_by(|number| number % KEYS)
        .fold_map(
            "figures",
            (0, 0),
            |(count, sum): &mut (u64, u64), number| {
                *count += 1;
                *sum += number;
            },
            |key, (count, sum)| (*key, *count, *sum),
        )
        .sink("out", sink);
}

/// What a plain loop gives for the numbers below `records`, sorted.
pub(crate) fn expected(records: u64) -> Vec<Figure> {
    let mut figures = Vec::new();
    for key in 0..KEYS {
        let numbers = (key..records).step_by(KEYS as usize);
        figures.extend((1..).zip(numbers).scan(0, |sum, (count, number)| {
            *sum += number;
            Some((key, count, *sum))
        }));
    }
    figures
}

/// Panics when the step is reached for the `nth` time, counted over all actors, once.
pub(crate) struct PanicAt {
    step: Step,
    left: AtomicU64,
}

impl PanicAt {
    pub(crate) fn new(step: Step, nth: u64) -> Self {
        Self { step, left: AtomicU64::new(nth) }
    }
}

impl Probe for PanicAt {
    fn reached(&self, step: Step, actor: &ActorName) {
        if step == self.step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            panic!("injected at {step:?} of {actor}");
        }
    }
}

/// The sink's error that a job has failed with.
pub(crate) fn sink_error(error: &JobError) -> &SinkError {
    match error {
        JobError::Failed { error: TaskError::Sink(error), .. } => error,
        other => panic!("{other}"),
    }
}
