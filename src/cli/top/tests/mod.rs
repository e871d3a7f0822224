//! What is shown of what a server says, and what keys change.

mod model;
mod nonsense;
mod recorded;
mod screens;

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::{Palette, draw};
use super::looks::{Answer, Look};
use super::model::Model;

pub(super) const fn second(at: u64) -> Duration {
    Duration::from_secs(at)
}

/// A model that looks once a second and has heard this at second 100.
fn heard(look: Look) -> Model {
    let mut model = Model::new(second(1), None);
    hear(&mut model, 100, look);
    model
}

fn hear(model: &mut Model, at: u64, look: Look) {
    let (wish, at) = (model.wish(), second(at));
    model.hear(Answer { wish, said: Ok(look), at, next: at + second(1) });
}

/// What the screen shows, without spaces at the ends of lines.
fn screen(model: &Model, at: u64, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| _ = draw(frame, model, second(at), Palette::PLAIN)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |row: u16| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
    (0..height).map(|at| row(at).trim_end().to_owned()).collect()
}
