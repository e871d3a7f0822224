//! State that holds the windows of a key.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use millstream_actors::protocol::Timestamp;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::Window;
use super::assigner::Slicing;
use super::slice_list::{NEWEST, Older};
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::kinds::{DueTimes, Schema};
use crate::state::{Access, Slot, Span, Stamp, State, TimeDomain};

/// A window of a key, or a slice that windows share.
#[derive(Debug, PartialEq)]
pub(super) struct Pane<C, T> {
    pub(super) window: Window,
    /// What its trigger remembers.
    pub(super) trigger: T,
    /// What is in it; nothing if it was purged.
    pub(super) contents: Option<C>,
}

/// As it is stored: the contents are a sequence of one or none, for they may be an `Option` themselves.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Pane")]
struct StoredPane<T, I>(Window, T, I);

impl<C: Serialize, T: Serialize> Serialize for Pane<C, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StoredPane(self.window, &self.trigger, self.contents.as_slice()).serialize(serializer)
    }
}

impl<'de, C: Deserialize<'de>, T: Deserialize<'de>> Deserialize<'de> for Pane<C, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let StoredPane(window, trigger, mut contents) = StoredPane::<T, Vec<C>>::deserialize(deserializer)?;
        if contents.len() > 1 {
            return Err(D::Error::invalid_length(contents.len(), &"what is in a window, or nothing"));
        }
        Ok(Self { window, trigger, contents: contents.pop() })
    }
}

/// The panes of a key, by their windows.
pub(super) type PaneList<C, T> = SmallVec<[Pane<C, T>; 2]>;

/// Sets when something of a key is due.
type Reckon<C, T> = Box<dyn Fn(&mut PanesSlot<C, T>) + Send>;

/// Declares the windows of a key. A snapshot of changes has all windows of the keys that have changed.
pub(crate) struct Panes<C, T> {
    name: Arc<str>,
    schema: Schema<PaneList<C, T>>,
    /// Of slices, which are stored alike.
    schema_of_slices: Schema<VecDeque<Pane<C, T>>>,
    reckon: Reckon<C, T>,
    /// How slices are cut, if these are some: others cannot be merged with them.
    slicing: Option<Slicing>,
}

impl<C, T> Panes<C, T> {
    /// `reckon` sets when something of a key is due, of which windows have been read: too early a time where it is not known
    /// how far the key has come.
    pub(super) fn new(
        name: &str,
        slicing: Option<Slicing>,
        reckon: impl Fn(&mut PanesSlot<C, T>) + Send + 'static,
    ) -> Self {
        let (schema, schema_of_slices) = (Schema::new(), Schema::new());
        Self { name: name.into(), schema, schema_of_slices, reckon: Box::new(reckon), slicing }
    }
}

impl<C, T> fmt::Debug for Panes<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Panes({})", self.name)
    }
}

/// A key's place for windows.
#[derive(Debug)]
pub(crate) struct PanesSlot<C, T> {
    stamp: Stamp,
    /// The mark of a place that has no row is a value of this that there is not: it takes no word of its own.
    _spare: bool,
    pub(super) due: DueTimes,
    /// Of slices the newest.
    pub(super) panes: PaneList<C, T>,
    /// The slices before them.
    pub(super) older: Option<Box<Older<C, T>>>,
}

impl<C, T> Default for PanesSlot<C, T> {
    fn default() -> Self {
        Self { stamp: 0, _spare: false, due: DueTimes::default(), panes: SmallVec::new(), older: None }
    }
}

impl<C: Send + 'static, T: Send + 'static> Slot for PanesSlot<C, T> {
    #[inline]
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    #[inline]
    fn touch(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }

    #[inline]
    fn is_clear(&self) -> bool {
        self.panes.is_empty()
    }

    fn clear(&mut self, stamp: Stamp) {
        *self = Self { stamp, ..Self::default() };
    }
}

