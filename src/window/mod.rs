//! Windows: the records of a key cut into spans of time, or by their number, each of which gives a result.
//!
//! A stream of windows is made by [`KeyedStream::window`](crate::stream::KeyedStream::window). What they are is said by a
//! [`WindowAssigner`]:
//!
//! | windows | a record belongs to |
//! |---|---|
//! | [`TumblingWindows`] | one of those that follow each other |
//! | [`SlidingWindows`] | all that overlap where it is |
//! | [`SessionWindows`] | one that goes on as long as no gap comes |
//! | [`GlobalWindows`] | the only one |
//!
//! A [`Trigger`] says when they give results, by default when they are complete; an [`Evictor`] which of their records they drop
//! before.

mod assigner;
mod co_group;
mod evictor;
mod function;
mod panes;
mod purging_trigger;
mod sessions;
mod slice_list;
mod slices;
mod span;
mod trigger;
mod windowed;
mod windowing;

pub use assigner::{GlobalWindows, Slicing, SlidingWindows, TumblingWindows, WindowAssigner, WindowTime};
pub use evictor::{CountEvictor, DeltaEvictor, Elements, Evictor, NoEvictor, TimeEvictor};
pub use function::{WindowContext, WindowFunction};
pub use purging_trigger::PurgingTrigger;
pub use sessions::{Gap, GapOf, SessionWindows};
pub use span::Window;
pub use trigger::{
    ContinuousTrigger, CountTrigger, DeltaTrigger, NeverTrigger, TimeTrigger, Trigger, TriggerContext, TriggerResult,
};

pub(crate) use assigner::millis;
pub(crate) use co_group::CoGrouped;
pub(crate) use function::{Aggregated, EachWindow, PaneFunction, Processed, Reduced};
pub(crate) use windowed::Windowed;
pub(crate) use windowing::Windowing;
