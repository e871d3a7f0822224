//! Colours. What they say is also said by a word or a sign.

use ratatui::style::{Color, Modifier, Style};

/// How things look, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::top) struct Palette {
    has_colours: bool,
}

impl Palette {
    pub(in crate::cli::top) const PLAIN: Self = Self { has_colours: false };

    /// With colours, unless `NO_COLOR` has any value (no-color.org).
    pub(in crate::cli::top) fn of_environment() -> Self {
        Self { has_colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(super) fn warning(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn busy(self) -> Style {
        self.colour(Color::Yellow)
    }

    pub(super) fn held_up(self) -> Style {
        self.colour(Color::Blue)
    }

    pub(super) fn idle(self) -> Style {
        self.colour(Color::DarkGray)
    }

    pub(super) fn aligned(self) -> Style {
        self.colour(Color::Magenta)
    }

    pub(super) fn written(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(super) fn label(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn alarm(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    /// Of a state by its name.
    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "running" | "finished" | "drained" | "completed" => self.good(),
            "failed" | "restarting" | "parked" | "error" => self.bad(),
            "paused" | "starting" | "ending" | "cancelled" | "cut_off" | "in_progress" | "warn" => self.warning(),
            _ => Style::new(),
        }
    }
}
