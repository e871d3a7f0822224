//! Servers that say anything.

use std::time::Duration;

use serde_json::{Map, Value};

use super::recorded::{Recorded, being_written, in_progress, job};
use super::{heard, screen};
use crate::cli::top::draw::print;
use crate::cli::top::keys::Command;
use crate::cli::top::looks::JobLook;
use crate::cli::top::model::Model;
use crate::cli::top::view::View;
use crate::state::test_kit::Random;

/// Texts that terminals obey, that are wide, and that are long.
const TEXTS: [&str; 8] = [
    "",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{9b}31m\u{85}",
    "\r\n\t\u{8}",
    "数数数数数数数数数数数数数数数数数数数数数数数数",
    "e\u{301}\u{301}\u{301}\u{200d}\u{202e}",
    "-9223372036854775808",
    "👩‍👩‍👧‍👦🏳️‍🌈",
];

fn number(random: &mut Random) -> Value {
    match random.below(8) {
        0 => u64::MAX.into(),
        1 => i64::MIN.into(),
        2 => f64::MAX.into(),
        3 => (-1e-300).into(),
        4 => 0.into(),
        5 => (1_u64 << 53).into(),
        _ => random.below(100).into(),
    }
}

/// Something else in the place of `value`: now and then of another kind, mostly of the same.
fn mangled(random: &mut Random, value: &Value) -> Value {
    match value {
        _ if random.below(1_000) == 0 => Value::Array(vec![Value::Null, Value::Bool(true)]),
        Value::Object(fields) => {
            let mut mangled_fields = Map::new();
            for (name, value) in fields {
                if random.below(60) > 0 {
                    mangled_fields.insert(name.clone(), mangled(random, value));
                }
            }
            mangled_fields.into()
        }
        Value::Array(items) => {
            let times = [0, 1, 1, 1, 7][random.below(5) as usize];
            (0..times).flat_map(|_| items).map(|item| mangled(random, item)).collect::<Vec<_>>().into()
        }
        _ if random.below(3) > 0 => value.clone(),
        Value::Number(whole) if whole.is_u64() => [0, 1, u64::MAX, 1 << 40][random.below(4) as usize].into(),
        Value::Number(_) => number(random),
        Value::String(_) => TEXTS[random.below(8) as usize].into(),
        other => other.clone(),
    }
}

fn look_through(model: &mut Model, random: &mut Random) {
    let checkpoint = model.figures().and_then(|figures| figures.parts.as_ref()).map_or(0, |parts| parts.id);
    for view in [
        View::Overview,
        View::Vertex(1),
        View::Checkpoints,
        View::Checkpoint(checkpoint),
        View::Failures,
        View::Log,
        View::Jobs,
    ] {
        model.view = view;
        for command in [Command::Down, Command::Last, Command::PageUp] {
            model.obey(command, random.below(9) as usize);
        }
        let (width, height) = [(80, 24), (40, 10), (1, 1), (200, 60), (3, 50), (50, 3)][random.below(6) as usize];
        let lines = screen(model, 100 + random.below(20), width, height);
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
    }
}

#[test]
fn whatever_a_server_says_is_shown_without_a_panic_or_a_control_character() {
    let (mut random, mut shown) = (Random(7), 0);
    let mut recorded = job();
    recorded.detail["checkpoint_in_progress"] = in_progress();
    recorded.detail["savepoints_in_progress"] = being_written();
    for round in 0..120 {
        let mut answers = recorded.clone();
        let Recorded { overview, detail, checkpoints, log, exceptions, parts } = &mut answers;
        for answer in [overview, detail, checkpoints, log, exceptions, parts] {
            *answer = mangled(&mut random, answer);
        }
        // What is none of an answer is refused as a whole.
        let Ok(look) = answers.try_look() else { continue };
        shown += 1;
        if let JobLook::Known(figures) = &look.job {
            let lines = print(figures, 1 + random.below(200) as usize);
            assert!(lines.iter().all(|line| !line.contains(char::is_control)), "round {round}: {lines:?}");
        }
        look_through(&mut heard(look), &mut random);
    }
    assert!(shown > 40, "only {shown} were answers");
}

#[test]
fn a_model_that_has_heard_nothing_is_shown_at_any_size() {
    let mut model = Model::new(Duration::from_secs(1), None);
    for (view, _) in View::TABS {
        model.view = view;
        for (width, height) in [(1, 1), (2, 2), (40, 10), (300, 100)] {
            let _ = screen(&model, 0, width, height);
        }
    }
}
