//! How the keys of a map become those of today.

use serde::de::DeserializeOwned;

use crate::state::codec::{Encoding, MAP_KEY_REMEDY, Unfit, check_encoding, take};
use crate::state::kinds::Schema;

/// How the keys of a section are read.
pub(super) struct TakeKey<'a, K> {
    steps: &'a Schema<K>,
    /// What was stored, if that is older than today's.
    older: Option<(Encoding, u32)>,
}

impl<'a, K: DeserializeOwned + 'static> TakeKey<'a, K> {
    /// For keys of this encoding and version.
    ///
    /// # Errors
    /// If they are those of another type, and no migration brings them up to today's.
    pub(super) fn of(steps: &'a Schema<K>, stored: (Encoding, u32)) -> Result<Self, Unfit> {
        let older = steps.has_steps_since(stored.1).then_some(stored);
        if older.is_none() {
            check_encoding::<K>(stored.0).map_err(unfit_key)?;
        }
        Ok(Self { steps, older })
    }

    /// Takes a key off the front of `bytes`.
    ///
    /// # Errors
    /// If the bytes are no such key.
    pub(super) fn take(&self, bytes: &mut &[u8]) -> Result<K, Unfit> {
        match self.older {
            None => take(bytes).map_err(unfit_key),
            Some(stored) => self.steps.take_since(stored, "migrate_keys", bytes),
        }
    }

    /// Why two keys of a section are one.
    pub(super) fn twice(&self) -> Unfit {
        Unfit::from(if self.older.is_some() { BECOME_ONE } else { TWICE })
    }
}

const TWICE: &str = "a key of a map is stored twice: what told two keys apart when they were written is not stored, as a field that is skipped; store that too, and start from an older checkpoint or from none";

const BECOME_ONE: &str = "two keys of a map that are of an older version become one: migrate_keys(..) gives one key for two; have it tell them apart";

/// Why what is stored is no key.
pub(super) fn unfit_key(reason: String) -> Unfit {
    Unfit::Other(format!("a map's keys: {reason}; {MAP_KEY_REMEDY}"))
}
