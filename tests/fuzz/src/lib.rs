//! What the fuzz targets share.

use millstream::testing::{Decoder, decoders};

thread_local! {
    static DECODERS: Vec<Decoder> = decoders();
}

/// Gives bytes to the decoder of this name: it must return.
pub fn decode(name: &str, bytes: &[u8]) {
    DECODERS.with(|decoders| {
        let decoder = decoders.iter().find(|decoder| decoder.name() == name).expect("a decoder of this name");
        let _ = decoder.decode(bytes);
    });
}
