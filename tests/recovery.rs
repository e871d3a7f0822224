//! A panic at any point of the protocol, and the output is that of an undisturbed run.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use millstream::prelude::*;
use millstream::{ActorName, Attempt, JobError, Step, SubtaskId, TaskId};

use common::{At, Fault, FaultProbe, FiguresJob, InputEnd, Point, SteppedSource, events_of, left_over, run, watched};
use random::Random;

mod common;
#[path = "recovery/flights.rs"]
mod flights;
#[path = "common/random.rs"]
mod random;

/// Jobs run at a time: they wait for fsync more than they compute.
const WORKERS: usize = 4;

/// Points that the sweep must panic at, at the least.
const POINTS_MIN: usize = 200;

/// Runs with several panics at random points.
const RANDOM_PLANS: usize = 50;

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

/// Shows that a job's output is that of an undisturbed run.
fn exactly_once(job: &FiguresJob, what: &str) {
    // Guarantee G1, guarantee G2, guarantee G3.
    assert!(job.lines() == job.expected(), "{what}: other output\n{:?}\n{:?}", job.lines(), job.expected());
    assert_eq!(left_over(&job.out), Vec::<String>::new(), "{what}");
}

/// Shows that each record of a job arrived, and was counted at least once.
fn at_least_once(job: &FiguresJob, what: &str) {
    // Guarantee G8.
    let lines = job.lines();
    for (key, expected) in job.expected() {
        let got = lines.get(&key).unwrap_or_else(|| panic!("{what}: no line of {key:?}"));
        for want in expected {
            let counts = got.iter().filter(|line| line.id == want.id).map(|line| line.count);
            let most = counts.max().unwrap_or_else(|| panic!("{what}: record {} of {key:?} is missing", want.id));
            assert!(most >= want.count, "{what}: record {} of {key:?} is number {most}", want.id);
        }
    }
    assert_eq!(left_over(&job.out), Vec::<String>::new(), "{what}");
}

type Check = fn(&FiguresJob, &str);

/// Runs the job with these panics, and again on the same store if they end it. Checks its output, and returns the
/// panics that came about.
fn survive(plan: &[Fault], mode: fn(Checkpointing) -> Checkpointing, check: Check) -> Vec<Fault> {
    let what = format!("a job with panics at {plan:?}");
    let out = tempfile::tempdir().expect("a temporary directory");
    let mut job = FiguresJob::new(out.path());
    job.checkpointing = mode(job.checkpointing);
    let (mut outcome, probe) = job.run(&what, plan.to_vec());
    let fired = probe.fired();
    if fired.iter().any(|fault| fault.point.1 == ActorName::JobSupervisor) {
        let error = outcome.expect_err("the root is gone");
        assert!(matches!(&error, JobError::Internal { actor: ActorName::JobSupervisor, .. }), "{what}: {error}");
        outcome = job.run(&what, Vec::new()).0;
    }
    let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(outcome.kind, OutcomeKind::Finished, "{what}");
    check(&job, &what);
    let of_control = |fault: &Fault| matches!(fault.point.1, ActorName::Coordinator | ActorName::Writer);
    if fired.iter().all(of_control) {
        assert_eq!(outcome.restarts, 0, "{what}: tasks restarted");
    }
    fired
}

