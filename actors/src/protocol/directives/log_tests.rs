use super::*;
use crate::protocol::{SubtaskId, TaskId};

const NOW: Duration = Duration::from_secs(1000);
const SUBTASK: SubtaskId = SubtaskId { task: TaskId(1), index: 0 };
const OTHER: SubtaskId = SubtaskId { task: TaskId(1), index: 1 };

fn parse() -> OperatorId {
    "parse".into()
}

fn rule(after: u32, at_most: u32) -> PanicRule {
    PanicRule { after, at_most, within: Duration::from_secs(60), goes_to: Some("dead".into()) }
}

fn log(after: u32, at_most: u32) -> DirectiveLog {
    DirectiveLog::new(BTreeMap::from([(parse(), BTreeMap::from([(PortId::FIRST, rule(after, at_most))]))]))
}

fn record(bytes: &str) -> PanickedRecord {
    PanickedRecord { identity: RecordIdentity::of(PortId::FIRST, bytes.as_bytes()), text: None }
}

fn panics(log: &mut DirectiveLog, at: Option<&str>) -> Option<Answer> {
    let (operator, record) = (parse(), at.map(record));
    let facts = PanicFacts { message: format!("at {at:?}"), ..PanicFacts::default() };
    log.panicked(NOW, Panic { operator: &operator, with_records: true, record: record.as_ref(), facts })
}

fn withholds(answer: Option<Answer>) -> bool {
    matches!(answer, Some(Answer::Withholds { .. }))
}

/// Offers records to the attempt; gives those that it withholds.
fn withheld<'a>(attempt: &mut Withholding, records: &[&'a str]) -> Vec<&'a str> {
    let taken = |record: &&&str| attempt.take(SUBTASK, &parse(), self::record(record).identity).is_some();
    records.iter().filter(taken).copied().collect()
}

#[test]
fn first_panic_has_no_record_and_the_one_after_so_many_more_has_it_withheld() {
    let mut log = log(2, 10);
    assert_eq!(panics(&mut log, None), Some(Answer::BeginsCarefulWork));
    assert_eq!(log.careful().collect::<Vec<_>>(), [&parse()]);
    assert_eq!(panics(&mut log, Some("a")), Some(Answer::Counted { panics: 1, of: 2 }));
    assert_eq!(panics(&mut log, Some("b")), Some(Answer::Counted { panics: 1, of: 2 }), "another record");
    let Some(Answer::Withholds { facts, goes_to }) = panics(&mut log, Some("a")) else { panic!("it was the second") };
    assert_eq!((facts.panics, goes_to.as_deref()), (2, Some("dead")));
    let mut attempt = log.begin(None, &Withholding::default());
    assert_eq!(withheld(&mut attempt, &["b", "a", "a"]), ["a"], "one of these bytes");
}

#[test]
fn operator_without_a_directive_a_firing_and_an_unknown_record_have_no_answer() {
    let mut log = log(1, 10);
    let (other, facts) = ("other".into(), PanicFacts::default());
    let of_other = Panic { operator: &other, with_records: true, record: None, facts: facts.clone() };
    assert_eq!(log.panicked(NOW, of_other), None);
    let operator = parse();
    let firing = Panic { operator: &operator, with_records: false, record: None, facts };
    assert_eq!(log.panicked(NOW, firing.clone()), None);
    assert_eq!(log.careful().count(), 0);
    let mut of_firings = DirectiveLog::new(BTreeMap::from([(parse(), BTreeMap::from([(FIRINGS, rule(1, 10))]))]));
    assert_eq!(of_firings.panicked(NOW, Panic { with_records: true, ..firing.clone() }), None, "it is for firings alone");
    assert_eq!(of_firings.panicked(NOW, firing), Some(Answer::BeginsCarefulWork));
    panics(&mut log, None);
    assert_eq!(panics(&mut log, None), None, "it works carefully, and the record could not be encoded");
}

#[test]
fn record_is_withheld_again_after_a_restart_until_the_restored_checkpoint_covers_it() {
    let mut log = log(1, 10);
    panics(&mut log, None);
    panics(&mut log, Some("a"));
    let mut attempt = log.begin(Some(CheckpointId(1)), &Withholding::default());
    attempt.barrier(SUBTASK, CheckpointId(2));
    assert_eq!(withheld(&mut attempt, &["a"]), ["a"]);
    attempt.barrier(SUBTASK, CheckpointId(3));
    // Another operator fails: the region goes back behind the record, or not.
    let mut behind = log.clone().begin(Some(CheckpointId(2)), &attempt);
    assert_eq!(withheld(&mut behind, &["a", "a"]), ["a"]);
    let mut beyond = log.begin(Some(CheckpointId(3)), &attempt);
    assert_eq!(withheld(&mut beyond, &["a", "a"]), [""; 0]);
    beyond.barrier(SUBTASK, CheckpointId(4));
    let mut later = log.clone().begin(Some(CheckpointId(4)), &beyond);
    assert_eq!(withheld(&mut later, &["a"]), [""; 0], "a checkpoint of a later attempt covers it, too");
    let mut fallen_back = log.begin(Some(CheckpointId(2)), &beyond);
    assert_eq!(withheld(&mut fallen_back, &["a", "a"]), ["a"], "what older checkpoints cover is known still");
}

