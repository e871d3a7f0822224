//! Every decoder of stored bytes, so that each can be given bytes that nobody has stored.

use millstream_actors::contract::SplitPosition;

use crate::decoder::Decoder;
use crate::{sink, snapshot, source, state};

/// All of them.
///
/// ```
/// for decoder in millstream::testing::decoders() {
///     for bytes in decoder.examples() {
///         decoder.decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", decoder.name()));
///     }
/// }
/// ```
pub fn decoders() -> Vec<Decoder> {
    let mut all = state::decoders();
    all.extend(snapshot::decoders());
    all.extend(sink::decoders());
    all.push(Decoder::new(
        "source position",
        vec![source::encode_position("s", &(7u64, "a".to_owned())).position],
        |bytes| {
            let stored = SplitPosition::new("s", bytes);
            source::decode_position::<(u64, String)>(&stored).map(drop).map_err(|error| error.to_string())
        },
    ));
    all
}
