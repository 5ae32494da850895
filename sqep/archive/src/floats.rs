//! Features in half the bytes: 32-bit columns where a record has 64-bit numbers. Knows the types of columns; must not know
//! what they mean.
//!
//! Only features may be kept so. A price has its decimals, and what is added up needs them all; a bar with a 32-bit column
//! is refused as any other foreign column is.

use std::{path::Path, sync::Arc};

use arrow_array::{
    ArrayRef, Float64Array, RecordBatch,
    cast::AsArray,
    types::{Float32Type, Float64Type},
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use sqep::{Kind, Record};

use crate::{ArchiveFile, Error, Home, layout};

/// Whether any file of a kind keeps numbers in 32 bits.
pub fn any_narrow(root: &Path, kind: Kind) -> Result<bool, Error> {
    for folder in layout::folders(Home::new(root, kind).data())? {
        for path in layout::files(&folder)? {
            match ArchiveFile::open(&path) {
                Ok(file) if is_narrow(&file.schema) => return Ok(true),
                // Just compacted: what holds its rows now is listed as well, or was one of those before it.
                Err(error) if error.is_not_found() => {}
                found => drop(found?),
            }
        }
    }
    Ok(false)
}

/// Whether records of this type may be kept in 32 bits.
pub(crate) fn may_be_narrow<R: Record>() -> bool {
    Kind::ALL.into_iter().any(|kind| kind.is_feature() && R::fits(kind))
}

fn is_narrow(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| *field.data_type() == DataType::Float32)
}

/// The schema with 64 bits wherever it has 32.
pub(crate) fn wide(schema: &SchemaRef) -> SchemaRef {
    if !is_narrow(schema) {
        return Arc::clone(schema);
    }
    let widened = |field: &Arc<Field>| match field.data_type() {
        DataType::Float32 => Arc::new(field.as_ref().clone().with_data_type(DataType::Float64)),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(widened).collect::<Vec<_>>()))
}

/// The column in the type that is wanted, if only the bits of its numbers differ.
pub(crate) fn fit(column: &ArrayRef, wanted: &DataType) -> ArrayRef {
    match (column.as_primitive_opt::<Float32Type>(), wanted) {
        (Some(narrow), DataType::Float64) => {
            let wide: Float64Array = narrow.unary::<_, Float64Type>(f64::from);
            Arc::new(wide)
        }
        _ => Arc::clone(column),
    }
}

/// The columns with 64 bits wherever they have 32.
pub(crate) fn widened(columns: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = wide(&columns.schema());
    let fields = schema.fields().iter().zip(columns.columns());
    let columns = fields.map(|(field, column)| fit(column, field.data_type())).collect();
    RecordBatch::try_new(schema, columns)
}
