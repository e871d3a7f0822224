//! The stored form of keys: their version, and how keys of older versions become today's.

use std::any::Any;
use std::fmt;

use serde::de::DeserializeOwned;

use super::codec::{Encoding, KEY_VERSION_MAX, StateFormat, take_as};
use super::kinds::Schema;
use super::{StateKey, stable_hash};

/// How the keys of an operator are stored, and the migrations from older versions.
pub struct KeySchema<K> {
    schema: Schema<K>,
    /// By the version that they read.
    readers: Vec<(u32, ReadOldKey)>,
}

/// Takes a key of an older type off the front of bytes.
type ReadOldKey = fn(Encoding, &mut &[u8]) -> Result<Box<dyn OldKey>, String>;

/// A key of an older type: compared as it was then, and brought up to today's type when all of a checkpoint is read.
pub(super) trait OldKey: Send {
    /// Its [`stable_hash`].
    fn hash(&self) -> u64;

    /// Whether both are one key.
    fn is(&self, other: &dyn OldKey) -> bool;

    fn as_any(&self) -> &dyn Any;

    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<K: StateKey> OldKey for K {
    fn hash(&self) -> u64 {
        stable_hash(self)
    }

    fn is(&self, other: &dyn OldKey) -> bool {
        other.as_any().downcast_ref::<K>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl<K> KeySchema<K> {
    /// Sets the version of today's type.
    pub(crate) fn set_version(&mut self, version: u32) {
        self.schema.set_version(version);
    }

    /// The version of today's type.
    pub(crate) fn version(&self) -> u32 {
        self.schema.version()
    }

    /// Sets how keys of version `from` become those of the next.
    pub(crate) fn add_migration<Old: StateKey, New: DeserializeOwned + 'static>(
        &mut self,
        from: u32,
        migrate: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        self.schema.add_migration(from, migrate);
        self.readers.push((from, |stored, bytes| Ok(Box::new(take_as::<Old>(stored, bytes)?))));
    }

    /// Whether nothing was said of how keys are stored.
    pub(crate) fn is_plain(&self) -> bool {
        self.version() == Self::default().version() && !self.has_migrations()
    }

    /// Whether there is a step from any older version.
    pub(super) fn has_migrations(&self) -> bool {
        !self.readers.is_empty()
    }
}

impl<K: 'static> KeySchema<K> {
    /// Whether version and migrations fit together.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.version() > KEY_VERSION_MAX {
            return Err(format!("version {}: the last that keys can have is {KEY_VERSION_MAX}", self.version()));
        }
        self.schema.check()
    }

    /// Takes a key of an older version off the front of `bytes`.
    ///
    /// # Errors
    /// If the bytes are no such key, or there is no migration from that version.
    pub(super) fn take_older(&self, stored: StateFormat, bytes: &mut &[u8]) -> Result<Box<dyn OldKey>, String> {
        let reader = self.readers.iter().find(|(version, _)| *version == stored.version);
        let (_, read) = reader.ok_or_else(|| self.schema.no_step_from(stored.version, "migrate_keys"))?;
        read(stored.values, bytes)
    }

    /// Brings a key of an older version up to today's.
    ///
    /// # Errors
    /// If there is no migration from it.
    pub(super) fn upgrade(&self, from: u32, key: Box<dyn OldKey>) -> Result<K, String> {
        Ok(self.schema.upgrade(from, key.into_any())?)
    }
}

impl<K> Default for KeySchema<K> {
    fn default() -> Self {
        Self { schema: Schema::new(), readers: Vec::new() }
    }
}

impl<K> Clone for KeySchema<K> {
    fn clone(&self) -> Self {
        Self { schema: self.schema.clone(), readers: self.readers.clone() }
    }
}

impl<K> fmt::Debug for KeySchema<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySchema").field(&self.schema).finish()
    }
}
