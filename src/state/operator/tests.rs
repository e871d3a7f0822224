use std::collections::BTreeMap;
use std::fmt::Debug;

use millstream_actors::contract::SectionWriter;
use millstream_actors::protocol::CheckpointId;
use serde::{Deserialize, Serialize};

use super::*;

fn written<S: OperatorState>(state: &S, held: &S::Held) -> Vec<u8> {
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    writer.subtask(state.name());
    state.write(held, &mut writer).unwrap();
    writer.finish().0.into_iter().flat_map(|chunk| chunk.bytes).collect()
}

/// What each of `parallelism` subtasks has after a restore of what was `held`.
fn rescaled<S: OperatorState>(state: &S, held: &[S::Held], parallelism: u32) -> Vec<S::Held> {
    let sections: Vec<Vec<u8>> = held.iter().map(|held| written(state, held)).collect();
    loaded(state, &sections, parallelism)
}

/// Lists of these lengths, whose items are numbered through.
fn lists(lens: &[usize]) -> Vec<Vec<u32>> {
    let mut next = 0..;
    lens.iter().map(|len| next.by_ref().take(*len).collect()).collect()
}

#[test]
fn same_parallelism_gives_each_subtask_its_own_list_however_uneven() {
    let state = OperatorListState::<u32>::new("items");
    for lens in [&[5, 0, 1][..], &[0, 0], &[70_000, 3], &[2]] {
        let lists = lists(lens);
        assert_eq!(rescaled(&state, &lists, lens.len() as u32), lists);
    }
}

#[test]
fn other_parallelism_splits_the_joined_lists_evenly_and_in_order() {
    let state = OperatorListState::<u32>::new("items");
    for lens in [&[5, 0, 1][..], &[0, 0], &[20, 3, 0, 9], &[2], &[0, 70_000]] {
        let joined = lists(lens).concat();
        for parallelism in (1..9).filter(|parallelism| *parallelism as usize != lens.len()) {
            let parts = rescaled(&state, &lists(lens), parallelism);
            assert_eq!(parts.concat(), joined, "{lens:?} -> {parallelism}");
            let lens: Vec<usize> = parts.iter().map(Vec::len).collect();
            assert!(lens.is_sorted_by(|a, b| a >= b) && lens[0] - lens[lens.len() - 1] <= 1, "{lens:?}");
        }
    }
}

#[test]
fn lists_that_go_through_several_parallelisms_keep_all_items_in_order() {
    let state = OperatorListState::<u32>::new("items");
    let mut parts = lists(&[23]);
    for parallelism in [3, 2, 4, 4, 1] {
        parts = rescaled(&state, &parts, parallelism);
    }
    assert_eq!(parts, lists(&[23]));
}

