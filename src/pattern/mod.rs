//! Patterns: records of a key that come one after the other in a way that was described, found by an automaton.
//!
//! A [`Pattern`] says which records a match consists of; [`KeyedStream::pattern`](crate::stream::KeyedStream::pattern) finds its
//! matches. Follows Flink's CEP library, and with it Agrawal et al., "Efficient Pattern Matching over Event Streams" (SIGMOD 2008):
//! a non-deterministic automaton whose partial matches share the records that they have in common.
//!
//! | file | has |
//! |---|---|
//! | `pattern`, `stage`, `condition`, `skip` | what users say |
//! | `compile` | what is wrong with that, and the automaton of it |
//! | `automaton`, `place` | what a record may do to one partial match |
//! | `progress`, `paths` | the partial matches of a key, as they are stored |
//! | `step` | what a record, and the time, do to all of these |
//! | `function`, `stored`, `timed_out` | the function on a keyed stream, and its states |

mod automaton;
mod compile;
mod condition;
mod function;
mod matched;
mod paths;
#[expect(clippy::module_inception, reason = "the main type of this module")]
mod pattern;
mod place;
mod progress;
mod skip;
mod stage;
mod step;
mod stored;
mod timed_out;

pub use matched::Matched;
pub use pattern::Pattern;
pub use skip::AfterMatchSkip;

pub(crate) use function::{PatternFunction, PatternTime};
pub(crate) use timed_out::TimedOutTo;
pub use timed_out::{Dropped, OnTimeout};

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
