//! Rows as columns: the fields of a record, then `source` and `version`. Knows Arrow; must not know Parquet or files.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, RecordBatch, StringArray, UInt64Array,
    cast::AsArray,
    types::{Float32Type, Float64Type},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use sqep::{Batch, Record, codec::arrow};
use sqep_archive::{SOURCE, VERSION};
use xxhash_rust::xxh3::Xxh3;

use crate::{ArchiveError, Floats};

/// The columns of every file of a record's kind.
pub(crate) fn schema<R: Record>(floats: Floats) -> SchemaRef {
    let mut fields = arrow::fields::<R>();
    if floats == Floats::F32 {
        let numbers = fields.iter_mut().filter(|field| *field.data_type() == DataType::Float64);
        numbers.for_each(|field| field.set_data_type(DataType::Float32));
    }
    fields.push(Field::new(SOURCE, DataType::Utf8, false));
    fields.push(Field::new(VERSION, DataType::UInt64, false));
    Arc::new(Schema::new(fields))
}

/// The rows at `positions`, in that order.
pub(crate) fn columns<R: Record>(
    schema: &SchemaRef,
    batch: &Batch<'_, R>,
    positions: &[usize],
) -> Result<RecordBatch, ArchiveError> {
    let rows = || positions.iter().map(|&at| &batch.rows[at]);
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(R::FIELDS.len() + 2);
    for (at, field) in R::FIELDS.iter().enumerate() {
        let column = arrow::column(at, rows().map(|row| &row.record));
        if !field.nullable && column.null_count() > 0 {
            return Err(without_value(batch, positions, &column, field.name));
        }
        columns.push(match schema.field(at).data_type() {
            DataType::Float32 => {
                narrowed(&column).map_err(|at| too_wide(batch, positions[at], field.name))?
            }
            _ => column,
        });
    }
    columns.push(Arc::new(StringArray::from_iter_values(rows().map(|row| batch.source(row)))));
    columns.push(Arc::new(UInt64Array::from_iter_values(rows().map(|row| row.version))));
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| ArchiveError::Columns(error.to_string()))
}

fn without_value<R: Record>(
    batch: &Batch<'_, R>,
    positions: &[usize],
    column: &ArrayRef,
    field: &'static str,
) -> ArchiveError {
    let at = positions.iter().enumerate().find(|&(at, _)| column.is_null(at)).map_or(0, |(_, &row)| row);
    ArchiveError::Row { row: at + 1, symbol: batch.rows[at].record.symbol().to_string(), field }
}

/// The column in 32 bits; the error is the place of a number that does not fit.
fn narrowed(column: &ArrayRef) -> Result<ArrayRef, usize> {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "rounded to 32 bits on purpose"
    )]
    let narrow = column.as_primitive::<Float64Type>().unary::<_, Float32Type>(|value| value as f32);
    match narrow.iter().position(|value| value.is_some_and(f32::is_infinite)) {
        None => Ok(Arc::new(narrow)),
        Some(at) => Err(at),
    }
}

fn too_wide<R: Record>(batch: &Batch<'_, R>, at: usize, field: &'static str) -> ArchiveError {
    ArchiveError::Wide { row: at + 1, symbol: batch.rows[at].record.symbol().to_string(), field }
}

/// Orders positions by (symbol, frame, version), and rows that agree in all three as they came. Rows that come in
/// order, as those of most vendors' files do, cost one look.
pub(crate) fn sort<R: Record>(batch: &Batch<'_, R>, positions: &mut [usize]) {
    let key = |&at: &usize| {
        let row = &batch.rows[at];
        (row.record.symbol(), row.record.time(), row.version)
    };
    if positions.is_sorted_by_key(key) {
        return;
    }
    let mut keyed: Vec<_> = positions.iter().map(|at| (key(at), *at)).collect();
    keyed.sort_unstable();
    positions.iter_mut().zip(keyed).for_each(|(position, (_, at))| *position = at);
}

/// Adds the values of a batch of columns to a hash.
pub(crate) fn hash(columns: &RecordBatch, into: &mut Xxh3) {
    for column in columns.columns() {
        let data = column.to_data();
        for buffer in data.buffers() {
            into.update(buffer.as_slice());
        }
        if let Some(nulls) = data.nulls() {
            into.update(nulls.buffer().as_slice());
        }
    }
}
