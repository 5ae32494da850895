//! Lines of an agent on their way into a chunk: codes to securities, rows to the board, final bars to records. Knows what
//! the sources of lines have in common; must not know where lines come from.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    marker::PhantomData,
    mem,
    sync::Arc,
};

use chrono::NaiveDateTime;
use sqep::{
    Chunk, Kind, Reason, Refusal, Symbol,
    check::Finding,
    record::Cell,
    symbol::{Aliases, SymbolError},
};
use tracing::warn;

use crate::{
    bar::Bar,
    board::{Board, Came},
    config::{AliasChoice, QmtSettings},
    outcome::Outcome,
    protocol::{Bars, Period},
    rules::Rules,
    units::VolUnit,
};

/// Characters of a line that does not read in its letter.
const RAW_CHARS_MAX: usize = 1_000;
/// Names of types and periods that are remembered, so that each is told once.
const TOLD_MAX: usize = 64;
/// Spellings of codes that are remembered.
const CODES_MAX: usize = 20_000;
/// Securities that are carried: several times those of the three exchanges. An agent that names any number is none.
const SECURITIES_MAX: usize = 20_000;

/// Turns lines into chunks.
#[derive(Debug)]
pub struct Intake<R> {
    /// Which bars are final.
    pub board: Board,
    /// The stream's period.
    pub period: Period,
    /// What came since the last chunk.
    pub outcome: Outcome,
    /// Securities whose state has changed since.
    touched: BTreeSet<Symbol>,
    /// The only securities that are carried; empty: all.
    wanted: BTreeSet<Symbol>,
    alias: AliasChoice,
    aliases: Aliases,
    codes: HashMap<String, Result<Symbol, SymbolError>>,
    told: BTreeSet<String>,
    record: PhantomData<R>,
}

impl<R: Bar> Intake<R> {
    /// An intake for a stream of `kind`.
    pub fn new(kind: Kind, period: Period, settings: &QmtSettings, alias: AliasChoice) -> Intake<R> {
        Intake {
            board: Board::new(Rules::new(kind, settings)),
            period,
            outcome: Outcome::default(),
            touched: BTreeSet::new(),
            // Checked at the start.
            wanted: settings.symbols().unwrap_or_default().into_iter().collect(),
            alias,
            aliases: Aliases::published(),
            codes: HashMap::new(),
            told: BTreeSet::new(),
            record: PhantomData,
        }
    }

    /// Takes the rows of a line; those of history were asked for at this moment.
    pub fn bars(&mut self, bars: &Bars, unit: VolUnit, now: Option<NaiveDateTime>) {
        self.asked(bars, unit, now, now);
    }

    /// Takes the rows of a line; those of history were asked for at `asked`.
    pub fn asked(
        &mut self,
        bars: &Bars,
        unit: VolUnit,
        now: Option<NaiveDateTime>,
        asked: Option<NaiveDateTime>,
    ) {
        if bars.period != self.period {
            return self.tell(&format!("bars of {}: the stream takes {}", bars.period, self.period));
        }
        let symbol = match self.symbol(&bars.code) {
            Ok(symbol) => symbol,
            Err(error) => {
                let rows = u64::try_from(bars.rows.len()).unwrap_or(u64::MAX).max(1);
                return self.refuse(0, rows, &bars.code, Reason::SymbolIllegal, error.to_string(), "");
            }
        };
        if !self.carries(symbol) {
            return;
        }
        self.touched.insert(symbol);
        for odd in &bars.rows.odd {
            self.board.odd(symbol, odd, &mut self.outcome);
        }
        let came = Came { from: bars.src, unit, now, asked };
        for row in &bars.rows.good {
            self.board.take(symbol, *row, came, &mut self.outcome);
        }
    }

    /// Whether a security is wanted, and not one more than there can be; says so if not.
    fn carries(&mut self, symbol: Symbol) -> bool {
        if !self.wanted.is_empty() && !self.wanted.contains(&symbol) {
            self.tell(&format!("bars of {symbol}, which qmt.codes does not name"));
            return false;
        }
        if !self.board.knows(symbol) && self.board.securities() >= SECURITIES_MAX {
            self.tell(&format!("bars of more than {SECURITIES_MAX} securities"));
            return false;
        }
        true
    }

