//! The tables of a trade date as rows. Knows what a bar and a row before the open are made of; must not know what was
//! published, nor whether a day is complete.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use sqep::{Chunk, DayBar, Kind, Reason, Record, RefDay, Symbol, symbol::Class};

use crate::{
    client::Table,
    judge::judge,
    known::Known,
    market::Ground,
    parse::{Parsed, Scale, bars, has_no_volume},
    sheet::Sheet,
    universe::Codes,
};

/// A record of the whole market of a day.
pub trait Daily: Record {
    /// Merges the tables of a day.
    fn merge(ground: &Ground<'_>, day: NaiveDate, input: &MergeInput<'_>) -> MergeOutput<Self>;
}

/// What [`Daily::merge`] is given.
pub struct MergeInput<'a> {
    bars: Option<&'a Table>,
    suspended: Option<&'a BTreeSet<Symbol>>,
    known: &'a Known,
}

impl<'a> MergeInput<'a> {
    pub(crate) fn of(sheet: &'a Sheet) -> MergeInput<'a> {
        MergeInput { bars: sheet.bars.as_ref(), suspended: sheet.suspended.as_ref(), known: &sheet.known }
    }
}

/// What [`Daily::merge`] makes: rows, who was seen in the answer, and who counts as suspended.
pub struct MergeOutput<R> {
    pub(crate) chunk: Chunk<R>,
    pub(crate) seen: BTreeSet<Symbol>,
    pub(crate) suspended: BTreeSet<Symbol>,
    /// Whether there are any rows at all: an empty answer on a session is not there yet.
    pub(crate) there: bool,
    /// Whether the answer was refused as a whole.
    pub(crate) withheld: bool,
}

impl Daily for DayBar {
    fn merge(ground: &Ground<'_>, day: NaiveDate, input: &MergeInput<'_>) -> MergeOutput<DayBar> {
        let (codes, empty) = (&ground.universe.codes, Table::default());
        let table = input.bars.unwrap_or(&empty);
        let mut parsed = bars::<DayBar>(table, Scale::DAY, codes, Some(day));
        for bar in &mut parsed.chunk.records {
            *bar = joined(*bar, input.known, codes);
        }
        if let Some(suspended) = input.suspended {
            parsed.suspended.extend(suspended);
            skip_suspended(&mut parsed, suspended, codes);
        }
        let withheld = judge(&mut parsed.chunk, Kind::BarDay, ground.calendar);
        let Parsed { chunk, seen, suspended } = parsed;
        MergeOutput { chunk, seen, suspended, there: !table.rows.is_empty(), withheld }
    }
}

/// A bar with what is known of its day.
fn joined(bar: DayBar, known: &Known, codes: &Codes) -> DayBar {
    let symbol = codes.current(bar.symbol);
    let [buy_limit, sell_limit] = known.raw_limits(symbol);
    let (adjust, st) = (known.adjust(symbol), known.st(symbol));
    DayBar { adjust, st, buy_limit, sell_limit, ..bar }.normalised()
}

/// A row that has a price and does not say how much was traded is a suspension where the list says so.
fn skip_suspended(parsed: &mut Parsed<DayBar>, suspended: &BTreeSet<Symbol>, codes: &Codes) {
    let Parsed { chunk, seen, .. } = parsed;
    let mut skipped = 0;
    chunk.refused.retain(|refusal| {
        let symbol = refusal.symbol.parse::<Symbol>().ok();
        let Some(symbol) = symbol.filter(|&symbol| suspended.contains(&codes.current(symbol))) else {
            return true;
        };
        if has_no_volume(refusal) {
            seen.remove(&symbol);
            skipped += refusal.rows;
        }
        !has_no_volume(refusal)
    });
    if skipped > 0 {
        *chunk.skipped.entry(Reason::Suspended).or_default() += skipped;
    }
}

impl Daily for RefDay {
    fn merge(ground: &Ground<'_>, day: NaiveDate, input: &MergeInput<'_>) -> MergeOutput<RefDay> {
        let listed = ground.universe.listed(day);
        let named: BTreeSet<Symbol> = input.known.symbols().collect();
        let ours = |symbol: &Symbol| match symbol.class() {
            Class::Stock => listed.is_empty() || listed.contains(symbol),
            Class::Fund => ground.settings.funds,
            _ => false,
        };
        let mut chunk = Chunk::empty("ref");
        chunk.records = named.into_iter().filter(ours).map(|symbol| input.known.of(symbol, day)).collect();
        let seen = chunk.records.iter().map(Record::symbol).collect();
        let there = !chunk.records.is_empty();
        MergeOutput { chunk, seen, suspended: BTreeSet::new(), there, withheld: false }
    }
}
