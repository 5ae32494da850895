//! One file of bars: what it is asked for and what comes back, block by block, after the whole of it was judged.
//!
//! Knows the order of the passes and what may be handed out; must not know streams, ledgers or other files.
//!
//! A file that fits into memory is parsed once: parse, judge, hand out. A larger one passes through twice, so that
//! memory stays bounded whatever its size. Nothing is handed out before the last row was judged. Every row is a
//! record, refused or skipped, in exactly one block.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use sqep::{Calendar, Exchange, Kind, Reason, Record, Refusal, Symbol, check::Finding};

use crate::{
    code::Codes,
    dialect::{AmountUnit, Basis, Column, DialectChoice, Holds, VolUnit, recognise},
    input::{Input, Limits},
    judge::{Fate, Findings, Judge, Jumps, Sorter, day},
    lines::{Line, Lines},
    parse::{Outcome, Parser, Refused, Setting, declared_basis, warned},
    row::FromRow,
    text::Coding,
};

pub use crate::{code::Alias, error::LoadError};

/// How a file is to be read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The dialect, or `auto`.
    pub dialect: DialectChoice,
    /// The exchange of bare codes, where neither column nor file name tells it.
    pub exchange: Option<Exchange>,
    /// The price basis, where the dialect does not tell it.
    pub price_basis: Option<Basis>,
    /// The unit of volume, over the dialect's.
    pub vol_unit: Option<VolUnit>,
    /// The unit of turnover, over the dialect's.
    pub amount_unit: Option<AmountUnit>,
    /// What the rows become.
    pub kind: Kind,
    /// The trading days.
    pub calendar: Arc<Calendar>,
    /// How renumbered securities are named.
    pub alias: Alias,
    /// Rows of a block at most.
    pub rows_block_max: usize,
    /// A text up to this size (decompressed) is held in memory; a larger one passes through twice.
    pub file_bytes_memory_max: u64,
    /// Rows out of order, at most, whose keys are sorted to find the repeated ones.
    pub keys_max: usize,
    /// The longest line.
    pub line_bytes_max: usize,
    /// Where standard input goes when it is too large for memory.
    pub spool_dir: PathBuf,
    /// Whether the file is being written: a last line without a line end is left for later, and the last day of
    /// minutes may be unfinished.
    pub partial_tail: bool,
}

impl Options {
    /// The usual limits, any dialect.
    pub fn new(kind: Kind, calendar: Arc<Calendar>) -> Options {
        Options {
            dialect: DialectChoice::Auto,
            exchange: None,
            price_basis: None,
            vol_unit: None,
            amount_unit: None,
            kind,
            calendar,
            alias: Alias::AsGiven,
            rows_block_max: 10_000,
            file_bytes_memory_max: 16 << 20,
            keys_max: 2_000_000,
            line_bytes_max: 1 << 20,
            spool_dir: std::env::temp_dir(),
            partial_tail: false,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes_max: self.file_bytes_memory_max,
            line_bytes_max: self.line_bytes_max,
            spool_dir: self.spool_dir.clone(),
        }
    }
}

/// Some rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Block<R> {
    /// Rows that became records, in file order.
    pub records: Vec<R>,
    /// The line of each record.
    pub lines: Vec<u64>,
    /// Rows that did not.
    pub refused: Vec<Refusal>,
    /// Rows that are no bars.
    pub skipped: BTreeMap<Reason, u64>,
    /// Findings that refuse nothing.
    pub warned: BTreeMap<Reason, u64>,
    /// Rows of the file that are accounted for after this block, earlier runs included.
    pub rows: u64,
    /// Bytes of the file that are behind this block, for showing progress.
    pub bytes: u64,
}

