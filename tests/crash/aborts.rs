//! Ends from inside, at each step of the protocol.

use std::os::unix::process::ExitStatusExt as _;

use crate::child::Orders;
use crate::crash_common::job::Shape;
use crate::crash_common::published;

/// Of `std::process::abort`.
const SIGABRT: i32 = 6;

/// Aborts the job once at the `nth` time that it reaches each of `steps`, and lets another process finish it at another
/// parallelism.
fn abort_at_each(steps: &[&str], nth: u64) {
    for step in steps {
        let dir = tempfile::tempdir().unwrap();
        // Slow enough for the fifth checkpoint to come before the end on a machine that is busy; those lives end long before. Some
        // of the steps of a start come a second time only at the end.
        let per_second = if nth < 5 { 2_000 } else { 400 };
        let shape = Shape { records: 9_000, per_second, parallelism: 2, checkpoint_ms: 4 };
        let abort_at = Some(((*step).to_owned(), nth));
        let orders = Orders { abort_at, faults: true, ..Orders::new(dir.path(), shape) };
        let status = orders.spawn().wait();
        assert_eq!(status.signal(), Some(SIGABRT), "{step} is not reached {nth} times: {status}");
        published::assert_prefix(&published::records(&published::files(&orders.out())), shape);

        let shape = Shape { parallelism: if nth == 1 { 1 } else { 3 }, per_second: 90_000, ..shape };
        let restarted = Orders::new(dir.path(), shape);
        let status = restarted.spawn().wait();
        assert!(status.success(), "after an abort at {step}, time {nth}: {status}");
        crate::assert_complete(&restarted.out(), shape);
    }
}

const OF_STARTS: [&str; 9] = [
    "Starting",
    "Restoring",
    "Restored",
    "RegionStarting",
    "RegionStopping",
    "RegionRestoring",
    "RegionReady",
    "JobSupervising",
    "Batch",
];
const OF_BARRIERS: [&str; 9] = [
    "Triggering",
    "BarrierReached",
    "BarrierForwarded",
    "SnapshotTaken",
    "Acknowledged",
    "SinkPreparing",
    "SinkPrepared",
    "AcknowledgementReceived",
    "AbortReceived",
];
const OF_COMMITS: [&str; 10] = [
    "StoringChunks",
    "Finalising",
    "CommittingManifest",
    "ManifestCommitted",
    "Completed",
    "CompletionSent",
    "CompleteReceived",
    "SinkCommitting",
    "SinkCommitted",
    "CommittedReceived",
];

#[test]
fn process_that_aborts_at_the_first_of_any_step_resumes_with_identical_output() {
    abort_at_each(&[OF_STARTS.as_slice(), &OF_BARRIERS, &OF_COMMITS].concat(), 1);
}

#[test]
fn process_that_aborts_at_a_later_one_of_any_step_resumes_with_identical_output() {
    abort_at_each(&[&OF_BARRIERS[..], &OF_COMMITS].concat(), 5);
    abort_at_each(&OF_STARTS, 2);
}

#[test]
fn process_that_aborts_while_the_job_ends_leaves_the_rest_to_the_next_start() {
    // Its only checkpoint is the final one.
    let shape = Shape { records: 1_000, per_second: 90_000, parallelism: 2, checkpoint_ms: 600_000 };
    let committed = OF_COMMITS.iter().position(|step| *step == "ManifestCommitted").unwrap();
    for (index, step) in OF_COMMITS.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::new(dir.path(), shape);
        let status = Orders { abort_at: Some((step.to_owned(), 1)), ..orders.clone() }.spawn().wait();
        assert_eq!(status.signal(), Some(SIGABRT), "{step} is not reached: {status}");
        let status = Orders { ended_before: Some(index >= committed), ..orders.clone() }.spawn().wait();
        assert!(status.success(), "after an abort at {step}: {status}");
        crate::assert_complete(&orders.out(), shape);
    }
}
