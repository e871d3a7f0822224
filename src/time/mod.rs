//! Time: the clocks by which every delay and time stamp of a job goes, and the event time of its records.
//!
//! A job has a [`SystemClock`] unless [`StreamEnvironment::clock`](crate::StreamEnvironment::clock) says otherwise. A test gives
//! it a [`ManualClock`], and moves that. One of your own implements [`Clock`].
//!
//! Records have event times where their source, or an operator on their way, has a [`WatermarkStrategy`].

use millstream_actors::contract::Clock;
use millstream_actors::protocol::Timestamp;

mod manual_clock;
mod system_clock;
mod timing_thread;
mod watermarks;

pub use manual_clock::ManualClock;
pub use system_clock::SystemClock;
pub(crate) use watermarks::{AlignedMember, Silence, SplitTimes, TimesBatches};
pub use watermarks::{WatermarkAlignment, WatermarkGenerator, WatermarkStrategy};

/// Processing time by this clock, in milliseconds of the Unix epoch.
pub(crate) fn processing_time(clock: &dyn Clock) -> Timestamp {
    Timestamp::try_from(clock.unix_ms()).unwrap_or(Timestamp::MAX)
}