impl<C, T> State for Panes<C, T>
where
    C: Serialize + DeserializeOwned + Send + 'static,
    T: Serialize + DeserializeOwned + Send + 'static,
{
    const HAS_TIMERS: bool = true;

    type Slot = PanesSlot<C, T>;
    type Handle<'a> = PanesHandle<'a, C, T>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn format(&self) -> StateFormat {
        self.schema.format()
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut PanesSlot<C, T>, access: Access) -> PanesHandle<'a, C, T> {
        PanesHandle { slot, now: access.stamp }
    }

    fn write(&self, slot: &mut PanesSlot<C, T>, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        match (slot.panes.is_empty(), &mut slot.older) {
            (false, None) => self.schema.put(&slot.panes, bytes).map(|()| Written::Live),
            (false, Some(older)) => {
                // In the list for as long as it is written.
                older.slices.extend(slot.panes.drain(..));
                let put = self.schema_of_slices.put(&older.slices, bytes);
                slot.panes.extend(older.slices.drain(older.slices.len().saturating_sub(NEWEST)..));
                put.map(|()| Written::Live)
            }
            (true, _) if span.is_full() => Ok(Written::Nothing),
            (true, _) => Ok(Written::Dead),
        }
    }

    fn load(
        &self,
        slot: &mut PanesSlot<C, T>,
        stamp: Stamp,
        stored: StateFormat,
        _: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        let mut panes = self.schema.take(stored, bytes)?;
        if !panes.is_sorted_by(|one, next| one.window < next.window) {
            return Err("windows are stored out of their order".into());
        }
        panes.iter().try_for_each(|pane| self.check_slice(pane.window))?;
        let older = (self.slicing.is_some() && panes.len() > NEWEST).then(|| {
            let slices = panes.drain(..panes.len() - NEWEST).collect();
            Box::new(Older { slices, ..Older::default() })
        });
        // Those that are left lie in the row.
        panes.shrink_to_fit();
        *slot = PanesSlot { stamp, panes, older, ..PanesSlot::default() };
        (self.reckon)(slot);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.schema.check()
    }

    fn write_marks(&self, slot: &PanesSlot<C, T>, bytes: &mut Vec<u8>) {
        slot.due.write_marks(bytes);
    }

    fn load_marks(&self, slot: &mut PanesSlot<C, T>, bytes: &mut &[u8]) -> Result<(), String> {
        slot.due.load_marks(bytes)
    }

    #[inline]
    fn due_times<'a>(&self, slot: &'a mut PanesSlot<C, T>) -> Option<&'a mut DueTimes> {
        Some(&mut slot.due)
    }

    fn take_due(
        &self,
        slot: &mut PanesSlot<C, T>,
        (domain, at): (TimeDomain, Timestamp),
        _: Stamp,
    ) -> Option<Timestamp> {
        slot.due.take(domain, at)
    }
}

impl<C, T> Panes<C, T> {
    fn check_slice(&self, window: Window) -> Result<(), Unfit> {
        let Some(slicing) = self.slicing.filter(|slicing| window != slicing.slice(window.start())) else {
            return Ok(());
        };
        let Slicing { width, offset, .. } = slicing;
        Err(format!(
            "a slice {window} is stored, and today's windows need slices of {width} ms, with an offset of {offset} ms; give the windows their old size, slide and offset, or the operator another id"
        )
        .into())
    }
}

/// The windows of the current key, in place.
#[derive(Debug)]
pub(crate) struct PanesHandle<'a, C, T> {
    pub(super) slot: &'a mut PanesSlot<C, T>,
    now: Stamp,
}

impl<C, T> PanesHandle<'_, C, T> {
    /// What is in a pane has changed, or panes have come or gone.
    #[inline]
    pub(super) fn changed(&mut self) {
        self.slot.stamp = self.now;
    }
}

impl<C, T> PanesSlot<C, T> {
    /// The pane in which a time is, of windows none of which overlap; one in which it is of others, or none.
    #[inline]
    pub(super) fn pane_of(&mut self, time: Timestamp) -> Option<&mut Pane<C, T>> {
        // As a rule it is the last one, or the one before.
        let pane = self.panes.iter_mut().rfind(|pane| pane.window.start() <= time)?;
        (time < pane.window.end()).then_some(pane)
    }
}

impl<C, T: Default> PanesSlot<C, T> {
    /// The place of the pane of a window, which is made if there is none. Whether it was.
    #[inline]
    pub(super) fn find_or_make(&mut self, window: Window) -> (usize, bool) {
        // As a rule it is the last one.
        let behind = self.panes.iter().rposition(|pane| pane.window <= window);
        match behind {
            Some(place) if self.panes[place].window == window => (place, false),
            _ => {
                let place = behind.map_or(0, |place| place + 1);
                let pane = Pane { window, trigger: T::default(), contents: None };
                self.panes.insert(place, pane);
                (place, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_may_be_missing_takes_no_more_memory() {
        type Counts = (u64, PanesSlot<u64, ()>);
        assert_eq!(size_of::<Option<Counts>>(), size_of::<Counts>());
    }
}
