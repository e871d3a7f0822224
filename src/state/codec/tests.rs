use std::collections::BTreeMap;
use std::fmt::Debug;

use millstream_actors::contract::{GroupLoader, RestoredSection, SnapshotStore, StateError, StateScope};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::piece::{HEADER_BYTES, SECTION_VERSION};
use super::*;
use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Random, Subtask, change, manifest, operator};
use crate::state::{KeySchema, KeyedTable, StateKey, TableLoader, ValueState, group_of_key};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Figures {
    flights: u64,
    mean: Option<f64>,
    names: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    With { delay: i32 },
    Of(u8, String),
}

fn figures(random: &mut Random) -> Figures {
    Figures {
        flights: random.next() >> random.below(64),
        mean: (random.below(2) == 0).then(|| random.next() as f64 / 3.0),
        names: (0..random.below(4)).map(|_| random.text()).collect(),
        kind: match random.below(3) {
            0 => Kind::Plain,
            1 => Kind::With { delay: random.next() as i32 },
            _ => Kind::Of(random.next() as u8, random.text()),
        },
    }
}

fn subtask<K: StateKey, V: Serialize + DeserializeOwned + Send + 'static>() -> Subtask<K, ValueState<V>> {
    Subtask::new(ValueState::new("v"), KeyGroupRange { start: 0, end: 16 }, 16)
}

fn contents<K, V>(subtask: &Subtask<K, ValueState<V>>) -> BTreeMap<K, V>
where
    K: StateKey + Ord + Clone,
    V: Serialize + DeserializeOwned + Clone + Send + 'static,
{
    let rows = (0..16).flat_map(|group| subtask.table.group(group));
    rows.map(|(key, slot)| (key.clone(), slot.value().cloned().expect("a row with a value"))).collect()
}

fn round_trip<K, V>(seed: u64, mut key: impl FnMut(&mut Random) -> K, mut value: impl FnMut(&mut Random) -> V)
where
    K: StateKey + Ord + Clone + Debug,
    V: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + 'static,
{
    let mut random = Random(seed);
    for size in [0, 1, 2, 50, 20_000] {
        let store = MemoryStore::new();
        store.open_job("job", Incarnation(1)).unwrap();
        let mut before = subtask();
        for _ in 0..size {
            let (key, value) = (key(&mut random), value(&mut random));
            change(&mut before.table, &key, |mut handle| handle.set(value));
        }
        let written = before.snapshot(&store, 1, 0).unwrap();
        let mut after = subtask();
        after.restore(&store, &manifest(1, vec![written], None), ValueState::new("v")).unwrap();
        assert_eq!(contents(&after), contents(&before), "seed {seed}, {size} entries");
    }
}

#[test]
fn random_tables_come_back_as_they_were() {
    round_trip(1, |random| random.next(), |random| random.next());
    round_trip(2, |random| random.next() as u32, |random| (random.next(), random.next()));
    round_trip(3, |random| random.text(), figures);
    round_trip(4, |random| (random.text(), random.next() as u16), |random| random.next() as f64);
    round_trip(5, |random| (random.next() as i64, random.next()), |random| random.text());
    round_trip(6, |random| random.next() as u8, |random| random.below(2) == 0);
    round_trip(7, |random| random.next() as i8, |_| ());
}

fn section<K: StateKey, V: Serialize + DeserializeOwned + 'static>(entries: &[(K, V)]) -> Vec<u8> {
    section_in(PieceBuffer::default(), entries)
}

/// With packed entries, if keys and values are of fixed width.
fn packed_section<K: StateKey, V: Serialize + DeserializeOwned + 'static>(entries: &[(K, V)]) -> Vec<u8> {
    section_in(PieceBuffer::packed(Packing::of(encoding_of::<K>(), encoding_of::<V>())), entries)
}

fn section_in<K: StateKey, V: Serialize + DeserializeOwned + 'static>(
    mut piece: PieceBuffer,
    entries: &[(K, V)],
) -> Vec<u8> {
    for (key, value) in entries {
        piece.entry(key, |bytes| put(value, bytes).map(|()| Written::Live)).unwrap();
    }
    piece.close::<K>(1, StateFormat { values: encoding_of::<V>(), version: 1 }, None)
}

