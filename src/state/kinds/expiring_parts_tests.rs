//! Deadlines of a state of which a delta has only the parts that changed, as lists and maps are.

use super::*;

/// A state as lists and maps are: what did not change itself writes nothing into a delta.
#[derive(Clone)]
struct Parts(Arc<str>);

#[derive(Default)]
struct PartsSlot {
    stamp: Stamp,
    changed: Stamp,
    value: u64,
}

impl Slot for PartsSlot {
    fn stamp(&self) -> Stamp {
        self.stamp
    }
    fn touch(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }
    fn is_clear(&self) -> bool {
        self.value == 0
    }
    fn clear(&mut self, stamp: Stamp) {
        *self = PartsSlot { stamp, changed: stamp, value: 0 };
    }
}

impl State for Parts {
    type Slot = PartsSlot;
    type Handle<'a> = (&'a mut PartsSlot, Stamp);

    fn name(&self) -> &Arc<str> {
        &self.0
    }
    fn format(&self) -> StateFormat {
        ValueState::<u64>::new("").format()
    }
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
    fn handle<'a>(&'a self, slot: &'a mut PartsSlot, access: Access) -> Self::Handle<'a> {
        (slot, access.stamp)
    }
    fn write(&self, slot: &mut PartsSlot, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        bytes.extend_from_slice(b"to be cut off");
        if !span.is_full() && !span.contains(slot.changed) {
            return Ok(Written::Nothing);
        }
        bytes.truncate(bytes.len() - 13);
        bytes.extend_from_slice(&slot.value.to_le_bytes());
        Ok(if slot.value == 0 { Written::Dead } else { Written::Live })
    }
    fn load(
        &self,
        slot: &mut PartsSlot,
        stamp: Stamp,
        _: StateFormat,
        _: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        let (value, rest) = bytes.split_first_chunk::<8>().ok_or("cut short")?;
        *bytes = rest;
        *slot = PartsSlot { stamp, changed: stamp, value: u64::from_le_bytes(*value) };
        Ok(())
    }
}

#[test]
fn a_deadline_that_alone_has_changed_is_stored_alone() {
    let (parts, store) = (Parts("parts".into()), store());
    let state = parts.clone().with_ttl(StateTtl::processing_time(TTL));
    let mut subtask = subtask(state.clone());
    for key in 1..=20 {
        change(&mut subtask.table, &key, |mut handle| (handle.0.value, handle.0.stamp, handle.0.changed) = (7, 1, 1));
    }
    let first = checkpoint(&mut subtask, &store, 1, None);
    subtask.table.set_time(600, Timestamp::MIN);
    // A change that changes nothing.
    change(&mut subtask.table, &1, |mut handle| {
        let _ = handle.deref_mut();
    });
    let second = checkpoint(&mut subtask, &store, 2, Some(&first));
    assert!(second.chunks.len() > first.chunks.len(), "a delta was written");
    let mut again = restored(&state, &store, &second);
    again.table.set_time(1599, Timestamp::MIN);
    let value = |handle: ExpiringHandle<'_, (&mut PartsSlot, Stamp)>| handle.0.value;
    assert_eq!([1, 2].map(|key| change(&mut again.table, &key, value)), [7, 0]);
    let mut plain = restored(&parts, &store, &second);
    assert_eq!([1, 2].map(|key| change(&mut plain.table, &key, |handle| handle.0.value)), [7, 7]);

    let mut slot = ExpiringSlot::default();
    let alone = [1, 0, 0, 0, 0, 0, 0, 0];
    for is_delta in [false, true] {
        let error = state.load(&mut slot, 1, state.format(), is_delta, &mut &alone[..]).unwrap_err();
        assert_eq!(error, "a deadline without a value".into());
    }
    let error = state.load(&mut slot, 1, state.format(), true, &mut &alone[1..]).unwrap_err();
    assert!(String::from(error).contains("cut short"));
}
