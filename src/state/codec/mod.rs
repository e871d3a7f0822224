//! How keyed state is written into snapshots, and read back.

#[cfg(feature = "cli")]
mod canonical;
#[cfg(feature = "cli")]
mod chain;
#[cfg(feature = "cli")]
mod collections;
mod fixed;
mod message_pack;
mod packing;
mod piece;
mod plain;
mod read_back;
mod unfit;
#[cfg(feature = "cli")]
mod untyped;
mod write;

#[cfg(feature = "cli")]
pub(crate) use chain::{Entries, Unreadable, check_link, each_change, merged};
#[cfg(feature = "cli")]
pub(crate) use collections::Value;
pub(crate) use fixed::{Encoding, encoding_of, width};
pub(crate) use message_pack::{ARRAY, MAP, take as take_packed};
pub(crate) use packing::Packing;
pub(crate) use piece::{KEY_VERSION_MAX, PieceBuffer, SectionError, StateFormat, Written};
pub(crate) use piece::{PieceHeader, check_encoding, check_kind, take, take_as};
pub(crate) use plain::plain;
pub(crate) use unfit::{KEY_REMEDY, MAP_KEY_REMEDY, NEWER, OTHERWISE_DECLARED, Unfit};
#[cfg(feature = "cli")]
pub(crate) use untyped::{Untyped, encoding_name, list_items, shown};
pub(crate) use write::{put, put_compact, put_key, put_map_key, put_packed, put_packed_compact, put_packed_key};

#[cfg(test)]
mod tests;
