//! Keys and values as bytes: fixed-width types as they are, others as MessagePack that reads back.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fixed;
use super::message_pack::{self, Names};
use super::read_back::{self, Stored};
use crate::state::{StateKey, stable_hash};

/// Appends a value, structs with named fields.
///
/// # Errors
/// What its serializer says, or why it would not read back. What was appended then is to be removed.
#[inline]
pub(crate) fn put<T: Serialize + DeserializeOwned + 'static>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    put_as(value, &Stored { names: Names::Written, same_key: None }, bytes)
}

/// As [`put`], but structs are written without the names of their fields.
///
/// # Errors
/// As [`put`].
#[inline]
pub(crate) fn put_compact<T: Serialize + DeserializeOwned + 'static>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    put_as(value, &Stored { names: Names::LeftOut, same_key: None }, bytes)
}

/// As [`put`], a key of a keyed operator: what is read back must be the same key.
///
/// # Errors
/// As [`put`].
#[inline]
pub(crate) fn put_key<K: StateKey>(key: &K, bytes: &mut Vec<u8>) -> Result<(), String> {
    let same_key = |key: &K, other: &K| key == other && stable_hash(key) == stable_hash(other);
    put_as(key, &Stored { names: Names::Written, same_key: Some(same_key) }, bytes)
}

/// As [`put_key`], a key of a map.
///
/// # Errors
/// As [`put`].
#[inline]
pub(crate) fn put_map_key<K>(key: &K, bytes: &mut Vec<u8>) -> Result<(), String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
{
    put_as(key, &Stored { names: Names::Written, same_key: Some(|key, other| key.cmp(other).is_eq()) }, bytes)
}

/// Appends a value as MessagePack with named fields, of whatever type it is.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_packed<T>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    read_back::put(value, &Stored { names: Names::Written, same_key: None }, bytes)
}

/// As [`put_packed`], but structs are written without the names of their fields.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_packed_compact<T>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    read_back::put(value, &Stored { names: Names::LeftOut, same_key: None }, bytes)
}

/// As [`put_packed`], a key of a map.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_packed_key<K>(key: &K, bytes: &mut Vec<u8>) -> Result<(), String>
where
    K: Ord + Serialize + DeserializeOwned + 'static,
{
    read_back::put(key, &Stored { names: Names::Written, same_key: Some(|key, other| key.cmp(other).is_eq()) }, bytes)
}

#[inline]
fn put_as<T>(value: &T, stored: &Stored<T>, bytes: &mut Vec<u8>) -> Result<(), String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    if fixed::put(value, bytes) {
        return Ok(());
    }
    // The comparison of types folds away when this is compiled for one type.
    match (value as &dyn Any).downcast_ref::<String>() {
        Some(text) => message_pack::put_text(text, bytes),
        None => read_back::put(value, stored, bytes),
    }
}
