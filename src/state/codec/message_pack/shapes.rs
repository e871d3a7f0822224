//! Which shapes the values of a type have had: which calls their serializers made, without lengths and most contents.
//!
//! Variants, the presence of options and fields, and emptiness are parts of a shape. An element of a sequence, or an entry of
//! a map, is a shape by itself, whatever stands beside it: so a list of a thousand variants in any order has no more shapes than
//! variants. Where a text may be the tag of a variant, it is told apart from others, up to [`TAGS_MAX`] of them: where there are
//! more, it is a content.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

/// Shapes that are remembered of a type.
const KNOWN_MAX: usize = 1024;
/// Texts that are told apart at one place.
const TAGS_MAX: u8 = 32;
/// Of a text that may be a tag.
const TAG_BYTES_MAX: usize = 64;
/// Places of a type at which texts are told apart.
const PLACES_MAX: usize = 64;
/// Of one value.
const FRESH_MAX: usize = 256;
/// Hashes that a [`Slots`] has room for.
const SLOTS: usize = 64;

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Kinds of calls. What distinguishes calls of one kind is above the low byte.
pub(in crate::state::codec) mod call {
    pub(in crate::state::codec) const BOOL: u64 = 1;
    pub(in crate::state::codec) const I8: u64 = 2;
    pub(in crate::state::codec) const I16: u64 = 3;
    pub(in crate::state::codec) const I32: u64 = 4;
    pub(in crate::state::codec) const I64: u64 = 5;
    pub(in crate::state::codec) const I128: u64 = 6;
    pub(in crate::state::codec) const U8: u64 = 7;
    pub(in crate::state::codec) const U16: u64 = 8;
    pub(in crate::state::codec) const U32: u64 = 9;
    pub(in crate::state::codec) const U64: u64 = 10;
    pub(in crate::state::codec) const U128: u64 = 11;
    pub(in crate::state::codec) const F32: u64 = 12;
    pub(in crate::state::codec) const F64: u64 = 13;
    pub(in crate::state::codec) const CHAR: u64 = 14;
    pub(in crate::state::codec) const TEXT: u64 = 15;
    pub(in crate::state::codec) const BYTES: u64 = 16;
    pub(in crate::state::codec) const NONE: u64 = 17;
    pub(in crate::state::codec) const SOME: u64 = 18;
    pub(in crate::state::codec) const UNIT: u64 = 19;
    pub(in crate::state::codec) const UNIT_STRUCT: u64 = 20;
    pub(in crate::state::codec) const NEWTYPE: u64 = 21;
    pub(in crate::state::codec) const EXTENSION: u64 = 22;
    pub(in crate::state::codec) const VARIANT: u64 = 23;
    pub(in crate::state::codec) const SEQUENCE: u64 = 24;
    pub(in crate::state::codec) const TUPLE: u64 = 25;
    pub(in crate::state::codec) const MAP: u64 = 26;
    pub(in crate::state::codec) const STRUCT: u64 = 27;
    pub(in crate::state::codec) const SKIPPED: u64 = 28;
    pub(in crate::state::codec) const EMPTY: u64 = 29;
    pub(in crate::state::codec) const FILLED: u64 = 30;
}

/// The shapes of one type, and that of the value that is being written.
#[derive(Debug, Default)]
pub(in crate::state::codec) struct Shapes {
    known: HashSet<u64, BuildHasherDefault<Mixed>>,
    known_lately: Slots,
    /// How many texts were told apart at which place.
    places: HashMap<u64, u8, BuildHasherDefault<Mixed>>,
    texts: HashSet<u64, BuildHasherDefault<Mixed>>,
    texts_lately: Slots,
    /// Places at which texts are told apart no more.
    contents_lately: Slots,
    /// Those of the value that are not known.
    fresh: Vec<u64>,
    /// The calls so far.
    running: u64,
    /// A text was told apart since this was last set to false.
    has_told: bool,
}

