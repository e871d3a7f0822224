//! Whether what is written reads back: the bytes of each new shape of a value, and of some of the others, are decoded as soon as
//! they are written, and what they give must be the value.

mod check;
mod events;

pub(super) use check::{Stored, put};

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zoo;
