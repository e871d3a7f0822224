//! Windows that overlap share slices of time: a record is added to one slice, and what a window gives is merged of the slices
//! in it.
//!
//! Slices are as long as the greatest length that divides size and slide of the windows, so a window has a slice or has it
//! not.

use millstream_actors::protocol::Timestamp;

use super::assigner::{Slicing, WindowAssigner};
use super::function::PaneFunction;
use super::panes::{Merged, Pane, PanesSlot};
use super::span::floor;
use super::windowed::{Lent, Windowed, give};
use super::{Trigger, Window};
use crate::state::TimeDomain;

/// Fewer slices are merged as quickly as what is kept of them is looked after.
const MERGED_MIN: usize = 4;

impl Slicing {
    /// The slice of a time.
    pub(super) fn slice(self, time: Timestamp) -> Window {
        Window::last_before(time, self.width, self.width, self.offset)
    }

    /// The window that begins at the last of their beginnings that is not above `time`.
    fn last_window(self, time: Timestamp) -> Window {
        Window::last_before(time, self.size, self.slide, self.offset)
    }

    /// The first window that ends after `time`.
    fn first_window(self, time: Timestamp) -> Window {
        let start = floor(time.saturating_sub(self.size), self.slide, self.offset).saturating_add(self.slide);
        Window::last_before(start, self.size, self.slide, self.offset)
    }

    /// The first window with a slice in it that is complete after `called`.
    fn next_window<C, T>(self, called: Timestamp, panes: &[Pane<C, T>]) -> Option<Window> {
        let window = self.first_window(called.saturating_add(1));
        let first = panes.partition_point(|pane| pane.window.start() < window.start());
        let slice = panes.get(first)?.window;
        let window = if slice.start() < window.end() { window } else { self.first_window(slice.start()) };
        // Those that are cut off at the end of time end together.
        Some(window).filter(|window| window.max_timestamp() > called)
    }

    /// Sets when something of a key is due whose windows have given results up to the event time `called`.
    pub(super) fn reckon<C, T>(self, slot: &mut PanesSlot<C, T>, called: Timestamp, lateness: i64) {
        let due = slot.panes.last().map(|last| {
            let over = self.last_window(last.window.start()).max_timestamp().saturating_add(lateness);
            let next = self.next_window(called, &slot.panes);
            next.map_or(over, |next| next.max_timestamp().min(over))
        });
        slot.due.set_first(TimeDomain::Event, due);
    }
}

/// The slices of a window.
fn slices_of<C, T>(window: Window, panes: &[Pane<C, T>]) -> &[Pane<C, T>] {
    let first = panes.partition_point(|pane| pane.window.start() < window.start());
    let behind = panes.partition_point(|pane| pane.window.start() < window.end());
    &panes[first..behind.max(first)]
}

