//! State that holds a list of values per key.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::{Schema, schema_methods};
use crate::state::codec::{Encoding, StateFormat, Unfit, Written, check_kind, put, take, width};
use crate::state::query::QueriedAs;
use crate::state::{Access, Slot, Span, Stamp, State};

/// Declares a list of values per key. Follows Flink's `ListState`.
///
/// A snapshot of changes has only what was pushed, if nothing else was done to the list since the checkpoint that it
/// builds on; otherwise it has the whole list.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Hands on the readings of a sensor in threes.
/// #[derive(Clone)]
/// struct InThrees;
///
/// impl KeyedProcessFunction<u32, (u32, f64)> for InThrees {
///     type Out = (u32, Vec<f64>);
///     type State = ListState<f64>;
///
///     fn state(&self) -> ListState<f64> {
///         ListState::new("readings")
///     }
///
///     fn process(
///         &mut self,
///         (sensor, reading): (u32, f64),
///         mut readings: Row<'_, Self, u32, (u32, f64)>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         readings.push(reading);
///         if readings.len() == 3 {
///             out.emit((sensor, readings.take()));
///         }
///     }
/// }
/// ```
pub struct ListState<T> {
    name: Arc<str>,
    schema: Schema<T>,
}

impl<T> ListState<T> {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), schema: Schema::new() }
    }

    schema_methods!("values", schema);
}

impl<T> Clone for ListState<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), schema: self.schema.clone() }
    }
}

impl<T> fmt::Debug for ListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListState({})", self.name)
    }
}

/// A key's place for a list. Without values it is clear.
#[derive(Clone, Debug)]
pub struct ListSlot<T> {
    values: Vec<T>,
    stamp: Stamp,
    /// The last change that was no push to a list with values. A base that closed an earlier stamp has nothing that is
    /// still of use.
    replaced: Stamp,
    tails: Tails,
}

impl<T> Default for ListSlot<T> {
    fn default() -> Self {
        Self { values: Vec::new(), stamp: 0, replaced: 0, tails: Tails::default() }
    }
}

/// What was pushed under a stamp and later.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    /// The first of these stamps; 0, which no change has, if there is no tail.
    since: Stamp,
    /// The length of the list before.
    start: u32,
}

/// The pushes since a base. One checkpoint is in flight at a time, so two stamps are to be told apart: that of the
/// checkpoint in flight and the current one. Where there are more, the tails of older ones become one.
#[derive(Clone, Copy, Debug, Default)]
struct Tails {
    older: Tail,
    newer: Tail,
}

impl Tails {
    /// Something is pushed to a list of this length.
    #[inline]
    fn push(&mut self, now: Stamp, len: usize) {
        if self.newer.since == now {
            return;
        }
        if self.older.since == 0 {
            self.older = self.newer;
        } else {
            // Starts earlier than it must for a base between the two: that writes again what the base has.
            self.older.since = self.newer.since;
        }
        self.newer = Tail { since: now, start: u32::try_from(len).unwrap_or(u32::MAX) };
    }

    /// How many values at the front a base that closed `after` has as they are; `None` if nothing was pushed since.
    fn start(&self, after: Stamp) -> Option<u32> {
        [self.older, self.newer].into_iter().find(|tail| tail.since > after).map(|tail| tail.start)
    }

    /// Forgets what every base from this one on has.
    fn settle(&mut self, base: Stamp) {
        for tail in [&mut self.older, &mut self.newer] {
            if tail.since <= base {
                *tail = Tail::default();
            }
        }
    }
}

impl<T> ListSlot<T> {
    /// The list is about to be changed by other than a push.
    fn replace(&mut self, now: Stamp) -> &mut Vec<T> {
        (self.stamp, self.replaced) = (now, now);
        self.tails = Tails::default();
        &mut self.values
    }

    /// Something is about to be pushed.
    #[inline]
    fn append(&mut self, now: Stamp) -> &mut Vec<T> {
        self.stamp = now;
        if self.values.is_empty() {
            self.replaced = now;
            self.tails = Tails::default();
        } else if self.replaced != now {
            self.tails.push(now, self.values.len());
        }
        &mut self.values
    }
}

