//! What the benchmarks share.

#![allow(dead_code, reason = "no benchmark uses all of it")]

pub(crate) mod updates;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Batch, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use rustix::time::{ClockId, clock_gettime};

/// The mixing function of splitmix64 (Steele, Lea and Flood 2014).
pub(crate) fn splitmix64(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Time for which the calling thread has had a processor.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time for which threads of this process have had a processor.
pub(crate) fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Adds up what `weigh` makes of the records: shows that a job computed the same as a loop.
pub(crate) struct SumSink<T, F> {
    weigh: F,
    sum: Arc<AtomicU64>,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T) -> u64> SumSink<T, F> {
    pub(crate) fn new(weigh: F) -> Self {
        Self { weigh, sum: Arc::default(), of: PhantomData }
    }

    pub(crate) fn sum(&self) -> Arc<AtomicU64> {
        self.sum.clone()
    }
}

struct SumWriter<T, F> {
    weigh: F,
    sum: Arc<AtomicU64>,
    of: PhantomData<fn(T)>,
}

impl<T, F> Sink for SumSink<T, F>
where
    T: Send + 'static,
    F: Fn(&T) -> u64 + Copy + Send + Sync + 'static,
{
    type Item = T;

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        Ok(Box::new(SumWriter { weigh: self.weigh, sum: self.sum.clone(), of: PhantomData }))
    }
}

impl<T: Send + 'static, F: Fn(&T) -> u64 + Send + 'static> SinkWriter for SumWriter<T, F> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        let sum = batch.iter().fold(0u64, |sum, record| sum.wrapping_add((self.weigh)(record)));
        self.sum.fetch_add(sum, Ordering::Relaxed);
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, _: millstream::CheckpointId) -> Result<Vec<millstream::sink::PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: millstream::CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Runs the job that `build` writes to its end.
pub(crate) fn run(build: impl FnOnce() -> StreamEnvironment) -> JobOutcome {
    let outcome = actix_rt::System::new().block_on(async { build().start().expect("a valid job").await });
    outcome.expect("a job that ends")
}
