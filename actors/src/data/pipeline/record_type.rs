//! The type of the records of a stream, known when a program runs.

use std::any::{TypeId, type_name};

/// A type of records, and its name.
#[derive(Clone, Copy, Debug)]
pub struct RecordType {
    id: TypeId,
    name: &'static str,
}

impl RecordType {
    /// That of `T`.
    pub fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }

    /// Its name, for people to read.
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl PartialEq for RecordType {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for RecordType {}