impl Shapes {
    /// A value begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.fresh.clear();
        self.running = SEED;
    }

    /// A value ends.
    #[inline]
    pub(super) fn end(&mut self) {
        self.note(self.running);
    }

    /// The serializer makes this call.
    #[inline]
    pub(super) fn call(&mut self, call: u64) {
        self.running = mixed(self.running, call);
    }

    /// What is called next has this name. Where a name is at two places in memory, it counts as two.
    #[inline]
    pub(super) fn name(&mut self, name: &'static str) {
        self.running ^= (name.as_ptr() as u64) << 8;
    }

    /// A text, which may be the tag of a variant.
    #[inline]
    pub(super) fn text(&mut self, text: &str, may_tell: bool) {
        self.call(if text.is_empty() { call::TEXT | call::EMPTY << 8 } else { call::TEXT });
        if may_tell
            && !self.contents_lately.has(self.running)
            && let Some(tag) = self.tag(text)
        {
            (self.running, self.has_told) = (tag, true);
        }
    }

    /// The calls up to here and this text, if it is told apart from others at this place.
    #[inline(never)]
    fn tag(&mut self, text: &str) -> Option<u64> {
        if text.len() > TAG_BYTES_MAX {
            return None;
        }
        let place = self.running;
        let tag = mixed(place, xxh3_64(text.as_bytes()));
        if self.texts_lately.has(tag) || self.tells(tag, place) {
            self.texts_lately.keep(tag);
            return Some(tag);
        }
        None
    }

    /// Whether this text is one of those that are told apart, or becomes one.
    fn tells(&mut self, tag: u64, place: u64) -> bool {
        if self.texts.contains(&tag) {
            return true;
        }
        let places = self.places.len();
        let Some(seen) = self.places.get_mut(&place) else {
            if places >= PLACES_MAX {
                self.contents_lately.keep(place);
                return false;
            }
            self.places.insert(place, 1);
            return self.texts.insert(tag);
        };
        if *seen >= TAGS_MAX {
            self.contents_lately.keep(place);
            return false;
        }
        *seen += 1;
        self.texts.insert(tag)
    }

    /// The calls so far.
    #[inline]
    pub(super) fn running(&self) -> u64 {
        self.running
    }

    /// Goes on as if only these calls had been made.
    #[inline]
    pub(super) fn go_on_from(&mut self, running: u64) {
        (self.running, self.has_told) = (running, false);
    }

    /// No text was told apart as yet.
    #[inline]
    pub(super) fn forget_told(&mut self) {
        self.has_told = false;
    }

    /// Whether a text was told apart since.
    #[inline]
    pub(super) fn has_told(&self) -> bool {
        self.has_told
    }

    /// An element has ended. `last` is the shape of the one before it, and becomes its own.
    #[inline]
    pub(super) fn element(&mut self, last: &mut u64) {
        if self.running != *last {
            *last = self.running;
            self.note(self.running);
        }
    }

    #[inline]
    fn note(&mut self, shape: u64) {
        if !self.known_lately.has(shape) {
            self.look_up(shape);
        }
    }

    #[inline(never)]
    fn look_up(&mut self, shape: u64) {
        if self.known.contains(&shape) {
            self.known_lately.keep(shape);
        } else if self.fresh.len() < FRESH_MAX {
            self.fresh.push(shape);
        }
    }

    /// Whether the value that was written last has a shape that is not known, and there is room for another one.
    #[inline]
    pub(in crate::state::codec) fn is_new(&self) -> bool {
        !self.fresh.is_empty() && self.known.len() < KNOWN_MAX
    }

    /// The shapes of the value that was written last are known from now on.
    pub(in crate::state::codec) fn learn(&mut self) {
        for shape in self.fresh.drain(..) {
            if self.known.len() < KNOWN_MAX {
                self.known.insert(shape);
            }
        }
    }
}

/// The hashes that were found last, each at the one place where it can be: the search in a set, which costs more than all hashing of
/// a value, is for those that are not here.
#[derive(Debug)]
struct Slots([u64; SLOTS]);

impl Default for Slots {
    /// In each slot is a hash that has another place.
    fn default() -> Self {
        Self(std::array::from_fn(|at| !(at as u64)))
    }
}

impl Slots {
    #[inline]
    fn place(hash: u64) -> usize {
        hash as usize % SLOTS
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        self.0[Self::place(hash)] == hash
    }

    #[inline]
    fn keep(&mut self, hash: u64) {
        self.0[Self::place(hash)] = hash;
    }
}

