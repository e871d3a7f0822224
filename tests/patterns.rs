//! Patterns in jobs: each match once, whatever fails and however the job goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use millstream::prelude::*;
use millstream::{GraphError, JobHandle};

use common::{
    BOUND_MS, CountedPanics, InputEnd, SteppedSource, checkpointed, events_of, output_through_panics, run, run_to_end,
    sorted, watched,
};

mod common;

const N: u64 = 1_200;
const KEYS: u64 = 17;
/// So many milliseconds make one of the helpers', so that no two records have the same time.
const SCALE: i64 = N as i64;
/// Some dozen records of a key come in this time.
const WITHIN_MS: i64 = 700 * SCALE;

fn key_of(id: u64) -> u64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS
}

fn time_of(id: u64) -> Timestamp {
    common::time_of(id) * SCALE + id as i64
}

fn kind_of(id: u64) -> char {
    ['a', 'b', 'c', 'd', 'e'][(id.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % 5]
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A b after an a, in time.
    FollowedBy,
    /// All between an a and the next one, where there is something.
    Between,
    /// An a after which no b comes in time.
    NotFollowedBy,
}

const KINDS: [Kind; 3] = [Kind::FollowedBy, Kind::Between, Kind::NotFollowedBy];

/// Whether it is a match, or timed out; its records.
type Found = (bool, Vec<u64>);

fn pattern(kind: Kind) -> Pattern<u64> {
    let is = |kind: char| move |id: &u64| kind_of(*id) == kind;
    let a = Pattern::begin("a", is('a'));
    let within = Duration::from_millis(WITHIN_MS as u64);
    match kind {
        Kind::FollowedBy => a.followed_by("b", is('b')).within(within),
        Kind::Between => {
            let between = a.next("others", |id| kind_of(*id) != 'a').one_or_more().consecutive();
            between.next("next", is('a')).skip_after_match(AfterMatchSkip::to_last("next"))
        }
        Kind::NotFollowedBy => a.not_followed_by("b", is('b')).within(within),
    }
}

/// What a plain loop finds, sorted.
fn expected(kind: Kind, n: u64) -> Vec<Found> {
    let mut found = Vec::new();
    for key in 0..KEYS {
        let mut ids: Vec<u64> = (0..n).filter(|id| key_of(*id) == key).collect();
        ids.sort_by_key(|id| time_of(*id));
        for (place, first) in ids.iter().enumerate().filter(|(_, id)| kind_of(**id) == 'a') {
            let behind = &ids[place + 1..];
            let over = time_of(*first) + WITHIN_MS;
            let in_time = || behind.iter().copied().take_while(|id| time_of(*id) < over);
            match kind {
                Kind::FollowedBy => found.push(match in_time().find(|id| kind_of(*id) == 'b') {
                    Some(b) => (true, vec![*first, b]),
                    None => (false, vec![*first]),
                }),
                Kind::Between => {
                    let next = behind.iter().position(|id| kind_of(*id) == 'a').filter(|next| *next > 0);
                    found.extend(next.map(|next| (true, ids[place..=place + 1 + next].to_vec())));
                }
                Kind::NotFollowedBy => {
                    let is_alone = in_time().all(|id| kind_of(id) != 'b');
                    found.extend(is_alone.then(|| (true, vec![*first])));
                }
            }
        }
    }
    sorted(found)
}

fn source(n: u64, input: &InputEnd) -> SteppedSource {
    SteppedSource::new("ids", n, 100, input)
}

fn build(
    env: &StreamEnvironment,
    pattern: Pattern<u64>,
    source: SteppedSource,
    panics: CountedPanics,
    sink: CollectSink<Found>,
) {
    let bound = Duration::from_millis((BOUND_MS + 1) * N);
    let times = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &(&'static str, u64)| time_of(*id));
    let (late, timed_out) = (OutputTag::new("late"), OutputTag::new("timed out"));
    let ids = |matched: &Matched<'_, u64>| matched.iter().map(|(_, id)| *id).collect::<Vec<u64>>();
    let found = env
        .source_with_watermarks("ids", source, times)
        .map(|(_, id)| id)
        .inspect(move |_| panics.count_and_panic())
        .key_by(|id| key_of(*id))
        .pattern(pattern)
        .timed_out(&timed_out, move |matched| (false, ids(matched)))
        .late_output(&late)
        .select("found", move |matched| (true, ids(matched)));
    let late = found.side_output(&late);
    late.for_each("late", |id| panic!("{id} is late, though it is within the bound"));
    found.side_output(&timed_out).union(found).sink("out", sink);
}

/// T12: through panics, at each parallelism and with both backends.
#[test]
fn matches_are_given_once_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let plain = expected(kind, N);
        assert!(plain.len() > 20, "{kind:?}: {} found", plain.len());
        for (parallelism, spills) in [(1, false), (2, true), (3, false)] {
            for at in [vec![], vec![0, 400, 401], vec![700, 1_000]] {
                let runs_on = (parallelism, spills.then(|| dir.path()));
                let found = output_through_panics("patterns", runs_on, &at, move |env, panics, sink| {
                    build(env, pattern(kind), source(N, &InputEnd::default()), panics, sink);
                });
                assert_eq!(found, plain, "{kind:?}, parallelism {parallelism}, panics {at:?}");
            }
        }
    }
}

