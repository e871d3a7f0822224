//! The terminal: taken, drawn on, and given back as it was.

use std::io;
use std::time::Duration;

use millstream_actors::contract::Clock;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::draw::{Palette, draw};
use super::error::TopError;
use super::keys::command;
use super::looks::Looks;
use super::model::{Model, Then};
use super::signals::Signals;
use crate::time::SystemClock;

/// How long at most until an answer or a signal is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often ages on the screen are renewed.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// The terminal, which is as it was once this is dropped; also when the program panics.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> Result<Self, TopError> {
        ratatui::try_init().map(Self).map_err(|error| {
            ratatui::restore();
            TopError::Terminal(error)
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the model until a key or a signal ends that.
///
/// # Errors
/// [`TopError::Terminal`].
pub(super) fn show(model: Model, looks: &Looks, clock: &SystemClock) -> Result<(), TopError> {
    let signals = Signals::watch().map_err(TopError::Terminal)?;
    let screen = Screen::take()?;
    let shown = go_on(model, looks, clock, &signals, screen).map_err(TopError::Terminal);
    // The terminal has been given back by now; the process ends as without this program's doing.
    signals.pass_on();
    shown
}

fn go_on(
    mut model: Model,
    looks: &Looks,
    clock: &SystemClock,
    signals: &Signals,
    mut screen: Screen,
) -> io::Result<()> {
    let palette = Palette::of_environment();
    let (mut asked, mut page, mut drawn_at, mut has_news) = (model.wish(), 0, Duration::ZERO, true);
    while !signals.has_come() {
        while let Some(answer) = looks.heard() {
            model.hear(answer);
            has_news = true;
        }
        let wish = model.wish();
        if wish != asked {
            looks.ask(wish.clone());
            asked = wish;
        }
        let now = clock.now();
        if has_news || now.saturating_sub(drawn_at) >= DRAW_EVERY {
            screen.0.draw(|frame| page = draw(frame, &model, now, palette))?;
            (has_news, drawn_at) = (false, now);
        }
        if !event::poll(LOOK_EVERY)? {
            continue;
        }
        has_news = true;
        let Event::Key(key) = event::read()? else { continue };
        match command(key).map(|command| model.obey(command, page)) {
            Some(Then::Quit) => break,
            Some(Then::Ask) => looks.ask(model.wish()),
            Some(Then::GoOn) | None => {}
        }
    }
    Ok(())
}
