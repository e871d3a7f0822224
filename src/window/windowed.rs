//! Runs windows: a keyed function whose state is the windows of a key.

use std::fmt;
use std::marker::PhantomData;

use millstream_actors::protocol::Timestamp;
use smallvec::SmallVec;

use super::assigner::{Slicing, WindowAssigner, WindowTime};
use super::function::{PaneFunction, WindowContext};
use super::panes::{Pane, Panes, PanesHandle, PanesSlot};
use super::slices::Cut;
use super::windowing::Windowing;
use super::{Trigger, TriggerContext, TriggerResult, Window};
use crate::keyed::{KeyedContext, KeyedProcessFunction};
use crate::operator::Emitter;
use crate::state::{TimeDomain, Timer};
use crate::time::processing_time;

/// A keyed function that keeps windows. `F` says what they keep of their records, and what they give.
pub(crate) struct Windowed<K, T, A, Tr, F> {
    pub(super) windowing: Windowing<T, A, Tr>,
    pub(super) function: F,
    /// If windows share slices: how they are cut.
    pub(super) slicing: Option<Slicing>,
    /// See [`Windowing::fires_once`].
    fires_once: bool,
    /// Storage for those of a record.
    windows: Vec<Window>,
    /// The last ones that times fell into, where a time is in one window only. What is stored may be of another size.
    recent: [Option<Window>; 2],
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
        let fires_once = windowing.fires_once();
        Self {
            windowing,
            function,
            slicing,
            fires_once,
            windows: Vec::new(),
            recent: [None; 2],
            cut: None,
            of: PhantomData,
        }
    }
}

impl<K, T, A: Clone, Tr: Clone, F: Clone> Clone for Windowed<K, T, A, Tr, F> {
    fn clone(&self) -> Self {
        let (windowing, function) = (self.windowing.clone(), self.function.clone());
        Self { windowing, function, windows: Vec::new(), recent: [None; 2], cut: None, ..*self }
    }
}

impl<K, T, A: fmt::Debug, Tr, F> fmt::Debug for Windowed<K, T, A, Tr, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windowed").field("assigner", &self.windowing.assigner).finish_non_exhaustive()
    }
}

/// The windows of a key, in front of a function `F`.
type Handle<'a, K, T, Tr, F> = PanesHandle<'a, <F as PaneFunction<K, T>>::Kept, <Tr as Trigger<T>>::State>;

/// What a call is lent: the windows of its key, what is known of the moment, and what is emitted into.
pub(super) struct Lent<'a, 'o, K, T, Tr: Trigger<T>, F: PaneFunction<K, T>> {
    pub(super) panes: Handle<'a, K, T, Tr, F>,
    pub(super) ctx: &'a KeyedContext<'a, K>,
    pub(super) out: &'a mut Emitter<'o, F::Out>,
    /// Whether windows give their results. If not, they are purged in the place of that.
    pub(super) gives: bool,
}

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
            Some(slicing) => Panes::new("slices", Some(slicing), move |slot| {
                slicing.reckon(slot, Timestamp::MIN, windowing.lateness);
            }),
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
        // As a rule the record's window has been opened, and is not over. Its trigger has nothing to do until then.
        if self.fires_once
            && let Some(time) = ctx.timestamp()
            && let Some(pane) = panes.slot.pane_of(time)
            && self.recent.contains(&Some(pane.window))
            && ctx.watermark() < pane.window.max_timestamp()
        {
            self.function.add(&mut pane.contents, record, time);
            return panes.changed();
        }
        self.add_anywhere(record, Lent { panes, ctx, out, gives: true });
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        panes: Handle<'_, K, T, Tr, F>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.time_has_come(timer, &mut Lent { panes, ctx, out, gives: true });
    }

    fn timer_withheld(
        &mut self,
        timer: Timer,
        panes: Handle<'_, K, T, Tr, F>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, F::Out>,
    ) {
        self.time_has_come(timer, &mut Lent { panes, ctx, out, gives: false });
    }
}

