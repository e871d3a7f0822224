//! What is stored of a map: in sections of checkpoints, and in the working file.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MapSlot;
use super::keys::unfit_key;
use super::page::{Entries, Page, PageCodec, PageEntry};
use super::paged::{Paged, entries_max_of_bytes};
use crate::state::codec::{Unfit, put_map_key, take};
use crate::state::kinds::{Schema, ValueSlot};
use crate::state::set::Paging;
use crate::state::{Span, Stamp};

/// Larger maps lie in pages: entries and marks of removed ones.
const IN_ROW_MAX: usize = if cfg!(test) { 6 } else { 256 };
/// The same, in bytes of a row that leaves memory.
const IN_ROW_BYTES_MAX: usize = if cfg!(test) { 128 } else { 16 << 10 };

/// How a map begins that was spilled: it is in the row.
pub(super) const IN_ROW: u8 = 0;
/// How a map begins that was spilled: it is in pages.
pub(super) const IN_PAGES: u8 = 1;

/// Appends the entries of a span, all of them if `is_whole`, and then the keys of the removed ones; gives the numbers of both.
pub(super) fn write_entries<K, V>(
    slot: &mut MapSlot<K, V>,
    schema: &Schema<V>,
    (span, is_whole): (Span, bool),
    bytes: &mut Vec<u8>,
) -> Result<(usize, usize), String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    let mut writing = Writing { schema, after: span.after, is_whole, live: 0, dead: 0, dead_keys: Vec::new(), bytes };
    match &mut slot.paged {
        None => writing.write(slot.entries.iter())?,
        Some(paged) => write_pages(paged, &mut writing, span)?,
    }
    let Writing { live, dead, dead_keys, bytes, .. } = writing;
    bytes.extend_from_slice(&dead_keys);
    if !span.is_full() && slot.paged.is_none() {
        slot.settle(span.after);
    }
    Ok((live, dead))
}

/// Reads the pages that have changed, or all. Those that were not in memory are not afterwards.
fn write_pages<K, V>(paged: &mut Paged<K, V>, writing: &mut Writing<'_, V>, span: Span) -> Result<(), String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    let mut marks_left = Vec::new();
    for index in 0..paged.pages.len() {
        let page = &paged.pages[index];
        if !writing.is_whole && page.changed <= span.after {
            continue;
        }
        match page.content.get() {
            Some(content) => writing.write(unwrapped(content))?,
            None => {
                let content = paged.read(index)?;
                writing.write(unwrapped(&content))?;
                let is_left = |entry: &&PageEntry<V>| entry.value().is_none() && entry.stamp() > span.after;
                marks_left.push((index, content.values().filter(is_left).count() as u32));
            }
        }
    }
    if !span.is_full() {
        paged.settle(span.after, &marks_left);
    }
    Ok(())
}

/// Entries of a page as those of a map that is in none.
fn unwrapped<K, V>(entries: &Entries<K, V>) -> impl Iterator<Item = (&K, &ValueSlot<V>)> {
    entries.iter().map(|(key, entry)| (key, &entry.0))
}

struct Writing<'a, V> {
    schema: &'a Schema<V>,
    after: Stamp,
    is_whole: bool,
    live: usize,
    dead: usize,
    dead_keys: Vec<u8>,
    bytes: &'a mut Vec<u8>,
}

