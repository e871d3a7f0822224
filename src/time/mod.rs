//! Clocks: [`SystemClock`] for jobs, [`ManualClock`] for tests.

mod manual_clock;
mod system_clock;

pub use manual_clock::ManualClock;
pub use system_clock::SystemClock;
