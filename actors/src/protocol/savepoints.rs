//! Savepoints that were asked for: what each waits for, and what follows.
//!
//! A savepoint is an export of a completed checkpoint for which all sinks have answered, so it holds no pending commit.
//! No second barrier protocol is needed: a request waits for a checkpoint, then for the sinks, then for its export.

use std::collections::BTreeMap;

use super::{AbortReason, CheckpointId, NoCheckpoint, RestartWait};

/// Checkpoints that may fail for one savepoint, besides those that a restart aborts.
const FAILURES_MAX: u32 = 3;
/// Checkpoints that may be aborted for one savepoint in all.
const TRIES_MAX: u32 = 16;
/// Savepoints that may be under way: each holds a file open.
pub(crate) const SAVEPOINTS_MAX: usize = 16;

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Room at its target.
    Preparing,
    /// A checkpoint taken for it; `failures` of `tries` before were no restart's.
    Checkpoint { tries: u32, failures: u32 },
    /// The last checkpoint of a job that reads no more.
    Last,
    /// Every sink's answer for this checkpoint.
    Commits(CheckpointId),
    /// Its export.
    Export,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    then_stop: bool,
    stage: Stage,
}

/// What is to be done for savepoints, in order.
#[derive(Clone, Debug)]
pub(crate) enum SavepointCommand {
    /// Take a checkpoint now; its outcome goes to [`Savepoints::checkpoint_taken`].
    TakeCheckpoint { request: u64 },
    /// Have the sources stop reading.
    StopReading,
    /// Keep this checkpoint for the request.
    Pin { request: u64, checkpoint: CheckpointId },
    /// Export this checkpoint, which is pinned.
    Export { request: u64, checkpoint: CheckpointId },
    /// Answer that it did not come about.
    Refuse { request: u64, tries: u32, last: AbortReason },
    /// Answer that a region is parked.
    RefuseParked { request: u64 },
    /// Answer that no checkpoint can be taken for a while.
    RefuseForNow { request: u64, wait: RestartWait },
    /// The job may end now. If `failed_to_stop`, it was stopped for savepoints only, and none was written.
    End { is_final: bool, failed_to_stop: bool },
}

/// The job has reached its last checkpoint.
#[derive(Clone, Copy, Debug)]
struct Settled {
    checkpoint: CheckpointId,
    is_final: bool,
}

/// The savepoints of one job that are under way.
#[derive(Debug, Default)]
pub(crate) struct Savepoints {
    requests: BTreeMap<u64, Request>,
    settled: Option<Settled>,
    /// A savepoint with which the job was to stop failed, and none was written.
    failed_to_stop: bool,
    wrote_last: bool,
}

impl Savepoints {
    /// Whether there is room for another request.
    pub(crate) fn has_room(&self) -> bool {
        self.requests.len() < SAVEPOINTS_MAX
    }

    /// Somebody wants a savepoint, and the job to stop with it if `then_stop`.
    pub(crate) fn requested(&mut self, request: u64, then_stop: bool) {
        self.requests.insert(request, Request { then_stop, stage: Stage::Preparing });
    }

    /// There is room for it at its target.
    pub(crate) fn prepared(&mut self, request: u64, out: &mut Vec<SavepointCommand>) {
        let is_settled = self.settled.is_some();
        let Some(Request { then_stop, stage }) = self.requests.get_mut(&request) else { return };
        if *stage != Stage::Preparing {
            return;
        }
        if is_settled {
            *stage = Stage::Last;
        } else if *then_stop {
            *stage = Stage::Last;
            out.push(SavepointCommand::StopReading);
        } else {
            *stage = Stage::Checkpoint { tries: 0, failures: 0 };
            out.push(SavepointCommand::TakeCheckpoint { request });
        }
    }

    /// Whether one is to be made of the next checkpoint that is taken on demand.
    pub(crate) fn await_checkpoint(&self) -> bool {
        self.requests.values().any(|of| matches!(of.stage, Stage::Checkpoint { .. }))
    }

