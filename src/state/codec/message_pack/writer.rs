//! Writing: numbers and texts by rmp-serde, and the nesting here, where it is counted.

use rmp_serde::encode::Error;
use serde::ser::{self, Error as _, Serialize, Serializer};

use super::shapes::{Shapes, call};
use super::{DEPTH_MAX, EXT_STRUCT, FIX_EXT_1, SOME_NIL};

/// Whether structs are written as maps with the names of their fields, or as arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::state::codec) enum Names {
    Written,
    LeftOut,
}

/// Appends a value, and says of which shape it is. What was appended when it fails is to be removed.
///
/// # Errors
/// What its serializer says, and if it is nested too deeply.
pub(in crate::state::codec) fn put<T: Serialize + ?Sized>(
    value: &T,
    names: Names,
    shapes: &mut Shapes,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    shapes.begin();
    let mut packer = Packer { bytes, names, shapes };
    let writer = Writer { to: &mut packer, depth: 0, somes: 0, may_tell: false };
    value.serialize(writer).map_err(|error| error.to_string())?;
    packer.shapes.end();
    Ok(())
}

/// Appends a text, as [`put`] does.
pub(in crate::state::codec) fn put_text(text: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    rmp_serde::Serializer::new(bytes).serialize_str(text).map_err(|error| error.to_string())
}

/// Where everything of one value goes.
struct Packer<'a> {
    bytes: &'a mut Vec<u8>,
    names: Names,
    shapes: &'a mut Shapes,
}

impl Packer<'_> {
    /// For what has no parts.
    #[inline]
    fn plain(&mut self) -> rmp_serde::Serializer<&mut Vec<u8>> {
        rmp_serde::Serializer::new(&mut *self.bytes)
    }
}

/// How arrays and maps begin.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// The first byte for a few, which are its low four bits.
    few: u8,
    /// The first byte where two bytes of length follow; the next number stands for four.
    wide: u8,
}

pub(crate) const ARRAY: Head = Head { few: 0x90, wide: 0xdc };
pub(crate) const MAP: Head = Head { few: 0x80, wide: 0xde };

impl Head {
    /// Appends the head of one with so many items.
    ///
    /// # Errors
    /// If there are more than 2^32 - 1.
    pub(crate) fn put(self, len: usize, bytes: &mut Vec<u8>) -> Result<(), String> {
        let (head, used) = self.bytes(len).map_err(|error| error.to_string())?;
        bytes.extend_from_slice(&head[..used]);
        Ok(())
    }

    /// The bytes, and how many of them.
    #[inline]
    fn bytes(self, len: usize) -> Result<([u8; 5], usize), Error> {
        let mut bytes = [0; 5];
        let used = if len < 16 {
            bytes[0] = self.few | len as u8;
            1
        } else if let Ok(len) = u16::try_from(len) {
            bytes[0] = self.wide;
            bytes[1..3].copy_from_slice(&len.to_be_bytes());
            3
        } else {
            let len = u32::try_from(len).map_err(|_| Error::custom(format_args!("{len} items are too many")))?;
            bytes[0] = self.wide + 1;
            bytes[1..].copy_from_slice(&len.to_be_bytes());
            5
        };
        Ok((bytes, used))
    }
}

/// Writes one value, or a part of it.
struct Writer<'s, 'a> {
    to: &'s mut Packer<'a>,
    depth: u32,
    /// So many `Some` stand directly before it.
    somes: u8,
    /// If it is a text, it may be the tag of a variant.
    may_tell: bool,
}

impl<'s, 'a> Writer<'s, 'a> {
    #[inline]
    fn deeper(self) -> Result<Self, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::custom(format_args!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn nil(self) -> Result<(), Error> {
        match self.somes {
            0 => self.to.plain().serialize_unit(),
            somes => {
                self.to.bytes.extend_from_slice(&[FIX_EXT_1, SOME_NIL, somes]);
                Ok(())
            }
        }
    }

    /// Something with parts; `len` counts entries of maps, else parts.
    #[inline]
    fn parts(self, head: Head, len: Option<usize>) -> Result<Parts<'s, 'a>, Error> {
        let Self { to, depth, .. } = self.deeper()?;
        let start = to.bytes.len();
        if let Some(len) = len {
            let (bytes, used) = head.bytes(len)?;
            to.bytes.extend_from_slice(&bytes[..used]);
        }
        let context = to.shapes.running();
        Ok(Parts { to, depth, head, len, start, written: 0, context, last: 0 })
    }

    /// The variant as a map with one entry, up to its value.
    #[inline]
    fn variant(self, index: u32, variant: &'static str) -> Result<Self, Error> {
        let mut inner = self.deeper()?;
        (inner.somes, inner.may_tell) = (0, false);
        inner.to.shapes.name(variant);
        inner.to.shapes.call(call::VARIANT | u64::from(index) << 8);
        inner.to.bytes.push(MAP.few | 1);
        inner.to.plain().serialize_str(variant)?;
        Ok(inner)
    }

    #[inline]
    fn tuple(self, len: usize) -> Result<Parts<'s, 'a>, Error> {
        self.to.shapes.call(call::TUPLE | (len as u64) << 8);
        self.parts(ARRAY, Some(len))
    }

    #[inline]
    fn fields(self, len: usize) -> Result<Parts<'s, 'a>, Error> {
        self.to.shapes.call(call::STRUCT | (len as u64) << 8);
        let head = if self.to.names == Names::Written { MAP } else { ARRAY };
        self.parts(head, Some(len))
    }
}

macro_rules! by_rmp {
    ($($method:ident($value:ty): $call:ident),* $(,)?) => {$(
        #[inline]
        fn $method(self, value: $value) -> Result<(), Error> {
            self.to.shapes.call(call::$call);
            self.to.plain().$method(value)
        }
    )*};
}

impl<'s, 'a> Serializer for Writer<'s, 'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'s, 'a>;
    type SerializeTuple = Parts<'s, 'a>;
    type SerializeTupleStruct = Parts<'s, 'a>;
    type SerializeTupleVariant = Parts<'s, 'a>;
    type SerializeMap = Parts<'s, 'a>;
    type SerializeStruct = Parts<'s, 'a>;
    type SerializeStructVariant = Parts<'s, 'a>;

