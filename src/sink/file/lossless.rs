//! Looks through a record, before it is encoded, for what its format would drop without a word.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// What a format cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// It has no `NaN` and no infinite numbers.
    Json,
    /// It has no names of enum variants that have a value, no bytes that are no text, and no rows without fields.
    Csv,
}

/// What would be lost, and where in the record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", place(field))]
pub(super) struct Loss {
    /// As it is written in Rust: `readings[3].value`. Empty if it is the record itself.
    pub(super) field: String,
    pub(super) reason: String,
}

fn place(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("field '{field}': ") }
}

/// Refuses a record of which `format` would lose a part.
///
/// # Errors
/// [`Loss`]; also with what the record's own `Serialize` says.
pub(super) fn check<T: Serialize + ?Sized>(format: Format, record: &T) -> Result<(), Loss> {
    let mut look = Look { format, path: Vec::new(), fields: 0 };
    record.serialize(Here { look: &mut look, in_some: false })?;
    if format == Format::Csv && look.fields == 0 {
        return Err(look.loss("a row without fields would be read back as one, or not at all"));
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Index(usize),
}

struct Look {
    format: Format,
    path: Vec<Step>,
    /// Values that are not made of others.
    fields: usize,
}

impl Look {
    fn loss(&self, reason: impl Into<String>) -> Loss {
        let mut field = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if field.is_empty() => field += name,
                Step::Field(name) => field += &format!(".{name}"),
                Step::Index(index) => field += &format!("[{index}]"),
            }
        }
        Loss { field, reason: reason.into() }
    }

    fn at<T: Serialize + ?Sized>(&mut self, step: Step, value: &T) -> Result<(), Loss> {
        self.path.push(step);
        value.serialize(Here { look: self, in_some: false })?;
        self.path.pop();
        Ok(())
    }
}

impl ser::Error for Loss {
    fn custom<T: Display>(message: T) -> Self {
        Self { field: String::new(), reason: message.to_string() }
    }
}

/// A value of the record.
struct Here<'a> {
    look: &'a mut Look,
    /// Whether it is what an option holds.
    in_some: bool,
}

impl<'a> Here<'a> {
    fn plain(self) -> Result<(), Loss> {
        self.look.fields += 1;
        Ok(())
    }

    fn float(self, is_finite: bool, value: impl Display) -> Result<(), Loss> {
        if self.look.format == Format::Json && !is_finite {
            return Err(self.look.loss(format!("JSON has no number {value}; it would be written as null")));
        }
        self.plain()
    }

    fn nothing(self) -> Result<(), Loss> {
        if self.in_some {
            return Err(self.look.loss("an option that holds nothing would be written as one that is none"));
        }
        self.plain()
    }

    fn parts(self) -> Parts<'a> {
        Parts { look: self.look, next: 0 }
    }
}

macro_rules! plain {
    ($($method:ident: $value:ty),*) => {
        $(fn $method(self, _: $value) -> Result<(), Loss> {
            self.plain()
        })*
    };
}

impl<'a> Serializer for Here<'a> {
    type Ok = ();
    type Error = Loss;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    plain!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_str: &str
    );

    fn serialize_f32(self, value: f32) -> Result<(), Loss> {
        self.float(value.is_finite(), value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Loss> {
        self.float(value.is_finite(), value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Loss> {
        if self.look.format == Format::Csv && str::from_utf8(value).is_err() {
            return Err(self.look.loss("bytes that are not UTF-8 would make the file unreadable"));
        }
        self.plain()
    }

    fn serialize_none(self) -> Result<(), Loss> {
        self.nothing()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Loss> {
        value.serialize(Here { look: self.look, in_some: true })
    }

    fn serialize_unit(self) -> Result<(), Loss> {
        self.nothing()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Loss> {
        // Of these CSV writes the name.
        if self.look.format == Format::Csv { self.plain() } else { self.nothing() }
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Loss> {
        self.plain()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Loss> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Loss> {
        if self.look.format == Format::Csv {
            return Err(self
                .look
                .loss(format!("CSV has no place for the name of variant '{variant}' beside its value")));
        }
        self.look.at(Step::Field(variant), value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Parts<'a>, Loss> {
        Ok(self.parts())
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Loss> {
        self.plain()
    }
}

/// The parts of a value.
struct Parts<'a> {
    look: &'a mut Look,
    next: usize,
}

impl Parts<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Loss> {
        self.look.at(Step::Index(self.next), value)?;
        self.next += 1;
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Loss> {
        self.look.at(Step::Field(name), value)
    }
}

macro_rules! elements {
    ($($kind:ident: $method:ident),*) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = Loss;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Loss> {
                self.element(value)
            }

            fn end(self) -> Result<(), Loss> {
                Ok(())
            }
        })*
    };
}

elements!(
    SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! fields {
    ($($kind:ident),*) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = Loss;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Loss> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Loss> {
                Ok(())
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Loss;

    /// What is no text or number the encoder refuses.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Loss> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Loss> {
        self.element(value)
    }

    fn end(self) -> Result<(), Loss> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Reading {
        values: Vec<Inner>,
        note: Option<Option<u8>>,
    }

    #[derive(Serialize)]
    struct Inner {
        value: f64,
    }

    #[derive(Serialize)]
    enum Kind {
        Plain,
        Weighed(u32),
    }

    fn reading(value: f64, note: Option<Option<u8>>) -> Reading {
        Reading { values: vec![Inner { value: 1.0 }, Inner { value }], note }
    }

    fn field(format: Format, record: impl Serialize) -> String {
        check(format, &record).unwrap_err().field
    }

    #[test]
    fn numbers_that_json_does_not_have_are_named_by_field() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(field(Format::Json, reading(value, None)), "values[1].value");
            assert_eq!(field(Format::Json, BTreeMap::from([("a", 1.0), ("b", value)])), "[1]");
        }
        assert_eq!(field(Format::Json, f32::NAN), "");
        let loss = check(Format::Json, &reading(f64::NAN, None)).unwrap_err();
        assert_eq!(loss.to_string(), "field 'values[1].value': JSON has no number NaN; it would be written as null");
        assert_eq!(check(Format::Csv, &(f64::NAN, 1)), Ok(()), "which CSV has");
    }

    #[test]
    fn options_of_nothing_are_told_from_none() {
        for format in [Format::Json, Format::Csv] {
            assert_eq!(field(format, reading(1.0, Some(None))), "note");
            assert_eq!(field(format, (1, Some(()))), "[1]");
            assert_eq!(check(format, &reading(1.0, None)), Ok(()));
            assert_eq!(check(format, &reading(1.0, Some(Some(3)))), Ok(()));
        }
    }

    #[test]
    fn what_csv_has_no_place_for_is_refused() {
        assert_eq!(field(Format::Csv, ("a", Kind::Weighed(3))), "[1]");
        assert_eq!(check(Format::Csv, &("a", Kind::Plain)), Ok(()));
        assert_eq!(check(Format::Json, &("a", Kind::Weighed(3))), Ok(()));
        assert_eq!(field(Format::Csv, Vec::<u32>::new()), "");
        assert_eq!(check(Format::Json, &Vec::<u32>::new()), Ok(()));
    }
}
