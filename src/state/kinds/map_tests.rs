use super::*;

type Numbers = MapSlot<u8, u16>;

fn at(stamp: Stamp) -> Access {
    Access { stamp, processing_time: 0, watermark: 0 }
}

fn state() -> MapState<u8, u16> {
    MapState::new("map")
}

fn written(slot: &mut Numbers, after: Stamp, up_to: Stamp) -> (Written, Vec<u8>) {
    let mut bytes = Vec::new();
    (state().write(slot, Span { after, up_to }, &mut bytes).unwrap(), bytes)
}

fn stored(kind: u8, live: &[(u8, u16)], dead: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 2, kind];
    bytes.extend((live.len() as u32).to_le_bytes());
    bytes.extend((dead.len() as u32).to_le_bytes());
    for (key, value) in live {
        bytes.push(*key);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(dead);
    bytes
}

fn filled() -> Numbers {
    let mut slot = Numbers::default();
    for key in [5, 3, 4, 9] {
        state().handle(&mut slot, at(1)).insert(key, u16::from(key));
    }
    slot
}

#[test]
fn entries_that_changed_are_written_and_keys_of_removed_ones() {
    let mut slot = filled();
    assert_eq!(written(&mut slot, 0, 1).1, stored(WHOLE, &[(3, 3), (4, 4), (5, 5), (9, 9)], &[]));
    let state = state();
    let mut map = state.handle(&mut slot, at(2));
    assert_eq!((map.remove(&4), map.remove(&4), map.get(&4)), (Some(4), None, None));
    *map.get_mut(&9).unwrap() = 90;
    let mut map = state.handle(&mut slot, at(3));
    assert!(map.get_mut(&4).is_none());
    assert_eq!((map.insert(7, 7), map.len()), (None, 4));
    let both = stored(CHANGES, &[(7, 7), (9, 90)], &[4]);
    assert_eq!(written(&mut slot, 1, 3), (Written::Live, both.clone()));
    assert_eq!(written(&mut slot, 1, 3).1, both, "again after it was given up");
    assert_eq!(slot.entries.len(), 5);
    assert_eq!(written(&mut slot, 2, 3).1, stored(CHANGES, &[(7, 7)], &[]));
    assert_eq!((slot.entries.len(), slot.removed), (4, 0), "no base to come has the removed one");
    assert_eq!(written(&mut slot, 3, 3), (Written::Nothing, vec![]));
}

#[test]
fn a_touched_map_is_not_written_and_a_cleared_one_is_written_whole() {
    let (state, mut slot) = (state(), filled());
    slot.touch(2);
    assert_eq!(slot.stamp(), 2);
    assert_eq!(written(&mut slot, 1, 2), (Written::Nothing, vec![]));
    let mut map = state.handle(&mut slot, at(3));
    map.clear();
    assert_eq!(written(&mut slot, 2, 3), (Written::Dead, vec![]));
    assert_eq!(written(&mut slot, 0, 3), (Written::Nothing, vec![]));
    state.handle(&mut slot, at(4)).insert(1, 1);
    assert_eq!(written(&mut slot, 2, 4).1, stored(WHOLE, &[(1, 1)], &[]));
    state.handle(&mut slot, at(5)).insert(2, 2);
    assert_eq!(written(&mut slot, 3, 5).1, stored(WHOLE, &[(1, 1), (2, 2)], &[]));
    assert_eq!(written(&mut slot, 4, 5).1, stored(CHANGES, &[(2, 2)], &[]));
}

#[test]
fn marks_of_removed_entries_do_not_pile_up() {
    let (state, mut slot) = (state(), filled());
    for key in 0..1000u16 {
        let mut map = state.handle(&mut slot, at(2));
        map.insert(key as u8, key);
        map.remove(&(key as u8));
        assert!(slot.entries.len() <= 4 + 2 * REMOVED_MIN);
    }
    let mut map = state.handle(&mut slot, at(3));
    map.insert(1, 1);
    map.remove(&1);
    map.retain(|_, _| false);
    assert!(slot.entries.is_empty(), "where nothing is left there are no marks");
    assert_eq!(written(&mut slot, 1, 3), (Written::Dead, vec![]));
    let mut unused = Numbers::default();
    let mut map = state.handle(&mut unused, at(1));
    map.clear();
    map.remove(&1);
    map.retain(|_, _| false);
    assert_eq!(unused.stamp(), 0, "nothing was changed");
}

#[test]
fn counts_kinds_and_keys_are_verified() {
    let load = |parts: &[Vec<u8>]| {
        let mut slot = Numbers::default();
        for (stamp, part) in (1..).zip(parts) {
            state().load(&mut slot, stamp, state().format(), stamp > 1, &mut &part[..])?;
        }
        let values = slot.entries.iter().map(|(key, entry)| (*key, *entry.value().unwrap()));
        Ok::<_, String>(values.collect::<Vec<_>>())
    };
    let whole = stored(WHOLE, &[(1, 1), (2, 2)], &[]);
    assert_eq!(load(&[whole.clone(), stored(CHANGES, &[(3, 3)], &[1, 7])]), Ok(vec![(2, 2), (3, 3)]));
    assert_eq!(load(&[whole.clone(), stored(WHOLE, &[(3, 3)], &[])]), Ok(vec![(3, 3)]));
    assert!(load(&[stored(CHANGES, &[(1, 1)], &[])]).unwrap_err().contains("kind 1"));
    assert!(load(&[stored(2, &[(1, 1)], &[])]).unwrap_err().contains("kind 2"));
    assert!(load(&[stored(WHOLE, &[(1, 1)], &[2])]).is_err());
    assert!(load(&[stored(WHOLE, &[], &[])]).unwrap_err().contains("0 entries"));
    assert!(load(&[stored(WHOLE, &[(1, 1), (1, 2)], &[])]).unwrap_err().contains("twice"));
    assert!(load(&[whole.clone(), stored(CHANGES, &[(1, 1), (1, 2)], &[])]).unwrap_err().contains("twice"));
    assert!(load(&[whole.clone(), stored(CHANGES, &[(1, 1)], &[1])]).unwrap_err().contains("and removed"));
    let mut many = whole;
    many[3..7].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(load(&[many]).unwrap_err().contains("4294967295 entries"));
}
