//! What keys and answers change.

use serde_json::json;

use super::recorded::{event, gone, job, several};
use super::{hear, heard, second};
use crate::cli::top::answers::JobId;
use crate::cli::top::error::TopError;
use crate::cli::top::keys::Command;
use crate::cli::top::looks::{Answer, Wish};
use crate::cli::top::model::{Model, Then};
use crate::cli::top::view::{RowKey, View};

fn press(model: &mut Model, commands: &[Command]) -> Vec<Then> {
    commands.iter().map(|command| model.obey(*command, 10)).collect()
}

fn chosen(model: &Model) -> Option<RowKey> {
    let rows = model.rows();
    let place = model.chosen(&rows);
    rows.into_iter().nth(place)
}

fn failure(model: &mut Model, at: u64) {
    let error = TopError::TimedOut { url: "u".to_owned().into(), within: second(5) };
    model.hear(Answer { wish: model.wish(), said: Err(error), at: second(at), next: second(at + 2) });
}

#[test]
fn enter_opens_and_escape_closes_until_it_leaves() {
    let mut model = heard(job().look());
    press(&mut model, &[Command::Down, Command::Open]);
    assert_eq!((model.view, model.rows().len()), (View::Vertex(1), 2));
    assert_eq!(press(&mut model, &[Command::Back]), [Then::GoOn]);
    assert_eq!((model.view, chosen(&model)), (View::Overview, Some(RowKey::Number(1))));
    press(&mut model, &[Command::NextTab, Command::Last, Command::Open]);
    assert_eq!((model.view, model.wish().checkpoint), (View::Checkpoint(7), Some(7)));
    assert_eq!(model.rows(), [RowKey::Part(1, 0), RowKey::Part(1, 1)]);
    press(&mut model, &[Command::Back, Command::NextTab]);
    assert_eq!((model.view, model.wish().failures), (View::Failures, true));
    press(&mut model, &[Command::Help]);
    assert!(model.has_help);
    assert_eq!(press(&mut model, &[Command::Back, Command::Back]), [Then::GoOn, Then::Quit]);
    assert_eq!(press(&mut model, &[Command::Ask, Command::Quit]), [Then::Ask, Then::Quit]);
    press(&mut model, &[Command::PreviousTab, Command::PreviousTab, Command::PreviousTab]);
    assert_eq!(model.view, View::Jobs);
}

#[test]
fn a_row_stays_chosen_when_others_come_before_it() {
    let mut recorded = job();
    let mut model = heard(recorded.look());
    model.view = View::Log;
    assert_eq!(chosen(&model), Some(RowKey::Number(6)), "the newest");
    press(&mut model, &[Command::Down]);
    assert_eq!(chosen(&model), Some(RowKey::Number(5)));
    recorded.log["events"].as_array_mut().unwrap().push(event(7, 1, "info", "other", "another"));
    hear(&mut model, 101, recorded.look());
    assert_eq!(chosen(&model), Some(RowKey::Number(5)));
    press(&mut model, &[Command::First]);
    recorded.log["events"].as_array_mut().unwrap().push(event(8, 1, "info", "other", "another"));
    hear(&mut model, 102, recorded.look());
    assert_eq!(chosen(&model), Some(RowKey::Number(8)), "the first row is always the newest");
    press(&mut model, &[Command::PageDown, Command::Down, Command::Down]);
    assert_eq!(chosen(&model), Some(RowKey::Number(5)));
}

#[test]
fn several_jobs_are_listed_and_one_is_chosen() {
    let mut model = heard(several(&["one", "two"]));
    assert_eq!((model.view, model.wish()), (View::Jobs, Wish::default()));
    press(&mut model, &[Command::Down, Command::Open]);
    assert_eq!((model.view, model.wish().job), (View::Overview, Some(JobId::from("two".to_owned()))));
    // What was asked before the choice says nothing of it.
    let stale =
        Answer { wish: Wish::default(), said: Ok(several(&["one", "two"])), at: second(101), next: second(102) };
    model.hear(stale);
    assert_eq!(model.link.age(second(101)), Some(second(1)));
    assert!(model.figures().is_none());
}

#[test]
fn the_only_job_stays_looked_at_when_others_come_or_it_goes() {
    let mut model = heard(job().look());
    assert_eq!(model.job(), Some(&JobId::from("counting".to_owned())));
    hear(&mut model, 101, gone());
    assert!(model.shown().is_some_and(|shown| shown.is_gone) && model.figures().is_some());
    assert_eq!(model.unix_ms(second(500)), 1_700_000_000_000, "its time does not go on");
    hear(&mut model, 102, job().look());
    assert!(model.shown().is_some_and(|shown| !shown.is_gone));
}

#[test]
fn a_held_display_stays_and_goes_on_with_the_newest() {
    let mut recorded = job();
    let mut model = heard(recorded.look());
    press(&mut model, &[Command::Pause]);
    recorded.detail["restarts"] = json!(9);
    hear(&mut model, 105, recorded.look());
    assert_eq!(model.figures().map(|figures| figures.detail.restarts), Some(2));
    assert_eq!((model.held_for(second(105)), model.unix_ms(second(105))), (Some(second(5)), 1_700_000_000_000));
    press(&mut model, &[Command::Pause]);
    assert_eq!(model.figures().map(|figures| figures.detail.restarts), Some(9));
}

#[test]
fn time_goes_on_only_while_figures_are_new() {
    let mut model = heard(job().look());
    assert_eq!(model.unix_ms(second(103)), 1_700_000_003_000);
    assert_eq!(model.unix_ms(second(107)), 1_700_000_000_000, "the server is silent");
    failure(&mut model, 102);
    assert_eq!(model.unix_ms(second(102)), 1_700_000_000_000);
    let rates = |model: &Model| model.shown().map(|shown| shown.rates.newest(9).collect::<Vec<_>>());
    hear(&mut model, 110, job().look());
    assert_eq!(rates(&model), Some(vec![Some(16_000.0), None, Some(16_000.0)]), "the time between is a gap");
}

#[test]
fn restores_are_known_until_their_region_runs() {
    let mut recorded = job();
    let restoring = |actor: &str, bytes: u64| {
        let mut event = event(9, 2, "info", "restoring", "it restores");
        event["region"] = json!(0);
        event["actor"] = json!(actor);
        event["checkpoint"] = json!(7);
        event["bytes"] = json!(bytes);
        event["bytes_total"] = json!(1_000);
        event
    };
    let mut running = event(10, 1, "info", "region_running", "region 0 runs");
    running["region"] = json!(0);
    let mut add = |event| {
        recorded.log["events"].as_array_mut().unwrap().push(event);
        let model = heard(recorded.look());
        let restoring = model.figures().unwrap().restoring();
        restoring.iter().map(|one| (one.subtask.to_string(), one.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(add(restoring("counts[0]", 100)), [("counts[0]".to_owned(), 100)]);
    assert_eq!(add(restoring("counts[1]", 200)).len(), 2);
    assert_eq!(add(restoring("counts[0]", 900)), [("counts[1]".to_owned(), 200), ("counts[0]".to_owned(), 900)]);
    assert_eq!(add(running), []);
}
