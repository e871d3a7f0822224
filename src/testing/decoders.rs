//! Every decoder of stored bytes, so that each can be given bytes that nobody has stored.

use std::fmt;

use millstream_actors::contract::SplitPosition;

use crate::{sink, snapshot, source, state};

type Decode = Box<dyn Fn(&[u8]) -> Result<(), String>>;

/// A decoder of what is stored in snapshots, savepoints or beside them, behind its checksums.
///
/// Whatever it is given, it returns, and takes memory in proportion to it.
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

/// All of them.
pub fn decoders() -> Vec<Decoder> {
    let mut all = state::decoders();
    all.extend(snapshot::decoders());
    all.extend(sink::decoders());
    all.push(Decoder::new(
        "source position",
        vec![source::encode_position("s", &(7u64, "a".to_owned())).position],
        |bytes| {
            let stored = SplitPosition { split: "s".into(), position: bytes.to_vec() };
            source::decode_position::<(u64, String)>(&stored).map(drop).map_err(|error| error.to_string())
        },
    ));
    all
}
