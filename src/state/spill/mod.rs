//! State larger than memory, in a cache and a redb file.

mod backend;
mod batch;
mod cached_row;
mod dirt;
mod disk;
mod every_key;
mod eviction;
mod file;
mod filter;
mod loading;
mod looking;
mod pages;
mod paging;
mod place;
mod rows;
mod shared;
mod snapshots;
mod table;
mod timers;

pub use place::SpillPlace;
pub(crate) use place::prepare_dir;
pub use table::RedbBackend;

#[cfg(test)]
mod page_limits_tests;
#[cfg(test)]
mod paging_tests;
#[cfg(test)]
mod tests;