    /// The checkpoint for a request is complete, or will not be.
    pub(crate) fn checkpoint_taken(
        &mut self,
        request: u64,
        result: Result<CheckpointId, NoCheckpoint>,
        out: &mut Vec<SavepointCommand>,
    ) {
        let Some(Request { stage, .. }) = self.requests.get_mut(&request) else { return };
        let Stage::Checkpoint { tries, failures } = stage else { return };
        match result {
            Ok(checkpoint) => {
                *stage = Stage::Commits(checkpoint);
                out.push(SavepointCommand::Pin { request, checkpoint });
            }
            Err(NoCheckpoint::Restarting(wait)) => {
                self.requests.remove(&request);
                out.push(SavepointCommand::RefuseForNow { request, wait });
            }
            Err(NoCheckpoint::AllParked) => {
                self.requests.remove(&request);
                out.push(SavepointCommand::RefuseParked { request });
            }
            Err(NoCheckpoint::Aborted(last)) => {
                *tries += 1;
                *failures += u32::from(last.is_checkpoint_failure());
                if *failures >= FAILURES_MAX || *tries >= TRIES_MAX {
                    let tries = *tries;
                    self.requests.remove(&request);
                    out.push(SavepointCommand::Refuse { request, tries, last });
                } else {
                    out.push(SavepointCommand::TakeCheckpoint { request });
                }
            }
        }
    }

    /// A region is parked: its sinks answer for no checkpoint that `committed` does not know of, and a savepoint holds no pending
    /// commit.
    pub(crate) fn region_parked(&mut self, committed: impl Fn(CheckpointId) -> bool, out: &mut Vec<SavepointCommand>) {
        let waits = |of: &Request| match of.stage {
            Stage::Checkpoint { .. } | Stage::Last => true,
            Stage::Commits(checkpoint) => !committed(checkpoint),
            Stage::Preparing | Stage::Export => false,
        };
        let refused: Vec<u64> = self.requests.iter().filter(|(_, of)| waits(of)).map(|(request, _)| *request).collect();
        for request in refused {
            self.over(request, false);
            out.push(SavepointCommand::RefuseParked { request });
        }
    }

    /// The last checkpoint is complete and all sinks have committed it.
    pub(crate) fn settled(&mut self, checkpoint: CheckpointId, is_final: bool) {
        self.settled = Some(Settled { checkpoint, is_final });
    }

    /// Everything above this checkpoint was abandoned: what waited for commits of it takes another.
    pub(crate) fn abandoned_above(&mut self, above: CheckpointId, out: &mut Vec<SavepointCommand>) {
        for (request, Request { stage, .. }) in &mut self.requests {
            if matches!(stage, Stage::Commits(checkpoint) if *checkpoint > above) {
                *stage = Stage::Checkpoint { tries: 1, failures: 0 };
                out.push(SavepointCommand::TakeCheckpoint { request: *request });
            }
        }
    }

    /// A request is over: its savepoint was written, or was not.
    pub(crate) fn over(&mut self, request: u64, written: bool) {
        let Some(Request { then_stop: true, stage }) = self.requests.remove(&request) else { return };
        // One that found no room had not stopped the job.
        if stage != Stage::Preparing {
            self.wrote_last |= written;
            self.failed_to_stop |= !written;
        }
    }

    /// The writer was restarted and knows nothing of what it was asked: those requests are over.
    pub(crate) fn writer_restarted(&mut self) -> Vec<u64> {
        let lost =
            |(request, of): (&u64, &Request)| matches!(of.stage, Stage::Preparing | Stage::Export).then_some(*request);
        let lost: Vec<u64> = self.requests.iter().filter_map(lost).collect();
        for request in &lost {
            self.over(*request, false);
        }
        lost
    }

