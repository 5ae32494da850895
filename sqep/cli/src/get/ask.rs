//! What people may ask an archive for: securities, exchanges and days, as they write them. Must not know an archive.

use std::{fmt, str::FromStr};

use anyhow::{Context, anyhow, bail};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use sqep::{Exchange, Symbol};
use sqep_archive::{Filter, Symbols};

/// Securities and exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Securities of no named exchange, in the order they were named, each once.
    pub(crate) symbols: Vec<Symbol>,
    /// Exchanges.
    pub(crate) exchanges: Vec<Exchange>,
}

impl Wanted {
    /// Whether nothing was named, which means all.
    pub(crate) fn is_all(&self) -> bool {
        self.symbols.is_empty() && self.exchanges.is_empty()
    }

    /// What was not named one by one, if anything.
    pub(crate) fn ranges(&self) -> Option<Symbols> {
        match (self.is_all(), self.exchanges.is_empty()) {
            (true, _) => Some(Symbols::ALL),
            (false, true) => None,
            (false, false) => Some(self.exchanges.iter().copied().collect()),
        }
    }

    /// All of it at once.
    pub(crate) fn together(&self) -> Symbols {
        if self.is_all() {
            return Symbols::ALL;
        }
        let symbols = self.symbols.iter().map(|symbol| symbol.get()..=symbol.get());
        Symbols::within(symbols.chain(self.exchanges.iter().map(|exchange| exchange.symbols())))
    }
}

/// Reads securities in any spelling, and exchanges.
pub(crate) fn wanted(words: &[String]) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted::default();
    for word in words.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        if let Some(exchange) = Exchange::parse(word) {
            wanted.exchanges.push(exchange);
            continue;
        }
        let symbol: Symbol = word.parse().context("SYMBOL is no security")?;
        if !wanted.symbols.contains(&symbol) {
            wanted.symbols.push(symbol);
        }
    }
    let Wanted { symbols, exchanges } = &mut wanted;
    symbols.retain(|symbol| !exchanges.iter().any(|exchange| exchange.symbols().contains(&symbol.get())));
    Ok(wanted)
}

/// A day or a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Day(NaiveDate),
    Minute(NaiveDateTime),
}

impl Moment {
    pub(crate) fn first(self) -> NaiveDateTime {
        match self {
            Moment::Day(date) => date.and_time(NaiveTime::MIN),
            Moment::Minute(wall) => wall,
        }
    }

    pub(crate) fn last(self) -> NaiveDateTime {
        match self {
            Moment::Day(date) => date.and_hms_opt(23, 59, 59).unwrap_or(date.and_time(NaiveTime::MIN)),
            Moment::Minute(wall) => wall,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Day(date) => date.fmt(f),
            Moment::Minute(wall) => wall.format("%Y-%m-%d %H:%M").fmt(f),
        }
    }
}

impl FromStr for Moment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Moment> {
        for form in ["%Y-%m-%d", "%Y%m%d"] {
            if let Ok(date) = NaiveDate::parse_from_str(text, form) {
                return Ok(Moment::Day(date));
            }
        }
        for form in ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"] {
            if let Ok(wall) = NaiveDateTime::parse_from_str(text, form) {
                return Ok(Moment::Minute(wall));
            }
        }
        bail!("{text:?} is no day like 2024-03-01 and no minute like \"2024-03-01 09:31\"")
    }
}

/// The days that are asked for.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Span {
    /// The first day, or minute ("2024-03-01 09:31", Shanghai).
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<Moment>,
    /// The last day or minute, included.
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Option<Moment>,
    /// Only this day.
    #[arg(long, value_name = "DAY", conflicts_with_all = ["from", "to"])]
    pub(crate) on: Option<Moment>,
}

impl Span {
    /// Whether no bound is named.
    pub(crate) fn is_open(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.on.is_none()
    }

    /// The rows of these securities on these days.
    pub(crate) fn filter(&self, symbols: Symbols) -> Filter {
        let (from, to) = (self.from.or(self.on), self.to.or(self.on));
        Filter { from: from.map(Moment::first), to: to.map(Moment::last), symbols }
    }

    /// Refuses a span that holds nothing.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from.first() > to.last() => {
                Err(anyhow!("--from {from} is after --to {to}"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, moment) in [("on", self.on), ("from", self.from), ("to", self.to)] {
            if let Some(moment) = moment {
                write!(f, " {word} {moment}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_spelling_is_the_same_security_and_is_asked_for_once() {
        let asked = wanted(&words("000001.SZ sz000001 000001.XSHE 600000.SH")).unwrap();
        assert_eq!(
            asked.symbols.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["000001.SZ", "600000.SH"]
        );
        let listed = wanted(&words("600000.SH,000001.SZ")).unwrap();
        assert_eq!(listed.symbols.len(), 2);
        assert!(
            wanted(&words("000001")).unwrap_err().chain().any(|error| error.to_string().contains("000001"))
        );
    }

    #[test]
    fn a_security_of_a_named_exchange_comes_with_it_and_not_twice() {
        let asked = wanted(&words("SZ 000001.SZ 600000.SH")).unwrap();
        assert_eq!(asked.symbols.len(), 1);
        assert_eq!(asked.exchanges, [Exchange::SZ]);
        assert!(asked.ranges().unwrap().contains(2_000_001) && !asked.ranges().unwrap().contains(1_600_000));
        assert!(asked.together().contains(1_600_000));
    }

    #[test]
    fn the_last_day_is_whole_and_a_minute_is_a_minute() {
        let span = Span {
            from: Some("20240301".parse().unwrap()),
            to: Some("2024-03-05".parse().unwrap()),
            on: None,
        };
        let filter = span.filter(Symbols::ALL);
        assert_eq!(filter.from.unwrap().to_string(), "2024-03-01 00:00:00");
        assert_eq!(filter.to.unwrap().to_string(), "2024-03-05 23:59:59");
        assert_eq!(span.to_string(), " from 2024-03-01 to 2024-03-05");
        let minute: Moment = "2024-03-01T09:31".parse().unwrap();
        assert_eq!((minute.first(), minute.to_string()), (minute.last(), "2024-03-01 09:31".to_owned()));
        assert!("2024-02-30".parse::<Moment>().is_err());
        let wrong = Span { from: Some(minute), to: Some("2024-02-01".parse().unwrap()), on: None };
        assert!(wrong.validate().unwrap_err().to_string().contains("2024-02-01"));
    }
}
