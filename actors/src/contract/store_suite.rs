//! What every [`SnapshotStore`] must do, as checks that panic with what was expected and what was found.
//!
//! For a store of your own, call [`check_store`] in a test:
//!
//! ```ignore
//! #[test]
//! fn my_store_fulfils_the_contract() {
//!     millstream::snapshot::store_suite::check_store(|| Arc::new(MyStore::new_in_an_empty_place()));
//! }
//! ```
//!
//! What only the store itself can arrange, damaged bytes and power cuts, is for its own tests.

mod completion;
mod copies;
mod fixtures;
mod lives;
mod retention;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use self::completion::*;
use self::copies::*;
use self::lives::*;
use self::retention::*;
use super::SnapshotStore;
use crate::protocol::Incarnation;

const JOB: &str = "suite";
const FLOOR: Incarnation = Incarnation(1_000);

type Store = Arc<dyn SnapshotStore>;
type Check = (&'static str, fn(&Store));

/// Runs every check, each on a new store from `fresh`, which must answer an empty one at each call.
///
/// # Panics
/// At the first violation, naming the check.
pub fn check_store(fresh: impl Fn() -> Arc<dyn SnapshotStore>) {
    let checks: [Check; 21] = [
        ("an empty store opens with nothing in it", check_empty),
        ("incarnations rise", check_incarnations),
        ("another job is refused", check_other_job),
        ("an open store is locked", check_locked),
        ("reserved ids outlive the life that reserved them", check_reserved_ids),
        ("a pause outlives the life that kept it", check_pause),
        ("a completed checkpoint reads back", check_round_trip),
        ("checkpoints expire oldest first", check_expiry),
        ("chunks of older checkpoints live while they are named", check_shared_chunks),
        ("a missing chunk prevents completion", check_missing_chunk),
        ("a wrong chunk prevents completion", check_wrong_chunk),
        ("a chunk of an earlier checkpoint that no retained one names is missing", check_unnamed_older_chunk),
        ("a chunk of an earlier checkpoint with other bytes is damaged", check_wrong_older_chunk),
        ("a chunk that is named stays as it is", check_named_chunk_stays),
        ("of chains of deltas only what is named stays", check_chains),
        ("a chunk stored again is replaced", check_replaced_chunk),
        ("garbage goes, pending chunks stay", check_garbage),
        ("abandoned checkpoints are reported until one completes", check_abandoned),
        ("reopening answers what is retained", check_reopen),
        ("a closed store refuses work", check_closed),
        ("several threads read at once", check_parallel_reads),
    ];
    for (name, check) in checks {
        run_check(name, || check(&fresh()));
    }
}

/// Checks of a store from which checkpoints are to be copied, and to which copies are brought back.
///
/// # Panics
/// At the first violation, naming the check.
pub fn check_copyable_store(fresh: impl Fn() -> Arc<dyn SnapshotStore>) {
    let checks: [Check; 3] = [
        ("pinned checkpoints stay readable", check_pins),
        ("an imported checkpoint is retained, and what was lost is reported", check_import),
        ("an import is verified", check_wrong_import),
    ];
    for (name, check) in checks {
        run_check(name, || check(&fresh()));
    }
}

fn run_check(name: &str, check: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(check)) {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        panic!("snapshot store violates '{name}': {}", text.unwrap_or("it panicked"));
    }
}
