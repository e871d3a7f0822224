//! What a task has to do at certain times, and which of it comes first.

use std::collections::BTreeMap;
use std::time::Duration;

/// One deadline for each of several things to do. Times are those of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deadlines<K: Ord>(BTreeMap<K, Duration>);

impl<K: Ord + Copy> Deadlines<K> {
    /// None.
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Has `what` become due at `at`; an earlier setting of it no longer counts.
    pub fn set(&mut self, what: K, at: Duration) {
        self.0.insert(what, at);
    }

    /// Has `what` not become due. True if it would have.
    pub fn clear(&mut self, what: K) -> bool {
        self.0.remove(&what).is_some()
    }

    /// When `what` becomes due.
    pub fn of(&self, what: K) -> Option<Duration> {
        self.0.get(&what).copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Duration> {
        self.0.values().min().copied()
    }

    /// What is due at `now`, the earliest first; it is no longer set then.
    pub fn take_due(&mut self, now: Duration) -> Option<K> {
        let (&what, &at) = self.0.iter().min_by_key(|(_, at)| **at)?;
        (at <= now).then(|| {
            self.0.remove(&what);
            what
        })
    }
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn earliest_comes_first_and_once() {
        let mut deadlines = Deadlines::new();
        deadlines.set('a', 3 * SECOND);
        deadlines.set('b', 2 * SECOND);
        assert_eq!(deadlines.next(), Some(2 * SECOND));
        assert_eq!(deadlines.take_due(SECOND), None);
        assert_eq!(deadlines.take_due(3 * SECOND), Some('b'));
        assert_eq!(deadlines.take_due(3 * SECOND), Some('a'));
        assert_eq!(deadlines.take_due(3 * SECOND), None);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn newest_setting_counts_and_what_is_cleared_never_comes() {
        let mut deadlines = Deadlines::new();
        deadlines.set('a', SECOND);
        deadlines.set('a', 2 * SECOND);
        assert_eq!((deadlines.take_due(SECOND), deadlines.of('a'), deadlines.of('b')), (None, Some(2 * SECOND), None));
        assert!(deadlines.clear('a') && !deadlines.clear('a'));
        assert_eq!(deadlines.take_due(2 * SECOND), None);
    }
}
