//! Keyed state read back without knowing its types: which bytes are a key, and which its value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use millstream_actors::protocol::CheckpointId;

use super::canonical::canonical;
use super::collections::{Stored, Value, item};
use super::fixed::Encoding;
use super::piece::{PieceHeader, SECTION_VERSION, newer_layout};
use super::unfit::NEWER;

/// Why a section whose bytes are whole cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is written in a way that this version does not know.
    #[error("{0}; {NEWER}")]
    Unknown(String),
    /// It is not what it should be.
    #[error("{0}")]
    Malformed(String),
}

/// What a section says of a key. The bytes are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// It has this value, or this has changed in it.
    Put { key: &'a [u8], value: Stored<'a> },
    /// It has none any more.
    Remove { key: &'a [u8] },
}

/// The entries of one state of one key group, by the bytes of their keys with maps in one order: a hash map in a key may have
/// been written in any.
#[derive(Debug, Default)]
pub(crate) struct Entries<'a> {
    /// How the keys are stored; `None` without entries.
    pub(crate) keys: Option<Encoding>,
    /// Each value.
    pub(crate) values: BTreeMap<Cow<'a, [u8]>, Value<'a>>,
}

/// Shows `visit` what `section`, a plain one, says of each key, in its order. Gives the checkpoint over which
/// it is a delta: `None` for a whole one.
pub(crate) fn each_change<'a>(
    mut section: &'a [u8],
    visit: &mut dyn FnMut(&PieceHeader, Change<'a>),
) -> Result<Option<CheckpointId>, Unreadable> {
    let mut base = None;
    while let Some(version) = section.first() {
        if *version > SECTION_VERSION {
            return Err(Unreadable::Unknown(newer_layout(*version)));
        }
        let header = PieceHeader::read(&mut section).map_err(Unreadable::Malformed)?;
        if *base.get_or_insert(header.base) != header.base {
            return Err(Unreadable::Malformed("pieces over different checkpoints".to_owned()));
        }
        header.check_known().map_err(Unreadable::Unknown)?;
        for _ in 0..header.live {
            let key = item(header.keys, &mut section).map_err(Unreadable::Malformed)?;
            visit(&header, Change::Put { key, value: Stored::take(header.format, &mut section)? });
        }
        for _ in 0..header.dead {
            let key = item(header.keys, &mut section).map_err(Unreadable::Malformed)?;
            visit(&header, Change::Remove { key });
        }
    }
    Ok(base.flatten())
}

/// Puts the sections of one state of one key group together: the whole one, and then the deltas in the order of their
/// checkpoints. They are plain.
pub(crate) fn merged<'a>(
    sections: impl IntoIterator<Item = (CheckpointId, &'a [u8])>,
) -> Result<Entries<'a>, Unreadable> {
    let mut entries = Entries::default();
    let mut newest = None;
    for (checkpoint, section) in sections {
        let mut has_other_keys = false;
        let mut unfit = None;
        let base = each_change(section, &mut |header, change| {
            has_other_keys |= *entries.keys.get_or_insert(header.keys) != header.keys;
            match change {
                Change::Put { key, value } => {
                    let key = canonical(header.keys, key);
                    match value.over(entries.values.remove(&key)) {
                        Ok(Some(value)) => drop(entries.values.insert(key, value)),
                        Ok(None) => {}
                        Err(reason) => unfit = Some(reason),
                    }
                }
                Change::Remove { key } => drop(entries.values.remove(&canonical(header.keys, key))),
            }
        })?;
        if let Some(reason) = unfit {
            return Err(Unreadable::Malformed(reason));
        }
        if has_other_keys {
            return Err(Unreadable::Malformed("keys of different types".to_owned()));
        }
        check_link(newest, checkpoint, base).map_err(Unreadable::Malformed)?;
        newest = Some(checkpoint);
    }
    Ok(entries)
}