impl<T: Send + 'static> Slot for ListSlot<T> {
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
        self.values.is_empty()
    }

    fn clear(&mut self, stamp: Stamp) {
        *self.replace(stamp) = Vec::new();
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> State for ListState<T> {
    type Slot = ListSlot<T>;
    type Handle<'a> = ListHandle<'a, T>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.schema.former_names()
    }

    fn format(&self) -> StateFormat {
        StateFormat { values: Encoding::LIST, ..self.schema.format() }
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut ListSlot<T>, access: Access) -> ListHandle<'a, T> {
        ListHandle { slot, now: access.stamp }
    }

    /// The encoding of the values; how many at the front stay; how many follow them; these.
    fn write(&self, slot: &mut ListSlot<T>, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        let ListSlot { values, replaced, tails, .. } = slot;
        let start = match tails.start(span.after) {
            _ if *replaced > span.after => 0,
            Some(start) => start,
            None => return Ok(Written::Nothing),
        };
        if values.is_empty() {
            return Ok(if span.is_full() { Written::Nothing } else { Written::Dead });
        }
        if !span.is_full() {
            tails.settle(span.after);
        }
        let appended = &values[start as usize..];
        let count = u32::try_from(appended.len()).map_err(|_| format!("a list of {} values", values.len()))?;
        put(&self.schema.format().values.0, bytes)?;
        put(&start, bytes)?;
        put(&count, bytes)?;
        appended.iter().try_for_each(|value| self.schema.put(value, bytes))?;
        Ok(Written::Live)
    }

    fn load(
        &self,
        slot: &mut ListSlot<T>,
        stamp: Stamp,
        stored: StateFormat,
        _: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        check_kind(stored.values, Encoding::LIST)?;
        let stored = StateFormat { values: Encoding(take(bytes)?), ..stored };
        let (start, count) = (take::<u32>(bytes)? as usize, take::<u32>(bytes)? as usize);
        let had = slot.values.len();
        if start > had {
            return Err(format!("values are appended to the first {start} of a list that has {had}").into());
        }
        if count == 0 {
            return Err("a list without values is stored".into());
        }
        let width = width(stored.values).unwrap_or(1);
        if count > bytes.len() / width {
            let left = bytes.len();
            return Err(format!("{count} values of {width} bytes or more cannot be in {left} bytes").into());
        }
        let values = slot.replace(stamp);
        values.truncate(start);
        values.reserve_exact(count.min(bytes.len() / size_of::<T>().max(1)));
        for _ in 0..count {
            values.push(self.schema.take(stored, bytes)?);
        }
        Ok(())
    }

    fn queried_as() -> Option<QueriedAs> {
        Some(QueriedAs::of::<Vec<T>>(decode_list::<T>))
    }

    fn entries(slot: &ListSlot<T>) -> usize {
        slot.values.len()
    }

    fn check(&self) -> Result<(), String> {
        self.schema.check()
    }
}

/// Decodes a list for a query.
fn decode_list<T>(format: StateFormat, bytes: &[u8]) -> Result<Box<dyn Any + Send>, String>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let (state, mut slot) = (ListState::<T>::new("queried"), ListSlot::default());
    // What is written by today's type has its version, whatever the user counts.
    let format = StateFormat { version: state.schema.version(), ..format };
    state.load(&mut slot, 1, format, false, &mut &*bytes).map_err(Unfit::with_remedy)?;
    Ok(Box::new(slot.values))
}

/// The list of the current key, in place and in the order in which values were pushed.
#[derive(Debug)]
pub struct ListHandle<'a, T> {
    slot: &'a mut ListSlot<T>,
    now: Stamp,
}

impl<T> ListHandle<'_, T> {
    /// The values.
    #[inline]
    pub fn get(&self) -> &[T] {
        &self.slot.values
    }

    /// Goes through the values.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.slot.values.iter()
    }

    /// Number of values.
    #[inline]
    pub fn len(&self) -> usize {
        self.slot.values.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slot.values.is_empty()
    }

    /// Appends a value.
    #[inline]
    pub fn push(&mut self, value: T) {
        self.slot.append(self.now).push(value);
    }

    /// Appends values.
    #[inline]
    pub fn extend(&mut self, values: impl IntoIterator<Item = T>) {
        let mut values = values.into_iter();
        if let Some(first) = values.next() {
            let list = self.slot.append(self.now);
            list.push(first);
            list.extend(values);
        }
    }

    /// The list, to be changed in place. Counts as a change of all of it, even if nothing is changed.
    #[inline]
    pub fn get_mut(&mut self) -> &mut Vec<T> {
        self.slot.replace(self.now)
    }

    /// Replaces the list.
    #[inline]
    pub fn set(&mut self, values: Vec<T>) {
        if !(values.is_empty() && self.is_empty()) {
            *self.slot.replace(self.now) = values;
        }
    }

    /// Removes the values for which `keep` is false. Counts as a change of all of it if there are any.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let before = self.slot.values.len();
        self.slot.values.retain(keep);
        if self.slot.values.len() < before {
            self.slot.replace(self.now);
        }
    }

    /// Clears the list and gives it back.
    #[inline]
    pub fn take(&mut self) -> Vec<T> {
        if self.is_empty() { Vec::new() } else { std::mem::take(self.slot.replace(self.now)) }
    }

    /// Clears the list and gives its memory back.
    #[inline]
    pub fn clear(&mut self) {
        self.take();
    }
}

