//! How the values of a state are stored, under which version, and how those of older versions become today's.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::codec::{Encoding, StateFormat, Unfit, encoding_of, put, put_compact, take_as};

/// The stored form of the values of type `V` that a state has: their version and encoding, and the migrations from
/// older versions. Every kind of state has one for its values, elements or accumulators.
///
/// Versions count from 1 and are the user's. Structs are stored with named fields, so a field with a serde default may
/// be added, and a field that is not needed any more be left out, without a new version. Everything else is a new
/// version, with a migration from the one before.
pub(crate) struct Schema<V> {
    version: u32,
    is_compact: bool,
    /// Names that the state had in older checkpoints.
    former_names: Vec<Arc<str>>,
    /// By the version that they start from, ascending.
    migrations: Vec<Migration>,
    of: PhantomData<fn() -> V>,
}

/// Takes a value of a migration's old type off the front of bytes.
pub(crate) type ReadOld = fn(Encoding, &mut &[u8]) -> Result<Box<dyn Any>, String>;
/// A migration's function; `None` if it is given something else than it takes.
type Apply = dyn Fn(Box<dyn Any>) -> Option<Box<dyn Any>> + Send + Sync;

/// One step, from a version to the next.
#[derive(Clone)]
struct Migration {
    from: u32,
    takes: (TypeId, &'static str),
    gives: (TypeId, &'static str),
    read: ReadOld,
    apply: Arc<Apply>,
}

impl<V> Schema<V> {
    /// Version 1, named fields.
    pub(crate) fn new() -> Self {
        Self { version: 1, is_compact: false, former_names: Vec::new(), migrations: Vec::new(), of: PhantomData }
    }

    /// Sets the version of today's type.
    pub(crate) fn set_version(&mut self, version: u32) {
        self.version = version;
    }

    /// Sets how values of version `from` become those of the next.
    pub(crate) fn add_migration<Old, New>(&mut self, from: u32, migrate: impl Fn(Old) -> New + Send + Sync + 'static)
    where
        Old: DeserializeOwned + 'static,
        New: 'static,
    {
        self.add_migration_reading(from, |stored, bytes| Ok(Box::new(take_as::<Old>(stored, bytes)?)), migrate);
    }

    /// As [`add_migration`](Self::add_migration), of values that are stored in a form of their own: `read` takes an `Old` off
    /// the front.
    pub(crate) fn add_migration_reading<Old: 'static, New: 'static>(
        &mut self,
        from: u32,
        read: ReadOld,
        migrate: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        let migration = Migration {
            from,
            takes: (TypeId::of::<Old>(), type_name::<Old>()),
            gives: (TypeId::of::<New>(), type_name::<New>()),
            read,
            apply: Arc::new(move |old| Some(Box::new(migrate(*old.downcast::<Old>().ok()?)))),
        };
        let place = self.migrations.partition_point(|earlier| earlier.from <= from);
        self.migrations.insert(place, migration);
    }

    /// Stores structs without the names of their fields.
    pub(crate) fn set_compact(&mut self) {
        self.is_compact = true;
    }

    /// Adds a name that the state had.
    pub(crate) fn add_former_name(&mut self, name: Arc<str>) {
        self.former_names.push(name);
    }

    /// The names that the state had.
    pub(crate) fn former_names(&self) -> &[Arc<str>] {
        &self.former_names
    }

    /// The version of today's type.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }
}

impl<V: 'static> Schema<V> {
    /// Whether versions and migrations fit together: each migration starts where the one before ends, in version and
    /// type, and the last gives `V` in today's version.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.version == 0 || self.migrations.first().is_some_and(|first| first.from == 0) {
            return Err("there is no version 0: versions count from 1".to_owned());
        }
        for pair in self.migrations.windows(2) {
            let (from, next) = (pair[0].from, pair[1].from);
            if from != next && from + 1 != next {
                return Err(format!("no migration from version {}, but from {from} and {next}", from + 1));
            }
        }
        self.check_steps(self.version)?;
        match self.migrations.last() {
            Some(last) if last.from + 1 != self.version => {
                Err(format!("no migration from version {} to {}, today's", self.version - 1, self.version))
            }
            _ => Ok(()),
        }
    }

