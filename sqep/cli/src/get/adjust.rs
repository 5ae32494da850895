//! Prices that can be compared across ex-dates. Knows which fields are prices and where their factors stand; must not know
//! how rows are written.
//!
//! hfq = raw × factor of the day; qfq = raw × factor of the day ÷ the last factor known within the asked days.

use std::{collections::HashMap, path::Path};

use anyhow::bail;
use chrono::NaiveDate;
use sqep::{DayBar, Kind, Record, RefDay, record::Cell};
use sqep_archive::{Error, Filter, Reader};

/// Days of securities whose factors are held for minutes, 40 bytes each.
const FACTORS_MAX: usize = 2_000_000;
/// The fields that are prices.
const PRICES: [&str; 6] = ["open", "high", "low", "close", "buy_limit", "sell_limit"];

/// How prices are to be adjusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Adjust {
    /// As traded.
    #[default]
    None,
    /// Backward: times the factor of the day (后复权).
    Hfq,
    /// Forward: that, over the last known factor (前复权).
    Qfq,
}

/// A day of a security.
type Day = (i32, NaiveDate);

/// The factors of the rows that are asked for.
#[derive(Debug, Default)]
pub(crate) struct Factors {
    adjust: Adjust,
    /// Position of the record's own factor.
    own: Option<usize>,
    /// Where records have none of their own.
    days: HashMap<Day, f64>,
    /// The day and the factor that prices are divided by, by security.
    base: HashMap<i32, (NaiveDate, f64)>,
}

impl Factors {
    /// Finds what `filter` will need.
    pub(crate) fn of<R: Record>(
        root: &Path,
        kind: Kind,
        filter: &Filter,
        adjust: Adjust,
    ) -> anyhow::Result<Factors> {
        let own = factor_of::<R>();
        let mut factors = Factors { adjust, own, ..Factors::default() };
        if adjust == Adjust::None {
            return Ok(factors);
        }
        let days = whole_days(filter);
        match own {
            Some(_) if adjust == Adjust::Hfq => {}
            Some(_) => read::<R>(root, kind, filter, |day, factor| {
                factors.last(day, factor);
                Ok(())
            })?,
            None => {
                // A bar of the day knows better than what was known before it.
                let mut learn = |day, factor| factors.learn(day, factor);
                optional(read::<RefDay>(root, Kind::RefDay, &days, &mut learn))?;
                optional(read::<DayBar>(root, Kind::BarDay, &days, &mut learn))?;
            }
        }
        Ok(factors)
    }

    fn learn(&mut self, day: Day, factor: f64) -> anyhow::Result<()> {
        if self.days.len() >= FACTORS_MAX {
            bail!("more than {FACTORS_MAX} factors are needed at once: ask for fewer securities or days");
        }
        self.days.insert(day, factor);
        self.last(day, factor);
        Ok(())
    }

    fn last(&mut self, (symbol, date): Day, factor: f64) {
        let last = self.base.entry(symbol).or_insert((date, factor));
        if date >= last.0 {
            *last = (date, factor);
        }
    }

    /// What the prices of a record are multiplied with; `None`: nobody knows.
    pub(crate) fn ratio<R: Record>(&self, record: &R) -> Option<f64> {
        let symbol = record.symbol().get();
        let factor = match self.own {
            Some(own) => match record.get(own) {
                Cell::Float(factor) => Some(factor),
                _ => None,
            },
            None => date_of(record).and_then(|date| self.days.get(&(symbol, date)).copied()),
        };
        match self.adjust {
            Adjust::None => Some(1.0),
            Adjust::Hfq => factor,
            Adjust::Qfq => Some(factor? / self.base.get(&symbol)?.1),
        }
    }
}

/// A cell of a record whose prices are multiplied with `ratio`.
pub(crate) fn cell<R: Record>(record: &R, at: usize, ratio: Option<f64>) -> Cell {
    match (record.get(at), ratio) {
        (Cell::Float(price), Some(ratio)) if is_price::<R>(at) => Cell::Float(price * ratio),
        (Cell::Float(_), None) if is_price::<R>(at) => Cell::Null,
        (cell, _) => cell,
    }
}

/// Whether a field is a price.
pub(crate) fn is_price<R: Record>(at: usize) -> bool {
    R::FIELDS.get(at).is_some_and(|field| PRICES.contains(&field.name))
}

/// Position of a record's own factor.
fn factor_of<R: Record>() -> Option<usize> {
    R::FIELDS.iter().position(|field| field.name == "adjust")
}

fn date_of<R: Record>(record: &R) -> Option<NaiveDate> {
    match record.get(1) {
        Cell::Date(date) => Some(date),
        Cell::Minute(wall) => Some(wall.date()),
        _ => None,
    }
}

/// The same securities, from the beginning of the first day to the end of the last.
fn whole_days(filter: &Filter) -> Filter {
    let from = filter.from.map(|from| from.date().and_hms_opt(0, 0, 0).unwrap_or(from));
    Filter { from, ..filter.clone() }
}

/// Shows every known factor of a kind to `learn`.
fn read<R: Record>(
    root: &Path,
    kind: Kind,
    filter: &Filter,
    mut learn: impl FnMut(Day, f64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(own) = factor_of::<R>() else { return Ok(()) };
    let mut reader = Reader::<R>::open(root, kind, filter.clone())?;
    while let Some(block) = reader.next()? {
        for row in block.rows {
            if let (Some(date), Cell::Float(factor)) = (date_of(&row.record), row.record.get(own)) {
                learn((row.record.symbol().get(), date), factor)?;
            }
        }
    }
    Ok(())
}

/// An archive need not have every kind.
fn optional(read: anyhow::Result<()>) -> anyhow::Result<()> {
    match read {
        Err(error) if matches!(error.downcast_ref(), Some(Error::NoArchive { .. })) => Ok(()),
        read => read,
    }
}
