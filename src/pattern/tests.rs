//! The automaton finds what Flink's documentation says, and what trying all ways finds.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_actors::protocol::Timestamp;

use super::paths::EventId;
use super::progress::Progress;
use super::reference::{Described, Letter};
use super::step::{Given, Outcome};
use super::{AfterMatchSkip, Pattern, PatternTime};
use crate::state::test_kit::Random;

/// Runs a pattern over records that each have a time, and then to the end of time. Gives what is given, with its time, and asserts
/// that there are no more records than partial matches have.
pub(super) fn run<T: Clone>(pattern: &Pattern<T>, records: &[(Timestamp, T)]) -> Vec<(Timestamp, Given)> {
    let mistakes = pattern.mistakes();
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let automaton = pattern.compile(PatternTime::Event);
    let (mut progress, mut kept, mut given) = (Progress::new(0), BTreeMap::<EventId, T>::new(), Vec::new());
    let mut take = |outcome: Outcome, kept: &mut BTreeMap<EventId, T>| {
        given.extend(outcome.given);
        outcome.released.iter().for_each(|at| assert!(kept.remove(at).is_some(), "{at:?} is released once"));
    };
    for (number, (time, record)) in records.iter().enumerate() {
        take(automaton.advance(&mut progress, *time), &mut kept);
        let at = (*time, number as u64);
        kept.insert(at, record.clone());
        let outcome = automaton.take(&mut progress, at, &|at| &kept[&at]);
        take(outcome, &mut kept);
        assert!(kept.keys().all(|at| progress.paths.uses(*at)));
        assert_eq!(progress.is_empty(), kept.is_empty());
    }
    take(automaton.advance(&mut progress, Timestamp::MAX), &mut kept);
    if pattern.within.is_some() {
        assert!(progress.is_empty() && progress.paths.is_empty() && kept.is_empty());
    }
    given
}

/// The matches in words such as `a1 b2`, in a stream of such, one each millisecond.
fn matches(pattern: &Pattern<String>, words: &str) -> Vec<String> {
    let records: Vec<_> = (0..).zip(words.split(' ').map(str::to_owned)).collect();
    let given = run(pattern, &records).into_iter();
    given
        .filter_map(|(_, given)| if let Given::Match(path) = given { Some(path) } else { None })
        .map(|path| in_words(&records, &path))
        .collect()
}

fn in_words(records: &[(Timestamp, String)], path: &[(u32, EventId)]) -> String {
    let words: Vec<&str> = path.iter().map(|(_, (_, number))| &*records[*number as usize].1).collect();
    words.join(" ")
}

fn sorted(mut of: Vec<String>) -> Vec<String> {
    of.sort();
    of
}

