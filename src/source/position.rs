//! How positions are stored.

use millstream_actors::contract::{SourceError, SplitPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::codec::{put_packed, put_packed_compact, take_packed};

/// How a MessagePack array of two begins.
const ARRAY_OF_TWO: u8 = 0x92;
const VERSION: u8 = 1;

/// The position of `split` in the form in which the shipped sources store theirs: a MessagePack array of a version and
/// the position, structs as arrays of their fields. As with state, a position of a type that serde cannot read back from a
/// binary format is refused when it is stored: numbers, flags, texts, options and sequences always read back.
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
/// If the serializer of `P` fails, or what it writes does not read back as the position.
pub fn encode_position<P>(split: &str, position: &P) -> SplitPosition
where
    P: Serialize + DeserializeOwned + 'static,
{
    encode(split, |stored| put_packed_compact(position, stored))
}

/// As [`encode_position`], with the names of the fields of structs: for positions of a type that users write, and may change.
///
/// # Panics
/// As [`encode_position`].
pub(super) fn encode_named_position<P>(split: &str, position: &P) -> SplitPosition
where
    P: Serialize + DeserializeOwned + 'static,
{
    encode(split, |stored| put_packed(position, stored))
}

fn encode(split: &str, put: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) -> SplitPosition {
    let mut stored = vec![ARRAY_OF_TWO, VERSION];
    if let Err(reason) = put(&mut stored) {
        panic!("the position of split '{split}' cannot be stored: {reason}");
    }
    SplitPosition::new(split, stored)
}

/// What [`encode_position`] was given.
///
/// # Errors
/// A [`SourceError::position`] for bytes that [`encode_position`] did not write.
pub fn decode_position<P: DeserializeOwned>(stored: &SplitPosition) -> Result<P, SourceError> {
    let refuse = |reason: String| SourceError::position(&stored.split, reason);
    let mut rest = match &*stored.position {
        [ARRAY_OF_TWO, VERSION, rest @ ..] => rest,
        [ARRAY_OF_TWO, version @ 0..=0x7f, ..] => {
            return Err(refuse(format!("it has version {version}, known is {VERSION}")));
        }
        _ => return Err(refuse("it does not begin as an array of version and position".to_owned())),
    };
    let position = take_packed(&mut rest).map_err(|reason| refuse(format!("it does not decode: {reason}")))?;
    if !rest.is_empty() {
        return Err(refuse(format!("{} bytes follow it", rest.len())));
    }
    Ok(position)
}

/// A position in words, by what `words` makes of it.
pub(crate) fn described<P: DeserializeOwned>(position: &[u8], words: impl FnOnce(P) -> String) -> String {
    let stored = SplitPosition::new("", position);
    decode_position(&stored).map_or_else(|_| "a position of another source".to_owned(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_position_comes_back_and_foreign_bytes_are_refused() {
        let stored = encode_position("s", &7_u64);
        assert_eq!(decode_position::<u64>(&stored).unwrap(), 7);
        for position in [vec![], b"junk".to_vec(), vec![0x92, 9, 7], vec![0x92, 1], vec![0x92, 1, 7, 7]] {
            let error = decode_position::<u64>(&SplitPosition::new("s", position)).unwrap_err();
            assert!(error.location().contains("'s'") && !error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn options_within_options_are_told_apart() {
        for position in [None, Some(None), Some(Some(7_u64))] {
            let stored = encode_position("s", &(position, true));
            assert_eq!(decode_position::<(Option<Option<u64>>, bool)>(&stored).unwrap(), (position, true));
        }
        assert_eq!(encode_position("s", &(7_u64, "a".to_owned())).position, [0x92, 1, 0x92, 7, 0xa1, b'a']);
    }

    #[test]
    #[should_panic(expected = "the position of split 's' cannot be stored")]
    fn a_position_that_does_not_read_back_is_refused() {
        #[derive(Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Place {
            At(u8),
            Far(u64),
        }
        drop(encode_position("s", &Place::At(1)));
        drop(encode_position("s", &Place::Far(1)));
    }
}
