//! A map that is the same on every subtask.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::section::{self, Items, Shape};
use super::{CopyError, OperatorState, Share, StoredCopy};
use crate::state::codec::{Encoding, StateFormat, Unfit, put_packed, put_packed_key, take_packed};
use crate::state::kinds::{ReadOld, Schema};
use millstream_actors::contract::SectionWriter;

/// Declares a map that is the same on every subtask, for a [`ProcessFunction`](crate::operator::ProcessFunction): rules,
/// settings, small tables. Follows Flink's broadcast state.
///
/// It is the same because the function makes it so: every subtask must see the records that change it, so they come
/// from a [`broadcast`](crate::stream::DataStream::broadcast) stream, and nothing else may change it. The engine
/// neither copies changes from one subtask to another nor compares the copies. Records of one upstream subtask come to
/// all subtasks in one order; with several upstream subtasks, or several broadcast streams, changes of one key may come
/// in different orders, and must then give the same map in each.
///
/// Every subtask stores its copy, at once at the barrier. At a restore each subtask takes its own copy, if there was a
/// subtask of its index, else that of index modulo the old parallelism. A state that the checkpoint does not know
/// starts empty.
///
/// # A filter whose rules come as a stream
///
/// ```
/// use millstream::prelude::*;
///
/// /// What both streams carry.
/// #[derive(Clone)]
/// enum Input {
///     /// Readings of a sensor count from this value on.
///     Rule { sensor: u32, least: i64 },
///     Reading { sensor: u32, value: i64 },
/// }
///
/// /// Lets readings pass for which there is a rule that says so; those that come before their rule wait for it.
/// #[derive(Clone)]
/// struct Filter;
///
/// impl ProcessFunction<Input> for Filter {
///     type Out = (u32, i64);
///     type State = (BroadcastState<u32, i64>, OperatorListState<(u32, i64)>);
///
///     fn state(&self) -> Self::State {
///         (BroadcastState::new("rules"), OperatorListState::new("waiting"))
///     }
///
///     fn process(
///         &mut self,
///         input: Input,
///         (mut rules, mut waiting): States<'_, Self, Input>,
///         _: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, (u32, i64)>,
///     ) {
///         match input {
///             Input::Rule { sensor, least } => {
///                 rules.insert(sensor, least);
///                 let (due, others) = waiting.take().into_iter().partition(|(of, _)| *of == sensor);
///                 waiting.set(others);
///                 let due: Vec<_> = due;
///                 due.into_iter().filter(|(_, value)| *value >= least).for_each(|reading| out.emit(reading));
///             }
///             Input::Reading { sensor, value } => match rules.get(&sensor) {
///                 Some(least) if value >= *least => out.emit((sensor, value)),
///                 Some(_) => {}
///                 None => waiting.push((sensor, value)),
///             },
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let collected = sink.handle();
/// let env = StreamEnvironment::new("filter").parallelism(3);
///
/// let rules = env
///     .source("rules", VecSource::new(vec![(1, 10), (2, 25)]))
///     .map(|(sensor, least)| Input::Rule { sensor, least })
///     .broadcast();                                        // to every subtask
/// env.source("readings", SequenceSource::new(0..60))
///     .map(|n| Input::Reading { sensor: (n % 3) as u32, value: n as i64 })
///     .rebalance()                                         // to one subtask each
///     .union(rules)                                        // each stream keeps its own way
///     .process("filter", Filter)
///     .sink("passed", sink);
/// env.start()?.await?;
///
/// let mut passed = collected.snapshot();
/// passed.sort();
/// let expected = |sensor, least| (least..60).filter(move |n| n % 3 == sensor).map(move |n| (sensor as u32, n));
/// assert!(passed.into_iter().eq(expected(1, 10).chain(expected(2, 25))), "sensor 0 has no rule");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct BroadcastState<K, V> {
    name: Arc<str>,
    /// Of key and value together.
    schema: Schema<(K, V)>,
}

impl<K, V> BroadcastState<K, V> {
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

    /// Sets the version of the types of keys and values, 1 by default. It is stored with them: raise it when one of them changes
    /// in another way than by fields with serde defaults, and add a [`migrate`](Self::migrate).
    pub fn version(mut self, version: u32) -> Self {
        self.schema.set_version(version);
        self
    }

