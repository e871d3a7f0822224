//! Pieces: rows on their way into the table, as bytes.
//!
//! A piece is the checksum of what follows it, a version, and then the rows:
//!
//! ```text
//! xxh3 (8)  version (1)  { 1  key length (8)  value length (8)  key  value | 0  key length (8)  key }*
//! ```
//! Numbers are little-endian; keys and values are as redb stores them.

use xxhash_rust::xxh3::xxh3_64;

const CHECKSUM_BYTES: usize = size_of::<u64>();
const VERSION: u8 = 1;
const HEAD_BYTES: usize = CHECKSUM_BYTES + 1;
const INSERT: u8 = 1;
const REMOVE: u8 = 0;

/// A change of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Insert { key: &'a [u8], value: &'a [u8] },
    Remove { key: &'a [u8] },
}

/// A piece that is being filled.
#[derive(Debug)]
pub(super) struct Piece(Vec<u8>);

impl Piece {
    pub(super) fn new() -> Self {
        let mut bytes = vec![0; CHECKSUM_BYTES];
        bytes.push(VERSION);
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == HEAD_BYTES
    }

    /// Bytes that it takes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, change: Change<'_>) {
        match change {
            Change::Insert { key, value } => {
                self.0.push(INSERT);
                self.0.extend((key.len() as u64).to_le_bytes());
                self.0.extend((value.len() as u64).to_le_bytes());
                self.0.extend(key);
                self.0.extend(value);
            }
            Change::Remove { key } => {
                self.0.push(REMOVE);
                self.0.extend((key.len() as u64).to_le_bytes());
                self.0.extend(key);
            }
        }
    }

    /// Its bytes, with their checksum.
    pub(super) fn seal(mut self) -> Vec<u8> {
        let checksum = xxh3_64(&self.0[CHECKSUM_BYTES..]);
        self.0[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// The changes in a piece, in their order.
///
/// # Errors
/// What its bytes lack.
pub(super) fn changes(piece: &[u8]) -> Result<Vec<Change<'_>>, String> {
    let (checksum, content) = piece.split_first_chunk().ok_or("it is shorter than its checksum")?;
    if xxh3_64(content) != u64::from_le_bytes(*checksum) {
        return Err("its checksum does not match".to_owned());
    }
    let (version, mut rest) = content.split_first().ok_or("it has no version")?;
    if *version != VERSION {
        return Err(format!("version {version}, known is {VERSION}"));
    }
    let mut changes = Vec::new();
    while let Some((&kind, lengths)) = rest.split_first() {
        rest = lengths;
        let change = match kind {
            INSERT => {
                let (key_len, value_len) = (number(&mut rest)?, number(&mut rest)?);
                Change::Insert { key: bytes(&mut rest, key_len)?, value: bytes(&mut rest, value_len)? }
            }
            REMOVE => {
                let len = number(&mut rest)?;
                Change::Remove { key: bytes(&mut rest, len)? }
            }
            other => return Err(format!("{other} is no kind of change")),
        };
        changes.push(change);
    }
    Ok(changes)
}

fn number(rest: &mut &[u8]) -> Result<u64, String> {
    let (number, after) = rest.split_first_chunk().ok_or("it ends within a length")?;
    *rest = after;
    Ok(u64::from_le_bytes(*number))
}

fn bytes<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], String> {
    let len = usize::try_from(len).map_err(|_| "a row is longer than memory")?;
    let (bytes, after) = rest.split_at_checked(len).ok_or("it ends within a row")?;
    *rest = after;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order_and_damage_anywhere_is_found() {
        let written = [
            Change::Insert { key: b"a", value: b"" },
            Change::Remove { key: b"bc" },
            Change::Insert { key: b"", value: b"def" },
        ];
        let mut piece = Piece::new();
        assert!(piece.is_empty());
        written.into_iter().for_each(|change| piece.push(change));
        assert!(!piece.is_empty());
        let bytes = piece.seal();
        assert_eq!(changes(&bytes).unwrap(), written);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            changes(&damaged).unwrap_err();
            changes(&bytes[..at]).unwrap_err();
        }
        assert_eq!(changes(&Piece::new().seal()).unwrap(), []);
    }
}
