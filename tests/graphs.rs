//! Graphs before they run: what they look like, and what is wrong with them.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{GraphError, StartError};

fn flights() -> StreamEnvironment {
    let env = StreamEnvironment::new("flights").parallelism(2);
    let odd = OutputTag::<u64>::new("odd");
    let tag = odd.clone();
    let numbers = env.source("numbers", SequenceSource::new(0..10)).parallelism(1);
    let others = env.source("others", SequenceSource::new(0..10)).map(|n| n + 1);
    let split =
        numbers.union(others).flat_map(move |n, out| if n % 2 == 1 { out.emit_to(&tag, n) } else { out.emit(n) });
    split.side_output(&odd).sink("odd", CollectSink::new());
    split.key_by(|n| n % 3).fold("count", 0_u64, |count, _| *count += 1).sink("counts", CollectSink::new());
    env
}

#[test]
fn graph_is_explained_before_and_after_chaining() {
    let explanation = flights().explain().unwrap();
    assert_eq!(explanation.to_string(), include_str!("graphs/flights.txt"));
    assert_eq!(explanation.graphviz(), include_str!("graphs/flights.dot"));
}

#[test]
fn explained_graph_without_chaining_has_a_task_for_each_operator() {
    let chained = flights().explain().unwrap().to_string();
    let single = flights().chaining(false).explain().unwrap().to_string();
    let tasks = |text: &str| text.lines().skip_while(|line| *line != "tasks:").count() - 1;
    assert_eq!((tasks(&chained), tasks(&single)), (6, 7), "{chained}\n{single}");
}

#[test]
fn explained_operator_of_two_inputs_shows_both_and_starts_a_task_of_its_own() {
    let env = StreamEnvironment::new("connected").parallelism(2);
    let numbers = env.source("numbers", SequenceSource::new(0..10));
    let texts = env.source("texts", VecSource::new(vec!["text"])).rebalance();
    let itself = numbers.clone().union(numbers.clone()).connect(numbers).map(|n| n, |n| n);
    itself.connect(texts).map(|n| n, |text| text.len() as u64).map(|n| n).sink("out", CollectSink::new());
    let explanation = env.explain().unwrap();
    let expected = "\
job connected, max parallelism 128
operators:
  source numbers x2
  source texts x2
  operator co_map#2 x2 <- numbers (forward), numbers (forward) <- numbers (forward)
  operator co_map#3 x2 <- co_map#2 (forward) <- texts (rebalance)
  operator map#4 x2 <- co_map#3 (forward)
  sink out x2 <- map#4 (forward)
tasks:
  0 numbers x2 region 0, to 2 by forward, to 2 by forward, to 2 (second input) by forward
  1 texts x2 region 0, to 3 (second input) by rebalance
  2 co_map x2 region 0, to 3 by forward
  3 co_map->map x2 region 0, to 4 by forward
  4 out x2 region 0
";
    assert_eq!(explanation.to_string(), expected);
    assert!(explanation.graphviz().contains("n1 -> n3 [label=\"rebalance (second input)\"]"));
}

/// Declares one state twice.
#[derive(Clone)]
struct Twice;

impl KeyedProcessFunction<u64, u64> for Twice {
    type Out = u64;
    type State = (ValueState<u64>, ValueState<u64>);

    fn state(&self) -> Self::State {
        (ValueState::new("same"), ValueState::new("same"))
    }

    fn process(&mut self, _: u64, _: Row<'_, Self, u64, u64>, _: &mut KeyedContext<'_, u64>, _: &mut Emitter<'_, u64>) {
    }
}

#[test]
fn all_mistakes_come_back_together_each_with_file_and_line() {
    let (errors, first_line) = actix_rt::System::new().block_on(async {
        let first_line = line!();
        let env = StreamEnvironment::new("").max_parallelism(4).checkpointing(Checkpointing::disabled());
        let tag = OutputTag::<u64>::new("tag");
        let numbers = env.source("same", SequenceSource::unbounded());
        let again = env.source("same", SequenceSource::new(0..10)).parallelism(0);
        numbers.side_output(&tag).sink("side", CollectSink::new());
        numbers.side_output(&tag).sink("again", CollectSink::new());
        let united = numbers.union(again).parallelism(2);
        united.map(|n| n).parallelism(5).key_by(|n| *n).process("", Twice).sink("last", CollectSink::new());
        let StartError::Graph(errors) = env.start().expect_err("mistakes") else { panic!("graph errors") };
        (errors, first_line)
    });
    let text = errors.to_string();
    type IsError = fn(&GraphError) -> bool;
    let expected: [(&str, u32, IsError); 9] = [
        ("no name", 1, |error| matches!(error, GraphError::EmptyJobName { .. })),
        ("duplicate id", 4, |error| matches!(error, GraphError::DuplicateId { .. })),
        ("parallelism 0", 4, |error| matches!(error, GraphError::ZeroParallelism { .. })),
        ("tag twice", 6, |error| matches!(error, GraphError::TagUsedTwice { .. })),
        ("nothing to set", 7, |error| matches!(error, GraphError::NothingToSet { .. })),
        ("parallelism above max", 8, |error| {
            matches!(error, GraphError::ParallelismAboveMax { parallelism: 5, max: 4, .. })
        }),
        ("state twice", 8, |error| matches!(error, GraphError::DuplicateState { .. })),
        ("empty id", 8, |error| matches!(error, GraphError::EmptyId { .. })),
        ("never commits", 8, |error| matches!(error, GraphError::NeverCommits { .. })),
    ];
    for (what, line, is_error) in expected {
        let mut found = errors.0.iter().filter(|error| is_error(error));
        let place = format!("graphs.rs:{}:", first_line + line);
        assert!(found.any(|error| error.to_string().contains(&place)), "{what} at {place} in\n{text}");
    }
}

