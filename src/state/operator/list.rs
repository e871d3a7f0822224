//! A list of which each subtask has a part.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::section::{self, Items, Shape};
use super::{CopyError, OperatorState, Share, StoredCopy};
use crate::state::codec::{Encoding, StateFormat, put_packed, take_packed};
use crate::state::kinds::Schema;
use millstream_actors::contract::SectionWriter;

/// Declares a list of which each subtask has a part, for a [`ProcessFunction`](crate::operator::ProcessFunction).
/// Follows the `ListState` of Flink's operator state (`SPLIT_DISTRIBUTE`).
///
/// Its items belong to no key: any subtask must be able to go on with any of them. A restore at the same parallelism
/// gives each subtask its own items back, in order. At another one all lists are joined in the order of their subtasks
/// and cut into even parts, of which the first ones may have an item more: items keep their order, and each is in one
/// part. A state that the checkpoint does not know starts empty.
///
/// At a barrier the whole list is written at once, and the subtask waits for it: a list is for what a function has in
/// hand (some thousand items), not for what it has ever seen. It is held in memory.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Hands records on in pairs. The one that waits for its partner is in the checkpoint.
/// #[derive(Clone)]
/// struct Pairs;
///
/// impl ProcessFunction<u64> for Pairs {
///     type Out = (u64, u64);
///     type State = OperatorListState<u64>;
///
///     fn state(&self) -> OperatorListState<u64> {
///         OperatorListState::new("single")
///     }
///
///     fn process(
///         &mut self,
///         second: u64,
///         mut single: States<'_, Self, u64>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, (u64, u64)>,
///     ) {
///         match single.take().pop() {
///             Some(first) => out.emit((first, second)),
///             None => single.push(second),
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let sink = CollectSink::new();
/// # let pairs = sink.handle();
/// let env = StreamEnvironment::new("pairs");
/// env.source("numbers", SequenceSource::new(0..5)).process("pairs", Pairs).sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(pairs.snapshot(), [(0, 1), (2, 3)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct OperatorListState<T> {
    name: Arc<str>,
    schema: Schema<T>,
}

impl<T> OperatorListState<T> {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), schema: Schema::new() }
    }

    /// Takes over the state that older checkpoints have under `name`, and writes it under its own name from then on. More
    /// than one name may be said. `name` must not be that of another state of the function; the graph refuses it.
    pub fn formerly(mut self, name: impl Into<Arc<str>>) -> Self {
        self.schema.add_former_name(name.into());
        self
    }

    /// Sets the version of the type of items, 1 by default. It is stored with them: raise it when the type changes in another
    /// way than by fields with serde defaults, and add a [`migrate`](Self::migrate).
    pub fn version(mut self, version: u32) -> Self {
        self.schema.set_version(version);
        self
    }

    /// Sets how items of version `from` become those of the next version. One function for each step: an old checkpoint goes
    /// through all that follow its version, before its items are dealt out or after, which is the same. The graph refuses
    /// steps that do not meet; a checkpoint of a version without a step fails the restore with operator, state, version and
    /// subtask.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// // Waiting amounts were stored in cents, then in units with a currency.
    /// let waiting = OperatorListState::<(f64, String)>::new("waiting")
    ///     .version(3)
    ///     .migrate(1, |cents: u64| cents as f64 / 100.0)
    ///     .migrate(2, |amount: f64| (amount, "EUR".to_owned()));
    /// ```
    pub fn migrate<Old, New>(mut self, from: u32, migrate: impl Fn(Old) -> New + Send + Sync + 'static) -> Self
    where
        Old: DeserializeOwned + 'static,
        New: 'static,
    {
        self.schema.add_migration_reading(from, |_, bytes| Ok(Box::new(take_packed::<Old>(bytes)?)), migrate);
        self
    }
}

impl<T> Clone for OperatorListState<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), schema: self.schema.clone() }
    }
}

impl<T> fmt::Debug for OperatorListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorListState({})", self.name)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> OperatorState for OperatorListState<T> {
    type Held = Vec<T>;
    type Handle<'a> = OperatorListHandle<'a, T>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.schema.former_names()
    }

    fn version(&self) -> u32 {
        self.schema.version()
    }

    fn check(&self) -> Result<(), String> {
        self.schema.check()
    }

    #[inline]
    fn handle<'a>(&'a self, held: &'a mut Vec<T>) -> OperatorListHandle<'a, T> {
        OperatorListHandle { items: held }
    }

    fn write(&self, held: &Vec<T>, section: &mut SectionWriter) -> Result<(), String> {
        section::write(Shape::List, self.schema.version(), held.iter(), section, put_packed)
    }

    fn load(&self, held: &mut Vec<T>, copies: &[StoredCopy<'_>], share: Share) -> Result<(), CopyError> {
        let lists = copies.iter().map(|copy| Items::open(*copy, Shape::List)).collect::<Result<Vec<_>, _>>()?;
        let ends = lists.iter().scan(0, |end, list| {
            *end += list.left;
            Some(*end)
        });
        let ends: Vec<u64> = ends.collect();
        let own = share.subtask as usize;
        let mine = if lists.len() == share.parallelism as usize {
            ends[own] - lists[own].left..ends[own]
        } else {
            share.of(ends.last().copied().unwrap_or(0))
        };
        held.clear();
        for (mut list, end) in lists.into_iter().zip(ends) {
            if mine.is_empty() || end <= mine.start || mine.end <= end - list.left {
                continue;
            }
            while list.left > 0 {
                if mine.contains(&(end - list.left)) {
                    held.push(self.take_next(&mut list)?);
                } else {
                    list.next(section::take::<IgnoredAny>)?;
                }
            }
            list.close()?;
        }
        Ok(())
    }
}

impl<T: DeserializeOwned + 'static> OperatorListState<T> {
    /// The next item, of today's version.
    fn take_next(&self, list: &mut Items<'_>) -> Result<T, CopyError> {
        let stored = StateFormat { values: Encoding::MESSAGE_PACK, version: list.version };
        if stored.version == self.schema.version() {
            list.next(section::take)
        } else {
            list.next(|bytes| self.schema.take_older(stored, bytes))
        }
    }
}

/// Access to a subtask's part of an [`OperatorListState`], in place.
#[derive(Debug)]
pub struct OperatorListHandle<'a, T> {
    items: &'a mut Vec<T>,
}

impl<T> OperatorListHandle<'_, T> {
    /// Appends an item.
    #[inline]
    pub fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Appends items in their order.
    pub fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        self.items.extend(items);
    }

    /// The items in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// Puts `items` in the place of all.
    pub fn set(&mut self, items: Vec<T>) {
        *self.items = items;
    }

    /// Removes all items and gives them.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(self.items)
    }

    /// Keeps the items for which `keep` holds, in their order.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.items.retain(keep);
    }

    /// Number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a OperatorListHandle<'_, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
