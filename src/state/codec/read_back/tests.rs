use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::FIRST_BYTES;
use crate::state::codec::{put, put_compact, put_key, put_map_key, take};

fn written<T: Serialize + serde::de::DeserializeOwned + 'static>(value: &T) -> Result<(), String> {
    put(value, &mut Vec::new())
}

fn refused<T: Serialize + serde::de::DeserializeOwned + 'static>(value: &T, why: &str) {
    let reason = written(value).expect_err("it does not read back");
    assert!(reason.contains(why), "{reason}");
    assert!(reason.contains("change how it is serialized"), "what to do: {reason}");
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    Login { ip: IpAddr },
    None,
}

#[test]
fn what_serde_cannot_read_from_a_binary_format_is_refused_at_its_first_variant() {
    written(&Event::None).unwrap();
    for _ in 0..2 {
        refused(&Event::Login { ip: [1, 2, 3, 4].into() }, "Event does not read back");
    }
    // Wherever it is.
    refused(&vec![Event::None, Event::Login { ip: [1, 2, 3, 4].into() }], "Vec");
    refused(&BTreeMap::from([(1, (Some(Event::Login { ip: [1, 2, 3, 4].into() }), 2))]), "BTreeMap");
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Size {
    Small(u8),
    Large(u64),
}

#[test]
fn a_value_that_is_taken_for_another_variant_is_refused() {
    written(&Size::Small(5)).unwrap();
    written(&Size::Large(1 << 40)).unwrap();
    refused(&Size::Large(5), "another value");
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Skipping {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    id: u64,
    #[serde(skip)]
    cached: u64,
}

#[test]
fn skipped_fields_are_as_serde_defines_them_in_values_and_count_in_keys() {
    let [plain, named] = [None, Some("x".to_owned())].map(|name| Skipping { id: 1, cached: 0, name });
    let cached = Skipping { cached: 7, ..plain.clone() };
    for value in [&plain, &named, &cached] {
        written(value).unwrap();
    }
    for put_key in [put_key::<Skipping>, put_map_key::<Skipping>] {
        put_key(&plain, &mut Vec::new()).unwrap();
        put_key(&named, &mut Vec::new()).unwrap();
        let reason = put_key(&cached, &mut Vec::new()).unwrap_err();
        assert!(reason.contains("reads back as another key") && reason.contains("skipped"), "{reason}");
    }
    put_compact(&named, &mut Vec::new()).unwrap();
    let reason = put_compact(&plain, &mut Vec::new()).unwrap_err();
    assert!(reason.contains("does not read back"), "without names a skipped field is missing: {reason}");
}

#[test]
fn collections_without_an_order_come_back_in_any() {
    written(&(0..500).map(|n| (n.to_string(), vec![n])).collect::<HashMap<_, _>>()).unwrap();
    written(&(0..500).map(Some).collect::<HashSet<Option<u32>>>()).unwrap();
    #[derive(PartialEq, Eq, Serialize, Deserialize)]
    struct Key(HashMap<u32, u32>);
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.len().hash(state);
        }
    }
    put_key(&Key((0..500).map(|n| (n, n)).collect()), &mut Vec::new()).unwrap();
}

/// Loses what is above 100.
#[derive(Debug)]
struct Capped(u64);

impl Serialize for Capped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Capped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|n| Self(n.min(100)))
    }
}

#[test]
fn values_of_known_shapes_are_read_back_by_sample_and_all_after_one_was_refused() {
    let of = |n| (Capped(n), "x".repeat(100));
    let each = 104;
    for _ in 0..=FIRST_BYTES / each {
        written(&of(1)).unwrap();
    }
    let mut let_by = 0;
    while written(&of(200)).is_ok() {
        let_by += 1;
        assert!(let_by < 2_000, "never looked at");
    }
    assert!(let_by > 10, "all are looked at");
    for _ in 0..100 {
        refused(&of(200), "another value");
    }
    written(&of(1)).unwrap();
}

/// Its serializer writes others of its kind by the same way.
struct Nested(u8);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 > 0 {
            put(&Self(self.0 - 1), &mut Vec::new()).map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(Self)
    }
}

#[test]
fn a_serializer_that_writes_its_own_type_is_served() {
    written(&Nested(3)).unwrap();
}

#[test]
fn a_serializer_that_fails_or_changes_its_mind_is_refused() {
    thread_local! {
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }
    #[derive(Deserialize)]
    struct Fickle;
    impl Serialize for Fickle {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            CALLS.set(CALLS.get() + 1);
            if CALLS.get() > 1 { Err(serde::ser::Error::custom("not again")) } else { serializer.serialize_unit() }
        }
    }
    assert_eq!(written(&Fickle), Err("not again".to_owned()));
}

#[test]
fn what_was_refused_may_be_removed_and_the_rest_reads_on() {
    let mut bytes = Vec::new();
    put(&Event::None, &mut bytes).unwrap();
    let kept = bytes.len();
    put(&Event::Login { ip: [1, 2, 3, 4].into() }, &mut bytes).unwrap_err();
    bytes.truncate(kept);
    put(&Event::None, &mut bytes).unwrap();
    let mut rest = &*bytes;
    for _ in 0..2 {
        assert!(matches!(take(&mut rest), Ok(Event::None)));
    }
    assert!(rest.is_empty());
}
