//! State that holds one value per key.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::State;

/// Declares one value per key. Follows Flink's `ValueState`.
pub struct ValueState<V> {
    name: Arc<str>,
    of: PhantomData<fn() -> V>,
}

impl<V> ValueState<V> {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), of: PhantomData }
    }
}

impl<V> Clone for ValueState<V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), of: PhantomData }
    }
}

impl<V> fmt::Debug for ValueState<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueState({})", self.name)
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> State for ValueState<V> {
    type Value = V;
    type Slot = Option<V>;
    type Handle<'a> = ValueHandle<'a, V>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    #[inline]
    fn handle(slot: &mut Option<V>) -> ValueHandle<'_, V> {
        ValueHandle { slot }
    }

    #[inline]
    fn value(slot: &Option<V>) -> Option<&V> {
        slot.as_ref()
    }

    fn slot(value: V) -> Option<V> {
        Some(value)
    }
}

/// The value of the current key, in place.
#[derive(Debug)]
pub struct ValueHandle<'a, V> {
    slot: &'a mut Option<V>,
}

impl<V> ValueHandle<'_, V> {
    /// The value, if one is set.
    #[inline]
    pub fn get(&self) -> Option<&V> {
        self.slot.as_ref()
    }

    /// The value, to be changed in place, if one is set.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut V> {
        self.slot.as_mut()
    }

    /// The value, to be changed in place; set to what `initial` gives if there is none.
    #[inline]
    pub fn get_or_insert_with(&mut self, initial: impl FnOnce() -> V) -> &mut V {
        self.slot.get_or_insert_with(initial)
    }

    /// Sets the value.
    #[inline]
    pub fn set(&mut self, value: V) {
        *self.slot = Some(value);
    }

    /// Replaces the value by what `update` makes of it; `None` clears it.
    #[inline]
    pub fn update(&mut self, update: impl FnOnce(Option<V>) -> Option<V>) {
        *self.slot = update(self.slot.take());
    }

    /// Clears the value and gives it back.
    #[inline]
    pub fn take(&mut self) -> Option<V> {
        self.slot.take()
    }

    /// Clears the value. A key whose states are all clear takes no memory.
    #[inline]
    pub fn clear(&mut self) {
        *self.slot = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_changes_its_slot_in_place() {
        let mut slot = None;
        let mut handle = ValueState::<u32>::handle(&mut slot);
        assert_eq!(handle.get(), None);
        assert_eq!(handle.take(), None);
        *handle.get_or_insert_with(|| 5) += 1;
        assert_eq!(*handle.get_or_insert_with(|| 0), 6);
        *handle.get_mut().unwrap() += 1;
        handle.update(|old| old.map(|old| old * 2));
        assert_eq!(handle.get(), Some(&14));
        handle.set(1);
        assert_eq!(handle.take(), Some(1));
        handle.set(2);
        handle.clear();
        assert_eq!(slot, None);
    }
}
