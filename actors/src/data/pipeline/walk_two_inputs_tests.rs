use super::super::super::head::TwoInputChain;
use super::super::super::two_inputs::TwoInputs;
use super::*;
use crate::contract::TwoInputOperator;
use crate::data::input_batch::EitherBatch;

/// An operator for each input. Marks and times are those of the first, and state is that of the second.
struct Both {
    first: Op,
    second: Op,
}

impl TwoInputOperator for Both {
    type First = u32;
    type Second = u64;
    type Out = u32;

    fn process_first(
        &mut self,
        input: &mut Batch<u32>,
        out: &mut Output<u32>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.first.process(input, out, budget)
    }

    fn process_second(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<u32>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let mut records: Batch<u32> = input.drain().map(|record| record as u32).collect();
        let progress = self.second.process(&mut records, out, budget)?;
        records.drain().for_each(|record| input.push(record.into(), 0));
        Ok(progress)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u32>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.first.mark(mark, out, budget)
    }

    fn due(&self) -> Option<Duration> {
        self.first.due()
    }

    fn wake(&mut self, out: &mut Output<u32>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.first.wake(out, budget)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.second.stateful()
    }
}

/// A chain that begins with such an operator.
struct TwoInputRig {
    rig: Rig<EitherBatch<u32, u64>>,
    /// Calls of the operator of each input; marks are calls of the first.
    calls: [Rc<Cell<usize>>; 2],
    due: Due,
    snapshot: Snapshot,
}

fn rig(inputs: [Does; 2], behind: impl IntoIterator<Item = Does>) -> TwoInputRig {
    let (first, second, out) = (Queue::default(), Queue::default(), Queue::default());
    let calls: [Rc<Cell<usize>>; 2] = Default::default();
    let snapshot = Snapshot { slices: 2, ..Snapshot::default() };
    let due = Due::default();
    let op = |input: usize| {
        let (calls, due, side) = (calls[input].clone(), due.clone(), Queue::default());
        Op { does: inputs[input], calls, turns: 0, held: None, due, emitted: 0, side, snapshot: snapshot.clone() }
    };
    let operator = Both { first: op(0), second: op(1) };
    let intake = TwoInputs::new(operator, first.clone(), second.clone(), (None, None));
    let id = OperatorId::from("two inputs");
    let (sides, counters) = (Vec::new(), Arc::default());
    let link = Link { id: id.clone(), intake, out: out.clone(), holds_end: false, sides, counters };
    let stage = StageSlot::new(Some(id), Box::new(link));
    let behind = behind.into_iter().map(|does| (does, Snapshot::default()));
    let rig = rig_behind(TwoInputChain { first, second }, vec![stage], out, behind);
    TwoInputRig { rig, calls, due, snapshot }
}

fn first(records: std::ops::Range<u32>) -> EitherBatch<u32, u64> {
    EitherBatch::First(Box::new(records.collect()))
}

fn second(records: std::ops::Range<u64>) -> EitherBatch<u32, u64> {
    EitherBatch::Second(Box::new(records.collect()))
}

impl TwoInputRig {
    fn try_push(&mut self, batch: &mut EitherBatch<u32, u64>) -> Progress {
        self.rig.pipeline.push(batch, &mut budget()).unwrap()
    }

    /// Until it is done; gives how often it was suspended.
    fn push(&mut self, mut batch: EitherBatch<u32, u64>) -> usize {
        let suspended =
            suspensions(&mut self.rig.pipeline, |pipeline| pipeline.push(&mut batch, &mut budget()).unwrap());
        assert_eq!(batch.records(), 0, "it is taken");
        suspended
    }

    fn calls(&self) -> [usize; 2] {
        [self.calls[0].take(), self.calls[1].take()]
    }
}

#[test]
fn batch_goes_to_the_input_that_it_is_tagged_for() {
    let mut rig = rig([Does::Emits(1), Does::Emits(2)], []);
    for (batch, calls) in [(first(0..2), [1, 0]), (second(5..7), [0, 1]), (first(2..3), [1, 0]), (second(7..8), [0, 1])]
    {
        assert_eq!((rig.push(batch), rig.calls()), (0, calls));
    }
    assert_eq!(rig.rig.records(), [0, 1, 5, 5, 6, 6, 2, 7, 7]);
}