impl<R> Block<R> {
    fn new() -> Block<R> {
        Block {
            records: Vec::new(),
            lines: Vec::new(),
            refused: Vec::new(),
            skipped: BTreeMap::new(),
            warned: BTreeMap::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Rows it accounts for.
    pub fn read(&self) -> u64 {
        let refused: u64 = self.refused.iter().map(|refusal| refusal.rows).sum();
        u64::try_from(self.records.len()).unwrap_or(u64::MAX) + refused + self.skipped.values().sum::<u64>()
    }

    fn skip(&mut self, reason: Reason) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

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

/// A row that was parsed.
struct Row<R> {
    line: u64,
    /// Where it begins in the text.
    start: usize,
    outcome: Outcome<R>,
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

pub(crate) fn read_error(path: &Path, error: io::Error) -> LoadError {
    LoadError::Read { path: path.to_owned(), error }
}

/// One pass over the rows of a file.
pub(crate) struct Stream<R> {
    path: PathBuf,
    input: Input,
    lines: Lines,
    parser: Parser<R>,
    partial_tail: bool,
}

impl<R: FromRow> Stream<R> {
    /// Back to the first row.
    fn restart(&mut self, options: &Options) -> Result<(), LoadError> {
        let holds = Holds::Records(options.kind);
        (self.lines, self.parser) = start(&self.path, &mut self.input, options, holds)?;
        Ok(())
    }

    fn again(mut self, options: &Options) -> Result<Stream<R>, LoadError> {
        self.restart(options)?;
        Ok(self)
    }

    fn raw(&self, line: Line) -> String {
        self.parser.coding().decode(self.lines.text(line)).into_owned()
    }

    /// Stands before the first row of a file that holds what is asked for.
    pub(crate) fn begin(
        path: &Path,
        mut input: Input,
        options: &Options,
        holds: Holds,
    ) -> Result<Stream<R>, LoadError> {
        let (lines, parser) = start(path, &mut input, options, holds)?;
        Ok(Stream { path: path.to_owned(), input, lines, parser, partial_tail: options.partial_tail })
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<(Line, Outcome<R>)>, LoadError> {
        loop {
            let line = self.lines.next_line().map_err(|error| read_error(&self.path, error))?;
            let Some(line) = line.filter(|line| line.complete || !self.partial_tail) else { return Ok(None) };
            let text = self.lines.text(line);
            if self.parser.is_row(text) {
                return Ok(Some((line, self.parser.row(line.number, text))));
            }
        }
    }
}

/// Recognises a file and stands before its first row.
fn start<R: FromRow>(
    path: &Path,
    input: &mut Input,
    options: &Options,
    holds: Holds,
) -> Result<(Lines, Parser<R>), LoadError> {
    let mut lines = input.lines().map_err(|error| read_error(path, error))?;
    let head = lines.peek().map_err(|error| read_error(path, error))?;
    let found = recognise::recognise(head, &options.dialect, holds, path)?;
    for _ in 0..found.lines {
        lines.next_line().map_err(|error| read_error(path, error))?;
    }
    let codes =
        Codes::new(&found.dialect.symbol, path, &found.preamble, options.exchange, options.alias.clone());
    let undeclared = |column, key| LoadError::UnitUndeclared {
        path: path.to_owned(),
        dialect: found.dialect.name.clone(),
        column,
        key,
    };
    let vol = options.vol_unit.or(found.table().vol);
    let amount = options.amount_unit.or(found.table().amount);
    if vol.is_none() && found.position(Column::Vol).is_some() {
        return Err(undeclared("vol", "csv.vol_unit = shares or lots"));
    }
    if amount.is_none() && found.position(Column::Amount).is_some() {
        return Err(undeclared("amount", "csv.amount_unit = yuan or thousand_yuan"));
    }
    let setting = Setting {
        codes,
        calendar: Arc::clone(&options.calendar),
        kind: options.kind,
        vol_exponent: vol.map_or(0, VolUnit::exponent),
        amount_exponent: amount.map_or(0, AmountUnit::exponent),
        found,
    };
    Ok((lines, Parser::new(setting)))
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
    let giver = Giver { found, skip_rows, ..Giver::default() };
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

/// What the first pass found.
struct Pass<R> {
    rows: u64,
    /// Line and text of the first row.
    first: Option<(u64, String)>,
    /// The rows, if the text is held in memory.
    held: Vec<Row<R>>,
    found: Findings,
}

impl<R: FromRow> Pass<R> {
    fn run(stream: &mut Stream<R>, options: &Options, hold: bool) -> Result<Pass<R>, LoadError> {
        let mut judge = Judge::new(stream.parser.quanta(), options.partial_tail);
        let (mut rows, mut first, mut held) = (0, None, Vec::new());
        while let Some((line, outcome)) = stream.next()? {
            if first.is_none() {
                first = Some((line.number, stream.raw(line)));
            }
            if let Outcome::Record(record, _) = &outcome {
                judge.see(rows, line.number, record);
            }
            if hold {
                held.push(Row { line: line.number, start: line.start(), outcome });
            }
            rows += 1;
        }
        let whole = whole(&stream.parser, options);
        let sorter = second_look(stream, options, &judge.unordered(), hold.then_some(held.as_slice()))?;
        Ok(Pass { rows, first, held, found: judge.findings(whole, sorter) })
    }
}

/// Looks again at the securities whose rows are in no order: in the rows that are held, or in another pass.
fn second_look<R: FromRow>(
    stream: &mut Stream<R>,
    options: &Options,
    unordered: &HashSet<Symbol>,
    held: Option<&[Row<R>]>,
) -> Result<Sorter, LoadError> {
    let mut sorter = Sorter::new(options.keys_max, options.partial_tail);
    if unordered.is_empty() {
        return Ok(sorter);
    }
    let (path, keys_max) = (stream.path.clone(), options.keys_max);
    let mut see = |row: u64, outcome: &Outcome<R>| match outcome {
        Outcome::Record(record, _) if unordered.contains(&record.symbol()) && !sorter.see(row, record) => {
            Err(LoadError::Unordered { path: path.clone(), keys_max })
        }
        _ => Ok(()),
    };
    if let Some(held) = held {
        (0..).zip(held).try_for_each(|(row, held)| see(row, &held.outcome))?;
        return Ok(sorter);
    }
    stream.restart(options)?;
    let mut row = 0;
    while let Some((_, outcome)) = stream.next()? {
        see(row, &outcome)?;
        row += 1;
    }
    Ok(sorter)
}

/// What proves the whole file wrong, beside its units.
fn whole<R: FromRow>(parser: &Parser<R>, options: &Options) -> Vec<Finding> {
    let table = parser.found().table();
    let minutes = match options.kind {
        Kind::BarMinute(grid) => Some(grid.minutes()),
        _ => None,
    };
    let declared = declared_basis(parser.found(), options.price_basis).err().map(|value| Finding {
        reason: Reason::PriceBasis,
        field: "close".to_owned(),
        value,
    });
    let proofs = parser.tally.proofs(options.price_basis, table.labels, minutes);
    declared.into_iter().filter(|_| R::PRICED).chain(proofs).collect()
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

    /// The next block; `None` after the last.
    pub fn next(&mut self) -> Result<Option<Block<R>>, LoadError> {
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
                    taken += usize::from(self.giver.give(&mut block, row.line, row.outcome, raw));
                }
            }
            Rest::Stream(stream) => {
                while taken < self.rows_block_max && self.giver.row < self.rows {
                    let Some((line, outcome)) = stream.next()? else {
                        let (rows, found) = (self.rows, self.giver.row);
                        return Err(LoadError::Changed { path: self.path.clone(), rows, found });
                    };
                    taken +=
                        usize::from(self.giver.give(&mut block, line.number, outcome, || stream.raw(line)));
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

/// Puts rows into blocks, as the findings on their file have it.
#[derive(Default)]
struct Giver {
    found: Findings,
    /// The next row, from 0.
    row: u64,
    /// Rows done in earlier runs.
    skip_rows: u64,
    /// The next of `found.fates`.
    fate: usize,
    jumps: Jumps,
    /// Rows of refused securities in the current block: line and text of the first, and how many.
    withheld: BTreeMap<Symbol, (u64, String, u64)>,
}

impl Giver {
    /// Puts one row into the block; false if an earlier run did.
    fn give<R: FromRow>(
        &mut self,
        block: &mut Block<R>,
        line: u64,
        outcome: Outcome<R>,
        raw: impl FnOnce() -> String,
    ) -> bool {
        let row = self.row;
        self.row += 1;
        let fate = self.fate(row);
        let done = row < self.skip_rows;
        match outcome {
            Outcome::Record(record, bits) => {
                let barred = self.barred(&record, fate);
                let jumped = barred.is_none() && self.jumps.see(&record);
                if !done {
                    match barred {
                        None => accept(block, line, record, bits | if jumped { warned::JUMP } else { 0 }),
                        Some(barred) => self.bar(block, line, &record, barred, raw),
                    }
                }
            }
            Outcome::Skipped(reason) if !done => block.skip(reason),
            Outcome::Refused(refused) if !done => {
                let Refused { symbol, findings } = *refused;
                block.refused.push(Refusal { row: line, rows: 1, symbol, findings, raw: raw() });
            }
            Outcome::Skipped(_) | Outcome::Refused(_) => {}
        }
        !done
    }

    fn fate(&mut self, row: u64) -> Option<Fate> {
        let fates = self.found.fates.get(self.fate..).unwrap_or_default();
        let &(_, fate) = fates.first().filter(|&&(at, _)| at == row)?;
        self.fate += 1;
        Some(fate)
    }

    fn barred<R: FromRow>(&self, record: &R, fate: Option<Fate>) -> Option<Barred> {
        let symbol = record.symbol();
        if !self.found.symbols.is_empty() && self.found.symbols.contains_key(&symbol) {
            return Some(Barred::Symbol);
        }
        if let Some(fate) = fate {
            return Some(Barred::Fate(fate));
        }
        let idle = R::MINUTE
            && !self.found.idle.is_empty()
            && self.found.idle.contains(&(symbol, day(record.time())));
        idle.then_some(Barred::Idle)
    }

    fn bar<R: Record>(
        &mut self,
        block: &mut Block<R>,
        line: u64,
        record: &R,
        barred: Barred,
        raw: impl FnOnce() -> String,
    ) {
        match barred {
            Barred::Symbol => {
                self.withheld.entry(record.symbol()).or_insert_with(|| (line, raw(), 0)).2 += 1;
            }
            Barred::Idle => block.skip(Reason::Suspended),
            Barred::Fate(Fate::Duplicate) => block.skip(Reason::Duplicate),
            Barred::Fate(Fate::Conflict) => {
                let finding = Finding {
                    reason: Reason::Conflict,
                    field: "frame".to_owned(),
                    value: "a later row of this file has the same key and other values".to_owned(),
                };
                let symbol = record.symbol().to_string();
                block.refused.push(Refusal {
                    row: line,
                    rows: 1,
                    symbol,
                    findings: vec![finding],
                    raw: raw(),
                });
            }
        }
    }

    /// Writes one letter for each security that was withheld from the block.
    fn close<R>(&mut self, block: &mut Block<R>) {
        for (symbol, (row, raw, rows)) in std::mem::take(&mut self.withheld) {
            let findings = self.found.symbols.get(&symbol).cloned().unwrap_or_default();
            block.refused.push(Refusal { row, rows, symbol: symbol.to_string(), findings, raw });
        }
    }

    fn refusal_of_all(&self, row: u64, rows: u64, raw: &str) -> Refusal {
        let symbol = self.found.only.map_or_else(String::new, |symbol| symbol.to_string());
        Refusal { row, rows, symbol, findings: self.found.whole.clone(), raw: raw.to_owned() }
    }
}

/// Why a sound record is not handed out.
#[derive(Clone, Copy)]
enum Barred {
    /// All of its security are refused.
    Symbol,
    /// Its key comes again.
    Fate(Fate),
    /// No minute of its day has volume.
    Idle,
}

fn accept<R>(block: &mut Block<R>, line: u64, record: R, bits: u8) {
    if bits != 0 {
        for (bit, reason) in warned::ALL {
            if bits & bit != 0 {
                *block.warned.entry(reason).or_default() += 1;
            }
        }
    }
    block.records.push(record);
    block.lines.push(line);
}