    /// Whether the migrations that there are fit together, where some versions may have none, and to `version`, today's.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn check_steps(&self, version: u32) -> Result<(), String> {
        if self.migrations.first().is_some_and(|first| first.from == 0) {
            return Err("there is no version 0: versions count from 1".to_owned());
        }
        for pair in self.migrations.windows(2) {
            let (from, next) = (pair[0].from, pair[1].from);
            if from == next {
                return Err(format!("two migrations from version {from}"));
            }
            if pair[0].gives.0 != pair[1].takes.0 {
                let (gives, takes) = (pair[0].gives.1, pair[1].takes.1);
                return Err(format!("the migration from version {from} gives {gives}, that from {next} takes {takes}"));
            }
        }
        let Some(last) = self.migrations.last() else { return Ok(()) };
        let from = last.from;
        if from >= version {
            return Err(format!("a migration from version {from}, but today's is {version}"));
        }
        if last.gives.0 != TypeId::of::<V>() {
            let (gives, now) = (last.gives.1, type_name::<V>());
            return Err(format!("the migration from version {from} gives {gives}, the state's values are {now}"));
        }
        Ok(())
    }

    /// How values are stored now.
    #[inline]
    pub(crate) fn format(&self) -> StateFormat {
        let values = match encoding_of::<V>() {
            Encoding::MESSAGE_PACK if self.is_compact => Encoding::COMPACT,
            encoding => encoding,
        };
        StateFormat { values, version: self.version }
    }
}

impl<V: Serialize + DeserializeOwned + 'static> Schema<V> {
    /// Appends a value.
    ///
    /// # Errors
    /// What its serializer says, or why it would not read back.
    #[inline]
    pub(crate) fn put(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), String> {
        if self.is_compact { put_compact(value, bytes) } else { put(value, bytes) }
    }
}

impl<V: DeserializeOwned + 'static> Schema<V> {
    /// Takes a value off the front of `bytes` that was stored like this, and brings it up to today's version.
    ///
    /// # Errors
    /// If the bytes are no such value, or its version cannot be brought up to today's.
    #[inline]
    pub(crate) fn take(&self, stored: StateFormat, bytes: &mut &[u8]) -> Result<V, Unfit> {
        if stored.version == self.version { take_as(stored.values, bytes) } else { self.take_older(stored, bytes) }
    }
}

impl<V: 'static> Schema<V> {
    /// As [`take`](Self::take), where the version is not today's.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[cold]
    pub(crate) fn take_older(&self, stored: StateFormat, bytes: &mut &[u8]) -> Result<V, Unfit> {
        let from = stored.version;
        let first = self.steps_from(from).first().ok_or_else(|| self.no_step_from(from, "migrate"))?;
        let of_old = |reason| {
            let takes = first.takes.1;
            format!("as {takes}: {reason}; the type that migrate({from}, ..) takes must be that of version {from}")
        };
        let value = (first.read)(stored.values, bytes).map_err(of_old)?;
        self.upgrade(from, value)
    }

    /// The migrations from this version to today's; none if that one is missing.
    fn steps_from(&self, version: u32) -> &[Migration] {
        let first = self.migrations.iter().position(|migration| migration.from == version);
        first.map(|first| &self.migrations[first..]).unwrap_or_default()
    }

    /// Whether values of this version go through a migration, where some versions may have none.
    pub(crate) fn has_steps_since(&self, version: u32) -> bool {
        self.migrations.last().is_some_and(|last| last.from >= version)
    }

    /// Takes a value off the front of `bytes` that [has steps](Self::has_steps_since), and brings it up to today's.
    ///
    /// # Errors
    /// If the bytes are no such value. `call` is what adds a migration.
    pub(crate) fn take_since(
        &self,
        (values, version): (Encoding, u32),
        call: &str,
        bytes: &mut &[u8],
    ) -> Result<V, Unfit> {
        let first = self.migrations.iter().find(|migration| migration.from >= version);
        let first = first.ok_or_else(|| self.no_step_from(version, call))?;
        let (from, takes) = (first.from, first.takes.1);
        let of_old = |reason| {
            format!("as {takes}: {reason}; the type that {call}({from}, ..) takes must be that of version {version}")
        };
        let value = (first.read)(values, bytes).map_err(of_old)?;
        self.upgrade(from, value)
    }

    /// Why values of this version cannot be read, and what to do: `call` adds a migration.
    pub(crate) fn no_step_from(&self, from: u32, call: &str) -> String {
        let version = self.version;
        if from > version {
            return format!(
                "version {from} was stored, the program has version {version}: it is older than what wrote the checkpoint; start one that has version {from}"
            );
        }
        format!(
            "version {from} was stored, and there is no migration from it to {version}; add one for each step by {call}({from}, ..)"
        )
    }

    /// Brings a value of an older version up to today's, by the migrations from there.
    ///
    /// # Errors
    /// If they do not fit together.
    pub(crate) fn upgrade(&self, from: u32, mut value: Box<dyn Any>) -> Result<V, Unfit> {
        let steps = self.steps_from(from);
        for step in steps {
            let given = || format!("the migration from version {} is given something else than it takes", step.from);
            value = (step.apply)(value).ok_or_else(given)?;
        }
        let value = value.downcast::<V>();
        value.map(|value| *value).map_err(|_| format!("the migrations do not give {}", type_name::<V>()).into())
    }
}

