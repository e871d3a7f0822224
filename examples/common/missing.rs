//! Missing values of the flights' files.

use serde::{Deserialize, Deserializer};

/// A value, or `NA` for a missing one.
pub(crate) fn or_na<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    match <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.as_ref() {
        "NA" => Ok(None),
        value => value.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("'{value}': {error}"))),
    }
}
