//! Where a place that a program knows lies in what a source reads.

/// Where a place that a program was told of lies in what a source reads: what [`Source::locate`](super::Source::locate) says. A query that is
/// to be answered not before a record waits until the source has read so far.
///
/// ```
/// use millstream::source::Located;
///
/// /// The record with this number, of a source that reads one split.
/// fn of_record(number: u64) -> Located {
///     Located::At { split: "all".to_owned(), offset: number + 1 }
/// }
/// # assert_ne!(of_record(3), Located::Elsewhere);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Located {
    /// Not in what this source reads.
    Elsewhere,
    /// It has been read once [`Source::offset_of`](super::Source::offset_of) the split's position is so high.
    At {
        /// The split.
        split: String,
        /// How high.
        offset: u64,
    },
    /// It was there, or should be, and is not: it will not be read.
    Lost {
        /// What is known of that.
        reason: String,
    },
}
