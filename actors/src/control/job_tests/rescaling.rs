//! A job whose tasks make room for others.

use std::time::Duration;

use actix_rt::System;

use super::running::Setup;
use crate::protocol::Checkpointing;

#[test]
fn other_tasks_begin_in_all_regions_from_the_checkpoint_of_the_rescale() {
    System::new().block_on(async {
        let checkpointing = Checkpointing::every(Duration::from_secs(100_000));
        let setup = Setup { checkpointing, regions: 2, ..Setup::unbounded() };
        let script = setup.script.clone();
        let running = setup.launch();
        let rescaled = running.handle.rescale(3).await.expect("rescaled");
        assert_eq!((rescaled.from, rescaled.to), (2, 3));
        let starts = script.restored.lock().unwrap().clone();
        let of_tasks = |index| starts.iter().filter(|(subtask, ..)| subtask.index == index).count();
        assert_eq!([0, 1, 2, 3].map(of_tasks), [8, 8, 4, 0], "of two tasks in each of two regions");
        for (subtask, restored, withdraw) in &starts[8..] {
            assert!(*restored == rescaled.checkpoint && withdraw.is_empty(), "{subtask}: {restored:?}, {withdraw:?}");
        }
        assert_eq!(running.handle.cancel().await.expect("cancelled").restarts, 0);
    });
}
