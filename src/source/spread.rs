//! Ids of splits that spread evenly.

use std::fmt::Write as _;

use millstream_actors::contract::checksum;

/// Split `i` gets an id whose hash is `i` modulo this number: splits spread evenly over every parallelism that divides it (1
/// to 6, 8, 10, 12, 15, 16, ...), where plain hashing would give one of two subtasks a good tenth more.
const SPREAD: u64 = 240;

/// The id of the split `index` called `name`: `name`, `#`, and a number that gives it its place among the subtasks. Splits
/// with such ids and the indices from 0 on are [owned](super::SourceContext::owns) evenly, where ids by themselves are as
/// evenly as their hashes happen to be: each subtask has as many as any other, or one less, at every parallelism that
/// divides 240, and nearly so at others. The same name and index give the same id for ever.
///
/// ```
/// use millstream::source::spread_split_id;
///
/// let ids: Vec<String> = (0..8).map(|partition| spread_split_id(&format!("orders-{partition}"), partition)).collect();
/// for subtask in 0..4 {
///     let cx = millstream::testing::source_context(subtask, 4);
///     assert_eq!(ids.iter().filter(|id| cx.owns(id)).count(), 2);
/// }
/// assert!(ids[3].starts_with("orders-3#"));
/// ```
pub fn spread_split_id(name: &str, index: u64) -> String {
    let mut id = format!("{name}#");
    let stem = id.len();
    for salt in 0_u32.. {
        id.truncate(stem);
        write!(id, "{salt}").expect("a String takes everything");
        if checksum(id.as_bytes()) % SPREAD == index % SPREAD {
            break;
        }
    }
    id
}
