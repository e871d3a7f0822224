//! The log lines of regions that give up, are parked and resumed, or restart along with others.

use super::*;

/// What is told of that; of other events nothing.
pub(super) fn write(f: &mut fmt::Formatter<'_>, event: &JobEventKind) -> fmt::Result {
    match event {
        JobEventKind::RegionRestartsAlong { region, cause, delay } => {
            write!(f, "region={region} restarts ")?;
            if delay.is_zero() {
                f.write_str("now")?
            } else {
                write!(f, "in {}", Shown(*delay))?
            }
            write!(f, " along with region {cause}, which failed (counts as no failure of its own)")
        }
        JobEventKind::Escalated { region, error, checkpoint, asks_host, .. } => {
            write!(f, "region={region} gives up at ")?;
            write_at(f, *checkpoint)?;
            f.write_str(if *asks_host { ", and the host is asked what is to become of it: " } else { ": " })?;
            write!(f, "{error}")
        }
        JobEventKind::EscalationAnswered { region, decision, by_host } => {
            let who = if *by_host { "the host has answered" } else { "the host has not answered in time" };
            write!(f, "region={region} {who}: {decision}")
        }
        JobEventKind::RegionParked { region, checkpoint, .. } => {
            write!(f, "region={region} is parked at ")?;
            write_at(f, *checkpoint)?;
            f.write_str(": the other regions and checkpoints go on without it until it is resumed")
        }
        JobEventKind::ParkingRefused { region } => {
            write!(f, "region={region} cannot be parked: no checkpoint of the job could hold what there is of it")
        }
        JobEventKind::RegionResumed { region, parked_since_unix_ms: since } => {
            write!(f, "region={region} starts again with a fresh restart budget; it was parked since {since} (Unix ms)")
        }
        _ => Ok(()),
    }
}

fn write_at(f: &mut fmt::Formatter<'_>, checkpoint: Option<CheckpointId>) -> fmt::Result {
    match checkpoint {
        Some(checkpoint) => write!(f, "checkpoint {checkpoint}"),
        None => f.write_str("the beginning"),
    }
}
