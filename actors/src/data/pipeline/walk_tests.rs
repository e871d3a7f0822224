use std::cell::Cell;
use std::time::Duration;

use super::super::head::{Chain, Head};
use super::super::link::{Link, OneInput, Queue};
use super::*;
use crate::contract::{Batch, BatchOperator, Emitted, Output, RestoredSection, TakesMarks};

#[path = "walk_two_inputs_tests.rs"]
mod two_inputs;
#[path = "walk_wake_tests.rs"]
mod wake;

/// What came to the end of a chain or out at a side, in order.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Records(Vec<u32>),
    Mark(Mark),
}

type Log = Rc<RefCell<Vec<Seen>>>;

fn see(queue: &Queue<u32>, log: &Log) {
    queue.borrow_mut().drain(|emitted| {
        log.borrow_mut().push(match emitted {
            Emitted::Batch(batch) => Seen::Records(batch.drain().collect()),
            Emitted::Mark(mark) => Seen::Mark(mark),
        });
    });
}

/// The end of a chain, or the exit of a side output.
struct Collector {
    queue: Queue<u32>,
    log: Log,
    is_blocked: Rc<Cell<bool>>,
}

impl Stage for Collector {
    fn step(&mut self, _: &mut RunBudget) -> Result<Step, TaskError> {
        if self.is_blocked.get() {
            return Ok(Step::Blocked);
        }
        see(&self.queue, &self.log);
        Ok(Step::Done)
    }
}

impl SideExit for Collector {
    fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    fn drain(&mut self) -> Result<usize, TaskError> {
        let records = self.queue.borrow().len();
        see(&self.queue, &self.log);
        Ok(records)
    }
}

/// What an operator does when it is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    /// Emits each record this often, and passes marks on.
    Emits(usize),
    /// Wants to be called three times for each batch and mark.
    Dawdles,
    /// Emits records below 10 to its side output.
    Diverts,
    /// Holds watermarks back until the end.
    HoldsBack,
    /// Says by itself whether its stream is idle: that it is when it is woken at second 9.
    TellsIdle,
    /// Holds everything back.
    Withholds,
    /// Wants to be woken at the same time again.
    Insists,
    /// Emits the end when it is woken.
    EndsEarly,
}

struct Op {
    does: Does,
    calls: Rc<Cell<usize>>,
    /// How often it was called for what is in hand.
    turns: usize,
    held: Option<Mark>,
    /// When it wants to be woken: then it emits the seconds of this as a record is, and often as one.
    due: Due,
    /// How often it has emitted that.
    emitted: usize,
    side: Queue<u32>,
    snapshot: Snapshot,
}

type Due = Rc<Cell<Option<Duration>>>;

/// How many slices its state takes, and what was asked of it.
#[derive(Clone, Default)]
struct Snapshot {
    slices: usize,
    left: Rc<Cell<usize>>,
    asked: Rc<RefCell<Vec<&'static str>>>,
}

impl Op {
    fn turn(&mut self) -> bool {
        self.calls.set(self.calls.get() + 1);
        self.turns = (self.turns + 1) % 3;
        self.does == Does::Dawdles && self.turns != 0
    }

    fn times(&self) -> usize {
        if let Does::Emits(times) = self.does { times } else { 1 }
    }
}

impl BatchOperator for Op {
    type In = u32;
    type Out = u32;

    fn process(
        &mut self,
        input: &mut Batch<u32>,
        out: &mut Output<u32>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        assert!(!input.is_empty() && out.is_empty(), "called although there is nothing to do first");
        if self.turn() {
            return Ok(Progress::Suspended);
        }
        let times = self.times();
        let all = input.len();
        for record in input.front(all) {
            match self.does {
                Does::Diverts if record < 10 => self.side.borrow_mut().emit(record),
                _ => (0..times).for_each(|_| out.emit(record)),
            }
            if out.is_full() {
                break;
            }
        }
        Ok(if input.is_empty() { Progress::Done } else { Progress::Suspended })
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u32>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if self.turn() {
            return Ok(Progress::Suspended);
        }
        match (self.does, mark) {
            (Does::Withholds, _) | (Does::TellsIdle, Mark::Idle) => {}
            (Does::HoldsBack, Mark::Watermark(_)) => self.held = Some(mark),
            (_, mark) => {
                self.held.take().into_iter().for_each(|held| out.mark(held));
                out.mark(mark);
            }
        }
        Ok(Progress::Done)
    }

