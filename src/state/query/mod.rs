//! Queries of keyed state: what is asked, and how rows answer, wherever they are. A query is no use of a row, and no change.

mod queried_as;
mod reading;
mod request;
mod rows;
mod scan;
mod stored;

#[cfg(test)]
mod tests;

pub(crate) use queried_as::QueriedAs;
pub(crate) use queried_as::decode_value;
pub(crate) use reading::answer;
pub(crate) use request::{ANSWER_BYTES_MAX, Ask, KeysAsked, ScanAsked, StateRequest};
pub(crate) use rows::{GATHERED_MIN, LookAtRows, Show};
pub(crate) use scan::{GroupScan, Least, Nearest};
pub(crate) use stored::StoredRows;
