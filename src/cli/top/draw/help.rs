//! What keys do and signs mean.

use ratatui::text::Line;

use super::bars::CHECKPOINT_PARTS;
use super::columns::cut;
use super::palette::Palette;
use crate::cli::top::keys::KEYS;

pub(super) fn help(width: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from("Keys").style(palette.head())];
    let widest = KEYS.iter().map(|(keys, _)| keys.len()).max().unwrap_or_default();
    lines.extend(KEYS.iter().map(|(keys, does)| Line::from(format!("  {keys:widest$}  {does}"))));
    lines.push(Line::from("Signs").style(palette.head()));
    lines.push(Line::from("  load: █ busy, ▒ back-pressured, · idle; of the busiest subtask"));
    let parts: Vec<String> = CHECKPOINT_PARTS.iter().map(|(name, sign)| format!("{sign} {name}")).collect();
    lines.push(Line::from(format!("  checkpoint: {}", parts.join(", "))));
    lines.push(Line::from("  rates and shares are of the last 5 s; times of day are UTC; – is not known"));
    lines.into_iter().map(|line| cut(line, width)).collect()
}
