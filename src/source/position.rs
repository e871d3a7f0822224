//! How positions are stored: a MessagePack array whose first element is a version.

use millstream_actors::contract::{SourceError, SplitPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::packed::packed;

const VERSION: u8 = 1;

/// The position of `split` as the engine stores it.
pub(crate) fn encode<P: Serialize>(split: &str, position: &P) -> SplitPosition {
    let position = packed(&(VERSION, position));
    SplitPosition { split: split.into(), position }
}

/// What [`encode`] was given.
///
/// # Errors
/// [`SourceError::Position`] for bytes that [`encode`] did not write.
pub(crate) fn decode<P: DeserializeOwned>(stored: &SplitPosition) -> Result<P, SourceError> {
    let refuse = |reason: String| SourceError::Position { split: stored.split.clone(), reason };
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
        let stored = encode("s", &7_u64);
        assert_eq!(decode::<u64>(&stored).unwrap(), 7);
        for position in [vec![], b"junk".to_vec(), packed(&(9_u8, 7_u64))] {
            let error = decode::<u64>(&SplitPosition { split: "s".into(), position }).unwrap_err();
            assert!(matches!(error, SourceError::Position { ref split, .. } if split == "s"), "{error}");
        }
    }
}
