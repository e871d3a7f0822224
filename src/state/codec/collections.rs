//! Values of keyed state as they are stored, and put together from changes: plain ones, lists and maps.
//! `docs/snapshot-format.md` has the layout.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::canonical::canonical;
use super::chain::Unreadable;
use super::fixed::{self, Encoding, check_known};
use super::message_pack;
use super::piece::StateFormat;
use super::untyped::{Untyped, encoding_name, shown};

/// Little-endian: milliseconds, doubled; the lowest bit is 1 if no value follows.
const DEADLINE_BYTES: usize = 8;

/// What a section says of the value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// It is what it was; only the time at which it expires is another.
    Kept,
    /// It is this.
    Plain(StateFormat, &'a [u8]),
    /// It is a list: so many values of the base's list, and then these.
    List { encoding: Encoding, kept: u32, items: Vec<&'a [u8]> },
    /// It is a map: these entries, over those of the base's map unless this is the whole.
    Map { encodings: [Encoding; 2], is_whole: bool, live: Vec<(&'a [u8], &'a [u8])>, dead: Vec<&'a [u8]> },
}

/// The value of a key. The bytes are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Plain(StateFormat, &'a [u8]),
    List(Encoding, Vec<&'a [u8]>),
    /// Encodings of keys and values, and the entries by key.
    Map([Encoding; 2], BTreeMap<Cow<'a, [u8]>, &'a [u8]>),
}

impl<'a> Stored<'a> {
    /// Takes what a section in this format says of a key off the front of `bytes`.
    pub(super) fn take(format: StateFormat, bytes: &mut &'a [u8]) -> Result<Self, Unreadable> {
        if format.has_deadline() {
            let deadline = take_bytes(DEADLINE_BYTES, bytes)?;
            if deadline[0] & 1 == 1 {
                return Ok(Self::Kept);
            }
        }
        let format = format.without_deadline();
        match format.values {
            Encoding::LIST => {
                let encoding = take_encoding("the values of a list", bytes)?;
                let (kept, count) = (take_count(bytes)?, take_count(bytes)?);
                Ok(Self::List { encoding, kept, items: take_items(encoding, count, bytes)? })
            }
            Encoding::MAP => {
                let encodings =
                    [take_encoding("the keys of a map", bytes)?, take_encoding("the values of a map", bytes)?];
                let is_whole = match take_bytes(1, bytes)? {
                    [0] => true,
                    [1] => false,
                    kind => return Err(Unreadable::Malformed(format!("a map of kind {kind:?}"))),
                };
                let (live_count, dead_count) = (take_count(bytes)?, take_count(bytes)?);
                let mut live = Vec::new();
                for _ in 0..live_count {
                    live.push((take_item(encodings[0], bytes)?, take_item(encodings[1], bytes)?));
                }
                let dead = take_items(encodings[0], dead_count, bytes)?;
                Ok(Self::Map { encodings, is_whole, live, dead })
            }
            encoding => Ok(Self::Plain(format, take_item(encoding, bytes)?)),
        }
    }

    /// The value that comes of it. `before` is the one in the base. `None` for a map that has no entry left.
    pub(super) fn over(self, before: Option<Value<'a>>) -> Result<Option<Value<'a>>, String> {
        match self {
            Self::Kept => Ok(before),
            Self::Plain(format, bytes) => Ok(Some(Value::Plain(format, bytes))),
            Self::List { encoding, kept: 0, items } => Ok(Some(Value::List(encoding, items))),
            Self::List { encoding, kept, items } => match before {
                Some(Value::List(same, mut list)) if same == encoding && list.len() >= kept as usize => {
                    list.truncate(kept as usize);
                    list.extend(items);
                    Ok(Some(Value::List(encoding, list)))
                }
                _ => Err(format!("{kept} values of a list are kept that does not have them")),
            },
            Self::Map { encodings, is_whole, live, dead } => {
                let mut map = match before {
                    Some(Value::Map(same, map)) if !is_whole && same == encodings => map,
                    Some(_) if !is_whole => return Err("changes of a map of another kind".to_owned()),
                    _ => BTreeMap::new(),
                };
                map.extend(live.into_iter().map(|(key, value)| (canonical(encodings[0], key), value)));
                for key in dead {
                    map.remove(&canonical(encodings[0], key));
                }
                Ok((!map.is_empty()).then_some(Value::Map(encodings, map)))
            }
        }
    }
}

impl Value<'_> {
    /// The value as its bytes describe it.
    pub(crate) fn shown(&self) -> Untyped {
        match self {
            Self::Plain(format, bytes) => shown(format.values, bytes),
            Self::List(encoding, items) => Untyped::List(items.iter().map(|item| shown(*encoding, item)).collect()),
            Self::Map([keys, values], entries) => {
                let entry = |(key, value): (&Cow<'_, [u8]>, &&[u8])| (shown(*keys, key), shown(*values, value));
                Untyped::Map(entries.iter().map(entry).collect())
            }
        }
    }

    /// Whether both are one value, in whatever order a hash map in them was written.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |encoding, one, other| canonical(encoding, one) == canonical(encoding, other);
        match (self, other) {
            (Self::Plain(format, one), Self::Plain(of_other, other)) => {
                format == of_other && same(format.values, one, other)
            }
            (Self::List(encoding, items), Self::List(of_other, others)) => {
                encoding == of_other
                    && items.len() == others.len()
                    && items.iter().zip(others).all(|(one, other)| same(*encoding, one, other))
            }
            (Self::Map(encodings, entries), Self::Map(of_other, others)) => {
                encodings == of_other
                    && entries.len() == others.len()
                    && entries
                        .iter()
                        .zip(others)
                        .all(|(one, other)| one.0 == other.0 && same(encodings[1], one.1, other.1))
            }
            _ => false,
        }
    }

    /// How it is stored, as people call it.
    pub(crate) fn encoding_name(&self) -> String {
        match self {
            Self::Plain(format, _) => encoding_name(format.values),
            Self::List(encoding, _) => format!("list of {}", encoding_name(*encoding)),
            Self::Map([keys, values], _) => format!("map of {} to {}", encoding_name(*keys), encoding_name(*values)),
        }
    }
}

/// Takes one key or value off the front of `bytes`.
pub(super) fn item<'a>(encoding: Encoding, bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = match fixed::width(encoding) {
        Some(width) => width,
        None if [Encoding::MESSAGE_PACK, Encoding::COMPACT].contains(&encoding) => {
            let mut rest = *bytes;
            message_pack::take::<IgnoredAny>(&mut rest)?;
            bytes.len() - rest.len()
        }
        None => return Err(format!("{} cannot be told from what follows it", fixed::described(encoding))),
    };
    let (item, rest) = bytes.split_at_checked(len).ok_or("a value is cut short")?;
    *bytes = rest;
    Ok(item)
}

