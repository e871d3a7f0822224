//! State that holds a map per key.

mod handle;
mod keys;
mod page;
mod paged;
mod range;
mod resident;
mod stored;

use std::any::Any;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use handle::MapHandle;

use super::ValueSlot;
use super::schema::{Schema, schema_methods};
use crate::state::codec::{Encoding, StateFormat, Unfit, Written, check_kind, encoding_of, take};
use crate::state::query::QueriedAs;
use crate::state::set::Paging;
use crate::state::{Access, Slot, Span, Stamp, State};
use keys::TakeKey;
use paged::Paged;

/// Declares a map per key, from `K` to `V`. Follows Flink's `MapState`, but for the order.
///
/// A map is ordered by its keys (`Ord`), so what a function emits while it goes through one does not depend on what was
/// removed or restored before. A look-up takes logarithmic time.
///
/// A snapshot of changes has only the entries that changed, and the keys of removed ones. To find them it looks at every
/// entry of a map that has changed, in one go.
///
/// With [`StateBackend::redb`](crate::state::StateBackend::redb) a map with more than 256 entries, or more than 16 KiB, lies in pages of
/// some 4 KiB, each of which is read and written by itself. A look-up, an insert, a removal or the first entry reads a page
/// or two that are not in the cache; a range or an iteration those that it goes through, which stay in memory until the next change of the
/// map or the end of the call. A snapshot of changes reads the pages that have changed. A map of a few large entries, which would be in
/// one page, stays in its row.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Counts the visits to each page by user, and tells of each new page how many the user has seen.
/// #[derive(Clone)]
/// struct Pages;
///
/// impl KeyedProcessFunction<u64, (u64, String)> for Pages {
///     type Out = (u64, usize);
///     type State = MapState<String, u32>;
///
///     fn state(&self) -> MapState<String, u32> {
///         MapState::new("visits")
///     }
///
///     fn process(
///         &mut self,
///         (user, page): (u64, String),
///         mut visits: Row<'_, Self, u64, (u64, String)>,
///         _: &mut KeyedContext<'_, u64>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         match visits.get_mut(page.as_str()) {
///             Some(count) => *count += 1,
///             None => {
///                 visits.insert(page, 1);
///                 out.emit((user, visits.len()));
///             }
///         }
///     }
/// }
/// ```
pub struct MapState<K, V> {
    name: Arc<str>,
    schema: Schema<V>,
    /// The migrations of keys. Their versions are those of the values.
    keys: Schema<K>,
}

impl<K, V> MapState<K, V> {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), schema: Schema::new(), keys: Schema::new() }
    }

    schema_methods!("values", schema);

    /// Sets how the maps' keys of version `from` become those of the next version, which is that of the values: they need a
    /// [`migrate`](Self::migrate) for that version too, `|value: V| value` if they stay as they are. Where keys stay as they
    /// are, this is not needed. Two keys of a map that become one fail the restore.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// // Visits were counted by the number of the page, and are by its path.
    /// let visits = MapState::<String, u32>::new("visits")
    ///     .version(2)
    ///     .migrate_keys(1, |page: u64| format!("/pages/{page}"))
    ///     .migrate(1, |count: u32| count);
    /// ```
    pub fn migrate_keys<Old, New>(mut self, from: u32, migrate: impl Fn(Old) -> New + Send + Sync + 'static) -> Self
    where
        Old: DeserializeOwned + 'static,
        New: 'static,
    {
        self.keys.add_migration(from, migrate);
        self
    }
}

impl<K, V> Clone for MapState<K, V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), schema: self.schema.clone(), keys: self.keys.clone() }
    }
}

impl<K, V> fmt::Debug for MapState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapState({})", self.name)
    }
}

/// The entries of a map that is in no pages.
type InRow<K, V> = BTreeMap<K, ValueSlot<V>>;

