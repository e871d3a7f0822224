//! Time: the clocks of jobs ([`SystemClock`]) and of tests ([`ManualClock`]), and the event time of records
//! ([`WatermarkStrategy`]).

mod manual_clock;
mod system_clock;
mod timing_thread;
mod watermarks;

pub use manual_clock::ManualClock;
pub use system_clock::SystemClock;
pub(crate) use watermarks::{SplitTimes, TimesBatches};
pub use watermarks::{WatermarkGenerator, WatermarkStrategy};
