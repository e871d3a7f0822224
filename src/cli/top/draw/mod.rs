//! What is drawn. Every part is lines of a given width, so that a screen, a print and a test show the same.

mod bars;
mod checkpoints;
mod columns;
mod failures;
mod head;
mod help;
mod jobs;
mod listing;
mod load;
mod log;
mod notices;
mod palette;
mod print;
mod screen;
mod vertices;

pub(super) use palette::Palette;
pub(super) use print::{print, print_jobs};
pub(super) use screen::draw;
