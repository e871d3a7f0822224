use super::*;

fn at(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

impl<B: InputBatch> Rig<B> {
    fn try_wake(&mut self, now: u64) -> Progress {
        self.pipeline.wake(Duration::from_secs(now), &mut budget()).unwrap()
    }

    /// Until it is done; gives how often it was suspended.
    pub(super) fn wake(&mut self, now: u64) -> usize {
        suspensions(&mut self.pipeline, |pipeline| pipeline.wake(Duration::from_secs(now), &mut budget()).unwrap())
    }

    fn set_due<const N: usize>(&mut self, due: [Option<Duration>; N]) {
        assert_eq!(self.due.len(), N);
        self.due.iter().zip(due).for_each(|(of_operator, due)| of_operator.set(due));
    }
}

#[test]
fn operators_are_woken_in_the_order_of_their_times_and_of_equal_ones_the_later_first() {
    let mut rig = rig([Does::Emits(1), Does::Emits(2), Does::Emits(1), Does::Emits(1)]);
    assert_eq!(rig.pipeline.due(), None);
    rig.set_due([at(5), at(3), at(5), at(9)]);
    assert_eq!((rig.pipeline.due(), rig.wake(2), rig.calls()), (at(3), 0, vec![0; 4]));
    assert_eq!(rig.wake(5), 0);
    // What the first emits is doubled on its way.
    assert_eq!(rig.main.take(), [vec![3, 3], vec![5], vec![5, 5]].map(Seen::Records));
    assert_eq!((rig.pipeline.due(), rig.calls()), (at(9), vec![1, 2, 3, 3]));
}

#[test]
fn operator_that_is_due_still_is_woken_once_and_so_is_one_that_another_has_made_due() {
    let mut rig = rig([Does::Insists, Does::Emits(1)]);
    rig.set_due([at(3), at(3)]);
    assert_eq!((rig.wake(7), rig.records()), (0, vec![3, 3]));
    assert_eq!((rig.calls(), rig.pipeline.due()), (vec![1, 2], at(3)));
    assert_eq!((rig.wake(7), rig.calls()), (0, vec![1, 1]), "the next wake-up comes to it again");
}

#[test]
fn wake_up_in_whose_middle_an_edge_is_blocked_goes_on_where_it_was() {
    let mut rig = rig([Does::Emits(1), Does::Emits(3000), Does::Emits(1)]);
    rig.set_due([at(5), at(4), None]);
    rig.main_blocked.set(true);
    for _ in 0..3 {
        assert_eq!(rig.try_wake(5), Progress::Suspended);
    }
    assert_eq!(rig.calls(), [0, 1, 1], "nothing is called until the edge has credit");
    rig.main_blocked.set(false);
    assert_eq!(rig.try_wake(5), Progress::Done);
    assert_eq!(rig.records(), [[4; 3000], [5; 3000]].concat());
    // The second emits three batches when it is woken, by a call each, and then as many for the record of the first.
    assert_eq!(rig.calls(), [1, 2 + 1, 2 + 3]);
}

#[test]
fn operator_that_runs_out_of_time_is_woken_again_before_anything_else() {
    let mut rig = rig([Does::Dawdles, Does::Dawdles]);
    rig.set_due([at(1), at(2)]);
    assert_eq!((rig.wake(2), rig.calls(), rig.records()), (6, vec![3, 6], vec![1, 2]));
}

#[test]
fn side_output_that_waits_for_credit_holds_the_wake_up_of_its_operator() {
    let mut rig = rig([Does::Diverts, Does::Emits(1)]);
    rig.set_due([at(4), None]);
    rig.sides_blocked.set(true);
    assert_eq!((rig.try_wake(4), rig.try_wake(4), rig.calls()), (Progress::Suspended, Progress::Suspended, vec![0, 0]));
    rig.sides_blocked.set(false);
    assert_eq!((rig.try_wake(4), rig.calls()), (Progress::Done, vec![1, 0]));
    assert_eq!(*rig.sides[0].borrow(), [Seen::Records(vec![4])]);
}

#[test]
fn operator_that_has_ended_is_not_woken() {
    let mut rig = rig([Does::Emits(1), Does::HoldsBack]);
    rig.set_due([at(1), at(2)]);
    rig.mark(Mark::End);
    rig.calls();
    assert_eq!((rig.pipeline.due(), rig.wake(3), rig.calls()), (None, 0, vec![0, 0]));
}

#[test]
fn stream_that_is_idle_stays_idle_behind_what_a_wake_up_emits() {
    let (idle, five) = (Seen::Mark(Mark::Idle), Seen::Records(vec![5]));
    let mut rig = rig([Does::Diverts, Does::Emits(1)]);
    rig.mark(Mark::Idle);
    rig.main.take();
    rig.sides[0].take();
    for (due, main, side) in [
        ([None, at(5)], vec![five.clone(), idle.clone()], vec![]),
        ([at(5), None], vec![idle.clone()], vec![five.clone(), idle.clone()]),
    ] {
        rig.set_due(due);
        rig.wake(5);
        assert_eq!((rig.main.take(), rig.sides[0].take()), (main, side));
    }
    for active in [Does::Emits(1), Does::HoldsBack] {
        // A watermark that is held back came to an operator that had said idle.
        let mut rig = super::rig([active]);
        rig.mark(Mark::Idle);
        rig.mark(Mark::Watermark(1));
        rig.set_due([at(5)]);
        rig.wake(5);
        assert_eq!(rig.main.borrow().last(), Some(&five), "{active:?}");
    }
}

#[test]
fn records_end_the_idleness_that_an_operator_has_told_by_itself() {
    let mut rig = rig([Does::TellsIdle]);
    rig.set_due([at(9)]);
    rig.wake(9);
    rig.push([5]);
    // The stream before is idle, which this operator keeps to itself.
    rig.mark(Mark::Idle);
    rig.set_due([at(4)]);
    rig.wake(4);
    assert_eq!(rig.main.take(), [Seen::Mark(Mark::Idle), Seen::Records(vec![5]), Seen::Records(vec![4])]);
}

#[test]
#[should_panic(expected = "a barrier comes in the middle of a step")]
fn barrier_in_the_middle_of_a_wake_up_panics() {
    let mut rig = rig([Does::Dawdles]);
    rig.set_due([at(1)]);
    assert_eq!(rig.try_wake(1), Progress::Suspended);
    rig.pipeline.barrier(Barrier { checkpoint: CheckpointId(1), base: CheckpointId::NONE });
}

#[test]
#[should_panic(expected = "a batch comes before WakeUp(0) is done")]
fn batch_in_the_middle_of_a_wake_up_panics() {
    let mut rig = rig([Does::Dawdles]);
    rig.set_due([at(1)]);
    assert_eq!(rig.try_wake(1), Progress::Suspended);
    rig.push([1]);
}

#[test]
#[should_panic(expected = "a wake-up comes before Mark(Idle) is done")]
fn wake_up_in_the_middle_of_a_mark_panics() {
    let mut rig = rig([Does::Dawdles]);
    let _ = rig.pipeline.mark(Mark::Idle, &mut budget());
    rig.wake(1);
}

#[test]
#[should_panic(expected = "'operator 0' emits the end when it is woken")]
fn end_that_is_emitted_in_a_wake_up_panics() {
    let mut rig = rig([Does::EndsEarly]);
    rig.set_due([at(1)]);
    rig.wake(1);
}
