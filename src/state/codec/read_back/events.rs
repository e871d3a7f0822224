//! What a value's serializer tells, as one number: equal for values that tell the same.
//!
//! Elements of sequences and entries of maps count in whatever order they come, since a set is a sequence to serde and has no
//! order. Floats count by their bits. Lengths that are announced do not count.

use serde::de::value::Error;
use serde::ser::{self, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use crate::state::codec::message_pack::call;

/// What the serializer of `value` tells.
///
/// # Errors
/// What it says.
pub(super) fn events_of<T: Serialize + ?Sized>(value: &T) -> Result<u64, String> {
    value.serialize(Listener).map_err(|error| error.to_string())
}

/// Both, in this order. The finisher is that of splitmix64.
fn joined(first: u64, second: u64) -> u64 {
    let mixed = first.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_add(second);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn text(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

fn variant(kind: u64, index: u32, name: &str) -> u64 {
    joined(joined(call::VARIANT, kind), joined(index.into(), text(name)))
}

/// Hears one value.
struct Listener;

/// Hears parts of which each has its place.
struct InOrder(u64);

/// Hears elements or entries, in any order.
struct Together {
    kind: u64,
    sum: u64,
    count: u64,
    /// The key whose value comes next.
    key: u64,
}

impl Together {
    fn new(kind: u64) -> Self {
        Self { kind, sum: 0, count: 0, key: 0 }
    }

    fn add(&mut self, events: u64) {
        self.sum = self.sum.wrapping_add(events);
        self.count += 1;
    }

    fn all(self) -> u64 {
        joined(joined(self.kind, self.count), self.sum)
    }
}

macro_rules! numbers {
    ($($method:ident($number:ty): $call:ident, $as_u64:expr);* $(;)?) => {$(
        fn $method(self, value: $number) -> Result<u64, Error> {
            let as_u64: fn($number) -> u64 = $as_u64;
            Ok(joined(call::$call, as_u64(value)))
        }
    )*};
}

impl Serializer for Listener {
    type Ok = u64;
    type Error = Error;
    type SerializeSeq = Together;
    type SerializeTuple = InOrder;
    type SerializeTupleStruct = InOrder;
    type SerializeTupleVariant = InOrder;
    type SerializeMap = Together;
    type SerializeStruct = InOrder;
    type SerializeStructVariant = InOrder;

    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        serialize_bool(bool): BOOL, u64::from;
        serialize_i8(i8): I8, |n| n as u64;
        serialize_i16(i16): I16, |n| n as u64;
        serialize_i32(i32): I32, |n| n as u64;
        serialize_i64(i64): I64, |n| n as u64;
        serialize_i128(i128): I128, |n| joined(n as u64, (n >> 64) as u64);
        serialize_u8(u8): U8, u64::from;
        serialize_u16(u16): U16, u64::from;
        serialize_u32(u32): U32, u64::from;
        serialize_u64(u64): U64, |n| n;
        serialize_u128(u128): U128, |n| joined(n as u64, (n >> 64) as u64);
        serialize_f32(f32): F32, |n| n.to_bits().into();
        serialize_f64(f64): F64, f64::to_bits;
        serialize_char(char): CHAR, u64::from;
        serialize_str(&str): TEXT, text;
        serialize_bytes(&[u8]): BYTES, xxh3_64;
        serialize_unit_struct(&'static str): UNIT_STRUCT, text;
    }

    fn serialize_none(self) -> Result<u64, Error> {
        Ok(joined(call::NONE, 0))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Error> {
        Ok(joined(call::SOME, value.serialize(Self)?))
    }

    fn serialize_unit(self) -> Result<u64, Error> {
        Ok(joined(call::UNIT, 0))
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, name: &'static str) -> Result<u64, Error> {
        Ok(variant(call::UNIT, index, name))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<u64, Error> {
        Ok(joined(joined(call::NEWTYPE, text(name)), value.serialize(Self)?))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result<u64, Error> {
        Ok(joined(variant(call::NEWTYPE, index, name), value.serialize(Self)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Together, Error> {
        Ok(Together::new(call::SEQUENCE))
    }

    fn serialize_tuple(self, _: usize) -> Result<InOrder, Error> {
        Ok(InOrder(call::TUPLE))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<InOrder, Error> {
        Ok(InOrder(joined(call::TUPLE, text(name))))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<InOrder, Error> {
        Ok(InOrder(variant(call::TUPLE, index, name)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Together, Error> {
        Ok(Together::new(call::MAP))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<InOrder, Error> {
        Ok(InOrder(joined(call::STRUCT, text(name))))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<InOrder, Error> {
        Ok(InOrder(variant(call::STRUCT, index, name)))
    }
}

macro_rules! in_order {
    ($($kind:ident: $method:ident),* $(,)?) => {$(
        impl ser::$kind for InOrder {
            type Ok = u64;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.0 = joined(self.0, value.serialize(Listener)?);
                Ok(())
            }

            fn end(self) -> Result<u64, Error> {
                Ok(joined(self.0, call::FILLED))
            }
        }
    )*};
}
in_order! {
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

macro_rules! named {
    ($($kind:ident),* $(,)?) => {$(
        impl ser::$kind for InOrder {
            type Ok = u64;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.0 = joined(joined(self.0, text(name)), value.serialize(Listener)?);
                Ok(())
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Error> {
                self.0 = joined(joined(self.0, text(name)), call::SKIPPED);
                Ok(())
            }

            fn end(self) -> Result<u64, Error> {
                Ok(joined(self.0, call::FILLED))
            }
        }
    )*};
}
named!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeSeq for Together {
    type Ok = u64;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.add(joined(call::SEQUENCE, value.serialize(Listener)?));
        Ok(())
    }

    fn end(self) -> Result<u64, Error> {
        Ok(self.all())
    }
}

impl ser::SerializeMap for Together {
    type Ok = u64;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = key.serialize(Listener)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.add(joined(self.key, value.serialize(Listener)?));
        Ok(())
    }

    fn end(self) -> Result<u64, Error> {
        Ok(self.all())
    }
}
