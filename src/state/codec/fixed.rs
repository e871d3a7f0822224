//! Values of fixed width, written little-endian.
//!
//! Which types count is found out by downcasting: in generic code the comparison of type ids folds away when it is
//! compiled for one type, so it costs nothing per entry.

use std::any::Any;

/// How the keys or the values of a section are stored: [`Encoding::MESSAGE_PACK`], or the code of a fixed-width type, or
/// that of a collection. The codes are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding(pub(crate) u8);

impl Encoding {
    /// One MessagePack value after the other, structs with named fields.
    pub(crate) const MESSAGE_PACK: Self = Self(0);
    /// One MessagePack value after the other, structs as arrays.
    pub(crate) const COMPACT: Self = Self(64);
    /// This bit beside another encoding: each value has a deadline before it.
    pub(crate) const DEADLINE: u8 = 0x80;
    /// A list of values, or what was appended to it: see `kinds/list.rs`.
    pub(crate) const LIST: Self = Self(100);
    /// A map, or what has changed in it: see `kinds/map.rs`.
    pub(crate) const MAP: Self = Self(101);
}

/// Of all fixed-width types.
const WIDTH_MAX: usize = 24;

/// A number that is part of a fixed-width value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// 1, 2, 4 or 8.
    pub(super) bytes: u8,
    pub(super) kind: FieldKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    Unsigned,
    Signed,
    /// A float or flag: small ones do not have zeros at their end.
    Other,
}

/// Of the largest key and the largest value together.
const FIELDS_MAX: usize = 6;

/// The fields of a value, or of a key and its value, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    all: [Field; FIELDS_MAX],
    len: usize,
}

impl Fields {
    const fn one(bytes: usize, kind: FieldKind) -> Self {
        Self { all: [Field { bytes: bytes as u8, kind }; FIELDS_MAX], len: 1 }
    }

