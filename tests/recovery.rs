//! A panic at any point of the protocol, and the output is that of an undisturbed run.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use millstream::prelude::*;
use millstream::{ActorName, JobError, Step};

use common::{At, Fault, FaultProbe, FiguresJob, Point, left_over};

mod common;

/// Jobs run at a time: they wait for fsync more than they compute.
const WORKERS: usize = 4;

/// Points that the sweep must panic at, at the least.
const POINTS_MIN: usize = 200;

/// Runs the job undisturbed and shows that it gives what a plain loop gives.
fn record(what: &str, plan: Vec<Fault>) -> FaultProbe {
    let out = tempfile::tempdir().expect("a temporary directory");
    let job = FiguresJob::new(out.path());
    let (outcome, probe) = job.run(what, plan);
    let outcome = outcome.expect("finished");
    assert_eq!(outcome.kind, OutcomeKind::Finished);
    assert!(outcome.checkpoints >= job.records / job.step, "{outcome:?}");
    assert_eq!(job.lines(), job.expected(), "{what}");
    assert_eq!(left_over(out.path()), Vec::<String>::new());
    probe
}

/// The first, the second and a middle time that each point is reached, and the first after the end of the input.
fn faults_of(reached: &[(Point, u64)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (point, count) in reached {
        let times = BTreeSet::from([1, 2.min(*count), (count / 2).max(1)]);
        let mut at: Vec<At> = times.into_iter().map(At::Occurrence).collect();
        if *count > 3 && point.0 != Step::Batch {
            at.push(At::AfterInput);
        }
        faults.extend(at.into_iter().map(|at| Fault { point: point.clone(), at }));
    }
    faults
}

/// What one disturbed run came to.
struct Survived {
    fired: Vec<Fault>,
}

/// Runs the job with these panics, and again on the same store if they end it. Checks its output.
fn survive(plan: &[Fault]) -> Survived {
    let what = format!("a job with a panic at {plan:?}");
    let out = tempfile::tempdir().expect("a temporary directory");
    let job = FiguresJob::new(out.path());
    let (mut outcome, probe) = job.run(&what, plan.to_vec());
    let first = format!("{outcome:?}");
    let fired = probe.fired();
    let root_died = fired.iter().any(|fault| fault.point.1 == ActorName::JobSupervisor);
    if root_died {
        let error = outcome.expect_err("the root is gone");
        assert!(matches!(&error, JobError::Internal { actor: ActorName::JobSupervisor, .. }), "{what}: {error}");
        outcome = job.run(&what, Vec::new()).0;
    }
    let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {error}; {fired:?}; {first}"));
    assert_eq!(outcome.kind, OutcomeKind::Finished, "{what}");
    // Guarantee G1, guarantee G2, guarantee G3.
    assert!(job.lines() == job.expected(), "{what}: other output\n{:?}\n{:?}", job.lines(), job.expected());
    assert_eq!(left_over(out.path()), Vec::<String>::new(), "{what}");
    let of_control = |fault: &Fault| matches!(fault.point.1, ActorName::Coordinator | ActorName::Writer);
    if fired.iter().all(of_control) {
        assert_eq!(outcome.restarts, 0, "{what}: tasks restarted");
    }
    Survived { fired }
}

/// Runs the job once for each plan; the plans that did not come about are left out.
fn survive_all(plans: Vec<Vec<Fault>>) -> Vec<Vec<Fault>> {
    let (plans, fired) = (Mutex::new(plans), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(plan) = plans.lock().map(|mut plans| plans.pop()).unwrap_or(None) {
                        let survived = survive(&plan);
                        if survived.fired.len() == plan.len() {
                            fired.lock().expect("no panic under it").push(plan);
                        } else {
                            println!("did not come about: {plan:?}");
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    fired.into_inner().expect("no panic under it")
}

#[test]
fn panic_at_any_point_leaves_the_output_of_an_undisturbed_run() {
    let probe = record("an undisturbed job", Vec::new());
    let faults = faults_of(&probe.reached());
    let count = faults.len();
    let fired = survive_all(faults.into_iter().map(|fault| vec![fault]).collect());
    println!("panicked at {} of {count} points", fired.len());
    assert!(fired.len() >= POINTS_MIN, "only {} points", fired.len());
}
