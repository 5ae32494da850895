//! Rows as bytes, in ClickHouse's RowBinary. Knows the types of columns, by the fields of any record; must not know a table.

use std::mem;

use bytes::Bytes;
use chrono::{Datelike, NaiveDate, NaiveDateTime};
use sqep::{
    Batch, Record, Row,
    record::{Cell, Field, Type},
    shanghai,
};

use crate::ClickHouseError;

/// Columns beside those of the record.
const MORE: [(&str, &str); 2] = [("version", "UInt64"), ("source", "LowCardinality(String)")];
/// Bytes a piece.
const PIECE: usize = 1 << 20;
/// A row mostly takes less.
const ROW_MAX: usize = 4096;

/// The columns of a record's table, names and types, in the order of its rows.
pub(crate) fn columns<R: Record>() -> impl Iterator<Item = (&'static str, String)> {
    let fields = R::FIELDS.iter().map(|field| (field.name, column(field)));
    fields.chain(MORE.iter().map(|&(name, kind)| (name, kind.to_owned())))
}

fn column(field: &Field) -> String {
    let plain = match field.kind {
        Type::Symbol => "Int32",
        Type::Date => "Date",
        Type::Minute => "DateTime('Asia/Shanghai')",
        Type::Float => "Float64",
        Type::Bool => "Bool",
        Type::Integer => "UInt64",
    };
    if field.nullable { format!("Nullable({plain})") } else { plain.to_owned() }
}

/// Makes bytes of rows, a piece after the other, so that an insert is never in memory as a whole.
pub(crate) struct Packer<'a, R> {
    batch: &'a Batch<'a, R>,
    positions: std::slice::Iter<'a, usize>,
    /// What goes before the next row.
    piece: Vec<u8>,
}

impl<'a, R: Record> Packer<'a, R> {
    /// The rows at `positions`; `named`: names and types go before them.
    pub(crate) fn new(batch: &'a Batch<'a, R>, positions: &'a [usize], named: bool) -> Packer<'a, R> {
        let mut piece = Vec::new();
        if named {
            header::<R>(&mut piece);
        }
        Packer { batch, positions: positions.iter(), piece }
    }

    /// The next bytes; `None` after the last.
    pub(crate) fn piece(&mut self) -> Result<Option<Bytes>, ClickHouseError> {
        let mut piece = mem::take(&mut self.piece);
        piece.reserve(PIECE + ROW_MAX);
        while piece.len() < PIECE
            && let Some(&at) = self.positions.next()
        {
            put(&mut piece, self.batch, at)?;
        }
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}

fn header<R: Record>(to: &mut Vec<u8>) {
    let columns: Vec<_> = columns::<R>().collect();
    length(to, columns.len());
    for (name, _) in &columns {
        text(to, name);
    }
    for (_, kind) in &columns {
        text(to, kind);
    }
}

fn put<R: Record>(to: &mut Vec<u8>, batch: &Batch<'_, R>, at: usize) -> Result<(), ClickHouseError> {
    let row = &batch.rows[at];
    for (position, field) in R::FIELDS.iter().enumerate() {
        let cell = row.record.get(position);
        if field.nullable {
            to.push(u8::from(cell == Cell::Null));
        }
        value(to, field, cell).map_err(|rule| wrong(row, at, field, cell, rule))?;
    }
    to.extend_from_slice(&row.version.to_le_bytes());
    text(to, batch.source(row));
    Ok(())
}

fn wrong<R: Record>(
    row: &Row<R>,
    at: usize,
    field: &Field,
    cell: Cell,
    rule: &'static str,
) -> ClickHouseError {
    let (symbol, value) = (row.record.symbol().to_string(), format!("{cell:?}"));
    ClickHouseError::Row { row: at + 1, symbol, field: field.name, value, rule }
}

fn value(to: &mut Vec<u8>, field: &Field, cell: Cell) -> Result<(), &'static str> {
    match cell {
        Cell::Null if field.nullable => {}
        Cell::Null => return Err("a value"),
        Cell::Symbol(symbol) => to.extend_from_slice(&symbol.get().to_le_bytes()),
        Cell::Date(date) => {
            to.extend_from_slice(&day(date).ok_or("a day from 1970-01-01 to 2149-06-06")?.to_le_bytes());
        }
        Cell::Minute(wall) => {
            to.extend_from_slice(&second(wall).ok_or("a time from 1970 to 2106")?.to_le_bytes());
        }
        Cell::Float(value) => to.extend_from_slice(&value.to_le_bytes()),
        Cell::Bool(value) => to.push(u8::from(value)),
        Cell::Integer(value) => to.extend_from_slice(&value.to_le_bytes()),
    }
    Ok(())
}

/// Days since 1970-01-01.
fn day(date: NaiveDate) -> Option<u16> {
    const EPOCH_CE: i32 = 719_163;
    u16::try_from(date.num_days_from_ce() - EPOCH_CE).ok()
}

/// Seconds since 1970-01-01 UTC of a time in Shanghai.
fn second(wall: NaiveDateTime) -> Option<u32> {
    u32::try_from(shanghai::instant_ms(wall)? / 1000).ok()
}

fn text(to: &mut Vec<u8>, text: &str) {
    length(to, text.len());
    to.extend_from_slice(text.as_bytes());
}

/// A length as LEB128: seven bits a byte, the last one without its highest.
fn length(to: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            return to.push(low);
        }
        to.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqep::{DayBar, EntryId};

