//! The encoding `csv`: header-less rows in field order, null as nothing, an optional version at the end.

use chrono::{NaiveDate, NaiveDateTime};

use super::{CodecError, Decoded, Encoding, VERSION, too_many, type_name};
use crate::{
    Record, Symbol,
    record::{Cell, Field, Type},
};

/// How a minute frame is written.
const MINUTE: &str = "%Y-%m-%d %H:%M:%S";

fn malformed(error: &::csv::Error) -> CodecError {
    CodecError::Malformed { encoding: Encoding::Csv, why: error.to_string() }
}

fn text(cell: Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Symbol(symbol) => symbol.get().to_string(),
        Cell::Date(date) => date.to_string(),
        Cell::Minute(wall) => wall.format(MINUTE).to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
    }
}

pub(super) fn encode<R: Record>(
    records: &[R],
    versions: Option<&[u64]>,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut writer = ::csv::WriterBuilder::new().has_headers(false).from_writer(out);
    for (row, record) in records.iter().enumerate() {
        for at in 0..R::FIELDS.len() {
            writer.write_field(text(record.get(at))).map_err(|e| malformed(&e))?;
        }
        if let Some(version) = versions.and_then(|versions| versions.get(row)) {
            writer.write_field(version.to_string()).map_err(|e| malformed(&e))?;
        }
        writer.write_record(None::<&[u8]>).map_err(|e| malformed(&e))?;
    }
    writer.flush().map_err(|e| malformed(&e.into()))
}

pub(super) fn decode<R: Record>(payload: &[u8], records_max: usize) -> Result<Decoded<R>, CodecError> {
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(payload);
    let (mut records, mut versions) = (Vec::new(), Vec::new());
    let mut row = ::csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(|e| malformed(&e))? {
        let number = records.len() + 1;
        if number > records_max {
            return Err(too_many(number, records_max));
        }
        let mut record = R::blank();
        for (at, field) in R::FIELDS.iter().enumerate() {
            let cell = match row.get(at).unwrap_or("") {
                "" if field.nullable => Cell::Null,
                "" => return Err(CodecError::Missing { field: field.name, row: number }),
                text => parse(field, text, number)?,
            };
            record.set(at, cell);
        }
        if let Some(version) = row.get(R::FIELDS.len()) {
            let wrong = |_| value(VERSION, number, version);
            versions.push(version.parse().map_err(wrong)?);
        }
        records.push(record);
    }
    // The reader refuses rows of unequal length, so versions are either all there or all absent.
    Ok(Decoded { versions: (!versions.is_empty()).then_some(versions), records })
}

fn value(field: &str, row: usize, text: &str) -> CodecError {
    CodecError::Value { field: field.to_owned(), row, value: format!("{text:?}") }
}

fn parse(field: &Field, text: &str, row: usize) -> Result<Cell, CodecError> {
    let cell = match field.kind {
        Type::Symbol => text.parse().ok().and_then(|n| Symbol::from_i32(n).ok()).map(Cell::Symbol),
        Type::Date => text.parse::<NaiveDate>().ok().map(Cell::Date),
        Type::Minute => NaiveDateTime::parse_from_str(text, MINUTE).ok().map(Cell::Minute),
        Type::Float => text.parse().ok().map(Cell::Float),
        Type::Bool => text.parse().ok().map(Cell::Bool),
        Type::Integer => text.parse().ok().map(Cell::Integer),
    };
    cell.ok_or_else(|| CodecError::Value {
        field: field.name.to_owned(),
        row,
        value: format!("{text:?}, expected {}", type_name(field.kind)),
    })
}
