//! A region that gives up is escalated: the host is told, and may say what is to become of it. P6.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use millstream::prelude::*;
use millstream::time::ManualClock;
use millstream::{Escalation, EscalationDecision, GraphError, JobEventKind, OnExhausted, RegionPolicy};

use crate::parked::parks;
use crate::rig::{assert_exact, environment, in_system};
use crate::several::{SECOND, Told, attempts, three};

/// Answers with these, in turn; then not at all.
struct Host {
    answers: Vec<EscalationDecision>,
    asked: Arc<Mutex<Vec<Escalation>>>,
}

impl Actor for Host {
    type Context = Context<Self>;
}

impl Handler<Escalation> for Host {
    type Result = ResponseFuture<EscalationDecision>;

    fn handle(&mut self, escalation: Escalation, _: &mut Self::Context) -> Self::Result {
        self.asked.lock().expect("no panic under the lock").push(escalation);
        match self.answers.pop() {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => Box::pin(std::future::pending()),
        }
    }
}

struct Escalating {
    job: JobHandle,
    told: Told,
    figures: [millstream::sink::Collected<(u64, u64)>; 3],
    asked: Arc<Mutex<Vec<Escalation>>>,
}

/// A job whose second region gives up `times` times, at once, and whose host answers so.
fn start(answers: &[EscalationDecision], policy: RegionPolicy, times: u32, clock: ManualClock) -> Escalating {
    let asked: Arc<Mutex<Vec<Escalation>>> = Arc::default();
    let host = Host { answers: answers.iter().rev().copied().collect(), asked: asked.clone() }.start();
    let env = environment("escalates")
        .restart_strategy(RestartStrategy::none())
        .clock(clock)
        .on_escalation(host.recipient(), Duration::from_secs(5));
    let told = Told::of(&env);
    let (parts, figures) = three(&env, policy);
    parts[1].faults.operator.arm(times);
    let job = env.start().expect("the job starts");
    parts.iter().for_each(|part| part.gate.open());
    Escalating { job, told, figures, asked }
}

/// What was decided, and by whom.
fn decided(job: &JobHandle) -> Vec<(EscalationDecision, bool)> {
    let answers = job.history().into_iter().filter_map(|event| match event.kind {
        JobEventKind::EscalationAnswered { region: SECOND, decision, by_host, .. } => Some((decision, by_host)),
        _ => None,
    });
    answers.collect()
}

#[test]
fn host_has_the_region_start_again_as_often_as_it_likes() {
    in_system(async {
        let restart = EscalationDecision::Restart;
        let of = start(&[restart; 3], RegionPolicy::new(), 3, ManualClock::new());
        let outcome = of.job.clone().await.expect("it is well at last");
        of.figures.iter().for_each(assert_exact);
        assert_eq!((outcome.restarts, attempts(&of.job)), (3, vec![1, 4, 1]));
        assert_eq!(decided(&of.job), [(restart, true); 3]);
        let asked = of.asked.lock().expect("no panic under the lock");
        let [first, ..] = &asked[..] else { panic!("it was not asked") };
        assert_eq!((&*first.job, first.region, first.failures, first.checkpoint), ("escalates", SECOND, 1, None));
        assert!(matches!(&first.cause, JobError::GaveUp { region: SECOND, .. }), "{}", first.cause);
    });
}

#[test]
fn host_has_the_region_parked_which_its_policy_would_not() {
    in_system(async {
        let mut of = start(&[EscalationDecision::Park], RegionPolicy::new(), 1, ManualClock::new());
        of.told.until_parked().await;
        of.job.resume_region(SECOND).await.expect("it runs");
        of.job.await.expect("nothing fails any more");
        of.figures.iter().for_each(assert_exact);
    });
}

#[test]
fn host_ends_the_job_where_the_policy_would_park_the_region() {
    in_system(async {
        let of = start(&[EscalationDecision::EndJob], parks(), 1, ManualClock::new());
        let error = of.job.clone().await.expect_err("the host has ended it");
        assert!(matches!(error, JobError::GaveUp { region: SECOND, failures: 1, .. }), "{error}");
        assert_eq!(decided(&of.job), [(EscalationDecision::EndJob, true)]);
    });
}

#[test]
fn host_may_leave_it_to_the_policy() {
    in_system(async {
        let mut of = start(&[EscalationDecision::AsConfigured], parks(), 1, ManualClock::new());
        of.told.until_parked().await;
        assert_eq!(decided(&of.job), [(EscalationDecision::AsConfigured, true)]);
        of.job.cancel().await.expect("at once");
    });
}

/// The region waits for it, and the others run on.
#[test]
fn host_that_does_not_answer_in_time_leaves_it_to_the_policy() {
    in_system(async {
        let clock = ManualClock::new();
        let mut of = start(&[], parks(), 1, clock.clone());
        of.told.until(|kind| matches!(kind, JobEventKind::Escalated { asks_host: true, .. })).await;
        assert!(decided(&of.job).is_empty() && of.job.status().parked.is_empty());
        clock.advance(Duration::from_secs(5));
        of.told.until_parked().await;
        assert_eq!(decided(&of.job), [(EscalationDecision::AsConfigured, false)]);
        of.job.resume_region(SECOND).await.expect("it runs");
        of.job.await.expect("nothing fails any more");
        of.figures.iter().for_each(assert_exact);
    });
}

