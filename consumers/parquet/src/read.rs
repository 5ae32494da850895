//! Files of the archive back into columns and rows, a page at a time. Knows what a file of ours must have; must not know
//! folders.

use std::{
    fs::File,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{RecordBatch, cast::AsArray, new_null_array, types::UInt64Type};
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use sqep::{Record, Row, codec::arrow};

use crate::{
    ArchiveError,
    columns::{SOURCE, VERSION},
    error::{io_at, parquet_at},
    layout,
    write::{KIND_KEY, Label, TYPE_KEY},
};

/// Rows that are decoded at once.
const ROWS_AT_ONCE: usize = 4_096;

/// A file of the archive, its footer read and found ours.
#[derive(Debug)]
pub(crate) struct ArchiveFile {
    pub(crate) path: PathBuf,
    pub(crate) label: Label,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: u64,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl ArchiveFile {
    pub(crate) fn open(path: &Path) -> Result<ArchiveFile, ArchiveError> {
        let file = File::open(path).map_err(io_at("open", path))?;
        let metadata =
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(parquet_at("read", path))?;
        let schema = Arc::clone(metadata.schema());
        let foreign = |why: String| ArchiveError::Foreign { path: path.to_owned(), why };
        let label = label(&metadata).ok_or_else(|| foreign(format!("its footer has no {KIND_KEY}")))?;
        ours(&schema).map_err(foreign)?;
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or_default();
        Ok(ArchiveFile { path: path.to_owned(), label, schema, rows, file, metadata })
    }

    /// Its rows with the columns of `schema`, in the order of the file.
    pub(crate) fn columns(self, schema: SchemaRef) -> Result<Columns, ArchiveError> {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file, self.metadata)
            .with_batch_size(ROWS_AT_ONCE)
            .build()
            .map_err(parquet_at("read", &self.path))?;
        Ok(Columns { path: self.path, reader, schema })
    }
}

fn label(metadata: &ArrowReaderMetadata) -> Option<Label> {
    let pairs = metadata.metadata().file_metadata().key_value_metadata()?;
    let value = |key: &str| pairs.iter().find(|pair| pair.key == key)?.value.clone();
    Some(Label { kind: value(KIND_KEY)?, record: value(TYPE_KEY)? })
}

/// Whether the columns that decide are there; the error says what is wrong.
fn ours(schema: &Schema) -> Result<(), String> {
    for name in ["symbol", "frame", SOURCE, VERSION] {
        let field = schema.field_with_name(name).map_err(|_| format!("it has no column {name:?}"))?;
        let fits = match name {
            "symbol" => *field.data_type() == DataType::Int32,
            SOURCE => *field.data_type() == DataType::Utf8,
            VERSION => *field.data_type() == DataType::UInt64,
            _ => matches!(
                field.data_type(),
                DataType::Date32 | DataType::Timestamp(TimeUnit::Millisecond, Some(_))
            ),
        };
        if !fits || field.is_nullable() {
            return Err(format!("its column {name:?} is {}", field.data_type()));
        }
    }
    Ok(())
}

/// The columns of either file: a field that only one of them has must be nullable.
pub(crate) fn union(one: &SchemaRef, other: &ArchiveFile) -> Result<SchemaRef, ArchiveError> {
    if one.fields() == other.schema.fields() {
        return Ok(Arc::clone(one));
    }
    let foreign = |why| ArchiveError::Foreign { path: other.path.clone(), why };
    let fields = [one.fields().to_vec(), other.schema.fields().to_vec()].map(Schema::new);
    let merged = Schema::try_merge(fields).map_err(|error| foreign(error.to_string()))?;
    let lone = merged.fields().iter().find(|field| {
        !field.is_nullable()
            && [one, &other.schema].iter().any(|schema| schema.index_of(field.name()).is_err())
    });
    match lone {
        Some(field) => Err(foreign(format!("its neighbours differ in the column {:?}", field.name()))),
        None => Ok(Arc::new(merged)),
    }
}

/// The rows of one file as columns.
pub(crate) struct Columns {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl Columns {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next rows; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, ArchiveError> {
        let Some(found) = self.reader.next() else { return Ok(None) };
        let found = found.map_err(|error| parquet_at("read", &self.path)(error.into()))?;
        if found.schema().fields() == self.schema.fields() {
            return Ok(Some(found));
        }
        let columns = self.schema.fields().iter().map(|field| match found.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => new_null_array(field.data_type(), found.num_rows()),
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
            .map(Some)
            .map_err(|error| parquet_at("read", &self.path)(error.into()))
    }
}

/// The Parquet files of a partition folder, in a fixed order.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    Ok(layout::files(folder)?.into_iter().map(|(_, path)| path).collect())
}

/// The rows of one file, some thousands at a time, in the order of the file.
pub struct Rows<R> {
    columns: Columns,
    sources: Vec<Arc<str>>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Rows<R> {
    /// Opens a file that holds records of this type.
    pub fn open(path: &Path) -> Result<Rows<R>, ArchiveError> {
        let file = ArchiveFile::open(path)?;
        if file.label.record != R::TYPE {
            let why = format!("it holds {}, not {}", file.label.record, R::TYPE);
            return Err(ArchiveError::Foreign { path: path.to_owned(), why });
        }
        let schema = Arc::clone(&file.schema);
        Ok(Rows { columns: file.columns(schema)?, sources: Vec::new(), record: PhantomData })
    }

    /// Names of the sources of the rows so far, by [`Row::source`].
    pub fn sources(&self) -> &[Arc<str>] {
        &self.sources
    }

    /// The next rows; `None` at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "lends nothing, but `sources` must be callable in between"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<Row<R>>>, ArchiveError> {
        let Some(columns) = self.columns.next()? else { return Ok(None) };
        let foreign = |why: String| ArchiveError::Foreign { path: self.columns.path().to_owned(), why };
        let records = arrow::records::<R>(&columns).map_err(|error| foreign(error.to_string()))?;
        let missing = |name: &str| foreign(format!("it has no column {name:?}"));
        let source = columns.column_by_name(SOURCE).ok_or_else(|| missing(SOURCE))?.as_string::<i32>();
        let version =
            columns.column_by_name(VERSION).ok_or_else(|| missing(VERSION))?.as_primitive::<UInt64Type>();
        let mut rows = Vec::with_capacity(records.len());
        for (at, record) in records.into_iter().enumerate() {
            let source = number(&mut self.sources, source.value(at));
            rows.push(Row { record, version: version.value(at), source });
        }
        Ok(Some(rows))
    }
}

fn number(sources: &mut Vec<Arc<str>>, name: &str) -> u16 {
    let at = sources.iter().position(|known| **known == *name).unwrap_or_else(|| {
        sources.push(name.into());
        sources.len() - 1
    });
    u16::try_from(at).unwrap_or(u16::MAX)
}
