//! The slices of a key: the newest in its row, where records come to them, and those before in a list of their own.

use std::collections::VecDeque;

use millstream_actors::protocol::Timestamp;

use super::Window;
use super::panes::{Pane, PanesSlot};

/// So many of the newest slices lie in the row: one that is complete soon, and the next one.
pub(super) const NEWEST: usize = 2;

/// Slices before the newest, and what slices have been merged to.
#[derive(Debug)]
pub(super) struct Older<C, T> {
    /// By their times. There are none unless the row has [`NEWEST`].
    pub(super) slices: VecDeque<Pane<C, T>>,
    pub(super) merged: Merged<C>,
}

/// Merged slices, from which the result of a window is merged in few steps: the two stacks of Tangwongsan et al., "General
/// Incremental Sliding-Window Aggregation", 2015. Not stored.
#[derive(Debug)]
pub(super) struct Merged<C> {
    /// For each of the earlier slices, the latest first: its start, and all of them from there on merged. Empty if nothing is merged.
    pub(super) front: Vec<(Timestamp, C)>,
    /// Those behind them up to `end` merged, if there are any.
    pub(super) back: Option<C>,
    pub(super) end: Timestamp,
}

impl<C> Merged<C> {
    /// Slices have changed, or the next window is not behind the one before.
    pub(super) fn forget(&mut self) {
        self.front.clear();
        self.back = None;
    }
}

impl<C, T> Default for Older<C, T> {
    fn default() -> Self {
        Self { slices: VecDeque::new(), merged: Merged { front: Vec::new(), back: None, end: Timestamp::MIN } }
    }
}

impl<C, T> PanesSlot<C, T> {
    fn older_len(&self) -> usize {
        self.older.as_ref().map_or(0, |older| older.slices.len())
    }

    /// Number of slices.
    pub(super) fn slices_len(&self) -> usize {
        self.older_len() + self.panes.len()
    }

    /// A slice by its place among all.
    #[inline]
    pub(super) fn slice(&self, place: usize) -> Option<&Pane<C, T>> {
        match &self.older {
            Some(older) if place < older.slices.len() => older.slices.get(place),
            older => self.panes.get(place - older.as_ref().map_or(0, |older| older.slices.len())),
        }
    }

    /// The place of the first slice that does not begin before `time`. As a rule it is one of the newest, or the first.
    #[inline]
    pub(super) fn place_from(&self, time: Timestamp) -> usize {
        let is_before = |pane: &Pane<C, T>| pane.window.start() < time;
        let Some(older) = self.older.as_ref().filter(|_| !self.panes.first().is_some_and(is_before)) else {
            return self.older_len() + self.panes.iter().take_while(|pane| is_before(pane)).count();
        };
        if older.slices.front().is_some_and(is_before) { older.slices.partition_point(is_before) } else { 0 }
    }

    /// Whether a slice begins within a window, and if not, when the first one behind its start does.
    pub(super) fn first_within(&self, window: Window) -> Option<Timestamp> {
        let newest = self.panes.iter().map(|pane| pane.window.start());
        if let Some(within) = newest.rev().find(|start| window.contains(*start)) {
            return Some(within);
        }
        self.slice(self.place_from(window.start())).map(|slice| slice.window.start())
    }

    /// Drops the first slices as long as they are over. Whether any was.
    pub(super) fn drop_slices(&mut self, mut is_over: impl FnMut(&Pane<C, T>) -> bool) -> bool {
        let before = self.slices_len();
        if let Some(older) = &mut self.older {
            while older.slices.front().is_some_and(&mut is_over) {
                older.slices.pop_front();
            }
        }
        if self.older_len() == 0 {
            let over = self.panes.iter().take_while(|pane| is_over(pane)).count();
            self.panes.drain(..over);
        }
        self.slices_len() < before
    }

    /// What slices have been merged to does not count any more.
    pub(super) fn forget_merged(&mut self) {
        if let Some(older) = &mut self.older {
            older.merged.forget();
        }
    }
}

impl<C, T: Default> PanesSlot<C, T> {
    /// The slice of this span, which is made if there is none. Whether it was.
    #[inline]
    pub(super) fn find_or_make_slice(&mut self, span: Window) -> (&mut Pane<C, T>, bool) {
        // As a rule it is the last one.
        match self.panes.iter().rposition(|pane| pane.window <= span) {
            Some(place) if self.panes[place].window == span => (&mut self.panes[place], false),
            place => self.make_slice(span, place.map_or(0, |place| place + 1)),
        }
    }

