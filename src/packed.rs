//! Small engine structures as bytes: MessagePack arrays, which carry a version where they are stored.

use serde::Serialize;

/// The value as a MessagePack array.
///
/// # Panics
/// If the value's own serializer fails: for derived ones of numbers, flags, strings and sequences it cannot.
pub(crate) fn packed(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmp_serde::encode::write(&mut bytes, value).expect("plain data always encodes into memory");
    bytes
}
