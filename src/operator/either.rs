//! A record of one of two streams.

use serde::{Deserialize, Serialize};

/// A record of the first or of the second of two streams: where one type has to be named for both, as for the late records of a
/// [`join`](crate::stream::KeyedStream::join), and in the testing kit.
///
/// ```
/// use millstream::operator::Either;
///
/// let inputs: [Either<u64, &str>; 2] = [Either::First(7), Either::Second("seven")];
/// assert_ne!(inputs[0], inputs[1]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Either<A, B> {
    /// Of the first stream.
    First(A),
    /// Of the second stream.
    Second(B),
}

impl<A, B> Either<A, B> {
    /// The record, if it is of the first stream.
    pub fn first(self) -> Option<A> {
        match self {
            Self::First(record) => Some(record),
            Self::Second(_) => None,
        }
    }

    /// The record, if it is of the second stream.
    pub fn second(self) -> Option<B> {
        match self {
            Self::First(_) => None,
            Self::Second(record) => Some(record),
        }
    }
}
