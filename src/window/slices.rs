//! Windows that overlap share slices of time: a record is added to one slice, and what a window gives is merged of the slices
//! in it.
//!
//! Slices are as long as the greatest length that divides size and slide of the windows, so a window has a slice or has it
//! not.

use millstream_actors::protocol::Timestamp;

use super::assigner::{Slicing, WindowAssigner};
use super::function::PaneFunction;
use super::panes::{Pane, PanesSlot};
use super::slice_list::Older;
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
    fn next_window<C, T>(self, called: Timestamp, slot: &PanesSlot<C, T>) -> Option<Window> {
        let window = self.first_window(called.saturating_add(1));
        let slice = slot.first_within(window)?;
        let window = if window.contains(slice) { window } else { self.first_window(slice) };
        // Those that are cut off at the end of time end together.
        Some(window).filter(|window| window.max_timestamp() > called)
    }

    /// Sets when something of a key is due whose windows have given results up to the event time `called`.
    pub(super) fn reckon<C, T>(self, slot: &mut PanesSlot<C, T>, called: Timestamp, lateness: i64) {
        let next = self.next_window(called, slot);
        self.reckon_from(next, slot, lateness);
    }

    /// Sets when something of a key is due: when the window `next` is complete, or if there is none when the last is over.
    fn reckon_from<C, T>(self, next: Option<Window>, slot: &mut PanesSlot<C, T>, lateness: i64) {
        let due = next.map(Window::max_timestamp).or_else(|| {
            let last = slot.panes.last()?.window;
            Some(self.last_window(last.start()).max_timestamp().saturating_add(lateness))
        });
        slot.due.set_first(TimeDomain::Event, due);
    }
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
        lent.panes.changed();
        let (pane, is_new) = lent.panes.slot.find_or_make_slice(slice);
        self.function.add(&mut pane.contents, record, time);
        if is_new {
            slicing.reckon(lent.panes.slot, watermark, self.windowing.lateness);
        }
        // Slices that have been merged are of windows that are complete.
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
        lent.panes.slot.forget_merged();
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
        lent.panes.slot.forget_merged();
    }

    /// Gives the results of the windows that are complete, and drops slices whose windows are all over.
    pub(super) fn fire_slices(&mut self, slicing: Slicing, at: Timestamp, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        // A key is looked at whenever something of it is due: what was so earlier has given its result.
        let mut called = lent.ctx.watermark_before().max(at.saturating_sub(1));
        let mut next = slicing.next_window(called, lent.panes.slot);
        while let Some(window) = next
            && window.max_timestamp() <= at
        {
            called = window.max_timestamp();
            self.give_merged(window, lent);
            next = slicing.next_window(called, lent.panes.slot);
        }
        let is_over = |slice: &Pane<_, _>| self.windowing.is_late(slicing.last_window(slice.window.start()), at);
        // What a snapshot has of them still can give nothing; that the last has gone it must know.
        if lent.panes.slot.drop_slices(is_over) && lent.panes.slot.panes.is_empty() {
            lent.panes.changed();
        }
        slicing.reckon_from(next, lent.panes.slot, self.windowing.lateness);
    }

    fn give_merged(&mut self, window: Window, lent: &mut Lent<'_, '_, K, T, Tr, F>) {
        if !lent.gives {
            // What is merged so far need not be of the window that comes next.
            lent.panes.slot.forget_merged();
            return;
        }
        if let Some(mut kept) = self.merged_in_few_steps(window, lent.panes.slot) {
            give(&mut self.function, (window, window.max_timestamp()), &mut kept, lent.ctx, lent.out);
        }
    }

    /// What the slices of a window are merged to. The windows of a key come in their order.
    fn merged_in_few_steps(&self, window: Window, slot: &mut PanesSlot<F::Kept, Tr::State>) -> Option<F::Kept> {
        let (first, behind) = (slot.place_from(window.start()), slot.place_from(window.end()));
        let are_few = behind - first < MERGED_MIN;
        let Some(older) = slot.older.as_deref_mut().filter(|_| !are_few) else {
            slot.forget_merged();
            let contents = (first..behind).filter_map(|place| slot.slice(place)?.contents.as_ref());
            return contents.fold(None, |kept, later| Some(self.merge_behind(kept, later)));
        };
        let Older { slices, merged } = older;
        if merged.end > window.end() {
            merged.forget();
        }
        while merged.front.pop_if(|(start, _)| *start < window.start()).is_some() {}
        let (all, len) = (slices.iter().chain(&slot.panes), slices.len() + slot.panes.len());
        if merged.front.is_empty() {
            merged.back = None;
            self.merge_anew(all.rev().skip(len - behind).take(behind - first), &mut merged.front);
        } else {
            let newer = all.clone().rev().take_while(|slice| slice.window.start() >= merged.end).count();
            let newer = all.take(behind).skip(len - newer);
            for later in newer.filter_map(|slice| slice.contents.as_ref()) {
                merged.back = Some(self.merge_behind(merged.back.take(), later));
            }
        }
        merged.end = window.end();
        let front = self.function.copy(&merged.front.last()?.1);
        Some(match &merged.back {
            Some(back) => self.merge_both(front, back),
            None => front,
        })
    }

    /// Merges slices, the last of which comes first, from each on.
    fn merge_anew<'a>(
        &self,
        slices: impl Iterator<Item = &'a Pane<F::Kept, Tr::State>>,
        front: &mut Vec<(Timestamp, F::Kept)>,
    ) {
        for slice in slices {
            let Some(kept) = &slice.contents else { continue };
            let kept = self.function.copy(kept);
            let merged = match front.last() {
                Some((_, later)) => self.merge_both(kept, later),
                None => kept,
            };
            front.push((slice.window.start(), merged));
        }
    }

    /// What is kept, if anything is, with what comes behind it.
    fn merge_behind(&self, kept: Option<F::Kept>, later: &F::Kept) -> F::Kept {
        match kept {
            Some(kept) => self.merge_both(kept, later),
            None => self.function.copy(later),
        }
    }

    fn merge_both(&self, mut kept: F::Kept, later: &F::Kept) -> F::Kept {
        self.function.merge(&mut kept, self.function.copy(later));
        kept
    }
}

/// Where a time falls: its slice, and the first and last window that have this.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    slice: Window,
    first: Window,
    last: Window,
}
