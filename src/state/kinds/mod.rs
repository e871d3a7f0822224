//! The kinds of keyed state, and what a state may be beside its kind: of a version, and expiring.

mod aggregating;
mod due_times;
mod expiring;
mod list;
mod map;
mod reducing;
mod schema;
mod timers;
mod times;
mod value;

#[cfg(test)]
mod expiring_kinds_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use aggregating::{AggregateFunction, AggregatingHandle, AggregatingState};
pub use expiring::{Expiring, ExpiringHandle, StateTtl};
pub use list::{ListHandle, ListState};
pub use map::{MapHandle, MapState};
pub use reducing::{ReducingHandle, ReducingState};
pub use timers::{Timer, Timers, TimersHandle};
pub use value::{ValueHandle, ValueState};

pub(crate) use due_times::DueTimes;
pub(crate) use expiring::{Expiry, load_without_deadline};
pub(crate) use schema::{ReadOld, Schema};
pub(crate) use timers::TimeDomain;
pub(crate) use value::ValueSlot;