/// A key's place for a map. Without entries it is clear.
#[derive(Debug)]
pub struct MapSlot<K, V> {
    /// With the removed ones that a base may have. There are none of these if nothing else is left.
    entries: InRow<K, V>,
    /// Removed ones among the entries.
    removed: u32,
    stamp: Stamp,
    /// The last change of an entry.
    changed: Stamp,
    /// When it last was empty, or lost its marks of removed entries: a base that closed an earlier stamp may have
    /// entries that are not here, so over such a one the whole map is written.
    replaced: Stamp,
    /// Up to this key there is no entry but marks of removed ones: what is taken off the front again and again leaves them there.
    gone: Option<K>,
    /// All of it, if it is large and may leave memory: then the entries are here, and none is above.
    paged: Option<Box<Paged<K, V>>>,
}

impl<K, V> Default for MapSlot<K, V> {
    fn default() -> Self {
        Self { entries: InRow::new(), removed: 0, stamp: 0, changed: 0, replaced: 0, gone: None, paged: None }
    }
}

/// Fewer marks of removed entries do no harm.
const REMOVED_MIN: usize = 16;

impl<K: Ord, V> MapSlot<K, V> {
    fn live(&self) -> usize {
        match &self.paged {
            None => self.entries.len() - self.removed as usize,
            Some(paged) => paged.live,
        }
    }

    /// An entry with this key is about to be added.
    #[inline]
    fn comes(&mut self, key: &K) {
        if self.gone.as_ref().is_some_and(|gone| key <= gone) {
            self.gone = None;
        }
    }

    /// The entries, from the first that is not known to be gone.
    fn front(&self) -> impl Iterator<Item = (&K, &V)> {
        let from = self.gone.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((from, Bound::Unbounded)).filter_map(|(key, entry)| Some((key, entry.value()?)))
    }

    /// An entry is about to be changed or added.
    #[inline]
    fn change(&mut self, now: Stamp) {
        if self.entries.is_empty() && self.paged.is_none() {
            self.replaced = now;
        }
        (self.stamp, self.changed) = (now, now);
    }

    fn insert(&mut self, key: K, value: V, now: Stamp) -> Option<V> {
        if self.paged.is_some() {
            return self.insert_paged(key, value, now);
        }
        self.change(now);
        self.comes(&key);
        match self.entries.insert(key, ValueSlot::Set(now, value)) {
            None => None,
            Some(ValueSlot::Set(_, old)) => Some(old),
            Some(ValueSlot::Clear(_)) => {
                self.removed -= 1;
                None
            }
        }
    }

    #[cold]
    fn insert_paged(&mut self, key: K, value: V, now: Stamp) -> Option<V> {
        self.change(now);
        let inserted = self.paged.as_mut()?.insert(key, value, now);
        inserted.unwrap_or_else(|lost| lost.unwind())
    }

    fn remove<Q>(&mut self, key: &Q, now: Stamp) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if let Some(paged) = &mut self.paged {
            let is_known = self.replaced != now;
            let old = paged.remove(key, now, is_known).unwrap_or_else(|lost| lost.unwind())?;
            self.change(now);
            self.forget_too_many(now);
            return Some(old);
        }
        let old = self.entries.get_mut(key)?.take(now)?;
        self.removed += 1;
        self.change(now);
        if self.replaced == now {
            self.entries.remove(key);
            self.removed -= 1;
        }
        self.forget_too_many(now);
        Some(old)
    }

    /// Marks of removed entries that outnumber the others are worth less than they take up.
    fn forget_too_many(&mut self, now: Stamp) {
        let live = self.live();
        if live == 0 {
            self.empty(now);
        } else if let Some(paged) = &mut self.paged {
            if paged.removed > live.max(REMOVED_MIN) {
                paged.forget_removed(now).unwrap_or_else(|lost| lost.unwind());
                self.replaced = now;
            }
        } else if self.removed as usize > live.max(REMOVED_MIN) {
            self.entries.retain(|_, entry| entry.value().is_some());
            (self.removed, self.replaced) = (0, now);
        }
    }

    fn empty(&mut self, now: Stamp) {
        if let Some(paged) = &self.paged {
            paged.free_all();
        }
        *self = Self { stamp: now, changed: now, replaced: now, ..Self::default() };
    }

    /// Forgets the removed entries that no base from this one on has.
    fn settle(&mut self, base: Stamp) {
        if self.removed > 0 {
            self.entries.retain(|_, entry| entry.value().is_some() || entry.stamp() > base);
            self.removed = self.entries.values().filter(|entry| entry.value().is_none()).count() as u32;
        }
    }
}