    /// Sets how an entry of version `from`, key and value, becomes one of the next version. One function for each step: an old
    /// checkpoint goes through all that follow its version. The graph refuses steps that do not meet; a checkpoint of a version
    /// without a step fails the restore with operator, state, version and subtask, and so do two entries that become one.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// // Limits were by number, and are by name.
    /// let limits = BroadcastState::<String, u64>::new("limits")
    ///     .version(2)
    ///     .migrate(1, |(sensor, limit): (u32, u32)| (format!("sensor {sensor}"), u64::from(limit)));
    /// ```
    pub fn migrate<OldK, OldV, New>(
        mut self,
        from: u32,
        migrate: impl Fn((OldK, OldV)) -> New + Send + Sync + 'static,
    ) -> Self
    where
        OldK: DeserializeOwned + 'static,
        OldV: DeserializeOwned + 'static,
        New: 'static,
    {
        let read: ReadOld = |_, bytes| Ok(Box::new((take_packed::<OldK>(bytes)?, take_packed::<OldV>(bytes)?)));
        self.schema.add_migration_reading(from, read, migrate);
        self
    }
}

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), schema: self.schema.clone() }
    }
}

impl<K, V> fmt::Debug for BroadcastState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BroadcastState({})", self.name)
    }
}

impl<K, V> OperatorState for BroadcastState<K, V>
where
    K: Ord + Serialize + DeserializeOwned + Send + 'static,
    V: Serialize + DeserializeOwned + Send + 'static,
{
    type Held = BTreeMap<K, V>;
    type Handle<'a> = BroadcastHandle<'a, K, V>;

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
    fn handle<'a>(&'a self, held: &'a mut BTreeMap<K, V>) -> BroadcastHandle<'a, K, V> {
        BroadcastHandle { entries: held }
    }

    fn write(&self, held: &BTreeMap<K, V>, section: &mut SectionWriter) -> Result<(), String> {
        section::write(Shape::Map, self.schema.version(), held.iter(), section, |(key, value), bytes| {
            put_packed_key(key, bytes)?;
            put_packed(value, bytes)
        })
    }

    fn load(&self, held: &mut BTreeMap<K, V>, copies: &[StoredCopy<'_>], share: Share) -> Result<(), CopyError> {
        held.clear();
        let Some(copy) = copies.get(share.subtask as usize % copies.len().max(1)) else { return Ok(()) };
        let mut entries = Items::open(*copy, Shape::Map)?;
        while entries.left > 0 {
            let (key, value) = self.take_next(&mut entries)?;
            if held.insert(key, value).is_some() {
                let reason = if entries.version == self.schema.version() { KEY_TWICE } else { BECOME_ONE };
                return Err(entries.failed(reason.to_owned()));
            }
        }
        entries.close()
    }
}

/// Why a section is refused that has a key twice.
const KEY_TWICE: &str = "one key is stored twice: what told two keys apart when they were written is not stored, as a field that is skipped; store that too, and start from an older checkpoint or from none";

/// Why a section is refused of whose older version two entries have one key today.
const BECOME_ONE: &str =
    "two entries of an older version become one: migrate(..) gives one key for two; have it tell them apart";

impl<K: DeserializeOwned + 'static, V: DeserializeOwned + 'static> BroadcastState<K, V> {
    /// The next entry, of today's version.
    fn take_next(&self, entries: &mut Items<'_>) -> Result<(K, V), CopyError> {
        let stored = StateFormat { values: Encoding::MESSAGE_PACK, version: entries.version };
        if stored.version == self.schema.version() {
            entries.next(|bytes| Ok::<_, Unfit>((section::take(bytes)?, section::take(bytes)?)))
        } else {
            entries.next(|bytes| self.schema.take_older(stored, bytes))
        }
    }
}

/// Access to a [`BroadcastState`], in place.
#[derive(Debug)]
pub struct BroadcastHandle<'a, K, V> {
    entries: &'a mut BTreeMap<K, V>,
}

impl<K: Ord, V> BroadcastHandle<'_, K, V> {
    /// The value of a key.
    #[inline]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// Sets the value of a key, and gives the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.entries.insert(key, value)
    }

    /// Removes a key, and gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.entries.iter()
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a BroadcastHandle<'_, K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
