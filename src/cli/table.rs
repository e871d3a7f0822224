//! Tables for people.

use std::io::{self, Write};

/// Columns as wide as their widest cell. Figures are to the right.
#[derive(Debug)]
pub(super) struct Table {
    header: Vec<&'static str>,
    is_right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. A name that begins with `>` is that of a column of figures.
    pub(super) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.iter().map(|name| name.strip_prefix('>').unwrap_or(name)).collect(),
            is_right: header.iter().map(|name| name.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has another number of cells than the header.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.header.len(), "cells of {:?}", self.header);
        self.rows.push(cells);
    }

    /// Writes it.
    pub(super) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let header: Vec<String> = self.header.iter().map(|name| (*name).to_owned()).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        for row in all() {
            let mut line = String::new();
            for ((cell, width), is_right) in row.iter().zip(&widths).zip(&self.is_right) {
                let padding = " ".repeat(width - cell.chars().count());
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let (before, after) = if *is_right { (&*padding, "") } else { ("", &*padding) };
                line.extend([before, cell, after]);
            }
            writeln!(to, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", ">BYTES", "KIND"]);
        table.row(vec!["größer".into(), "7".into(), "a".into()]);
        table.row(vec!["x".into(), "1,000,000".into(), String::new()]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "NAME        BYTES  KIND\ngrößer          7  a\nx       1,000,000\n");
    }
}