#[test]
fn broadcast_state_goes_to_every_subtask_its_own_copy_first() {
    let state = BroadcastState::<String, u32>::new("rules");
    let copy = |n: u32| BTreeMap::from([("same".to_owned(), 0), (format!("copy {n}"), n)]);
    let copies: Vec<_> = (0..3).map(copy).collect();
    assert_eq!(rescaled(&state, &copies, 3), copies);
    assert_eq!(rescaled(&state, &copies, 2), copies[..2]);
    assert_eq!(rescaled(&state, &copies, 7), [0, 1, 2, 0, 1, 2, 0].map(copy));
    assert_eq!(rescaled(&state, &[BTreeMap::new()], 2), [BTreeMap::new(), BTreeMap::new()]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    id: u64,
    gone: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct New {
    #[serde(default)]
    added: Option<u8>,
    id: u64,
}

#[test]
fn structs_are_stored_by_field_name_so_that_fields_may_come_and_go() {
    let old = vec![Old { id: 7, gone: "x".to_owned() }; 2];
    let bytes = written(&OperatorListState::<Old>::new("s"), &old);
    let mut held = Vec::new();
    let copies = [StoredCopy { subtask: 0, bytes: &bytes }];
    let share = Share { subtask: 0, parallelism: 1 };
    OperatorState::load(&OperatorListState::<New>::new("s"), &mut held, &copies, share).unwrap();
    assert_eq!(held, vec![New { added: None, id: 7 }; 2]);
}

#[test]
fn layout_on_disk_is_an_array_of_version_and_items() {
    assert_eq!(written(&OperatorListState::<u8>::new("s"), &vec![3, 4]), [0x92, 1, 0x92, 3, 4]);
    let map = BTreeMap::from([(1, true)]);
    assert_eq!(written(&BroadcastState::<u8, bool>::new("s"), &map), [0x92, 1, 0x81, 1, 0xc3]);
}

/// The error that subtask 1 of 3 meets with this as the section of old subtask 1, of two.
fn error<S: OperatorState>(state: &S, bytes: &[u8]) -> CopyError
where
    S::Held: Debug,
{
    let good = written(state, &S::Held::default());
    let copies = [StoredCopy { subtask: 0, bytes: &good }, StoredCopy { subtask: 1, bytes }];
    let mut held = S::Held::default();
    state.load(&mut held, &copies, Share { subtask: 1, parallelism: 3 }).expect_err("not what the type expects")
}

#[test]
fn what_does_not_decode_names_subtask_version_and_reason() {
    let list = OperatorListState::<u32>::new("s");
    let map = BroadcastState::<u32, bool>::new("s");
    let cases: [(CopyError, u32, &str); 10] = [
        (error(&list, &[]), 0, "version and items"),
        (error(&list, &[0x92, 0xcc]), 0, "version and items"),
        (error(&list, &[0x92, 9, 0xc0]), 9, "no list"),
        (error(&list, &[0x92, 9, 0x93, 1, 1, 1]), 9, "older than what wrote the checkpoint"),
        (error(&list, &[0x92, 1, 0xc0]), 1, "no list"),
        (error(&list, &[0x92, 1, 0x81, 1, 0xc3]), 1, "a map (BroadcastState) was stored, the state is a list"),
        (error(&map, &[0x92, 1, 0x91, 1]), 1, "a list (OperatorListState) was stored"),
        (error(&list, &[0x92, 1, 0xdd, 0xff, 0xff, 0xff, 0xff, 1]), 1, "more items than there can be"),
        (error(&list, &[0x92, 1, 0x93, 1, 0xc3, 1]), 1, "expected u32"),
        (error(&map, &[0x92, 1, 0x82, 1, 0xc3, 1, 0xc2]), 1, "stored twice"),
    ];
    for (error, version, reason) in cases {
        assert!(error.reason.contains(reason), "'{reason}': {error:?}");
        assert_eq!((error.subtask, error.version), (1, version), "{error:?}");
    }
    let alone = StoredCopy { subtask: 0, bytes: &[0x92, 1, 0x91, 5, 6] };
    let share = Share { subtask: 0, parallelism: 1 };
    let error = OperatorState::load(&list, &mut Vec::new(), &[alone], share).unwrap_err();
    assert!(error.reason.contains("1 bytes follow"), "{error:?}");
}

#[test]
fn items_of_a_list_go_through_each_step_from_their_version_at_any_parallelism() {
    let cents = OperatorListState::<u64>::new("waiting");
    let units = OperatorListState::<f64>::new("waiting").version(2).migrate(1, |cents: u64| cents as f64 / 100.0);
    let named = OperatorListState::<(f64, String)>::new("waiting")
        .version(300)
        .migrate(299, |amount: f64| (amount, "EUR".to_owned()));
    let named = (2..299).rev().fold(named, |state, from| state.migrate(from, |amount: f64| amount));
    let named = named.migrate(1, |cents: u64| cents as f64 / 100.0);
    for state in [units.check(), named.check()] {
        state.unwrap();
    }
    let held: [&[u64]; 3] = [&[100, 250, 1], &[], &[7]];
    for parallelism in 1..5 {
        let stored: Vec<_> = held.iter().map(|held| written(&cents, &held.to_vec())).collect();
        let of_units = loaded(&units, &stored, parallelism);
        assert_eq!(of_units.concat(), [1.0, 2.5, 0.01, 0.07]);
        let of_names: Vec<(f64, String)> =
            of_units.concat().into_iter().map(|units| (units, "EUR".to_owned())).collect();
        assert_eq!(loaded(&named, &stored, parallelism).concat(), of_names);
        // Written under today's version, it needs no step any more.
        let stored: Vec<_> = loaded(&named, &stored, parallelism).iter().map(|held| written(&named, held)).collect();
        let today = OperatorListState::<(f64, String)>::new("waiting").version(300);
        assert_eq!(loaded(&today, &stored, 2).concat(), of_names);
    }
}

#[test]
fn entries_of_a_broadcast_state_are_migrated_with_their_keys() {
    let by_number = BroadcastState::<u32, u32>::new("limits");
    let stored = [written(&by_number, &BTreeMap::from([(7, 10), (9, 300)]))];
    let by_name = BroadcastState::<String, u64>::new("limits")
        .version(2)
        .migrate(1, |(sensor, limit): (u32, u32)| (format!("sensor {sensor}"), u64::from(limit)));
    by_name.check().unwrap();
    let expected = BTreeMap::from([("sensor 7".to_owned(), 10), ("sensor 9".to_owned(), 300)]);
    assert_eq!(loaded(&by_name, &stored, 2), vec![expected; 2]);
    let one = BroadcastState::<u8, u64>::new("limits")
        .version(2)
        .migrate(1, |(_, limit): (u32, u32)| (0u8, u64::from(limit)));
    let error = refused(&one, &stored);
    assert!(error.reason.contains("migrate(..) gives one key for two"), "{error:?}");
    assert_eq!((error.subtask, error.version), (0, 1));
}

#[test]
fn versions_without_a_step_are_refused_with_the_call_that_helps() {
    let list = OperatorListState::<u64>::new("s");
    let stored = [written(&list, &vec![5])];
    let newer = OperatorListState::<String>::new("s").version(3).migrate(2, |n: u64| n.to_string());
    newer.check().unwrap();
    let error = refused(&newer, &stored);
    assert!(error.reason.contains("add one for each step by migrate(1, ..)"), "{error:?}");
    let other = OperatorListState::<String>::new("s").version(2).migrate(1, |n: String| n);
    let error = refused(&other, &stored);
    assert!(error.reason.contains("the type that migrate(1, ..) takes must be that of version 1"), "{error:?}");
    let error = refused(&OperatorListState::<String>::new("s"), &stored);
    assert!(error.reason.contains("other changes a version with a migration"), "{error:?}");
    let of_version_3 = [written(&newer, &vec!["5".to_owned()])];
    let error = refused(&list, &of_version_3);
    assert!(error.reason.contains("start one that has version 3") && error.version == 3, "{error:?}");
}

#[test]
fn versions_that_do_not_fit_together_are_mistakes_of_their_state() {
    let states = (
        OperatorListState::<u64>::new("zero").version(0),
        OperatorListState::<u64>::new("gap").version(4).migrate(1, |n: u32| n).migrate(3, |n: u32| u64::from(n)),
        OperatorListState::<u64>::new("sound").version(2).migrate(1, |n: u32| u64::from(n)),
        BroadcastState::<u64, u64>::new("other key").version(2).migrate(1, |(key, value): (u32, u64)| (key, value)),
    );
    let mistakes: Vec<_> = states.mistakes();
    let names: Vec<&str> = mistakes.iter().map(|(state, _)| &**state).collect();
    assert_eq!(names, ["zero", "gap", "other key"]);
    for ((_, reason), part) in mistakes.iter().zip(["count from 1", "no migration from version 2", "(u32, u64)"]) {
        assert!(reason.contains(part), "{reason}");
    }
}

/// What each of `parallelism` subtasks has after a restore of these sections.
fn loaded<S: OperatorState>(state: &S, stored: &[Vec<u8>], parallelism: u32) -> Vec<S::Held> {
    let load = |subtask| {
        let mut held = S::Held::default();
        state.load(&mut held, &copies(stored), Share { subtask, parallelism }).unwrap();
        held
    };
    (0..parallelism).map(load).collect()
}

/// Why these sections are refused.
fn refused<S: OperatorState>(state: &S, stored: &[Vec<u8>]) -> CopyError {
    let share = Share { subtask: 0, parallelism: 1 };
    state.load(&mut S::Held::default(), &copies(stored), share).expect_err("not what the type expects")
}

fn copies(stored: &[Vec<u8>]) -> Vec<StoredCopy<'_>> {
    (0..).zip(stored).map(|(subtask, bytes)| StoredCopy { subtask, bytes }).collect()
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Changed and arbitrary bytes: an error or a value, no panic, and what is held is in proportion to the input.
#[test]
fn arbitrary_bytes_give_a_typed_error_or_a_small_value() {
    let list = OperatorListState::<Vec<String>>::new("s");
    let map = BroadcastState::<u32, Vec<u64>>::new("s");
    let good = [
        written(&list, &vec![vec!["one".to_owned(), "two".to_owned()]; 20]),
        written(&map, &(0..20).map(|key| (key, vec![7; 3])).collect()),
    ];
    let (seed, mut errors) = (5, 0);
    println!("seed {seed}");
    let mut state = seed;
    for round in 0..4_000 {
        let mut bytes = good[round % 2].clone();
        for _ in 0..1 + random(&mut state) % 4 {
            let at = random(&mut state) as usize % bytes.len();
            bytes[at] = random(&mut state) as u8;
        }
        bytes.truncate(random(&mut state) as usize % (bytes.len() * 2));
        let copies = [StoredCopy { subtask: 0, bytes: &bytes }];
        let share = Share { subtask: 0, parallelism: 1 };
        let (mut items, mut entries) = (Vec::new(), BTreeMap::new());
        let loaded = [
            OperatorState::load(&list, &mut items, &copies, share),
            OperatorState::load(&map, &mut entries, &copies, share),
        ];
        errors += loaded.iter().filter(|loaded| loaded.is_err()).count();
        assert!(items.capacity() <= 2 * bytes.len() + 4 && entries.len() <= bytes.len());
        assert!(items.iter().all(|item| item.capacity() * size_of::<String>() <= 1 << 20), "serde's own bound");
    }
    assert!(errors > 4_000, "half of the loads are of the other kind alone: {errors}");
}
