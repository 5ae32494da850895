//! Columns back into rows: of one file, some thousands at a time. Knows records; must not know which file comes next.

use std::{marker::PhantomData, path::Path, sync::Arc};

use arrow_array::{RecordBatch, cast::AsArray, types::UInt64Type};
use sqep::{Record, Row, codec::arrow};

use crate::{
    ArchiveFile, Columns, Error,
    file::{SOURCE, VERSION},
    floats,
};

/// The rows of one file, some thousands at a time, in the order of the file.
pub struct Rows<R> {
    columns: Columns,
    sources: Sources,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Rows<R> {
    /// Opens a file that holds records of this type.
    pub fn open(path: &Path) -> Result<Rows<R>, Error> {
        let file = ArchiveFile::open(path)?;
        holds::<R>(&file)?;
        let schema = Arc::clone(&file.schema);
        Ok(Rows { columns: file.columns(schema)?, sources: Sources::default(), record: PhantomData })
    }

    /// Names of the sources of the rows so far, by [`Row::source`].
    pub fn sources(&self) -> &[Arc<str>] {
        self.sources.names()
    }

    /// The next rows; `None` at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "lends nothing, but `sources` must be callable in between"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<Row<R>>>, Error> {
        let Some(columns) = self.columns.next()? else { return Ok(None) };
        self.sources.rows(&columns, self.columns.path()).map(Some)
    }
}

/// Names of sources, numbered as they are met.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<Arc<str>>);

impl Sources {
    /// All names so far.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.0
    }

    /// A batch of columns as rows; `path` is the file they are of.
    pub(crate) fn rows<R: Record>(
        &mut self,
        columns: &RecordBatch,
        path: &Path,
    ) -> Result<Vec<Row<R>>, Error> {
        let foreign = |why: String| Error::Foreign { path: path.to_owned(), why };
        let wide = if floats::may_be_narrow::<R>() { Some(floats::widened(columns)) } else { None };
        let wide = wide.transpose().map_err(|error| foreign(error.to_string()))?;
        let records = arrow::records::<R>(wide.as_ref().unwrap_or(columns));
        let records = records.map_err(|error| foreign(error.to_string()))?;
        let missing = |name: &str| foreign(format!("it has no column {name:?}"));
        let source = columns.column_by_name(SOURCE).and_then(|column| column.as_string_opt::<i32>());
        let source = source.ok_or_else(|| missing(SOURCE))?;
        let version =
            columns.column_by_name(VERSION).and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let version = version.ok_or_else(|| missing(VERSION))?;
        let mut rows = Vec::with_capacity(records.len());
        for (at, record) in records.into_iter().enumerate() {
            rows.push(Row { record, version: version.value(at), source: self.number(source.value(at)) });
        }
        Ok(rows)
    }

    fn number(&mut self, name: &str) -> u16 {
        let at = self.0.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }
}

/// Whether a file holds records of type `R`.
pub(crate) fn holds<R: Record>(file: &ArchiveFile) -> Result<(), Error> {
    if file.label.record == R::TYPE {
        return Ok(());
    }
    let why = format!("it holds {}, not {}", file.label.record, R::TYPE);
    Err(Error::Foreign { path: file.path.clone(), why })
}