impl<K, T, A, Tr, F> Windowed<K, T, A, Tr, F>
where
    T: Clone + Send + 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
    F: PaneFunction<K, T>,
{
    /// Adds a record to its windows, whichever these are.
    #[inline(never)]
    fn add_anywhere(&mut self, record: T, mut lent: Lent<'_, '_, K, T, Tr, F>) {
        let time = match self.windowing.assigner.time() {
            WindowTime::EventTime => lent.ctx.event_time("windows of event time; take windows of processing time"),
            WindowTime::ProcessingTime => processing_time(lent.ctx.clock()),
            WindowTime::Neither => lent.out.time(),
        };
        if let Some(slicing) = self.slicing {
            return self.add_to_slice(slicing, record, time, &mut lent);
        }
        if self.windowing.assigner.tumbles() {
            if let Some(window) = self.only_window(&record, time) {
                self.add(record, time, window, &mut lent);
            }
            return;
        }
        self.add_to_each(record, time, &mut lent);
    }

    /// The window of a time that is in one only.
    fn only_window(&mut self, record: &T, time: Timestamp) -> Option<Window> {
        let known = self.recent.into_iter().flatten().find(|window| window.contains(time));
        if known.is_none() {
            self.windows.clear();
            self.windowing.assigner.assign(record, time, &mut self.windows);
            self.recent = [self.windows.last().copied(), self.recent[0]];
        }
        known.or(self.recent[0])
    }

    fn time_has_come(&mut self, timer: Timer, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        match (timer, self.slicing) {
            (Timer::EventTime(at), Some(slicing)) => self.fire_slices(slicing, at, lent),
            (Timer::EventTime(at), None) if self.fires_once => self.fire_over(at, lent),
            (Timer::EventTime(at), None) => self.fire(TimeDomain::Event, at, lent),
            (Timer::ProcessingTime(at), _) => self.fire(TimeDomain::Processing, at, lent),
        }
    }

    /// All windows of the record are over.
    #[cold]
    pub(super) fn late(&self, record: T, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        lent.ctx.count_late();
        if let Some(late) = &self.windowing.late {
            lent.out.emit_to(late, record);
        }
    }

    /// Adds a record to those of its windows that are not over.
    fn add_to_each(&mut self, record: T, time: Timestamp, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        let mut windows = std::mem::take(&mut self.windows);
        self.windowing.assigner.assign(&record, time, &mut windows);
        let has_some = !windows.is_empty();
        if !self.windowing.assigner.merges() {
            windows.retain(|window| !self.windowing.is_late(*window, lent.ctx.watermark()));
        }
        let last = windows.pop();
        for window in windows.drain(..) {
            self.add(record.clone(), time, window, lent);
        }
        self.windows = windows;
        match last {
            Some(window) => self.add(record, time, window, lent),
            None if has_some => self.late(record, lent),
            None => {}
        }
    }

    /// Adds a record to a window.
    #[inline]
    fn add(&mut self, record: T, time: Timestamp, window: Window, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        let merges = self.windowing.assigner.merges();
        let window = if merges { merged_window(window, lent.panes.slot) } else { window };
        if self.windowing.is_late(window, lent.ctx.watermark()) {
            return self.late(record, lent);
        }
        let (place, is_other) =
            if merges { self.merge(window, lent.panes.slot) } else { lent.panes.slot.find_or_make(window) };
        lent.panes.changed();
        let Self { windowing, function, .. } = self;
        let pane = &mut lent.panes.slot.panes[place];
        let trigger_ctx = TriggerContext::new(window, time, lent.ctx.watermark(), lent.ctx.clock());
        let result = windowing.trigger.on_element(&record, trigger_ctx, &mut pane.trigger);
        function.add(&mut pane.contents, record, time);
        if result != TriggerResult::Continue {
            self.act(result, place, lent);
        }
        if is_other || size_of::<Tr::State>() > 0 {
            self.windowing.reckon_of(window, lent.panes.slot, lent.ctx.watermark());
        }
    }

    /// Does what a trigger has said.
    fn act(&mut self, result: TriggerResult, place: usize, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        let Self { windowing, function, .. } = self;
        let pane = &mut lent.panes.slot.panes[place];
        if result.fires()
            && let Some(kept) = &mut pane.contents
        {
            if lent.gives {
                let time = windowing.time_of_result(pane.window, lent.out.time());
                give(function, (pane.window, time), kept, lent.ctx, lent.out);
            }
            if !lent.gives || function.is_empty(kept) {
                pane.contents = None;
            }
        }
        if result.purges() {
            pane.contents = None;
        }
        if pane.contents.is_none() && windowing.over(pane.window).is_none() && windowing.trigger.is_clear(&pane.trigger)
        {
            lent.panes.slot.panes.remove(place);
        }
    }

    /// Gives the results of windows that fire once, which is when they are over. They come in their order.
    fn fire_over(&mut self, at: Timestamp, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        // One that was opened with another size may be over later than one behind it.
        let is_over = |pane: &Pane<_, _>| pane.window.max_timestamp() <= at;
        while let Some(place) = lent.panes.slot.panes.iter().position(is_over) {
            let pane = &mut lent.panes.slot.panes[place];
            if let Some(kept) = pane.contents.as_mut().filter(|_| lent.gives) {
                give(&mut self.function, (pane.window, pane.window.max_timestamp()), kept, lent.ctx, lent.out);
            }
            lent.panes.slot.panes.remove(place);
            lent.panes.changed();
        }
        let next = lent.panes.slot.panes.iter().map(|pane| pane.window.max_timestamp()).min();
        lent.panes.slot.due.set_first(TimeDomain::Event, next);
    }

    /// Calls triggers whose time has come, by time, and drops the windows that are over.
    fn fire(&mut self, domain: TimeDomain, at: Timestamp, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        let mut after = match domain {
            // The end of input ends windows of event time alone.
            TimeDomain::Event
                if self.windowing.assigner.time() != WindowTime::EventTime
                    && lent.ctx.watermark() == Timestamp::MAX =>
            {
                Timestamp::MAX
            }
            // A key is looked at whenever something of it is due: what was so earlier has been called.
            TimeDomain::Event => lent.ctx.watermark_before().max(at.saturating_sub(1)),
            TimeDomain::Processing => lent.ctx.watermark(),
        };
        while let Some(due) = self.next_call((domain, after, at), lent.panes.slot) {
            let is_due = |pane: &&Pane<_, _>| self.call_in_time((domain, after, at), pane) == Some(due);
            let windows: SmallVec<[Window; 2]> =
                lent.panes.slot.panes.iter().filter(is_due).map(|pane| pane.window).collect();
            for window in windows {
                self.call_trigger((domain, due), window, lent);
            }
            if domain == TimeDomain::Event {
                after = due;
            }
        }
        let before = lent.panes.slot.panes.len();
        let windowing = &self.windowing;
        lent.panes.slot.panes.retain(|pane| windowing.over_by(domain, pane.window).is_none_or(|over| over > at));
        if lent.panes.slot.panes.len() < before {
            lent.panes.changed();
        }
        let after = if domain == TimeDomain::Event { after.max(at) } else { after };
        self.windowing.reckon(lent.panes.slot, after);
    }

    /// Calls the trigger of a window at a time that it wanted.
    fn call_trigger(
        &mut self,
        (domain, due): (TimeDomain, Timestamp),
        window: Window,
        lent: &mut Lent<'_, '_, K, T, Tr, F>,
    ) {
        let Some(place) = lent.panes.slot.panes.iter().position(|pane| pane.window == window) else { return };
        lent.panes.changed();
        let pane = &mut lent.panes.slot.panes[place];
        let trigger_ctx = TriggerContext::new(window, due, lent.ctx.watermark(), lent.ctx.clock());
        let result = self.windowing.trigger.on_time(domain.timer(due), trigger_ctx, &mut pane.trigger);
        let is_over = self.windowing.over_by(domain, window).is_some_and(|over| over <= due);
        let again = self.windowing.call(domain, due, pane);
        assert!(
            is_over || again.is_none_or(|again| again > due),
            "the trigger of window {window} was called at {due} and wants to be called at {again:?} again; a trigger has to want another, later time when it was called"
        );
        self.act(result, place, lent);
        if is_over {
            lent.panes.slot.panes.retain(|pane| pane.window != window);
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

/// Gives the result of a window, which has an event time of its own.
pub(super) fn give<K, T, F: PaneFunction<K, T>>(
    function: &mut F,
    (window, time): (Window, Timestamp),
    kept: &mut F::Kept,
    ctx: &KeyedContext<'_, K>,
    out: &mut Emitter<'_, F::Out>,
) {
    let cause = out.time();
    out.set_time(time);
    function.emit(kept, &WindowContext::new(window, ctx), out);
    out.set_time(cause);
}

/// A window with all those that it touches.
fn merged_window<C, T>(window: Window, slot: &PanesSlot<C, T>) -> Window {
    slot.panes.iter().map(|pane| pane.window).filter(|other| other.touches(window)).fold(window, Window::cover)
}

#[cfg(test)]
#[path = "windowed_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod trigger_tests;

#[cfg(test)]
#[path = "triggers_and_evictors_tests.rs"]
mod triggers_and_evictors_tests;