#[inline]
fn mixed(running: u64, call: u64) -> u64 {
    (running ^ call).wrapping_mul(MULTIPLIER).rotate_left(26)
}

/// Of what is mixed already.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = value ^ (value >> 29);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(xxh3_64(bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::super::writer::{Names, put};
    use super::*;

    #[derive(Clone, Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        One { n: u8 },
        Two { n: u8 },
    }

    #[derive(Clone, Serialize)]
    #[serde(untagged)]
    enum Untagged {
        One { n: u8 },
        Two { m: u8 },
    }

    /// Whether each of the values, one after the other, has a shape that those before it had not.
    fn news<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<bool> {
        let (mut shapes, mut bytes) = (Shapes::default(), Vec::new());
        let mut is_new = |value: T| {
            put(&value, Names::Written, &mut shapes, &mut bytes).unwrap();
            let is_new = shapes.is_new();
            shapes.learn();
            is_new
        };
        values.into_iter().map(&mut is_new).collect()
    }

    #[test]
    fn lengths_and_contents_are_no_part_of_a_shape_and_emptiness_is() {
        assert_eq!(news([vec![1u8], vec![], vec![2, 3, 4]]), [true, true, false]);
        assert_eq!(news([(1, "a"), (300, "bc"), (2, "")]), [true, false, true]);
        assert_eq!(news([Some(1), None, Some(2), None]), [true, true, false, false]);
        let map = |keys: &[u32]| keys.iter().map(|key| (*key, Some(7))).collect::<BTreeMap<_, _>>();
        assert_eq!(news([map(&[1, 2]), map(&[]), map(&[5])]), [true, true, false]);
    }

    #[test]
    fn each_variant_is_a_shape_however_it_is_tagged() {
        let tagged = [Tagged::One { n: 1 }, Tagged::Two { n: 1 }, Tagged::One { n: 2 }];
        assert_eq!(news(tagged), [true, true, false]);
        let untagged = [Untagged::One { n: 1 }, Untagged::Two { m: 1 }, Untagged::One { n: 2 }];
        assert_eq!(news(untagged), [true, true, false]);
        assert_eq!(news([Ok(1), Err(1), Ok(2)]), [true, true, false]);
    }

    #[test]
    fn elements_are_shapes_by_themselves_in_any_order() {
        let (one, two) = (Tagged::One { n: 1 }, Tagged::Two { n: 2 });
        let lists = [vec![one.clone(), two.clone()], vec![two.clone()], vec![two.clone(), one.clone(), two, one]];
        assert_eq!(news(lists), [true, false, false]);
    }

    #[test]
    fn texts_that_are_contents_are_told_apart_no_further() {
        #[derive(Serialize)]
        struct Named {
            name: String,
            age: Option<u8>,
        }
        let named = |n: u32| Named { name: n.to_string(), age: None };
        let of = news((0..1_000).map(named).chain([Named { name: "x".to_owned(), age: Some(1) }]));
        assert_eq!(of[..33], [true; 33]);
        assert_eq!(of[33..1_000].iter().filter(|is_new| **is_new).count(), 0);
        assert!(of[1_000], "what comes later is still new");
        let of = news((0..1_000).map(|n: u32| BTreeMap::from([(n.to_string(), n.to_string())])));
        assert_eq!(of[100..].iter().filter(|is_new| **is_new).count(), 0);
    }

    #[test]
    fn what_is_known_stays_known_when_more_shapes_take_turns_than_are_kept_at_hand() {
        let bits = |n: usize| std::array::from_fn::<_, 9, _>(|bit| (n >> bit & 1 == 1).then_some(()));
        let of = news((0..3 * 512).map(|n| bits(n % 512)));
        assert_eq!((&of[..512], &of[512..]), (&[true; 512][..], &[false; 1_024][..]));
        let tagged = |n: usize| BTreeMap::from([("type".to_owned(), format!("{}", n % 20))]);
        let of = news((0..60).map(tagged));
        assert_eq!(of[20..], [false; 40]);
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let bits = |n: u32| std::array::from_fn::<_, 12, _>(|bit| (n >> bit & 1 == 1).then_some(()));
        let of = news((0..4_096).map(bits));
        assert_eq!(of.iter().filter(|is_new| **is_new).count(), KNOWN_MAX);
    }
}
