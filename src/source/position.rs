//! How positions are stored.

use millstream_actors::contract::{SourceError, SplitPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::packed::packed;

const VERSION: u8 = 1;

/// The position of `split` in the form in which the shipped sources store theirs: a MessagePack array of a version and
/// the position, structs as arrays of their fields. For positions of numbers, flags, texts and sequences, which always
/// encode.
///
/// ```
/// use millstream::source::{decode_position, encode_position};
///
/// let stored = encode_position("orders/3", &(17_u64, true));
/// assert_eq!(stored.split, "orders/3");
/// assert_eq!(decode_position::<(u64, bool)>(&stored).unwrap(), (17, true));
/// assert!(decode_position::<String>(&stored).unwrap_err().location().contains("orders/3"));
/// ```
///
/// # Panics
/// If the serializer of `P` fails.
pub fn encode_position<P: Serialize>(split: &str, position: &P) -> SplitPosition {
    let position = packed(&(VERSION, position));
    SplitPosition { split: split.into(), position }
}

/// What [`encode_position`] was given.
///
/// # Errors
/// A [`SourceError::position`] for bytes that [`encode_position`] did not write.
pub fn decode_position<P: DeserializeOwned>(stored: &SplitPosition) -> Result<P, SourceError> {
    let refuse = |reason: String| SourceError::position(&stored.split, reason);
    let (version, position): (u8, P) =
        rmp_serde::from_slice(&stored.position).map_err(|error| refuse(format!("it does not decode: {error}")))?;
    if version != VERSION {
        return Err(refuse(format!("it has version {version}, known is {VERSION}")));
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_position_comes_back_and_foreign_bytes_are_refused() {
        let stored = encode_position("s", &7_u64);
        assert_eq!(decode_position::<u64>(&stored).unwrap(), 7);
        for position in [vec![], b"junk".to_vec(), packed(&(9_u8, 7_u64))] {
            let error = decode_position::<u64>(&SplitPosition { split: "s".into(), position }).unwrap_err();
            assert!(error.location().contains("'s'") && !error.is_retryable(), "{error}");
        }
    }
}
