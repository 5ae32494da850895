//! Who is listed, under which number, and when the exchanges trade: `stock_basic`, `bse_mapping`, `trade_cal`.
//!
//! Knows these lists as the service keeps them; must not know bars.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sqep::{
    Calendar, Symbol,
    calendar::Day,
    symbol::{Aliases, Class, SymbolError},
};

use crate::{
    client::{CellError, Table},
    config::AliasChoice,
    parse::date,
};

/// The day on which all stocks of Beijing got new numbers; the service's own list has no day.
const RENUMBERED: Option<NaiveDate> = NaiveDate::from_ymd_opt(2025, 10, 9);

/// How securities are named.
#[derive(Debug, Clone)]
pub struct Codes {
    choice: AliasChoice,
    published: Aliases,
    /// New numbers by the former ones, and the other way round, as the service has them.
    served: BTreeMap<Symbol, Symbol>,
    former: BTreeMap<Symbol, Symbol>,
}

impl Codes {
    /// By the published table of renumberings.
    pub fn new(choice: AliasChoice) -> Codes {
        Codes { choice, published: Aliases::published(), served: BTreeMap::new(), former: BTreeMap::new() }
    }

    /// Adds what `bse_mapping` says, above the published table.
    pub fn serve(&mut self, mapping: &Table) {
        let (old, new) = (mapping.column("o_code"), mapping.column("n_code"));
        for row in 0..mapping.rows.len() {
            let symbol = |column| mapping.text(row, column).ok().flatten()?.parse().ok();
            if let (Some(old), Some(new)) = (symbol(old), symbol(new)) {
                self.served.insert(old, new);
                self.former.insert(new, old);
            }
        }
    }

    /// A security as the stream names it.
    pub fn symbol(&self, text: &str) -> Result<Symbol, SymbolError> {
        let symbol = text.parse()?;
        Ok(match self.choice {
            AliasChoice::Current => self.current(symbol),
            AliasChoice::AsGiven => symbol,
        })
    }

    /// The number under which a security, by its present one, traded before, and since when it does not.
    pub fn former(&self, symbol: Symbol) -> Option<(Symbol, NaiveDate)> {
        let published = self.published.former(symbol).filter(|&(former, _)| self.current(former) == symbol);
        published.or_else(|| Some((*self.former.get(&symbol)?, RENUMBERED?)))
    }

    /// The number a security trades under today.
    pub fn current(&self, symbol: Symbol) -> Symbol {
        self.served.get(&symbol).copied().unwrap_or_else(|| self.published.current(symbol))
    }
}

/// From when to when a stock is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listing {
    symbol: Symbol,
    from: NaiveDate,
    /// The day it left: no session of its own any more.
    until: Option<NaiveDate>,
}

impl Listing {
    fn holds(&self, day: NaiveDate) -> bool {
        self.from <= day && self.until.is_none_or(|until| day < until)
    }
}

/// What the service says about stocks and days.
#[derive(Debug, Clone)]
pub struct Universe {
    /// How securities are named.
    pub codes: Codes,
    listings: Vec<Listing>,
    open: BTreeMap<NaiveDate, bool>,
}

impl Universe {
    /// From `stock_basic` of every list status, and `trade_cal`. Rows of other exchanges, and rows that do not read, are
    /// left out.
    pub fn new(codes: Codes, basics: &[Table], calendar: &Table) -> Universe {
        let mut universe = Universe { codes, listings: Vec::new(), open: BTreeMap::new() };
        for table in basics {
            each(table, |row| universe.list(table, row));
        }
        universe.listings.sort_by_key(|listing| (listing.symbol, listing.from));
        universe.listings.dedup();
        let (day, open) = (calendar.column("cal_date"), calendar.column("is_open"));
        each(calendar, |row| {
            if let (Some(day), Some(open)) = (date(calendar, row, day)?, calendar.number(row, open)?) {
                universe.open.insert(day, open > 0.0);
            }
            Ok(())
        });
        universe
    }

    fn list(&mut self, table: &Table, row: usize) -> Result<(), CellError> {
        let [code, from, until] = ["ts_code", "list_date", "delist_date"].map(|name| table.column(name));
        let code = table.text(row, code)?.unwrap_or_default();
        let (Ok(symbol), Some(from)) = (code.parse(), date(table, row, from)?) else { return Ok(()) };
        let symbol = self.codes.current(symbol);
        if symbol.class() == Class::Stock {
            self.listings.push(Listing { symbol, from, until: date(table, row, until)? });
        }
        Ok(())
    }

    /// Stocks that are listed on `day`, under their current numbers.
    pub fn listed(&self, day: NaiveDate) -> BTreeSet<Symbol> {
        self.listings.iter().filter(|listing| listing.holds(day)).map(|listing| listing.symbol).collect()
    }

