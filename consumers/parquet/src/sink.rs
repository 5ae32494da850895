//! The sink: batches become files. Knows what a batch is and when it is durable; must not try again or acknowledge.

use std::{marker::PhantomData, time::Duration};

use arrow_schema::SchemaRef;
use sqep::{Appetite, Batch, DayBar, Kind, Mark, Record, Row, Sink, WriteError};
use sqep_archive::{Error, FileName, Folder, Home, Label};
use tokio::runtime::{Handle, RuntimeFlavor};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    ArchiveError, Config,
    clean::{Draft, WRITE},
    columns::{columns, hash, schema, sort},
    guard::Guard,
    home::make_below,
    split::split,
    write::{FileWriter, Hook, Step, go_on},
};

/// Rows that become columns at once: small enough that the rows stay in the processor's cache from column to column.
const SLICE_ROWS: usize = 8_192;

/// Writes batches of one kind as Parquet files.
///
/// **Why a record that comes twice does no harm.** A file's name is its partition, first and last entry and a hash of
/// its rows, so a batch that is written again replaces its own files by the same bytes. A batch that comes again with
/// other cuts makes other files with the same rows, of the same keys (symbol, frame) and the same versions: readers
/// see such a row twice until compaction keeps one row a key, that of the highest version, which is the same row
/// whichever copy it takes. The mark is kept only after every file of the batches before it is durable; lost, it makes
/// records come again and nothing else.
#[derive(Debug)]
pub struct ParquetSink<R> {
    config: Config,
    label: Label,
    schema: SchemaRef,
    guard: Guard,
    hook: Hook,
    record: PhantomData<fn() -> R>,
}

/// Opens the archive at `config.root` for writing one kind, and makes it at the first start. Each partition of the
/// stream belongs, from its first use, to one process; another that asks for its mark is refused while that one lives.
pub fn open<R: Record>(config: Config, kind: Kind) -> Result<ParquetSink<R>, ArchiveError> {
    config.validate_for(kind)?;
    if !R::fits(kind) {
        return Err(Error::Kind { record: R::TYPE, kind }.into());
    }
    let schema = schema::<R>(config.floats);
    let guard = Guard::open(Home::new(&config.root, kind))?;
    let label = Label { kind: kind.to_string(), record: R::TYPE.to_owned() };
    Ok(ParquetSink { config, label, schema, guard, hook: go_on, record: PhantomData })
}

impl<R: Record> ParquetSink<R> {
    #[cfg(test)]
    pub(crate) fn set_hook(&mut self, hook: Hook) {
        self.hook = hook;
    }

    fn put(&mut self, batch: &Batch<'_, R>) -> Result<(), ArchiveError> {
        self.guard.check(batch.partition)?;
        for (folder, mut positions) in split(batch.rows).map_err(|at| no_frame(batch, at))? {
            sort(batch, &mut positions);
            self.put_file(folder, &positions, batch)?;
        }
        Ok(())
    }

    fn put_file(
        &self,
        folder: Folder,
        positions: &[usize],
        batch: &Batch<'_, R>,
    ) -> Result<(), ArchiveError> {
        let home = self.guard.home();
        let draft = Draft::new(home.state().join(format!("{WRITE}{}-rows.tmp", batch.partition)));
        let mut writer = FileWriter::create(draft, &self.schema, &self.label, self.config.zstd_level)?;
        let mut hasher = Xxh3::new();
        for slice in positions.chunks(SLICE_ROWS) {
            let columns = columns(&self.schema, batch, slice)?;
            hash(&columns, &mut hasher);
            writer.write(&columns)?;
        }
        let Batch { partition, first, last, .. } = *batch;
        let name = FileName::Batch { partition, first, last, hash: hasher.digest() };
        let folder = home.data().join(folder.to_string());
        make_below(home.data(), &folder)?;
        writer.place(&folder.join(name.to_string()), self.hook)
    }
}

fn no_frame<R: Record>(batch: &Batch<'_, R>, at: usize) -> ArchiveError {
    ArchiveError::Row { row: at + 1, symbol: batch.rows[at].record.symbol().to_string(), field: "frame" }
}

impl<R: Record> Sink for ParquetSink<R> {
    type Record = R;

    fn appetite(&self) -> Appetite {
        let Config { records_max, wait_s_max, .. } = self.config;
        let records_max = records_like::<R>(records_max);
        Appetite { records_max, wait_max: Duration::from_secs(wait_s_max) }
    }

    async fn write(&mut self, batch: &Batch<'_, R>) -> Result<(), WriteError> {
        apart(|| self.put(batch)).map_err(judged)
    }

    async fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), WriteError> {
        apart(|| self.guard.save(partition, mark)).map_err(judged)?;
        (self.hook)(Step::Marked);
        Ok(())
    }

    async fn release(&mut self, partition: u16) {
        self.guard.release(partition);
    }

    async fn mark(&mut self, partition: u16) -> Result<Option<Mark>, WriteError> {
        apart(|| self.guard.mark(partition)).map_err(|error| match error {
            // A damaged mark does not mend by itself; a folder that is away, full or another's does.
            ArchiveError::Archive(Error::Mark { .. }) => WriteError::Never(error.into()),
            _ => WriteError::Later(error.into()),
        })
    }
}

/// How many records of this type take as much memory as so many day bars, if they are wider.
fn records_like<R: Record>(day_bars: usize) -> usize {
    let (wide, day) = (size_of::<Row<R>>(), size_of::<Row<DayBar>>());
    (day_bars * day.min(wide) / wide).max(1)
}

/// Only a row without a value, or with one that does not fit, can never be written; everything else is the world's, and the world changes.
fn judged(error: ArchiveError) -> WriteError {
    match error {
        ArchiveError::Row { .. } | ArchiveError::Wide { .. } => WriteError::Never(error.into()),
        _ => WriteError::Later(error.into()),
    }
}

/// Runs long work so that the tasks beside it (lease, signals) go on.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