impl<'a, T> IntoIterator for &'a ListHandle<'_, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stamp: Stamp) -> Access {
        Access { stamp, processing_time: 0, watermark: 0 }
    }

    fn written(slot: &mut ListSlot<u32>, after: Stamp, up_to: Stamp) -> (Written, Vec<u8>) {
        let mut bytes = Vec::new();
        let written = ListState::new("list").write(slot, Span { after, up_to }, &mut bytes).unwrap();
        (written, bytes)
    }

    fn stored(start: u32, values: &[u32]) -> Vec<u8> {
        let mut bytes = vec![3];
        [start, values.len() as u32].iter().chain(values).for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes
    }

    fn loaded(parts: &[&[u8]]) -> Result<Vec<u32>, String> {
        let (state, mut slot) = (ListState::<u32>::new("list"), ListSlot::default());
        for (stamp, mut bytes) in (1..).zip(parts.iter().copied()) {
            state.load(&mut slot, stamp, state.format(), stamp > 1, &mut bytes)?;
            assert!(slot.values.capacity() <= 64, "room for what is not there");
        }
        Ok(slot.values)
    }

    #[test]
    fn what_was_pushed_since_the_base_is_written_alone() {
        let (state, mut slot) = (ListState::<u32>::new("list"), ListSlot::default());
        state.handle(&mut slot, at(1)).extend(0..10);
        assert_eq!(written(&mut slot, 0, 1), (Written::Live, stored(0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])));
        state.handle(&mut slot, at(2)).push(10);
        assert_eq!(written(&mut slot, 1, 2), (Written::Live, stored(10, &[10])));
        state.handle(&mut slot, at(3)).extend([11, 12]);
        // The checkpoint that closed 2 was given up: the next one over the same base has its changes again.
        assert_eq!(written(&mut slot, 1, 3), (Written::Live, stored(10, &[10, 11, 12])));
        assert_eq!(written(&mut slot, 2, 3), (Written::Live, stored(11, &[11, 12])));
        state.handle(&mut slot, at(4)).push(13);
        state.handle(&mut slot, at(5)).push(14);
        assert_eq!(written(&mut slot, 4, 5), (Written::Live, stored(14, &[14])));
    }

    #[test]
    fn tails_of_many_stamps_are_written_from_the_oldest() {
        let (state, mut slot) = (ListState::<u32>::new("list"), ListSlot::default());
        for stamp in 1..=6 {
            state.handle(&mut slot, at(stamp)).push(stamp);
        }
        assert_eq!(written(&mut slot.clone(), 1, 6).1, stored(1, &[2, 3, 4, 5, 6]));
        assert_eq!(written(&mut slot.clone(), 3, 6).1, stored(1, &[2, 3, 4, 5, 6]), "longer than need be");
        assert_eq!(written(&mut slot.clone(), 5, 6).1, stored(5, &[6]));
    }

    #[test]
    fn a_list_changed_otherwise_is_written_whole_and_a_touched_one_not_at_all() {
        let (state, mut slot) = (ListState::<u32>::new("list"), ListSlot::default());
        state.handle(&mut slot, at(1)).extend(0..3);
        slot.touch(2);
        assert_eq!(slot.stamp(), 2);
        assert_eq!(written(&mut slot, 1, 2), (Written::Nothing, vec![]));
        state.handle(&mut slot, at(2)).retain(|_| true);
        assert_eq!(written(&mut slot, 1, 2), (Written::Nothing, vec![]));
        state.handle(&mut slot, at(3)).push(3);
        state.handle(&mut slot, at(3)).retain(|value| *value != 1);
        state.handle(&mut slot, at(3)).push(4);
        assert_eq!(written(&mut slot, 2, 3), (Written::Live, stored(0, &[0, 2, 3, 4])));
        state.handle(&mut slot, at(4)).clear();
        assert_eq!(written(&mut slot, 3, 4), (Written::Dead, vec![]));
        assert_eq!(written(&mut slot, 0, 4), (Written::Nothing, vec![]));
        slot.touch(5);
        assert_eq!(written(&mut slot, 4, 5), (Written::Nothing, vec![]), "the base knows");
        state.handle(&mut slot, at(6)).push(1);
        assert_eq!(written(&mut slot, 5, 6), (Written::Live, stored(0, &[1])));
    }

    #[test]
    fn clearing_what_is_empty_is_no_change() {
        let (state, mut slot) = (ListState::<u32>::new("list"), ListSlot::default());
        let mut list = state.handle(&mut slot, at(1));
        list.clear();
        list.extend([]);
        list.set(Vec::new());
        assert!(list.take().is_empty() && list.is_empty());
        assert_eq!(slot.stamp(), 0);
        assert_eq!(size_of::<ListSlot<u32>>(), 48);
    }

    #[test]
    fn lengths_are_verified_before_anything_is_reserved() {
        assert_eq!(loaded(&[&stored(0, &[1, 2, 3]), &stored(2, &[9])]), Ok(vec![1, 2, 9]));
        let error = loaded(&[&stored(0, &[1, 2, 3]), &stored(4, &[9])]).unwrap_err();
        assert_eq!(error, "values are appended to the first 4 of a list that has 3");
        assert!(loaded(&[&stored(1, &[1])]).is_err());
        assert!(loaded(&[&stored(0, &[])]).unwrap_err().contains("without values"));
        let mut bytes = stored(0, &[1, 2]);
        bytes[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(loaded(&[&bytes]).unwrap_err().contains("4294967295 values"));
        let state = ListState::<String>::new("texts");
        let (mut slot, mut bytes) =
            (ListSlot::default(), &[0, 0, 0, 0, 0, 4, 0, 0, 0, 0xdb, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(state.load(&mut slot, 1, state.format(), false, &mut bytes).is_err());
        assert_eq!(slot.values.capacity(), 0);
    }
}