    /// Whether a stock, by its current number, is listed on `day`.
    pub fn is_listed(&self, symbol: Symbol, day: NaiveDate) -> bool {
        let first = self.listings.partition_point(|listing| listing.symbol < symbol);
        let of = self.listings.get(first..).unwrap_or_default().iter().take_while(|of| of.symbol == symbol);
        of.into_iter().any(|of| of.holds(day))
    }

    /// Stocks that are listed on any day from `from` to `to`.
    pub fn listed_within(&self, from: NaiveDate, to: NaiveDate) -> Vec<Symbol> {
        let listed =
            |listing: &&Listing| listing.from <= to && listing.until.is_none_or(|until| from < until);
        let mut symbols: Vec<Symbol> =
            self.listings.iter().filter(listed).map(|listing| listing.symbol).collect();
        symbols.dedup();
        symbols
    }

    /// How many stocks it knows.
    pub fn len(&self) -> usize {
        self.listings.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.listings.is_empty()
    }

    /// Sessions from `from` to `to`: the service's calendar where it reaches, ours elsewhere. Where they differ, the
    /// service's word on a past day wins and is told.
    pub fn sessions(&self, calendar: &Calendar, from: NaiveDate, to: NaiveDate) -> Vec<NaiveDate> {
        let open = |day: NaiveDate| {
            let ours = calendar.day(day);
            match self.open.get(&day) {
                Some(&open) => {
                    if ours != Day::Unknown && open != (ours == Day::Session) {
                        tracing::warn!(%day, open, "the service's trade_cal contradicts the calendar");
                    }
                    open
                }
                None => ours == Day::Session,
            }
        };
        from.iter_days().take_while(|&day| day <= to).filter(|&day| open(day)).collect()
    }
}

/// Calls `read` for every row; one that does not read is told and left out.
pub(crate) fn each(table: &Table, mut read: impl FnMut(usize) -> Result<(), CellError>) {
    for row in 0..table.rows.len() {
        if let Err(error) = read(row) {
            tracing::warn!("{error}; the row is left out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Cell;

    fn table(fields: &[&str], rows: &[&[&str]]) -> Table {
        let cell = |text: &&str| if text.is_empty() { Cell::Null } else { Cell::Text((*text).into()) };
        Table {
            api: "test".to_owned(),
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        }
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_renumbering_that_only_the_service_knows_counts_both_ways() {
        let mut codes = Codes::new(AliasChoice::Current);
        let (old, new): (Symbol, Symbol) = ("831999.BJ".parse().unwrap(), "920999.BJ".parse().unwrap());
        assert_eq!((codes.current(old), codes.former(new)), (old, None));
        codes.serve(&table(&["o_code", "n_code"], &[&["831999.BJ", "920999.BJ"]]));
        assert_eq!((codes.current(old), codes.former(new)), (new, Some((old, day("2025-10-09")))));
        let published = codes.former("920729.BJ".parse().unwrap()).unwrap();
        assert_eq!(published, ("839729.BJ".parse().unwrap(), day("2025-10-09")));
    }

    #[test]
    fn who_left_and_who_came_later_is_not_expected() {
        let basics = table(
            &["ts_code", "list_date", "delist_date"],
            &[
                &["000001.SZ", "19910403", ""],
                &["000003.SZ", "19910114", "20020614"],
                &["T00018.SH", "20000719", "20061020"],
                &["839729.BJ", "20211115", ""],
                &["200011.SZ", "19920330", ""],
            ],
        );
        let universe = Universe::new(Codes::new(AliasChoice::Current), &[basics], &Table::default());
        let texts =
            |on: &str| -> Vec<String> { universe.listed(day(on)).iter().map(ToString::to_string).collect() };
        assert_eq!(texts("2002-06-13"), ["000001.SZ", "000003.SZ"]);
        assert_eq!(texts("2002-06-14"), ["000001.SZ"]);
        assert_eq!(texts("2021-11-15"), ["000001.SZ", "920729.BJ"]);
    }

    #[test]
    fn the_services_mapping_stands_above_the_published_one() {
        let mut codes = Codes::new(AliasChoice::Current);
        codes.serve(&table(&["o_code", "n_code"], &[&["839729.BJ", "920999.BJ"]]));
        assert_eq!(codes.symbol("839729.BJ").unwrap().to_string(), "920999.BJ");
        let given = Codes::new(AliasChoice::AsGiven);
        assert_eq!(given.symbol("839729.BJ").unwrap().to_string(), "839729.BJ");
    }

    #[test]
    fn the_services_calendar_counts_where_it_reaches() {
        let calendar = table(&["cal_date", "is_open"], &[&["20240229", "1"], &["20240301", "0"]]);
        let universe = Universe::new(Codes::new(AliasChoice::Current), &[], &calendar);
        let sessions = universe.sessions(&Calendar::published(), day("2024-02-28"), day("2024-03-04"));
        assert_eq!(sessions, [day("2024-02-28"), day("2024-02-29"), day("2024-03-04")]);
    }
}
