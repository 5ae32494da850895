//! One Parquet file from columns: how it is encoded, and how it comes into its place. Knows Parquet; must not know rows.
//!
//! Prices have two or three decimals: their bytes repeat, so plain values under zstd are smallest (2.4 bytes a price;
//! split into byte streams it would be 4.7). Volume and turnover are whole or nearly: there the split saves a sixth. Features
//! have no decimals, only their exponents repeat: there it saves 6 % of 64 bits, 10 % of 32.
//! Dictionaries serve `source` and `version`, which have few values, and would only bloat the rest.

use std::{fs::File, path::Path, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use sqep::Kind;
use sqep_archive::{KIND_KEY, Label, SOURCE, TYPE_KEY, VERSION};

use crate::{
    ArchiveError,
    clean::Draft,
    error::{io_at, parquet_at},
    home::sync,
};

/// Rows a row group: a symbol's ten years lie in one or two of each year's file, and engines read groups in parallel.
const GROUP_ROWS_MAX: usize = 122_880;
/// Columns beyond which a row group has a quarter of the rows.
const GROUP_COLUMNS_MAX: usize = 24;
/// Rows a page: what is decoded of each column of each year for one security, and what a compaction holds of each column
/// of each file. 16,384 would save 3 % of the bytes and cost half as much time again for one security.
const PAGE_ROWS_MAX: usize = 4_096;

/// A place where the power may go; tests let it go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A draft is written, not yet durable.
    Written,
    /// A file is in its place, its name not yet durable.
    Renamed,
    /// An input of a compaction is gone.
    Unlinked,
    /// A mark is kept.
    Marked,
}

/// Called at every [`Step`].
pub(crate) type Hook = fn(Step);

/// The hook of everyday.
pub(crate) fn go_on(_: Step) {}

/// A file being written.
pub(crate) struct FileWriter {
    writer: ArrowWriter<File>,
    draft: Draft,
    rows: u64,
}

impl FileWriter {
    /// Begins a draft.
    pub(crate) fn create(
        draft: Draft,
        schema: &SchemaRef,
        label: &Label,
        zstd_level: i32,
    ) -> Result<FileWriter, ArchiveError> {
        let file = File::create(draft.path()).map_err(io_at("create", draft.path()))?;
        let writer = properties(schema, label, zstd_level)
            .and_then(|properties| ArrowWriter::try_new(file, Arc::clone(schema), Some(properties)))
            .map_err(parquet_at("write", draft.path()))?;
        Ok(FileWriter { writer, draft, rows: 0 })
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, columns: &RecordBatch) -> Result<(), ArchiveError> {
        self.rows += u64::try_from(columns.num_rows()).unwrap_or(u64::MAX);
        self.writer.write(columns).map_err(parquet_at("write", self.draft.path()))
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file without making it durable.
    pub(crate) fn close(mut self) -> Result<Draft, ArchiveError> {
        self.writer.finish().map_err(parquet_at("write", self.draft.path()))?;
        Ok(self.draft)
    }

    /// Ends the file, makes it durable and puts it into its place, there to stay.
    pub(crate) fn place(mut self, target: &Path, hook: Hook) -> Result<(), ArchiveError> {
        self.writer.finish().map_err(parquet_at("write", self.draft.path()))?;
        hook(Step::Written);
        self.writer.inner().sync_all().map_err(io_at("sync", self.draft.path()))?;
        self.draft.rename(target)?;
        hook(Step::Renamed);
        target.parent().map_or(Ok(()), sync)
    }
}

fn properties(
    schema: &SchemaRef,
    label: &Label,
    zstd_level: i32,
) -> parquet::errors::Result<WriterProperties> {
    let path = |name: &str| ColumnPath::from(name.to_owned());
    let entry = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("sqep-parquet ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_max_row_group_row_count(Some(group_rows(schema.fields().len())))
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false)
        .set_key_value_metadata(Some(vec![entry(KIND_KEY, &label.kind), entry(TYPE_KEY, &label.record)]))
        .set_sorting_columns(Some([0, 1].map(ascending).to_vec()));
    let features = label.kind.parse().is_ok_and(Kind::is_feature);
    for field in schema.fields() {
        let column = path(field.name());
        builder = match field.name().as_str() {
            "symbol" | "frame" => builder
                .set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED)
                .set_column_statistics_enabled(column, EnabledStatistics::Page),
            "vol" | "amount" => builder.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT),
            SOURCE | VERSION => builder.set_column_dictionary_enabled(column, true),
            _ if features && is_float(field) => {
                builder.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT)
            }
            _ => builder,
        };
    }
    Ok(builder.build())
}

fn is_float(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Float64 | DataType::Float32)
}

/// Rows a row group: fewer where records are wide, since a writer holds a group until it is full.
fn group_rows(columns: usize) -> usize {
    if columns > GROUP_COLUMNS_MAX { GROUP_ROWS_MAX / 4 } else { GROUP_ROWS_MAX }
}

fn ascending(column_idx: i32) -> SortingColumn {
    SortingColumn { column_idx, descending: false, nulls_first: false }
}
