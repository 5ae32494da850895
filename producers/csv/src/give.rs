//! Rows into blocks, as the findings on their file have it. Knows one row after another; must not know where they are
//! read from.

use std::collections::BTreeMap;

use sqep::{Reason, Record, Refusal, Symbol, check::Finding};

use crate::{
    judge::{Findings, Jumps},
    parse::{Outcome, Refused, warned},
    repeat::Fate,
    row::{FromRow, day},
};

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
    pub(crate) fn new() -> Block<R> {
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

/// Puts rows into blocks, as the findings on their file have it.
#[derive(Default)]
pub(crate) struct Giver {
    pub(crate) found: Findings,
    /// The next row, from 0.
    pub(crate) row: u64,
    /// Rows done in earlier runs.
    pub(crate) skip_rows: u64,
    /// The next of `found.fates`.
    fate: usize,
    jumps: Jumps,
    /// Rows of refused securities in the current block: line and text of the first, and how many.
    withheld: BTreeMap<Symbol, (u64, String, u64)>,
}

impl Giver {
    pub(crate) fn new(found: Findings, skip_rows: u64) -> Giver {
        Giver { found, skip_rows, ..Giver::default() }
    }

    /// Puts one row into the block; false if an earlier run did.
    pub(crate) fn give<R: FromRow>(
        &mut self,
        block: &mut Block<R>,
        line: u64,
        outcome: Outcome<R>,
        join: impl Fn(R) -> R,
        raw: impl FnOnce() -> String,
    ) -> bool {
        let row = self.row;
        self.row += 1;
        let fate = self.fate(row);
        let done = row < self.skip_rows;
        match outcome {
            Outcome::Record(record, bits) => {
                let record = join(record);
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
    pub(crate) fn close<R>(&mut self, block: &mut Block<R>) {
        for (symbol, (row, raw, rows)) in std::mem::take(&mut self.withheld) {
            let findings = self.found.symbols.get(&symbol).cloned().unwrap_or_default();
            block.refused.push(Refusal { row, rows, symbol: symbol.to_string(), findings, raw });
        }
    }

    pub(crate) fn refusal_of_all(&self, row: u64, rows: u64, raw: &str) -> Refusal {
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