#[test]
fn host_that_is_gone_leaves_it_to_the_policy_at_once() {
    in_system(async {
        let host = Host { answers: Vec::new(), asked: Arc::default() };
        // Its address is dropped with its system.
        let gone = std::thread::spawn(|| actix_rt::System::new().block_on(async { host.start().recipient() }));
        let env = environment("alone")
            .restart_strategy(RestartStrategy::none())
            .clock(ManualClock::new())
            .on_escalation(gone.join().expect("it ends"), Duration::from_secs(5));
        let (parts, _) = three(&env, RegionPolicy::new());
        parts[1].faults.operator.arm(1);
        let error = env.start().expect("the job starts").await.expect_err("nobody says otherwise");
        assert!(matches!(error, JobError::GaveUp { region: SECOND, .. }), "{error}");
    });
}

#[test]
fn job_that_is_asked_to_end_while_the_host_is_asked_ends() {
    in_system(async {
        let clock = ManualClock::new();
        let mut of = start(&[], parks(), 1, clock.clone());
        of.told.until(|kind| matches!(kind, JobEventKind::Escalated { .. })).await;
        assert_eq!(of.job.cancel().await.expect("at once").kind, OutcomeKind::Cancelled);

        let clock = ManualClock::new();
        let mut of = start(&[], parks(), 1, clock.clone());
        of.told.until(|kind| matches!(kind, JobEventKind::Escalated { .. })).await;
        let drained = of.job.drain();
        of.told.until(|kind| matches!(kind, JobEventKind::EndAwaitsRegion { region: SECOND, .. })).await;
        clock.advance(Duration::from_secs(5));
        assert_eq!(drained.await.expect("without the region").kind, OutcomeKind::Drained);
    });
}

/// Without anybody to ask, the event tells all the same.
#[test]
fn every_region_that_gives_up_is_an_event_and_a_line() {
    in_system(async {
        let env = environment("told").restart_strategy(RestartStrategy::none());
        let mut told = Told::of(&env);
        let (parts, _) = three(&env, parks());
        parts[1].faults.operator.arm(1);
        let job = env.start().expect("the job starts");
        let kind = told.until(|kind| matches!(kind, JobEventKind::Escalated { .. })).await;
        let line = kind.to_string();
        assert!(line.starts_with("region=1 gives up at the beginning: region 1 gave up after 1 failures"), "{line}");
        let json = serde_json::to_string(&kind).expect("it is data");
        assert!(json.contains(r#""event":"escalated","region":1,"#), "{json}");
        assert!(json.contains(r#""failures":1,"checkpoint":null,"asks_host":false"#), "{json}");
        let line = told.until_parked().await.to_string();
        assert!(line.starts_with("region=1 is parked at the beginning"), "{line}");
        assert!(
            serde_json::to_string(&job.status()).expect("it is data").contains(r#""parked":{"1":{"cause":"region 1"#)
        );
        job.cancel().await.expect("at once");
    });
}

/// P6: a failure that would repeat does not spend a budget, and is the region's as well.
#[test]
fn failure_that_would_repeat_parks_the_region_too() {
    in_system(async {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("numbers.csv");
        std::fs::write(&path, "1\nno number\n").expect("it is written");
        let env = environment("malformed").parallelism(1);
        let mut told = Told::of(&env);
        let sink = CollectSink::new();
        let numbers = sink.handle();
        env.source("numbers", FileSource::json_lines::<u64>(path.to_str().expect("text")))
            .region_policy(RegionPolicy::new().on_exhausted(OnExhausted::Park))
            .sink("out", sink);
        let job = env.start().expect("the job starts");
        let kind = told.until_parked().await;
        assert!(matches!(kind, JobEventKind::RegionParked { error: JobError::Failed { .. }, .. }), "{kind}");
        std::fs::write(&path, "1\n2\n").expect("it is mended");
        job.resume_region(millstream::RegionId(0)).await.expect("it runs");
        job.await.expect("the file is read");
        assert_eq!(numbers.snapshot(), [1, 2]);
    });
}

#[test]
fn time_to_answer_that_cannot_work_is_a_mistake() {
    in_system(async {
        for within in [Duration::ZERO, Duration::from_secs(86_401)] {
            let host = Host { answers: Vec::new(), asked: Arc::default() }.start();
            let env = environment("mistake").on_escalation(host.recipient(), within);
            env.source("numbers", SequenceSource::new(0..10)).for_each("out", |_| {});
            let errors = env.explain().expect_err("a mistake");
            let is_said =
                |error: &GraphError| matches!(error, GraphError::InvalidSetting { setting: "on_escalation(..)", .. });
            assert!(errors.0.iter().any(is_said), "{errors}");
        }
    });
}
