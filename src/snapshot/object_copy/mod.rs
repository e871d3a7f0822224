//! Copies of completed checkpoints in an object store. `docs/snapshot-format.md` has the layout.

mod copier;
mod fetch;
mod layout;
mod options;
mod progress;
mod remote;
mod store;

pub use options::CopyOptions;
pub use progress::CopyProgress;
pub use store::CopiedStore;

#[cfg(test)]
mod faulty_objects;
#[cfg(test)]
mod tests;