impl<K, T, A, Tr, F> Windowed<K, T, A, Tr, F>
where
    T: Clone + Send + 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T>,
    F: PaneFunction<K, T>,
{
    /// Adds a record to its slice. What is complete already gives a result at once, as far as lateness is allowed.
    #[inline]
    pub(super) fn add_to_slice(
        &mut self,
        slicing: Slicing,
        record: T,
        time: Timestamp,
        lent: &mut Lent<'_, '_, K, T, Tr, F>,
    ) {
        let cut = self.cut_of(slicing, time);
        let (watermark, slice) = (lent.ctx.watermark(), cut.slice);
        if time.saturating_sub(cut.last.start()) >= slicing.size {
            return;
        }
        if self.windowing.is_late(cut.last, watermark) {
            return self.late(record, lent);
        }
        let (place, is_new) = lent.panes.slot.find_or_make(slice);
        lent.panes.changed();
        self.function.add(&mut lent.panes.slot.panes[place].contents, record, time);
        if lent.panes.slot.merged.as_ref().is_some_and(|merged| slice.start() < merged.end) {
            lent.panes.slot.merged = None;
        }
        if is_new {
            slicing.reckon(lent.panes.slot, watermark, self.windowing.lateness);
        }
        if cut.first.max_timestamp() <= watermark {
            self.fire_late(slicing, cut, lent);
        }
    }

    /// Where a time falls. As a rule records that follow each other are of one slice.
    #[inline]
    fn cut_of(&mut self, slicing: Slicing, time: Timestamp) -> Cut {
        match self.cut {
            Some(cut) if cut.slice.contains(time) => cut,
            _ => {
                let (first, last) = (slicing.first_window(time), slicing.last_window(time));
                *self.cut.insert(Cut { slice: slicing.slice(time), first, last })
            }
        }
    }

    #[cold]
    fn fire_late(&mut self, slicing: Slicing, cut: Cut, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        // The windows of a key come in their order, but these are behind those that have given results.
        lent.panes.slot.merged = None;
        let mut next = Some(cut.first);
        while let Some(window) = next
            && window.max_timestamp() <= lent.ctx.watermark()
            && window <= cut.last
        {
            if !self.windowing.is_late(window, lent.ctx.watermark()) {
                self.give_merged(window, lent);
            }
            next = window.start().checked_add(slicing.slide).map(|start| slicing.last_window(start));
        }
        lent.panes.slot.merged = None;
    }

    /// Gives the results of the windows that are complete, and drops slices whose windows are all over.
    pub(super) fn fire_slices(&mut self, slicing: Slicing, at: Timestamp, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        // A key is looked at whenever something of it is due: what was so earlier has given its result.
        let mut called = lent.ctx.watermark_before().max(at.saturating_sub(1));
        while let Some(window) = slicing.next_window(called, &lent.panes.slot.panes)
            && window.max_timestamp() <= at
        {
            called = window.max_timestamp();
            self.give_merged(window, lent);
        }
        let is_over = |pane: &Pane<_, _>| self.windowing.is_late(slicing.last_window(pane.window.start()), at);
        let slot = &mut *lent.panes.slot;
        let over = slot.panes.iter().take_while(|pane| is_over(pane)).count();
        // Those that are left have to be moved, so a few wait for more.
        if over == slot.panes.len() || over > slot.panes.len() / 4 {
            slot.panes.drain(..over);
            lent.panes.changed();
        }
        slicing.reckon(lent.panes.slot, called.max(at), self.windowing.lateness);
    }

    fn give_merged(&mut self, window: Window, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        if !lent.gives {
            // What is merged so far need not be of the window that comes next.
            lent.panes.slot.merged = None;
            return;
        }
        if let Some(mut kept) = self.merged_in_few_steps(window, lent.panes.slot) {
            give(&mut self.function, (window, window.max_timestamp()), &mut kept, lent.ctx, lent.out);
        }
    }

    fn merged(&self, slices: &[Pane<F::Kept, Tr::State>]) -> Option<F::Kept> {
        let mut kept = slices.iter().filter_map(|slice| slice.contents.as_ref());
        let first = self.function.copy(kept.next()?);
        Some(kept.fold(first, |merged, later| self.merge_both(merged, later)))
    }

    fn merge_both(&self, mut kept: F::Kept, later: &F::Kept) -> F::Kept {
        self.function.merge(&mut kept, self.function.copy(later));
        kept
    }

    /// What the slices of a window are merged to. The windows of a key come in their order.
    fn merged_in_few_steps(&self, window: Window, slot: &mut PanesSlot<F::Kept, Tr::State>) -> Option<F::Kept> {
        let slices = slices_of(window, &slot.panes);
        if slices.len() < MERGED_MIN {
            slot.merged = None;
            return self.merged(slices);
        }
        let mut merged = slot.merged.take().filter(|merged| merged.end <= window.end());
        if let Some(merged) = &mut merged {
            while merged.front.pop_if(|(start, _)| *start < window.start()).is_some() {}
        }
        let merged = match merged {
            Some(mut merged) if !merged.front.is_empty() => {
                for slice in slices.iter().skip(slices.partition_point(|slice| slice.window.start() < merged.end)) {
                    let Some(later) = &slice.contents else { continue };
                    merged.back = Some(match merged.back.take() {
                        Some(back) => self.merge_both(back, later),
                        None => self.function.copy(later),
                    });
                }
                merged.end = window.end();
                merged
            }
            _ => Box::new(self.merge_anew(window, slices)),
        };
        let (_, front) = merged.front.last()?;
        let front = self.function.copy(front);
        let result = match &merged.back {
            Some(back) => self.merge_both(front, back),
            None => front,
        };
        slot.merged = Some(merged);
        Some(result)
    }

    fn merge_anew(&self, window: Window, slices: &[Pane<F::Kept, Tr::State>]) -> Merged<F::Kept> {
        let mut front: Vec<(Timestamp, F::Kept)> = Vec::with_capacity(slices.len());
        for slice in slices.iter().rev() {
            let Some(kept) = &slice.contents else { continue };
            let kept = self.function.copy(kept);
            let merged = match front.last() {
                Some((_, later)) => self.merge_both(kept, later),
                None => kept,
            };
            front.push((slice.window.start(), merged));
        }
        Merged { front, back: None, end: window.end() }
    }
}

/// Where a time falls: its slice, and the first and last window that have this.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    slice: Window,
    first: Window,
    last: Window,
}