    /// Makes a slice that would be at `place` of the newest, if it is not among the older ones.
    fn make_slice(&mut self, span: Window, place: usize) -> (&mut Pane<C, T>, bool) {
        let pane = |window| Pane { window, trigger: T::default(), contents: None };
        if self.panes.len() < NEWEST {
            self.panes.insert(place, pane(span));
            return (&mut self.panes[place], true);
        }
        let older = &mut self.older.get_or_insert_default().slices;
        if place > 0 {
            older.push_back(self.panes.remove(0));
            self.panes.insert(place - 1, pane(span));
            return (&mut self.panes[place - 1], true);
        }
        let at = older.partition_point(|slice| slice.window < span);
        let is_new = older.get(at).is_none_or(|slice| slice.window != span);
        if is_new {
            older.insert(at, pane(span));
        }
        (&mut older[at], is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::assigner::Slicing;
    use super::super::panes::{PaneList, Panes};
    use super::*;
    use crate::state::kinds::Schema;
    use crate::state::test_kit::Random;
    use crate::state::{Span, Stamp, State};

    /// Snapshots of slices that all lay in the row are restored, and those of today in the same way.
    #[test]
    fn slices_are_stored_as_one_list_wherever_they_lie() {
        let slicing = Slicing { size: 50, slide: 10, offset: 0, width: 10 };
        let state = Panes::<u64, ()>::new("slices", Some(slicing), |_| ());
        for len in 1..8 {
            let slices = || (0..len).map(|n: i64| (slicing.slice(n * 10), Some(n as u64)));
            let mut slot = PanesSlot::default();
            slices().for_each(|(window, contents)| slot.find_or_make_slice(window).0.contents = contents);
            let in_row: PaneList<u64, ()> =
                slices().map(|(window, contents)| Pane { window, trigger: (), contents }).collect();
            let (mut plain, mut bytes) = (Vec::new(), Vec::new());
            Schema::new().put(&in_row, &mut plain).unwrap();
            state.write(&mut slot, Span { after: 0, up_to: Stamp::MAX }, &mut bytes).unwrap();
            assert_eq!(bytes, plain, "{len} slices");
            let mut loaded = PanesSlot::default();
            state.load(&mut loaded, 1, state.format(), false, &mut &*bytes).unwrap();
            for slot in [slot, loaded] {
                let of = |place| slot.slice(place).map(|slice| (slice.window, slice.contents));
                assert_eq!((0..slot.slices_len()).filter_map(of).collect::<Vec<_>>(), slices().collect::<Vec<_>>());
                assert_eq!((slot.panes.len(), slot.panes.spilled()), (NEWEST.min(len as usize), false));
            }
        }
    }

    /// The slices of a key in whatever order they come and go are those of a sorted list.
    #[test]
    fn slices_are_a_list_by_time() {
        let (mut random, mut slot) = (Random(3), PanesSlot::<u64, ()>::default());
        let (mut all, mut newest) = (Vec::<i64>::new(), 0);
        for round in 0..20_000 {
            newest += i64::from(random.below(3) == 0);
            let start = newest - if random.below(4) == 0 { random.below(12) as i64 } else { 0 };
            match random.below(8) {
                0 => {
                    let over = newest - 4 - random.below(12) as i64;
                    let before = all.len();
                    all.retain(|slice| *slice >= over);
                    assert_eq!(slot.drop_slices(|slice| slice.window.start() < over), all.len() < before);
                }
                1 => assert_eq!(slot.place_from(start), all.partition_point(|slice| *slice < start)),
                2 => {
                    let window = Window::new(start, start + 3);
                    let first = all.iter().copied().find(|slice| *slice >= start);
                    let found = slot.first_within(window);
                    // Whichever of those that are within it.
                    assert_eq!(found.map(|slice| window.contains(slice)), first.map(|slice| window.contains(slice)));
                    assert!(found == first || found.is_some_and(|slice| all.contains(&slice)), "round {round}");
                }
                _ => {
                    let is_new = !all.contains(&start);
                    let (slice, was_made) = slot.find_or_make_slice(Window::new(start, start + 1));
                    assert_eq!((slice.window.start(), was_made), (start, is_new), "round {round}");
                    all.push(start);
                    all.sort_unstable();
                    all.dedup();
                }
            }
            let slices: Vec<i64> =
                (0..slot.slices_len()).map(|place| slot.slice(place).unwrap().window.start()).collect();
            assert_eq!(slices, all, "round {round}");
            let in_row = slot.panes.len();
            assert!(in_row == NEWEST || in_row == all.len(), "round {round}: {in_row} of {} lie in the row", all.len());
        }
        assert!(all.len() > NEWEST && slot.slice(all.len()).is_none());
    }
}
