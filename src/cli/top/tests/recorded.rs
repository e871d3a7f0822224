//! What servers say.

use serde_json::{Value, json};

use crate::cli::top::answers::{CheckpointDetail, Exceptions, Log, Overview};
use crate::cli::top::looks::{JobFigures, JobLook, Look};

/// When the recorded job was looked at.
const NOW: u64 = 1_700_000_000_000;

/// Answers by their address below the job.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) overview: Value,
    pub(super) detail: Value,
    pub(super) checkpoints: Value,
    pub(super) log: Value,
    pub(super) exceptions: Value,
    pub(super) parts: Value,
}

impl Recorded {
    pub(super) fn look(&self) -> Look {
        self.try_look().expect("recorded answers are answers")
    }

    pub(super) fn try_look(&self) -> Result<Look, serde_json::Error> {
        let log: Log = serde_json::from_value(self.log.clone())?;
        let exceptions: Exceptions = serde_json::from_value(self.exceptions.clone())?;
        let parts: CheckpointDetail = serde_json::from_value(self.parts.clone())?;
        let figures = JobFigures {
            detail: serde_json::from_value(self.detail.clone())?,
            checkpoints: serde_json::from_value(self.checkpoints.clone())?,
            events: log.events,
            failures: Some(exceptions.failures),
            parts: Some(parts),
        };
        let overview: Overview = serde_json::from_value(self.overview.clone())?;
        Ok(Look { overview, job: JobLook::Known(Box::new(figures)) })
    }
}

fn summary(id: &str) -> Value {
    json!({ "id": id, "name": id, "state": "running", "started_unix_ms": NOW - 184_000, "ended_unix_ms": null,
        "paused_since_unix_ms": null, "restarts": 2, "tasks": 3, "subtasks": 5, "last_error": "counts[1]: panicked: \"seven\"" })
}

fn work(records: [u64; 2], rates: [f64; 2], shares: [f64; 3], lag: Option<f64>) -> Value {
    json!({ "records_in": records[0], "records_out": records[1], "bytes_in": 0, "bytes_out": 0,
        "records_in_per_second": rates[0], "records_out_per_second": rates[1],
        "busy": shares[0], "waiting": 0.0, "backpressured": shares[1], "idle": shares[2],
        "watermark": lag.map(|lag| NOW - lag as u64), "watermark_lag_ms": lag, "late_records": 3,
        "state_entries": 1200, "state_bytes": 3_500_000, "timers": 7 })
}

/// `fields` of which those of `more` count where both have one.
fn with(mut fields: Value, more: Value) -> Value {
    let (Some(fields_of), Value::Object(more)) = (fields.as_object_mut(), more) else { panic!("no objects") };
    fields_of.extend(more);
    fields
}

