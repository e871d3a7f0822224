//! A view as a header, rows and words about the row that is chosen.

use ratatui::text::Line;

/// The rows are made when they are shown: a job may have thousands of subtasks.
pub(super) struct Listing<'a> {
    /// What stands above the header.
    pub(super) about: Vec<Line<'static>>,
    pub(super) header: Line<'static>,
    pub(super) len: usize,
    /// The row at a place, and whether it is chosen.
    pub(super) row: Box<dyn Fn(usize, bool) -> Line<'static> + 'a>,
    /// What is said if there are no rows.
    pub(super) empty: &'static str,
    /// More about the row that is chosen.
    pub(super) detail: Vec<Line<'static>>,
}

impl Listing<'_> {
    /// Rows from the first that is shown so that the chosen one is.
    pub(super) fn window(&self, chosen: usize, height: usize) -> std::ops::Range<usize> {
        let last_first = self.len.saturating_sub(height);
        let first = chosen.saturating_sub(height / 2).min(last_first);
        first..self.len.min(first + height)
    }

    /// All lines, for a height without bound.
    pub(super) fn all(&self) -> Vec<Line<'static>> {
        let mut lines = self.about.clone();
        lines.push(self.header.clone());
        lines.extend((0..self.len).map(|place| (self.row)(place, false)));
        if self.len == 0 {
            lines.push(Line::from(format!("  {}", self.empty)));
        }
        lines
    }
}
