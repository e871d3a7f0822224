//! Sources: where records come from, replayable from any position.

mod file;
mod position;
mod sequence;
mod splits;
mod spread;
mod throttled;
mod timed;
mod vec;

pub use file::{FileSource, FileSourceError, MalformedRecord, OnMalformed, Positioned};
pub use position::{decode_position, encode_position};
pub use sequence::SequenceSource;
pub use splits::{Split, SplitQueue};
pub use spread::spread_split_id;
pub use throttled::Throttled;
pub use timed::Timed;
pub use vec::VecSource;

pub use millstream_actors::contract::{
    Batch, Boundedness, CompletedPositions, ReadStatus, SideRecord, Source, SourceContext, SourceError, SourceReader,
    SourceWaker, SplitPosition, SplitRead, Threading,
};
pub use millstream_actors::protocol::may_pass;