/// A job that counts, with two subtasks of which one has three quarters of the records.
pub(super) fn job() -> Recorded {
    let subtask = |index: u64, rate: f64| {
        let figures = work([rate as u64 * 10, rate as u64 * 10], [rate, rate], [0.5, 0.25, 0.25], Some(3_200.0));
        with(figures, json!({ "subtask": index, "attempt": 3, "state": "running" }))
    };
    let vertex = |id: u64, name: &str, kind: &str, figures: Value, subtasks: Vec<Value>| {
        let parallelism = if subtasks.is_empty() { 1 } else { subtasks.len() };
        with(
            figures,
            json!({ "id": id, "name": name, "operators": [name], "kind": kind, "region": 0,
            "parallelism": parallelism, "max_parallelism": 128, "skew": 0.5, "subtasks": subtasks }),
        )
    };
    let idle = |records| work([records, records], [16_000.0, 15_900.0], [0.125, 0.625, 0.25], None);
    let vertices = vec![
        vertex(0, "numbers->split", "source", idle(160_000), vec![]),
        vertex(
            1,
            "counts",
            "operator",
            work([160_000, 150_000], [16_000.0, 15_900.0], [0.5, 0.25, 0.25], Some(3_200.0)),
            vec![subtask(0, 12_000.0), subtask(1, 4_000.0)],
        ),
        vertex(2, "out", "sink", work([150_000, 0], [15_900.0, 0.0], [0.05, 0.0, 0.95], Some(2_100.0)), vec![]),
    ];
    let edge = |from: u64, to: u64, credits: u64| {
        json!({ "from": from, "to": to, "port": 0, "partitioning": "hash",
        "side_output": null, "records": 1, "records_per_second": 16_000.0, "queued_batches": 8, "credits": credits })
    };
    let detail = with(
        summary("counting"),
        json!({ "now_unix_ms": NOW, "interval_ms": 5_000.0, "held_back": [],
        "regions": [{ "region": 0, "attempt": 3, "state": "running", "restarts": 2, "downtime_ms": 412.0, "restarting_since_unix_ms": null }],
        "vertices": vertices, "edges": [edge(0, 1, 0), edge(1, 2, 16)] }),
    );
    Recorded {
        overview: json!({ "millstream": "0.1.0", "api": 1, "now_unix_ms": NOW, "jobs": [summary("counting")] }),
        detail,
        checkpoints: checkpoints(),
        log: json!({ "events": [
            event(5, 9, "info", "checkpoint_completed", "checkpoint=7 completed in 28 ms: 1 MiB written, 7 MiB in all"),
            event(6, 4, "warn", "checkpoint_failed", "checkpoint=8 failed: it took longer than 10 s"),
        ] }),
        exceptions: json!({ "failures": [{ "seq": 3, "unix_ms": NOW - 60_000, "region": 0, "attempt": 2, "task": "counts", "subtask": 1,
            "cause": "panicked: \"seven\"", "record": "7", "restored_checkpoint": 5, "downtime_ms": 206.0 }] }),
        parts: json!({ "id": 7, "subtasks": [
            { "vertex": 1, "subtask": 0, "start_delay_ms": 2.0, "alignment_ms": 4.0, "sync_ms": 6.0, "async_ms": 8.0,
                "written_bytes": 700_000, "end_to_end_ms": 20.0 },
            { "vertex": 1, "subtask": 1, "start_delay_ms": 2.0, "alignment_ms": 0.0, "sync_ms": 3.0, "async_ms": 5.0,
                "written_bytes": 300_000, "end_to_end_ms": 10.0 },
        ] }),
    }
}

pub(super) fn event(seq: u64, seconds_ago: u64, level: &str, event: &str, text: &str) -> Value {
    json!({ "seq": seq, "unix_ms": NOW - seconds_ago * 1_000, "job": "counting", "event": event, "level": level, "text": text })
}

fn checkpoints() -> Value {
    let checkpoint = |id: u64, status: &str, failure: Option<&str>| {
        let is_complete = status == "completed";
        json!({ "id": id, "status": status, "reason": "periodic", "triggered_unix_ms": NOW - (12 - id) * 1_000,
            "duration_ms": is_complete.then_some(28.0), "written_bytes": is_complete.then_some(1_000_000),
            "state_bytes": is_complete.then_some(7_000_000), "failure": failure, "start_delay_ms": 2.0, "alignment_ms": 4.0,
            "sync_ms": 6.0, "async_ms": 8.0, "store_ms": is_complete.then_some(8.0), "slowest": { "vertex": 1, "subtask": 0 } })
    };
    let savepoint = json!({ "checkpoint": 4, "unix_ms": NOW - 90_000, "path": "/var/monday", "bytes": 6_500_000 });
    json!({ "counts": { "triggered": 9, "in_progress": 1, "completed": 7, "failed": 1, "cut_off": 0, "restored": 2 },
        "summary": null,
        "latest": { "completed": checkpoint(7, "completed", None), "failed": null, "restored": null, "savepoint": savepoint },
        "history": [checkpoint(9, "in_progress", None), checkpoint(8, "failed", Some("it took longer than 10 s")), checkpoint(7, "completed", None)] })
}

/// How far checkpoint 9 is.
pub(super) fn in_progress() -> Value {
    json!({ "checkpoint": 9, "reason": "savepoint", "since_unix_ms": NOW - 3_000, "acknowledged": 3, "of": 5, "bytes": 1_234_567 })
}

pub(super) fn being_written() -> Value {
    json!([{ "path": "/var/save\u{1b}[2J", "checkpoint": 8, "since_unix_ms": NOW - 1_000, "bytes": 2_097_152, "of_bytes": 4_194_304 }])
}

/// A server with so many jobs, none of which is looked at.
pub(super) fn several(ids: &[&str]) -> Look {
    let jobs: Vec<Value> = ids.iter().map(|id| summary(id)).collect();
    let overview = json!({ "api": 1, "now_unix_ms": NOW, "jobs": jobs });
    Look { overview: serde_json::from_value(overview).expect("an overview"), job: JobLook::Unchosen }
}

/// The server does not show the job any more.
pub(super) fn gone() -> Look {
    Look { job: JobLook::Gone, ..several(&[]) }
}
