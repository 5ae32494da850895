//! What every record has in common: fields by position, so that each codec is written once.
//!
//! Knows cells and columns; must not know any particular record nor any encoding.

use std::fmt::Debug;

use chrono::{NaiveDate, NaiveDateTime};
use serde::Serialize;

use crate::{Kind, Symbol, check::Checker};

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// [`Symbol`], a 32-bit integer.
    Symbol,
    /// A trading day, Asia/Shanghai.
    Date,
    /// The end of a minute, Asia/Shanghai.
    Minute,
    /// A 64-bit float, finite.
    Float,
    /// A truth value.
    Bool,
    /// A whole number, 64 bits, not negative.
    Integer,
}

/// One field of a record, as `schemas/` states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Name in every encoding.
    pub name: &'static str,
    /// Type in every encoding.
    #[serde(rename = "type")]
    pub kind: Type,
    /// Whether it may be missing.
    pub nullable: bool,
    /// Unit of the number, empty where it has none.
    pub unit: &'static str,
}

/// The value of one field of one record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    /// Unknown, or there is none.
    Null,
    /// A security.
    Symbol(Symbol),
    /// A trading day.
    Date(NaiveDate),
    /// The end of a minute, as wall clock in Shanghai.
    Minute(NaiveDateTime),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(u64),
}

/// A record of a stream: a security, a time, and values.
///
/// `get` and `set` are by position in [`Record::FIELDS`]; position 0 is always `symbol` and 1 always `frame`.
pub trait Record: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Name in the entry's `type` field.
    const TYPE: &'static str;
    /// The fields in wire order.
    const FIELDS: &'static [Field];

    /// A record whose cells are about to be [`set`](Record::set); never seen outside a decoder.
    fn blank() -> Self;
    /// The security.
    fn symbol(&self) -> Symbol;
    /// The time as an orderable number: days since 1970-01-01, or minutes of Shanghai's wall clock since then.
    fn time(&self) -> i64;
    /// The cell at a position.
    fn get(&self, at: usize) -> Cell;
    /// Replaces the cell at a position; a cell of another type is ignored.
    fn set(&mut self, at: usize, cell: Cell);
    /// Judges this record by the rules of its kind.
    fn check(&self, kind: Kind, checker: &mut Checker<'_>);
    /// Whether this record may travel on a stream of that kind.
    fn fits(kind: Kind) -> bool;

    /// What identifies a record: the highest version of a key wins.
    fn key(&self) -> (Symbol, i64) {
        (self.symbol(), self.time())
    }
}