    fn due(&self) -> Option<Duration> {
        self.due.get()
    }

    fn wake(&mut self, out: &mut Output<u32>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        assert!(out.is_empty(), "called although there is something to do first");
        if self.turn() {
            return Ok(Progress::Suspended);
        }
        if self.does == Does::EndsEarly {
            out.mark(Mark::End);
        }
        let record = self.due.get().expect("it is due").as_secs() as u32;
        if self.does == Does::TellsIdle && record == 9 {
            out.mark(Mark::Idle);
            self.due.set(None);
            return Ok(Progress::Done);
        }
        while self.emitted < self.times() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            self.emitted += 1;
            if self.does == Does::Diverts { self.side.borrow_mut().emit(record) } else { out.emit(record) }
        }
        self.emitted = 0;
        self.due.set(self.due.take().filter(|_| self.does == Does::Insists));
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        if self.snapshot.slices > 0 { Some(self) } else { None }
    }
}

impl Stateful for Op {
    fn snapshot(&mut self, _: &mut SectionWriter) -> Result<Progress, StateError> {
        self.snapshot.asked.borrow_mut().push("begin");
        self.snapshot.left.set(self.snapshot.slices - 1);
        Ok(if self.snapshot.slices > 1 { Progress::Suspended } else { Progress::Done })
    }

    fn continue_snapshot(&mut self, _: &mut SectionWriter, _: &mut RunBudget) -> Result<Progress, StateError> {
        self.snapshot.asked.borrow_mut().push("go on");
        self.snapshot.left.set(self.snapshot.left.get() - 1);
        Ok(if self.snapshot.left.get() > 0 { Progress::Suspended } else { Progress::Done })
    }

    fn abandon_snapshot(&mut self) {
        self.snapshot.asked.borrow_mut().push("give up");
    }

    fn restore(&mut self, _: Vec<RestoredSection>) -> Result<(), StateError> {
        Ok(())
    }
}

/// A chain of such operators, and what can be seen of it.
struct Rig<B = Box<Batch<u32>>> {
    pipeline: Pipeline<B>,
    /// Calls of each operator.
    calls: Vec<Rc<Cell<usize>>>,
    /// Of each operator.
    due: Vec<Due>,
    main: Log,
    /// Of each operator.
    sides: Vec<Log>,
    main_blocked: Rc<Cell<bool>>,
    sides_blocked: Rc<Cell<bool>>,
}

fn rig(does: impl IntoIterator<Item = Does>) -> Rig {
    rig_with(does.into_iter().map(|does| (does, Snapshot::default())))
}

fn rig_with(operators: impl IntoIterator<Item = (Does, Snapshot)>) -> Rig {
    let head = Queue::<u32>::default();
    rig_behind(Chain { input: head.clone() }, Vec::new(), head, operators)
}

/// With these stages in front, which emit into `queue`.
fn rig_behind<H: Head>(
    head: H,
    mut stages: Vec<StageSlot>,
    mut queue: Queue<u32>,
    operators: impl IntoIterator<Item = (Does, Snapshot)>,
) -> Rig<H::Batch> {
    let (main_blocked, sides_blocked) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (mut calls, mut dues, mut sides) = (Vec::new(), Vec::new(), Vec::new());
    for (does, snapshot) in operators {
        let (out, side, log) = (Queue::<u32>::default(), Queue::<u32>::default(), Log::default());
        let marks: Rc<dyn TakesMarks> = side.clone();
        out.borrow_mut().add_side(marks);
        calls.push(Rc::new(Cell::new(0)));
        sides.push(log.clone());
        let calls = calls.last().expect("just pushed").clone();
        let due = Due::default();
        dues.push(due.clone());
        let operator = Op { does, calls, turns: 0, held: None, due, emitted: 0, side: side.clone(), snapshot };
        let exit = Collector { queue: side, log, is_blocked: sides_blocked.clone() };
        let id = OperatorId::from(format!("operator {}", stages.len()).as_str());
        let input = std::mem::replace(&mut queue, out.clone());
        let link = Link {
            id: id.clone(),
            intake: OneInput::new(operator, input, None),
            out,
            holds_end: false,
            sides: vec![Box::new(exit)],
            counters: Arc::default(),
        };
        stages.push(StageSlot::new(Some(id), Box::new(link)));
    }
    let main = Log::default();
    let end = Collector { queue, log: main.clone(), is_blocked: main_blocked.clone() };
    stages.push(StageSlot::new(None, Box::new(end)));
    let pipeline = Pipeline::new(Box::new(head), stages, Vec::new(), (Vec::new(), BTreeMap::new()), None);
    Rig { pipeline, calls, due: dues, main, sides, main_blocked, sides_blocked }
}

