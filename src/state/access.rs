//! What a state handle knows of the moment in which it is used.

use millstream_actors::protocol::Timestamp;

/// The mark of a state entry's last change: it counts the barriers of an attempt. 0: never changed.
pub(crate) type Stamp = u32;

/// When, and between which barriers, a row is worked on.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The mark that a change leaves.
    pub stamp: Stamp,
    /// Processing time in milliseconds of the Unix epoch; 0 where no state of the operator asks for it.
    pub processing_time: i64,
    /// The last watermark the operator acted on.
    pub watermark: Timestamp,
}

/// The changes that a capture is to have: those with a stamp above `after` and up to `up_to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The stamp that the base closed; 0 if everything is to be written.
    pub after: Stamp,
    /// The stamp that the barrier closed.
    pub up_to: Stamp,
}

impl Span {
    /// Whether everything is to be written, not only changes.
    #[inline]
    pub fn is_full(self) -> bool {
        self.after == 0
    }

    /// Whether a change with this stamp is to be written.
    #[inline]
    pub fn contains(self, stamp: Stamp) -> bool {
        self.after < stamp && stamp <= self.up_to
    }
}
