//! Record directives: what becomes of a record at which a function panics, time and again.
//!
//! A function that has panicked is never called again, and the record is gone with it, so nothing is known of the record. Its operator
//! therefore works *carefully* from the next restart on: the bytes of each record are hashed before the function gets it, so
//! that the next panic says at which record it was. After as many panics as the rule says, one record of these bytes is withheld in
//! the attempts that follow, until a checkpoint covers that. Careful work ends with the first checkpoint beyond the failures.
//! A timer of a key is a record to all of this: that of its key and time.

mod log;
mod poison;
mod rule;
mod withholding;

pub(crate) use log::{Answer, CarefulWorkEnded, DirectiveLog, Panic};
pub use poison::{FIRINGS, PanicFacts, PanickedCall, PanickedRecord, RecordIdentity};
pub use rule::PanicRule;
pub(crate) use withholding::Withholding;
