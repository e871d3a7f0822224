//! A process that ends while a region is parked, and the next start on its store: all regions begin, and the output of both lives is that
//! of a run without failure. P4.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use millstream::prelude::*;
use millstream::{JobEventKind, RegionPolicy};

use crate::child::child;
use crate::parked::parks;
use crate::rig::in_system;
use crate::several::{NAMES, Part, SECOND, Told, assert_files, attempts};

const DIR: &str = "MILLSTREAM_PARKED_LIFE";

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Drained,
    Cancelled,
    /// As if it were killed.
    Aborted,
}

/// Where the region fails that is parked.
type Place = fn(&Part);

const PLACES: [Place; 3] = [
    |part| part.faults.operator.arm(1),
    |part| part.faults.sink_prepare.arm(1),
    // Of a checkpoint that is complete: its output is prepared, and not committed.
    |part| part.faults.sink_commit.arm(1),
];

fn environment(dir: &Path, store: Option<&MemoryStore>, spills: bool) -> StreamEnvironment {
    let env = StreamEnvironment::new("lives")
        .parallelism(2)
        .checkpointing(Checkpointing::disabled())
        .restart_strategy(RestartStrategy::none())
        .tell_panic_hook(false);
    let env = match store {
        Some(store) => env.snapshot_store(store.clone()),
        None => env.snapshot_store(RedbStore::open(dir.join("store.redb")).expect("a store")),
    };
    let spill = dir.join("spill");
    if spills {
        std::fs::create_dir_all(&spill).expect("a folder");
        env.state_backend(StateBackend::redb(spill))
    } else {
        env
    }
}

fn add(env: &StreamEnvironment, dir: &Path) -> [Part; 3] {
    let policies = [RegionPolicy::new(), parks(), RegionPolicy::new()];
    let mut policies = policies.into_iter();
    NAMES.map(|name| Part::in_files(env, name, policies.next().expect("one for each"), dir))
}

/// A life in which the second region is parked after a checkpoint, and others complete after that, at whichever parallelism.
async fn life(env: StreamEnvironment, dir: &Path, place: Place, ends: Ends, rescales: &[u32]) {
    let mut told = Told::of(&env);
    let parts = add(&env, dir);
    let job = env.start().expect("the job starts");
    for part in &parts {
        part.gate.reached().await;
    }
    job.checkpoint().await.expect("nothing fails yet");
    place(&parts[1]);
    parts[1].gate.open();
    // Some places are come to at a checkpoint only.
    let _ = job.checkpoint().await;
    told.until_parked().await;
    parts[2].gate.open();
    for to in rescales {
        job.rescale(*to).await.expect("the others have other tasks");
    }
    // More than are retained: the last one in which the region took part is gone.
    for _ in 0..5 {
        job.checkpoint().await.expect("checkpoints go on");
    }
    match ends {
        Ends::Drained => assert_eq!(job.drain().await.expect("it ends").kind, OutcomeKind::Drained),
        Ends::Cancelled => assert_eq!(job.cancel().await.expect("it ends").kind, OutcomeKind::Cancelled),
        Ends::Aborted => {
            println!("\nparked");
            std::process::abort();
        }
    }
}

/// The next life, in which nothing fails.
async fn next_life(env: StreamEnvironment, dir: &Path) {
    let parts = add(&env, dir);
    let job = env.start().expect("the job starts");
    parts.iter().for_each(|part| part.gate.open());
    assert_eq!(job.clone().await.expect("nothing fails").kind, OutcomeKind::Finished);
    assert_eq!(attempts(&job), [1, 1, 1], "all regions begin");
    let restored = |event: JobEvent| matches!(event.kind, JobEventKind::Restored { region: SECOND, .. });
    assert!(job.history().into_iter().any(restored), "from the checkpoint");
    NAMES.iter().for_each(|name| assert_files(dir, name));
}

