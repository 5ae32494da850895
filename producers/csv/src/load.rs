//! One file of bars: what it is asked for and what comes back, block by block, after the whole of it was judged.
//!
//! Knows the order of the passes and what may be handed out; must not know streams, ledgers or other files.
//!
//! A file that fits into memory is parsed once: parse, judge, hand out. A larger one passes through twice, so that
//! memory stays bounded whatever its size. Nothing is handed out before the last row was judged. Every row is a
//! record, refused or skipped, in exactly one block.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    dialect::Holds,
    give::Giver,
    input::Input,
    lines::Lines,
    pass::{Pass, Row, Stream, read_error},
    row::FromRow,
    text::Coding,
};

pub use crate::{code::Alias, error::LoadError, give::Block, options::Options};

/// A judged file that hands out its rows.
pub struct Loaded<R> {
    path: PathBuf,
    dialect: String,
    table: String,
    size: u64,
    /// Rows of the file.
    rows: u64,
    rows_block_max: usize,
    giver: Giver,
    rest: Rest<R>,
}

/// Where the rows come from when they are handed out.
enum Rest<R> {
    /// All refused in one letter: line and text of the first row.
    Whole {
        line: u64,
        raw: String,
    },
    Memory {
        rows: std::vec::IntoIter<Row<R>>,
        lines: Lines,
        coding: Coding,
    },
    Stream(Box<Stream<R>>),
}

/// A file, or standard input for `-`. The first `skip_rows` rows are read and judged but not handed out.
pub fn open<R: FromRow>(path: &Path, options: &Options, skip_rows: u64) -> Result<Loaded<R>, LoadError> {
    let input = Input::open(path, options.limits()).map_err(|error| read_error(path, error))?;
    load(path, input, options, skip_rows)
}

/// As [`open`], from a stream that comes only once; `name` stands for the path.
pub fn open_stream<R: FromRow>(
    name: &Path,
    stream: impl Read + Send + 'static,
    options: &Options,
    skip_rows: u64,
) -> Result<Loaded<R>, LoadError> {
    let input = Input::of_stream(stream, options.limits()).map_err(|error| read_error(name, error))?;
    load(name, input, options, skip_rows)
}

fn load<R: FromRow>(
    path: &Path,
    input: Input,
    options: &Options,
    skip_rows: u64,
) -> Result<Loaded<R>, LoadError> {
    let (size, in_memory) = (input.size(), input.in_memory());
    let mut stream = Stream::begin(path, input, options, Holds::Records(options.kind))?;
    let pass = Pass::run(&mut stream, options, in_memory)?;
    let (rows, first) = (pass.rows, pass.first);
    let found = &stream.parser.found();
    let (dialect, table) = (found.dialect.name.clone(), found.table().name.clone());
    let (rest, found) = match first {
        Some((line, raw)) if !pass.found.whole.is_empty() => (Rest::Whole { line, raw }, pass.found),
        _ if in_memory => {
            let coding = stream.parser.coding();
            (Rest::Memory { rows: pass.held.into_iter(), lines: stream.lines, coding }, pass.found)
        }
        _ => (Rest::Stream(Box::new(stream.again(options)?)), pass.found),
    };
    let giver = Giver::new(found, skip_rows);
    Ok(Loaded {
        path: path.to_owned(),
        dialect,
        table,
        size,
        rows,
        rows_block_max: options.rows_block_max.max(1),
        giver,
        rest,
    })
}

impl<R: FromRow> Loaded<R> {
    /// The dialect the file is read in.
    pub fn dialect_name(&self) -> &str {
        &self.dialect
    }

    /// The table of the dialect that explains its header.
    pub fn table_name(&self) -> &str {
        &self.table
    }

    /// Rows of the file, those done earlier included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the file is refused as a whole: its one block is one refusal that stands for all rows not done.
    pub fn is_refused(&self) -> bool {
        matches!(self.rest, Rest::Whole { .. })
    }

    /// The next block; `None` after the last.
    #[expect(clippy::should_implement_trait, reason = "an error ends it: no iterator would")]
    pub fn next(&mut self) -> Result<Option<Block<R>>, LoadError> {
        self.next_joined(|record| record)
    }

    /// As [`Self::next`], each record as `join` makes it before its neighbours are compared.
    pub fn next_joined(&mut self, join: impl Fn(R) -> R) -> Result<Option<Block<R>>, LoadError> {
        let mut block = Block::new();
        let mut taken = 0;
        match &mut self.rest {
            Rest::Whole { line, raw } => {
                let left = self.rows.saturating_sub(self.giver.row.max(self.giver.skip_rows));
                if left > 0 {
                    block.refused.push(self.giver.refusal_of_all(*line, left, raw));
                    (taken, self.giver.row) = (1, self.rows);
                }
            }
            Rest::Memory { rows, lines, coding } => {
                while taken < self.rows_block_max
                    && let Some(row) = rows.next()
                {
                    let raw = || coding.decode(lines.text_at(row.start)).into_owned();
                    let outcome = self.giver.found.in_unit(row.outcome);
                    taken += usize::from(self.giver.give(&mut block, row.line, outcome, &join, raw));
                }
            }
            Rest::Stream(stream) => {
                while taken < self.rows_block_max && self.giver.row < self.rows {
                    let Some((line, outcome)) = stream.next()? else {
                        let (rows, found) = (self.rows, self.giver.row);
                        return Err(LoadError::Changed { path: self.path.clone(), rows, found });
                    };
                    let outcome = self.giver.found.in_unit(outcome);
                    let raw = || stream.raw(line);
                    taken += usize::from(self.giver.give(&mut block, line.number, outcome, &join, raw));
                }
            }
        }
        self.giver.close(&mut block);
        block.rows = self.giver.row;
        block.bytes = self.bytes();
        Ok((taken > 0).then_some(block))
    }

    /// Bytes behind the rows handed out so far.
    fn bytes(&self) -> u64 {
        match &self.rest {
            Rest::Stream(stream) => stream.input.consumed(),
            _ if self.giver.row >= self.rows => self.size,
            _ => {
                let part = u128::from(self.size) * u128::from(self.giver.row) / u128::from(self.rows.max(1));
                u64::try_from(part).unwrap_or(self.size)
            }
        }
    }
}
