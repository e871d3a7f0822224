//! Runs windows: a keyed function whose state is the windows of a key.

use std::fmt;
use std::marker::PhantomData;

use millstream_actors::protocol::{NO_TIME, Timestamp};
use smallvec::SmallVec;

use super::assigner::{Slicing, WindowAssigner, WindowTime};
use super::function::{PaneFunction, WindowContext};
use super::panes::{Pane, Panes, PanesHandle, PanesSlot, Slice};
use super::slices::Cut;
use super::{Trigger, TriggerContext, TriggerResult, Window};
use crate::keyed::{KeyedContext, KeyedProcessFunction};
use crate::operator::{Emitter, OutputTag};
use crate::state::{TimeDomain, Timer};

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
    fn over(&self, window: Window) -> Option<Timestamp> {
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

    /// When the trigger of a pane is to be called; if by event time, after `after`.
    #[inline]
    fn call<C>(&self, domain: TimeDomain, after: Timestamp, pane: &Pane<C, Tr::State>) -> Option<Timestamp> {
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
    fn over_by(&self, domain: TimeDomain, window: Window) -> Option<Timestamp> {
        let is_its_own = match self.assigner.time() {
            WindowTime::EventTime => domain == TimeDomain::Event,
            WindowTime::ProcessingTime => domain == TimeDomain::Processing,
            WindowTime::Neither => false,
        };
        self.over(window).filter(|_| is_its_own)
    }

    /// Sets when something of a key is due; if by event time, after `after`.
    #[inline]
    fn reckon<C>(&self, slot: &mut PanesSlot<C, Tr::State>, after: Timestamp) {
        for domain in TimeDomain::ALL {
            let due = |pane: &Pane<C, Tr::State>| {
                self.call(domain, after, pane).into_iter().chain(self.over_by(domain, pane.window)).min()
            };
            slot.due.set_first(domain, slot.panes.iter().filter_map(due).min());
        }
    }

    /// Notes when something of a window that has changed is due. What is due of it may be later than what was noted before; the key
    /// is looked at too early then.
    #[inline]
    fn reckon_of<C>(&self, window: Window, slot: &mut PanesSlot<C, Tr::State>, after: Timestamp) {
        let place = slot.panes.iter().rposition(|pane| pane.window <= window);
        let Some(pane) = place.and_then(|place| slot.panes.get(place)) else { return };
        for domain in TimeDomain::ALL {
            if let Some(due) = self.call(domain, after, pane).into_iter().chain(self.over_by(domain, window)).min() {
                slot.due.set_earlier(domain, due);
            }
        }
    }

    /// The event time of what a window gives. Windows that go by no time give what has that of its cause.
    fn time_of_result(&self, window: Window, cause: Timestamp) -> Timestamp {
        match self.assigner.time() {
            WindowTime::EventTime => window.max_timestamp(),
            WindowTime::ProcessingTime => NO_TIME,
            WindowTime::Neither => cause,
        }
    }
}

/// A keyed function that keeps windows. `F` says what they keep of their records, and what they give.
pub(crate) struct Windowed<K, T, A, Tr, F> {
    pub(super) windowing: Windowing<T, A, Tr>,
    pub(super) function: F,
    /// If windows share slices: how they are cut.
    pub(super) slicing: Option<Slicing>,
    /// Storage for those of a record. Where a time is in one window only it is the last one.
    windows: Vec<Window>,
    /// The last one that a time fell into.
    pub(super) cut: Option<Cut>,
    of: PhantomData<fn(K)>,
}

impl<K, T, A, Tr, F> Windowed<K, T, A, Tr, F>
where
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
    F: PaneFunction<K, T>,
{
    pub(crate) fn new(windowing: Windowing<T, A, Tr>, function: F) -> Self {
        let slicing = windowing.assigner.slices().filter(|_| F::SHARES && windowing.has_own_trigger);
        Self { windowing, function, slicing, windows: Vec::new(), cut: None, of: PhantomData }
    }
}

impl<K, T, A: Clone, Tr: Clone, F: Clone> Clone for Windowed<K, T, A, Tr, F> {
    fn clone(&self) -> Self {
        let (windowing, function) = (self.windowing.clone(), self.function.clone());
        Self { windowing, function, slicing: self.slicing, windows: Vec::new(), cut: None, of: PhantomData }
    }
}

impl<K, T, A: fmt::Debug, Tr, F> fmt::Debug for Windowed<K, T, A, Tr, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windowed").field("assigner", &self.windowing.assigner).finish_non_exhaustive()
    }
}

