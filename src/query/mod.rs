//! Queries of a running job's state: by key, by several keys, and through all keys in pages.
//!
//! `docs/queries.md` has what each consistency promises, and costs.

mod answer;
mod asking;
mod consistency;
mod state_query;

pub use answer::{Answer, AsOf, Page, ScanCursor};
pub use consistency::Consistency;
pub use state_query::{KEYS_MAX, PAGE_MAX, QueryState, StateQuery};
