//! What supervision promises, on whole jobs through the public API: panics of every kind are survived with the output
//! of an undisturbed run, the restart strategies decide as they say, and every step is told.

#[path = "../common/listener.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod listener;

mod advice;
mod asked_while_down;
mod clocks;
mod control;
mod drops;
mod events;
mod gated;
mod handed;
mod panics;
mod rig;
mod second_life;
mod sinks;
mod states;
mod strategies;
mod stuck;
