//! Sources that end by themselves when the job is told to finish.

use super::*;

#[test]
fn source_that_ends_on_finish_is_told_once_and_read_to_its_end_also_where_it_was_idle() {
    System::new().block_on(async {
        let idle = ReadStatus::Idle { retry_after: None };
        let at_finish = vec![ReadStatus::More, ReadStatus::More, ReadStatus::End];
        let mut rig = Rig::with((vec![idle], at_finish), &[], false).await;
        assert_eq!(rig.next().await, Heard::Read);
        for _ in 0..2 {
            rig.orders().finish.do_send(FinishInput { after_records: 0 });
        }
        assert_eq!(rig.next().await, Heard::ToldFinish);
        for _ in 0..3 {
            assert_eq!(rig.next().await, Heard::Read);
        }
        assert_eq!(rig.next().await, Heard::Halted(SourceState::Ended));
        rig.ask(1);
        assert_eq!(rig.next().await, Heard::Begun(CheckpointId(1)), "it is not told again");
    });
}

#[test]
fn source_that_is_told_to_finish_before_it_begins_ends_by_itself() {
    System::new().block_on(async {
        let mut rig = Rig::with((vec![], vec![ReadStatus::End]), &[], false).await;
        rig.orders().finish.do_send(FinishInput { after_records: 7 });
        let mut heard = vec![rig.next().await, rig.next().await];
        while heard.last() != Some(&Heard::Halted(SourceState::Ended)) {
            heard.push(rig.next().await);
        }
        assert!(heard.contains(&Heard::ToldFinish), "{heard:?}");
    });
}

/// Cause: a source that ends by itself was left as it stood where the job was drained first, so `finish` gave the outcome of a
/// drain, or none. Repair: it reads on, is told, and is read to its end.
#[test]
fn source_that_was_stopped_and_ends_on_finish_reads_on_to_its_end() {
    System::new().block_on(async {
        let idle = ReadStatus::Idle { retry_after: None };
        let at_finish = vec![ReadStatus::More, ReadStatus::End];
        let mut rig = Rig::with((vec![idle], at_finish), &[], false).await;
        assert_eq!(rig.next().await, Heard::Read);
        rig.orders().stop_reading.do_send(StopReading);
        assert_eq!(rig.next().await, Heard::ToldStopped);
        assert_eq!(rig.next().await, Heard::Halted(SourceState::Stopped));
        for _ in 0..2 {
            rig.orders().finish.do_send(FinishInput { after_records: 0 });
        }
        let mut heard = Vec::new();
        while heard.last() != Some(&Heard::Halted(SourceState::Ended)) {
            heard.push(rig.next().await);
        }
        heard.retain(|heard| *heard != Heard::Halted(SourceState::Reading));
        assert_eq!(heard, [Heard::ToldFinish, Heard::Read, Heard::Read, Heard::Halted(SourceState::Ended)]);
    });
}
