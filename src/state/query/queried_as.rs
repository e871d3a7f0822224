//! As what type the values of a state are queried.

use std::any::{Any, TypeId, type_name};

use serde::de::DeserializeOwned;

use crate::state::codec::{StateFormat, take_as};

/// Makes a value of the bytes that [`State::write`](crate::state::State::write) gave for a whole slot, on any thread.
pub(crate) type Decode = fn(StateFormat, &[u8]) -> Result<Box<dyn Any + Send>, String>;

/// As what type the values of a kind of state are queried.
#[derive(Clone, Copy, Debug)]
pub struct QueriedAs {
    pub(crate) type_id: TypeId,
    pub(crate) type_name: &'static str,
    pub(crate) decode: Decode,
}

impl QueriedAs {
    /// As `V`, which `decode` boxes.
    pub(crate) fn of<V: 'static>(decode: Decode) -> Self {
        Self { type_id: TypeId::of::<V>(), type_name: type_name::<V>(), decode }
    }
}

/// [`Decode`] of what is stored as one value.
pub(crate) fn decode_value<V: DeserializeOwned + Send + 'static>(
    format: StateFormat,
    mut bytes: &[u8],
) -> Result<Box<dyn Any + Send>, String> {
    let value: V = take_as(format.values, &mut bytes).map_err(|unfit| unfit.with_remedy())?;
    Ok(Box::new(value))
}
