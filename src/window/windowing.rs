//! How the windows of a stream are, and when something of them is due.

use std::time::Duration;

use millstream_actors::protocol::{NO_TIME, Timestamp};

use super::assigner::{WindowAssigner, WindowTime, millis};
use super::panes::{Pane, PanesSlot};
use super::{Trigger, Window};
use crate::operator::OutputTag;
use crate::state::TimeDomain;

/// How the windows of a stream are.
pub(crate) struct Windowing<T, A, Tr> {
    pub(crate) assigner: A,
    pub(crate) trigger: Tr,
    /// The trigger is the one that the windows have of their own.
    pub(crate) has_own_trigger: bool,
    /// In milliseconds; only windows of event time have it.
    pub(crate) lateness: i64,
    pub(crate) late: Option<OutputTag<T>>,
}

impl<T, A: Clone, Tr: Clone> Clone for Windowing<T, A, Tr> {
    fn clone(&self) -> Self {
        Self { assigner: self.assigner.clone(), trigger: self.trigger.clone(), late: self.late.clone(), ..*self }
    }
}

impl<T, A: WindowAssigner<T>, Tr: Trigger<T>> Windowing<T, A, Tr> {
    /// When a window is over; `None` if it never is.
    #[inline]
    pub(super) fn over(&self, window: Window) -> Option<Timestamp> {
        match self.assigner.time() {
            WindowTime::EventTime => Some(window.max_timestamp().saturating_add(self.lateness)),
            // Records of its last millisecond still come while the clock shows that.
            WindowTime::ProcessingTime => Some(window.end()),
            WindowTime::Neither => None,
        }
    }

    /// Whether a window is over by the watermark.
    #[inline]
    pub(super) fn is_late(&self, window: Window, watermark: Timestamp) -> bool {
        self.assigner.time() == WindowTime::EventTime && self.over(window).is_some_and(|over| over <= watermark)
    }

    /// Whether each window gives its result once, when it is over, and they follow each other.
    #[inline]
    pub(super) fn fires_once(&self) -> bool {
        let is_of_event_time = self.assigner.time() == WindowTime::EventTime;
        is_of_event_time && self.assigner.tumbles() && self.has_own_trigger && self.lateness == 0
    }

    /// When the trigger of a pane is to be called; if by event time, after `after`.
    #[inline]
    pub(super) fn call<C>(&self, domain: TimeDomain, after: Timestamp, pane: &Pane<C, Tr::State>) -> Option<Timestamp> {
        match domain {
            TimeDomain::Event => {
                let at = self.trigger.event_time(pane.window, &pane.trigger, after);
                at.filter(|at| *at > after)
            }
            TimeDomain::Processing => self.trigger.processing_time(pane.window, &pane.trigger),
        }
    }

    /// When a window is over by this domain.
    #[inline]
    pub(super) fn over_by(&self, domain: TimeDomain, window: Window) -> Option<Timestamp> {
        let is_its_own = match self.assigner.time() {
            WindowTime::EventTime => domain == TimeDomain::Event,
            WindowTime::ProcessingTime => domain == TimeDomain::Processing,
            WindowTime::Neither => false,
        };
        self.over(window).filter(|_| is_its_own)
    }

    /// When something of a pane is due; if by event time, after `after`.
    #[inline]
    fn due<C>(&self, domain: TimeDomain, after: Timestamp, pane: &Pane<C, Tr::State>) -> Option<Timestamp> {
        self.call(domain, after, pane).into_iter().chain(self.over_by(domain, pane.window)).min()
    }

    /// Sets when something of a key is due; if by event time, after `after`.
    #[inline]
    pub(super) fn reckon<C>(&self, slot: &mut PanesSlot<C, Tr::State>, after: Timestamp) {
        for domain in TimeDomain::ALL {
            let due = slot.panes.iter().filter_map(|pane| self.due(domain, after, pane)).min();
            slot.due.set_first(domain, due);
        }
    }

    /// Notes when something of a window that has changed is due. What is due of it may be later than what was noted before; the key
    /// is looked at too early then.
    #[inline]
    pub(super) fn reckon_of<C>(&self, window: Window, slot: &mut PanesSlot<C, Tr::State>, after: Timestamp) {
        let place = slot.panes.iter().rposition(|pane| pane.window <= window);
        let Some(pane) = place.and_then(|place| slot.panes.get(place)) else { return };
        for domain in TimeDomain::ALL {
            if let Some(due) = self.due(domain, after, pane) {
                slot.due.set_earlier(domain, due);
            }
        }
    }

    /// The event time of what a window gives. Windows that go by no time give what has that of its cause.
    pub(super) fn time_of_result(&self, window: Window, cause: Timestamp) -> Timestamp {
        match self.assigner.time() {
            WindowTime::EventTime => window.max_timestamp(),
            WindowTime::ProcessingTime => NO_TIME,
            WindowTime::Neither => cause,
        }
    }

    /// Takes the lateness, and says what of all cannot be.
    pub(crate) fn check(&mut self, lateness: Duration) -> Vec<String> {
        let (assigner, trigger) = (self.assigner.check(), self.trigger.check(self.assigner.time()));
        let lateness = match (millis(lateness), self.assigner.time()) {
            _ if lateness.is_zero() => Ok(()),
            (Ok(millis), WindowTime::EventTime) => {
                self.lateness = millis;
                Ok(())
            }
            (Err(reason), _) => Err(format!("the allowed lateness is {reason}")),
            (Ok(_), _) => Err("only windows of event time have a lateness, and others know no late records".to_owned()),
        };
        [assigner, trigger, lateness].into_iter().filter_map(Result::err).collect()
    }
}