#[test]
fn stream_of_another_environment_and_a_job_without_source_are_mistakes() {
    let (env, other) = (StreamEnvironment::new("a"), StreamEnvironment::new("b"));
    let foreign = other.source("numbers", SequenceSource::new(0..1));
    env.source("numbers", SequenceSource::new(0..1)).union(foreign).sink("sink", CollectSink::new());
    let errors = env.explain().unwrap_err().0;
    assert!(matches!(errors[..], [GraphError::ForeignStream { .. }]), "{errors:?}");
    let env = StreamEnvironment::new("c");
    let foreign = other.source("texts", VecSource::new(vec!["text"]));
    let connected = env.source("numbers", SequenceSource::new(0..1)).connect(foreign);
    connected.map(|n| n, |text| text.len() as u64).sink("sink", CollectSink::new());
    let errors = env.explain().unwrap_err().0;
    assert!(matches!(errors[..], [GraphError::ForeignStream { .. }]), "{errors:?}");
    let errors = StreamEnvironment::new("empty").explain().unwrap_err().0;
    assert!(matches!(&errors[..], [GraphError::NoSource { job , .. }] if job == "empty"), "{errors:?}");
}

#[test]
fn recovery_objectives_and_bounds_that_make_no_sense_are_mistakes() {
    const DAY: Duration = Duration::from_secs(86_400);
    let every = || Checkpointing::every(Duration::from_secs(1));
    let mistakes = |checkpointing: Checkpointing| {
        let env = StreamEnvironment::new("objective").checkpointing(checkpointing);
        env.source("numbers", SequenceSource::new(0..1)).sink("sink", CollectSink::new());
        env.explain().err().map_or(Vec::new(), |errors| errors.0)
    };
    for objective in [Duration::ZERO, 366 * DAY, Duration::MAX] {
        let errors = mistakes(every().recover_within(objective));
        assert!(matches!(errors[..], [GraphError::RecoveryObjective { objective: told, .. }] if told == objective));
    }
    let errors = mistakes(Checkpointing::disabled().recover_within(DAY));
    assert!(matches!(errors[..], [GraphError::ObjectiveWithoutCheckpoints { objective: DAY, .. }]), "{errors:?}");
    for (min, max) in [(Duration::ZERO, DAY), (2 * DAY, DAY), (DAY, 366 * DAY)] {
        let errors = mistakes(every().recover_within(DAY).interval_min(min).interval_max(max));
        assert!(matches!(errors[..], [GraphError::IntervalBounds { .. }]), "{errors:?}");
    }
    assert_eq!(mistakes(every().recover_within(365 * DAY).interval_min(DAY).interval_max(DAY)), []);
}

/// Declares states that do not fit together.
#[derive(Clone)]
struct Unfit;

impl KeyedProcessFunction<u64, u64> for Unfit {
    type Out = u64;
    type State = (ValueState<u64>, Expiring<ValueState<u64>>, ValueState<u64>);

    fn state(&self) -> Self::State {
        (
            ValueState::new("gap").version(4).migrate(1, |n: u64| n).migrate(3, |n: u64| n),
            ValueState::new("brief").with_ttl(StateTtl::event_time(Duration::ZERO)),
            ValueState::new("fits").version(2).migrate(1, |text: String| text.len() as u64),
        )
    }

    fn process(&mut self, _: u64, _: Row<'_, Self, u64, u64>, _: &mut KeyedContext<'_, u64>, _: &mut Emitter<'_, u64>) {
    }
}

#[test]
fn states_that_do_not_fit_together_are_refused_by_name() {
    let env = StreamEnvironment::new("unfit");
    env.source("numbers", SequenceSource::new(0..10))
        .key_by(|n| n % 3)
        .process("keep", Unfit)
        .sink("out", CollectSink::new());
    let errors = env.explain().unwrap_err().0;
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(errors.iter().all(|error| matches!(error, GraphError::InvalidState { .. })), "{shown:?}");
    assert!(shown[0].contains("graphs.rs") && shown[0].contains("'keep', state 'gap': no migration from version 2"));
    assert!(shown[1].contains("'keep', state 'brief': a time to live of less than a millisecond"), "{shown:?}");
}
