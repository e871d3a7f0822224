//! Random values of types of every kind: either the same comes back, or it is refused when it is written.

use std::any::type_name;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Bound, Range};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::zoo::*;
use crate::state::codec::{put, put_compact, take};
use crate::state::test_kit::Random;

const SEED: u64 = 20_261_129;

/// What has become of a type's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    AllWritten,
    SomeRefused,
}

/// Writes values of a type, and reads what was written. `shown` shows them, so that two that are shown alike are one.
fn fate<T, S>(put: fn(&T, &mut Vec<u8>) -> Result<(), String>, shown: fn(&T) -> S) -> Fate
where
    T: Any + Serialize + DeserializeOwned + 'static,
    S: PartialEq + Debug,
{
    let mut random = Random(SEED);
    let mut fate = Fate::AllWritten;
    for _ in 0..300 {
        let value = T::any(&mut random);
        let mut bytes = vec![7];
        if put(&value, &mut bytes).is_err() {
            fate = Fate::SomeRefused;
            continue;
        }
        bytes.push(9);
        let mut rest = &bytes[1..];
        let back = take::<T>(&mut rest).map(|back| shown(&back));
        assert_eq!(back, Ok(shown(&value)), "seed {SEED}, {}: {bytes:02x?}", type_name::<T>());
        assert_eq!(rest, [9], "seed {SEED}, {}: {bytes:02x?}", type_name::<T>());
    }
    fate
}

fn debug<T: Debug>(value: &T) -> String {
    format!("{value:?}")
}

/// Of each of these types, with names and without them.
macro_rules! assert_fates {
    ($($type:ty: $named:ident, $compact:ident);* $(;)?) => {
        let mut wrong = Vec::new();
        $(
            let (named, compact) = (fate::<$type, _>(put, debug), fate::<$type, _>(put_compact, debug));
            if (named, compact) != (Fate::$named, Fate::$compact) {
                wrong.push(format!("{}: {named:?}, {compact:?}", stringify!($type)));
            }
        )*
        assert!(wrong.is_empty(), "{wrong:#?}");
    };
}

#[test]
fn values_of_every_kind_of_type_come_back() {
    type Pair<T> = (T, Option<T>);
    assert_fates! {
        String: AllWritten, AllWritten;
        u128: AllWritten, AllWritten;
        (u128, i128): AllWritten, AllWritten;
        Vec<f32>: AllWritten, AllWritten;
        Option<Option<Option<u8>>>: AllWritten, AllWritten;
        Option<Option<()>>: AllWritten, AllWritten;
        Option<New<Option<New<Option<String>>>>>: AllWritten, AllWritten;
        Vec<Option<Vec<Option<Option<char>>>>>: AllWritten, AllWritten;
        Pair<Rc<Box<[u8]>>>: AllWritten, AllWritten;
        VecDeque<[Option<bool>; 3]>: AllWritten, AllWritten;
        BTreeMap<Key, Key>: AllWritten, AllWritten;
        BTreeMap<Option<Option<u8>>, Bytes>: AllWritten, AllWritten;
        BTreeMap<(), u8>: AllWritten, AllWritten;
        BTreeMap<Vec<(char, i8)>, BTreeMap<bool, Option<()>>>: AllWritten, AllWritten;
        BTreeSet<Option<New<String>>>: AllWritten, AllWritten;
        Cow<'static, str>: AllWritten, AllWritten;
        Result<Option<Cow<'static, str>>, Bytes>: AllWritten, AllWritten;
        IpAddr: AllWritten, AllWritten;
        Vec<SocketAddr>: AllWritten, AllWritten;
        Option<Duration>: AllWritten, AllWritten;
        (SystemTime, Range<u64>, Bound<i32>): AllWritten, AllWritten;
        Nothing: AllWritten, AllWritten;
        Numbers: AllWritten, AllWritten;
        Times: AllWritten, AllWritten;
        Transparent<Option<Option<Numbers>>>: AllWritten, AllWritten;
        External<IpAddr>: AllWritten, AllWritten;
        Vec<External<Vec<Option<Option<u8>>>>>: AllWritten, AllWritten;
        Renamed<External<u16>>: AllWritten, AllWritten;
        Adjacent<u64>: AllWritten, SomeRefused;
        Adjacent<IpAddr>: AllWritten, SomeRefused;
        Skips: AllWritten, SomeRefused;
        Deep: AllWritten, SomeRefused;
    }
}

#[test]
fn values_that_serde_cannot_restore_are_refused_and_others_of_their_type_are_not() {
    assert_fates! {
        Seven: SomeRefused, SomeRefused;
        Internal<IpAddr>: SomeRefused, SomeRefused;
        Internal<u64>: AllWritten, AllWritten;
        Closed<u64>: AllWritten, AllWritten;
        Flat<Internal<u64>>: SomeRefused, SomeRefused;
        Flat<Internal<IpAddr>>: SomeRefused, SomeRefused;
        Flat<Adjacent<f32>>: AllWritten, SomeRefused;
        Flat<External<u64>>: AllWritten, AllWritten;
        Flat<Numbers>: SomeRefused, SomeRefused;
        Flat<Skips>: AllWritten, AllWritten;
        Flat<Key>: SomeRefused, SomeRefused;
    }
}

#[test]
fn untagged_values_come_back_as_what_they_say_to_serde_or_are_refused() {
    // Two unit variants are one nil to serde, and so to JSON.
    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }
    // Without names its structs are taken for each other.
    assert_eq!(fate::<Untagged<u64>, _>(put, json), Fate::AllWritten);
    assert_eq!(fate::<Untagged<u64>, _>(put_compact, json), Fate::SomeRefused);
    for put in [put, put_compact] {
        assert_eq!(fate::<Untagged<IpAddr>, _>(put, json), Fate::SomeRefused);
    }
}

#[test]
fn collections_without_an_order_come_back_whatever_theirs_is() {
    fn itself<T: Clone>(value: &T) -> T {
        value.clone()
    }
    for put in [put, put_compact] {
        assert_eq!(fate::<HashMap<Key, Option<Option<u8>>>, _>(put, itself), Fate::AllWritten);
    }
    for put in [put, put_compact] {
        assert_eq!(fate::<HashSet<Vec<Option<New<String>>>>, _>(put, itself), Fate::AllWritten);
    }
}

#[test]
fn floats_come_back_with_all_their_bits() {
    let bits = |floats: &Vec<(f32, Option<f64>)>| {
        floats.iter().map(|(a, b)| (a.to_bits(), b.map(f64::to_bits))).collect::<Vec<_>>()
    };
    assert_eq!(fate(put, bits), Fate::AllWritten);
}
