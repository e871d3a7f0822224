//! The directive of one input of an operator.

use std::sync::Arc;
use std::time::Duration;

/// When a record is withheld from an operator, and how many may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicRule {
    /// After so many panics at it that careful work has seen, at least 1.
    pub after: u32,
    /// At most so many records of the operator.
    pub at_most: u32,
    /// Within this time.
    pub within: Duration,
    /// The side output that it goes to; `None` if it is skipped.
    pub goes_to: Option<Arc<str>>,
}
