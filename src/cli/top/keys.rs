//! What keys mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// Closes what was opened; with nothing to close, quits.
    Back,
    NextTab,
    PreviousTab,
    /// The tab at this place.
    Tab(usize),
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// Opens the row that is chosen.
    Open,
    /// Holds the display still, or goes on.
    Pause,
    Help,
    /// Asks the server at once.
    Ask,
}

/// Every key with what it does, for the help.
pub(super) const KEYS: [(&str, &str); 10] = [
    ("q, ctrl-c", "leave"),
    ("Esc", "close what was opened; else leave"),
    ("Tab, right; shift-Tab, left", "the next, the previous view"),
    ("1 to 5", "the view at that place"),
    ("up, down, page up, page down", "choose a row"),
    ("Home, End", "the first, the last row"),
    ("Enter", "open the row: subtasks, parts of a checkpoint, a job"),
    ("p, space", "hold the display still, and go on"),
    ("r", "ask the server at once"),
    ("?, h", "this help"),
];

/// What a key asks for, if anything.
pub(super) fn command(key: KeyEvent) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Command::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q') => Command::Quit,
        KeyCode::Esc | KeyCode::Backspace => Command::Back,
        KeyCode::Tab | KeyCode::Right => Command::NextTab,
        KeyCode::BackTab | KeyCode::Left => Command::PreviousTab,
        KeyCode::Char(digit @ '1'..='5') => Command::Tab(digit as usize - '1' as usize),
        KeyCode::Up | KeyCode::Char('k') => Command::Up,
        KeyCode::Down | KeyCode::Char('j') => Command::Down,
        KeyCode::PageUp => Command::PageUp,
        KeyCode::PageDown => Command::PageDown,
        KeyCode::Home => Command::First,
        KeyCode::End => Command::Last,
        KeyCode::Enter => Command::Open,
        KeyCode::Char('p' | ' ') => Command::Pause,
        KeyCode::Char('?' | 'h') => Command::Help,
        KeyCode::Char('r') => Command::Ask,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_commands_and_others_are_none() {
        let pressed = |code| command(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(pressed(KeyCode::Char('3')), Some(Command::Tab(2)));
        assert_eq!(pressed(KeyCode::Esc), Some(Command::Back));
        assert_eq!((pressed(KeyCode::Char('6')), pressed(KeyCode::F(1))), (None, None));
        let control = |code| command(KeyEvent::new(code, KeyModifiers::CONTROL));
        assert_eq!((control(KeyCode::Char('c')), control(KeyCode::Char('q'))), (Some(Command::Quit), None));
        let released = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(command(released), None);
    }
}
