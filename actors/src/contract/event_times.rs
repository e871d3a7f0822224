//! Where the event time of a subtask stands, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::{OperatorId, Standing, Timestamp};

/// How far event time has come in those operators of one subtask that tell it. Clones are the same; any thread may use it.
///
/// A source with a strategy tells it by itself, by its [`SourceContext`](super::SourceContext); one that makes watermarks of its own
/// does so with each read. It shows in the job's status, as [`HeldBack`](crate::protocol::HeldBack).
///
/// ```
/// use millstream::testing::source_context;
///
/// let cx = source_context(0, 1);
/// let (slowest, fastest) = (1_000, 5_000);
/// cx.event_times.stands((&cx.operator, cx.subtask_index), Some("a.log"), (slowest, fastest), cx.clock.now());
/// assert_eq!(cx.event_times.read()[0].watermark, 1_000);
/// cx.event_times.clear(&cx.operator);
/// assert!(cx.event_times.read().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventTimes(Arc<Mutex<Vec<Standing>>>);

impl EventTimes {
    /// In subtask `subtask` of `operator` the slowest split, if it has any, has come to `watermark`
    /// ([`NO_TIME`](crate::protocol::NO_TIME) if to none yet) and the fastest to `ahead`, at the time `now` of the job's clock.
    pub fn stands(
        &self,
        (operator, subtask): (&OperatorId, u32),
        split: Option<&str>,
        (watermark, ahead): (Timestamp, Timestamp),
        now: Duration,
    ) {
        let mut standings = self.lock();
        let known = standings.iter().position(|standing| standing.operator == *operator);
        if let Some(known) = known {
            let known = &mut standings[known];
            known.ahead = ahead;
            if known.split.as_deref() != split {
                (known.split, known.since) = (split.map(Into::into), now);
            } else if known.watermark != watermark {
                known.since = now;
            }
            known.watermark = watermark;
            return;
        }
        let (operator, split) = (operator.clone(), split.map(Into::into));
        standings.push(Standing { operator, subtask, split, watermark, ahead, since: now });
    }

    /// The operator holds nothing back: it is idle, at its end or gone.
    pub fn clear(&self, operator: &OperatorId) {
        self.lock().retain(|standing| standing.operator != *operator);
    }

    /// Those of all its operators that may hold something back.
    pub fn read(&self) -> Vec<Standing> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_when_the_slowest_came_to_where_it_is() {
        let (times, operator) = (EventTimes::default(), OperatorId::new("clicks"));
        let since = |split, watermark, ahead, now| {
            times.stands((&operator, 3), Some(split), (watermark, ahead), Duration::from_secs(now));
            times.read()[0].since.as_secs()
        };
        assert_eq!([since("a", 5, 5, 1), since("a", 5, 9, 2), since("a", 6, 9, 3)], [1, 1, 3]);
        assert_eq!([since("b", 6, 9, 4), since("b", 6, 10, 5)], [4, 4]);
        assert_eq!((times.read().len(), times.read()[0].ahead), (1, 10));
        times.clear(&operator);
        assert_eq!((times.read().len(), since("b", 6, 10, 6)), (0, 6));
    }
}
