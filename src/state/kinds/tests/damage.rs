//! What is stored of a kind, read back damaged or as another kind.

use super::Kind;
use super::models::{Aggregating, List, Map, Reducing};
use crate::state::codec::Written;
use crate::state::test_kit::Random;
use crate::state::{Access, ListState, ReducingState, Span, State, ValueState};

/// A slot after random changes under two stamps, what is stored of it whole, and of the second stamp's changes.
fn stored<K: Kind>(random: &mut Random) -> Option<(Vec<u8>, Vec<u8>)> {
    let (state, mut model) = (K::state(), K::Model::default());
    let mut slot = <K::State as State>::Slot::default();
    let (mut whole, mut delta) = (Vec::new(), Vec::new());
    for stamp in [1, 2] {
        let access = Access { stamp, processing_time: 0, watermark: 0 };
        (0..12).for_each(|_| K::change(random, &mut state.handle(&mut slot, access), &mut model));
        if stamp == 1 && state.write(&mut slot, Span { after: 0, up_to: 1 }, &mut whole) != Ok(Written::Live) {
            return None;
        }
    }
    let written = state.write(&mut slot, Span { after: 1, up_to: 2 }, &mut delta);
    (written == Ok(Written::Live)).then_some((whole, delta))
}

/// Loads one over the other. Never a panic; an error, or no more than the bytes.
fn load<K: Kind>(whole: &[u8], delta: &[u8]) -> Result<K::Model, String> {
    let state = K::state();
    let mut slot = <K::State as State>::Slot::default();
    for (stamp, mut bytes) in [(1, whole), (2, delta)] {
        state.load(&mut slot, stamp, state.format(), stamp == 2, &mut bytes)?;
        if !bytes.is_empty() {
            return Err(format!("{} bytes follow", bytes.len()));
        }
    }
    Ok(K::read(&state.handle(&mut slot, Access { stamp: 3, processing_time: 0, watermark: 0 })))
}

fn check_damage<K: Kind>() {
    const SEED: u64 = 20_261_123;
    let mut random = Random(SEED);
    let (mut accepted, mut refused, mut cases) = (0, 0, 0);
    while cases < 60 {
        let Some((whole, delta)) = stored::<K>(&mut random) else { continue };
        cases += 1;
        load::<K>(&whole, &delta).unwrap();
        (0..whole.len()).for_each(|len| assert!(load::<K>(&whole[..len], &delta).is_err(), "{len} bytes, seed {SEED}"));
        (0..delta.len()).for_each(|len| assert!(load::<K>(&whole, &delta[..len]).is_err(), "{len} bytes, seed {SEED}"));
        for _ in 0..200 {
            let (mut damaged_whole, mut damaged_delta) = (whole.clone(), delta.clone());
            let bytes = if random.below(2) == 0 { &mut damaged_whole } else { &mut damaged_delta };
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
            match load::<K>(&damaged_whole, &damaged_delta) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(accepted > 0 && refused > 1000, "{accepted} accepted, {refused} refused");
}

#[test]
fn damaged_bytes_are_refused_or_give_other_values() {
    check_damage::<List>();
    check_damage::<Map>();
    check_damage::<Reducing>();
    check_damage::<Aggregating>();
}

#[test]
fn one_kind_does_not_read_what_another_has_stored() {
    let mut random = Random(5);
    let mut next = || loop {
        if let (Some((list, _)), Some((map, _))) = (stored::<List>(&mut random), stored::<Map>(&mut random)) {
            return (list, map);
        }
    };
    let (list, map) = next();
    let mut slot = Default::default();
    let error = List::state().load(&mut slot, 1, Map::state().format(), false, &mut &map[..]).unwrap_err();
    assert!(error.with_remedy().contains("a map was stored, the state is a list now"));
    let error =
        ListState::<u64>::new("list").load(&mut Default::default(), 1, List::state().format(), false, &mut &list[..]);
    assert!(error.unwrap_err().with_remedy().contains("u64"));
    let format = ValueState::<u64>::new("v").format();
    assert!(Map::state().load(&mut Default::default(), 1, format, false, &mut &map[..]).is_err());
    // Both hold one value.
    let mut reduced = Default::default();
    let (sum, mut bytes) = (ReducingState::<u64>::new("sum", |a, b| a + b), &7u64.to_le_bytes()[..]);
    sum.load(&mut reduced, 1, format, false, &mut bytes).unwrap();
    assert_eq!(reduced.value(), Some(&7));
}