fn budget() -> RunBudget {
    RunBudget::start_by(Some(|| std::time::Duration::ZERO))
}

impl Rig {
    /// Until it is done; gives how often it was suspended.
    fn push(&mut self, records: impl IntoIterator<Item = u32>) -> usize {
        let mut batch: Box<Batch<u32>> = Box::new(records.into_iter().collect());
        suspensions(&mut self.pipeline, |pipeline| pipeline.push(&mut batch, &mut budget()).unwrap())
    }
}

impl<B: InputBatch> Rig<B> {
    fn mark(&mut self, mark: Mark) -> usize {
        suspensions(&mut self.pipeline, |pipeline| pipeline.mark(mark, &mut budget()).unwrap())
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.iter().map(|calls| calls.take()).collect()
    }

    fn records(&self) -> Vec<u32> {
        let main = self.main.borrow();
        let records =
            main.iter().filter_map(|seen| if let Seen::Records(records) = seen { Some(records) } else { None });
        records.flatten().copied().collect()
    }
}

fn suspensions<B>(pipeline: &mut Pipeline<B>, mut call: impl FnMut(&mut Pipeline<B>) -> Progress) -> usize {
    let mut suspended = 0;
    while call(pipeline) == Progress::Suspended {
        suspended += 1;
    }
    suspended
}

#[test]
fn operator_that_is_done_is_not_called_again_because_a_later_one_was_suspended() {
    let mut rig = rig([Does::Emits(1), Does::Dawdles, Does::Emits(1), Does::Dawdles]);
    assert_eq!((rig.push(0..3), rig.calls()), (4, vec![1, 3, 1, 3]));
    for mark in [Mark::Watermark(7), Mark::Idle, Mark::End] {
        assert_eq!((rig.mark(mark), rig.calls()), (4, vec![1, 3, 1, 3]), "{mark:?}");
    }
    let marks = [Mark::Watermark(7), Mark::Idle, Mark::End].map(Seen::Mark);
    assert_eq!(rig.main.borrow()[0], Seen::Records(vec![0, 1, 2]));
    assert_eq!(rig.main.borrow()[1..], marks);
}

#[test]
fn what_is_emitted_last_goes_on_first_and_in_order() {
    let mut rig = rig([Does::Emits(2000), Does::Emits(1), Does::Dawdles]);
    rig.push(0..3);
    assert_eq!(rig.records(), (0..3).flat_map(|x| [x; 2000]).collect::<Vec<_>>());
    let batches = 3 * 2;
    assert_eq!(rig.calls(), [3, batches, 3 * batches]);
}

#[test]
fn blocked_edge_suspends_and_nothing_is_called_until_it_has_credit() {
    let mut rig = rig([Does::Emits(1), Does::Emits(2000)]);
    rig.main_blocked.set(true);
    let mut batch: Box<Batch<u32>> = Box::new((0..3).collect());
    for _ in 0..3 {
        assert_eq!(rig.pipeline.push(&mut batch, &mut budget()).unwrap(), Progress::Suspended);
        assert!(batch.is_empty(), "the first operator has taken all");
    }
    assert_eq!(rig.calls(), [1, 1]);
    rig.main_blocked.set(false);
    assert_eq!(rig.pipeline.push(&mut batch, &mut budget()).unwrap(), Progress::Done);
    assert_eq!((rig.records().len(), rig.calls()), (6000, vec![0, 2]));
}