impl<V> Default for Schema<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for Schema<V> {
    fn clone(&self) -> Self {
        let Self { version, is_compact, former_names, migrations, of } = self;
        let (former_names, migrations) = (former_names.clone(), migrations.clone());
        Self { version: *version, is_compact: *is_compact, former_names, migrations, of: *of }
    }
}

impl<V> fmt::Debug for Schema<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<u32> = self.migrations.iter().map(|migration| migration.from).collect();
        write!(f, "Schema(version {}, compact {}, migrations from {steps:?})", self.version, self.is_compact)
    }
}

/// The methods by which a kind of state offers what its [`Schema`] can do, which is in this field. To be used in its
/// `impl` block; `$what` says what the schema is of.
macro_rules! schema_methods {
    ($what:literal, $($field:ident).+) => {
        #[doc = concat!("Sets the version of the type of ", $what, ", 1 by default. It is stored with them: raise it when")]
        /// the type changes in another way than by fields with serde defaults, and add a [`migrate`](Self::migrate).
        pub fn version(mut self, version: u32) -> Self {
            self.$($field).+.set_version(version);
            self
        }

        #[doc = concat!("Sets how ", $what, " of version `from` become those of the next version. One function for each")]
        /// step: an old checkpoint goes through all that follow its version. The graph refuses steps that do not meet;
        /// a checkpoint of a version without a step fails the restore with operator, state, version and key group.
        pub fn migrate<Old, New>(mut self, from: u32, migrate: impl Fn(Old) -> New + Send + Sync + 'static) -> Self
        where
            Old: serde::de::DeserializeOwned + 'static,
            New: 'static,
        {
            self.$($field).+.add_migration(from, migrate);
            self
        }

        /// Takes over the state that older checkpoints have under `name`, and writes it under its own name from then on: the
        /// first checkpoint after that has it whole. More than one name may be said. `name` must not be that of another
        /// state of the function; the graph refuses it.
        pub fn formerly(mut self, name: impl Into<std::sync::Arc<str>>) -> Self {
            self.$($field).+.add_former_name(name.into());
            self
        }

        #[doc = concat!("Stores structs in ", $what, " without the names of their fields, which takes less room. Then every")]
        /// change of a type's shape, an added field too, needs a new version and a migration, and serde's `skip`
        /// attributes must not be used: a value that does not read back without the field is refused when it is written.
        /// Numbers are stored as they are anyway.
        pub fn compact(mut self) -> Self {
            self.$($field).+.set_compact();
            self
        }
    };
}
pub(crate) use schema_methods;

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
