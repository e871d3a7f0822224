//! The events of a job as they are shown.

use millstream_actors::protocol::{ActorName, RegionId};
use millstream_actors::{JobEvent, JobEventKind, JobHandle, JobPlan};
use serde_json::{Map, Value};

use super::from_metrics::millis;
use super::{Exceptions, Failure, LogBody, LogEvent};
use crate::dashboard::redaction::Redaction;

impl LogEvent {
    pub(in crate::dashboard) fn of(event: &JobEvent, redaction: Redaction) -> Self {
        let event = redaction.event(event.clone());
        let (level, text) = (level(&event), event.kind.to_string());
        let fields = match serde_json::to_value(&event) {
            Ok(Value::Object(fields)) => fields,
            // An event is an object; all that it holds has a form in JSON.
            _ => Map::new(),
        };
        Self { level, text, fields }
    }
}

fn level(event: &JobEvent) -> &'static str {
    match event.kind.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug | log::Level::Trace => "debug",
    }
}

impl LogBody {
    /// The newest events, this many at most.
    pub(in crate::dashboard) fn of(job: &JobHandle, limit: usize, redaction: Redaction) -> Self {
        let history = job.history();
        let newest = &history[history.len().saturating_sub(limit)..];
        Self { events: newest.iter().map(|event| LogEvent::of(event, redaction)).collect() }
    }
}

impl Exceptions {
    pub(in crate::dashboard) fn of(job: &JobHandle, redaction: Redaction) -> Self {
        let (history, plan) = (job.history(), job.plan());
        let all = history.iter().enumerate();
        let failures = all.filter_map(|(at, event)| Failure::of(event, &history[at + 1..], &plan, redaction));
        let mut failures: Vec<_> = failures.collect();
        failures.reverse();
        Self { failures }
    }
}

impl Failure {
    /// The failure that an event tells, with what has followed.
    fn of(event: &JobEvent, later: &[JobEvent], plan: &JobPlan, redaction: Redaction) -> Option<Self> {
        let none = |task: String, cause: String| Self {
            seq: event.seq,
            unix_ms: event.unix_ms,
            region: None,
            attempt: None,
            task,
            subtask: None,
            cause,
            record: None,
            restored_checkpoint: None,
            downtime_ms: None,
        };
        match &event.kind {
            JobEventKind::SubtaskFailed { attempt, actor, cause, at, .. } => {
                let ActorName::Subtask { subtask, task, .. } = actor else {
                    return Some(none(actor.to_string(), cause.to_string()));
                };
                let region = plan.tasks.get(subtask.task.0 as usize).map(|task| task.region);
                let (restored_checkpoint, downtime_ms) = region.map_or((None, None), |region| followed(region, later));
                let record = at.as_ref().filter(|_| redaction.shows_records).map(|at| at.to_string());
                Some(Self {
                    region: region.map(|region| region.0),
                    attempt: Some(attempt.0),
                    subtask: Some(subtask.index),
                    record,
                    restored_checkpoint,
                    downtime_ms,
                    ..none(task.to_string(), cause.to_string())
                })
            }
            JobEventKind::ActorRestarted { actor, report, .. } => {
                Some(none(actor.to_string(), format!("panicked: {report}")))
            }
            JobEventKind::Ended { result: Err(error), .. } => Some(none("job".to_owned(), error.to_string())),
            _ => None,
        }
    }
}

/// From which checkpoint a region went on, and after how long.
fn followed(region: RegionId, later: &[JobEvent]) -> (Option<u64>, Option<f64>) {
    let mut restored = None;
    for event in later {
        match &event.kind {
            JobEventKind::Restored { region: of, checkpoint, .. } if *of == region => restored = Some(checkpoint.0),
            JobEventKind::RegionRunning { region: of, downtime, .. } if *of == region => {
                return (restored, downtime.map(millis));
            }
            _ => {}
        }
    }
    (restored, None)
}
