//! Snapshot stores.
