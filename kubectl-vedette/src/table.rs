//! Tables: cells in, aligned lines out. The last column is as wide as it is. Pure.

use crate::output::{Paint, Tone, shown};

const BETWEEN: &str = "   ";

/// What stands in a row and a column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        let text = shown(text.as_ref());
        Self { text: if text.is_empty() { "-".to_owned() } else { text }, tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::toned(Tone::Plain, value.to_string())
    }
}

/// Rows under heads.
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| Cell::toned(Tone::Head, head)).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Lines, each with its end.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.rows {
            line(row, &widths, paint, &mut text);
        }
        text
    }
}

/// One line of cells under columns of these widths, with its end.
pub(crate) fn line(cells: &[Cell], widths: &[usize], paint: Paint, text: &mut String) {
    for (column, cell) in cells.iter().enumerate() {
        text.push_str(&paint.paint(cell.tone, &cell.text));
        if column + 1 < cells.len() {
            let width = widths.get(column).copied().unwrap_or_default();
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.text.chars().count())));
            text.push_str(BETWEEN);
        }
    }
    text.push('\n');
}
