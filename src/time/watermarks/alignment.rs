//! Sources that wait for each other.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_actors::protocol::{OperatorId, Timestamp};

/// Has the subtasks of a source, and those of several sources, wait for each other in event time: one that is ahead of the slowest
/// by more than a maximum drift does not read until that has come nearer. So what is kept for the time between them (windows,
/// joins) stays bounded where one is read faster than others. Follows Flink's `withWatermarkAlignment`; the group is this value,
/// which strategies of several sources may share.
///
/// A source that waits answers barriers, and does not become idle by that. One that is idle, or at its end, is not waited for, nor is
/// one whose job has ended; one that has said nothing yet is, and so is one that is paused, parked or being
/// restarted.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::time::WatermarkAlignment;
///
/// # let env = StreamEnvironment::new("both");
/// # let (clicks, orders) = (VecSource::new(vec![1_000_i64]), VecSource::new(vec![2_000_i64]));
/// let together = WatermarkAlignment::within(Duration::from_secs(10));
/// let strategy = || WatermarkStrategy::monotonous(|at: &i64| *at).with_alignment(&together);
/// let clicks = env.source_with_watermarks("clicks", clicks, strategy());
/// let orders = env.source_with_watermarks("orders", orders, strategy());
/// clicks.union(orders).for_each("see", |at| println!("{at}"));
/// # env.explain().unwrap();
/// ```
#[derive(Clone)]
pub struct WatermarkAlignment {
    drift_ms: i64,
    members: Arc<Mutex<Members>>,
}

#[derive(Default)]
struct Members {
    known: HashMap<Place, Known>,
    tokens: u64,
}

/// Which source of which job, and which of its subtasks.
type Place = (Arc<str>, OperatorId, u32);

struct Known {
    /// Of a subtask that was replaced, and has not stopped yet, only the new one counts.
    token: u64,
    watermark: Timestamp,
    is_idle: bool,
}

impl WatermarkAlignment {
    /// At most so far apart, in whole milliseconds, and what one read gives.
    pub fn within(max_drift: Duration) -> Self {
        let drift_ms = i64::try_from(max_drift.as_millis()).unwrap_or(i64::MAX);
        Self { drift_ms, members: Arc::default() }
    }

    /// A subtask of a source, of so many, begins to read. It takes the place of an earlier one in its place; those of a time when there
    /// were more are not waited for any more.
    pub(crate) fn join(&self, job: Arc<str>, source: OperatorId, (subtask, of): (u32, u32)) -> AlignedMember {
        let mut members = self.members();
        members.known.retain(|(other, id, index), _| *index < of || (other, id) != (&job, &source));
        members.tokens += 1;
        let (token, place) = (members.tokens, (job, source, subtask));
        members.known.insert(place.clone(), Known { token, watermark: Timestamp::MIN, is_idle: false });
        drop(members);
        AlignedMember { alignment: self.clone(), place, token }
    }

    /// The job of a source has ended: none of its subtasks is waited for.
    pub(crate) fn job_ended(&self, job: &Arc<str>, source: &OperatorId) {
        self.members().known.retain(|(of_job, of_source, _), _| (of_job, of_source) != (job, source));
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WatermarkAlignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkAlignment").field("drift_ms", &self.drift_ms).finish_non_exhaustive()
    }
}

/// One that the others wait for, until it leaves. One that is dropped is being restarted, and another takes its place, or its job
/// ends.
pub(crate) struct AlignedMember {
    alignment: WatermarkAlignment,
    place: Place,
    token: u64,
}

impl AlignedMember {
    /// How far it has come, and whether it is idle now, if that is news.
    pub(crate) fn tell(&self, watermark: Option<Timestamp>, is_idle: Option<bool>) {
        let mut members = self.alignment.members();
        if let Some(known) = members.known.get_mut(&self.place).filter(|known| known.token == self.token) {
            known.watermark = known.watermark.max(watermark.unwrap_or(Timestamp::MIN));
            known.is_idle = is_idle.unwrap_or(known.is_idle);
        }
    }

    /// It is at its end.
    pub(crate) fn leave(self) {
        let mut members = self.alignment.members();
        if members.known.get(&self.place).is_some_and(|known| known.token == self.token) {
            members.known.remove(&self.place);
        }
    }

    /// Whether it is near enough to the slowest of those that are waited for.
    pub(crate) fn may_read(&self) -> bool {
        let members = self.alignment.members();
        let Some(own) = members.known.get(&self.place).filter(|known| known.token == self.token) else { return true };
        let awaited = members.known.iter().filter(|(place, known)| **place != self.place && !known.is_idle);
        let slowest = awaited.map(|(_, known)| known.watermark).min();
        slowest.is_none_or(|slowest| own.watermark <= slowest.saturating_add(self.alignment.drift_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_those_that_are_not_idle_is_waited_for() {
        let alignment = WatermarkAlignment::within(Duration::from_millis(10));
        let (fast, slow) =
            (alignment.join("job".into(), "fast".into(), (0, 2)), alignment.join("job".into(), "slow".into(), (0, 2)));
        assert!(fast.may_read() && slow.may_read());
        fast.tell(Some(5), None);
        assert!(!fast.may_read(), "the other has said nothing yet");
        slow.tell(Some(-5), None);
        assert!(fast.may_read() && slow.may_read());
        fast.tell(Some(6), None);
        assert!(!fast.may_read() && slow.may_read());
        slow.tell(None, Some(true));
        assert!(fast.may_read(), "it is idle");
        slow.tell(None, Some(false));
        assert!(!fast.may_read());
        let new = alignment.join("job".into(), "slow".into(), (0, 2));
        slow.leave();
        assert!(!fast.may_read(), "one that was replaced takes nothing away with it");
        assert!(new.may_read());
        drop(new);
        assert!(!fast.may_read(), "it is being restarted");
        let again = alignment.join("job".into(), "slow".into(), (0, 2));
        assert!(!fast.may_read());
        again.leave();
        assert!(fast.may_read());
        let _other = alignment.join("other".into(), "slow".into(), (0, 2));
        let _others = alignment.join("other".into(), "slow".into(), (1, 2));
        assert!(!fast.may_read());
        alignment.job_ended(&"other".into(), &"slow".into());
        assert!(fast.may_read());
    }

    #[test]
    fn subtasks_that_there_are_no_more_after_a_rescale_are_not_waited_for() {
        let alignment = WatermarkAlignment::within(Duration::from_millis(10));
        let join = |source: &str, subtask| alignment.join("job".into(), source.into(), subtask);
        let other = join("other", (1, 2));
        other.tell(Some(100), None);
        drop([join("split", (0, 2)), join("split", (1, 2))]);
        let only = join("split", (0, 1));
        only.tell(Some(90), None);
        assert!(other.may_read() && only.may_read(), "the second subtask is gone, and the other source's is not");
    }
}