/// The windows of a key, in front of a function `F`.
pub(super) type Handle<'a, K, T, Tr, F> = PanesHandle<'a, <F as PaneFunction<K, T>>::Kept, <Tr as Trigger<T>>::State>;

impl<K, T, A, Tr, F> KeyedProcessFunction<K, T> for Windowed<K, T, A, Tr, F>
where
    K: 'static,
    T: Clone + Send + 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
    F: PaneFunction<K, T>,
{
    type Out = F::Out;
    type State = Panes<F::Kept, Tr::State>;

    fn state(&self) -> Self::State {
        let windowing = self.windowing.clone();
        match self.slicing {
            None => Panes::new("windows", None, move |slot| windowing.reckon(slot, Timestamp::MIN)),
            Some(slicing) => {
                let slice = Slice { width: slicing.width, offset: slicing.offset };
                Panes::new("slices", Some(slice), move |slot| slicing.reckon(slot, Timestamp::MIN, windowing.lateness))
            }
        }
    }

    #[inline]
    fn process(
        &mut self,
        record: T,
        mut panes: Handle<'_, K, T, Tr, F>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        let time = match self.windowing.assigner.time() {
            WindowTime::EventTime => event_time(ctx),
            WindowTime::ProcessingTime => processing_time(ctx),
            WindowTime::Neither => out.time(),
        };
        if let Some(slicing) = self.slicing {
            return self.add_to_slice(slicing, record, time, &mut panes, ctx, out);
        }
        if self.windowing.assigner.tumbles() {
            if self.windows.last().is_none_or(|window| !window.contains(time)) {
                self.windows.clear();
                self.windowing.assigner.assign(&record, time, &mut self.windows);
            }
            if let Some(window) = self.windows.last().copied() {
                self.add(record, time, window, &mut panes, ctx, out);
            }
            return;
        }
        self.add_to_each(record, time, &mut panes, ctx, out);
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        mut panes: Handle<'_, K, T, Tr, F>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        match (timer, self.slicing) {
            (Timer::EventTime(at), Some(slicing)) => self.fire_slices(slicing, at, &mut panes, ctx, out),
            (Timer::EventTime(at), None) => self.fire(TimeDomain::Event, at, &mut panes, ctx, out),
            (Timer::ProcessingTime(at), _) => self.fire(TimeDomain::Processing, at, &mut panes, ctx, out),
        }
    }
}

