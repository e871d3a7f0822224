//! Declared states, and sets of them.
//!
//! A keyed function declares its states once; the engine keeps one row per key with one slot per state, and lends the
//! function handles that change the slots in place. All states of a key cost one look-up.

use std::hash::Hash;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::KeyedTable;
use super::codec::{SectionEncoder, SectionError, SectionReader};

/// What a key must be: hashed, compared and stored. Implemented for every type that is.
pub trait StateKey: Hash + Eq + Serialize + DeserializeOwned + Send + 'static {}

impl<K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static> StateKey for K {}

/// One kind of keyed state, as declared: [`ValueState`](super::ValueState).
pub trait State: Send + 'static {
    /// What is stored for a key.
    type Value: Serialize + DeserializeOwned + Send + 'static;
    /// A key's place for it, clear by default.
    type Slot: Default + Send + 'static;
    /// Access to one key's slot.
    type Handle<'a>;

    /// The name, under which the state is found again in a snapshot.
    fn name(&self) -> &Arc<str>;

    /// Lends a slot.
    fn handle(slot: &mut Self::Slot) -> Self::Handle<'_>;

    /// What a slot holds; `None` if it is clear.
    fn value(slot: &Self::Slot) -> Option<&Self::Value>;

    /// A slot that holds a value.
    fn slot(value: Self::Value) -> Self::Slot;
}

/// The states of one function: a single [`State`], or a tuple of up to eight.
pub trait StateSet: Send + 'static {
    /// The slots of one key, clear by default.
    type Row: Default + Send + 'static;
    /// The handles of one key's slots, in the order of declaration. Disjoint: all can be held at once.
    type Handles<'a>;

    /// The names in the order of declaration. The graph refuses a function that uses one twice.
    fn names(&self) -> Vec<Arc<str>>;

    /// Lends a row.
    fn handles(row: &mut Self::Row) -> Self::Handles<'_>;

    /// Whether every state of the row is clear; the table then forgets the key.
    fn is_clear(row: &Self::Row) -> bool;

    /// Writes the section of the state at `index`: the rows in which it is not clear.
    ///
    /// # Errors
    /// What a serializer says.
    fn encode_column<'r, K: StateKey>(
        index: usize,
        rows: impl Iterator<Item = (&'r K, &'r Self::Row)>,
        section: &mut SectionEncoder,
    ) -> Result<(), String>;

    /// Loads the section of the state at `index` into `table`, and gives the number of entries that moved to another
    /// key group since they were written.
    ///
    /// # Errors
    /// If the bytes are no such section, name a key twice, or a key of a group that the table does not have.
    fn decode_column<K: StateKey>(
        index: usize,
        bytes: &[u8],
        group: u32,
        table: &mut KeyedTable<K, Self::Row>,
    ) -> Result<u64, SectionError>;
}

fn encode_state<'r, S: State, K: StateKey>(
    slots: impl Iterator<Item = (&'r K, &'r S::Slot)>,
    section: &mut SectionEncoder,
) -> Result<(), String> {
    section.encode(slots.filter_map(|(key, slot)| S::value(slot).map(|value| (key, value))))
}

fn decode_state<S: State, K: StateKey, Row: Default>(
    bytes: &[u8],
    group: u32,
    table: &mut KeyedTable<K, Row>,
    slot_of: impl Fn(&mut Row) -> &mut S::Slot,
) -> Result<u64, SectionError> {
    let mut section = SectionReader::<K, S::Value>::open(bytes)?;
    let version = section.version();
    table.reserve(group, section.remaining(), bytes.len());
    let mut moved = 0;
    while let Some((key, value)) = section.next()? {
        let (actual, row) = table.row_of(key);
        let Some(row) = row else {
            let reason = format!(
                "a key now hashes to group {actual}, which another subtask owns: its Hash has changed; restore once at parallelism 1, whose next checkpoint has every key in its group"
            );
            return Err(SectionError { version, reason });
        };
        let slot = slot_of(row);
        if S::value(slot).is_some() {
            return Err(SectionError { version, reason: "one key is stored twice".to_owned() });
        }
        *slot = S::slot(value);
        moved += u64::from(actual != group);
    }
    Ok(moved)
}

impl<S: State> StateSet for S {
    type Row = S::Slot;
    type Handles<'a> = S::Handle<'a>;

    fn names(&self) -> Vec<Arc<str>> {
        vec![self.name().clone()]
    }

    #[inline]
    fn handles(row: &mut Self::Row) -> Self::Handles<'_> {
        S::handle(row)
    }

    #[inline]
    fn is_clear(row: &Self::Row) -> bool {
        S::value(row).is_none()
    }

    fn encode_column<'r, K: StateKey>(
        _: usize,
        rows: impl Iterator<Item = (&'r K, &'r Self::Row)>,
        section: &mut SectionEncoder,
    ) -> Result<(), String> {
        encode_state::<S, K>(rows, section)
    }

    fn decode_column<K: StateKey>(
        _: usize,
        bytes: &[u8],
        group: u32,
        table: &mut KeyedTable<K, Self::Row>,
    ) -> Result<u64, SectionError> {
        decode_state::<S, K, _>(bytes, group, table, |row| row)
    }
}

macro_rules! state_tuples {
    ($(($($state:ident $index:tt),+))*) => {$(
        impl<$($state: State),+> StateSet for ($($state,)+) {
            type Row = ($($state::Slot,)+);
            type Handles<'a> = ($($state::Handle<'a>,)+);

            fn names(&self) -> Vec<Arc<str>> {
                vec![$(self.$index.name().clone()),+]
            }

            #[inline]
            fn handles(row: &mut Self::Row) -> Self::Handles<'_> {
                ($($state::handle(&mut row.$index),)+)
            }

            #[inline]
            fn is_clear(row: &Self::Row) -> bool {
                $($state::value(&row.$index).is_none())&&+
            }

            fn encode_column<'r, K: StateKey>(
                index: usize,
                rows: impl Iterator<Item = (&'r K, &'r Self::Row)>,
                section: &mut SectionEncoder,
            ) -> Result<(), String> {
                match index {
                    $($index => encode_state::<$state, K>(rows.map(|(key, row)| (key, &row.$index)), section),)+
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }

            fn decode_column<K: StateKey>(
                index: usize,
                bytes: &[u8],
                group: u32,
                table: &mut KeyedTable<K, Self::Row>,
            ) -> Result<u64, SectionError> {
                match index {
                    $($index => decode_state::<$state, K, _>(bytes, group, table, |row| &mut row.$index),)+
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }
        }
    )*};
}

state_tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