#[test]
fn operator_of_two_inputs_that_is_done_is_not_called_again_because_a_later_one_was_suspended() {
    let mut rig = rig([Does::Emits(1), Does::Emits(1)], [Does::Dawdles]);
    assert_eq!((rig.push(first(0..3)), rig.calls(), rig.rig.calls()), (2, [1, 0], vec![3]));
    assert_eq!((rig.push(second(0..3)), rig.calls(), rig.rig.calls()), (2, [0, 1], vec![3]));
    for mark in [Mark::Watermark(7), Mark::Idle, Mark::End] {
        assert_eq!((rig.rig.mark(mark), rig.calls(), rig.rig.calls()), (2, [1, 0], vec![3]), "{mark:?}");
    }
}

#[test]
fn suspended_operator_of_two_inputs_is_called_for_the_same_input_until_it_is_done() {
    let mut rig = rig([Does::Dawdles, Does::Dawdles], []);
    assert_eq!((rig.push(second(0..3)), rig.calls()), (2, [0, 3]));
    assert_eq!((rig.push(first(0..3)), rig.calls()), (2, [3, 0]));
    assert_eq!((rig.rig.mark(Mark::Watermark(7)), rig.calls()), (2, [3, 0]));
}

#[test]
fn what_a_blocked_edge_leaves_of_a_batch_stays_with_its_input() {
    for (mut batch, calls) in [(first(0..3), [1, 0]), (second(0..3), [0, 1])] {
        let mut rig = rig([Does::Emits(2000), Does::Emits(2000)], []);
        rig.rig.main_blocked.set(true);
        for _ in 0..3 {
            assert_eq!((rig.try_push(&mut batch), batch.records()), (Progress::Suspended, 2));
        }
        assert_eq!(rig.calls(), calls, "nothing is called until the edge has credit");
        rig.rig.main_blocked.set(false);
        assert_eq!((rig.try_push(&mut batch), batch.records()), (Progress::Done, 0));
        assert_eq!((rig.rig.records().len(), rig.calls()), (6000, calls.map(|calls| calls * 2)));
    }
}

#[test]
fn marks_of_both_inputs_come_once_and_behind_their_records() {
    let mut rig = rig([Does::Emits(1), Does::Emits(1)], []);
    rig.push(second(1..2));
    rig.rig.mark(Mark::Watermark(7));
    rig.push(first(2..3));
    rig.rig.mark(Mark::End);
    let (one, two) = (Seen::Records(vec![1]), Seen::Records(vec![2]));
    assert_eq!(*rig.rig.main.borrow(), [one, Seen::Mark(Mark::Watermark(7)), two, Seen::Mark(Mark::End)]);
}

#[test]
fn operator_of_two_inputs_is_woken_and_an_idle_stream_stays_idle_until_either_input_has_records() {
    let idle = Seen::Mark(Mark::Idle);
    for (batch, record) in [(first(1..2), 1), (second(2..3), 2)] {
        let mut rig = rig([Does::Emits(1), Does::Emits(1)], []);
        let wake = |rig: &mut TwoInputRig| {
            rig.due.set(Some(Duration::from_secs(9)));
            assert_eq!(rig.rig.wake(9), 0);
            rig.rig.main.take()
        };
        rig.rig.mark(Mark::Idle);
        assert_eq!(wake(&mut rig), [idle.clone(), Seen::Records(vec![9]), idle.clone()]);
        rig.push(batch);
        assert_eq!(wake(&mut rig), [record, 9].map(|record| Seen::Records(vec![record])));
    }
}

#[test]
#[should_panic(expected = "a batch comes before Mark(Idle) is done")]
fn batch_before_a_mark_is_done_panics() {
    let mut rig = rig([Does::Dawdles, Does::Dawdles], []);
    let _ = rig.rig.pipeline.mark(Mark::Idle, &mut budget());
    rig.push(second(0..1));
}

#[test]
#[should_panic(expected = "'two inputs' is done with the end and has not passed it on")]
fn end_that_an_operator_of_two_inputs_withholds_panics() {
    rig([Does::Withholds, Does::Withholds], []).rig.mark(Mark::End);
}

#[test]
fn state_of_an_operator_of_two_inputs_is_written_as_that_of_any_other() {
    let mut rig = rig([Does::Emits(1), Does::Emits(1)], []);
    rig.push(first(0..3));
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    assert_eq!(rig.rig.pipeline.snapshot(&mut writer).unwrap(), Progress::Suspended);
    assert_eq!(rig.rig.pipeline.continue_snapshot(&mut writer, &mut budget()).unwrap(), Progress::Done);
    assert_eq!(rig.snapshot.asked.take(), ["begin", "go on"]);
}
