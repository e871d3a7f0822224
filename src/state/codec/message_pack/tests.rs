use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

fn put<T: Serialize>(value: &T, names: Names, bytes: &mut Vec<u8>) -> Result<(), String> {
    super::put(value, names, &mut Shapes::default(), bytes)
}

fn written<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(value, Names::Written, &mut bytes).unwrap();
    bytes
}

/// Comes back, with and without names.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    for names in [Names::Written, Names::LeftOut] {
        let mut bytes = vec![7];
        put(&value, names, &mut bytes).unwrap();
        bytes.push(9);
        let mut rest = &bytes[1..];
        assert_eq!(take::<T>(&mut rest).as_ref(), Ok(&value), "{bytes:02x?}");
        assert_eq!(rest, [9], "{value:?}");
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Every {
    number: i64,
    wide: u128,
    maybe: Option<Option<String>>,
    unit: (),
    pair: (u8, f32),
    kinds: Vec<Kind>,
    by_number: BTreeMap<u32, Option<()>>,
    inner: Option<Box<Every>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    New(Option<Option<u8>>),
    Pair(char, IpAddr),
    Named { id: Wrapped },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Option<u64>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    id: u8,
    #[serde(flatten)]
    others: BTreeMap<String, Vec<Option<Option<u8>>>>,
}

fn every() -> Every {
    let kinds = vec![
        Kind::Plain,
        Kind::New(None),
        Kind::New(Some(None)),
        Kind::Pair('ü', "::1".parse().unwrap()),
        Kind::Named { id: Wrapped(Some(1 << 40)) },
    ];
    Every {
        number: -70_000,
        wide: u128::MAX - 5,
        maybe: Some(Some("x".repeat(300))),
        pair: (200, 0.1),
        kinds,
        by_number: (0..20).map(|n| (n << 13, (n % 2 == 0).then_some(()))).collect(),
        inner: Some(Box::default()),
        unit: (),
    }
}

#[test]
fn options_of_options_are_told_apart() {
    type Three = Option<Option<Option<u8>>>;
    let all: [Three; 4] = [None, Some(None), Some(Some(None)), Some(Some(Some(3)))];
    all.into_iter().for_each(comes_back);
    assert_eq!(all.map(|value| written(&value)), [vec![0xc0], vec![0xd4, 83, 1], vec![0xd4, 83, 2], vec![3]]);
    // A newtype between them hides none; what has bytes of its own needs no count.
    [None, Some(Wrapped(None)), Some(Wrapped(Some(1)))].into_iter().for_each(comes_back);
    [None, Some(())].into_iter().for_each(comes_back);
    [None, Some(Kind::New(Some(None)))].into_iter().for_each(comes_back);
    comes_back(vec![(Some(None::<u8>), None), (None, Some(Some(())))]);
    comes_back(HashMap::from([(None, 0), (Some(None), 1), (Some(Some("a".to_owned())), 2)]));
}

#[test]
fn everything_else_is_written_as_rmp_serde_does() {
    let value = Every { maybe: None, by_number: (0..70_000).map(|n| (n, None)).collect(), ..every() };
    let value =
        Every { kinds: value.kinds.into_iter().filter(|kind| *kind != Kind::New(Some(None))).collect(), ..value };
    let flat = Flattened { id: 7, others: (0..40).map(|n| (n.to_string(), vec![Some(Some(n)), None])).collect() };
    let value = (value, flat, "text", b"bytes", IpAddr::from([1, 2, 3, 4]));
    for (names, others) in [(Names::Written, true), (Names::LeftOut, false)] {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        put(&value, names, &mut bytes).unwrap();
        if others {
            rmp_serde::encode::write_named(&mut expected, &value).unwrap();
        } else {
            rmp_serde::encode::write(&mut expected, &value).unwrap();
        }
        assert!(bytes == expected, "{names:?}");
    }
    comes_back(every());
    comes_back(Flattened { id: 1, others: [("a".to_owned(), vec![None, Some(None), Some(Some(1))])].into() });
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    kids: Vec<Tree>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Leaf(Option<Option<u8>>),
    Branch { inner: Box<Untagged> },
}

/// As deep as it is written, on a thread with half the stack of those that read state.
fn deepest<T>(leaf: T, over: impl Fn(T) -> T + Send + 'static) -> usize
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + Clone + Send + 'static,
{
    let run = move || {
        let mut value = leaf;
        for levels in 0.. {
            let mut bytes = Vec::new();
            if let Err(reason) = put(&value, Names::Written, &mut bytes) {
                assert!(reason.contains("nested deeper than"), "{reason}");
                return levels;
            }
            assert_eq!(take::<T>(&mut &*bytes).as_ref(), Ok(&value), "{levels} levels");
            value = over(value);
        }
        unreachable!("there is a limit")
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

#[test]
fn what_is_nested_too_deeply_is_refused_when_it_is_written_and_all_else_is_read() {
    let limit = DEPTH_MAX as usize;
    assert_eq!(deepest(Chain(None), |chain| Chain(Some(Box::new(chain)))), limit / 2);
    assert_eq!(deepest(Tree { kids: Vec::new() }, |tree| Tree { kids: vec![tree] }), limit / 2);
    let leaf = Untagged::Leaf(Some(None));
    assert_eq!(deepest(leaf, |inner| Untagged::Branch { inner: Box::new(inner) }), limit);
    let too_deep = [vec![0x91; limit + 1], vec![0xc0]].concat();
    let reason = take::<serde::de::IgnoredAny>(&mut &*too_deep).unwrap_err();
    assert!(reason.contains("nested deeper than"), "{reason}");
}

#[test]
fn a_serializer_that_miscounts_is_refused() {
    struct Lies;
    impl Serialize for Lies {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = serializer.serialize_seq(Some(3))?;
            seq.serialize_element(&1)?;
            seq.end()
        }
    }
    let reason = put(&Lies, Names::Written, &mut Vec::new()).unwrap_err();
    assert!(reason.contains("3 parts follow, and wrote 1"), "{reason}");
}
