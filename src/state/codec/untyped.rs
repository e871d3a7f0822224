//! Keys and values shown without their types: what the bytes themselves say.

use std::fmt;
use std::fmt::Write as _;

use serde::de::{Deserialize, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::fixed::Encoding;
use super::message_pack;

/// A key or value. Serialises into JSON as `docs/cli.md` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Untyped {
    Nil,
    /// A nil behind `Some`, as often as they are nested.
    Some(Box<Self>),
    Bool(bool),
    Unsigned(u128),
    Signed(i128),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

/// A number or flag of fixed width.
#[derive(Clone, Copy, Debug)]
enum Scalar {
    Unsigned(usize),
    Signed(usize),
    F32,
    F64,
    Bool,
}

impl Scalar {
    fn width(self) -> usize {
        match self {
            Self::Unsigned(width) | Self::Signed(width) => width,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Bool => 1,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Unsigned(width) => format!("u{}", 8 * width),
            Self::Signed(width) => format!("i{}", 8 * width),
            Self::F32 => "f32".to_owned(),
            Self::F64 => "f64".to_owned(),
            Self::Bool => "bool".to_owned(),
        }
    }

    /// `bytes` has the width.
    fn value(self, bytes: &[u8]) -> Untyped {
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if is_negative && matches!(self, Self::Signed(_)) { 0xFF } else { 0 };
        let mut wide = [fill; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        let number = u128::from_le_bytes(wide);
        match self {
            Self::Unsigned(_) => Untyped::Unsigned(number),
            Self::Signed(_) => Untyped::Signed(number as i128),
            Self::F32 => Untyped::F32(f32::from_bits(number as u32)),
            Self::F64 => Untyped::F64(f64::from_bits(number as u64)),
            Self::Bool if number > 1 => Untyped::Bytes(bytes.to_vec()),
            Self::Bool => Untyped::Bool(number == 1),
        }
    }
}

/// What values of a fixed-width encoding consist of; nothing for others.
fn scalars(encoding: Encoding) -> &'static [Scalar] {
    const U32: Scalar = Scalar::Unsigned(4);
    const U64: Scalar = Scalar::Unsigned(8);
    const I64: Scalar = Scalar::Signed(8);
    const F64: Scalar = Scalar::F64;
    match encoding.0 {
        1 => &[Scalar::Unsigned(1)],
        2 => &[Scalar::Unsigned(2)],
        3 => &[U32],
        4 => &[U64],
        5 => &[Scalar::Unsigned(16)],
        6 => &[Scalar::Signed(1)],
        7 => &[Scalar::Signed(2)],
        8 => &[Scalar::Signed(4)],
        9 => &[I64],
        10 => &[Scalar::Signed(16)],
        11 => &[Scalar::F32],
        12 => &[F64],
        13 => &[Scalar::Bool],
        20 => &[U32, U32],
        21 => &[U64, U64],
        22 => &[I64, I64],
        23 => &[F64, F64],
        24 => &[U64, U32],
        25 => &[U32, U64],
        26 => &[U64, I64],
        27 => &[I64, U64],
        28 => &[U64, F64],
        29 => &[F64, U64],
        30 => &[I64, F64],
        31 => &[F64, I64],
        40 => &[U64, U64, U64],
        41 => &[I64, I64, I64],
        42 => &[F64, F64, F64],
        43 => &[U64, I64, I64],
        44 => &[U64, F64, F64],
        _ => &[],
    }
}

/// The encoding as people call it: `u64`, `(u64, f64)`, `MessagePack`, or by its number one that is unknown here.
pub(crate) fn encoding_name(encoding: Encoding) -> String {
    let names: Vec<String> = scalars(encoding).iter().map(|scalar| scalar.name()).collect();
    match &names[..] {
        [] if encoding == Encoding::MESSAGE_PACK => "MessagePack".to_owned(),
        [] if encoding == Encoding::COMPACT => "MessagePack, compact".to_owned(),
        [] => format!("unknown (encoding {})", encoding.0),
        [name] => name.clone(),
        names => format!("({})", names.join(", ")),
    }
}

/// A key or value that takes up all of `bytes`. What does not read as its encoding says is shown as bytes.
pub(crate) fn shown(encoding: Encoding, bytes: &[u8]) -> Untyped {
    let parts = scalars(encoding);
    if parts.is_empty() {
        let is_known = [Encoding::MESSAGE_PACK, Encoding::COMPACT].contains(&encoding);
        return message_pack(bytes).filter(|_| is_known).unwrap_or_else(|| Untyped::Bytes(bytes.to_vec()));
    }
    if parts.iter().map(|part| part.width()).sum::<usize>() != bytes.len() {
        return Untyped::Bytes(bytes.to_vec());
    }
    let mut rest = bytes;
    let mut values: Vec<Untyped> = Vec::with_capacity(parts.len());
    for part in parts {
        let (value, later) = rest.split_at(part.width());
        values.push(part.value(value));
        rest = later;
    }
    if values.len() == 1 { values.remove(0) } else { Untyped::List(values) }
}

fn message_pack(mut bytes: &[u8]) -> Option<Untyped> {
    let value: Untyped = message_pack::take(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

/// The items of a list that the engine keeps for a subtask: `[version, [item...]]`. `None` for anything else.
pub(crate) fn list_items(section: &[u8]) -> Option<Vec<Untyped>> {
    match message_pack(section)? {
        Untyped::List(fields) => match <[Untyped; 2]>::try_from(fields).ok()? {
            [Untyped::Unsigned(_), Untyped::List(items)] => Some(items),
            _ => None,
        },
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Untyped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MessagePack value")
    }

    fn visit_unit<E>(self) -> Result<Untyped, E> {
        Ok(Untyped::Nil)
    }

    fn visit_none<E>(self) -> Result<Untyped, E> {
        Ok(Untyped::Nil)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Untyped, D::Error> {
        Ok(Untyped::Some(Box::new(Untyped::deserialize(deserializer)?)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Untyped, E> {
        Ok(Untyped::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Untyped, E> {
        Ok(Untyped::Unsigned(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Untyped, E> {
        Ok(Untyped::Signed(value.into()))
    }

    fn visit_f32<E>(self, value: f32) -> Result<Untyped, E> {
        Ok(Untyped::F32(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Untyped, E> {
        Ok(Untyped::F64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Untyped, E> {
        Ok(Untyped::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Untyped, E> {
        Ok(Untyped::Bytes(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Untyped, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Untyped::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Untyped, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Untyped::Map(map))
    }

    /// An extension type: its number and its bytes.
    fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Untyped, D::Error> {
        Untyped::deserialize(deserializer)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Untyped, A::Error> {
        Err(serde::de::Error::custom("an enum that does not describe itself"))
    }
}

impl Serialize for Untyped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Some(value) => marked(serializer, "$some", value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => match u64::try_from(*value) {
                Ok(value) => serializer.serialize_u64(value),
                Err(_) => serializer.serialize_u128(*value),
            },
            Self::Signed(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Self::F32(value) if value.is_finite() => serializer.serialize_f32(*value),
            Self::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::F32(value) => serializer.serialize_str(&value.to_string()),
            Self::F64(value) => serializer.serialize_str(&value.to_string()),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(bytes) => marked(serializer, "$bytes", &hex(bytes)),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) if fields.iter().all(|(name, _)| matches!(name, Self::Text(_))) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
            Self::Map(fields) => marked(serializer, "$map", fields),
        }
    }
}

fn marked<S: Serializer, T: Serialize + ?Sized>(serializer: S, mark: &str, value: &T) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(mark, value)?;
    map.end()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{fixed, put};
    use super::*;

    fn json<T: serde::Serialize + serde::de::DeserializeOwned + 'static>(value: &T) -> String {
        let mut bytes = Vec::new();
        put(value, &mut bytes).unwrap();
        serde_json::to_string(&shown(fixed::encoding_of::<T>(), &bytes)).unwrap()
    }

    #[test]
    fn every_encoding_has_the_width_it_is_stored_with() {
        for code in 0..=u8::MAX {
            let parts = scalars(Encoding(code));
            let width = (!parts.is_empty()).then(|| parts.iter().map(|part| part.width()).sum::<usize>());
            assert_eq!(width, fixed::width(Encoding(code)), "encoding {code}");
        }
        assert_eq!(encoding_name(Encoding(28)), "(u64, f64)");
        assert_eq!(encoding_name(Encoding(0)), "MessagePack");
        assert_eq!(encoding_name(Encoding(99)), "unknown (encoding 99)");
    }

    #[test]
    fn numbers_are_exact_and_what_is_not_finite_is_text() {
        assert_eq!(json(&u64::MAX), "18446744073709551615");
        assert_eq!(json(&u128::MAX), u128::MAX.to_string());
        assert_eq!(json(&i128::MIN), i128::MIN.to_string());
        assert_eq!(json(&-5i8), "-5");
        assert_eq!(json(&200u8), "200");
        assert_eq!(json(&0.1f32), "0.1");
        assert_eq!(json(&(f64::NAN, f64::NEG_INFINITY)), r#"["NaN","-inf"]"#);
        assert_eq!(json(&(7u64, -7i64, i64::MIN)), r#"[7,-7,-9223372036854775808]"#);
        assert_eq!(json(&true), "true");
    }

    #[test]
    fn message_pack_is_shown_by_its_own_names() {
        #[derive(serde::Serialize, serde::Deserialize)]
        enum Kind {
            Plain,
            Of(u8),
        }
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Row {
            name: String,
            kinds: Vec<Kind>,
            by_number: BTreeMap<u32, Option<f64>>,
            not_a_number: f64,
        }
        let row = Row {
            name: "Zürich \"HB\"".to_owned(),
            kinds: vec![Kind::Plain, Kind::Of(3)],
            by_number: BTreeMap::from([(1, None), (2, Some(0.5))]),
            not_a_number: f64::NAN,
        };
        assert_eq!(
            json(&row),
            r#"{"name":"Zürich \"HB\"","kinds":["Plain",{"Of":3}],"by_number":{"$map":[[1,null],[2,0.5]]},"not_a_number":"NaN"}"#
        );
        assert_eq!(json(&String::from("text")), r#""text""#);
        assert_eq!(json(&[Some(Some(1u8)), Some(None), None]), r#"[1,{"$some":null},null]"#);
    }

    #[test]
    fn what_does_not_read_as_it_should_is_shown_as_bytes() {
        let shown = |code, bytes: &[u8]| serde_json::to_string(&shown(Encoding(code), bytes)).unwrap();
        assert_eq!(shown(99, &[1, 0xAB]), r#"{"$bytes":"01ab"}"#);
        assert_eq!(shown(4, &[1, 2]), r#"{"$bytes":"0102"}"#);
        assert_eq!(shown(0, &[0xC1]), r#"{"$bytes":"c1"}"#, "a byte that MessagePack never uses");
        assert_eq!(shown(0, &[1, 1]), r#"{"$bytes":"0101"}"#, "two values");
        assert_eq!(shown(13, &[2]), r#"{"$bytes":"02"}"#);
        let binary = [0xC4, 2, 9, 8];
        assert_eq!(shown(0, &binary), r#"{"$bytes":"0908"}"#);
    }

    #[test]
    fn lists_of_the_engine_are_taken_apart() {
        let mut bytes = Vec::new();
        rmp_serde::encode::write(&mut bytes, &(1u8, [("split", 5u64)])).unwrap();
        let items = list_items(&bytes).unwrap();
        assert_eq!(serde_json::to_string(&items).unwrap(), r#"[["split",5]]"#);
        assert_eq!(list_items(&[]), None);
        assert_eq!(list_items(&bytes[1..]), None);
    }
}