/// Runs the job once for each plan. Returns the panics that came about; which did not is printed.
fn survive_all(plans: Vec<Vec<Fault>>, mode: fn(Checkpointing) -> Checkpointing, check: Check) -> Vec<Fault> {
    let (plans, all_fired) = (Mutex::new(plans), Mutex::new(Vec::new()));
    let next = || plans.lock().expect("no panic under it").pop();
    let work = || {
        while let Some(plan) = next() {
            let fired = survive(&plan, mode, check);
            if fired != plan {
                println!("the job ended before all of {plan:?}");
            }
            all_fired.lock().expect("no panic under it").extend(fired);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    all_fired.into_inner().expect("no panic under it")
}

fn fault(step: Step, actor: &ActorName, occurrence: u64) -> Fault {
    Fault { point: (step, actor.clone()), at: At::Occurrence(occurrence) }
}

/// The actors that come to a step.
fn actors_at(reached: &[(Point, u64)], step: Step) -> Vec<ActorName> {
    reached.iter().filter(|((at, _), _)| *at == step).map(|((_, actor), _)| actor.clone()).collect()
}

#[test]
fn panic_at_any_point_leaves_the_output_of_an_undisturbed_run() {
    let probe = record("an undisturbed job", Vec::new());
    let faults = faults_of(&probe.reached());
    let count = faults.len();
    let fired = survive_all(faults.into_iter().map(|fault| vec![fault]).collect(), |mode| mode, exactly_once);
    println!("panicked at {} of {count} points", fired.len());
    assert!(fired.len() >= POINTS_MIN, "only {} points", fired.len());
}

#[test]
fn panic_while_recovering_from_another_leaves_the_output_of_an_undisturbed_run() {
    let undisturbed = record("an undisturbed job", Vec::new()).reached();
    let source = actors_at(&undisturbed, Step::BarrierReached).remove(0);
    // Two checkpoints have completed then.
    let first = fault(Step::BarrierReached, &source, 3);
    let reached = record("a job with one panic", vec![first.clone()]).reached();
    let of_restart = [
        Step::Starting,
        Step::Restoring,
        Step::Restored,
        Step::RegionStopping,
        Step::RegionRestoring,
        Step::RegionStarting,
        Step::RegionReady,
    ];
    let mut plans = Vec::new();
    for step in of_restart {
        let actors = actors_at(&reached, step);
        assert!(!actors.is_empty(), "{step:?}");
        for actor in &actors {
            plans.push(vec![first.clone(), fault(step, actor, 1)]);
        }
        // Each attempt to recover comes a little less far.
        plans.push(vec![first.clone(), fault(step, &actors[0], 1), fault(step, &actors[0], 1)]);
    }
    let count: usize = plans.iter().map(Vec::len).sum();
    let fired = survive_all(plans, |mode| mode, exactly_once);
    assert_eq!(fired.len(), count);
}

/// Up to six panics at random points, one after the other. `MILLSTREAM_TEST_SEED` repeats a run.
#[test]
fn panics_at_random_points_one_after_the_other_leave_the_output_of_an_undisturbed_run() {
    let seed = std::env::var("MILLSTREAM_TEST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("MILLSTREAM_TEST_SEED={seed}");
    let mut random = Random(seed);
    let undisturbed = record("an undisturbed job", Vec::new()).reached();
    let source = actors_at(&undisturbed, Step::BarrierReached).remove(0);
    let mut points: Vec<Point> = undisturbed.into_iter().map(|(point, _)| point).collect();
    points.extend(record("a job", vec![fault(Step::BarrierReached, &source, 3)]).reached().into_iter().map(|it| it.0));
    points.retain(|point| point.1 != ActorName::JobSupervisor);
    let plans: Vec<Vec<Fault>> = (0..RANDOM_PLANS)
        .map(|_| {
            let count = 2 + random.below(5);
            let faults = (0..count).map(|_| {
                let point = points[random.below(points.len() as u64) as usize].clone();
                Fault { point, at: At::Occurrence(1 + random.below(3)) }
            });
            faults.collect()
        })
        .collect();
    let fired = survive_all(plans, |mode| mode, exactly_once);
    println!("{} panics in {RANDOM_PLANS} runs", fired.len());
    assert!(fired.len() > RANDOM_PLANS, "only {}", fired.len());
}

#[test]
fn panics_in_at_least_once_mode_lose_no_record() {
    let reached = record("an undisturbed job", Vec::new()).reached();
    let steps = [
        Step::Batch,
        Step::BarrierForwarded,
        Step::SnapshotTaken,
        Step::SinkPrepared,
        Step::SinkCommitting,
        Step::SinkCommitted,
        Step::ManifestCommitted,
        Step::CompletionSent,
    ];
    let actors = steps.iter().flat_map(|step| actors_at(&reached, *step).into_iter().map(|actor| (*step, actor)));
    let plans: Vec<_> = actors.map(|(step, actor)| vec![fault(step, &actor, 3)]).collect();
    let count = plans.len();
    let fired = survive_all(plans, Checkpointing::at_least_once, at_least_once);
    assert_eq!(fired.len(), count);
}

#[test]
fn root_that_dies_while_the_job_ends_is_named_and_a_new_start_finds_the_job_complete() {
    for _ in 0..10 {
        survive(&[fault(Step::JobSupervising, &ActorName::JobSupervisor, 2)], |mode| mode, exactly_once);
    }
}

/// A job of which each life reads a part.
fn long_job(out: &std::path::Path) -> FiguresJob {
    FiguresJob { records: 800, step: 16, ..FiguresJob::new(out) }
}

#[test]
fn job_cancelled_and_started_at_other_parallelisms_gives_the_output_of_one_run() {
    for (chaining, on_disk) in [(true, false), (false, true)] {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let mut job = long_job(&scratch.path().join("out"));
        job.chaining = chaining;
        job.store_file = on_disk.then(|| scratch.path().join("store.redb"));
        for (life, parallelism) in (1..).zip([3, 1, 2, 4]) {
            (job.parallelism, job.source_parallelism) = (parallelism, parallelism);
            job.hold_at = 40 * life;
            let this = job.clone();
            let outcome = run("a job to be cancelled", move |handles| async move {
                let running = this.start(Vec::new());
                watched(&handles, &running.job);
                events_of(&running.job).checkpoints(2).await;
                running.job.cancel().await
            });
            assert_eq!(outcome.expect("cancelled").kind, OutcomeKind::Cancelled);
        }
        (job.parallelism, job.source_parallelism, job.hold_at) = (2, 2, u64::MAX);
        let outcome = job.run("the last life", Vec::new()).0.expect("finished");
        assert!(outcome.kind == OutcomeKind::Finished && !outcome.already_complete, "{outcome:?}");
        exactly_once(&job, "a rescaled job");
    }
}

#[test]
fn pending_commits_of_a_dead_job_are_settled_at_any_parallelism() {
    for step in [Step::SinkPrepared, Step::Acknowledged, Step::SinkCommitting, Step::SinkCommitted] {
        let out = tempfile::tempdir().expect("a temporary directory");
        let mut job = FiguresJob { restart: RestartStrategy::none(), ..long_job(out.path()) };
        for parallelism in [3, 1, 2, 4] {
            (job.parallelism, job.source_parallelism) = (parallelism, parallelism);
            let reached = {
                let scratch = tempfile::tempdir().expect("a temporary directory");
                let job = FiguresJob { records: 80, parallelism, ..FiguresJob::new(scratch.path()) };
                job.run("a job that names its actors", Vec::new()).1.reached()
            };
            let sink = actors_at(&reached, Step::SinkPrepared).pop().expect("a sink");
            let (outcome, _) = job.run("a job that dies", vec![fault(step, &sink, 2)]);
            let error = outcome.expect_err("no restart");
            assert!(matches!(error, JobError::GaveUp { .. }), "{error}");
        }
        job.run("the last life", Vec::new()).0.expect("finished");
        exactly_once(&job, &format!("a job that died at {step:?}"));
    }
}

#[test]
fn panic_in_one_region_restarts_that_region_alone() {
    let fault = Fault {
        point: (
            Step::BarrierReached,
            ActorName::Subtask {
                subtask: SubtaskId { task: TaskId(0), index: 0 },
                task: "left".into(),
                parallelism: 1,
            },
        ),
        at: At::Occurrence(3),
    };
    let (status, outcome, collected, fired) = run("a job of two regions", move |handles| async move {
        let input = InputEnd::default();
        let probe = FaultProbe::new(&input, [fault]);
        let env = StreamEnvironment::new("regions")
            .snapshot_store(MemoryStore::new())
            .checkpointing(Checkpointing::every(Duration::from_millis(1)))
            .probe(probe.clone());
        let collected = ["left", "right"].map(|name| {
            let sink = CollectSink::new();
            let collected = sink.handle();
            let source = env.source(name, SteppedSource::new(name, 240, 40, &input));
            source.sink(&format!("{name}-sink"), sink);
            collected
        });
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let outcome = job.clone().await;
        (job.status(), outcome, collected.map(|collected| collected.snapshot()), probe.fired())
    });
    assert_eq!(fired.len(), 1);
    assert_eq!(outcome.expect("finished").restarts, 1);
    // Guarantee G5.
    let attempts: Vec<_> = status.attempts.into_values().collect();
    assert_eq!(attempts, [Attempt(2), Attempt(1)]);
    for (name, mut records) in ["left", "right"].into_iter().zip(collected) {
        records.sort_unstable();
        assert!(records.into_iter().eq((0..240).map(|id| (name, id))), "{name}");
    }
}
