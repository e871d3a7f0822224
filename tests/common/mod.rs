//! What the tests of whole jobs share.

#![allow(dead_code, reason = "each test crate uses its part")]
#![allow(unused_imports, reason = "each test crate uses its part")]

mod checkpointed;
mod child;
mod connectors;
mod copying;
mod counted_panics;
mod event_times;
mod fault_probe;
mod figures_job;
mod later;
mod listener;
mod output;
mod run;
mod service;
mod stepped_source;
mod through_panics;
mod window_totals;

pub(crate) use checkpointed::checkpointed;
pub(crate) use child::child;
pub(crate) use connectors::{HeldSink, HesitantSource, QueueSource, Tagged, TaggedSink};
pub(crate) use copying::copy_all;
pub(crate) use counted_panics::CountedPanics;
pub(crate) use event_times::{BOUND_MS, time_of};
pub(crate) use fault_probe::{At, Fault, FaultProbe, Point};
pub(crate) use figures_job::{FiguresJob, Line, Lines, RunningFigures};
pub(crate) use later::Later;
pub(crate) use listener::{Events, events_from_the_start, events_of};
pub(crate) use output::{committed_lines, left_over, sorted};
pub(crate) use run::{Watched, run, run_to_end, watched};
pub(crate) use service::Service;
pub(crate) use stepped_source::{InputEnd, SteppedSource};
pub(crate) use through_panics::output_through_panics;
pub(crate) use window_totals::{Total, plain_totals, window_totals};
