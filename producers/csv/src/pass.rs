//! The first pass over a file: every row is parsed and judged, none is handed out. Knows the order of lines and looks;
//! must not know what becomes of a row.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sqep::{Kind, Reason, Symbol, check::Finding};

use crate::{
    code::Codes,
    dialect::{AmountUnit, Column, Holds, VolUnit, recognise},
    error::LoadError,
    input::Input,
    judge::{Findings, Judge},
    lines::{Line, Lines},
    options::Options,
    parse::{Outcome, Parser, Setting, declared_basis},
    repeat::Sorter,
    row::FromRow,
};

pub(crate) fn read_error(path: &Path, error: io::Error) -> LoadError {
    LoadError::Read { path: path.to_owned(), error }
}

/// A row that was parsed.
pub(crate) struct Row<R> {
    pub(crate) line: u64,
    /// Where it begins in the text.
    pub(crate) start: usize,
    pub(crate) outcome: Outcome<R>,
}

/// One pass over the rows of a file.
pub(crate) struct Stream<R> {
    path: PathBuf,
    pub(crate) input: Input,
    pub(crate) lines: Lines,
    pub(crate) parser: Parser<R>,
    partial_tail: bool,
}

impl<R: FromRow> Stream<R> {
    /// Back to the first row.
    fn restart(&mut self, options: &Options) -> Result<(), LoadError> {
        let holds = Holds::Records(options.kind);
        (self.lines, self.parser) = start(&self.path, &mut self.input, options, holds)?;
        Ok(())
    }

    pub(crate) fn again(mut self, options: &Options) -> Result<Stream<R>, LoadError> {
        self.restart(options)?;
        Ok(self)
    }

    /// A line as it came.
    pub(crate) fn raw(&self, line: Line) -> String {
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
        index_vol_exponent: options.vol_unit.or(found.table().index_vol).or(vol).map_or(0, VolUnit::exponent),
        amount_exponent: amount.map_or(0, AmountUnit::exponent),
        found,
    };
    Ok((lines, Parser::new(setting)))
}

/// What the first pass found.
pub(crate) struct Pass<R> {
    pub(crate) rows: u64,
    /// Line and text of the first row.
    pub(crate) first: Option<(u64, String)>,
    /// The rows, if the text is held in memory.
    pub(crate) held: Vec<Row<R>>,
    pub(crate) found: Findings,
}

impl<R: FromRow> Pass<R> {
    pub(crate) fn run(stream: &mut Stream<R>, options: &Options, hold: bool) -> Result<Pass<R>, LoadError> {
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
