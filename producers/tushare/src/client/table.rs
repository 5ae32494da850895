//! What the service answers with. Knows rows and columns by name; must not know what they mean.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// A value as it came. The service sends numbers as numbers or as text, and null for what it does not have.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Cell {
    /// A number; truth values are 1 and 0.
    Number(f64),
    /// Text, numbers in quotes among it.
    Text(Box<str>),
    /// Nothing.
    #[default]
    Null,
}

impl Cell {
    /// Its number, in quotes or not.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Cell::Number(number) => Some(*number),
            Cell::Text(text) => text.trim().parse().ok(),
            Cell::Null => None,
        }
    }

    /// Whether it stands for yes.
    pub(super) fn is_true(&self) -> bool {
        matches!(self, Cell::Text(text) if text.eq_ignore_ascii_case("true"))
            || self.as_number().is_some_and(|number| number != 0.0)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Number(number) => serializer.serialize_f64(*number),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Null => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl Visitor<'_> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text or null")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Cell, E> {
        Ok(Cell::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Cell, E> {
        Ok(Cell::Number(nearest(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cell, E> {
        let size = nearest(number.unsigned_abs());
        Ok(Cell::Number(if number < 0 { -size } else { size }))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Cell, E> {
        Ok(Cell::Number(f64::from(u8::from(truth))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "the nearest number is what is wanted"
)]
fn nearest(number: u64) -> f64 {
    number as f64
}

/// A cell that is not what its column holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{api}: row {row}: {field} is {value:?}, no {wanted}")]
pub struct CellError {
    /// The table's API.
    pub api: String,
    /// Row of the table, from 1.
    pub row: usize,
    /// The column.
    pub field: String,
    /// The cell.
    pub value: String,
    /// What it should be.
    pub wanted: &'static str,
}

/// The rows of one question, all pages of it, columns by name: the service leaves out and reorders columns as it likes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The API that answered.
    pub api: String,
    /// Names of the columns.
    pub fields: Vec<String>,
    /// The rows, each as long as `fields`.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The position of a column.
    pub fn column(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|name| name == field)
    }

    /// A cell; null where the column was left out.
    pub fn cell(&self, row: usize, column: Option<usize>) -> &Cell {
        column.and_then(|column| self.rows.get(row)?.get(column)).unwrap_or(&Cell::Null)
    }

    /// A number, or none where the cell is null or empty.
    pub fn number(&self, row: usize, column: Option<usize>) -> Result<Option<f64>, CellError> {
        match self.cell(row, column) {
            Cell::Null => Ok(None),
            Cell::Number(number) => Ok(Some(*number)),
            Cell::Text(text) if text.trim().is_empty() => Ok(None),
            Cell::Text(text) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.wrong(row, column, "number")),
            },
        }
    }

    /// A text, or none where the cell is null or empty.
    pub fn text(&self, row: usize, column: Option<usize>) -> Result<Option<&str>, CellError> {
        match self.cell(row, column) {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Cell::Number(_) => Err(self.wrong(row, column, "text")),
        }
    }

    /// The error of a cell.
    pub fn wrong(&self, row: usize, column: Option<usize>, wanted: &'static str) -> CellError {
        let field = column.and_then(|column| self.fields.get(column)).cloned().unwrap_or_default();
        let value = match self.cell(row, column) {
            Cell::Null => String::new(),
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.to_string(),
        };
        CellError { api: self.api.clone(), row: row + 1, field, value, wanted }
    }
}