/// The entries of a section in group order, by the loader of a table.
fn read<K, V>(bytes: &[u8]) -> Result<Vec<(K, V)>, StateError>
where
    K: StateKey + Clone,
    V: Serialize + DeserializeOwned + Clone + Send + 'static,
{
    let range = KeyGroupRange { start: 0, end: 1 };
    let mut loader = TableLoader::<K, _>::new(operator(), ValueState::<V>::new("v"), KeySchema::default(), range, 1);
    let (state, scope) = ("v".into(), StateScope::KeyGroup(0));
    let section =
        RestoredSection { state, scope, checkpoint: CheckpointId(1), is_renamed: false, bytes: bytes.to_vec() };
    let mut table = KeyedTable::<K, ValueState<V>>::new(ValueState::new("v"), range, 1);
    table.restore_group(loader.load(0, &[section])?);
    Ok(table.group(0).map(|(key, slot)| (key.clone(), slot.value().cloned().expect("a value"))).collect())
}

fn reason<T>(result: Result<T, StateError>) -> (u32, String) {
    match result {
        Err(StateError::Decode { version, reason, .. }) => (version, reason),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was read"),
    }
}

#[test]
fn the_layout_is_as_documented() {
    let rows = section(&[(1u64, (2u64, 3u64))]);
    let mut expected = vec![1, 0, 4, 21, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    [1u64, 2, 3].iter().for_each(|number| expected.extend(number.to_le_bytes()));
    assert_eq!(rows, expected);
    let packed = section(&[("UA".to_owned(), Kind::With { delay: 1 })]);
    assert_eq!(packed[..4], [1, 0, 0, 0]);
    assert_eq!(packed[24..], *b"\xa2UA\x81\xa4With\x81\xa5delay\x01", "fields are named");
    let mut piece = PieceBuffer::default();
    piece.entry(&7u8, |_| Ok(Written::Dead)).unwrap();
    piece.entry(&8u8, |_| Ok(Written::Nothing)).unwrap();
    piece.entry(&9u8, |bytes| put(&1u8, bytes).map(|()| Written::Live)).unwrap();
    let delta = piece.close::<u8>(1, StateFormat { values: encoding_of::<u8>(), version: 3 }, Some(CheckpointId(258)));
    assert_eq!(delta, [1, 1, 1, 1, 3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 1, 7]);
}

#[test]
fn packed_entries_are_as_documented_and_removed_keys_are_not_packed() {
    let mut piece = PieceBuffer::packed(Packing::of(encoding_of::<u64>(), encoding_of::<(u64, i64)>()));
    for (key, value) in [(7u64, (300u64, -1i64)), (9, (5, 2))] {
        piece.entry(&key, |bytes| put(&value, bytes).map(|()| Written::Live)).unwrap();
    }
    piece.entry(&258u64, |_| Ok(Written::Dead)).unwrap();
    let format = StateFormat { values: encoding_of::<(u64, i64)>(), version: 1 };
    let delta = piece.close::<u64>(1, format, Some(CheckpointId(6)));
    let head = [1, 3, 4, 26, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(delta[..24], head);
    assert_eq!(delta[24..], [2, 0, 1, 2, 1, 7, 0x2c, 1, 1, 9, 5, 0, 4, 2, 1, 0, 0, 0, 0, 0, 0]);
    let unpacked = plain(&delta).unwrap();
    assert_eq!(unpacked[..2], [1, 1]);
    assert_eq!(unpacked.len(), 24 + 2 * 24 + 8);
    assert_eq!(plain(&unpacked).unwrap(), unpacked);
}

#[test]
fn fields_may_be_added_with_defaults() {
    #[derive(Serialize, Deserialize)]
    struct Before {
        count: u64,
        total: u64,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        count: u64,
        #[serde(default)]
        max: u64,
        #[serde(default)]
        total: u64,
    }
    let bytes = section(&[("k".to_owned(), Before { count: 17, total: 60 })]);
    let after = read::<String, After>(&bytes).unwrap();
    assert_eq!(after[0].1, After { count: 17, max: 0, total: 60 });
}

#[test]
fn every_cut_and_every_trailing_byte_is_an_error() {
    fn cut<K, V>(entries: &[(K, V)])
    where
        K: StateKey + Clone,
        V: Serialize + DeserializeOwned + Clone + Send + 'static,
    {
        for mut bytes in [section(entries), packed_section(entries)] {
            for len in 1..bytes.len() {
                assert!(read::<K, V>(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
            }
            bytes.push(0);
            assert!(reason(read::<K, V>(&bytes)).1.contains("cut short"));
        }
    }
    cut(&[(1u64, 2u64), (3, 4)]);
    cut(&[("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())]);
    cut(&[("a".to_owned(), 7u32)]);
    cut(&[(7u32, "a".to_owned())]);
    cut::<u64, u64>(&[]);
    cut::<u64, String>(&[]);
}

#[test]
fn another_type_another_version_and_a_key_twice_are_errors() {
    let bytes = section(&[(1u64, 2u64)]);
    assert!(reason(read::<u32, u64>(&bytes)).1.contains("u32"));
    assert!(read::<u64, String>(&bytes).is_err());
    let mut newer = bytes.clone();
    newer[0] = 2;
    let (_, words) = reason(read::<u64, u64>(&newer));
    assert_eq!(
        words,
        format!("it is stored in a layout that is newer than what this version knows (section version 2); {NEWER}")
    );
    let mut none = bytes.clone();
    none[0] = 0;
    assert_eq!(reason(read::<u64, u64>(&none)).1, "there is no such layout (section version 0)");
    assert!(fixed::described(Encoding(119)).ends_with("(encoding 119)"));
    for (place, what) in [(2, "its keys"), (3, "its values")] {
        let mut unknown = bytes.clone();
        unknown[place] = 119;
        let (_, words) = reason(read::<u64, u64>(&unknown));
        assert_eq!(words, format!("{what} have a form that this version does not know (encoding 119); {NEWER}"));
    }
    let twice = section(&[(1u64, 2u64), (1, 3)]);
    assert!(reason(read::<u64, u64>(&twice)).1.contains("twice"));
    let (plain, packed) = (section(&[(1u64, 2u64)]), packed_section(&[(3u64, 4u64)]));
    assert_eq!(read::<u64, u64>(&[&*packed, &*packed_section(&[(1u64, 2u64)])].concat()).unwrap().len(), 2);
    assert!(reason(read::<u64, u64>(&[&*plain, &*packed].concat())).1.contains("packed"));
    assert!(reason(read::<u64, u64>(&[&*packed, &*plain].concat())).1.contains("packed"));
    assert!(reason(read::<u64, u32>(&packed)).1.contains("u32"));
}

#[test]
fn changes_without_what_they_build_on_are_an_error() {
    let section = |checkpoint, base: Option<u64>, value: u64| {
        let mut piece = PieceBuffer::default();
        piece.entry(&1u64, |bytes| put(&value, bytes).map(|()| Written::Live)).unwrap();
        let format = StateFormat { values: encoding_of::<u64>(), version: 1 };
        let bytes = piece.close::<u64>(1, format, base.map(CheckpointId));
        let (state, scope) = ("v".into(), StateScope::KeyGroup(0));
        RestoredSection { state, scope, checkpoint: CheckpointId(checkpoint), is_renamed: false, bytes }
    };
    let range = KeyGroupRange { start: 0, end: 1 };
    let load = |sections: &[RestoredSection]| {
        let mut loader =
            TableLoader::<u64, _>::new(operator(), ValueState::<u64>::new("v"), KeySchema::default(), range, 1);
        loader.load(0, sections).map(|group| group.entries)
    };
    let (whole, second, third) = (section(3, None, 1), section(5, Some(4), 2), section(9, Some(5), 3));
    assert_eq!(load(&[whole.clone(), second.clone(), third.clone()]).unwrap(), 1);
    assert!(reason(load(std::slice::from_ref(&second))).1.contains("read was nothing"));
    assert!(reason(load(&[whole.clone(), section(9, Some(2), 3)])).1.contains("over checkpoint 2"));
    assert!(reason(load(&[whole.clone(), second.clone(), section(9, Some(4), 3)])).1.contains("read was checkpoint 5"));
    assert!(load(&[whole.clone(), whole]).is_err(), "two whole sections");
}

#[test]
fn a_value_that_cannot_be_written_names_state_and_group() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("out of ink"))
        }
    }
    impl<'de> Deserialize<'de> for Broken {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    let mut subtask = Subtask::new(ValueState::new("pen"), KeyGroupRange { start: 0, end: 16 }, 16);
    change(&mut subtask.table, &5u64, |mut pen| pen.set(Broken));
    let error = subtask.snapshot(&store, 1, 0).unwrap_err().to_string();
    let group = group_of_key(&5u64, 16);
    assert!(
        error.contains("'pen'") && error.contains(&format!("key group {group}:")) && error.contains("ink"),
        "{error}"
    );
    change(&mut subtask.table, &5u64, |mut pen| pen.clear());
    subtask.snapshot(&store, 2, 0).unwrap();
}

/// Never a panic; an error or entries. What is read comes from the bytes, so it cannot be more than they hold.
fn read_arbitrary<K, V>(bytes: &[u8]) -> bool
where
    K: StateKey + Clone,
    V: Serialize + DeserializeOwned + Clone + Send + 'static,
{
    match read::<K, V>(bytes) {
        Ok(entries) => assert!(entries.len() <= bytes.len()),
        Err(StateError::Decode { .. }) => return false,
        Err(other) => panic!("{other}"),
    }
    true
}

#[test]
fn arbitrary_bytes_give_a_typed_error_or_entries() {
    const SEED: u64 = 20_261_122;
    let mut random = Random(SEED);
    let valid = [
        section(&(0..20).map(|i| (i as u64, i as u64)).collect::<Vec<_>>()),
        section(&(0..20).map(|_| (random.text(), figures(&mut random))).collect::<Vec<_>>()),
        section(&(0..20).map(|i| (i as u32, random.text())).collect::<Vec<_>>()),
        packed_section(&(0..20).map(|i| (1 << i, i as u64)).collect::<Vec<_>>()),
    ];
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes: Vec<u8>;
        if random.below(4) == 0 {
            bytes = (0..random.below(200)).map(|_| random.next() as u8).collect();
            if random.below(2) == 0 && bytes.len() > HEADER_BYTES {
                bytes[0] = SECTION_VERSION;
                bytes[1] %= 4;
                bytes[2] %= 50;
                bytes[3] %= 50;
                bytes[8..16].fill(0);
                bytes[16..20].copy_from_slice(&(random.below(40) as u32).to_le_bytes());
                bytes[20..24].fill(0);
            }
        } else {
            bytes = valid[random.below(4) as usize].clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
        }
        accepted += usize::from(read_arbitrary::<u64, u64>(&bytes));
        accepted += usize::from(read_arbitrary::<String, Figures>(&bytes));
        accepted += usize::from(read_arbitrary::<u32, String>(&bytes));
        accepted += usize::from(read_arbitrary::<(u64, u64), bool>(&bytes));
    }
    assert!(accepted > 0, "some changes are only to values");
}

#[test]
fn a_false_length_does_not_reserve_what_it_claims() {
    // One entry; a key that claims 4 GiB of text, then of array, then of map.
    for marker in [0xdb, 0xc6, 0xdd, 0xdf] {
        let mut bytes = section(&[("a".to_owned(), 1u64)]);
        bytes.truncate(HEADER_BYTES);
        bytes.push(marker);
        bytes.extend([0xff; 8]);
        assert!(read::<String, u64>(&bytes).is_err());
        assert!(read::<Vec<u64>, u64>(&bytes).is_err());
        assert!(read::<BTreeMap<u64, u64>, u64>(&bytes).is_err());
    }
    let mut bytes = section(&[(1u64, 1u64)]);
    bytes[16..20].fill(0xff);
    assert!(reason(read::<u64, u64>(&bytes)).1.contains("cannot be in"));
}
