//! Many sorted files into one sorted stream of columns, one row a key. Knows the columns that decide; must not know what
//! the others mean nor where anything is written.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{Date32Type, Int32Type, TimestampMillisecondType, UInt64Type},
};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use sqep_archive::{ArchiveFile, Columns, Error, SOURCE, VERSION};

use crate::ArchiveError;

/// Rows handed out at once.
const ROWS_OUT: usize = 8_192;

/// Symbol, frame, version.
type Key = (i32, i64, u64);

/// Merges files that are sorted by (symbol, frame, version). Of the rows of a key only that of the highest version is
/// handed out; of two of the same version, which are copies of one row, that of the source whose name sorts first,
/// then that of the earlier file.
pub(crate) struct Merge {
    inputs: Vec<Input>,
    heap: BinaryHeap<Reverse<(Key, usize)>>,
    held: Vec<RecordBatch>,
    best: Option<Pick>,
    picked: Vec<(usize, usize)>,
}

/// One file at its current row.
struct Input {
    columns: Columns,
    keys: Vec<Key>,
    row: usize,
    /// Where its current batch is held.
    slot: usize,
}

/// A row that may be handed out: its key, the batch that holds it and its position there.
#[derive(Debug, Clone, Copy)]
struct Pick {
    key: Key,
    slot: usize,
    row: usize,
}

impl Merge {
    pub(crate) fn new(files: Vec<ArchiveFile>, schema: &SchemaRef) -> Result<Merge, ArchiveError> {
        let inputs = files.into_iter().map(|file| {
            let columns = file.columns(Arc::clone(schema))?;
            Ok(Input { columns, keys: Vec::new(), row: 0, slot: 0 })
        });
        let inputs: Vec<Input> = inputs.collect::<Result<_, Error>>()?;
        let mut merge =
            Merge { inputs, heap: BinaryHeap::new(), held: Vec::new(), best: None, picked: Vec::new() };
        (0..merge.inputs.len()).try_for_each(|at| merge.load(at, None))?;
        Ok(merge)
    }

    /// The next rows; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, ArchiveError> {
        let held_max = 2 * self.inputs.len() + 16;
        loop {
            let more = self.step()?;
            if !more || self.picked.len() >= ROWS_OUT || self.held.len() > held_max {
                let rows = self.hand_out()?;
                if rows.is_some() || !more {
                    return Ok(rows);
                }
            }
        }
    }

    /// Takes the smallest row; `false` when there is none left.
    fn step(&mut self) -> Result<bool, ArchiveError> {
        let Some(Reverse((key, at))) = self.heap.pop() else {
            self.settle();
            return Ok(false);
        };
        let Input { row, slot, .. } = self.inputs[at];
        self.consider(Pick { key, slot, row });
        self.inputs[at].row += 1;
        if row + 1 < self.inputs[at].keys.len() {
            self.push(at, Some(key))?;
        } else {
            self.load(at, Some(key))?;
        }
        Ok(true)
    }

    fn consider(&mut self, new: Pick) {
        match self.best {
            Some(best) if (best.key.0, best.key.1) != (new.key.0, new.key.1) => self.settle(),
            Some(best) if best.key == new.key && self.source(best) <= self.source(new) => return,
            _ => {}
        }
        self.best = Some(new);
    }

    /// The best row of its key is found.
    fn settle(&mut self) {
        self.picked.extend(self.best.take().map(|best| (best.slot, best.row)));
    }

    fn source(&self, pick: Pick) -> Option<&str> {
        let column = self.held[pick.slot].column_by_name(SOURCE)?.as_string_opt::<i32>()?;
        Some(column.value(pick.row))
    }

    /// Puts an input's current row among the candidates.
    fn push(&mut self, at: usize, before: Option<Key>) -> Result<(), ArchiveError> {
        let input = &self.inputs[at];
        let key = input.keys[input.row];
        if before.is_some_and(|before| before > key) {
            let why = "its rows are not sorted by (symbol, frame, version)".to_owned();
            return Err(Error::Foreign { path: input.columns.path().to_owned(), why }.into());
        }
        self.heap.push(Reverse((key, at)));
        Ok(())
    }

    /// Moves an input to its next batch, if it has one.
    fn load(&mut self, at: usize, before: Option<Key>) -> Result<(), ArchiveError> {
        let input = &mut self.inputs[at];
        loop {
            let Some(batch) = input.columns.next()? else {
                input.keys = Vec::new();
                return Ok(());
            };
            if batch.num_rows() > 0 {
                input.keys = keys(&batch);
                (input.row, input.slot) = (0, self.held.len());
                self.held.push(batch);
                return self.push(at, before);
            }
        }
    }

    /// The rows found so far, and lets go of the batches that are done with.
    fn hand_out(&mut self) -> Result<Option<RecordBatch>, ArchiveError> {
        let rows = if self.picked.is_empty() {
            None
        } else {
            let held: Vec<&RecordBatch> = self.held.iter().collect();
            let failed = |error: ArrowError| ArchiveError::Columns(error.to_string());
            Some(interleave_record_batch(&held, &self.picked).map_err(failed)?)
        };
        self.picked.clear();
        let mut kept = Vec::new();
        let mut keep = |slot: &mut usize| {
            kept.push(self.held[*slot].clone());
            *slot = kept.len() - 1;
        };
        self.inputs.iter_mut().filter(|input| !input.keys.is_empty()).for_each(|input| keep(&mut input.slot));
        self.best.iter_mut().for_each(|best| keep(&mut best.slot));
        self.held = kept;
        Ok(rows)
    }
}

/// Symbol, frame and version of every row; a file whose columns are others never gets here.
fn keys(batch: &RecordBatch) -> Vec<Key> {
    let column = |name: &str| batch.column_by_name(name);
    let symbols = column("symbol").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let versions = column(VERSION).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let (Some(symbols), Some(frames), Some(versions)) = (symbols, column("frame"), versions) else {
        return Vec::new();
    };
    let rest = symbols.values().iter().zip(versions.values());
    if let Some(dates) = frames.as_primitive_opt::<Date32Type>() {
        return rest.zip(dates.values()).map(|((&s, &v), &f)| (s, i64::from(f), v)).collect();
    }
    let Some(minutes) = frames.as_primitive_opt::<TimestampMillisecondType>() else { return Vec::new() };
    rest.zip(minutes.values()).map(|((&s, &v), &f)| (s, f, v)).collect()
}
