//! Clocks: [`SystemClock`] for jobs, [`ManualClock`] for tests.

mod manual_clock;
mod system_clock;
mod timing_thread;

pub use manual_clock::ManualClock;
pub use system_clock::SystemClock;
