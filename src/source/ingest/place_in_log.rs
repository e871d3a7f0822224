//! The place of a record in a log, as programs pass it on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::IngestReceipt;
use super::keys::Place;
use super::log::IngestLog;

/// The place of a durable record, for queries that are to be answered [not before](crate::query::StateQuery::not_before) the job has
/// taken it. Of which log it is, and of which of its lives, it says too; so it may be kept, and handed to others, as a text or by serde. It says
/// nothing of the record's content.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::source::{IngestOptions, IngestPosition};
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let (_source, handle) = IngestSource::<u64>::open(path, IngestOptions::new())?;
/// let position = handle.send(1).await?.position();
/// let text = position.to_string();                        // for a header of the response, or a link
/// assert_eq!(text.parse::<IngestPosition>()?, position);
/// assert!("7".parse::<IngestPosition>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IngestPosition {
    pub(super) log: u64,
    pub(super) split: u32,
    /// Behind the record.
    pub(super) offset: u64,
    /// That the record is of.
    pub(super) life: u64,
}

impl IngestPosition {
    pub(super) fn of(log: &IngestLog, place: Place) -> Self {
        let offset = place.offset + 1;
        Self { log: log.id, split: place.split, offset, life: log.lineage.life_before(place.split, offset) }
    }

    /// Whether it stands for the other one, too: it is of the same life of the same split, and not before that.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        (self.log, self.split, self.life) == (other.log, other.split, other.life) && self.offset >= other.offset
    }
}

impl From<IngestReceipt> for IngestPosition {
    fn from(receipt: IngestReceipt) -> Self {
        receipt.position()
    }
}

/// A text that is no [`IngestPosition`].
///
/// ```
/// use millstream::source::{IngestPosition, InvalidPosition};
///
/// fn of_header(value: &str) -> Result<IngestPosition, InvalidPosition> {
///     value.parse()                                        // the client's fault
/// }
/// # assert!(of_header("").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in an ingest log")]
#[non_exhaustive]
pub struct InvalidPosition;

impl fmt::Display for IngestPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}-{:x}", self.log, self.life, self.split, self.offset)
    }
}

impl FromStr for IngestPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let mut parts = text.split('-');
        let mut number = || {
            let digits = parts.next().filter(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(InvalidPosition)
        };
        let (log, life, split, offset) = (number()?, number()?, number()?, number()?);
        let split = u32::try_from(split).map_err(|_| InvalidPosition)?;
        if parts.next().is_some() || offset == 0 {
            return Err(InvalidPosition);
        }
        Ok(Self { log, split, offset, life })
    }
}

impl From<IngestPosition> for String {
    fn from(position: IngestPosition) -> Self {
        position.to_string()
    }
}

impl TryFrom<String> for IngestPosition {
    type Error = InvalidPosition;

    fn try_from(text: String) -> Result<Self, InvalidPosition> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_comes_back_from_its_text_and_from_serde() {
        let position = IngestPosition { log: u64::MAX, split: u32::MAX, offset: 1, life: 1 << 60 };
        let text = position.to_string();
        assert_eq!(text.parse(), Ok(position));
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(json, format!("\"{text}\""), "a number would lose bits in JavaScript");
        assert_eq!(serde_json::from_str::<IngestPosition>(&json).unwrap(), position);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "-", "1-2-3", "1-2-3-4-5", "1-2-3-0", "1-2-100000000-4", "1-2-+3-4", "g-2-3-4", "1-2-3-4 "] {
            assert_eq!(text.parse::<IngestPosition>(), Err(InvalidPosition), "{text:?}");
        }
        assert!("1-2-3-10000000000000000".parse::<IngestPosition>().is_err());
    }
}
