//! What holds the event time of a region back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::serialised;
use super::{NO_TIME, OperatorId, Timestamp};

/// How far event time has come in one subtask of an operator that tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The operator: a source, or a strategy in mid-stream.
    pub operator: OperatorId,
    /// The index of the subtask.
    pub subtask: u32,
    /// The slowest of its splits, if it has any.
    pub split: Option<Arc<str>>,
    /// How far that has come; [`NO_TIME`] if it has said nothing.
    pub watermark: Timestamp,
    /// How far the fastest of its splits has come.
    pub ahead: Timestamp,
    /// Since when that is the slowest and has come so far, by the job's clock.
    #[serde(rename = "since_ms", serialize_with = "serialised::millis")]
    pub since: Duration,
}

/// Who holds the event time of a region back: the slowest of all splits that its sources read, and that are neither idle nor at their
/// end, while others are further on. In mid-stream a subtask stands for the split.
///
/// ```
/// use millstream::prelude::*;
///
/// # let env = StreamEnvironment::new("trades");
/// # env.source("trades", SequenceSource::new(0..10)).for_each("out", |_| {});
/// let job = env.start()?;
/// for held_back in job.status().held_back.into_values() {
///     println!("{held_back}");                            // 'trades' subtask 1, split 'a.log' holds event time back ...
/// }
/// # job.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeldBack {
    /// The source, or the strategy in mid-stream.
    pub operator: OperatorId,
    /// The index of its subtask.
    pub subtask: u32,
    /// The split; `None` in mid-stream, and of a source that does not say which it reads or has begun none.
    pub split: Option<Arc<str>>,
    /// How far event time has come there; `None` if nothing has been said of it yet.
    pub watermark: Option<Timestamp>,
    /// How far it has come where it is furthest on.
    pub ahead: Timestamp,
    /// For how long it has stood there.
    #[serde(rename = "held_for_ms", serialize_with = "serialised::millis")]
    pub held_for: Duration,
}

impl HeldBack {
    /// Of a region in which event time stands so, at the time `now`. `None` if nothing is further on than the slowest.
    pub fn of(standings: &[Standing], now: Duration) -> Option<Self> {
        let ahead = standings.iter().map(|standing| standing.ahead.max(standing.watermark)).max()?;
        let slowest = standings.iter().min_by_key(|standing| (standing.watermark, standing.since))?;
        let Standing { operator, subtask, split, watermark, since, .. } = slowest.clone();
        let held_for = now.saturating_sub(since);
        let watermark_said = Some(watermark).filter(|watermark| *watermark != NO_TIME);
        (watermark < ahead).then_some(Self { operator, subtask, split, watermark: watermark_said, ahead, held_for })
    }

    fn is_where(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.operator.clone(), it.subtask, it.split.clone(), it.watermark);
        place(self) == place(other)
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, subtask, split, watermark, ahead, held_for } = self;
        write!(f, "'{operator}' subtask {subtask}")?;
        split.as_ref().map_or(Ok(()), |split| write!(f, ", split '{split}'"))?;
        let seconds = held_for.as_secs_f64();
        match watermark {
            Some(at) => {
                let behind = ahead.saturating_sub(*at);
                write!(f, " holds event time back at {at} for {seconds:.1} s, {behind} ms behind the furthest")
            }
            None => {
                write!(f, " holds event time back for {seconds:.1} s: it has none yet, and the furthest is at {ahead}")
            }
        }
    }
}

/// What was told of it: it is told again when it has moved and stands once more, or has stood for twice as long.
#[derive(Clone, Debug, Default)]
pub struct HeldBackNews(Option<HeldBack>);

impl HeldBackNews {
    /// What is to be told of what `is` now, if that has stood for `after` at least.
    pub fn news(&mut self, is: Option<HeldBack>, after: Duration) -> Option<HeldBack> {
        let Some(is) = is.filter(|is| is.held_for >= after) else {
            self.0 = None;
            return None;
        };
        let is_known = |told: &HeldBack| told.is_where(&is) && is.held_for < told.held_for.saturating_mul(2);
        if self.0.as_ref().is_some_and(is_known) {
            return None;
        }
        self.0 = Some(is.clone());
        Some(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn standing(subtask: u32, split: &str, watermark: Timestamp, ahead: Timestamp, since: u32) -> Standing {
        let (operator, split) = (OperatorId::new("clicks"), Some(split.into()));
        Standing { operator, subtask, split, watermark, ahead, since: SECOND * since }
    }

    #[test]
    fn slowest_of_all_subtasks_holds_back_if_something_is_further_on() {
        assert_eq!(HeldBack::of(&[], SECOND), None);
        assert_eq!(HeldBack::of(&[standing(0, "a", 10, 10, 0), standing(1, "b", 10, 10, 0)], SECOND), None);
        let held = HeldBack::of(&[standing(0, "a", 10, 10, 0), standing(1, "b", 4, 30, 2)], SECOND * 5).unwrap();
        assert_eq!(
            held.to_string(),
            "'clicks' subtask 1, split 'b' holds event time back at 4 for 3.0 s, 26 ms behind the furthest"
        );
        let silent = Standing { split: None, ..standing(2, "", NO_TIME, NO_TIME, 0) };
        let held = HeldBack::of(&[standing(0, "a", 10, 10, 0), silent], SECOND).unwrap();
        assert_eq!((held.subtask, held.split.as_deref(), held.watermark), (2, None, None));
        assert!(
            held.to_string()
                .ends_with("subtask 2 holds event time back for 1.0 s: it has none yet, and the furthest is at 10")
        );
    }

    #[test]
    fn it_is_told_once_and_again_after_twice_as_long_or_elsewhere() {
        let held = |watermark, seconds| {
            HeldBack::of(&[standing(0, "a", watermark, 90, 0), standing(1, "b", 90, 90, 0)], SECOND * seconds)
        };
        let mut told = HeldBackNews::default();
        let mut is_told = |is| told.news(is, SECOND * 10).is_some();
        let all = [
            held(5, 9),
            held(5, 10),
            held(5, 19),
            held(5, 20),
            held(5, 39),
            held(6, 10),
            held(6, 12),
            None,
            held(6, 12),
        ];
        assert_eq!(all.map(&mut is_told), [false, true, false, true, false, true, false, false, true]);
    }
}
