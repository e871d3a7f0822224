//! The greatest records of all.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::AggregateFunction;

/// The records with the greatest values, the greatest first; of equal ones that which has come first. A value that cannot be compared
/// with itself, as what is not a number, is less than all others. For the least, take the value by [`Reverse`](std::cmp::Reverse).
///
/// For each window of a key it is an aggregate as any other. As long as there is no window, there is
/// [`KeyedStream::top_n`](crate::stream::KeyedStream::top_n).
///
/// ```
/// use millstream::aggregates::TopN;
/// use millstream::prelude::*;
///
/// let longest = TopN::of(2, |word: &String| word.len());
/// let mut top = longest.create();
/// ["to", "be", "or", "whether"].into_iter().for_each(|word| longest.add(&mut top, word.to_owned()));
/// assert_eq!(longest.result(&top), ["whether", "to"]);
/// ```
pub struct TopN<T, F> {
    n: usize,
    of: F,
    records: PhantomData<fn(T)>,
}

impl<T, F> TopN<T, F> {
    /// The `n` records of which what `of` gives is the greatest: one at least, the graph refuses none.
    pub fn of<V>(n: usize, of: F) -> Self
    where
        F: Fn(&T) -> V,
    {
        Self { n, of, records: PhantomData }
    }

    /// Where a record belongs in the top, if it does.
    pub(crate) fn place<V: PartialOrd>(&self, top: &[T], record: &T) -> Option<usize>
    where
        F: Fn(&T) -> V,
    {
        let value = (self.of)(record);
        let behind = top.iter().rposition(|kept| !is_greater(&value, &(self.of)(kept)));
        Some(behind.map_or(0, |behind| behind + 1)).filter(|place| *place < self.n)
    }

    /// Adds a record to the top where it belongs.
    pub(crate) fn insert(&self, top: &mut Vec<T>, place: usize, record: T) {
        top.truncate(self.n.saturating_sub(1));
        top.insert(place, record);
    }
}

/// Whether a value drives the other one out.
fn is_greater<V: PartialOrd>(value: &V, other: &V) -> bool {
    let is_none = |value: &V| value.partial_cmp(value).is_none();
    value > other || is_none(other) && !is_none(value)
}

impl<T, F: Clone> Clone for TopN<T, F> {
    fn clone(&self) -> Self {
        Self { n: self.n, of: self.of.clone(), records: PhantomData }
    }
}

impl<T, F> fmt::Debug for TopN<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopN({})", self.n)
    }
}

impl<T, F, V> AggregateFunction for TopN<T, F>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&T) -> V + Send + 'static,
    V: PartialOrd,
{
    type In = T;
    type Accumulator = Vec<T>;
    type Out = Vec<T>;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    #[inline]
    fn add(&self, top: &mut Vec<T>, record: T) {
        if let Some(place) = self.place(top, &record) {
            self.insert(top, place, record);
        }
    }

    fn result(&self, top: &Vec<T>) -> Vec<T> {
        top.clone()
    }

    fn merge(&self, top: &mut Vec<T>, later: Vec<T>) {
        later.into_iter().for_each(|record| self.add(top, record));
    }

    fn check(&self) -> Result<(), String> {
        if self.n == 0 { Err("the top is of no records; it has one at least".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::test_kit::Random;

    #[test]
    fn it_is_the_front_of_a_stable_sort_however_records_are_divided() {
        let mut random = Random(7);
        for n in 1..6 {
            for len in 0..30 {
                let records: Vec<(u64, usize)> = (0..len).map(|place| (random.below(6), place)).collect();
                let mut sorted = records.clone();
                sorted.sort_by_key(|(value, _)| std::cmp::Reverse(*value));
                sorted.truncate(n);
                let top = TopN::of(n, |record: &(u64, usize)| record.0);
                let cut = random.below(len as u64 + 1) as usize;
                let of = |part: &[(u64, usize)]| {
                    let mut kept = top.create();
                    part.iter().for_each(|record| top.add(&mut kept, *record));
                    kept
                };
                assert_eq!(of(&records), sorted);
                let mut merged = of(&records[..cut]);
                top.merge(&mut merged, of(&records[cut..]));
                assert_eq!(top.result(&merged), sorted, "{records:?} divided at {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_the_least() {
        let top = TopN::of(3, |value: &f64| *value);
        let of = |values: &[f64]| {
            let mut kept = top.create();
            values.iter().for_each(|value| top.add(&mut kept, *value));
            format!("{kept:?}")
        };
        assert_eq!(of(&[f64::NAN, 1.0, f64::NAN, 3.0]), "[3.0, 1.0, NaN]");
        assert_eq!(of(&[5.0, f64::NAN, 7.0, f64::NAN, 9.0, 6.0]), "[9.0, 7.0, 6.0]");
    }
}
