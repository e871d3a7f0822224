//! Whether the figures are those of now.

use std::time::Duration;

use super::client::WITHIN;

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How it stands with the server.
#[derive(Clone, Debug)]
pub(super) struct Link {
    interval: Duration,
    heard_at: Option<Duration>,
    trouble: Option<Trouble>,
}

/// Why nothing was heard the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) hint: Option<&'static str>,
    /// When the next try is.
    pub(super) next_try: Duration,
}

impl Link {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, heard_at: None, trouble: None }
    }

    pub(super) fn heard(&mut self, at: Duration) {
        self.heard_at = Some(at);
        self.trouble = None;
    }

    pub(super) fn failed(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble);
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// How long ago the server has answered; `None` if it never has.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        self.heard_at.map(|at| now.saturating_sub(at))
    }

    /// Whether the figures must be marked as old: the last try has failed, or lasts too long.
    pub(super) fn is_old(&self, now: Duration) -> bool {
        self.trouble.is_some() || self.age(now).is_some_and(|age| age > self.interval + WITHIN)
    }
}

/// How long to wait after so many failures in a row: twice as long each time, up to half a minute.
pub(super) fn pause_after(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(5)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_old_after_a_failure_and_after_silence() {
        let second = Duration::from_secs;
        let mut link = Link::new(second(2));
        assert_eq!((link.is_old(second(100)), link.age(second(100))), (false, None));
        link.heard(second(100));
        assert_eq!((link.is_old(second(107)), link.is_old(second(108))), (false, true));
        let trouble = Trouble { what: "cut".to_owned(), hint: None, next_try: second(103) };
        link.failed(trouble.clone());
        assert_eq!((link.is_old(second(102)), link.age(second(102))), (true, Some(second(2))));
        assert_eq!(link.trouble(), Some(&trouble));
        link.heard(second(103));
        assert!(!link.is_old(second(103)) && link.trouble().is_none());
    }

    #[test]
    fn pauses_grow_and_have_a_bound() {
        let pauses: Vec<u64> = (1..=8).map(|failures| pause_after(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pause_after(u32::MAX), PAUSE_MAX);
    }
}
