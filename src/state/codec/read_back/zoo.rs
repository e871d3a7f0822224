//! Types of every kind that serde has, with random values of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroI16;
use std::ops::{Bound, Range};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::state::test_kit::Random;

/// A type with random values.
pub(super) trait Any: Sized {
    fn any(random: &mut Random) -> Self;
}

macro_rules! any {
    ($($type:ty: |$random:ident| $value:expr);* $(;)?) => {$(
        impl Any for $type {
            fn any($random: &mut Random) -> Self {
                $value
            }
        }
    )*};
}

any! {
    bool: |random| random.below(2) == 0;
    u8: |random| small(random) as u8;
    u16: |random| small(random) as u16;
    u32: |random| small(random) as u32;
    u64: |random| small(random);
    u128: |random| u128::from(small(random)) << random.below(65);
    i8: |random| small(random) as i8;
    i16: |random| small(random) as i16;
    i32: |random| small(random) as i32;
    i64: |random| small(random) as i64;
    i128: |random| i128::from(small(random) as i64) << random.below(64);
    f32: |random| f32::from_bits(float(random, 0x7f80_0000) as u32);
    f64: |random| f64::from_bits(float(random, 0x7ff0 << 48));
    char: |random| char::from_u32(random.below(0x11_0000) as u32).unwrap_or('ü');
    String: |random| if random.below(4) == 0 { String::new() } else { random.text() };
    Cow<'static, str>: |random| Cow::Owned(String::any(random));
    Box<[u8]>: |random| Vec::any(random).into();
    IpAddr: |random| if random.below(2) == 0 { u32::any(random).to_be_bytes().into() } else { u128::any(random).to_be_bytes().into() };
    SocketAddr: |random| (IpAddr::any(random), u16::any(random)).into();
    Duration: |random| Duration::new(u64::any(random), random.below(1_000_000_000) as u32);
    SystemTime: |random| SystemTime::UNIX_EPOCH + Duration::from_nanos(random.next() >> 2);
    NonZeroI16: |random| NonZeroI16::new(i16::any(random)).unwrap_or(NonZeroI16::MIN);
    Range<u64>: |random| u64::any(random)..u64::any(random);
    Bound<i32>: |random| [Bound::Unbounded, Bound::Included(-1), Bound::Excluded(i32::any(random))][random.below(3) as usize];
}

impl Any for () {
    fn any(_: &mut Random) {}
}

/// Of any number of bits.
fn small(random: &mut Random) -> u64 {
    random.next().checked_shr(random.below(65) as u32).unwrap_or(0)
}

/// Numbers, infinities, and those that are none with any payload.
fn float(random: &mut Random, exponent: u64) -> u64 {
    if random.below(3) == 0 { random.next() | exponent } else { random.next() }
}

fn some<T: Any, C: FromIterator<T>>(random: &mut Random) -> C {
    (0..[0, 0, 1, 2, 5][random.below(5) as usize]).map(|_| T::any(random)).collect()
}

macro_rules! any_collections {
    ($([$($bound:tt)*] $type:ty),* $(,)?) => {$(
        impl<T: Any + $($bound)*> Any for $type {
            fn any(random: &mut Random) -> Self {
                some(random)
            }
        }
    )*};
}
any_collections! {
    [Sized] Vec<T>, [Sized] VecDeque<T>, [Ord] BTreeSet<T>, [Eq + std::hash::Hash] HashSet<T>,
}

impl<K: Any + Ord, V: Any> Any for BTreeMap<K, V> {
    fn any(random: &mut Random) -> Self {
        some(random)
    }
}

impl<K: Any + Eq + std::hash::Hash, V: Any> Any for HashMap<K, V> {
    fn any(random: &mut Random) -> Self {
        some(random)
    }
}

impl<T: Any> Any for Option<T> {
    fn any(random: &mut Random) -> Self {
        (random.below(3) > 0).then(|| T::any(random))
    }
}

impl<T: Any, E: Any> Any for Result<T, E> {
    fn any(random: &mut Random) -> Self {
        if random.below(2) == 0 { Ok(T::any(random)) } else { Err(E::any(random)) }
    }
}

impl<T: Any> Any for Box<T> {
    fn any(random: &mut Random) -> Self {
        Self::new(T::any(random))
    }
}

impl<T: Any> Any for Rc<T> {
    fn any(random: &mut Random) -> Self {
        Self::new(T::any(random))
    }
}

impl<T: Any, const N: usize> Any for [T; N] {
    fn any(random: &mut Random) -> Self {
        std::array::from_fn(|_| T::any(random))
    }
}