fn take_bytes<'a>(count: usize, bytes: &mut &'a [u8]) -> Result<&'a [u8], Unreadable> {
    let cut = || Unreadable::Malformed("a list or map is cut short".to_owned());
    let (taken, rest) = bytes.split_at_checked(count).ok_or_else(cut)?;
    *bytes = rest;
    Ok(taken)
}

fn take_encoding(what: &str, bytes: &mut &[u8]) -> Result<Encoding, Unreadable> {
    let encoding = Encoding(take_bytes(1, bytes)?[0]);
    check_known(what, encoding).map_err(Unreadable::Unknown)?;
    Ok(encoding)
}

fn take_count(bytes: &mut &[u8]) -> Result<u32, Unreadable> {
    Ok(u32::from_le_bytes(take_bytes(4, bytes)?.try_into().expect("four bytes were taken")))
}

fn take_item<'a>(encoding: Encoding, bytes: &mut &'a [u8]) -> Result<&'a [u8], Unreadable> {
    item(encoding, bytes).map_err(Unreadable::Malformed)
}

fn take_items<'a>(encoding: Encoding, count: u32, bytes: &mut &'a [u8]) -> Result<Vec<&'a [u8]>, Unreadable> {
    // Each takes a byte at least, so a false count ends with the bytes.
    (0..count).map(|_| take_item(encoding, bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Encoding = Encoding::LIST;
    const MAP: Encoding = Encoding::MAP;

    fn list(kept: u32, items: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(kept.to_le_bytes());
        bytes.extend((items.len() as u32).to_le_bytes());
        bytes.extend(items);
        bytes
    }

    fn map(kind: u8, live: &[(u8, u8)], dead: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 6, kind];
        bytes.extend((live.len() as u32).to_le_bytes());
        bytes.extend((dead.len() as u32).to_le_bytes());
        live.iter().for_each(|(key, value)| bytes.extend([key, value]));
        bytes.extend(dead);
        bytes
    }

    fn taken(encoding: Encoding, mut bytes: &[u8]) -> Result<Stored<'_>, Unreadable> {
        let stored = Stored::take(StateFormat { values: encoding, version: 1 }, &mut bytes);
        assert!(bytes.is_empty() || stored.is_err());
        stored
    }

    /// What comes of these, one over the other, as JSON.
    fn folded(encoding: Encoding, parts: &[Vec<u8>]) -> Result<String, String> {
        let mut value = None;
        for part in parts {
            value = taken(encoding, part).map_err(|error| error.to_string())?.over(value)?;
        }
        Ok(value.map_or("nothing".to_owned(), |value| serde_json::to_string(&value.shown()).unwrap()))
    }

    #[test]
    fn lists_go_on_from_what_they_keep() {
        assert_eq!(folded(LIST, &[list(0, &[1, 2, 3])]).unwrap(), "[1,2,3]");
        assert_eq!(folded(LIST, &[list(0, &[1, 2, 3]), list(3, &[4]), list(2, &[9])]).unwrap(), "[1,2,9]");
        assert_eq!(folded(LIST, &[list(0, &[1]), list(0, &[7])]).unwrap(), "[7]", "replaced");
        assert!(folded(LIST, &[list(1, &[1])]).is_err(), "nothing to keep");
        assert!(folded(LIST, &[list(0, &[1]), list(2, &[1])]).is_err(), "fewer than are kept");
    }

    #[test]
    fn maps_change_by_key() {
        let whole = map(0, &[(1, 0xFF), (2, 5)], &[]);
        assert_eq!(folded(MAP, std::slice::from_ref(&whole)).unwrap(), r#"{"$map":[[1,-1],[2,5]]}"#);
        let changed = [whole.clone(), map(1, &[(3, 7), (2, 6)], &[1, 9])];
        assert_eq!(folded(MAP, &changed).unwrap(), r#"{"$map":[[2,6],[3,7]]}"#);
        assert_eq!(folded(MAP, &[whole.clone(), map(0, &[(4, 4)], &[])]).unwrap(), r#"{"$map":[[4,4]]}"#);
        assert_eq!(folded(MAP, &[whole.clone(), map(1, &[], &[1, 2])]).unwrap(), "nothing");
        assert!(folded(MAP, &[map(2, &[], &[])]).is_err(), "of no kind");
        let stored = taken(MAP, &whole).unwrap().over(None).unwrap().unwrap();
        assert_eq!(stored.encoding_name(), "map of u8 to i8");
    }

    #[test]
    fn every_cut_is_malformed_and_unknown_encodings_are_unknown() {
        for (encoding, whole) in [(LIST, list(0, &[1, 2])), (MAP, map(1, &[(1, 2)], &[3]))] {
            for len in 0..whole.len() {
                let cut = taken(encoding, &whole[..len]);
                assert!(matches!(cut, Err(Unreadable::Malformed(_))), "{encoding:?} cut to {len}: {cut:?}");
            }
            let mut unknown = whole;
            unknown[0] = 99;
            assert!(matches!(taken(encoding, &unknown), Err(Unreadable::Unknown(_))));
        }
        assert!(taken(LIST, &[1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1]).is_err(), "a false count");
    }
}
