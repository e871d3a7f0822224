//! Which values are read back when they are written, and what is compared.

use std::any::{TypeId, type_name};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::events::events_of;
use crate::state::codec::message_pack::{self, Names, Shapes};

/// Of each type all values are read back until they have made up so many bytes.
pub(super) const FIRST_BYTES: usize = 64 << 10;
/// Of later values of known shapes, one byte in so many.
const ONE_IN: usize = 512;

/// As what values are stored, and so what must come back.
#[derive(Debug)]
pub(in crate::state::codec) struct Stored<T> {
    pub(in crate::state::codec) names: Names,
    /// For a key: whether two of them are one.
    pub(in crate::state::codec) same_key: Option<fn(&T, &T) -> bool>,
}

/// What is known of the values of one type that one thread has written.
#[derive(Debug)]
struct Record {
    shapes: Shapes,
    /// How many bytes may be read back, times [`ONE_IN`].
    credit: usize,
    /// A value was refused: all others are read back.
    is_suspect: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self { shapes: Shapes::default(), credit: FIRST_BYTES * ONE_IN, is_suspect: false }
    }
}

impl Record {
    /// Whether the value that was written last, of so many bytes, is to be read back.
    #[inline]
    fn is_due(&mut self, bytes: usize) -> bool {
        self.credit = self.credit.saturating_add(bytes);
        let cost = bytes.saturating_mul(ONE_IN);
        let is_affordable = self.credit >= cost;
        if is_affordable {
            self.credit -= cost;
        }
        is_affordable || self.is_suspect || self.shapes.is_new()
    }
}

/// A type, stored with or without names, as value or as key.
type Place = (TypeId, Names, bool);

thread_local! {
    static RECORDS: RefCell<HashMap<Place, Rc<RefCell<Record>>, BuildHasherDefault<OfPlace>>> = RefCell::default();
}

/// Appends a value as MessagePack. If it is one that is read back, it is only written if it comes back as it was.
///
/// # Errors
/// What its serializer says, or in what it does not come back. What was appended then is to be removed.
#[inline]
pub(in crate::state::codec) fn put<T>(value: &T, stored: &Stored<T>, bytes: &mut Vec<u8>) -> Result<(), String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let place = (TypeId::of::<T>(), stored.names, stored.same_key.is_some());
    let record = RECORDS.with_borrow_mut(|records| records.entry(place).or_default().clone());
    match record.try_borrow_mut() {
        Ok(mut record) => put_by(&mut record, value, stored, bytes),
        // The type's own serializer came here.
        Err(_) => put_by(&mut Record::default(), value, stored, bytes),
    }
}

#[inline]
fn put_by<T>(record: &mut Record, value: &T, stored: &Stored<T>, bytes: &mut Vec<u8>) -> Result<(), String>
where
    T: Serialize + DeserializeOwned,
{
    let start = bytes.len();
    message_pack::put(value, stored.names, &mut record.shapes, bytes)?;
    if !record.is_due(bytes.len() - start) {
        return Ok(());
    }
    let outcome = comes_back(value, stored, &bytes[start..]);
    match &outcome {
        Ok(()) => record.shapes.learn(),
        Err(_) => record.is_suspect = true,
    }
    outcome
}

/// What can be done about a value that serde cannot read.
const REMEDY: &str = "serde cannot read every type back from a binary format, as an IpAddr within an internally tagged, \
                      untagged or flattened type: change how it is serialized, by another tagging or as a text";

/// Whether `bytes`, which were written of the value, give the value again.
#[inline(never)]
fn comes_back<T>(value: &T, Stored { same_key, .. }: &Stored<T>, bytes: &[u8]) -> Result<(), String>
where
    T: Serialize + DeserializeOwned,
{
    let (mut rest, name) = (bytes, type_name::<T>());
    let back: T = message_pack::take(&mut rest)
        .map_err(|reason| format!("what was written of a {name} does not read back: {reason}; {REMEDY}"))?;
    if !rest.is_empty() {
        let (left, all) = (rest.len(), bytes.len());
        return Err(format!("a {name} reads back without the last {left} of its {all} bytes; {REMEDY}"));
    }
    if events_of(value)? != events_of(&back)? {
        return Err(format!(
            "a {name} reads back as another value: a part is skipped, changed, or taken for another variant; {REMEDY}"
        ));
    }
    if same_key.is_some_and(|same| !same(value, &back)) {
        return Err(format!(
            "a {name} reads back as another key, by its Eq, Ord or Hash: store all that tells keys apart, fields that are skipped too"
        ));
    }
    Ok(())
}

/// Of a [`Place`], whose parts are well mixed or few.
#[derive(Debug, Default)]
struct OfPlace(u64);

impl Hasher for OfPlace {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(1) ^ value;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}
