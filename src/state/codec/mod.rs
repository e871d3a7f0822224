//! How keyed state is written into snapshots, and read back.

#[cfg(feature = "cli")]
mod chain;
#[cfg(feature = "cli")]
mod collections;
mod fixed;
mod message_pack;
mod packing;
mod piece;
mod plain;
#[cfg(feature = "cli")]
mod untyped;

#[cfg(feature = "cli")]
pub(crate) use chain::{Entries, Unreadable, check_link, each_change, merged};
#[cfg(feature = "cli")]
pub(crate) use collections::Value;
pub(crate) use fixed::{Encoding, encoding_of, width};
pub(crate) use message_pack::{ARRAY, MAP, take as take_packed};
pub(crate) use packing::Packing;
pub(crate) use piece::{KEY_VERSION_MAX, PieceBuffer, SectionError, StateFormat, Written};
pub(crate) use piece::{PieceHeader, check_encoding, check_kind, put, put_compact, put_packed, take, take_as};
pub(crate) use plain::plain;
#[cfg(feature = "cli")]
pub(crate) use untyped::{Untyped, encoding_name, list_items, shown};

#[cfg(test)]
mod tests;