#[test]
fn side_outputs_belong_to_their_operator_and_get_its_marks_in_order() {
    let mut rig = rig([Does::HoldsBack, Does::Diverts]);
    rig.push([5, 50]);
    rig.mark(Mark::Watermark(7));
    assert_eq!(*rig.main.borrow(), [Seen::Records(vec![50])], "the watermark is held back");
    rig.push([6]);
    rig.mark(Mark::End);
    let end = [Mark::Watermark(7), Mark::End].map(Seen::Mark);
    assert_eq!(*rig.sides[0].borrow(), end, "of the operator that holds back");
    assert_eq!(rig.main.borrow()[1..], end);
    let records = [5, 6].map(|record| Seen::Records(vec![record]));
    assert_eq!(rig.sides[1].borrow()[..], [&records[..], &end[..]].concat());
}

#[test]
fn side_output_that_waits_for_credit_holds_its_operator_up() {
    let mut rig = rig([Does::Emits(1), Does::Diverts]);
    rig.sides_blocked.set(true);
    let mut batch: Box<Batch<u32>> = Box::new((0..3).collect());
    assert_eq!(rig.pipeline.push(&mut batch, &mut budget()).unwrap(), Progress::Suspended);
    assert_eq!(rig.calls(), [0, 0]);
    rig.sides_blocked.set(false);
    assert_eq!(rig.pipeline.push(&mut batch, &mut budget()).unwrap(), Progress::Done);
    assert_eq!(rig.calls(), [1, 1]);
}

#[test]
fn mark_that_is_held_back_holds_no_barrier() {
    let mut rig = rig([Does::HoldsBack]);
    rig.mark(Mark::Watermark(7));
    rig.pipeline.barrier(Barrier { checkpoint: CheckpointId(1), base: CheckpointId::NONE });
    assert_eq!(rig.main.borrow().len(), 0);
}

#[test]
#[should_panic(expected = "in the middle of a step")]
fn barrier_in_the_middle_of_a_step_panics() {
    let mut rig = rig([Does::Dawdles]);
    let _ = rig.pipeline.mark(Mark::Idle, &mut budget());
    rig.pipeline.barrier(Barrier { checkpoint: CheckpointId(1), base: CheckpointId::NONE });
}

#[test]
#[should_panic(expected = "'operator 0' is done with the end and has not passed it on")]
fn end_that_is_not_passed_on_panics() {
    rig([Does::Withholds]).mark(Mark::End);
}

#[test]
fn snapshot_goes_on_where_there_is_more_and_gives_up_what_was_begun() {
    let of = |slices| Snapshot { slices, ..Snapshot::default() };
    let snapshots = [of(3), of(0), of(1), of(2)];
    let mut rig = rig_with(snapshots.clone().map(|snapshot| (Does::Emits(1), snapshot)));
    let asked = || snapshots.iter().map(|snapshot| snapshot.asked.take()).collect::<Vec<_>>();
    let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
    assert_eq!(rig.pipeline.snapshot(&mut writer).unwrap(), Progress::Suspended);
    assert_eq!(asked(), [vec!["begin"], vec![], vec!["begin"], vec!["begin"]]);
    assert_eq!(rig.pipeline.continue_snapshot(&mut writer, &mut budget()).unwrap(), Progress::Suspended);
    assert_eq!(rig.pipeline.continue_snapshot(&mut writer, &mut budget()).unwrap(), Progress::Done);
    assert_eq!(asked(), [vec!["go on"; 2], vec![], vec![], vec!["go on"]]);
    rig.pipeline.abandon_snapshot();
    assert_eq!(asked(), [vec![], vec![], vec![], vec![]] as [Vec<&str>; 4], "all is written");
    let _ = rig.pipeline.snapshot(&mut writer).unwrap();
    asked();
    rig.pipeline.abandon_snapshot();
    assert_eq!(asked(), [vec!["give up"], vec![], vec![], vec!["give up"]]);
}
