//! The checkpoints of a job as they are shown.

use millstream_actors::{
    CheckpointOutcome, CheckpointRecord, JobEventKind, JobHandle, JobMetrics, LastRestore, SnapshotParts,
};

use super::checkpoints::SubtaskRef;
use super::from_metrics::millis;
use super::{
    Checkpoint, CheckpointCountsBody, CheckpointDetail, CheckpointSummary, Checkpoints, LatestCheckpoints,
    RestoredBody, SavepointBody, Spread, SubtaskCheckpoint,
};

impl Checkpoints {
    pub(in crate::dashboard) fn of(job: &JobHandle) -> Self {
        let metrics = job.metrics();
        let (counts, status) = (metrics.checkpoint_counts, &metrics.status);
        let history: Vec<_> = metrics.checkpoints.iter().rev().map(Checkpoint::of).collect();
        let newest = |wanted: &str| history.iter().find(|checkpoint| checkpoint.status == wanted).cloned();
        Self {
            counts: CheckpointCountsBody {
                triggered: counts.triggered,
                in_progress: counts.in_progress,
                completed: status.checkpoints,
                failed: status.failed_checkpoints,
                cut_off: counts.cut_off,
                restored: counts.restored,
            },
            summary: CheckpointSummary::of(&metrics),
            latest: LatestCheckpoints {
                completed: newest("completed"),
                failed: newest("failed"),
                restored: status.restore.as_ref().map(RestoredBody::of),
                savepoint: newest_savepoint(job),
            },
            history,
        }
    }
}

fn newest_savepoint(job: &JobHandle) -> Option<SavepointBody> {
    job.history().into_iter().rev().find_map(|event| match event.kind {
        JobEventKind::SavepointWritten { path, checkpoint, bytes, .. } => {
            let path = path.display().to_string();
            Some(SavepointBody { checkpoint: checkpoint.0, unix_ms: Some(event.unix_ms), path, bytes })
        }
        _ => None,
    })
}

impl RestoredBody {
    fn of(restore: &LastRestore) -> Self {
        Self {
            checkpoint: restore.checkpoint.0,
            region: restore.region.0,
            attempt: restore.attempt.0,
            bytes: restore.bytes,
            took_ms: millis(restore.took),
            rewinds: restore.rewinds,
            downtime_ms: restore.downtime.map(millis),
        }
    }
}

impl CheckpointSummary {
    fn of(metrics: &JobMetrics) -> Option<Self> {
        let completed = metrics.checkpoints.iter().filter_map(|record| match &record.outcome {
            CheckpointOutcome::Completed { took, written_bytes, state_bytes, .. } => {
                Some((millis(*took), *written_bytes as f64, *state_bytes as f64))
            }
            _ => None,
        });
        let completed: Vec<_> = completed.collect();
        Some(Self {
            duration_ms: Spread::of(completed.iter().map(|of| of.0))?,
            written_bytes: Spread::of(completed.iter().map(|of| of.1))?,
            state_bytes: Spread::of(completed.iter().map(|of| of.2))?,
        })
    }
}

impl Spread {
    /// By the nearest rank.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |share: f64| ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        let avg = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { min, avg, max, p50: sorted[rank(0.5)], p99: sorted[rank(0.99)] })
    }
}

impl Checkpoint {
    fn of(record: &CheckpointRecord) -> Self {
        let slowest = record.slowest();
        let part = |part: fn(&SnapshotParts) -> std::time::Duration| slowest.map(|parts| millis(part(parts)));
        let unknown = Self {
            id: record.checkpoint.0,
            status: "in_progress",
            reason: record.reason,
            triggered_unix_ms: record.triggered_unix_ms,
            duration_ms: None,
            written_bytes: None,
            state_bytes: None,
            failure: None,
            start_delay_ms: part(|parts| parts.start_delay),
            alignment_ms: part(|parts| parts.alignment),
            sync_ms: part(|parts| parts.synchronous),
            async_ms: part(|parts| parts.asynchronous),
            store_ms: None,
            slowest: slowest.map(|parts| SubtaskRef { vertex: parts.subtask.task.0, subtask: parts.subtask.index }),
        };
        match &record.outcome {
            CheckpointOutcome::Completed { took, store, written_bytes, state_bytes, .. } => Self {
                status: "completed",
                duration_ms: Some(millis(*took)),
                store_ms: Some(millis(*store)),
                written_bytes: Some(*written_bytes),
                state_bytes: Some(*state_bytes),
                ..unknown
            },
            CheckpointOutcome::Failed { reason, .. } => {
                Self { status: "failed", failure: Some(reason.clone()), ..unknown }
            }
            CheckpointOutcome::CutOff { reason, .. } => {
                Self { status: "cut_off", failure: Some(reason.clone()), ..unknown }
            }
            _ => unknown,
        }
    }
}

impl CheckpointDetail {
    /// Of the checkpoint with this id, if it is one of the newest.
    pub(in crate::dashboard) fn of(job: &JobHandle, id: u64) -> Option<Self> {
        let metrics = job.metrics();
        let record = metrics.checkpoints.iter().find(|record| record.checkpoint.0 == id)?;
        let subtasks = record.subtasks.iter().map(|parts| SubtaskCheckpoint {
            vertex: parts.subtask.task.0,
            subtask: parts.subtask.index,
            start_delay_ms: millis(parts.start_delay),
            alignment_ms: millis(parts.alignment),
            sync_ms: millis(parts.synchronous),
            async_ms: millis(parts.asynchronous),
            written_bytes: parts.bytes,
            end_to_end_ms: millis(parts.total()),
        });
        Some(Self { checkpoint: Checkpoint::of(record), subtasks: subtasks.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_goes_by_the_nearest_rank() {
        assert_eq!(Spread::of(std::iter::empty()), None);
        assert_eq!(Spread::of([7.0].into_iter()), Some(Spread { min: 7.0, avg: 7.0, max: 7.0, p50: 7.0, p99: 7.0 }));
        let spread = Spread::of((1..=200).rev().map(f64::from)).expect("values");
        assert_eq!(spread, Spread { min: 1.0, avg: 100.5, max: 200.0, p50: 100.0, p99: 198.0 });
    }
}