impl<K, T, A, Tr, F> Windowed<K, T, A, Tr, F>
where
    T: Clone + Send + 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
    F: PaneFunction<K, T>,
{
    /// All windows of the record are over.
    #[cold]
    pub(super) fn late(&self, record: T, out: &mut Emitter<'_, F::Out>) {
        if let Some(late) = &self.windowing.late {
            out.emit_to(late, record);
        }
    }

    /// Adds a record to those of its windows that are not over.
    fn add_to_each(
        &mut self,
        record: T,
        time: Timestamp,
        panes: &mut Handle<'_, K, T, Tr, F>,
        ctx: &KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        let mut windows = std::mem::take(&mut self.windows);
        self.windowing.assigner.assign(&record, time, &mut windows);
        if let Some(last) = windows.pop() {
            let is_late = |window: Window| self.windowing.is_late(window, ctx.watermark());
            if self.windowing.assigner.merges() {
                self.add(record, time, last, panes, ctx, out);
            } else if is_late(last) && windows.iter().all(|window| is_late(*window)) {
                self.late(record, out);
            } else {
                windows.push(last);
                windows.retain(|window| !self.windowing.is_late(*window, ctx.watermark()));
                let last = windows.pop();
                for window in windows.drain(..) {
                    self.add(record.clone(), time, window, panes, ctx, out);
                }
                if let Some(window) = last {
                    self.add(record, time, window, panes, ctx, out);
                }
            }
        }
        windows.clear();
        self.windows = windows;
    }

    /// Adds a record to a window.
    #[inline]
    fn add(
        &mut self,
        record: T,
        time: Timestamp,
        window: Window,
        panes: &mut Handle<'_, K, T, Tr, F>,
        ctx: &KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        let merges = self.windowing.assigner.merges();
        let window = if merges { merged_window(window, panes.slot) } else { window };
        if self.windowing.is_late(window, ctx.watermark()) {
            return self.late(record, out);
        }
        let (place, is_other) = if merges { self.merge(window, panes.slot) } else { panes.slot.find_or_make(window) };
        panes.changed();
        let Self { windowing, function, .. } = self;
        let pane = &mut panes.slot.panes[place];
        let trigger_ctx = TriggerContext::new(window, time, ctx.watermark(), ctx.clock());
        let result = windowing.trigger.on_element(&record, trigger_ctx, &mut pane.trigger);
        function.add(&mut pane.contents, record, time);
        if result != TriggerResult::Continue {
            self.act(result, place, panes, ctx, out);
        }
        if is_other || size_of::<Tr::State>() > 0 {
            self.windowing.reckon_of(window, panes.slot, ctx.watermark());
        }
    }

    /// Does what a trigger has said.
    fn act(
        &mut self,
        result: TriggerResult,
        place: usize,
        panes: &mut Handle<'_, K, T, Tr, F>,
        ctx: &KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        let Self { windowing, function, .. } = self;
        let pane = &mut panes.slot.panes[place];
        let cause = out.time();
        if result.fires()
            && let Some(kept) = &mut pane.contents
        {
            out.set_time(windowing.time_of_result(pane.window, cause));
            function.emit(kept, &WindowContext::new(pane.window, ctx), out);
            out.set_time(cause);
            if function.is_empty(kept) {
                pane.contents = None;
            }
        }
        if result.purges() {
            pane.contents = None;
        }
        if pane.contents.is_none() && windowing.over(pane.window).is_none() && windowing.trigger.is_clear(&pane.trigger)
        {
            panes.slot.panes.remove(place);
        }
    }

    /// Calls triggers whose time has come, by time, and drops the windows that are over.
    fn fire(
        &mut self,
        domain: TimeDomain,
        at: Timestamp,
        panes: &mut Handle<'_, K, T, Tr, F>,
        ctx: &KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        let mut after = match domain {
            // The end of input ends windows of event time alone.
            TimeDomain::Event
                if self.windowing.assigner.time() != WindowTime::EventTime && ctx.watermark() == Timestamp::MAX =>
            {
                Timestamp::MAX
            }
            // A key is looked at whenever something of it is due: what was so earlier has been called.
            TimeDomain::Event => ctx.watermark_before().max(at.saturating_sub(1)),
            TimeDomain::Processing => ctx.watermark(),
        };
        while let Some(due) = self.next_call((domain, after, at), panes.slot) {
            let is_due = |pane: &&Pane<_, _>| self.call_in_time((domain, after, at), pane) == Some(due);
            let windows: SmallVec<[Window; 2]> =
                panes.slot.panes.iter().filter(is_due).map(|pane| pane.window).collect();
            for window in windows {
                self.call_trigger((domain, due), window, panes, ctx, out);
            }
            if domain == TimeDomain::Event {
                after = due;
            }
        }
        let before = panes.slot.panes.len();
        let windowing = &self.windowing;
        panes.slot.panes.retain(|pane| windowing.over_by(domain, pane.window).is_none_or(|over| over > at));
        if panes.slot.panes.len() < before {
            panes.changed();
        }
        let after = if domain == TimeDomain::Event { after.max(at) } else { after };
        self.windowing.reckon(panes.slot, after);
    }

    /// Calls the trigger of a window at a time that it wanted.
    fn call_trigger(
        &mut self,
        (domain, due): (TimeDomain, Timestamp),
        window: Window,
        panes: &mut Handle<'_, K, T, Tr, F>,
        ctx: &KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        let Some(place) = panes.slot.panes.iter().position(|pane| pane.window == window) else { return };
        panes.changed();
        let pane = &mut panes.slot.panes[place];
        let trigger_ctx = TriggerContext::new(window, due, ctx.watermark(), ctx.clock());
        let result = self.windowing.trigger.on_time(domain.timer(due), trigger_ctx, &mut pane.trigger);
        let is_over = self.windowing.over_by(domain, window).is_some_and(|over| over <= due);
        let again = self.windowing.call(domain, due, pane);
        assert!(
            is_over || again.is_none_or(|again| again > due),
            "the trigger of window {window} was called at {due} and wants to be called at {again:?} again; a trigger has to want another, later time when it was called"
        );
        self.act(result, place, panes, ctx, out);
        if is_over {
            panes.slot.panes.retain(|pane| pane.window != window);
        }
    }

    /// When a trigger is to be called, if it is before its window is over and up to `at`.
    fn call_in_time(
        &self,
        (domain, after, at): (TimeDomain, Timestamp, Timestamp),
        pane: &Pane<F::Kept, Tr::State>,
    ) -> Option<Timestamp> {
        let over = self.windowing.over_by(domain, pane.window).unwrap_or(Timestamp::MAX);
        self.windowing.call(domain, after, pane).filter(|call| *call <= at.min(over))
    }

    /// The earliest time at which a trigger is to be called.
    fn next_call(
        &self,
        times: (TimeDomain, Timestamp, Timestamp),
        slot: &PanesSlot<F::Kept, Tr::State>,
    ) -> Option<Timestamp> {
        slot.panes.iter().filter_map(|pane| self.call_in_time(times, pane)).min()
    }

    /// The place of the pane of a window that has all those it touches in it, and takes them up. Whether it was another before.
    fn merge(&self, window: Window, slot: &mut PanesSlot<F::Kept, Tr::State>) -> (usize, bool) {
        let first = slot.panes.iter().position(|pane| pane.window.touches(window));
        let Some(first) = first else { return slot.find_or_make(window) };
        let behind = first + slot.panes[first..].iter().take_while(|pane| pane.window.touches(window)).count();
        let mut parts = slot.panes.drain(first..behind);
        let Some(mut pane) = parts.next() else { unreachable!("there is the first") };
        for later in parts {
            self.windowing.trigger.merge(&mut pane.trigger, later.trigger);
            match (&mut pane.contents, later.contents) {
                (Some(kept), Some(later)) => self.function.merge(kept, later),
                (kept @ None, later) => *kept = later,
                (Some(_), None) => {}
            }
        }
        let is_other = pane.window != window;
        pane.window = window;
        slot.panes.insert(first, pane);
        (first, is_other)
    }
}

/// A window with all those that it touches.
fn merged_window<C, T>(window: Window, slot: &PanesSlot<C, T>) -> Window {
    slot.panes.iter().map(|pane| pane.window).filter(|other| other.touches(window)).fold(window, Window::cover)
}

#[inline]
fn event_time<K>(ctx: &KeyedContext<'_, K>) -> Timestamp {
    ctx.timestamp().unwrap_or_else(no_event_time)
}

#[cold]
#[inline(never)]
fn no_event_time() -> Timestamp {
    panic!(
        "a record without event time has come to windows of event time; give each of its sources a WatermarkStrategy, or take windows of processing time"
    )
}

fn processing_time<K>(ctx: &KeyedContext<'_, K>) -> Timestamp {
    Timestamp::try_from(ctx.clock().unix_ms()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "windowed_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod trigger_tests;
