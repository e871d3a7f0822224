//! How keyed state is written into snapshots, and read back.

mod fixed;
mod section;

pub(crate) use section::SectionReader;
pub use section::{SECTION_VERSION, SectionEncoder, SectionError};

#[cfg(test)]
mod tests;