/// T12: partial matches, and records that wait, are in a savepoint, and go on at another parallelism.
#[test]
fn partial_matches_go_on_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        for (parallelism, then) in [(1, 3), (3, 2)] {
            let (sink, input, store) = (CollectSink::new(), InputEnd::default(), MemoryStore::new());
            let (first, kept) = (sink.handle(), store.clone());
            let savepoint = dir.path().join(format!("{kind:?}-{parallelism}"));
            run("a job that is stopped", move |handles| async move {
                let env = checkpointed("patterns", parallelism, None).snapshot_store(store);
                build(&env, pattern(kind), source(N, &input).hold_at(N / 6), CountedPanics::default(), sink);
                let job = env.start().unwrap();
                watched(&handles, &job);
                held(&job, &input).await;
                job.stop_with_savepoint(savepoint).await.unwrap();
            });
            let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[200]));
            let then_given = sink.handle();
            let (outcome, _) = run_to_end("a job that goes on", move || {
                let env = checkpointed("patterns", then, None).snapshot_store(kept);
                build(&env, pattern(kind), source(N, &InputEnd::default()), panics, sink);
                env
            });
            outcome.expect("finished");
            let (before, after) = (first.snapshot(), then_given.snapshot());
            assert!(!before.is_empty() && !after.is_empty(), "{} and {} found", before.len(), after.len());
            let all = sorted(before.into_iter().chain(after).collect());
            assert_eq!(all, expected(kind, N), "{kind:?}, parallelism {parallelism}, then {then}");
        }
    }
}

/// Resolves when the source stands where it is held.
async fn held(job: &JobHandle, input: &InputEnd) {
    let mut events = events_of(job);
    while input.records_read() < 4 * (N / 6) {
        events.checkpoints(1).await;
    }
}

/// T12: what was stored with one pattern is not taken for partial matches of another one.
#[test]
fn partial_matches_of_another_pattern_fail_the_job_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for spills in [false, true] {
        let spills_to = spills.then(|| dir.path().to_owned());
        let (input, store, then_to) = (InputEnd::default(), MemoryStore::new(), spills_to.clone());
        let (kept, savepoint) = (store.clone(), dir.path().join(format!("savepoint-{spills}")));
        run("a job that is stopped", move |handles| async move {
            let env = checkpointed("patterns", 2, spills_to.as_deref()).snapshot_store(store);
            let source = source(N, &input).hold_at(N / 6);
            build(&env, pattern(Kind::FollowedBy), source, CountedPanics::default(), CollectSink::new());
            let job = env.start().unwrap();
            watched(&handles, &job);
            held(&job, &input).await;
            job.stop_with_savepoint(savepoint).await.unwrap();
        });
        let (outcome, _) = run_to_end("a job with another pattern", move || {
            let env = checkpointed("patterns", 2, then_to.as_deref()).snapshot_store(kept);
            let longer = pattern(Kind::FollowedBy).followed_by("c", |id| kind_of(*id) == 'c');
            build(&env, longer, source(N, &InputEnd::default()), CountedPanics::default(), CollectSink::new());
            env.restart_strategy(RestartStrategy::none())
        });
        let error = outcome.expect_err("its partial matches are of another pattern").to_string();
        assert!(error.contains("partial matches of a pattern with other stages or quantifiers"), "{error}");
        assert!(error.contains("'found'") && error.contains("'partial-matches'"), "{error}");
    }
}

/// T12: each record is late, or is looked at.
#[test]
fn late_records_go_to_the_late_output_and_are_in_no_match() {
    let (sink, late_sink) = (CollectSink::new(), CollectSink::new());
    let (found, late) = (sink.handle(), late_sink.handle());
    let (outcome, job) = run_to_end("a job with late records", move || {
        let env = StreamEnvironment::new("late").parallelism(1);
        let times = WatermarkStrategy::bounded_out_of_orderness(Duration::ZERO, |at: &Timestamp| *at);
        let tag = OutputTag::new("late");
        let each = Pattern::begin("each", |_: &Timestamp| true);
        let found = env
            .source_with_watermarks("times", VecSource::new((0..5_000).rev().collect::<Vec<Timestamp>>()), times)
            .key_by(|_| ())
            .pattern(each)
            .late_output(&tag)
            .select("each", |each| each.start_time());
        found.side_output(&tag).sink("late", late_sink);
        found.sink("out", sink);
        env
    });
    outcome.expect("finished");
    let (found, late) = (found.snapshot(), late.snapshot());
    assert!(!found.is_empty() && !late.is_empty(), "{} found, {} late", found.len(), late.len());
    assert_eq!(job.figures().iter().map(|figures| figures.of_run.late_records).sum::<u64>(), late.len() as u64);
    assert!(found.is_sorted(), "by time: {found:?}");
    assert_eq!(sorted(found.into_iter().chain(late).collect()), (0..5_000).collect::<Vec<_>>());
}

