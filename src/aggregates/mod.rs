//! Aggregates that are asked for most: what to count, sum up or compare is said by a function of the record.
//!
//! They are for [`KeyedStream::aggregate`](crate::stream::KeyedStream::aggregate), which gives the running one of each key, for
//! windows ([`WindowedStream::aggregate`](crate::stream::WindowedStream::aggregate)), and for
//! [`AggregatingState`](crate::state::AggregatingState).
//!
//! ```
//! use millstream::prelude::*;
//! use millstream::aggregates::{Count, Max, MaxBy, Mean, Min, MinBy, Sum};
//!
//! fn of<A: AggregateFunction<In = i32>>(aggregate: A) -> A::Out {
//!     let mut seen = aggregate.create();
//!     [3, -4, 1].into_iter().for_each(|n| aggregate.add(&mut seen, n));
//!     aggregate.result(&seen)
//! }
//!
//! assert_eq!(of(Count::new()), 3);
//! assert_eq!(of(Sum::of(|n: &i32| i64::from(*n))), 0);
//! assert_eq!(of(Mean::of(|n: &i32| f64::from(n.abs()))), 8.0 / 3.0);
//! assert_eq!((of(Min::of(|n: &i32| *n)), of(Max::of(|n: &i32| *n))), (Some(-4), Some(3)));
//! assert_eq!((of(MinBy::of(|n: &i32| n.abs())), of(MaxBy::of(|n: &i32| n.abs()))), (Some(1), Some(-4)));
//! ```

mod top;

use std::fmt;
use std::marker::PhantomData;
use std::ops::AddAssign;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::AggregateFunction;

pub use top::TopN;

/// How many records there are.
pub struct Count<T>(PhantomData<fn(T)>);

impl<T> Count<T> {
    /// Counts records.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Count<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Count<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Count<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Count")
    }
}

impl<T: 'static> AggregateFunction for Count<T> {
    type In = T;
    type Accumulator = u64;
    type Out = u64;

    #[inline]
    fn create(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, count: &mut u64, _: T) {
        *count += 1;
    }

    #[inline]
    fn result(&self, count: &u64) -> u64 {
        *count
    }

    #[inline]
    fn merge(&self, count: &mut u64, other: u64) {
        *count += other;
    }
}

/// Declares an aggregate of what a function gives of each record.
macro_rules! of_values {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<T, F> {
            of: F,
            records: PhantomData<fn(T)>,
        }

        impl<T, F> $name<T, F> {
            /// Of what `of` gives of each record.
            pub fn of<V>(of: F) -> Self
            where
                F: Fn(&T) -> V,
            {
                Self { of, records: PhantomData }
            }
        }

        impl<T, F: Clone> Clone for $name<T, F> {
            fn clone(&self) -> Self {
                Self { of: self.of.clone(), records: PhantomData }
            }
        }

        impl<T, F> fmt::Debug for $name<T, F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

of_values! {
    /// The sum. One that its type cannot hold panics, or wraps round, as the type's addition does.
    Sum
}

impl<T, F, V> AggregateFunction for Sum<T, F>
where
    T: 'static,
    F: Fn(&T) -> V + Send + 'static,
    V: AddAssign + Default + Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type In = T;
    type Accumulator = V;
    type Out = V;

    #[inline]
    fn create(&self) -> V {
        V::default()
    }

    #[inline]
    fn add(&self, sum: &mut V, record: T) {
        *sum += (self.of)(&record);
    }

    #[inline]
    fn result(&self, sum: &V) -> V {
        sum.clone()
    }

    #[inline]
    fn merge(&self, sum: &mut V, other: V) {
        *sum += other;
    }
}

of_values! {
    /// The mean: not a number if there are no records.
    Mean
}

impl<T: 'static, F: Fn(&T) -> f64 + Send + 'static> AggregateFunction for Mean<T, F> {
    type In = T;
    type Accumulator = (f64, u64);
    type Out = f64;

    fn create(&self) -> (f64, u64) {
        (0.0, 0)
    }

    #[inline]
    fn add(&self, (sum, count): &mut (f64, u64), record: T) {
        (*sum, *count) = (*sum + (self.of)(&record), *count + 1);
    }

    fn result(&self, (sum, count): &(f64, u64)) -> f64 {
        sum / *count as f64
    }

    fn merge(&self, (sum, count): &mut (f64, u64), other: (f64, u64)) {
        (*sum, *count) = (*sum + other.0, *count + other.1);
    }
}

/// Declares what keeps the first or the last by an order: values, or the records that they are of.
macro_rules! ordered {
    ($(#[$doc:meta])* $value:ident, $(#[$by_doc:meta])* $record:ident, $wins:tt) => {
        of_values! { $(#[$doc])* $value }

        impl<T, F, V> AggregateFunction for $value<T, F>
        where
            T: 'static,
            F: Fn(&T) -> V + Send + 'static,
            V: PartialOrd + Clone + Serialize + DeserializeOwned + Send + 'static,
        {
            type In = T;
            // A sequence of one or none: the value may be an `Option` itself.
            type Accumulator = Vec<V>;
            type Out = Option<V>;

            fn create(&self) -> Vec<V> {
                Vec::new()
            }

            #[inline]
            fn add(&self, kept: &mut Vec<V>, record: T) {
                let value = (self.of)(&record);
                match kept.first_mut() {
                    None => kept.push(value),
                    Some(kept) if value $wins *kept => *kept = value,
                    Some(_) => {}
                }
            }

            fn result(&self, kept: &Vec<V>) -> Option<V> {
                kept.first().cloned()
            }

            fn merge(&self, kept: &mut Vec<V>, other: Vec<V>) {
                match (kept.first_mut(), other.into_iter().next()) {
                    (Some(kept), Some(other)) if other $wins *kept => *kept = other,
                    (None, other) => kept.extend(other),
                    _ => {}
                }
            }
        }

        of_values! { $(#[$by_doc])* $record }

        impl<T, F, V> AggregateFunction for $record<T, F>
        where
            T: Clone + Serialize + DeserializeOwned + Send + 'static,
            F: Fn(&T) -> V + Send + 'static,
            V: PartialOrd,
        {
            type In = T;
            type Accumulator = Vec<T>;
            type Out = Option<T>;

            fn create(&self) -> Vec<T> {
                Vec::new()
            }

            #[inline]
            fn add(&self, kept: &mut Vec<T>, record: T) {
                match kept.first_mut() {
                    None => kept.push(record),
                    Some(kept) if (self.of)(&record) $wins (self.of)(kept) => *kept = record,
                    Some(_) => {}
                }
            }

            fn result(&self, kept: &Vec<T>) -> Option<T> {
                kept.first().cloned()
            }

            fn merge(&self, kept: &mut Vec<T>, other: Vec<T>) {
                if let Some(other) = other.into_iter().next() {
                    self.add(kept, other);
                }
            }
        }
    };
}

ordered! {
    /// The least value; `None` if there are no records.
    Min,
    /// The record with the least value; of several the one that has come first. `None` if there are no records.
    MinBy,
    <
}

ordered! {
    /// The greatest value; `None` if there are no records.
    Max,
    /// The record with the greatest value; of several the one that has come first. `None` if there are no records.
    MaxBy,
    >
}