impl<V: Serialize + DeserializeOwned + 'static> Writing<'_, V> {
    fn write<'e, K>(&mut self, entries: impl Iterator<Item = (&'e K, &'e ValueSlot<V>)>) -> Result<(), String>
    where
        K: Ord + Serialize + DeserializeOwned + 'static,
    {
        for (key, entry) in entries {
            match entry {
                ValueSlot::Set(stamp, value) if self.is_whole || *stamp > self.after => {
                    put_map_key(key, self.bytes)?;
                    self.schema.put(value, self.bytes)?;
                    self.live += 1;
                }
                ValueSlot::Clear(stamp) if !self.is_whole && *stamp > self.after => {
                    put_map_key(key, &mut self.dead_keys)?;
                    self.dead += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Has a map lie in pages, or not, as its size says; gives whether that has changed.
///
/// # Errors
/// If entries cannot be stored. The map stays as it was.
pub(super) fn fit<K, V>(
    slot: &mut MapSlot<K, V>,
    schema: &Schema<V>,
    paging: &Paging,
    entries_max: usize,
) -> Result<bool, String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    match &mut slot.paged {
        None if slot.entries.len() > entries_max => {
            match Paged::cut(std::mem::take(&mut slot.entries), PageCodec::new(schema), paging) {
                Ok(paged) => {
                    slot.paged = Some(Box::new(paged));
                    (slot.removed, slot.gone) = (0, None);
                    Ok(true)
                }
                Err((entries, reason)) => {
                    slot.entries = entries;
                    Err(reason)
                }
            }
        }
        None => Ok(false),
        Some(paged) => match paged.take_small(IN_ROW_MAX / 4, IN_ROW_BYTES_MAX / 2) {
            Some((entries, removed)) => {
                (slot.entries, slot.removed, slot.paged) = (entries, removed, None);
                Ok(true)
            }
            None => Ok(false),
        },
    }
}

/// The map has been worked on.
#[inline]
pub(super) fn trim<K, V>(slot: &mut MapSlot<K, V>, schema: &Schema<V>, paging: &Paging) -> bool
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    if slot.paged.is_none() && slot.entries.len() <= IN_ROW_MAX {
        return false;
    }
    // What cannot be stored is told when it leaves.
    let has_changed = fit(slot, schema, paging, IN_ROW_MAX).unwrap_or(false);
    if let Some(paged) = &mut slot.paged {
        paged.make_room();
    }
    has_changed
}

/// Whether a map in a row takes so many bytes there that it is to lie in pages: more than one, or it may as well stay.
pub(super) fn is_large<K, V>(slot: &MapSlot<K, V>, bytes: usize) -> bool {
    let entries = slot.entries.len();
    bytes > IN_ROW_BYTES_MAX && entries > entries_max_of_bytes(bytes / entries)
}

/// Whether a map lies in pages, or is to.
pub(super) fn is_of_pages<K, V>(slot: &MapSlot<K, V>) -> bool {
    slot.paged.is_some() || slot.entries.len() > IN_ROW_MAX
}

/// Appends the directory of a map in pages, which go to the pager: stamps of the last change, of the last replacement and
/// up to which marks are void; entries to a page; number of pages; of each its number, its entries, its marks, its stamp
/// and (but for the first) its first key.
pub(super) fn put_directory<K, V>(slot: &mut MapSlot<K, V>, bytes: &mut Vec<u8>) -> Result<(), String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
{
    let (changed, replaced) = (slot.changed, slot.replaced);
    let paged = slot.paged.as_mut().ok_or("it is in no pages")?;
    paged.store_all()?;
    let header = [changed, replaced, paged.void, paged.entries_max() as u32, paged.pages.len() as u32];
    header.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    for page in &paged.pages {
        let number = page.number.ok_or("a page was not stored")?;
        bytes.extend_from_slice(&number.to_le_bytes());
        [page.live, page.removed, page.changed].iter().for_each(|part| bytes.extend_from_slice(&part.to_le_bytes()));
        page.first.as_ref().map_or(Ok(()), |first| put_map_key(first, bytes))?;
    }
    Ok(())
}

/// Takes what [`put_directory`] has appended off the front of `bytes`.
pub(super) fn take_directory<K, V>(
    slot: &mut MapSlot<K, V>,
    schema: &Schema<V>,
    paging: &Paging,
    bytes: &mut &[u8],
) -> Result<(), Unfit>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    (slot.changed, slot.replaced) = (take(bytes)?, take(bytes)?);
    let (void, entries_max, count) = (take(bytes)?, take::<u32>(bytes)? as usize, take::<u32>(bytes)? as usize);
    if count == 0 {
        return Err("a map in no pages".into());
    }
    let mut pages = Vec::with_capacity(count.min(bytes.len()));
    for index in 0..count {
        let mut page = Page::stored(take(bytes)?, (take(bytes)?, take(bytes)?), take(bytes)?);
        if index > 0 {
            page.first = Some(take(bytes).map_err(unfit_key)?);
        }
        pages.push(page);
    }
    slot.paged = Some(Box::new(Paged::of_pages(pages, (void, entries_max), PageCodec::new(schema), paging)));
    Ok(())
}
