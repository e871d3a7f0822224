//! A span of time.

use std::fmt;

use millstream_actors::protocol::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A span of time, from [`start`](Self::start) up to [`end`](Self::end), which is not in it. Milliseconds of the Unix epoch.
/// Follows Flink's `TimeWindow`.
///
/// Windows are ordered by their starts, and those with one start by their ends.
///
/// ```
/// use millstream::window::Window;
///
/// let window = Window::new(-500, 1_500);
/// assert!(window.contains(1_499) && !window.contains(1_500));
/// assert_eq!((window.max_timestamp(), window.to_string()), (1_499, "[-500, 1500)".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// All time: the window of [`GlobalWindows`](super::GlobalWindows), which never ends.
    pub const GLOBAL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// From `start` up to `end`, which is not in it.
    ///
    /// # Panics
    /// If it does not end after its start.
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        assert!(start < end, "a window from {start} up to {end} is empty");
        Self { start, end }
    }

    /// Its first millisecond.
    #[inline]
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// The first millisecond behind it.
    #[inline]
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// Its last millisecond: a watermark that has come to it says that the window is complete.
    #[inline]
    pub fn max_timestamp(self) -> Timestamp {
        self.end - 1
    }

    /// Whether a time is in it.
    #[inline]
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether the two have a time in common, or one begins where the other ends.
    #[inline]
    pub fn touches(self, other: Self) -> bool {
        self.start <= other.end && self.end >= other.start
    }

    /// The smallest window that has all of both.
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The window of this size, one of which begins at `offset` and the others at multiples of `step` from there, that begins
    /// last before `time` or at it. At the limits of time it is cut off.
    #[inline]
    pub(super) fn last_before(time: Timestamp, size: i64, step: i64, offset: i64) -> Self {
        // One of the very last millisecond still has a window.
        let start = floor(time, step, offset).min(Timestamp::MAX - 1);
        Self { start, end: start.saturating_add(size).max(start.saturating_add(1)) }
    }
}

/// The last of the times `offset`, plus or minus any multiple of `step`, that is not above `time`; the first of all times if there
/// is none.
#[inline]
pub(super) fn floor(time: Timestamp, step: i64, offset: i64) -> Timestamp {
    // In two parts, for the difference of time and offset may be no time.
    let first = if (0..step).contains(&offset) { offset } else { offset.rem_euclid(step) };
    let behind = time.rem_euclid(step) - first;
    time.saturating_sub(if behind < 0 { behind + step } else { behind })
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Window")]
        struct Stored {
            start: Timestamp,
            end: Timestamp,
        }
        let Stored { start, end } = Stored::deserialize(deserializer)?;
        if start >= end {
            return Err(D::Error::custom(format!("a window from {start} up to {end} is empty")));
        }
        Ok(Self { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_multiples_of_their_step_also_before_1970_and_at_the_limits() {
        assert_eq!([-1001, -1000, -1, 0, 999, 1000].map(|at| floor(at, 1000, 0)), [-2000, -1000, -1000, 0, 0, 1000]);
        assert_eq!([-1, 0, 249, 250, 1249, 1250].map(|at| floor(at, 1000, 250)), [-750, -750, -750, 250, 250, 1250]);
        assert_eq!([-1, 0, 749, 750].map(|at| floor(at, 1000, -250)), [-250, -250, -250, 750]);
        for offset in [-999, -1, 0, 1, 999] {
            for time in [Timestamp::MIN + 1, Timestamp::MIN + 999, -5, 0, 77, Timestamp::MAX - 1, Timestamp::MAX] {
                let window = Window::last_before(time, 1000, 1000, offset);
                assert!(
                    window.start <= time && (time < window.end || window.end == Timestamp::MAX),
                    "{window}, {time}"
                );
                let aligned = (i128::from(window.start) - i128::from(offset)).rem_euclid(1000) == 0;
                assert!(aligned || window.start == Timestamp::MIN, "{window} of {time}, offset {offset}");
            }
        }
    }

    #[test]
    fn windows_touch_where_one_ends_and_the_other_begins() {
        let window = Window::new(10, 20);
        let touches = |start, end| window.touches(Window::new(start, end));
        assert!(touches(0, 10) && touches(20, 30) && touches(12, 13) && touches(0, 40));
        assert!(!touches(0, 9) && !touches(21, 30));
        assert_eq!(window.cover(Window::new(20, 30)), Window::new(10, 30));
    }

    #[test]
    fn empty_windows_are_not_read() {
        assert_eq!(serde_json::from_str::<Window>("[-5, 7]").unwrap(), Window::new(-5, 7));
        let error = serde_json::from_str::<Window>("[7, 7]").unwrap_err();
        assert!(error.to_string().contains("from 7 up to 7 is empty"), "{error}");
    }
}
