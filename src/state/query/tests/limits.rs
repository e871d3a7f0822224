//! What an answer costs, and how large it may be.

use super::*;

thread_local! {
    static HASHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts how often it is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CountedKey(u64);

impl std::hash::Hash for CountedKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        HASHED.set(HASHED.get() + 1);
        self.0.hash(state);
    }
}

/// In memory each row without the state cost a pass through its group when pages were small: 600 rows some 45,000 hashes.
#[test]
fn scan_for_a_state_that_few_keys_have_does_not_go_through_all_keys_for_each() {
    let mut table: KeyedTable<CountedKey, States> = KeyedTable::new(states(), ALL, GROUPS);
    for key in 0..600 {
        change(&mut table, &CountedKey(key), |(mut value, mut map)| match key {
            300 => value.set(key),
            _ => drop(map.insert(1, key)),
        });
    }
    HASHED.set(0);
    let request = StateRequest::new::<CountedKey, u64>(
        "value".into(),
        9,
        Ask::Scan(ScanAsked::new((0, u64::MAX), 2, ANSWER_BYTES_MAX)),
    );
    let (Ask::Scan(page), _) = ask(&mut table, request, |_| {}).unwrap() else { unreachable!() };
    assert_eq!((page.entries.len(), page.is_done), (1, true));
    assert!(HASHED.get() < 10_000, "{}", HASHED.get());
}

/// An answer was as large as its values were: 10,000 keys with a list of 10,000 values each.
#[test]
fn answer_has_no_more_bytes_than_it_may_but_for_one_value() {
    let mut table: KeyedTable<u64, ValueState<Vec<u8>>> = KeyedTable::new(ValueState::new("text"), ALL, GROUPS);
    (0..12u64).for_each(|key| change(&mut table, &key, |mut text| text.set(vec![7; ANSWER_BYTES_MAX / 5])));
    change(&mut table, &12, |mut text| text.set(vec![7; 2 * ANSWER_BYTES_MAX]));
    let large = get::<u64, _, Vec<u8>>(&mut table, "text", &12).unwrap();
    assert_eq!(large.map(|text| text.len()), Some(2 * ANSWER_BYTES_MAX));
    let request = StateRequest::new::<u64, Vec<u8>>("text".into(), 9, keys_asked((0..12u64).collect()));
    let error = ask(&mut table, request, |_| {}).unwrap_err();
    assert!(matches!(error, QueryError::AnswerTooLarge { keys: 5, .. }) && !error.is_retryable(), "{error}");
    let (mut from, mut keys) = (0, Vec::new());
    loop {
        let asked = Ask::Scan(ScanAsked::new((from, u64::MAX), 100, ANSWER_BYTES_MAX));
        let request = StateRequest::new::<u64, Vec<u8>>("text".into(), 9, asked);
        let (Ask::Scan(page), _) = ask(&mut table, request, |_| {}).unwrap() else { unreachable!() };
        assert!(page.entries.len() <= 5, "{} entries", page.entries.len());
        keys.extend(page.entries.iter().map(|(key, _)| take::<u64>(&mut &**key).unwrap()));
        if page.is_done {
            break;
        }
        from = page.scan.next;
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..13).collect::<Vec<_>>());
}