impl<A: Any, B: Any> Any for (A, B) {
    fn any(random: &mut Random) -> Self {
        (A::any(random), B::any(random))
    }
}

impl<A: Any, B: Any, C: Any> Any for (A, B, C) {
    fn any(random: &mut Random) -> Self {
        (A::any(random), B::any(random), C::any(random))
    }
}

/// Declares a struct, and how random values of it come about.
macro_rules! structs {
    ($($(#[$of_struct:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        $(#[$of_struct])*
        pub(super) struct $name { $($(#[$of_field])* pub(super) $field: $type),* }

        impl Any for $name {
            fn any(random: &mut Random) -> Self {
                let _ = &random;
                Self { $($field: Any::any(random)),* }
            }
        }
    )*};
}

/// Declares enums of the same variants that differ in how they are tagged.
macro_rules! enums {
    ($($name:ident $(#[$tagging:meta])?),* $(,)?) => {$(
        #[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        $(#[$tagging])?
        pub(super) enum $name<T> {
            Unit,
            Other,
            New(Holds<T>),
            Named { of: T, maybe: Option<Option<u8>> },
            Empty {},
        }

        impl<T: Any> Any for $name<T> {
            fn any(random: &mut Random) -> Self {
                match random.below(5) {
                    0 => Self::Unit,
                    1 => Self::Other,
                    2 => Self::New(Any::any(random)),
                    3 => Self::Named { of: T::any(random), maybe: Any::any(random) },
                    _ => Self::Empty {},
                }
            }
        }
    )*};
}
enums! {
    External,
    Internal #[serde(tag = "type")],
    Adjacent #[serde(tag = "type", content = "content")],
    Untagged #[serde(untagged)],
    Renamed #[serde(rename_all = "kebab-case")],
    Closed #[serde(tag = "type", deny_unknown_fields)],
}

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(super) struct Holds<T> {
    held: T,
}

impl<T: Any> Any for Holds<T> {
    fn any(random: &mut Random) -> Self {
        Self { held: Any::any(random) }
    }
}

/// A newtype.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct New<T>(T);

impl<T: Any> Any for New<T> {
    fn any(random: &mut Random) -> Self {
        Self(Any::any(random))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Transparent<T> {
    inside: T,
}

impl<T: Any> Any for Transparent<T> {
    fn any(random: &mut Random) -> Self {
        Self { inside: Any::any(random) }
    }
}

/// A struct with others in its midst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Flat<T> {
    id: u8,
    #[serde(flatten)]
    inner: T,
    #[serde(flatten)]
    others: BTreeMap<String, Option<Option<u8>>>,
}

impl<T: Any> Any for Flat<T> {
    fn any(random: &mut Random) -> Self {
        Self { id: Any::any(random), inner: Any::any(random), others: Any::any(random) }
    }
}

structs! {
    Nothing {}
    #[derive(Eq, Ord, Hash)]
    Key { id: u32, place: Option<Option<(u8, i64)>>, name: String }
    Numbers { a: u8, b: i64, c: u128, d: i128, e: f32, f: f64, g: char, h: bool, i: NonZeroI16 }
    Skips {
        #[serde(default, skip_serializing_if = "Option::is_none")] name: Option<Option<String>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")] numbers: Vec<u32>,
        #[serde(skip)] cached: Unstored,
        last: Option<()>,
    }
    #[serde(default)]
    Seven { #[serde(skip_serializing_if = "is_zero")] of: u64, with: Vec<u8> }
    Deep { value: u16, inner: Option<Box<Shallow>> }
    Shallow { values: Vec<Option<Vec<Option<Numbers>>>>, by_key: BTreeMap<Key, Skips> }
    Times { took: Duration, at: SystemTime, until: Option<Duration> }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What is left out as 0 comes back as 7.
impl Default for Seven {
    fn default() -> Self {
        Self { of: 7, with: Vec::new() }
    }
}

/// What is not stored and does not count.
#[derive(Clone, Default)]
pub(super) struct Unstored;

impl Any for Unstored {
    fn any(_: &mut Random) -> Self {
        Self
    }
}

impl std::fmt::Debug for Unstored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("_")
    }
}

impl PartialEq for Unstored {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl PartialOrd for Unstored {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        Some(std::cmp::Ordering::Equal)
    }
}

/// Bytes, which serde does not take for a sequence of numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bytes(Vec<u8>);

impl Any for Bytes {
    fn any(random: &mut Random) -> Self {
        Self(Any::any(random))
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;
        impl serde::de::Visitor<'_> for OfBytes {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(OfBytes)
    }
}