#[test]
fn next_start_begins_with_all_regions_after_a_drain_and_a_cancel() {
    let orders: [(usize, Ends, bool, &[u32]); 7] = [
        (0, Ends::Drained, false, &[]),
        (1, Ends::Cancelled, false, &[]),
        (2, Ends::Drained, true, &[]),
        (2, Ends::Cancelled, false, &[]),
        (0, Ends::Cancelled, true, &[]),
        (2, Ends::Drained, true, &[3, 1]),
        (1, Ends::Cancelled, false, &[1, 3]),
    ];
    for (place, ends, spills, rescales) in orders {
        let dir = tempfile::tempdir().expect("a folder");
        let store = MemoryStore::new();
        in_system(async {
            life(environment(dir.path(), Some(&store), spills), dir.path(), PLACES[place], ends, rescales).await;
            next_life(environment(dir.path(), Some(&store), spills), dir.path()).await;
        });
    }
}

/// The region is resumed after its last checkpoint has expired.
#[test]
fn region_is_resumed_after_more_checkpoints_than_are_retained() {
    for place in PLACES {
        let dir = tempfile::tempdir().expect("a folder");
        in_system(async {
            let env = environment(dir.path(), None, false);
            let mut told = Told::of(&env);
            let parts = add(&env, dir.path());
            let job = env.start().expect("the job starts");
            for part in &parts {
                part.gate.reached().await;
            }
            job.checkpoint().await.expect("nothing fails yet");
            place(&parts[1]);
            parts[1].gate.open();
            let _ = job.checkpoint().await;
            told.until_parked().await;
            for _ in 0..5 {
                job.checkpoint().await.expect("checkpoints go on");
            }
            job.resume_region(SECOND).await.expect("it runs");
            parts.iter().for_each(|part| part.gate.open());
            job.await.expect("nothing fails any more");
            NAMES.iter().for_each(|name| assert_files(dir.path(), name));
        });
    }
}

/// What there is of the region is in the savepoint alone, and no checkpoint could hold it.
#[test]
fn region_of_a_job_that_begins_from_a_savepoint_is_not_parked_before_its_first_checkpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    let savepoint = dir.path().join("savepoint");
    in_system(async {
        let env = environment(dir.path(), Some(&MemoryStore::new()), false);
        let parts = add(&env, dir.path());
        let job = env.start().expect("the job starts");
        for part in &parts {
            part.gate.reached().await;
        }
        job.stop_with_savepoint(&savepoint).await.expect("nothing fails");

        let store = MemoryStore::new();
        let env = environment(dir.path(), Some(&store), false).restore_from(&savepoint);
        let mut told = Told::of(&env);
        let parts = add(&env, dir.path());
        parts[1].faults.operator.arm(1);
        let job = env.start().expect("the job starts");
        parts[1].gate.open();
        told.until(|kind| matches!(kind, JobEventKind::ParkingRefused { region: SECOND, .. })).await;
        let error = job.await.expect_err("it ends the job");
        assert!(matches!(error, JobError::GaveUp { region: SECOND, .. }), "{error}");

        // Nothing is lost by that.
        let env = environment(dir.path(), Some(&store), false).restore_from(&savepoint);
        next_life(env, dir.path()).await;
    });
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn killed_life() {
    let Some(orders) = std::env::var_os(DIR) else { return };
    let orders = orders.into_string().expect("text");
    let (orders, dir) = orders.split_once(' ').expect("orders and a folder");
    let (place, spills) = (orders.as_bytes()[0] - b'0', orders.contains("spills"));
    let rescales: &[u32] = if orders.contains("rescaled") { &[1, 3] } else { &[] };
    let dir = PathBuf::from(dir);
    in_system(life(environment(&dir, None, spills), &dir, PLACES[usize::from(place)], Ends::Aborted, rescales));
}

#[test]
fn next_start_begins_with_all_regions_after_a_kill() {
    for place in 0..PLACES.len() {
        for (spills, rescaled) in [("", ""), ("spills", ""), ("", "rescaled"), ("spills", "rescaled")] {
            let dir = tempfile::tempdir().expect("a folder");
            let orders = format!("{place}{spills}{rescaled} {}", dir.path().display());
            let mut child = child("parked_lives::killed_life", DIR, orders);
            let said = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
            assert!(said.into_iter().any(|line| line == "parked"), "it got so far");
            assert!(!child.wait().expect("it ends").success());
            let env = environment(dir.path(), None, !spills.is_empty());
            in_system(next_life(env, dir.path()));
        }
    }
}
