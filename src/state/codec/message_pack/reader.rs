//! Reading: numbers and texts by rmp-serde, and the nesting here, where it is counted.

use rmp_serde::decode::{Error, ReadReader};
use serde::de::{self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::{DEPTH_MAX, EXT_STRUCT, FIX_EXT_1, NIL, SOME_NIL};
use crate::without_values::without_values;

/// Takes a value off the front of `bytes`.
///
/// # Errors
/// If there is no such value.
pub(crate) fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, String> {
    let mut source = Source::new(*bytes);
    let reader = Reader { from: &mut source, depth: 0, some_nil: None };
    let value = T::deserialize(reader).map_err(said)?;
    *bytes = source.into_inner();
    Ok(value)
}

/// What an error of reading says, without the value.
fn said(error: Error) -> String {
    match error {
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => "the bytes end within a value".to_owned(),
        Error::TypeMismatch(_) => "the bytes begin no value of that type".to_owned(),
        Error::LengthMismatch(_) => "there are more or fewer parts than the type has".to_owned(),
        Error::Uncategorized(reason) | Error::Syntax(reason) => without_values(&reason),
        other => other.to_string(),
    }
}

type Source<'a> = rmp_serde::Deserializer<ReadReader<&'a [u8]>>;

/// What a value begins with.
#[derive(Clone, Copy)]
enum Start {
    /// So many parts, after so many bytes.
    Array(u32, usize),
    /// So many entries, after so many bytes.
    Map(u32, usize),
    Nil,
    /// So many `Some`, at least one, and a nil.
    SomeNil(u8),
    Number,
    /// Something else without parts of its own, or nothing.
    Other,
}

impl Start {
    fn of(bytes: &[u8]) -> Self {
        match *bytes {
            [first @ 0x90..=0x9f, ..] => Self::Array(u32::from(first & 0x0f), 1),
            [0xdc, a, b, ..] => Self::Array(u32::from(u16::from_be_bytes([a, b])), 3),
            [0xdd, a, b, c, d, ..] => Self::Array(u32::from_be_bytes([a, b, c, d]), 5),
            [first @ 0x80..=0x8f, ..] => Self::Map(u32::from(first & 0x0f), 1),
            [0xde, a, b, ..] => Self::Map(u32::from(u16::from_be_bytes([a, b])), 3),
            [0xdf, a, b, c, d, ..] => Self::Map(u32::from_be_bytes([a, b, c, d]), 5),
            [NIL, ..] => Self::Nil,
            [FIX_EXT_1, SOME_NIL, somes @ 1..=u8::MAX, ..] => Self::SomeNil(somes),
            [0x00..=0x7f | 0xc2 | 0xc3 | 0xca..=0xd3 | 0xe0..=0xff, ..] => Self::Number,
            _ => Self::Other,
        }
    }
}

/// Reads one value, or a part of it.
struct Reader<'s, 'a> {
    from: &'s mut Source<'a>,
    depth: u32,
    /// So many `Some` and a nil, which have been taken off the bytes.
    some_nil: Option<u8>,
}

impl Reader<'_, '_> {
    #[inline]
    fn start(&self) -> Start {
        match self.some_nil {
            None => Start::of(self.from.get_ref()),
            Some(0) => Start::Nil,
            Some(somes) => Start::SomeNil(somes),
        }
    }

    /// Behind so many bytes, and a level deeper.
    #[inline]
    fn behind(self, bytes: usize) -> Result<Self, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::custom(format_args!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        let left = self.from.get_mut();
        *left = &left[bytes..];
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn seq<'de, V: Visitor<'de>>(self, len: u32, head: usize, visitor: V) -> Result<V::Value, Error> {
        let Self { from, depth, .. } = self.behind(head)?;
        let mut parts = Parts { from, depth, left: len };
        let value = visitor.visit_seq(&mut parts)?;
        if parts.left == 0 { Ok(value) } else { Err(Error::LengthMismatch(len)) }
    }

    fn map<'de, V: Visitor<'de>>(self, len: u32, head: usize, visitor: V) -> Result<V::Value, Error> {
        let Self { from, depth, .. } = self.behind(head)?;
        let mut parts = Parts { from, depth, left: len };
        let value = visitor.visit_map(&mut parts)?;
        if parts.left == 0 { Ok(value) } else { Err(Error::LengthMismatch(len)) }
    }

    fn some_nil<'de, V: Visitor<'de>>(self, somes: u8, visitor: V) -> Result<V::Value, Error> {
        let head = if self.some_nil.is_some() { 0 } else { 3 };
        let inner = self.behind(head)?;
        visitor.visit_some(Self { some_nil: Some(somes - 1), ..inner })
    }
}

macro_rules! numbers {
    ($($method:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.start() {
                Start::Number => self.from.$method(visitor),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.start() {
            Start::Array(len, head) => self.seq(len, head, visitor),
            Start::Map(len, head) => self.map(len, head, visitor),
            Start::SomeNil(somes) => self.some_nil(somes, visitor),
            Start::Nil if self.some_nil.is_some() => visitor.visit_unit(),
            Start::Nil | Start::Number | Start::Other => self.from.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_bool, deserialize_f32, deserialize_f64,
        deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64,
        deserialize_u8, deserialize_u16, deserialize_u32, deserialize_u64,
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit map identifier ignored_any
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.start() {
            Start::Number | Start::Other => self.from.deserialize_i128(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.start() {
            Start::Number | Start::Other => self.from.deserialize_u128(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.start() {
            Start::SomeNil(somes) => self.some_nil(somes, visitor),
            Start::Nil if self.some_nil.is_some() => visitor.visit_none(),
            Start::Nil => {
                let left = self.from.get_mut();
                *left = &left[1..];
                visitor.visit_none()
            }
            _ => visitor.visit_some(self.behind(0)?),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.start() {
            Start::Array(0, 1) => self.from.deserialize_unit_struct(name, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == EXT_STRUCT && self.some_nil.is_none() {
            return self.from.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self.behind(0)?)
    }

    // Bytes may stand for a sequence of them.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.start() {
            Start::Other => self.from.deserialize_seq(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (reader, is_unit) = match self.start() {
            Start::Map(1, head) => (self.behind(head)?, false),
            Start::Other => (self, true),
            Start::Number => return self.from.deserialize_any(visitor),
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_enum(Variant { reader, is_unit })
    }
}

/// The parts of an array, or the entries of a map.
struct Parts<'s, 'a> {
    from: &'s mut Source<'a>,
    depth: u32,
    left: u32,
}

impl Parts<'_, '_> {
    #[inline]
    fn part<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Reader { from: &mut *self.from, depth: self.depth, some_nil: None })
    }

    #[inline]
    fn next<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.part(seed).map(Some)
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left.try_into().ok()
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        self.part(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left.try_into().ok()
    }
}

/// A variant's name, and what follows it.
struct Variant<'s, 'a> {
    reader: Reader<'s, 'a>,
    /// Nothing.
    is_unit: bool,
}

impl<'de, 's, 'a> de::EnumAccess<'de> for Variant<'s, 'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        let Reader { from, depth, some_nil } = self.reader;
        let name = seed.deserialize(Reader { from: &mut *from, depth, some_nil: None })?;
        Ok((name, Self { reader: Reader { from, depth, some_nil }, ..self }))
    }
}

impl<'de> Variant<'_, '_> {
    /// The reader of what follows the name.
    fn content(self, expected: &str) -> Result<impl Deserializer<'de, Error = Error>, Error> {
        match self.is_unit {
            true => Err(Error::invalid_type(de::Unexpected::UnitVariant, &expected)),
            false => Ok(self.reader),
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.is_unit { Ok(()) } else { <()>::deserialize(self.reader) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.content("newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content("tuple variant")?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.content("struct variant")?.deserialize_seq(visitor)
    }
}
