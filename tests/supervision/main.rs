//! What supervision promises, on whole jobs through the public API: panics of every kind are survived with the output
//! of an undisturbed run, the restart strategies decide as they say, and every step is told.

#[path = "../common/captured_log.rs"]
mod captured_log;
#[path = "../common/child.rs"]
mod child;
#[path = "../common/listener.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod listener;
#[path = "../common/output.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod output;

mod advice;
mod along;
mod asked_while_down;
mod clocks;
mod control;
mod drops;
mod escalation;
mod events;
mod gated;
mod handed;
mod panics;
mod parked;
mod parked_lives;
mod parked_orders;
mod parked_rescaled;
mod parked_sources;
mod parked_steps;
mod policies;
mod rig;
mod second_life;
mod several;
mod sinks;
mod states;
mod strategies;
mod stuck;