#[test]
fn two_records_of_one_identity_are_withheld_each_after_its_own_panics() {
    let mut log = log(2, 10);
    panics(&mut log, None);
    panics(&mut log, Some("a"));
    assert!(withholds(panics(&mut log, Some("a"))));
    let mut attempt = log.begin(None, &Withholding::default());
    assert_eq!(withheld(&mut attempt, &["a", "a"]), ["a"], "the second is given to the function");
    assert_eq!(panics(&mut log, Some("a")), Some(Answer::Counted { panics: 1, of: 2 }));
    assert!(withholds(panics(&mut log, Some("a"))));
    let mut attempt = log.begin(None, &attempt);
    assert_eq!(withheld(&mut attempt, &["a", "a", "a"]), ["a", "a"]);
    attempt.barrier(SUBTASK, CheckpointId(1));
    let mut one_left = log.begin(Some(CheckpointId(1)), &attempt);
    assert_eq!(withheld(&mut one_left, &["a"]), [""; 0]);
}

#[test]
fn what_several_subtasks_withhold_is_covered_by_the_barriers_that_each_has_passed() {
    let mut log = log(1, 10);
    panics(&mut log, None);
    panics(&mut log, Some("a"));
    panics(&mut log, Some("a"));
    let (operator, identity) = (parse(), record("a").identity);
    let mut attempt = log.begin(None, &Withholding::default());
    assert!(attempt.take(OTHER, &operator, identity).is_some());
    attempt.barrier(SUBTASK, CheckpointId(1));
    assert!(attempt.take(SUBTASK, &operator, identity).is_some());
    attempt.barrier(OTHER, CheckpointId(1));
    let mut next = log.begin(Some(CheckpointId(1)), &attempt);
    assert_eq!(withheld(&mut next, &["a", "a"]), ["a"], "that of the subtask which had passed the barrier");
}

#[test]
fn careful_work_ends_with_the_checkpoint_beyond_and_tells_what_was_withheld() {
    let mut log = log(1, 10);
    assert_eq!(log.overcome(CheckpointId(1), &Withholding::default()), []);
    panics(&mut log, None);
    panics(&mut log, Some("a"));
    panics(&mut log, Some("never seen again"));
    let mut attempt = log.begin(None, &Withholding::default());
    withheld(&mut attempt, &["a"]);
    attempt.barrier(SUBTASK, CheckpointId(2));
    let ended = log.overcome(CheckpointId(2), &attempt);
    assert_eq!(ended, [CarefulWorkEnded { operator: parse(), withheld: 1, not_met: 1 }]);
    assert_eq!(log.careful().count(), 0);
    assert_eq!(panics(&mut log, None), Some(Answer::BeginsCarefulWork));
    let mut next = log.begin(Some(CheckpointId(2)), &Withholding::default());
    assert_eq!(withheld(&mut next, &["a", "never seen again"]), ["never seen again"], "it comes after all");
}

#[test]
fn counts_are_kept_over_some_checkpoints_beyond_since_records_may_come_in_another_order() {
    for (checkpoints, is_known) in [(CHECKPOINTS_BEYOND_KEPT, true), (CHECKPOINTS_BEYOND_KEPT + 1, false)] {
        let mut log = log(2, 10);
        panics(&mut log, None);
        panics(&mut log, Some("a"));
        for checkpoint in 1..=checkpoints {
            log.overcome(CheckpointId(checkpoint.into()), &Withholding::default());
        }
        assert_eq!(panics(&mut log, None), Some(Answer::BeginsCarefulWork));
        assert_eq!(withholds(panics(&mut log, Some("a"))), is_known, "after {checkpoints} checkpoints");
    }
}

#[test]
fn more_records_than_may_be_within_the_time_are_an_answer_of_their_own() {
    let mut log = log(1, 2);
    panics(&mut log, None);
    assert!(withholds(panics(&mut log, Some("a"))));
    assert!(withholds(panics(&mut log, Some("b"))));
    let too_many = Answer::TooMany { records: 2, within: Duration::from_secs(60) };
    assert_eq!(panics(&mut log, Some("c")), Some(too_many));
    let (operator, record) = (parse(), record("d"));
    let late = NOW + Duration::from_secs(61);
    let facts = PanicFacts::default();
    let panic = Panic { operator: &operator, with_records: true, record: Some(&record), facts };
    assert!(withholds(log.panicked(late, panic)), "the first two are long ago");
}

#[test]
fn counts_of_records_are_bounded_and_those_that_are_withheld_stay() {
    let mut log = log(2, 10);
    panics(&mut log, None);
    panics(&mut log, Some("a"));
    assert!(withholds(panics(&mut log, Some("a"))));
    for n in 0..3 * SUSPECTS_MAX {
        panics(&mut log, Some(&n.to_string()));
    }
    assert!(log.suspects[&parse()].len() <= SUSPECTS_MAX);
    let mut attempt = log.begin(None, &Withholding::default());
    assert_eq!(withheld(&mut attempt, &["a"]), ["a"]);
}
