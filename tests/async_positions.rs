//! How positions of asynchronous sources are stored: R1 of `docs/semantics.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;

use futures_util::stream::{self, StreamExt};
use millstream::prelude::*;
use millstream::source::{Batch, Source};
use millstream::testing::source_context;
use tokio::sync::mpsc;

/// Where a record was, as a type that changes between two deployments.
mod place {
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub(super) struct Before {
        pub(super) page: u64,
        pub(super) index: u64,
    }

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub(super) struct After {
        pub(super) index: u64,
        #[serde(default)]
        pub(super) token: Option<String>,
        pub(super) page: u64,
    }
}

#[test]
fn position_whose_fields_are_swapped_and_added_between_two_starts_is_the_same_place() {
    let before = StreamSource::new(|_: Option<place::Before>| {
        stream::iter([Ok::<_, io::Error>((place::Before { page: 7, index: 3 }, ()))]).chain(stream::pending())
    });
    let mut reader = before.open(&source_context(0, 1), None).unwrap();
    reader.read(&mut Batch::new()).unwrap();
    let mut stored = Vec::new();
    reader.report_positions(&mut stored);
    let (tell, mut told) = mpsc::unbounded_channel();
    let after = StreamSource::new(move |from: Option<place::After>| {
        tell.send(from).unwrap();
        stream::pending::<Result<(place::After, ()), io::Error>>()
    });
    after.open(&source_context(0, 1), Some(stored)).unwrap();
    assert_eq!(told.try_recv().unwrap(), Some(place::After { index: 3, token: None, page: 7 }));
}
