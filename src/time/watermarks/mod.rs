//! Event time: which time records have, and how far it has come.

mod alignment;
mod generator;
mod silence;
mod split_times;
mod strategy;

pub(crate) use alignment::AlignedMember;
pub use alignment::WatermarkAlignment;
pub(crate) use generator::TimesBatches;
pub use generator::WatermarkGenerator;
pub(crate) use silence::Silence;
pub(crate) use split_times::SplitTimes;
pub use strategy::WatermarkStrategy;
