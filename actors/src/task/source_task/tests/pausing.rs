//! Sources of a job that is paused.

use super::*;
use crate::task::SetPaused;

impl Rig {
    /// Has it paused, or not; what it has read by then has been heard.
    async fn set_paused(&mut self, paused: bool) -> Vec<Heard> {
        self.orders().pause.send(SetPaused { paused }).await.unwrap();
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    fn wake(&self) {
        self.waker.lock().unwrap().as_ref().expect("it is open").wake();
    }

    /// It has taken all that was sent to it.
    async fn settled(&self) {
        for _ in 0..50 {
            actix_rt::task::yield_now().await;
        }
    }
}

#[test]
fn paused_source_answers_barriers_and_reads_nothing_however_it_is_woken() {
    System::new().block_on(async {
        let idle = ReadStatus::Idle { retry_after: Some(Duration::from_secs(1)) };
        let mut rig = Rig::start(vec![idle, ReadStatus::Idle { retry_after: None }]).await;
        assert_eq!(rig.next().await, Heard::Read);
        for _ in 0..2 {
            assert!(rig.set_paused(true).await.is_empty());
        }
        // Its alarm, and whoever adds records.
        rig.clock.advance(Duration::from_secs(1));
        rig.wake();
        rig.settled().await;
        rig.ask(1);
        assert_eq!(rig.next().await, Heard::Begun(CheckpointId(1)));
        assert_eq!(rig.next().await, Heard::Acknowledged(CheckpointId(1)));
        rig.settled().await;
        assert!(rig.set_paused(true).await.is_empty());
        let heard = rig.set_paused(false).await;
        assert_eq!(heard, [Heard::Read], "it looks again");
        assert!(rig.set_paused(false).await.is_empty());
    });
}

#[test]
fn source_that_is_paused_before_it_begins_begins_paused() {
    System::new().block_on(async {
        let mut rig = Rig::unbegun(vec![ReadStatus::More, ReadStatus::End]).await;
        rig.orders().pause.do_send(SetPaused { paused: true });
        rig.orders().begin.do_send(BeginReading);
        rig.settled().await;
        rig.ask(1);
        assert_eq!(rig.next().await, Heard::Begun(CheckpointId(1)));
        assert_eq!(rig.next().await, Heard::Acknowledged(CheckpointId(1)));
        rig.orders().pause.do_send(SetPaused { paused: false });
        for expected in [Heard::Read, Heard::Read, Heard::Halted(SourceState::Ended)] {
            assert_eq!(rig.next().await, expected);
        }
        assert!(rig.set_paused(true).await.is_empty(), "it stays ended");
        assert!(rig.set_paused(false).await.is_empty());
    });
}

#[test]
fn paused_source_that_is_stopped_stays_so_and_one_that_finishes_reads_to_its_end() {
    System::new().block_on(async {
        let idle = ReadStatus::Idle { retry_after: None };
        let mut rig = Rig::with((vec![idle], vec![ReadStatus::More, ReadStatus::End]), &[], false).await;
        assert_eq!(rig.next().await, Heard::Read);
        rig.set_paused(true).await;
        rig.orders().stop_reading.do_send(StopReading);
        let mut heard = [rig.next().await, rig.next().await];
        heard.sort_by_key(|heard| *heard != Heard::ToldStopped);
        assert_eq!(heard, [Heard::ToldStopped, Heard::Halted(SourceState::Stopped)]);
        assert!(rig.set_paused(false).await.is_empty(), "it has stopped");
        rig.set_paused(true).await;
        rig.orders().finish.do_send(FinishInput { after_records: 0 });
        let mut heard = Vec::new();
        while heard.last() != Some(&Heard::Halted(SourceState::Ended)) {
            heard.push(rig.next().await);
        }
        heard.retain(|heard| *heard != Heard::Halted(SourceState::Reading));
        assert_eq!(heard, [Heard::ToldFinish, Heard::Read, Heard::Read, Heard::Halted(SourceState::Ended)]);
    });
}

#[test]
fn operators_of_a_paused_source_are_woken() {
    System::new().block_on(async {
        let mut rig = Rig::with_times(vec![ReadStatus::Idle { retry_after: None }], &[5], false).await;
        assert_eq!(rig.next().await, Heard::Read);
        rig.set_paused(true).await;
        rig.clock.advance(Duration::from_secs(5));
        assert_eq!(rig.next().await, Heard::Woken(5));
    });
}
