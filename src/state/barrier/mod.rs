//! What happens to keyed state at a barrier, whatever keeps its rows: a stamp is closed, it is decided how each key group is
//! written, and a capture has a sweep write the groups while records change them.

mod capture;
mod cycle;
mod known;
mod plan;

pub(super) use capture::{Capture, Reach};
pub(super) use cycle::{Barriers, Sweep};
pub(super) use plan::{GroupAtBarrier, GroupChain};
