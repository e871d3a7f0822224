//! Lines in columns, as many as fit.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// What stands before each row: whether it is chosen.
const MARK: usize = 2;
/// Cells between two columns.
const GAP: usize = 1;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Cells of the terminal.
    pub(super) width: usize,
    /// Figures are to the right.
    pub(super) is_right: bool,
    /// Whether it has the room that is left.
    pub(super) grows: bool,
    /// Those with larger numbers are left out first.
    pub(super) rank: u8,
}

/// Words that may be of any length.
pub(super) const fn words(name: &'static str, width: usize, rank: u8) -> Column {
    Column { grows: true, ..text(name, width, rank) }
}

/// Words of this length.
pub(super) const fn text(name: &'static str, width: usize, rank: u8) -> Column {
    Column { name, width, is_right: false, grows: false, rank }
}

/// Figures.
pub(super) const fn figure(name: &'static str, width: usize, rank: u8) -> Column {
    Column { is_right: true, ..text(name, width, rank) }
}

/// The columns that a width has room for.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    all: &'static [Column],
    /// Width of each; 0 is left out.
    widths: Vec<usize>,
}

impl Columns {
    pub(super) fn fit(all: &'static [Column], width: usize) -> Self {
        let mut by_rank: Vec<usize> = (0..all.len()).collect();
        by_rank.sort_by_key(|place| all[*place].rank);
        let (mut widths, mut left) = (vec![0; all.len()], width.saturating_sub(MARK));
        for place in by_rank {
            let needed = all[place].width + GAP;
            if needed > left && left < width.saturating_sub(MARK) {
                break;
            }
            widths[place] = all[place].width;
            left = left.saturating_sub(needed);
        }
        let growing = all.iter().position(|column| column.grows);
        if let Some(growing) = growing.filter(|place| widths[*place] > 0) {
            widths[growing] += left;
        }
        Self { all, widths }
    }

    pub(super) fn header(&self, style: Style) -> Line<'static> {
        let names = self.all.iter().map(|column| Line::from(column.name)).collect();
        self.line(names, false).style(style)
    }

    /// A row with a cell for each column, also for those that are left out.
    pub(super) fn line(&self, cells: Vec<Line<'static>>, is_chosen: bool) -> Line<'static> {
        debug_assert_eq!(cells.len(), self.all.len());
        let mut line = vec![Span::raw(if is_chosen { "> " } else { "  " })];
        for ((cell, column), width) in cells.into_iter().zip(self.all).zip(&self.widths) {
            if *width == 0 {
                continue;
            }
            if line.len() > 1 {
                line.push(Span::raw(" ".repeat(GAP)));
            }
            let cell = cut(cell, *width);
            let padding = Span::raw(" ".repeat(width.saturating_sub(cell.width())));
            if column.is_right {
                line.push(padding);
                line.extend(cell.spans);
            } else {
                line.extend(cell.spans);
                line.push(padding);
            }
        }
        Line::from(line)
    }
}

/// Cells that a character takes.
fn cells(character: char) -> usize {
    Span::raw(character.encode_utf8(&mut [0; 4]).to_owned()).width()
}

/// No wider than this; what is cut off is told by dots.
pub(super) fn cut(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let (mut spans, mut left) = (Vec::new(), width.saturating_sub(1));
    'spans: for span in line.spans {
        let mut kept = String::new();
        for character in span.content.chars() {
            let needed = cells(character);
            if needed > left {
                spans.push(Span::styled(kept, span.style));
                break 'spans;
            }
            left -= needed;
            kept.push(character);
        }
        spans.push(Span::styled(kept, span.style));
    }
    if width > 0 {
        spans.push(Span::raw("…"));
    }
    Line { spans, ..line }
}

/// A text over several lines of this width, broken at spaces where there are some.
pub(super) fn wrapped(text: &str, width: usize, lines_max: usize) -> Vec<Line<'static>> {
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        let needed: usize = word.trim_end().chars().map(cells).sum();
        if used > 0 && used + needed > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for character in word.chars() {
            let needed = cells(character);
            if used > 0 && used + needed > width {
                if character == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += needed;
        }
        if lines.len() > lines_max {
            break;
        }
    }
    lines.push(line);
    let is_cut = lines.len() > lines_max;
    lines.truncate(lines_max);
    if let Some(last) = lines.last_mut().filter(|_| is_cut) {
        last.truncate(last.trim_end().len());
        last.push('…');
    }
    lines.into_iter().map(|line| cut(Line::from(line.trim_end().to_owned()), width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [words("NAME", 6, 0), figure("RARE", 5, 2), figure("RATE", 4, 1)];

    fn shown(width: usize) -> [String; 2] {
        let columns = Columns::fit(&COLUMNS, width);
        let cells = ["größer als", "12345", "7"].map(Line::from).to_vec();
        [columns.header(Style::new()), columns.line(cells, true)].map(|line| line.to_string())
    }

    #[test]
    fn columns_are_left_out_by_rank_and_names_are_cut() {
        assert_eq!(shown(20), ["  NAME    RARE RATE", "> größe… 12345    7"]);
        assert_eq!(shown(15), ["  NAME    RATE", "> größer…    7"]);
        assert_eq!(shown(9), ["  NAME  ", "> größe…"]);
        for width in 0..9 {
            let _ = shown(width);
        }
    }

    #[test]
    fn wide_characters_are_cut_where_they_fit() {
        let text = |width| cut(Line::from("数数数"), width).to_string();
        assert_eq!([6, 5, 4, 1, 0].map(text), ["数数数", "数数…", "数…", "…", ""]);
    }

    #[test]
    fn text_is_wrapped_at_spaces_and_has_an_end() {
        let text = |text, width, lines| wrapped(text, width, lines).iter().map(Line::to_string).collect::<Vec<_>>();
        assert_eq!(text("one two three", 8, 9), ["one two", "three"]);
        assert_eq!(text("abcdefghij", 4, 9), ["abcd", "efgh", "ij"]);
        assert_eq!(text("one two three four", 8, 1), ["one two…"]);
        assert_eq!(text("数数", 1, 9), ["…", "…"]);
        assert_eq!(text("", 0, 0), [""; 0]);
    }
}
