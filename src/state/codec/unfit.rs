//! Why what is stored of a value does not become one.

/// Why what is stored of a value does not become one.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The type does not read it.
    Type(String),
    /// Something else, with what can be done about it.
    Other(String),
}

impl Unfit {
    /// What does not fit, and what can be done about it, where the value comes from a checkpoint.
    pub(crate) fn with_remedy(self) -> String {
        match self {
            Self::Type(reason) => format!(
                "{reason}; the stored bytes are undamaged, so the type or its deserializer has changed: give new fields a serde default and other changes a version with a migration, or start without this checkpoint; state that no function of yours declares, as that of windows, has no versions: there the new type has to read the old form"
            ),
            Self::Other(reason) => reason,
        }
    }
}

impl From<String> for Unfit {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<&str> for Unfit {
    fn from(reason: &str) -> Self {
        Self::Other(reason.to_owned())
    }
}

/// What does not fit, alone.
impl From<Unfit> for String {
    fn from((Unfit::Type(reason) | Unfit::Other(reason)): Unfit) -> Self {
        reason
    }
}

/// What can be done where the type of keys does not read what is stored, or is another one.
pub(crate) const KEY_REMEDY: &str = "the stored bytes are undamaged, so the type of the keys has changed: give new fields a serde default, or raise key_version(..) and say with migrate_keys(..) what becomes of old keys";

/// As [`KEY_REMEDY`], for the keys of a map in a state.
pub(crate) const MAP_KEY_REMEDY: &str = "the stored bytes are undamaged, so the type of the map's keys has changed: give new fields a serde default, or raise version(..) of the state and say with migrate_keys(..) of it what becomes of old keys";

/// What can be done where states are declared otherwise than they were stored.
pub(crate) const OTHERWISE_DECLARED: &str =
    "declare its states as they were stored, or give the operator another id and start without its state";

/// What can be done about what this version does not know.
pub(crate) const NEWER: &str = "use the version of Millstream that wrote it, or a newer one";
