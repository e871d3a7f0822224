//! Bars and lines of characters.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::palette::Palette;
use crate::cli::top::series::Series;

/// A bar of this width whose parts are so long, by a whole that is so long. Each part has its own character.
fn parts(parts: &[(f64, char, Style)], whole: f64, width: usize) -> Line<'static> {
    let (mut spans, mut end, mut drawn) = (Vec::new(), 0.0, 0);
    for (length, character, style) in parts {
        end += length.max(0.0);
        // NaN and what is infinite become 0 or the whole width.
        let until = ((end / whole.max(f64::MIN_POSITIVE) * width as f64).round() as usize).min(width);
        let cells = until.saturating_sub(drawn);
        if cells > 0 {
            spans.push(Span::styled(character.to_string().repeat(cells), *style));
            drawn = until;
        }
    }
    Line::from(spans)
}

/// How a subtask spends its time: busy, held up by those after it, and idle.
pub(super) fn load(shares: [Option<f64>; 2], width: usize, palette: Palette) -> Line<'static> {
    let [Some(busy), held_up] = shares else { return Line::from("–") };
    let held_up = held_up.unwrap_or_default();
    let all = [
        (busy, '█', palette.busy()),
        (held_up, '▒', palette.held_up()),
        ((1.0 - busy - held_up).max(0.0), '·', palette.idle()),
    ];
    parts(&all, 1.0, width)
}

/// The names of the parts of a checkpoint, in their order, with the characters of the bar.
pub(super) const CHECKPOINT_PARTS: [(&str, char); 5] =
    [("start delay", '·'), ("alignment", '/'), ("synchronous", '█'), ("asynchronous", '▒'), ("store", '=')];

/// What the time of a checkpoint was spent on.
pub(super) fn checkpoint(lengths: [f64; 5], whole: f64, width: usize, palette: Palette) -> Line<'static> {
    let styles = [palette.idle(), palette.aligned(), palette.busy(), palette.written(), palette.good()];
    let mut all = [(0.0, ' ', Style::new()); 5];
    for (place, part) in all.iter_mut().enumerate() {
        *part = (lengths[place], CHECKPOINT_PARTS[place].1, styles[place]);
    }
    parts(&all, whole, width)
}

/// How far something is, with its share.
pub(super) fn progress(done: u64, of: u64, width: usize) -> String {
    let share = if of == 0 { 0.0 } else { (done as f64 / of as f64).min(1.0) };
    let full = (share * width as f64).floor() as usize;
    format!("[{}{}] {:.0}%", "#".repeat(full), "-".repeat(width.saturating_sub(full)), (share * 100.0).floor())
}

/// The newest values as high as they are, and the highest of them.
pub(super) fn spark(series: &Series, width: usize) -> (String, Option<f64>) {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = series.newest(width).flatten().reduce(f64::max);
    let level = |value: f64| {
        let share = value / highest.unwrap_or_default().max(f64::MIN_POSITIVE);
        LEVELS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1]
    };
    (series.newest(width).map(|value| value.map_or(' ', level)).collect(), highest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bars_have_their_width_whatever_the_shares() {
        let bar = |busy, held_up| load([Some(busy), Some(held_up)], 10, Palette::PLAIN).to_string();
        assert_eq!(bar(0.3, 0.2), "███▒▒·····");
        assert_eq!(bar(1.0, 1.0), "██████████");
        assert_eq!(bar(0.0, 0.0), "··········");
        assert_eq!(bar(1e300, -5.0), "██████████");
        assert_eq!(bar(f64::NAN, f64::INFINITY).chars().count(), 10);
        assert_eq!(load([None, Some(0.5)], 10, Palette::PLAIN).to_string(), "–");
        let parts = checkpoint([1.0, 1.0, 2.0, 4.0, 2.0], 10.0, 10, Palette::PLAIN).to_string();
        assert_eq!(parts, "·/██▒▒▒▒==");
        assert!(checkpoint([0.0; 5], 0.0, 10, Palette::PLAIN).to_string().is_empty());
    }

    #[test]
    fn progress_is_full_only_at_the_end() {
        assert_eq!(progress(3, 8, 8), "[###-----] 37%");
        assert_eq!((progress(999, 1_000, 4), progress(9, 8, 4)), ("[###-] 99%".into(), "[####] 100%".into()));
        assert_eq!((progress(0, 0, 4), progress(u64::MAX, u64::MAX, 0)), ("[----] 0%".into(), "[] 100%".into()));
    }

    #[test]
    fn sparks_are_as_high_as_their_values() {
        let (mut series, second) = (Series::default(), Duration::from_secs);
        for (at, value) in [Some(0.0), Some(50.0), None, Some(100.0)].into_iter().enumerate() {
            series.push(second(at as u64), value, second(9));
        }
        assert_eq!(spark(&series, 10), ("▁▄ █".to_owned(), Some(100.0)));
        assert_eq!(spark(&series, 0), (String::new(), None));
        assert_eq!(spark(&Series::default(), 5), (String::new(), None));
    }
}
