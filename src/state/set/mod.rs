//! Declared states, sets of them, and what is done with the rows of a set.
//!
//! A set declares its states, lends the handles of a row, and shows a visitor each state with its slot. Whatever else is
//! done with rows is written once over that, for every set.

mod beside;
mod declared;
mod loading;
mod pager;
mod paging;
mod rows;
mod spilling;
mod state;
mod state_struct;
mod timers;
mod writing;

pub use beside::Beside;
pub use declared::{SlotVisitor, StateKey, StateSet, StateVisitor};
pub(super) use loading::KEY_TWICE;
pub(crate) use pager::{PageLost, Pager, Paging};
pub(crate) use rows::StateRows;
pub(crate) use state::Slot;
pub use state::State;
