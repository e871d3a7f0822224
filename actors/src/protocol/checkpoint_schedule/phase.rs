//! What the schedule waits for, and how long it waits before it tries again what has failed.

use std::sync::Arc;
use std::time::Duration;

use super::AbortReason;
use crate::protocol::pending_checkpoint::PendingCheckpoint;
use crate::protocol::{CheckpointId, Manifest};

/// Delay before the store is asked again after a failure, doubling.
const STORE_RETRY_FIRST: Duration = Duration::from_millis(10);
/// Longest delay before a final checkpoint or a call of the store is tried again.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
/// Delay before a checkpoint that sinks want is tried again, doubling: failures are tolerated in number, and those of a moment
/// must not use them up.
const AWAITED_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Failed calls of the store in a row, outside checkpoints, after which the job fails.
pub(super) const STORE_RETRIES_MAX: u32 = 8;
/// Checkpoints in a row that may fail for reasons which do not go away by themselves. What cannot be stored may be changed
/// by the next records.
const HOPELESS_FAILURES_MAX: u32 = 8;

/// So many checkpoints in a row may fail for this reason, whatever the settings say: where no retry can cure it, a job whose
/// input has ended would never end, and another one would go on without checkpoints.
pub(super) fn tolerable(reason: &AbortReason) -> u32 {
    match reason {
        reason if reason.is_final() => 0,
        reason if reason.is_retryable() => u32::MAX,
        _ => HOPELESS_FAILURES_MAX,
    }
}

/// A manifest that the writer was asked to make durable.
#[derive(Clone, Debug)]
pub(super) struct Finalising {
    pub(super) manifest: Arc<Manifest>,
    pub(super) all_halted: bool,
    pub(super) triggered_at: Duration,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// What is durable is not known: waits for the writer, which is asked (again) at `ask_at`, if set.
    Asking { unsettled: Option<Finalising>, ask_at: Option<Duration>, failures: u32 },
    /// Nothing is in flight.
    Idle,
    /// Waits for ids.
    Reserving,
    /// Waits for acknowledgements.
    InFlight { pending: PendingCheckpoint, deadline: Duration },
    /// Waits for the manifest.
    Finalising(Finalising),
    /// Waits for newer checkpoints to be marked abandoned.
    Abandoning { above: CheckpointId, retry_at: Option<Duration>, failures: u32 },
    /// The job was told its end.
    Over,
}

/// How long to wait after so many failures in a row.
pub(super) fn retry_delay(failures: u32) -> Duration {
    doubled(STORE_RETRY_FIRST, failures)
}

/// How long a checkpoint that sinks want waits after so many failures in a row.
pub(super) fn awaited_retry_delay(failures: u32) -> Duration {
    doubled(AWAITED_RETRY_FIRST, failures)
}

fn doubled(first: Duration, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(RETRY_DELAY_MAX)
}
