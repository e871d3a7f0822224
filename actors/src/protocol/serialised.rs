//! How events and status are serialised: a time as a number of milliseconds, an error or a name as its text.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use serde::Serializer;

/// Milliseconds, with a fraction.
pub(crate) fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1_000.0)
}

/// Milliseconds, with a fraction; nothing for `None`.
pub(crate) fn optional_millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&(time.as_secs_f64() * 1_000.0)),
        None => serializer.serialize_none(),
    }
}

/// As it is displayed.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As it is displayed: a path need not be UTF-8.
pub(crate) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