/// Whether a section of `checkpoint`, which is a delta over `base` or whole, may follow one of `newest`.
pub(crate) fn check_link(
    newest: Option<CheckpointId>,
    checkpoint: CheckpointId,
    base: Option<CheckpointId>,
) -> Result<(), String> {
    match (newest, base) {
        (None, None) => Ok(()),
        (Some(newest), Some(base)) if newest <= base && base < checkpoint => Ok(()),
        (None, Some(base)) => Err(format!("changes of checkpoint {checkpoint} over {base}, and no whole state before")),
        (Some(newest), None) => Err(format!("a whole state of checkpoint {checkpoint} after one of {newest}")),
        (Some(newest), Some(base)) => {
            Err(format!("changes of checkpoint {checkpoint} over {base}, after those of {newest}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::piece::{PieceBuffer, StateFormat, Written};
    use super::*;

    const FORMAT: StateFormat = StateFormat { values: Encoding(4), version: 1 };

    fn section(base: Option<u64>, live: &[(&str, u64)], dead: &[&str]) -> Vec<u8> {
        let mut piece = PieceBuffer::default();
        let mut all = Vec::new();
        for (index, (key, value)) in live.iter().enumerate() {
            let write = |bytes: &mut Vec<u8>| {
                bytes.extend(value.to_le_bytes());
                Ok(Written::Live)
            };
            piece.entry(&(*key).to_owned(), write).unwrap();
            if index % 2 == 1 {
                all.extend(piece.close::<String>(1, FORMAT, base.map(CheckpointId)));
            }
        }
        for key in dead {
            piece.entry(&(*key).to_owned(), |_| Ok(Written::Dead)).unwrap();
        }
        all.extend(piece.close::<String>(1, FORMAT, base.map(CheckpointId)));
        all
    }

    fn read(sections: &[(u64, Vec<u8>)]) -> Result<Vec<(String, u64)>, Unreadable> {
        let entries = merged(sections.iter().map(|(id, bytes)| (CheckpointId(*id), &**bytes)))?;
        let of = |(key, value): (&Cow<'_, [u8]>, &Value<'_>)| match value {
            Value::Plain(_, value) => {
                (rmp_serde::from_slice(key).unwrap(), u64::from_le_bytes((*value).try_into().unwrap()))
            }
            other => panic!("{other:?}"),
        };
        Ok(entries.values.iter().map(of).collect())
    }

    #[test]
    fn deltas_change_and_remove_what_came_before() {
        let whole = (3, section(None, &[("a", 1), ("b", 2), ("c", 3)], &[]));
        let first = (5, section(Some(4), &[("b", 20)], &["a"]));
        let second = (9, section(Some(5), &[("a", 100), ("d", 4)], &["c", "never"]));
        let owned = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect::<Vec<_>>();
        assert_eq!(read(std::slice::from_ref(&whole)).unwrap(), owned(&[("a", 1), ("b", 2), ("c", 3)]));
        assert_eq!(read(&[whole.clone(), first.clone()]).unwrap(), owned(&[("b", 20), ("c", 3)]));
        assert_eq!(read(&[whole, first, second]).unwrap(), owned(&[("a", 100), ("b", 20), ("d", 4)]));
        assert_eq!(read(&[]).unwrap(), []);
        assert_eq!(read(&[(1, Vec::new())]).unwrap(), [], "a section without a piece");
    }

    #[test]
    fn a_chain_with_a_gap_or_a_second_whole_section_is_malformed() {
        let whole = (3, section(None, &[("a", 1)], &[]));
        let late = (9, section(Some(2), &[("a", 2)], &[]));
        for chain in [vec![late.clone()], vec![whole.clone(), late], vec![whole.clone(), (4, whole.1.clone())]] {
            assert!(matches!(read(&chain), Err(Unreadable::Malformed(_))), "{chain:?}");
        }
    }

    #[test]
    fn every_cut_is_malformed_and_unknown_codes_are_unknown() {
        let whole = section(None, &[("a", 1), ("b", 2), ("c", 3)], &[]);
        let first_piece = 24 + 2 * (2 + 8);
        for len in (1..whole.len()).filter(|len| *len != first_piece) {
            assert!(matches!(read(&[(3, whole[..len].to_vec())]), Err(Unreadable::Malformed(_))), "cut to {len}");
        }
        for (place, what) in [(2, "keys"), (3, "values")] {
            let mut unknown = whole.clone();
            unknown[place] = 0x77;
            let error = read(&[(3, unknown)]).unwrap_err();
            assert!(matches!(&error, Unreadable::Unknown(text) if text.contains(what) && text.contains("119")));
        }
        let mut newer = whole;
        newer[0] = SECTION_VERSION + 1;
        assert!(matches!(read(&[(3, newer)]), Err(Unreadable::Unknown(_))));
    }

    #[test]
    fn a_key_with_a_hash_map_in_it_is_one_key_in_whatever_order_it_was_written() {
        let section = |base: Option<u64>, key: &[u8], value: u8| {
            let format = StateFormat { values: Encoding(1), version: 1 };
            let header = PieceHeader {
                base: base.map(CheckpointId),
                keys: Encoding::MESSAGE_PACK,
                key_version: 1,
                format,
                live: 1,
                dead: 0,
                is_packed: false,
            };
            let mut bytes = vec![0; super::super::piece::HEADER_BYTES];
            header.write(&mut bytes);
            bytes.extend([key, &[value]].concat());
            bytes
        };
        let [whole, delta] = [(None, b"\x82\x01\x05\x02\x06", 1), (Some(3), b"\x82\x02\x06\x01\x05", 2)]
            .map(|(base, key, value)| section(base, key, value));
        let entries = merged([(CheckpointId(3), &*whole), (CheckpointId(5), &*delta)]).unwrap();
        assert_eq!(entries.values.len(), 1);
        assert!(entries.values.values().all(|value| matches!(value, Value::Plain(_, [2]))));
    }
}
