//! Sources: where records come from, replayable from any position.

#[cfg(test)]
pub(crate) mod driver;
mod file;
mod position;
mod sequence;
mod throttled;
mod vec;

pub(crate) use position::{decode as decode_position, encode as encode_position};

pub use file::{FileSource, MalformedRecord, OnMalformed, Positioned};
pub use sequence::SequenceSource;
pub use throttled::Throttled;
pub use vec::VecSource;

pub use millstream_actors::contract::{
    Batch, Boundedness, ReadStatus, SideRecord, Source, SourceContext, SourceError, SourceReader, SourceWaker,
    SplitPosition, Threading,
};
