//! Files, keyed state, operator lists, broadcast state and pending commits.

use std::path::PathBuf;
use std::time::Duration;

use millstream::prelude::*;

use crate::common::{left_over, run, watched};
use crate::job::{self, Files, Portion, Results};
use crate::{keep_rescaling, turns};

const SINKS: [&str; 3] = ["accounts", "priced", "tallies"];

#[derive(Clone, Copy, Debug)]
struct Setup {
    chaining: bool,
    spills: bool,
    own_arbiters: bool,
}

/// Runs the job from its beginning to its end, with a rescale after the other. Answers how many there were, and how many restarts.
fn run_through(setup: Setup, files: &Files, state: PathBuf) -> (u64, u64) {
    let files = files.clone();
    run(&format!("{setup:?}"), move |handles| async move {
        let env = StreamEnvironment::new("rescaled")
            .parallelism(1)
            .max_parallelism(16)
            .chaining(setup.chaining)
            .checkpointing(Checkpointing::every(Duration::from_millis(1)))
            // A rescale needs no restart strategy.
            .restart_strategy(RestartStrategy::none())
            .snapshot_store(MemoryStore::new());
        let env = if setup.spills { env.state_backend(StateBackend::redb(state).cache_bytes(64 << 10)) } else { env };
        let env = if setup.own_arbiters { env.own_arbiters(3) } else { env };
        job::write(&env, &files, Portion::ALL);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let rescaled = keep_rescaling(&job, [3, 1, 4, 2].into_iter().cycle(), || turns(60)).await;
        let outcome = job.await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Finished);
        (rescaled, outcome.restarts)
    })
}

fn rescaled_job_gives_what_an_undisturbed_one_gives(setup: Setup) -> (u64, u64) {
    let scratch = tempfile::tempdir().unwrap();
    let files = Files::write(scratch.path());
    let state = scratch.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let figures = run_through(setup, &files, state);
    assert!(files.output() == Results::expected(), "{setup:?}: {:#?}\n{:#?}", files.output(), Results::expected());
    for sink in SINKS {
        assert_eq!(left_over(&files.out(sink)), Vec::<String>::new(), "{setup:?}");
    }
    figures
}

/// L6, L7, G1, G2.
#[test]
fn output_over_rescales_is_that_of_an_undisturbed_run_and_none_is_a_failure() {
    let (chaining, own_arbiters) = (true, false);
    let mut rescaled_in_all = 0;
    for setup in [
        Setup { chaining, spills: false, own_arbiters },
        Setup { chaining: false, spills: true, own_arbiters },
        Setup { chaining, spills: true, own_arbiters: true },
    ] {
        let (rescaled, restarts) = rescaled_job_gives_what_an_undisturbed_one_gives(setup);
        assert_eq!(restarts, 0, "{setup:?}: {rescaled} rescales");
        rescaled_in_all += rescaled;
    }
    // One of them may be over before the test has had its turns.
    assert!(rescaled_in_all >= 2, "{rescaled_in_all}");
}
