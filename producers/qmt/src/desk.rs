//! Day bars and what is known of a day before its first bar, made of what agents say. Knows what is missing of today; must
//! not know requests nor connections.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use sqep::{DayBar, Record, RefDay, Refusal, Symbol, record::Cell, shanghai, symbol::Aliases};

use crate::{
    bar::{Bar, Raw},
    board::raw_of,
    config::AliasChoice,
    daily::is_over,
    day::close_of,
    known::Known,
    protocol::{Bars, Divid, Instrument},
    shelf::Shelf,
    units::{Judge, VolUnit},
};

/// Between two questions for what is known of today.
const PAUSE_S: i64 = 60;
/// Days of which records are kept, so that a day that was missed goes out after all: more than the exchanges ever close for.
pub const DAYS_BACK: u64 = 12;

/// What becomes of days.
#[derive(Debug)]
pub struct Desk {
    /// What is known before the first bar.
    pub refs: Shelf<RefDay>,
    /// Bars of days that are over.
    pub bars: Shelf<DayBar>,
    known: Known,
    /// Bars that wait until everything that was asked for their security has come.
    held: BTreeMap<Symbol, BTreeMap<NaiveDate, Raw>>,
    from: NaiveTime,
    next: NaiveDateTime,
    aliases: Option<Aliases>,
}

impl Desk {
    /// An empty desk, which asks from `from` on.
    pub fn new(from: NaiveTime, alias: AliasChoice) -> Desk {
        Desk {
            refs: Shelf::default(),
            bars: Shelf::default(),
            known: Known::default(),
            held: BTreeMap::new(),
            from,
            next: NaiveDateTime::default(),
            aliases: (alias == AliasChoice::Current).then(Aliases::published),
        }
    }

    /// Takes what is known of a security today.
    pub fn instrument(&mut self, symbol: Symbol, told: &Instrument) {
        self.known.instrument(symbol, told);
    }

    /// Takes the ex-days of a security.
    pub fn divid(&mut self, symbol: Symbol, told: &Divid) {
        self.known.divid(symbol, told);
    }

    /// Takes bars of days that were asked for at `asked`.
    pub fn rows(&mut self, symbol: Symbol, bars: &Bars, unit: VolUnit, asked: NaiveDateTime) {
        for row in &bars.rows.good {
            let Some(day) = shanghai::wall(row.time).map(|wall| wall.date()) else { continue };
            let over = day < asked.date() || day == asked.date() && is_over(asked);
            let near = asked.date() - day <= TimeDelta::days(i64::try_from(DAYS_BACK).unwrap_or(0));
            if !over || row.volume == Some(0.0) {
                continue;
            }
            self.known.row(symbol, row);
            let Ok(raw) = raw_of(row, symbol, unit) else { continue };
            if !near {
                continue;
            }
            match Judge::default().see(symbol.class(), raw.turnover(), unit) {
                None => drop(self.held.entry(symbol).or_default().insert(day, raw)),
                Some(finding) => {
                    let raw = serde_json::to_string(row).unwrap_or_default();
                    let findings = vec![finding];
                    self.bars.refuse(Refusal { row: 0, rows: 1, symbol: symbol.to_string(), findings, raw });
                }
            }
        }
    }

    /// Securities of which today is not known, when it is time to ask.
    pub fn missing(&mut self, symbols: &BTreeSet<Symbol>, now: NaiveDateTime) -> Vec<Symbol> {
        if now.time() < self.from || now >= close_of(now.date()) || now < self.next {
            return Vec::new();
        }
        self.next = now + TimeDelta::seconds(PAUSE_S);
        let day = now.date();
        let first = day - chrono::Days::new(DAYS_BACK);
        self.refs.prune(first);
        self.bars.prune(first);
        symbols.iter().copied().filter(|&symbol| !self.known.is_known(symbol, day)).collect()
    }

    /// Everything that was asked for a security has come. `true`: its factor needs all its day bars.
    pub fn settle(&mut self, symbol: Symbol, day: NaiveDate) -> bool {
        if self.known.asks_history(symbol, day - chrono::Days::new(DAYS_BACK)) {
            return true;
        }
        self.known.caught_up(symbol, day);
        if self.known.is_known(symbol, day) {
            self.refs.put(self.named(self.known.of(symbol, day)));
        }
        for raw in self.held.remove(&symbol).unwrap_or_default().into_values() {
            let RefDay { adjust, st, buy_limit, sell_limit, .. } = self.known.of(symbol, raw.wall.date());
            let bar = DayBar { adjust, st, buy_limit, sell_limit, ..DayBar::of(&raw) };
            self.bars.put(self.named(bar.normalised()));
        }
        false
    }

    /// Under the number that a renumbered stock goes by.
    fn named<R: Record>(&self, mut record: R) -> R {
        if let Some(aliases) = &self.aliases {
            record.set(0, Cell::Symbol(aliases.current(record.symbol())));
        }
        record
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.refs.close();
        self.bars.close();
    }
}
