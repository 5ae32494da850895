//! Rows as the service keeps them. Knows cells and columns by name; must not know what they mean.

use std::sync::Arc;

use super::api::Api;

/// A value, in the vendor's unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing: the service has no value.
    Null,
    /// A whole number, such as `is_open`.
    Whole(i64),
    /// Any other number.
    Number(f64),
    /// Text: codes, dates as `YYYYMMDD`, times as `YYYY-MM-DD HH:MM:SS`.
    Text(Arc<str>),
}

impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        Cell::Number(number)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Whole(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.into())
    }
}

impl From<&Arc<str>> for Cell {
    fn from(text: &Arc<str>) -> Cell {
        Cell::Text(Arc::clone(text))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// A row of an API, with a cell for each of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    api: &'static Api,
    cells: Box<[Cell]>,
}

impl Row {
    /// A row of nulls.
    pub fn new(api: &'static Api) -> Row {
        Row { api, cells: vec![Cell::Null; api.columns.len()].into() }
    }

    /// The row with this cell.
    ///
    /// # Panics
    /// When the API has no such column.
    #[must_use]
    pub fn with(mut self, column: &str, cell: impl Into<Cell>) -> Row {
        self.set(column, cell);
        self
    }

    /// Replaces a cell.
    ///
    /// # Panics
    /// When the API has no such column.
    pub fn set(&mut self, column: &str, cell: impl Into<Cell>) {
        let at = self.api.column(column);
        assert!(at.is_some(), "{} has no column {column:?}", self.api.name);
        if let Some(place) = at.and_then(|at| self.cells.get_mut(at)) {
            *place = cell.into();
        }
    }

    /// The API it belongs to.
    pub fn api(&self) -> &'static Api {
        self.api
    }

    /// A cell; null where there is no such column.
    pub fn cell(&self, column: &str) -> &Cell {
        self.api.column(column).map_or(&Cell::Null, |at| self.at(at))
    }

    /// A cell by the position of its column.
    pub(super) fn at(&self, column: usize) -> &Cell {
        self.cells.get(column).unwrap_or(&Cell::Null)
    }

    /// A text; empty where the cell is none.
    pub fn text(&self, column: &str) -> &str {
        match self.cell(column) {
            Cell::Text(text) => text,
            _ => "",
        }
    }

    /// A number; none where the cell is null or text.
    pub fn number(&self, column: &str) -> Option<f64> {
        match self.cell(column) {
            Cell::Number(number) => Some(*number),
            Cell::Whole(number) => Some(crate::market::rng::float(*number)),
            Cell::Null | Cell::Text(_) => None,
        }
    }

    /// The code it is about; empty for a row about none.
    pub fn code(&self) -> &str {
        self.api.code.map_or("", |column| self.text(column))
    }

    /// The day or the minute it is about; empty for a row about none.
    pub fn time(&self) -> &str {
        self.api.time.map_or("", |column| self.text(column))
    }
}
