//! One file of the archive as columns, a page at a time. Knows what a file of ours must have; must not know folders nor
//! what a record is.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
    file::metadata::PageIndexPolicy,
};

use sqep::Kind;

use crate::{
    Error,
    error::{io_at, parquet_at},
    filter::Filter,
    floats,
    pages::{self, Page},
};

/// The column that says who sent a row.
pub const SOURCE: &str = "source";
/// The column whose highest value wins among rows of one key.
pub const VERSION: &str = "version";
/// Metadata key of the kind, `bar:1d`.
pub const KIND_KEY: &str = "sqep.kind";
/// Metadata key of the record type, `SQEP-BAR-DAY`.
pub const TYPE_KEY: &str = "sqep.type";

/// Rows that are decoded at once.
const ROWS_AT_ONCE: usize = 4_096;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// `bar:1d`.
    pub kind: String,
    /// `SQEP-BAR-DAY`.
    pub record: String,
}

/// A file of the archive, its footer read and found ours.
#[derive(Debug)]
pub struct ArchiveFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says of itself.
    pub label: Label,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: u64,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl ArchiveFile {
    /// Opens a file to read all of it.
    pub fn open(path: &Path) -> Result<ArchiveFile, Error> {
        ArchiveFile::open_with(path, PageIndexPolicy::Skip)
    }

    /// Opens a file to read some of it: where its pages begin and what they hold is read too.
    pub(crate) fn open_indexed(path: &Path) -> Result<ArchiveFile, Error> {
        ArchiveFile::open_with(path, PageIndexPolicy::Optional)
    }

    fn open_with(path: &Path, index: PageIndexPolicy) -> Result<ArchiveFile, Error> {
        let file = File::open(path).map_err(io_at("open", path))?;
        let options = ArrowReaderOptions::new().with_page_index_policy(index);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(parquet_at("read", path))?;
        let schema = Arc::clone(metadata.schema());
        let foreign = |why: String| Error::Foreign { path: path.to_owned(), why };
        let label = label(&metadata).ok_or_else(|| foreign(format!("its footer has no {KIND_KEY}")))?;
        ours(&schema).map_err(foreign)?;
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or_default();
        Ok(ArchiveFile { path: path.to_owned(), label, schema, rows, file, metadata })
    }

    /// Its rows with the columns of `schema`, in the order of the file.
    pub fn columns(self, schema: SchemaRef) -> Result<Columns, Error> {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file, self.metadata)
            .with_batch_size(ROWS_AT_ONCE)
            .build()
            .map_err(parquet_at("read", &self.path))?;
        Ok(Columns { path: self.path, reader, schema })
    }

    /// Its pages, in order.
    pub(crate) fn pages(&self) -> Vec<Page> {
        pages::of(self.metadata.metadata(), &self.schema)
    }

    /// Of the rows of the pages that are `wanted`, those that pass the filter, in the order of the file.
    pub(crate) fn pick(
        &self,
        pages: &[Page],
        wanted: impl Fn(&Page) -> bool,
        filter: Option<&Filter>,
    ) -> Result<Columns, Error> {
        let file = self.file.try_clone().map_err(io_at("open", &self.path))?;
        let (groups, selection) = pages::selection(pages, wanted);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_batch_size(ROWS_AT_ONCE)
            .with_row_groups(groups)
            .with_row_selection(selection);
        if let Some(filter) = filter {
            let predicate = filter.predicate(builder.parquet_schema());
            builder = builder.with_row_filter(predicate);
        }
        let reader = builder.build().map_err(parquet_at("read", &self.path))?;
        Ok(Columns { path: self.path.clone(), reader, schema: Arc::clone(&self.schema) })
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

/// The columns of either file: a field that only one of them has must be nullable. Features that one keeps in 32 bits and the
/// other in 64 have 64.
pub fn union(one: &SchemaRef, other: &ArchiveFile) -> Result<SchemaRef, Error> {
    if one.fields() == other.schema.fields() {
        return Ok(Arc::clone(one));
    }
    let foreign = |why| Error::Foreign { path: other.path.clone(), why };
    let features = other.label.kind.parse().is_ok_and(Kind::is_feature);
    let both =
        [one, &other.schema].map(|schema| if features { floats::wide(schema) } else { Arc::clone(schema) });
    let fields = both.map(|schema| Schema::new(schema.fields().to_vec()));
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
pub struct Columns {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl Columns {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next rows; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "the same shape as the other readers of this crate")]
    pub fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let Some(found) = self.reader.next() else { return Ok(None) };
        let found = found.map_err(|error| parquet_at("read", &self.path)(error.into()))?;
        if found.schema().fields() == self.schema.fields() {
            return Ok(Some(found));
        }
        let columns = self.schema.fields().iter().map(|field| match found.column_by_name(field.name()) {
            Some(column) => floats::fit(column, field.data_type()),
            None => new_null_array(field.data_type(), found.num_rows()),
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
            .map(Some)
            .map_err(|error| parquet_at("read", &self.path)(error.into()))
    }
}