    /// Does whatever can be done; `committed` tells whether every sink has answered for a checkpoint.
    pub(crate) fn advance(&mut self, committed: impl Fn(CheckpointId) -> bool, out: &mut Vec<SavepointCommand>) {
        for (request, Request { stage, .. }) in &mut self.requests {
            let request = *request;
            if let (Stage::Last, Some(Settled { checkpoint, .. })) = (*stage, self.settled) {
                out.push(SavepointCommand::Pin { request, checkpoint });
                *stage = Stage::Commits(checkpoint);
            }
            if let Stage::Commits(checkpoint) = *stage
                && committed(checkpoint)
            {
                *stage = Stage::Export;
                out.push(SavepointCommand::Export { request, checkpoint });
            }
        }
        if self.requests.is_empty()
            && let Some(Settled { is_final, .. }) = self.settled.take()
        {
            let failed_to_stop = std::mem::take(&mut self.failed_to_stop) && !std::mem::take(&mut self.wrote_last);
            out.push(SavepointCommand::End { is_final, failed_to_stop });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::RegionId;

    /// What a call appends, in short.
    fn told(call: impl FnOnce(&mut Vec<SavepointCommand>)) -> Vec<String> {
        let mut out = Vec::new();
        call(&mut out);
        out.iter()
            .map(|command| match command {
                SavepointCommand::TakeCheckpoint { request } => format!("{request} checkpoint"),
                SavepointCommand::StopReading => "stop".to_owned(),
                SavepointCommand::Pin { request, checkpoint } => format!("{request} pin {checkpoint}"),
                SavepointCommand::Export { request, checkpoint } => format!("{request} export {checkpoint}"),
                SavepointCommand::Refuse { request, tries, .. } => format!("{request} refused after {tries}"),
                SavepointCommand::RefuseParked { request } => format!("{request} refused while a region is parked"),
                SavepointCommand::RefuseForNow { request, .. } => format!("{request} refused while it waits"),
                SavepointCommand::End { is_final, failed_to_stop } => format!("end {is_final} {failed_to_stop}"),
            })
            .collect()
    }

    /// P5.
    #[test]
    fn parked_region_refuses_what_waits_for_its_sinks_and_nothing_else() {
        let refused = "1 refused while a region is parked";
        let mut savepoints = with_request(false);
        told(|out| savepoints.prepared(1, out));
        assert_eq!(told(|out| savepoints.region_parked(|_| false, out)), [refused], "it waits for a checkpoint");
        for has_committed in [false, true] {
            let mut savepoints = with_request(false);
            told(|out| savepoints.prepared(1, out));
            told(|out| savepoints.checkpoint_taken(1, Ok(CheckpointId(5)), out));
            let out = told(|out| savepoints.region_parked(|_| has_committed, out));
            assert_eq!(out.is_empty(), has_committed);
        }
        let mut savepoints = with_request(true);
        told(|out| savepoints.prepared(1, out));
        assert_eq!(told(|out| savepoints.region_parked(|_| false, out)), [refused], "it waits for the last one");
        savepoints.settled(CheckpointId(6), false);
        assert_eq!(told(|out| savepoints.advance(|_| false, out)), ["end false true"], "the job reads on");
    }

    fn with_request(then_stop: bool) -> Savepoints {
        let mut savepoints = Savepoints::default();
        savepoints.requested(1, then_stop);
        let first = told(|out| savepoints.prepared(1, out));
        assert_eq!(first, [if then_stop { "stop" } else { "1 checkpoint" }]);
        savepoints
    }

    #[test]
    fn export_waits_for_the_checkpoint_and_for_every_sink() {
        let mut savepoints = with_request(false);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
        assert_eq!(told(|out| savepoints.checkpoint_taken(1, Ok(CheckpointId(5)), out)), ["1 pin 5"]);
        assert!(told(|out| savepoints.advance(|id| id < CheckpointId(5), out)).is_empty());
        assert_eq!(told(|out| savepoints.advance(|id| id <= CheckpointId(5), out)), ["1 export 5"]);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
    }

    #[test]
    fn failed_checkpoints_are_retried_and_then_refused_and_restarts_count_less() {
        let mut savepoints = with_request(false);
        let restart = || Err(NoCheckpoint::Aborted(AbortReason::RegionFailed(RegionId(0))));
        for _ in 0..4 {
            assert_eq!(told(|out| savepoints.checkpoint_taken(1, restart(), out)), ["1 checkpoint"]);
        }
        let failure = || Err(NoCheckpoint::Aborted(AbortReason::TimedOut { missing: 1 }));
        for _ in 1..FAILURES_MAX {
            assert_eq!(told(|out| savepoints.checkpoint_taken(1, failure(), out)), ["1 checkpoint"]);
        }
        assert_eq!(told(|out| savepoints.checkpoint_taken(1, failure(), out)), ["1 refused after 7"]);
        let mut savepoints = with_request(false);
        for _ in 1..TRIES_MAX {
            assert_eq!(told(|out| savepoints.checkpoint_taken(1, restart(), out)), ["1 checkpoint"]);
        }
        assert_eq!(told(|out| savepoints.checkpoint_taken(1, restart(), out)), ["1 refused after 16"]);
    }

    #[test]
    fn request_is_refused_at_once_where_no_checkpoint_can_be_taken_for_a_while() {
        let mut savepoints = with_request(false);
        let wait = RestartWait { region: RegionId(0), next_attempt_in: Duration::from_secs(60) };
        let refused = told(|out| savepoints.checkpoint_taken(1, Err(NoCheckpoint::Restarting(wait)), out));
        assert_eq!(refused, ["1 refused while it waits"]);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
    }

    #[test]
    fn abandoned_checkpoint_is_not_exported() {
        let mut savepoints = with_request(false);
        told(|out| savepoints.checkpoint_taken(1, Ok(CheckpointId(5)), out));
        assert!(told(|out| savepoints.abandoned_above(CheckpointId(5), out)).is_empty());
        assert_eq!(told(|out| savepoints.abandoned_above(CheckpointId(4), out)), ["1 checkpoint"]);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
    }

    #[test]
    fn job_ends_after_its_savepoints() {
        let mut savepoints = with_request(true);
        savepoints.requested(2, false);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
        savepoints.settled(CheckpointId(9), false);
        assert_eq!(told(|out| savepoints.advance(|_| true, out)), ["1 pin 9", "1 export 9"]);
        assert!(told(|out| savepoints.prepared(2, out)).is_empty());
        assert_eq!(told(|out| savepoints.advance(|_| true, out)), ["2 pin 9", "2 export 9"]);
        savepoints.over(1, true);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
        savepoints.over(2, false);
        assert_eq!(told(|out| savepoints.advance(|_| true, out)), ["end false false"]);
        assert!(told(|out| savepoints.advance(|_| true, out)).is_empty());
    }

    #[test]
    fn job_that_stopped_only_for_a_savepoint_that_failed_is_told_apart() {
        let mut savepoints = with_request(true);
        savepoints.settled(CheckpointId(9), false);
        told(|out| savepoints.advance(|_| true, out));
        savepoints.over(1, false);
        assert_eq!(told(|out| savepoints.advance(|_| true, out)), ["end false true"]);

        let mut savepoints = with_request(true);
        savepoints.requested(2, true);
        savepoints.over(2, false);
        savepoints.settled(CheckpointId(9), false);
        told(|out| savepoints.advance(|_| true, out));
        savepoints.over(1, true);
        assert_eq!(told(|out| savepoints.advance(|_| true, out)), ["end false false"]);
    }

    #[test]
    fn restart_of_the_writer_ends_what_it_had_been_asked() {
        let mut savepoints = with_request(false);
        savepoints.requested(2, false);
        savepoints.requested(3, false);
        told(|out| savepoints.prepared(3, out));
        told(|out| savepoints.checkpoint_taken(3, Ok(CheckpointId(4)), out));
        told(|out| savepoints.advance(|_| true, out));
        assert_eq!(savepoints.writer_restarted(), [2, 3]);
        assert_eq!(told(|out| savepoints.checkpoint_taken(1, Ok(CheckpointId(5)), out)), ["1 pin 5"]);
    }
}