    by_rmp! {
        serialize_bool(bool): BOOL,
        serialize_i8(i8): I8, serialize_i16(i16): I16, serialize_i32(i32): I32, serialize_i64(i64): I64,
        serialize_i128(i128): I128,
        serialize_u8(u8): U8, serialize_u16(u16): U16, serialize_u32(u32): U32, serialize_u64(u64): U64,
        serialize_u128(u128): U128,
        serialize_f32(f32): F32, serialize_f64(f64): F64,
        serialize_char(char): CHAR, serialize_unit_struct(&'static str): UNIT_STRUCT,
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.to.shapes.text(value, self.may_tell);
        self.to.plain().serialize_str(value)
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.to.shapes.call(if value.is_empty() { call::BYTES | call::EMPTY << 8 } else { call::BYTES });
        self.to.plain().serialize_bytes(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.to.shapes.call(call::NONE);
        self.nil()
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Error> {
        self.to.shapes.call(call::UNIT);
        self.nil()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        let mut inner = self.deeper()?;
        inner.to.shapes.call(call::SOME);
        // Not more than there are levels, which a byte can count.
        inner.somes += 1;
        value.serialize(inner)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Error> {
        if name == EXT_STRUCT {
            self.to.shapes.call(call::EXTENSION);
            return self.to.plain().serialize_newtype_struct(name, value);
        }
        self.to.shapes.call(call::NEWTYPE);
        value.serialize(self.deeper()?)
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, variant: &'static str) -> Result<(), Error> {
        self.to.shapes.call(call::VARIANT | u64::from(index) << 8);
        self.to.plain().serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self.variant(index, variant)?)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'s, 'a>, Error> {
        self.to.shapes.call(call::SEQUENCE);
        self.parts(ARRAY, len)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Parts<'s, 'a>, Error> {
        self.tuple(len)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'s, 'a>, Error> {
        self.tuple(len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'s, 'a>, Error> {
        self.variant(index, variant)?.tuple(len)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'s, 'a>, Error> {
        self.to.shapes.call(call::MAP);
        self.parts(MAP, len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Parts<'s, 'a>, Error> {
        self.fields(len)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'s, 'a>, Error> {
        self.variant(index, variant)?.fields(len)
    }
}

/// Writes what has parts.
struct Parts<'s, 'a> {
    to: &'s mut Packer<'a>,
    depth: u32,
    head: Head,
    /// What the head says; `None` if that is known only at the end.
    len: Option<usize>,
    /// Where it begins.
    start: usize,
    written: usize,
    /// The calls before the first of them.
    context: u64,
    /// The shape of the element, or entry, before.
    last: u64,
}

impl Parts<'_, '_> {
    #[inline]
    fn put<T: Serialize + ?Sized>(&mut self, value: &T, may_tell: bool) -> Result<(), Error> {
        value.serialize(Writer { to: &mut *self.to, depth: self.depth, somes: 0, may_tell })
    }

    /// A part that has its place.
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.written += 1;
        self.put(value, false)
    }

    /// One of any number.
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.to.shapes.go_on_from(self.context);
        self.part(value)?;
        self.to.shapes.element(&mut self.last);
        Ok(())
    }

    /// The tag of an internally tagged variant comes first.
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if self.to.names == Names::Written {
            self.to.plain().serialize_str(name)?;
        }
        self.to.shapes.name(name);
        self.written += 1;
        self.put(value, self.written == 1)
    }

    #[inline]
    fn skip(&mut self, name: &'static str) {
        self.to.shapes.name(name);
        self.to.shapes.call(call::SKIPPED);
    }

    /// Of any number of parts.
    #[inline]
    fn close_any(self) -> Result<(), Error> {
        self.to.shapes.go_on_from(self.context);
        self.to.shapes.call(if self.written == 0 { call::EMPTY } else { call::FILLED });
        self.close()
    }

    #[inline]
    fn close(self) -> Result<(), Error> {
        match self.len {
            Some(len) if len == self.written => Ok(()),
            Some(len) => {
                let written = self.written;
                Err(Error::custom(format_args!("its serializer said that {len} parts follow, and wrote {written}")))
            }
            None => {
                let (bytes, used) = self.head.bytes(self.written)?;
                self.to.bytes.splice(self.start..self.start, bytes[..used].iter().copied());
                Ok(())
            }
        }
    }
}

macro_rules! parts {
    ($($kind:ident: $method:ident),* $(,)?) => {$(
        impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}
parts! {
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

macro_rules! named_parts {
    ($($kind:ident),* $(,)?) => {$(
        impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.field(name, value)
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), Error> {
                self.skip(name);
                Ok(())
            }

            #[inline]
            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}
named_parts!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeSeq for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.close_any()
    }
}

// A flattened struct is a map: its keys are names, and a text may be the tag of a variant.
impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.to.shapes.go_on_from(self.context);
        self.written += 1;
        self.put(key, true)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.to.shapes.forget_told();
        self.put(value, true)?;
        self.to.shapes.element(&mut self.last);
        if self.written == 1 && self.to.shapes.has_told() {
            self.context = self.to.shapes.running();
        }
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), Error> {
        self.close_any()
    }
}
