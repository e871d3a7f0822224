//! Many jobs in one process: they share threads, and one whose store hangs does not hold up the others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream::Limits;
use millstream::prelude::*;
use millstream::testing::{FaultyStore, Gate, StoreCall, StoreFault};
use millstream::time::ManualClock;

use common::{QueueSource, Tagged, TaggedSink};

mod common;

/// Threads are those of the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A job whose source has nothing and goes on.
fn quiet_job(name: &str) -> StreamEnvironment {
    let env = StreamEnvironment::new(name).checkpointing(Checkpointing::disabled());
    env.source("numbers", QueueSource::default()).map(|n| n + 1).sink("all", TaggedSink(Tagged::default()));
    env
}

/// Names of the process's threads, but for those that run tests, which begin when they like. Names are cut to 15 bytes.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the list of threads");
    // A thread may end between the two looks.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| !["hundred_jobs", "job_whose"].iter().any(|test| name.starts_with(test))).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn hundred_jobs_need_no_more_threads_than_a_few() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    actix_rt::System::new().block_on(async {
        let before = threads().len();
        // However slow the disk is, no thread is taken for one that hangs.
        let mut limits = Limits::default();
        limits.store_wait_max = Duration::from_secs(1_000);
        let job = |n| quiet_job(&format!("job-{n}")).limits(limits.clone()).start().expect("the job starts");
        let jobs: Vec<_> = (0..100).map(job).collect();
        let checkpoints: Vec<_> = jobs.iter().map(JobHandle::checkpoint).collect();
        for checkpoint in checkpoints {
            checkpoint.await.expect("a checkpoint");
        }
        let store_threads = limits.store_threads;
        let with_jobs = threads();
        // One for control, one that ends delays, and one for each core.
        let most = before + 2 + std::thread::available_parallelism().map_or(1, usize::from) + store_threads;
        // Threads that have loaded what jobs start from end by themselves, soon after.
        let are_gone = async {
            while threads().len() > most {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), are_gone).await;
        let at_last = threads();
        // Whatever is wrong, the other test finds no job of this one.
        for job in jobs {
            job.cancel().await.expect("cancelled");
        }
        let of_stores = with_jobs.iter().filter(|name| name.starts_with("store-")).count();
        assert!((1..=store_threads).contains(&of_stores), "{with_jobs:?}");
        assert!(waited.is_ok(), "{before} threads before, then {at_last:?}");
    });
}

#[test]
fn job_whose_store_hangs_delays_another_by_the_longest_wait_only() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    actix_rt::System::new().block_on(async {
        #[cfg(target_os = "linux")]
        while threads().iter().any(|name| name.starts_with("store-")) {
            // Those of the other test, of which more are allowed, end after its last job.
            tokio::task::yield_now().await;
        }
        let mut limits = Limits::default();
        limits.store_threads = 1;
        let (hanging, gate) = (FaultyStore::new(Arc::new(MemoryStore::new())), Gate::new());
        hanging.inject(StoreCall::Finalise, 1, StoreFault::Hold(gate.clone()));
        let stuck = quiet_job("stuck").limits(limits.clone()).snapshot_store(hanging).start().expect("the job starts");
        let its_checkpoint = stuck.checkpoint();
        gate.wait_for_arrival();

        let clock = ManualClock::new();
        let wait_max = limits.store_wait_max;
        let other = quiet_job("other").limits(limits).clock(clock.clone()).start().expect("the job starts");
        // The watchdog of its region, and its writer's first call.
        clock.wait_for_sleepers(2).await;
        clock.advance(wait_max);
        other.checkpoint().await.expect("a checkpoint on the thread that was added");
        other.cancel().await.expect("cancelled");

        gate.open();
        its_checkpoint.await.expect("the call has returned");
        stuck.cancel().await.expect("cancelled");
    });
}