/// What is stored of a map: all of it.
const WHOLE: u8 = 0;
/// What is stored of a map: the entries that changed.
const CHANGES: u8 = 1;

impl<K: Ord + Send + 'static, V: Send + 'static> Slot for MapSlot<K, V> {
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
        self.entries.is_empty() && self.paged.is_none()
    }

    fn clear(&mut self, stamp: Stamp) {
        self.empty(stamp);
    }
}

impl<K, V> State for MapState<K, V>
where
    K: Ord + Serialize + DeserializeOwned + Send + 'static,
    V: Serialize + DeserializeOwned + Send + 'static,
{
    const HAS_PAGES: bool = true;

    type Slot = MapSlot<K, V>;
    type Handle<'a> = MapHandle<'a, K, V>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.schema.former_names()
    }

    fn format(&self) -> StateFormat {
        StateFormat { values: Encoding::MAP, ..self.schema.format() }
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut MapSlot<K, V>, access: Access) -> MapHandle<'a, K, V> {
        MapHandle { slot, now: access.stamp }
    }

    /// The encodings of keys and values; whether it is all; how many entries and removed keys; these.
    fn write(&self, slot: &mut MapSlot<K, V>, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        if slot.changed <= span.after {
            return Ok(Written::Nothing);
        }
        if slot.is_clear() {
            return Ok(if span.is_full() { Written::Nothing } else { Written::Dead });
        }
        let is_whole = slot.replaced > span.after;
        bytes.extend([encoding_of::<K>().0, self.schema.format().values.0, if is_whole { WHOLE } else { CHANGES }]);
        let counts = bytes.len();
        bytes.extend([0; 8]);
        let (live, dead) = stored::write_entries(slot, &self.schema, (span, is_whole), bytes)?;
        for (place, count) in [(counts, live), (counts + 4, dead)] {
            let count = u32::try_from(count).map_err(|_| format!("a map with {count} entries"))?;
            bytes[place..place + 4].copy_from_slice(&count.to_le_bytes());
        }
        Ok(Written::Live)
    }

    fn load(
        &self,
        slot: &mut MapSlot<K, V>,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        check_kind(stored.values, Encoding::MAP)?;
        let keys = TakeKey::of(&self.keys, (Encoding(take(bytes)?), stored.version))?;
        let stored = StateFormat { values: Encoding(take(bytes)?), ..stored };
        let take_value = |bytes: &mut &[u8]| self.schema.take(stored, bytes);
        let (kind, live, dead) = (take::<u8>(bytes)?, take::<u32>(bytes)? as usize, take::<u32>(bytes)? as usize);
        if live.saturating_add(dead) > bytes.len() {
            let left = bytes.len();
            return Err(format!("{live} entries and {dead} removed keys cannot be in {left} bytes").into());
        }
        match (kind, is_delta) {
            (WHOLE, _) if live > 0 && dead == 0 => load_whole(slot, stamp, live, (keys, take_value), bytes)?,
            (CHANGES, true) => load_changes(slot, stamp, (live, dead), (keys, take_value), bytes)?,
            _ => {
                let of = format!("a map of kind {kind} with {live} entries, {dead} removed (in changes: {is_delta})");
                return Err(Unfit::Other(of));
            }
        }
        (slot.stamp, slot.changed, slot.replaced, slot.gone) = (stamp, stamp, stamp, None);
        Ok(())
    }

    /// How it lies, and then as in a section if it is in the row.
    fn spill(&self, slot: &mut MapSlot<K, V>, paging: &Paging, bytes: &mut Vec<u8>) -> Result<Written, String> {
        if slot.is_clear() {
            return Ok(Written::Nothing);
        }
        let start = bytes.len();
        if !stored::is_of_pages(slot) {
            bytes.push(stored::IN_ROW);
            let written = self.write(slot, Span { after: 0, up_to: Stamp::MAX }, bytes)?;
            if !stored::is_large(slot, bytes.len() - start) {
                return Ok(written);
            }
            bytes.truncate(start);
        }
        if slot.paged.is_none() {
            stored::fit(slot, &self.schema, paging, 0)?;
        }
        bytes.push(stored::IN_PAGES);
        stored::put_directory(slot, bytes)?;
        Ok(Written::Live)
    }

    fn unspill(&self, slot: &mut MapSlot<K, V>, stamp: Stamp, paging: &Paging, bytes: &mut &[u8]) -> Result<(), Unfit> {
        match take(bytes)? {
            stored::IN_ROW => self.load(slot, stamp, self.format(), false, bytes),
            stored::IN_PAGES => {
                slot.stamp = stamp;
                stored::take_directory(slot, &self.schema, paging, bytes)
            }
            kind => Err(format!("a map that lies as {kind}").into()),
        }
    }

    #[inline]
    fn trim(&self, slot: &mut MapSlot<K, V>, paging: &Paging) -> bool {
        stored::trim(slot, &self.schema, paging)
    }

    #[inline]
    fn forget_marks(&self, slot: &mut MapSlot<K, V>, base: Stamp) {
        if let Some(paged) = &mut slot.paged {
            paged.settle(base, &[]);
        }
    }

    fn queried_as() -> Option<QueriedAs> {
        Some(QueriedAs::of::<BTreeMap<K, V>>(decode_map::<K, V>))
    }

    fn entries(slot: &MapSlot<K, V>) -> usize {
        slot.live()
    }

    fn check(&self) -> Result<(), String> {
        self.schema.check()?;
        self.keys.check_steps(self.schema.version()).map_err(|reason| format!("keys of maps: {reason}"))
    }
}

