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
    log.panicked(
        NOW,
        Panic { operator: &operator, with_records: true, uptime: Duration::ZERO, record: record.as_ref(), facts },
    )
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
    assert_eq!(panics(&mut log, Some("a")), Some(Answer::Counted { panics: 1, of: 2, is_free: true }));
    assert_eq!(
        panics(&mut log, Some("b")),
        Some(Answer::Counted { panics: 1, of: 2, is_free: true }),
        "another record"
    );
    let Some(Answer::Withholds { facts, goes_to }) = panics(&mut log, Some("a")) else { panic!("it was the second") };
    assert_eq!((facts.panics, goes_to.as_deref()), (2, Some("dead")));
    let mut attempt = log.begin(None, &Withholding::default());
    assert_eq!(withheld(&mut attempt, &["b", "a", "a"]), ["a"], "one of these bytes");
}

#[test]
fn operator_without_a_directive_a_firing_and_an_unknown_record_have_no_answer() {
    let mut log = log(1, 10);
    let (other, facts) = ("other".into(), PanicFacts::default());
    let of_other =
        Panic { operator: &other, with_records: true, uptime: Duration::ZERO, record: None, facts: facts.clone() };
    assert_eq!(log.panicked(NOW, of_other), None);
    let operator = parse();
    let firing = Panic { operator: &operator, with_records: false, uptime: Duration::ZERO, record: None, facts };
    assert_eq!(log.panicked(NOW, firing.clone()), None);
    assert_eq!(log.careful().count(), 0);
    let mut of_firings = DirectiveLog::new(BTreeMap::from([(parse(), BTreeMap::from([(FIRINGS, rule(1, 10))]))]));
    assert_eq!(
        of_firings.panicked(NOW, Panic { with_records: true, ..firing.clone() }),
        None,
        "it is for firings alone"
    );
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
    attempt.barrier(SUBTASK, CheckpointId(2), NOW);
    assert_eq!(withheld(&mut attempt, &["a"]), ["a"]);
    attempt.barrier(SUBTASK, CheckpointId(3), NOW);
    // Another operator fails: the region goes back behind the record, or not.
    let mut behind = log.clone().begin(Some(CheckpointId(2)), &attempt);
    assert_eq!(withheld(&mut behind, &["a", "a"]), ["a"]);
    let mut beyond = log.begin(Some(CheckpointId(3)), &attempt);
    assert_eq!(withheld(&mut beyond, &["a", "a"]), [""; 0]);
    beyond.barrier(SUBTASK, CheckpointId(4), NOW);
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
    assert_eq!(panics(&mut log, Some("a")), Some(Answer::Counted { panics: 1, of: 2, is_free: true }));
    assert!(withholds(panics(&mut log, Some("a"))));
    let mut attempt = log.begin(None, &attempt);
    assert_eq!(withheld(&mut attempt, &["a", "a", "a"]), ["a", "a"]);
    attempt.barrier(SUBTASK, CheckpointId(1), NOW);
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
    attempt.barrier(SUBTASK, CheckpointId(1), NOW);
    assert!(attempt.take(SUBTASK, &operator, identity).is_some());
    attempt.barrier(OTHER, CheckpointId(1), NOW);
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
    attempt.barrier(SUBTASK, CheckpointId(2), NOW);
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
    let panic = Panic { operator: &operator, with_records: true, uptime: Duration::ZERO, record: Some(&record), facts };
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

#[test]
fn so_many_records_on_their_way_to_be_withheld_are_free_and_more_of_them_are_failures_like_others() {
    let mut log = log(3, 2);
    panics(&mut log, None);
    let counted = |panics, is_free| Some(Answer::Counted { panics, of: 3, is_free });
    assert_eq!(panics(&mut log, Some("a")), counted(1, true));
    assert_eq!(panics(&mut log, Some("b")), counted(1, true));
    assert_eq!(panics(&mut log, Some("c")), counted(1, false));
    assert_eq!(panics(&mut log, Some("a")), counted(2, true));
    assert_eq!(panics(&mut log, Some("c")), counted(2, true), "it is known by now");
    assert!(withholds(panics(&mut log, Some("a"))));
    let mut long = self::log(2, u32::MAX);
    panics(&mut long, None);
    let free = (0..100)
        .filter(|n| matches!(panics(&mut long, Some(&n.to_string())), Some(Answer::Counted { is_free: true, .. })));
    assert_eq!(free.count() as u32, SUSPECTS_FREE_MAX);
}

/// Careful work that begins from checkpoint 1, withholds "a", and takes these checkpoints after it.
fn withheld_before(checkpoints: std::ops::RangeInclusive<u64>) -> (DirectiveLog, Withholding) {
    let mut log = log(1, 10);
    panics(&mut log, None);
    panics(&mut log, Some("a"));
    let mut attempt = log.begin(Some(CheckpointId(1)), &Withholding::default());
    assert_eq!(withheld(&mut attempt, &["a"]), ["a"]);
    checkpoints.for_each(|checkpoint| attempt.barrier(SUBTASK, CheckpointId(checkpoint), NOW));
    (log, attempt)
}

#[test]
fn checkpoint_of_which_nothing_is_known_any_more_has_no_other_record_withheld() {
    // The barriers after checkpoint 2 are of checkpoints that were aborted.
    let (mut log, attempt) = withheld_before(2..=2 + 2 * CHECKPOINTS_KEPT as u64);
    let mut next = log.begin(Some(CheckpointId(2)), &attempt);
    assert_eq!(withheld(&mut next, &["a"]), [""; 0], "it is another one of these bytes");
    assert!(withholds(panics(&mut log, Some("a"))), "which is withheld if the function panics at it, too");
    let mut after = log.begin(Some(CheckpointId(2)), &next);
    assert_eq!(withheld(&mut after, &["a", "a"]), ["a"]);
    let (mut log, attempt) = withheld_before(2..=2 + 2 * CHECKPOINTS_KEPT as u64);
    let mut behind = log.begin(Some(CheckpointId(1)), &attempt);
    assert_eq!(withheld(&mut behind, &["a"]), ["a"], "nothing was withheld before careful work began");
}

#[test]
fn each_input_has_the_bound_of_its_own_rule_over_the_records_of_the_operator() {
    let brief = PanicRule { within: Duration::from_secs(1), ..rule(1, 2) };
    let rules = BTreeMap::from([(PortId::FIRST, rule(1, 2)), (PortId::SECOND, brief)]);
    let mut log = DirectiveLog::new(BTreeMap::from([(parse(), rules)]));
    let mut at = |second: u64, port: PortId, bytes: &str| {
        let record = PanickedRecord { identity: RecordIdentity::of(port, bytes.as_bytes()), text: None };
        let (operator, facts) = (parse(), PanicFacts::default());
        let panic = Panic { operator: &operator, with_records: true, uptime: NOW, record: Some(&record), facts };
        log.panicked(NOW + Duration::from_secs(second), panic)
    };
    assert_eq!(at(0, PortId::FIRST, "begins"), Some(Answer::BeginsCarefulWork));
    assert!(withholds(at(0, PortId::FIRST, "a")));
    assert!(withholds(at(10, PortId::SECOND, "b")));
    assert!(withholds(at(20, PortId::SECOND, "c")), "b is long ago for this input");
    assert!(matches!(at(30, PortId::FIRST, "d"), Some(Answer::TooMany { records: 2, .. })), "and not for the other");
}

#[test]
fn careful_work_that_begins_again_and_had_met_nothing_lasts_longer_than_the_attempt_that_failed() {
    let seconds = Duration::from_secs;
    let ran = |log: &mut DirectiveLog, uptime| {
        let (operator, facts) = (parse(), PanicFacts::default());
        log.panicked(NOW, Panic { operator: &operator, with_records: true, uptime, record: None, facts })
    };
    // Whether it may end with a checkpoint after that time.
    let may_end = |log: &mut DirectiveLog, after| {
        let mut attempt = log.begin(None, &Withholding::default());
        attempt.barrier(SUBTASK, CheckpointId(1), NOW + after);
        let may_end = log.has_lasted(CheckpointId(1), &attempt, NOW);
        if may_end {
            log.overcome(CheckpointId(1), &attempt);
        }
        may_end
    };
    let mut log = log(1, 10);
    ran(&mut log, seconds(3));
    assert!(may_end(&mut log, Duration::ZERO), "the first time all was read, which is enough as a rule");
    ran(&mut log, seconds(3));
    assert!(!may_end(&mut log, seconds(5)));
    assert!(may_end(&mut log, seconds(6)), "twice as long as the attempt that failed");
    ran(&mut log, seconds(1));
    assert!(!may_end(&mut log, seconds(11)));
    assert!(may_end(&mut log, seconds(12)), "and as it had lasted itself");
    let mut met = log.clone();
    ran(&mut met, seconds(9));
    assert!(withholds(panics(&mut met, Some("a"))));
    assert!(may_end(&mut met, seconds(24)));
    ran(&mut met, seconds(9));
    assert!(may_end(&mut met, Duration::ZERO), "it had met a record");
    ran(&mut log, CAREFUL_MAX);
    assert!(may_end(&mut log, Duration::ZERO), "what comes so late is not waited for");
}