/// The mistakes of a job with this pattern.
fn mistakes(pattern: Pattern<u64>) -> Vec<String> {
    let env = StreamEnvironment::new("mistakes");
    let keyed = env.source("numbers", SequenceSource::new(0..10)).key_by(|n| *n);
    keyed.pattern(pattern).select("found", |found| found.len()).sink("out", CollectSink::new());
    let errors = env.explain().expect_err("it is refused");
    let texts = errors.0.iter().map(|error| {
        assert!(matches!(error, GraphError::InvalidPattern { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("tests/patterns.rs:") && text.contains("pattern of operator 'found': "), "{text}");
        text
    });
    texts.collect()
}

fn assert_mistake(pattern: Pattern<u64>, expected: &str) {
    let found = mistakes(pattern);
    assert!(found.len() == 1 && found[0].ends_with(expected), "{found:?}, not {expected:?}");
}

fn any(_: &u64) -> bool {
    true
}

fn begin() -> Pattern<u64> {
    Pattern::begin("a", any)
}

#[test]
fn stages_that_cannot_be_are_refused_before_the_start() {
    assert_mistake(begin().next("b", any).next("a", any), "two stages have the name 'a'");
    assert_mistake(begin().times(0), "stage 'a' takes no record; `optional()` says that it may be left out");
    assert_mistake(begin().times_between(..3), "stage 'a' takes no record; `optional()` says that it may be left out");
    assert_mistake(begin().times_between(3..3), "stage 'a' takes a number of records from an empty range");
    let one = "stage 'a' takes one record, so ";
    assert_mistake(begin().greedy(), &format!("{one}it cannot be greedy"));
    assert_mistake(begin().consecutive(), &format!("{one}nothing can be said of what is between"));
    assert_mistake(begin().one_or_more().greedy().allow_combinations(), "cannot be greedy and allow combinations");
    let both = begin().one_or_more().consecutive().allow_combinations();
    assert_mistake(both, "cannot be consecutive and allow combinations");
    assert_mistake(begin().times(3).until(any), "takes so many records at most, and so has no use for until(..)");
    let many = (0..64).fold(begin(), |pattern, number| pattern.next(format!("{number}"), any));
    assert_mistake(many, "it has 65 stages, and 64 are the most");
    let twice = begin().one_or_more().until(any).until(any);
    assert_mistake(twice, "stage 'a' has two conditions until which it goes on");
}

#[test]
fn negations_that_cannot_be_are_refused_before_the_start() {
    let must_end = "'b' must not come at the end of the pattern, which never is: say by within(..) when it is";
    assert_mistake(begin().not_followed_by("b", any), must_end);
    let optional = begin().optional().not_followed_by("b", any).next("c", any);
    assert_mistake(optional, "what must not come, 'b', is behind 'a', which is optional");
    assert_mistake(begin().optional().not_next("b", any).next("c", any), "'b', is behind 'a', which is optional");
    let repeated = begin().not_next("b", any).one_or_more().next("c", any);
    assert_mistake(repeated, "stage 'b' must not come, so nothing can be said of how often");
    assert_mistake(begin().not_next("b", any).optional().next("c", any), "nothing can be said of how often");
}

#[test]
fn times_and_skips_that_cannot_be_are_refused_before_the_start() {
    assert_mistake(begin().within(Duration::ZERO), "the time within is 0ns, which is less than a millisecond");
    let micros = begin().within(Duration::from_micros(1_500));
    assert_mistake(micros, "the time within is 1.5ms, which is not whole milliseconds");
    let to = |stage: &'static str| {
        begin().not_next("b", any).next("c", any).skip_after_match(AfterMatchSkip::to_last(stage))
    };
    let none = "and there is none of that name that takes records";
    assert_mistake(to("d"), &format!("a match is to skip to stage 'd', {none}"));
    assert_mistake(to("b"), &format!("a match is to skip to stage 'b', {none}"));
    assert_eq!(mistakes(begin().times(0).within(Duration::ZERO)).len(), 2, "all mistakes are told");
}