    use super::*;

    fn bar(date: &str) -> DayBar {
        DayBar {
            symbol: "000001.SZ".parse().unwrap(),
            frame: date.parse().unwrap(),
            open: 1.5,
            high: 2.0,
            low: 1.0,
            close: 1.25,
            vol: 100.0,
            amount: None,
            adjust: Some(3.5),
            st: Some(true),
            buy_limit: None,
            sell_limit: None,
        }
    }

    fn packed(bars: &[DayBar], version: u64, named: bool) -> Result<Vec<Bytes>, ClickHouseError> {
        let rows: Vec<_> = bars.iter().map(|&record| Row { record, version, source: 0 }).collect();
        let sources = [Arc::from("csv")];
        let (first, last) = (EntryId::ZERO, EntryId::ZERO);
        let batch = Batch { partition: 0, first, last, rows: &rows, sources: &sources };
        let positions: Vec<_> = (0..).take(rows.len()).collect();
        let mut packer = Packer::new(&batch, &positions, named);
        std::iter::from_fn(|| packer.piece().transpose()).collect()
    }

    #[test]
    fn a_row_is_its_cells_in_the_servers_order_of_bytes() {
        let bytes = packed(&[bar("1970-01-02")], 7, false).unwrap().concat();
        let mut expected = 2_000_001i32.to_le_bytes().to_vec();
        expected.extend([1, 0]);
        for price in [1.5f64, 2.0, 1.0, 1.25, 100.0] {
            expected.extend(price.to_le_bytes());
        }
        expected.extend([1, 0]);
        expected.extend(3.5f64.to_le_bytes());
        expected.extend([0, 1, 1, 1]);
        expected.extend(7u64.to_le_bytes());
        expected.extend([3, b'c', b's', b'v']);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn many_rows_are_the_same_bytes_in_pieces() {
        let one = packed(&[bar("2024-03-01")], 1, false).unwrap().concat();
        let count = 2 * PIECE / one.len() + 7;
        let many = packed(&vec![bar("2024-03-01"); count], 1, false).unwrap();
        assert_eq!(many.len(), 3);
        assert!(many.concat() == one.repeat(count), "all of them, in order");
        assert!(many.iter().all(|piece| piece.len() < PIECE + ROW_MAX));
    }

    #[test]
    fn a_day_no_column_can_hold_is_a_fault_of_the_row() {
        let told = packed(&[bar("2024-03-01"), bar("1969-12-31")], 1, false).unwrap_err().to_string();
        assert!(told.contains("row 2") && told.contains("000001.SZ") && told.contains("frame"), "{told}");
    }

    #[test]
    fn a_length_takes_seven_bits_a_byte() {
        let mut bytes = Vec::new();
        length(&mut bytes, 300);
        assert_eq!(&bytes[..], [0xac, 0x02]);
    }
}