/// Words that begin with one of these letters.
fn of(letters: &'static str) -> impl Fn(&String) -> bool + Send + Sync + 'static {
    move |word| word.starts_with(|first| letters.contains(first))
}

fn a() -> Pattern<String> {
    Pattern::begin("a", of("a"))
}

#[test]
fn stages_follow_each_other_as_their_contiguity_says() {
    let words = "a c b1 b2";
    assert!(matches(&a().next("b", of("b")), words).is_empty());
    assert_eq!(matches(&a().followed_by("b", of("b")), words), ["a b1"]);
    assert_eq!(matches(&a().followed_by_any("b", of("b")), words), ["a b1", "a b2"]);
    assert_eq!(matches(&a().next("b", of("b")), "a1 a2 b1 b2"), ["a2 b1"]);
}

#[test]
fn records_of_a_loop_follow_each_other_as_its_contiguity_says() {
    let loops = || a().followed_by_any("b", of("b")).one_or_more();
    let words = "a b1 d1 b2 d2 b3 c";
    let relaxed = ["a b1 b2 b3 c", "a b1 b2 c", "a b1 c", "a b2 b3 c", "a b2 c", "a b3 c"];
    assert_eq!(sorted(matches(&loops().followed_by("c", of("c")), words)), relaxed);
    // Between the loop and what follows, nothing comes either.
    assert_eq!(matches(&loops().consecutive().next("c", of("c")), words), ["a b3 c"]);
    let all = ["a b1 b2 b3 c", "a b1 b2 c", "a b1 b3 c", "a b1 c", "a b2 b3 c", "a b2 c", "a b3 c"];
    assert_eq!(sorted(matches(&loops().allow_combinations().followed_by("c", of("c")), words)), all);
}

#[test]
fn consecutive_and_combinations_are_as_documented() {
    let loops = || Pattern::begin("c", of("c")).followed_by("a", of("a")).one_or_more();
    let words = "c d a1 a2 a3 d a4 b";
    let found = |pattern: Pattern<String>| sorted(matches(&pattern.followed_by("b", of("b")), words));
    assert_eq!(found(loops().consecutive()), ["c a1 a2 a3 b", "c a1 a2 b", "c a1 b"]);
    assert_eq!(found(loops()), ["c a1 a2 a3 a4 b", "c a1 a2 a3 b", "c a1 a2 b", "c a1 b"]);
    let combined = [
        "c a1 a2 a3 a4 b",
        "c a1 a2 a3 b",
        "c a1 a2 a4 b",
        "c a1 a2 b",
        "c a1 a3 a4 b",
        "c a1 a3 b",
        "c a1 a4 b",
        "c a1 b",
    ];
    assert_eq!(found(loops().allow_combinations()), combined);
    let any = || Pattern::begin("c", of("c")).followed_by_any("a", of("a")).one_or_more().allow_combinations();
    assert_eq!(found(any()).len(), 15, "each of the sets of a1 to a4 that has one");
}

/// What an earlier greedy stage takes bars still when what a later one goes on until has come.
#[test]
fn each_greedy_stage_bars_until_its_own_condition_holds() {
    let begin = || a().one_or_more().greedy().followed_by("b", of("b")).one_or_more().optional().greedy();
    let pattern = begin().until(of("u")).followed_by("c", of("c"));
    assert_eq!(sorted(matches(&pattern, "a1 u a2 c")), ["a1 a2 c", "a2 c"]);
    assert_eq!(sorted(matches(&pattern, "a1 b1 u b2 c")), ["a1 b1 c"]);
}

/// The first of them times out, with which the match has no more to wait for: it ends the third.
#[test]
fn matches_of_one_moment_end_others_before_the_time_of_these_is_over() {
    let loops = a().followed_by("b", of("b")).one_or_more();
    let of_second = loops.where_so_far(|_, so_far| so_far.first("a").is_some_and(|first| first == "a2"));
    let pattern = of_second.within(Duration::from_millis(10)).skip_after_match(AfterMatchSkip::PastLastEvent);
    let records = [(0, "a1"), (0, "a2"), (3, "b1")].map(|(at, word): (Timestamp, &str)| (at, word.to_owned()));
    let given = run(&pattern, &records);
    let is_match: Vec<_> = given.iter().map(|(at, given)| (*at, matches!(given, Given::Match(_)))).collect();
    assert_eq!(is_match, [(10, false), (10, true)], "{given:?}");
}

#[test]
fn a_loop_goes_on_until_its_condition_holds() {
    let pattern = Pattern::begin("a", of("a")).one_or_more().until(of("b"));
    assert_eq!(sorted(matches(&pattern, "a1 c a2 b a3")), ["a1", "a1 a2", "a2", "a3"]);
    let sums = Pattern::begin("a", of("a")).one_or_more().until_so_far(|_, so_far| so_far.count("a") == 2);
    assert_eq!(sorted(matches(&sums, "a1 a2 a3 a4")), ["a1", "a1 a2", "a2", "a2 a3", "a3", "a3 a4", "a4"]);
}

#[test]
fn quantifiers_say_how_many_records_a_stage_takes() {
    let of_times = |pattern: Pattern<String>| matches(&pattern.next("c", of("c")), "a b1 b2 b3 c");
    let b = || a().next("b", of("b"));
    assert_eq!(of_times(b().times(3)), ["a b1 b2 b3 c"]);
    assert!(of_times(b().times(2)).is_empty());
    assert_eq!(of_times(b().times_between(2..)), ["a b1 b2 b3 c"]);
    let any = |pattern: Pattern<String>| sorted(matches(&pattern.followed_by("c", of("c")), "a b1 b2 b3 c"));
    assert_eq!(any(b().times_between(2..=3)), ["a b1 b2 b3 c", "a b1 b2 c"]);
    assert_eq!(any(b().optional()), ["a b1 c", "a c"]);
    assert_eq!(any(b().times(2).optional()), ["a b1 b2 c", "a c"]);
    assert_eq!(any(b().one_or_more().greedy()), ["a b1 b2 b3 c"]);
    assert_eq!(any(b().one_or_more().optional().greedy()), ["a b1 b2 b3 c"]);
    assert_eq!(any(a().followed_by("d", of("d")).one_or_more().optional().greedy()), ["a c"]);
    let end = matches(&a().followed_by("b", of("b")).one_or_more().optional().greedy(), "a b1 b2 b3");
    assert_eq!(end, ["a", "a b1", "a b1 b2", "a b1 b2 b3"]);
}

#[test]
fn what_must_not_come_ends_a_match() {
    let next = a().not_next("b", of("b")).followed_by("c", of("c"));
    assert_eq!(matches(&next, "a1 b1 a2 d b2 c1"), ["a2 c1"]);
    let anywhere = a().not_followed_by("b", of("b")).followed_by("c", of("c"));
    assert_eq!(matches(&anywhere, "a1 d b a2 d c b c2"), ["a2 c"]);
    // What is optional does not allow it, but what it takes does.
    let optional =
        a().not_followed_by("b", of("b")).followed_by_any("c", of("c")).optional().followed_by_any("d", of("d"));
    assert!(matches(&optional, "a b d").is_empty());
    assert_eq!(matches(&optional, "a c b d"), ["a c d"]);
    let last = a().not_next("b", of("b"));
    assert_eq!(matches(&last, "a1 b a2 c a3"), ["a2"]);
}

#[test]
fn what_must_not_come_at_the_end_has_not_when_the_time_is_over() {
    let pattern = a().not_followed_by("b", of("b")).within(Duration::from_millis(3));
    let records = [(0, "a1"), (1, "a2"), (3, "b1"), (9, "a3")].map(|(at, word)| (at, word.to_owned()));
    let given = run(&pattern, &records);
    let path = |number: u64| Given::Match(vec![(0, (records[number as usize].0, number))]);
    assert_eq!(given, [(3, path(0)), (12, path(3))], "b1 comes when the time of a1 is over");
}

#[test]
fn matches_take_less_time_than_they_may() {
    let pattern = a().followed_by("b", of("b")).within(Duration::from_millis(10));
    let records = [(0, "a1"), (1, "a2"), (10, "b1"), (11, "b2"), (30, "a3")].map(|(at, word)| (at, word.to_owned()));
    let given: Vec<_> = run(&pattern, &records)
        .into_iter()
        .map(|(time, given)| match given {
            Given::Match(path) => (time, true, in_words(&records, &path)),
            Given::TimedOut(path) => (time, false, in_words(&records, &path)),
        })
        .collect();
    let expected = [(10, false, "a1"), (10, true, "a2 b1"), (40, false, "a3")];
    assert_eq!(given, expected.map(|(time, is_match, words)| (time, is_match, words.to_owned())));
}

#[test]
fn conditions_see_what_the_match_has_so_far() {
    let number = |word: &String| word[1..].parse::<u32>().unwrap_or_default();
    let rising = a().next("up", |_| true).one_or_more().consecutive().where_so_far(move |word, so_far| {
        so_far.iter().next_back().is_some_and(|(_, last)| number(word) > number(last))
    });
    let rising = rising.skip_after_match(AfterMatchSkip::NoSkip);
    assert_eq!(matches(&rising, "a1 b2 b3 b1"), ["a1 b2", "a1 b2 b3"]);
}

#[test]
fn a_match_ends_others_as_documented() {
    let skips = [
        (AfterMatchSkip::NoSkip, &["b1 b2 b3 c", "b2 b3 c", "b3 c"][..]),
        (AfterMatchSkip::ToNext, &["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (AfterMatchSkip::PastLastEvent, &["b1 b2 b3 c"]),
        (AfterMatchSkip::to_first("b"), &["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (AfterMatchSkip::to_last("b"), &["b1 b2 b3 c", "b3 c"]),
    ];
    for (skip, expected) in skips {
        let pattern = Pattern::begin("b", of("b")).one_or_more().consecutive().next("c", of("c"));
        assert_eq!(matches(&pattern.skip_after_match(skip.clone()), "b1 b2 b3 c"), expected, "{skip:?}");
    }
    let skips = [
        (AfterMatchSkip::NoSkip, &["a b c1 c2 c3 d", "b c1 c2 c3 d", "c1 c2 c3 d"][..]),
        (AfterMatchSkip::to_first("c"), &["a b c1 c2 c3 d", "c1 c2 c3 d"]),
    ];
    for (skip, expected) in skips {
        let pattern = Pattern::begin("abc", of("abc")).next("bc", of("bc"));
        let pattern = pattern.next("c", of("c")).one_or_more().greedy().next("d", of("d"));
        assert_eq!(matches(&pattern.skip_after_match(skip.clone()), "a b c1 c2 c3 d"), expected, "{skip:?}");
    }
    let pattern = || a().next("b", of("b")).one_or_more();
    assert_eq!(matches(&pattern(), "a b1 b2 b3"), ["a b1", "a b1 b2", "a b1 b2 b3"]);
    assert_eq!(matches(&pattern().skip_after_match(AfterMatchSkip::ToNext), "a b1 b2 b3"), ["a b1"]);
}

#[test]
fn a_match_waits_for_what_began_earlier_and_may_end_it() {
    let pattern = || {
        let pattern = Pattern::begin("a", of("ab"))
            .followed_by("c", |word: &String| word == "c")
            .where_so_far(|_, so_far| so_far.first("a").is_some_and(|first| first.starts_with('b')));
        pattern.skip_after_match(AfterMatchSkip::PastLastEvent)
    };
    assert!(matches(&pattern(), "a b c").is_empty(), "what began with a may still come to a match");
    assert_eq!(matches(&pattern().within(Duration::from_millis(100)), "a b c"), ["b c"]);
}

/// Of the pattern with everything in it.
const SHAPE: u64 = 6_031_784_287_899_079_789;

fn letters(random: &mut Random) -> Vec<Letter> {
    let mut now = 0;
    let letters = (0..random.below(8)).map(|_| {
        now += random.below(4) as i64;
        (now, ['a', 'b', 'c', 'd'][random.below(4) as usize])
    });
    letters.collect()
}

/// What was taken, by stage and place.
fn taken(given: Vec<(Timestamp, Given)>) -> Vec<(Timestamp, Vec<(usize, usize)>)> {
    let matches = given.into_iter().filter_map(|(time, given)| match given {
        Given::Match(path) => {
            let taken = path.into_iter().map(|(stage, (_, place))| (stage as usize, place as usize));
            Some((time, taken.collect()))
        }
        Given::TimedOut(_) => None,
    });
    matches.collect()
}

/// A letter as a record of its own time.
fn timed(letters: &[Letter]) -> Vec<(Timestamp, Letter)> {
    letters.iter().map(|letter| (letter.0, *letter)).collect()
}

#[test]
fn matches_are_those_that_trying_all_ways_finds() {
    let (mut random, mut some, mut none) = (Random(7), 0, 0);
    for _ in 0..30_000 {
        let (described, letters) = (Described::any(&mut random), letters(&mut random));
        let expected: Vec<_> = described.matches(&letters).into_iter().map(|((at, _), taken)| (at, taken)).collect();
        let found = taken(run(&described.pattern(), &timed(&letters)));
        assert_eq!(found, expected, "{described:?} in {letters:?}");
        *if found.is_empty() { &mut none } else { &mut some } += 1;
    }
    assert!(some > 5_000 && none > 1_000, "{some} with matches, {none} without");
}

#[test]
fn matches_that_end_others_leave_those_that_trying_all_ways_finds() {
    let (mut random, mut ended) = (Random(11), 0);
    for round in 0..20_000 {
        let (mut described, letters) = (Described::any(&mut random), letters(&mut random));
        // So that no match waits for ever.
        described.within = Some(described.within.unwrap_or(1_000));
        let stage = format!("{}", random.below(described.stages.len() as u64));
        let skip = match round % 4 {
            0 => AfterMatchSkip::ToNext,
            1 => AfterMatchSkip::PastLastEvent,
            2 => AfterMatchSkip::to_first(stage),
            _ => AfterMatchSkip::to_last(stage),
        };
        let expected = described.skipping(&letters, &skip);
        let found = taken(run(&described.pattern().skip_after_match(skip.clone()), &timed(&letters)));
        let found: Vec<_> = found.into_iter().map(|(_, taken)| taken).collect();
        assert_eq!(found, expected, "{described:?} in {letters:?}, {skip:?}");
        ended += usize::from(found.len() < described.matches(&letters).len());
    }
    assert!(ended > 1_000, "{ended} where a match ended others");
}

/// It is stored with partial matches, so another one for the same pattern would refuse them.
#[test]
fn the_shape_of_a_pattern_is_that_of_its_stages_and_stays() {
    let all = || {
        let pattern = a().next("b", of("b")).times_between(2..=3).consecutive().greedy().not_next("n", of("n"));
        let pattern = pattern.followed_by("c", of("c")).one_or_more().until(of("u")).not_followed_by("m", of("m"));
        pattern.followed_by_any("d", of("d")).times_between(2..).allow_combinations().optional()
    };
    let shape = |pattern: Pattern<String>| pattern.compile(PatternTime::Event).shape;
    assert_eq!(shape(all()), SHAPE);
    let other_words = all().within(Duration::from_millis(5)).skip_after_match(AfterMatchSkip::ToNext);
    assert_eq!(shape(other_words.where_so_far(|_, _| true)), SHAPE);
    assert_eq!(shape(Pattern::begin("b", of("c"))), shape(a()));
    assert_ne!(a().compile(PatternTime::Processing).shape, shape(a()), "its times are other ones");
    let others =
        [a(), a().optional(), a().times(2), a().one_or_more(), a().next("b", of("b")), a().followed_by("b", of("b"))];
    let shapes: std::collections::BTreeSet<u64> = others.map(shape).into();
    assert_eq!(shapes.len(), 6);
}

#[test]
#[should_panic(expected = "the pattern has no stage 'c' that takes records; it has [\"a\", \"b\"]")]
fn stages_that_are_not_there_have_no_records() {
    let pattern = a().not_next("c", of("c")).next("b", of("b")).where_so_far(|_, so_far| so_far.count("c") == 0);
    matches(&pattern, "a b");
}
