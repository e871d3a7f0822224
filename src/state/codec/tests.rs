use std::collections::BTreeMap;
use std::fmt::Debug;

use millstream_actors::contract::{RestoredSection, RestoredState, SnapshotWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::state::{KeyedTable, StateKey, StateSet, ValueState, load_table, write_table};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn text(&mut self) -> String {
        (0..self.below(40)).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

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

fn table<K: StateKey, V>() -> KeyedTable<K, Option<V>> {
    KeyedTable::new(KeyGroupRange { start: 0, end: 16 }, 16)
}

fn contents<K: StateKey + Ord + Clone, V: Clone>(table: &KeyedTable<K, Option<V>>) -> BTreeMap<K, V> {
    let rows = (0..16).flat_map(|group| table.group(group));
    rows.map(|(key, value)| (key.clone(), value.clone().expect("a row with a value"))).collect()
}

fn written<K: StateKey, S: StateSet>(names: &S, table: &KeyedTable<K, S::Row>) -> Vec<RestoredSection> {
    let mut writer = SnapshotWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    writer.set_operator(&"op".into());
    write_table::<K, S>(&"op".into(), &names.names(), table, &mut SectionEncoder::default(), &mut writer).unwrap();
    RestoredState::from_chunks(writer.finish().into_iter().map(|chunk| (chunk.reference.address, chunk.bytes)))
        .take(&"op".into())
}

fn round_trip<K, V>(seed: u64, mut key: impl FnMut(&mut Random) -> K, mut value: impl FnMut(&mut Random) -> V)
where
    K: StateKey + Ord + Clone + Debug,
    V: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + 'static,
{
    let mut random = Random(seed);
    for size in [0, 1, 2, 50, 20_000] {
        let mut before = table();
        for _ in 0..size {
            *before.row_of(key(&mut random)).1.unwrap() = Some(value(&mut random));
        }
        let state = ValueState::<V>::new("v");
        let sections = written(&state, &before);
        let mut after = table();
        load_table::<K, ValueState<V>>(&"op".into(), &state.names(), &mut after, &sections).unwrap();
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

fn section<K: StateKey, V: Serialize + 'static>(entries: &[(K, V)]) -> Vec<u8> {
    let mut encoder = SectionEncoder::default();
    encoder.encode(entries.iter().map(|(key, value)| (key, value))).unwrap();
    encoder.parts().concat()
}

fn read<K: DeserializeOwned + 'static, V: DeserializeOwned + 'static>(
    bytes: &[u8],
) -> Result<Vec<(K, V)>, SectionError> {
    let mut reader = SectionReader::<K, V>::open(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        entries.push(entry);
    }
    Ok(entries)
}

#[test]
fn the_layout_is_as_documented() {
    let columns = section(&[(1u64, (2u64, 3u64))]);
    let mut expected = vec![1, 4, 21, 1, 0, 0, 0, 0, 0, 0, 0];
    [1u64, 2, 3].iter().for_each(|number| expected.extend(number.to_le_bytes()));
    assert_eq!(columns, expected);
    let packed = section(&[("UA".to_owned(), Kind::With { delay: 1 })]);
    assert_eq!(packed[..11], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(packed[11..], *b"\xa2UA\x81\xa4With\x81\xa5delay\x01", "fields are named");
}

#[test]
fn fields_may_be_added_with_defaults() {
    #[derive(Serialize)]
    struct Before {
        count: u64,
        total: u64,
    }
    #[derive(Debug, PartialEq, Deserialize)]
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
    fn cut<K: StateKey, V: Serialize + DeserializeOwned + 'static>(entries: &[(K, V)]) {
        let mut bytes = section(entries);
        for len in 0..bytes.len() {
            assert!(read::<K, V>(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
        }
        bytes.push(0);
        let error = read::<K, V>(&bytes).err().unwrap();
        assert!(error.reason.contains("follow"), "{error:?}");
        assert_eq!(error.version, 1);
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
    assert!(read::<u32, u64>(&bytes).unwrap_err().reason.contains("u32"));
    assert!(read::<u64, String>(&bytes).is_err());
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(read::<u64, u64>(&newer).unwrap_err().version, 2);
    let twice = section(&[(1u64, 2u64), (1, 3)]);
    let error = ValueState::<u64>::decode_column(0, &twice, 0, &mut table::<u64, u64>()).unwrap_err();
    assert!(error.reason.contains("twice"));
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
    let mut table = table();
    let group = table.row_of(5u64).0;
    *table.row_of(5).1.unwrap() = Some(Broken);
    let mut writer = SnapshotWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    let names = ["pen".into()];
    let mut section = SectionEncoder::default();
    let result = write_table::<u64, ValueState<Broken>>(&"op".into(), &names, &table, &mut section, &mut writer);
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("'pen'") && error.contains(&format!("key group {group}:")) && error.contains("ink"),
        "{error}"
    );
}

/// Never a panic; an error or entries. What is read comes from the bytes, so it cannot be more than they hold.
fn read_arbitrary<K: StateKey, V: DeserializeOwned + 'static>(bytes: &[u8]) -> bool {
    let read = read::<K, V>(bytes);
    if let Ok(entries) = &read {
        assert!(entries.len() <= bytes.len());
    }
    read.is_ok()
}

#[test]
fn arbitrary_bytes_give_a_typed_error_or_entries() {
    const SEED: u64 = 20_261_122;
    let mut random = Random(SEED);
    let valid = [
        section(&(0..20).map(|i| (i as u64, i as u64)).collect::<Vec<_>>()),
        section(&(0..20).map(|_| (random.text(), figures(&mut random))).collect::<Vec<_>>()),
        section(&(0..20).map(|i| (i as u32, random.text())).collect::<Vec<_>>()),
    ];
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes: Vec<u8>;
        if random.below(4) == 0 {
            bytes = (0..random.below(200)).map(|_| random.next() as u8).collect();
            if random.below(2) == 0 && bytes.len() > 11 {
                bytes[0] = SECTION_VERSION;
                bytes[1] %= 50;
                bytes[2] %= 50;
                bytes[3..11].copy_from_slice(&random.below(40).to_le_bytes());
            }
        } else {
            bytes = valid[random.below(3) as usize].clone();
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
        let sections = [RestoredSection {
            state: "v".into(),
            scope: millstream_actors::contract::StateScope::KeyGroup(random.below(20) as u32),
            bytes,
        }];
        let loaded = load_table::<String, ValueState<Figures>>(&"op".into(), &["v".into()], &mut table(), &sections);
        if let Err(error) = loaded {
            assert!(matches!(error, StateError::Decode { .. }), "seed {SEED}: {error}");
        }
    }
    assert!(accepted > 0, "some changes are only to values");
}

#[test]
fn a_false_length_does_not_reserve_what_it_claims() {
    // One entry; a key that claims 4 GiB of text, then of array, then of map.
    for marker in [0xdb, 0xc6, 0xdd, 0xdf] {
        let mut bytes = vec![1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, marker];
        bytes.extend([0xff; 8]);
        assert!(read::<String, u64>(&bytes).is_err());
        assert!(read::<Vec<u64>, u64>(&bytes).is_err());
        assert!(read::<BTreeMap<u64, u64>, u64>(&bytes).is_err());
    }
    let mut bytes = vec![1, 4, 4];
    bytes.extend(u64::MAX.to_le_bytes());
    assert!(read::<u64, u64>(&bytes).is_err());
}
