//! A driver of whole jobs, on one thread and in an order that a seed repeats.

mod crashes;
mod driver;
mod error;
mod life;
mod seeded;
mod test_sink;
mod test_source;

pub use crashes::assert_survives_crashes;
pub use driver::TestDriver;
pub use error::TestDriverError;
pub use test_sink::TestSink;
pub use test_source::{TestSource, TestSplit};
