//! A page of a map, in memory and as bytes. The bytes never outlive the attempt, so their layout is free to change.
//!
//! A page: number of entries (u32), and of each its key, its stamp (u32), whether it is a mark of a removed one (a byte), and else
//! its value; by ascending key.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::Stamp;
use crate::state::codec::{put_map_key, take};
use crate::state::kinds::{Schema, ValueSlot};

/// Entries of a page by key, removed ones among them.
pub(super) type Entries<K, V> = BTreeMap<K, PageEntry<V>>;

/// An entry of a page. It is a type of its own so that maps that are in no pages have their code to themselves: shared with
/// these, `BTreeMap::insert` is not inlined any more, for some 30 instructions each time.
pub(super) struct PageEntry<V>(pub(super) ValueSlot<V>);

impl<V> Default for PageEntry<V> {
    fn default() -> Self {
        Self(ValueSlot::default())
    }
}

impl<V> Deref for PageEntry<V> {
    type Target = ValueSlot<V>;

    fn deref(&self) -> &ValueSlot<V> {
        &self.0
    }
}

impl<V> DerefMut for PageEntry<V> {
    fn deref_mut(&mut self) -> &mut ValueSlot<V> {
        &mut self.0
    }
}

/// A part of a map: the entries from a key up to the first one of the next page.
pub(super) struct Page<K, V> {
    /// Up to here. The first page of a map has none.
    pub(super) first: Option<K>,
    /// `None` if it was never written.
    pub(super) number: Option<u64>,
    /// Entries.
    pub(super) live: u32,
    /// Marks of removed ones beside them.
    pub(super) removed: u32,
    /// No entry and no mark has a higher stamp.
    pub(super) changed: Stamp,
    /// It is not as it was written.
    pub(super) is_dirty: bool,
    /// It was used since the eviction came by.
    pub(super) is_used: Cell<bool>,
    /// About so many bytes of it are in memory, as the pager has been told.
    pub(super) held: Cell<usize>,
    /// So often an entry was lent to be changed since that was counted.
    pub(super) lent: Cell<u32>,
    /// Empty if it is not in memory.
    pub(super) content: OnceCell<Entries<K, V>>,
}

impl<K, V> Page<K, V> {
    /// A page that is in memory only.
    pub(super) fn new(first: Option<K>, content: Entries<K, V>) -> Self {
        let live = content.values().filter(|entry| entry.value().is_some()).count();
        Self {
            first,
            number: None,
            live: live as u32,
            removed: (content.len() - live) as u32,
            changed: content.values().map(|entry| entry.stamp()).max().unwrap_or(0),
            is_dirty: true,
            is_used: Cell::new(true),
            held: Cell::new(0),
            lent: Cell::new(0),
            content: OnceCell::from(content),
        }
    }

    /// One that is not in memory: its number, entries and marks, and the stamp of the last change.
    pub(super) fn stored(number: u64, (live, removed): (u32, u32), changed: Stamp) -> Self {
        Self {
            first: None,
            number: Some(number),
            live,
            removed,
            changed,
            is_dirty: false,
            is_used: Cell::new(false),
            held: Cell::new(0),
            lent: Cell::new(0),
            content: OnceCell::new(),
        }
    }

    /// Entries and marks.
    pub(super) fn len(&self) -> usize {
        self.live as usize + self.removed as usize
    }
}

type ReadPage<K, V> = fn(&Schema<V>, &[u8]) -> Result<Entries<K, V>, String>;
type PutEntry<K, V> = fn(&Schema<V>, &K, &ValueSlot<V>, &mut Vec<u8>) -> Result<(), String>;

/// How pages of a state become bytes, and come back. It lets a handle do so, which does not know that its types can be
/// stored.
pub(super) struct PageCodec<K, V> {
    schema: Schema<V>,
    read: ReadPage<K, V>,
    put: PutEntry<K, V>,
    copy_key: fn(&K) -> Result<K, String>,
}

impl<K, V> PageCodec<K, V>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    /// For a state with this schema.
    pub(super) fn new(schema: &Schema<V>) -> Self {
        let copy_key = |key: &K| {
            let mut bytes = Vec::new();
            put_map_key(key, &mut bytes)?;
            take(&mut &*bytes)
        };
        Self { schema: schema.clone(), read: read_page, put: put_entry, copy_key }
    }
}

impl<K, V> PageCodec<K, V> {
    /// The entries of a page.
    ///
    /// # Errors
    /// If the bytes are none.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Entries<K, V>, String> {
        (self.read)(&self.schema, bytes)
    }

    /// Appends a page.
    ///
    /// # Errors
    /// What a serializer says.
    pub(super) fn write(&self, entries: &Entries<K, V>, bytes: &mut Vec<u8>) -> Result<(), String> {
        bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        entries.iter().try_for_each(|(key, entry)| self.put(key, entry, bytes))
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// What a serializer says.
    pub(super) fn put(&self, key: &K, entry: &ValueSlot<V>, bytes: &mut Vec<u8>) -> Result<(), String> {
        (self.put)(&self.schema, key, entry, bytes)
    }

    /// A second one of a key.
    ///
    /// # Errors
    /// What a serializer says.
    pub(super) fn copy_key(&self, key: &K) -> Result<K, String> {
        (self.copy_key)(key)
    }
}

fn put_entry<K, V>(schema: &Schema<V>, key: &K, entry: &ValueSlot<V>, bytes: &mut Vec<u8>) -> Result<(), String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    put_map_key(key, bytes)?;
    bytes.extend_from_slice(&entry.stamp().to_le_bytes());
    bytes.push(u8::from(entry.value().is_none()));
    entry.value().map_or(Ok(()), |value| schema.put(value, bytes))
}

fn read_page<K, V>(schema: &Schema<V>, mut bytes: &[u8]) -> Result<Entries<K, V>, String>
where
    K: Ord + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    let bytes = &mut bytes;
    let count = take::<u32>(bytes)? as usize;
    let mut entries = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        let (key, stamp, is_mark) = (take(bytes)?, take::<Stamp>(bytes)?, take::<u8>(bytes)? == 1);
        let entry =
            if is_mark { ValueSlot::Clear(stamp) } else { ValueSlot::Set(stamp, schema.take(schema.format(), bytes)?) };
        entries.push((key, PageEntry(entry)));
    }
    let entries: Entries<K, V> = entries.into_iter().collect();
    if entries.len() != count || !bytes.is_empty() {
        return Err(format!("a page of {count} entries has {}, and {} bytes are left", entries.len(), bytes.len()));
    }
    Ok(entries)
}
