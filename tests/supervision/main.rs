//! What supervision promises, on whole jobs through the public API: panics of every kind are survived with the output
//! of an undisturbed run, the restart strategies decide as they say, and every step is told.

mod advice;
mod clocks;
mod control;
mod drops;
mod events;
mod gated;
mod handed;
mod panics;
mod rig;
mod sinks;
mod states;
mod strategies;
mod stuck;
mod wakes;
