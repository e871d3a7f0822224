//! Sinks of one's own that hold records back.

use millstream::prelude::*;
use millstream::sink::{Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading};

/// Never gets as far as being opened.
struct Both;

impl Sink for Both {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn may_hold_back(&self) -> bool {
        true
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Err(SinkError::configuration("opened"))
    }
}

// Cause: a blocking sink's demand was never asked, and nothing told its author. Repair: it is a mistake.
#[test]
fn blocking_sink_that_may_hold_back_is_a_mistake() {
    let env = StreamEnvironment::new("both");
    env.source("numbers", SequenceSource::new(0..3)).sink("out", Both);
    let error = env.start().unwrap_err().to_string();
    assert!(error.contains("'out'") && error.contains("Sink::may_hold_back with Threading::Blocking"), "{error}");
}