    /// The history of a security has come in full.
    pub fn caught_up(&mut self, symbol: Symbol) {
        self.touched.insert(symbol);
        self.board.caught_up(symbol, &mut self.outcome);
    }

    /// Securities of which history must tell what is right: from which label on, and when all that is in doubt is final.
    pub fn doubts(&mut self) -> BTreeMap<Symbol, (NaiveDateTime, NaiveDateTime)> {
        let mut doubts = mem::take(&mut self.outcome.doubts);
        for (_, last) in doubts.values_mut() {
            *last = self.board.final_at(*last);
        }
        doubts
    }

    /// The security of a code.
    pub fn symbol(&mut self, code: &str) -> Result<Symbol, SymbolError> {
        if let Some(known) = self.codes.get(code) {
            return known.clone();
        }
        let symbol = code.parse();
        if self.codes.len() < CODES_MAX {
            self.codes.insert(code.to_owned(), symbol.clone());
        }
        symbol
    }

    /// Refuses a line that does not read.
    pub fn unread(&mut self, number: u64, line: &[u8], why: &str) {
        let text = String::from_utf8_lossy(line);
        // A greeting has the token in it, and letters are read by many.
        let raw: String =
            if text.contains("token") { String::new() } else { text.chars().take(RAW_CHARS_MAX).collect() };
        self.refuse(number, 1, "", Reason::RowIllegal, why.to_owned(), &raw);
    }

    fn refuse(&mut self, row: u64, rows: u64, symbol: &str, reason: Reason, value: String, raw: &str) {
        let findings = vec![Finding { reason, field: String::new(), value }];
        self.outcome.refused.push(Refusal {
            row,
            rows,
            symbol: symbol.to_owned(),
            findings,
            raw: raw.to_owned(),
        });
    }

    /// Says something strange, once.
    pub fn tell(&mut self, strange: &str) {
        if self.told.len() < TOLD_MAX && self.told.insert(strange.to_owned()) {
            warn!("an agent sends {strange}; it is left out");
        }
    }

    /// Closes what is due, by a look at all securities that began at `swept`.
    pub fn due(&mut self, swept: NaiveDateTime) {
        let before = self.outcome.bars.len() + self.outcome.refused.len();
        self.board.due(swept, &mut self.outcome);
        self.touch_since(before);
    }

    /// Closes the bar of a security that is not final yet.
    pub fn close(&mut self, symbol: Symbol) {
        self.touched.insert(symbol);
        self.board.close(&[symbol], &mut self.outcome);
    }

    fn touch_since(&mut self, before: usize) {
        if self.outcome.rows() > before {
            self.touched.extend(self.outcome.bars.iter().map(|bar| bar.symbol));
            let refused =
                self.outcome.refused.iter().filter_map(|refusal| refusal.symbol.parse::<Symbol>().ok());
            self.touched.extend(refused);
        }
    }

    /// Securities whose state has changed since the last call.
    pub fn touched(&mut self) -> BTreeSet<Symbol> {
        mem::take(&mut self.touched)
    }

    /// Everything since the last chunk, without a cursor.
    pub fn chunk(&mut self, origin: &Arc<str>) -> Chunk<R> {
        let Outcome { bars, refused, skipped, .. } = mem::take(&mut self.outcome);
        let mut chunk = Chunk::empty(origin);
        chunk.records = bars.iter().map(R::of).collect();
        if self.alias == AliasChoice::Current {
            for record in &mut chunk.records {
                let current = self.aliases.current(record.symbol());
                if current != record.symbol() {
                    record.set(0, Cell::Symbol(current));
                }
            }
        }
        (chunk.refused, chunk.skipped) = (refused, skipped);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use sqep::{DayBar, Exchange};

    use super::*;
    use crate::line::State;

    #[test]
    fn an_agent_that_names_any_number_of_securities_is_carried_up_to_a_limit() {
        let settings = QmtSettings::default();
        let mut intake = Intake::<DayBar>::new(Kind::BarDay, Period::Day, &settings, AliasChoice::AsGiven);
        let symbol = |code| Symbol::new(Exchange::SH, code).unwrap();
        for code in 0..u32::try_from(SECURITIES_MAX).unwrap() {
            assert!(intake.carries(symbol(code)));
            intake.board.restore(symbol(code), State::default());
        }
        assert!(intake.carries(symbol(7)) && !intake.carries(symbol(999_999)));
    }
}
