//! A decoder of stored bytes, as the folders that store them offer it to [`testing::decoders`](crate::testing::decoders).

use std::fmt;

type Decode = Box<dyn Fn(&[u8]) -> Result<(), String>>;

/// A decoder of what is stored in snapshots, savepoints or beside them, behind its checksums.
///
/// Whatever it is given, it returns, and takes memory in proportion to it. [`decoders`](crate::testing::decoders) has an
/// example.
pub struct Decoder {
    name: &'static str,
    examples: Vec<Vec<u8>>,
    decode: Decode,
}

impl Decoder {
    pub(crate) fn new(
        name: &'static str,
        examples: Vec<Vec<u8>>,
        decode: impl Fn(&[u8]) -> Result<(), String> + 'static,
    ) -> Self {
        Self { name, examples, decode: Box::new(decode) }
    }

    /// What it decodes.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes that it takes.
    pub fn examples(&self) -> &[Vec<u8>] {
        &self.examples
    }

    /// Decodes.
    ///
    /// # Errors
    /// What the bytes lack.
    pub fn decode(&self, bytes: &[u8]) -> Result<(), String> {
        (self.decode)(bytes)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decoder({})", self.name)
    }
}