    /// These, and then the others.
    pub(super) const fn and(mut self, others: Self) -> Self {
        let mut at = 0;
        while at < others.len {
            self.all[self.len] = others.all[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    pub(super) fn as_slice(&self) -> &[Field] {
        &self.all[..self.len]
    }
}

trait Fixed: Copy + 'static {
    const WIDTH: usize;
    const FIELDS: Fields;
    /// Into exactly as many bytes as the width.
    fn put(self, bytes: &mut [u8]);
    /// `bytes` has the width. `None` if they are no value of the type.
    fn get(bytes: &[u8]) -> Option<Self>;
}

macro_rules! fixed_numbers {
    ($($fields:expr => $($number:ty),*);* $(;)?) => {$($(
        impl Fixed for $number {
            const WIDTH: usize = size_of::<$number>();
            const FIELDS: Fields = $fields(size_of::<$number>());
            #[inline]
            fn put(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn get(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }
    )*)*};
}
fixed_numbers! {
    unsigned => u8, u16, u32, u64, u128;
    signed => i8, i16, i32, i64, i128;
    other => f32, f64;
}

/// Numbers of more than eight bytes are two fields, the lower half first.
const fn unsigned(bytes: usize) -> Fields {
    match bytes {
        16 => unsigned(8).and(unsigned(8)),
        bytes => Fields::one(bytes, FieldKind::Unsigned),
    }
}

const fn signed(bytes: usize) -> Fields {
    match bytes {
        16 => unsigned(8).and(signed(8)),
        bytes => Fields::one(bytes, FieldKind::Signed),
    }
}

const fn other(bytes: usize) -> Fields {
    Fields::one(bytes, FieldKind::Other)
}

impl Fixed for bool {
    const WIDTH: usize = 1;
    const FIELDS: Fields = other(1);
    #[inline]
    fn put(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&[u8::from(self)]);
    }
    #[inline]
    fn get(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<A: Fixed, B: Fixed> Fixed for (A, B) {
    const WIDTH: usize = A::WIDTH + B::WIDTH;
    const FIELDS: Fields = A::FIELDS.and(B::FIELDS);
    #[inline]
    fn put(self, bytes: &mut [u8]) {
        let (a, b) = bytes.split_at_mut(A::WIDTH);
        self.0.put(a);
        self.1.put(b);
    }
    #[inline]
    fn get(bytes: &[u8]) -> Option<Self> {
        let (a, b) = bytes.split_at_checked(A::WIDTH)?;
        Some((A::get(a)?, B::get(b)?))
    }
}

impl<A: Fixed, B: Fixed, C: Fixed> Fixed for (A, B, C) {
    const WIDTH: usize = A::WIDTH + B::WIDTH + C::WIDTH;
    const FIELDS: Fields = A::FIELDS.and(B::FIELDS).and(C::FIELDS);
    #[inline]
    fn put(self, bytes: &mut [u8]) {
        let (a, rest) = bytes.split_at_mut(A::WIDTH);
        self.0.put(a);
        (self.1, self.2).put(rest);
    }
    #[inline]
    fn get(bytes: &[u8]) -> Option<Self> {
        let (a, rest) = bytes.split_at_checked(A::WIDTH)?;
        let (b, c) = <(B, C)>::get(rest)?;
        Some((A::get(a)?, b, c))
    }
}

/// Whether `what` is stored in a form that this version knows: one by one, and not as a list or map.
///
/// # Errors
/// That it is not.
pub(super) fn check_known(what: &str, encoding: Encoding) -> Result<(), String> {
    if [Encoding::MESSAGE_PACK, Encoding::COMPACT].contains(&encoding) || width(encoding).is_some() {
        return Ok(());
    }
    Err(format!("{what} have a form that this version does not know (encoding {})", encoding.0))
}

macro_rules! fixed_codes {
    ($($code:literal => $fixed:ty),* $(,)?) => {
        /// How values of type `T` are written.
        #[inline]
        pub(crate) fn encoding_of<T: 'static>() -> Encoding {
            let none: &dyn Any = &None::<T>;
            $(if none.is::<Option<$fixed>>() {
                return Encoding($code);
            })*
            Encoding::MESSAGE_PACK
        }

        /// The width of a value in bytes; `None` for MessagePack and for codes that do not exist.
        pub(crate) fn width(encoding: Encoding) -> Option<usize> {
            match encoding.0 {
                $($code => Some(<$fixed>::WIDTH),)*
                _ => None,
            }
        }

        /// What is stored so, as people call it.
        pub(crate) fn described(encoding: Encoding) -> String {
            match encoding {
                Encoding::MESSAGE_PACK => "a MessagePack value (a text, struct or other type of no fixed width)".to_owned(),
                Encoding::COMPACT => "a MessagePack value without field names".to_owned(),
                Encoding::LIST => "a list".to_owned(),
                Encoding::MAP => "a map".to_owned(),
                Encoding(code) => match code {
                    $($code => stringify!($fixed).to_owned(),)*
                    code if code & Encoding::DEADLINE != 0 => {
                        format!("{} that expires", described(Encoding(code & !Encoding::DEADLINE)))
                    }
                    code => format!("a value of a form that this version does not know (encoding {code})"),
                },
            }
        }

        /// The fields of a value; `None` for MessagePack and for codes that do not exist.
        pub(super) fn fields(encoding: Encoding) -> Option<Fields> {
            match encoding.0 {
                $($code => Some(<$fixed>::FIELDS),)*
                _ => None,
            }
        }

        /// The width of values of type `T`; `None` if they have no fixed one.
        #[inline]
        pub(crate) fn width_of<T: 'static>() -> Option<usize> {
            let none: &dyn Any = &None::<T>;
            $(if none.is::<Option<$fixed>>() {
                return Some(<$fixed>::WIDTH);
            })*
            None
        }

        /// Appends a fixed-width value. False, and nothing is done, if `T` is no fixed-width type.
        #[inline]
        pub(crate) fn put<T: 'static>(value: &T, bytes: &mut Vec<u8>) -> bool {
            let value: &dyn Any = value;
            $(if let Some(value) = value.downcast_ref::<$fixed>() {
                // In one go, so that there is one look at the capacity.
                let mut encoded = [0; WIDTH_MAX];
                let encoded = &mut encoded[..<$fixed>::WIDTH];
                value.put(encoded);
                bytes.extend_from_slice(encoded);
                return true;
            })*
            false
        }

        /// Reads a value that [`put`] wrote. `None` if `T` is no fixed-width type, or the bytes are none of its values.
        #[inline]
        pub(crate) fn get<T: 'static>(bytes: &[u8]) -> Option<T> {
            let mut value = None::<T>;
            let target: &mut dyn Any = &mut value;
            $(if let Some(target) = target.downcast_mut::<Option<$fixed>>() {
                *target = <$fixed>::get(bytes);
                return value;
            })*
            None
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn every_fixed_type_comes_back_and_has_its_own_code() {
                let mut codes = std::collections::BTreeSet::new();
                $(
                    assert!(codes.insert($code), "code {} is used twice", $code);
                    assert_eq!(encoding_of::<$fixed>(), Encoding($code));
                    assert_eq!(width(Encoding($code)), Some(<$fixed>::WIDTH));
                    let parts = fields(Encoding($code)).unwrap();
                    assert!(parts.len <= FIELDS_MAX / 2, "a key and a value together are {FIELDS_MAX} at most");
                    let widths = parts.as_slice().iter().map(|part| usize::from(part.bytes));
                    assert_eq!(widths.sum::<usize>(), <$fixed>::WIDTH);
                    let zeros = vec![0; <$fixed>::WIDTH];
                    let mut bytes = Vec::new();
                    assert!(put(&get::<$fixed>(&zeros).unwrap(), &mut bytes));
                    assert_eq!(bytes, zeros);
                    assert!(get::<$fixed>(&zeros[1..]).is_none(), "too short");
                )*
                let others = [Encoding::MESSAGE_PACK, Encoding::COMPACT, Encoding::LIST, Encoding::MAP];
                for other in others {
                    assert!(codes.insert(other.0), "code {} is used twice", other.0);
                    assert_eq!(width(other), None);
                }
                assert!(codes.iter().all(|code| code & Encoding::DEADLINE == 0));
            }

            #[test]
            fn columns_are_little_endian_and_other_types_are_refused() {
                let mut bytes = Vec::new();
                assert!(put(&(1u64, -2i64), &mut bytes));
                assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255, 255, 255, 255, 255]);
                assert_eq!(get::<(u64, i64)>(&bytes), Some((1, -2)));
                assert!(!put(&String::from("x"), &mut bytes));
                assert_eq!(get::<String>(&bytes), None);
                assert_eq!(get::<bool>(&[2]), None);
                assert_eq!(encoding_of::<String>(), Encoding::MESSAGE_PACK);
            }
        }
    };
}

fixed_codes! {
    1 => u8, 2 => u16, 3 => u32, 4 => u64, 5 => u128,
    6 => i8, 7 => i16, 8 => i32, 9 => i64, 10 => i128,
    11 => f32, 12 => f64, 13 => bool,
    20 => (u32, u32), 21 => (u64, u64), 22 => (i64, i64), 23 => (f64, f64),
    24 => (u64, u32), 25 => (u32, u64), 26 => (u64, i64), 27 => (i64, u64), 28 => (u64, f64), 29 => (f64, u64),
    30 => (i64, f64), 31 => (f64, i64),
    40 => (u64, u64, u64), 41 => (i64, i64, i64), 42 => (f64, f64, f64), 43 => (u64, i64, i64), 44 => (u64, f64, f64),
}
