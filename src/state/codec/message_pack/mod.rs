//! Keys and values as MessagePack, by serde.
//!
//! What rmp-serde writes, with one difference: `Some` before a nil would be nothing, so `Some(None)` would be `None`.
//! Here a nil behind `n` times `Some` is the extension value [`SOME_NIL`] with the byte `n`. Values nested deeper than
//! [`DEPTH_MAX`] are neither written nor read.

mod reader;
mod shapes;
mod writer;

pub(crate) use reader::take;
pub(super) use shapes::{Shapes, call};
pub(crate) use writer::{ARRAY, MAP};
pub(super) use writer::{Names, put, put_text};

#[cfg(test)]
mod tests;

/// The number of the extension type, one byte long, that says how often `Some` stands before a nil.
const SOME_NIL: u8 = 83;

/// How deep values may be nested: sequences, maps, structs, variants, options and newtypes are a level each.
const DEPTH_MAX: u32 = 250;

/// The first byte of an extension value of one byte.
const FIX_EXT_1: u8 = 0xd4;
const NIL: u8 = 0xc0;

/// The name by which rmp-serde knows a newtype that is an extension value.
const EXT_STRUCT: &str = rmp_serde::MSGPACK_EXT_STRUCT_NAME;
