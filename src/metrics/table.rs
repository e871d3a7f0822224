//! The one table of metrics: all else is derived from it.

use std::time::Duration;

use millstream_actors::protocol::Timestamp;
use millstream_actors::{CheckpointOutcome, JobMetrics, JobState};

use super::metric::MetricKind::{Counter, Gauge};
use super::metric::{Metric, MetricKind, Read};

/// One line of the table.
const fn line(
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    flink: &'static str,
    help: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind, unit, flink, help, read }
}

/// All metrics. `docs/metrics.md` has the same table.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    line("millstream_job_running", Gauge, "0 or 1", "", "1 while all regions of the job run, but for those that are parked, and not all are parked.", Read::Job(|job| bool(job.status.state == JobState::Running))),
    line("millstream_job_paused", Gauge, "0 or 1", "", "1 while the job is paused.", Read::Job(|job| bool(job.status.paused_since_unix_ms.is_some()))),
    line("millstream_job_restarts_total", Counter, "restarts", "numRestarts", "Restarts of regions in this run.", Read::Job(|job| count(job.status.restarts))),
    line("millstream_checkpoints_triggered_total", Counter, "checkpoints", "totalNumberOfCheckpoints", "Checkpoints triggered in this run.", Read::Job(|job| count(job.checkpoint_counts.triggered))),
    line("millstream_checkpoints_completed_total", Counter, "checkpoints", "numberOfCompletedCheckpoints", "Checkpoints completed in this run.", Read::Job(|job| count(job.status.checkpoints))),
    line("millstream_checkpoints_failed_total", Counter, "checkpoints", "numberOfFailedCheckpoints", "Checkpoints that failed in this run: a task declined, not all were done in time, or the store failed.", Read::Job(|job| count(job.status.failed_checkpoints))),
    line("millstream_checkpoints_cut_off_total", Counter, "checkpoints", "", "Checkpoints that the failure or the stop of a region cut off; they do not count as failed.", Read::Job(|job| count(job.checkpoint_counts.cut_off))),
    line("millstream_checkpoints_in_progress", Gauge, "checkpoints", "numberOfInProgressCheckpoints", "Checkpoints triggered and not settled, 0 or 1.", Read::Job(|job| count(job.checkpoint_counts.in_progress))),
    line("millstream_checkpoint_duration_seconds", Gauge, "seconds", "lastCheckpointDuration", "From the trigger of the newest checkpoint to its completion.", Read::Job(|job| seconds(job.status.checkpoint?.took))),
    line("millstream_checkpoint_store_seconds", Gauge, "seconds", "", "Of that, from when the last subtask had sent its snapshot.", Read::Job(newest_store)),
    line("millstream_checkpoint_size_bytes", Gauge, "bytes", "lastCheckpointSize", "Bytes written for the newest checkpoint.", Read::Job(|job| count(job.status.checkpoint?.written_bytes))),
    line("millstream_checkpoint_full_size_bytes", Gauge, "bytes", "lastCheckpointFullSize", "Bytes of state in the newest checkpoint, those that it shares with older ones too.", Read::Job(|job| count(job.status.checkpoint?.state_bytes))),
    line("millstream_checkpoint_age_seconds", Gauge, "seconds", "", "Since the newest checkpoint of this run was complete.", Read::Job(|job| seconds(job.status.checkpoint?.age))),
    line("millstream_checkpoint_interval_seconds", Gauge, "seconds", "", "The interval of checkpoints that is in use.", Read::Job(|job| seconds(job.status.interval?))),
    line("millstream_store_size_bytes", Gauge, "bytes", "", "Bytes that the snapshot store takes, as of the newest checkpoint.", Read::Job(|job| count(job.store_bytes?))),

    line("millstream_region_running", Gauge, "0 or 1", "", "1 while all subtasks of the region run.", Read::Region(|of, _| bool(of.is_running))),
    line("millstream_region_parked", Gauge, "0 or 1", "", "1 while the region is parked.", Read::Region(|of, job| bool(job.status.parked.contains_key(&of.region)))),
    line("millstream_region_restarts_total", Counter, "restarts", "", "Restarts of the region in this run.", Read::Region(|of, _| count(of.restarts))),
    line("millstream_region_downtime_seconds_total", Counter, "seconds", "restartingTimeTotal", "From failures until the region ran again, in all.", Read::Region(|of, _| seconds(of.downtime))),
    line("millstream_region_restarting_seconds", Gauge, "seconds", "restartingTime", "Since the restart that is under way began; 0 if none is.", Read::Region(|of, job| millis(of.restarting_since_unix_ms.map_or(0, |since| job.unix_ms.saturating_sub(since))))),
    line("millstream_region_restores_total", Counter, "restores", "", "How often the region has loaded a checkpoint.", Read::Region(|of, _| count(of.restores))),
    line("millstream_region_restored_bytes_total", Counter, "bytes", "", "Bytes of state that were read for that.", Read::Region(|of, _| count(of.restored_bytes))),
    line("millstream_region_restore_seconds_total", Counter, "seconds", "", "How long that took.", Read::Region(|of, _| seconds(of.restore))),

    line("millstream_subtask_records_in_total", Counter, "records", "numRecordsIn", "Records taken: read by a source, received by another task.", Read::Subtask(|of| count(of.of_run.records_in))),
    line("millstream_subtask_batches_in_total", Counter, "batches", "numBuffersIn", "Batches taken.", Read::Subtask(|of| count(of.of_run.batches_in))),
    line("millstream_subtask_in_bytes_total", Counter, "bytes", "numBytesIn", "Payload bytes taken, where they are counted.", Read::Subtask(|of| count(of.of_run.bytes_in))),
    line("millstream_subtask_records_out_total", Counter, "records", "numRecordsOut", "Records sent to other tasks, each as often as it was sent.", Read::Subtask(|of| count(of.of_run.records_out))),
    line("millstream_subtask_batches_out_total", Counter, "batches", "numBuffersOut", "Batches sent.", Read::Subtask(|of| count(of.of_run.batches_out))),
    line("millstream_subtask_out_bytes_total", Counter, "bytes", "numBytesOut", "Payload bytes sent, where they are counted.", Read::Subtask(|of| count(of.of_run.bytes_out))),
    line("millstream_subtask_busy_seconds_total", Counter, "seconds", "busyTimeMsPerSecond", "Time in which the task ran.", Read::Subtask(|of| nanos(of.of_run.busy_ns))),
    line("millstream_subtask_back_pressured_seconds_total", Counter, "seconds", "backPressuredTimeMsPerSecond", "Time in which an output, or the thread of its sink, took nothing more.", Read::Subtask(|of| nanos(of.of_run.blocked_ns))),
    line("millstream_subtask_idle_seconds_total", Counter, "seconds", "idleTimeMsPerSecond", "Time in which there was no input.", Read::Subtask(|of| nanos(of.of_run.idle_ns))),
    line("millstream_subtask_waiting_seconds_total", Counter, "seconds", "", "Time in which it had work, and other tasks of its arbiter had their turn.", Read::Subtask(|of| nanos(of.of_run.waiting_ns))),
    line("millstream_subtask_credits", Gauge, "batches", "", "Batches that it may send before another credit comes.", Read::Subtask(|of| count(of.of_run.credits))),
    line("millstream_subtask_waiting_batches", Gauge, "batches", "outputQueueLength", "Batches that wait for credit.", Read::Subtask(|of| count(of.of_run.waiting_batches))),
    line("millstream_subtask_batches_under_way", Gauge, "batches", "", "Batches that are sent and not worked off.", Read::Subtask(|of| count(of.of_run.batches_under_way))),
    line("millstream_subtask_snapshots_total", Counter, "snapshots", "", "Snapshots written to their end.", Read::Subtask(|of| count(of.of_run.snapshots))),
    line("millstream_subtask_snapshot_bytes_total", Counter, "bytes", "", "Bytes of snapshots sent to the store.", Read::Subtask(|of| count(of.of_run.snapshot_bytes))),
    line("millstream_subtask_snapshot_slices_total", Counter, "slices", "", "Slices of snapshots, each written between two batches.", Read::Subtask(|of| count(of.of_run.snapshot_slices))),
    line("millstream_subtask_snapshot_seconds_total", Counter, "seconds", "", "Time in which writing snapshots held up records.", Read::Subtask(|of| nanos(of.of_run.snapshot_ns))),
    line("millstream_subtask_attempt", Gauge, "attempts", "", "The number of the attempt that it is in, from 1.", Read::Subtask(|of| count(of.attempt.0.into()))),
    line("millstream_subtask_checkpoint_start_delay_seconds", Gauge, "seconds", "checkpointStartDelayNanos", "In the newest checkpoint, from the trigger to the first barrier.", Read::Parts(|of| seconds(of.start_delay))),
    line("millstream_subtask_checkpoint_alignment_seconds", Gauge, "seconds", "checkpointAlignmentTime", "In the newest checkpoint, from the first barrier to the last.", Read::Parts(|of| seconds(of.alignment))),
    line("millstream_subtask_checkpoint_synchronous_seconds", Gauge, "seconds", "", "In the newest checkpoint, how long the snapshot held up records.", Read::Parts(|of| seconds(of.synchronous))),
    line("millstream_subtask_checkpoint_asynchronous_seconds", Gauge, "seconds", "", "In the newest checkpoint, the other time until the snapshot was sent.", Read::Parts(|of| seconds(of.asynchronous))),
    line("millstream_subtask_checkpoint_size_bytes", Gauge, "bytes", "", "Bytes that the subtask has written for the newest checkpoint.", Read::Parts(|of| count(of.bytes))),

    line("millstream_operator_records_in_total", Counter, "records", "numRecordsIn", "Records that the operator took.", Read::Operator(|of, _| count(of.of_run.records_in))),
    line("millstream_operator_in_bytes_total", Counter, "bytes", "numBytesIn", "Their payload bytes, where they are counted.", Read::Operator(|of, _| count(of.of_run.bytes_in))),
    line("millstream_operator_records_out_total", Counter, "records", "numRecordsOut", "Records that it emitted to its main output.", Read::Operator(|of, _| count(of.of_run.records_out))),
    line("millstream_operator_out_bytes_total", Counter, "bytes", "numBytesOut", "Their payload bytes, where they are counted.", Read::Operator(|of, _| count(of.of_run.bytes_out))),
    line("millstream_operator_side_records_out_total", Counter, "records", "", "Records that it emitted to side outputs.", Read::Operator(|of, _| count(of.of_run.side_records_out))),
    line("millstream_operator_late_records_total", Counter, "records", "numLateRecordsDropped", "Records that it found late, whether or not they went to an output.", Read::Operator(|of, _| count(of.of_run.late_records))),
    line("millstream_operator_withheld_records_total", Counter, "records", "", "Records withheld from its function by record directives.", Read::Operator(|of, _| count(of.of_run.withheld_records))),
    line("millstream_operator_cache_hits_total", Counter, "look-ups", "", "Look-ups of keys that the cache of the redb backend answered.", Read::Operator(|of, _| count(of.of_run.cache_hits))),
    line("millstream_operator_cache_misses_total", Counter, "look-ups", "", "Look-ups of keys that went to the working file of the redb backend.", Read::Operator(|of, _| count(of.of_run.cache_misses))),
    line("millstream_operator_state_entries", Gauge, "keys", "", "Keys with state, as of the newest barrier or restore; no sample before.", Read::Operator(|of, _| of.of_run.state_entries.and_then(count))),
    line("millstream_operator_timers", Gauge, "timers", "", "Times at which keys may have a timer or a window, in memory, as of the newest barrier or restore; no sample before.", Read::Operator(|of, _| of.of_run.timers.and_then(count))),
    line("millstream_operator_input_watermark_timestamp_seconds", Gauge, "seconds", "currentInputWatermark", "The watermark that came last, of all inputs, since 1970.", Read::Operator(|of, _| event_time(of.of_run.watermark_in))),
    line("millstream_operator_output_watermark_timestamp_seconds", Gauge, "seconds", "currentOutputWatermark", "The watermark that it passed on last, since 1970.", Read::Operator(|of, _| event_time(of.of_run.watermark_out))),
    line("millstream_operator_watermark_lag_seconds", Gauge, "seconds", "watermarkLag", "By how much the watermark that it passed on last (a sink: that came last) is behind the job's clock.", Read::Operator(|of, job| lag(of.of_run.watermark_out.or(of.of_run.watermark_in), job))),
    line("millstream_operator_state_size_bytes", Gauge, "bytes", "", "Bytes of the operator's state in the newest checkpoint, of all its subtasks.", Read::State(count)),

    line("millstream_channel_records_total", Counter, "records", "", "Records sent over the channel.", Read::Channel(|of| count(of.of_run.records))),
    line("millstream_channel_batches_total", Counter, "batches", "", "Batches sent over the channel.", Read::Channel(|of| count(of.of_run.batches))),
    line("millstream_channel_bytes_total", Counter, "bytes", "", "Payload bytes sent over the channel, where they are counted.", Read::Channel(|of| count(of.of_run.bytes))),
    line("millstream_channel_credits", Gauge, "batches", "", "Batches that may be sent before another credit comes.", Read::Channel(|of| count(of.of_run.credits))),
    line("millstream_channel_waiting_batches", Gauge, "batches", "outputQueueLength", "Batches that wait for credit.", Read::Channel(|of| count(of.of_run.waiting_batches))),
    line("millstream_channel_batches_under_way", Gauge, "batches", "inputQueueLength", "Batches that are sent and not worked off.", Read::Channel(|of| count(of.of_run.batches_under_way))),

    line("millstream_source_watermark_timestamp_seconds", Gauge, "seconds", "", "How far the slowest split has come in event time, since 1970.", Read::EventTime(|of, _| event_time(Some(of.watermark)))),
    line("millstream_source_watermark_lag_seconds", Gauge, "seconds", "watermarkLag", "By how much the slowest split is behind the job's clock.", Read::EventTime(|of, job| lag(Some(of.watermark), job))),
    line("millstream_source_watermark_drift_seconds", Gauge, "seconds", "watermarkAlignmentDrift", "By how much the slowest split is behind the fastest.", Read::EventTime(|of, _| Some(event_time(Some(of.ahead))? - event_time(Some(of.watermark))?))),
    line("millstream_source_pending_records", Gauge, "records", "pendingRecords", "Records that can be read and have not been.", Read::Source(|of| count(of.pending_records?))),
    line("millstream_source_queued_records", Gauge, "records", "", "Records pushed in that wait to become durable.", Read::Source(|of| count(of.queued_records?))),
    line("millstream_source_queued_bytes", Gauge, "bytes", "", "Bytes of the records pushed in that wait to become durable.", Read::Source(|of| count(of.queued_bytes?))),
    line("millstream_source_log_bytes", Gauge, "bytes", "", "Bytes of the records in the log that the source reads.", Read::Source(|of| count(of.log_bytes?))),
    line("millstream_source_split_durable_offset", Gauge, "records", "", "The offset up to which records of the split are durable.", Read::Split(|of| count(of.durable_offset))),
    line("millstream_source_split_read_offset", Gauge, "records", "", "The offset up to which records of the split were read.", Read::Split(|of| count(of.read_offset))),
];

fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

fn bool(is: bool) -> Option<f64> {
    count(is.into())
}

fn seconds(time: Duration) -> Option<f64> {
    Some(time.as_secs_f64())
}

fn nanos(nanos: u64) -> Option<f64> {
    seconds(Duration::from_nanos(nanos))
}

fn millis(millis: u64) -> Option<f64> {
    seconds(Duration::from_millis(millis))
}

/// Seconds since 1970; nothing where there is no time, or no end of it.
fn event_time(at: Option<Timestamp>) -> Option<f64> {
    let at = at.filter(|at| *at != Timestamp::MIN && *at != Timestamp::MAX)?;
    Some(at as f64 / 1_000.0)
}

fn lag(at: Option<Timestamp>, job: &JobMetrics) -> Option<f64> {
    Some(job.unix_ms as f64 / 1_000.0 - event_time(at)?)
}

fn newest_store(job: &JobMetrics) -> Option<f64> {
    job.checkpoints.iter().rev().find_map(|record| match &record.outcome {
        CheckpointOutcome::Completed { store, .. } => seconds(*store),
        _ => None,
    })
}