/// Decodes a map for a query.
fn decode_map<K, V>(format: StateFormat, bytes: &[u8]) -> Result<Box<dyn Any + Send>, String>
where
    K: Ord + Serialize + DeserializeOwned + Send + 'static,
    V: Serialize + DeserializeOwned + Send + 'static,
{
    let (state, mut slot) = (MapState::<K, V>::new("queried"), MapSlot::default());
    // What is written by today's type has its version, whatever the user counts.
    let format = StateFormat { version: state.schema.version(), ..format };
    state.load(&mut slot, 1, format, false, &mut &*bytes).map_err(Unfit::with_remedy)?;
    let entries = slot.entries.into_iter().filter_map(|(key, entry)| match entry {
        ValueSlot::Set(_, value) => Some((key, value)),
        ValueSlot::Clear(_) => None,
    });
    Ok(Box::new(entries.collect::<BTreeMap<K, V>>()))
}

fn load_whole<K, V>(
    slot: &mut MapSlot<K, V>,
    stamp: Stamp,
    live: usize,
    (keys, take_value): (TakeKey<'_, K>, impl Fn(&mut &[u8]) -> Result<V, Unfit>),
    bytes: &mut &[u8],
) -> Result<(), Unfit>
where
    K: Ord + DeserializeOwned + 'static,
{
    let size = size_of::<(K, ValueSlot<V>)>().max(1);
    let mut entries = Vec::with_capacity(live.min(bytes.len() / size));
    for _ in 0..live {
        entries.push((keys.take(bytes)?, ValueSlot::Set(stamp, take_value(bytes)?)));
    }
    slot.entries = entries.into_iter().collect();
    if slot.entries.len() < live {
        return Err(keys.twice());
    }
    Ok(())
}

fn load_changes<K, V>(
    slot: &mut MapSlot<K, V>,
    stamp: Stamp,
    (live, dead): (usize, usize),
    (keys, take_value): (TakeKey<'_, K>, impl Fn(&mut &[u8]) -> Result<V, Unfit>),
    bytes: &mut &[u8],
) -> Result<(), Unfit>
where
    K: Ord + DeserializeOwned + 'static,
{
    let is_new = |old: Option<ValueSlot<V>>| old.is_none_or(|old| old.stamp() < stamp);
    for _ in 0..live {
        let (key, value) = (keys.take(bytes)?, take_value(bytes)?);
        if !is_new(slot.entries.insert(key, ValueSlot::Set(stamp, value))) {
            return Err(keys.twice());
        }
    }
    for _ in 0..dead {
        if !is_new(slot.entries.remove(&keys.take(bytes)?)) {
            return Err("a key of a map is stored and removed".into());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
