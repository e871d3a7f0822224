use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::protocol::{DirectiveLog, Panic, PanicRule, TaskId, Withholding};

type Letters = Rc<RefCell<Vec<(u32, Timestamp, PanicFacts)>>>;

fn operator() -> OperatorId {
    "halve".into()
}

fn encode(record: &u32, bytes: &mut Vec<u8>) -> bool {
    bytes.extend_from_slice(&record.to_le_bytes());
    true
}

/// Work that is to withhold one record that is this number.
fn work(poison: u32) -> Arc<CarefulWork> {
    let rule = PanicRule { after: 1, at_most: 9, within: Duration::from_secs(9), goes_to: None };
    let mut log = DirectiveLog::new(BTreeMap::from([(operator(), BTreeMap::from([(PortId::FIRST, rule)]))]));
    let identity = RecordIdentity::of(PortId::FIRST, &poison.to_le_bytes());
    for record in [None, Some(PanickedRecord { identity, text: None })] {
        let facts = PanicFacts { message: "odd".to_owned(), ..PanicFacts::default() };
        log.panicked(
            Duration::ZERO,
            Panic { operator: &operator(), with_records: true, uptime: Duration::ZERO, record: record.as_ref(), facts },
        );
    }
    let withholding = log.begin(None, &Withholding::default());
    Arc::new(CarefulWork::new(BTreeSet::from([operator()]), withholding))
}

fn careful(work: &Arc<CarefulWork>) -> (Box<Careful<u32>>, Letters) {
    let letters = Letters::default();
    let taken = letters.clone();
    let withhold = move |record, time, facts| taken.borrow_mut().push((record, time, facts));
    let input = CarefulInput { encode, describe: |_| None, is_copied: false, withhold: Box::new(withhold) };
    let mut inputs: CarefulInputs = vec![Box::new(0u8), Box::new(input)];
    let subtask = SubtaskId { task: TaskId(0), index: 0 };
    let at = At { work: work.clone(), subtask, operator: operator(), port: PortId::FIRST };
    let careful = Careful::take_from(&mut inputs, at).expect("there is one of its type");
    assert_eq!(inputs.len(), 1, "that of another type stays");
    (careful, letters)
}

fn budget() -> RunBudget {
    RunBudget::start_by(Some(|| Duration::ZERO))
}

fn timed(records: std::ops::Range<u32>) -> Batch<u32> {
    let mut batch = Batch::new();
    records.for_each(|n| batch.push_at(n, 10, i64::from(n)));
    batch
}

#[test]
fn operator_gets_record_by_record_and_not_the_one_that_is_withheld() {
    let (mut careful, letters) = careful(&work(3));
    let (mut batch, mut out, mut seen) = (timed(0..6), Output::<u32>::new(), Vec::new());
    let progress = careful.process(&mut batch, &mut out, &mut budget(), |one, _, _| {
        let (time, bytes) = (one.time(0), one.bytes());
        seen.extend(one.drain().map(|record| (record, time, bytes)));
        Ok(Progress::Done)
    });
    assert_eq!((progress.unwrap(), batch.len(), batch.bytes()), (Progress::Done, 0, 0));
    let expected: Vec<_> = [0, 1, 2, 4, 5].map(|n| (n, Some(i64::from(n)), 10)).into();
    assert_eq!(seen, expected);
    let letters = letters.borrow();
    assert_eq!((letters.len(), letters[0].0, letters[0].1), (1, 3, 3));
    assert_eq!((letters[0].2.message.as_str(), letters[0].2.panics), ("odd", 1));
}

#[test]
fn suspended_record_stays_in_front_of_the_others_and_comes_again() {
    let (mut careful, letters) = careful(&work(2));
    let (mut batch, mut out, mut seen, mut calls) = (timed(0..5), Output::<u32>::new(), Vec::new(), 0);
    loop {
        let progress = careful.process(&mut batch, &mut out, &mut budget(), |one, _, _| {
            calls += 1;
            if calls % 2 == 1 {
                return Ok(Progress::Suspended);
            }
            seen.extend(one.drain());
            Ok(Progress::Done)
        });
        if progress.unwrap() == Progress::Done {
            break;
        }
        let next = batch.as_slice().first().copied();
        assert_eq!(batch.time(0), next.map(i64::from), "records keep their times");
    }
    assert_eq!((seen, letters.borrow().len()), (vec![0, 1, 3, 4], 1));
}

#[test]
fn full_output_suspends_and_work_that_is_over_gets_whole_batches() {
    let work = work(7);
    let (mut careful, letters) = careful(&work);
    let (mut batch, mut out) = (timed(0..5), Output::<u32>::new());
    out.mark(crate::protocol::Mark::Idle);
    let full = careful.process(&mut batch, &mut out, &mut budget(), |_, _, _| panic!("nothing fits"));
    assert_eq!((full.unwrap(), batch.len()), (Progress::Suspended, 5));
    work.end();
    let mut batch = timed(5..10);
    let progress = careful.process(&mut batch, &mut out, &mut budget(), |batch, _, _| {
        assert_eq!(batch.drain().collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        Ok(Progress::Done)
    });
    assert_eq!((progress.unwrap(), letters.borrow().len()), (Progress::Done, 0));
}

#[test]
fn work_that_ends_in_a_batch_withholds_none_of_its_other_records() {
    let work = work(3);
    let (mut careful, letters) = careful(&work);
    let (mut batch, mut out, mut seen) = (timed(0..6), Output::<u32>::new(), Vec::new());
    let progress = careful.process(&mut batch, &mut out, &mut budget(), |one, _, _| {
        work.end();
        seen.extend(one.drain());
        Ok(Progress::Done)
    });
    assert_eq!((progress.unwrap(), letters.borrow().len()), (Progress::Done, 0));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5], "what was withheld is settled when the work ends");
}
