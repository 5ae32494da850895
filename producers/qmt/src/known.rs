//! What QMT knows of a security beside its bars: factor, special treatment and limits of today. Knows instruments, ex-days
//! and the reference prices of day bars; must not know the stream nor what was published.
//!
//! The factor of a day is the product of what its ex-days divided earlier prices by. Where QMT has no ex-days of a
//! security, the reference price of each day tells: it is the close before, divided by that day's event. Limits and treatment
//! are known of days on which they were told, and nothing is guessed of others.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use sqep::{RefDay, Symbol, bar::round, shanghai, symbol::Class};

use crate::protocol::{Divid, Instrument, Row};

/// Prices that differ by less are the same: prices have three decimals.
const PRICE_PART: f64 = 0.000_5;
/// A limit beyond this part of the reference price means none.
const LIMIT_TIMES_MAX: f64 = 10.0;
/// Days of which an instrument is remembered: those whose bars may still be put right.
const INSTRUMENTS_MAX: usize = 10;
/// Characters before a name on the day of an event, or of a listing.
const EVENTS: [&str; 5] = ["XD", "XR", "DR", "N", "C"];
const TREATED: [&str; 4] = ["ST", "*ST", "SST", "S*ST"];

/// What is known of all securities.
#[derive(Debug, Default)]
pub struct Known {
    facts: HashMap<Symbol, Facts>,
}

/// What is known of one.
#[derive(Debug, Default)]
struct Facts {
    /// What was told on each of the last days.
    told: BTreeMap<NaiveDate, Told>,
    /// Ex-days and what they divide by; a number that is none makes the factor unknown.
    divid: Option<Vec<(NaiveDate, Option<f64>)>>,
    chain: Chain,
}

/// An instrument on its day.
#[derive(Debug)]
struct Told {
    st: Option<bool>,
    limits: [Option<f64>; 2],
    pre_close: Option<f64>,
}

/// Day bars since the listing, as far as factors need them.
#[derive(Debug, Default)]
struct Chain {
    /// Whether it was asked for, and whether all of it has come.
    asked: bool,
    whole: bool,
    /// The day on which all of it was at hand.
    until: Option<NaiveDate>,
    first: Option<NaiveDate>,
    last: Option<(NaiveDate, f64)>,
    events: Vec<(NaiveDate, Option<f64>)>,
}

impl Known {
    /// Takes what is known of a security on a day.
    pub fn instrument(&mut self, symbol: Symbol, told: &Instrument) {
        let Ok(day) = NaiveDate::parse_from_str(&told.day, "%Y%m%d") else { return };
        let pre_close = told.pre_close.filter(|&price| price > 0.0);
        let limit = |limit: Option<f64>| {
            limit.filter(|&limit| {
                pre_close
                    .is_some_and(|close| limit < close * LIMIT_TIMES_MAX && limit > close / LIMIT_TIMES_MAX)
            })
        };
        let limits = [limit(told.up), limit(told.down)].map(|limit| limit.map(|limit| round(limit, 3)));
        let st = treated(&told.name).filter(|_| symbol.class() == Class::Stock);
        let days = &mut self.facts.entry(symbol).or_default().told;
        days.insert(day, Told { st, limits, pre_close });
        if days.len() > INSTRUMENTS_MAX {
            days.pop_first();
        }
    }

    /// Takes the ex-days of a security.
    pub fn divid(&mut self, symbol: Symbol, told: &Divid) {
        let event = |row: &crate::protocol::ExDay| {
            Some((shanghai::wall(row.time)?.date(), row.dr.filter(|&dr| dr.is_finite() && dr > 0.0)))
        };
        self.facts.entry(symbol).or_default().divid = Some(told.rows.iter().filter_map(event).collect());
    }

    /// Takes a day bar.
    pub fn row(&mut self, symbol: Symbol, row: &Row) {
        if let Some(facts) = self.facts.get_mut(&symbol).filter(|facts| facts.chain.asked) {
            facts.chain.take(row);
        }
    }

    /// Whether its factor needs all its day bars, and they are not asked for yet, or those between what was at hand last and
    /// `from` are missing. From then on they are taken.
    pub fn asks_history(&mut self, symbol: Symbol, from: NaiveDate) -> bool {
        let Some(facts) = self.facts.get_mut(&symbol) else { return false };
        if facts.chain.until.is_some_and(|until| until < from) {
            facts.chain = Chain::default();
        }
        let none = facts.divid.as_ref().is_some_and(Vec::is_empty) && symbol.class() != Class::Index;
        let first = none && !facts.chain.asked;
        facts.chain.asked |= none;
        first
    }

    /// All its day bars that were asked for on a day have come.
    pub fn caught_up(&mut self, symbol: Symbol, day: NaiveDate) {
        if let Some(facts) = self.facts.get_mut(&symbol).filter(|facts| facts.chain.asked) {
            facts.chain.whole = facts.chain.first.is_some();
            facts.chain.until = Some(day);
        }
    }

    /// Whether its instrument is that of a day, and its ex-days have come.
    pub fn is_known(&self, symbol: Symbol, day: NaiveDate) -> bool {
        self.facts.get(&symbol).is_some_and(|facts| facts.divid.is_some() && facts.told.contains_key(&day))
    }

    /// What is known of a security on a day; of one on which nothing was told, its factor alone.
    pub fn of(&self, symbol: Symbol, frame: NaiveDate) -> RefDay {
        let facts = self.facts.get(&symbol);
        let told = facts.and_then(|facts| facts.told.get(&frame));
        let [buy_limit, sell_limit] = told.map_or([None; 2], |told| told.limits);
        let adjust = match symbol.class() {
            Class::Index => Some(1.0),
            _ => facts.and_then(|facts| facts.adjust(frame, told)),
        };
        RefDay { symbol, frame, adjust, st: told.and_then(|told| told.st), buy_limit, sell_limit }
    }
}

impl Facts {
    fn adjust(&self, day: NaiveDate, told: Option<&Told>) -> Option<f64> {
        let divid = self.divid.as_ref()?;
        if !divid.is_empty() {
            return product(divid, day);
        }
        let chain = &self.chain;
        let factor = product(&chain.events, day).filter(|_| chain.whole)?;
        let (last, close) = chain.last?;
        match told.and_then(|told| told.pre_close).filter(|_| last < day) {
            Some(pre_close) if differ(close, pre_close) => Some(factor * close / pre_close),
            _ => Some(factor),
        }
    }
}

impl Chain {
    fn take(&mut self, row: &Row) {
        let (Some(day), Some(close)) = (shanghai::wall(row.time).map(|wall| wall.date()), row.close) else {
            return;
        };
        if self.first.is_some_and(|first| day < first) {
            // What came before was only the end of it.
            *self = Chain { asked: self.asked, ..Chain::default() };
        }
        if self.last.is_some_and(|(last, _)| day <= last) {
            return;
        }
        self.first.get_or_insert(day);
        if let Some((_, before)) = self.last.replace((day, close)) {
            match row.pre_close.filter(|&price| price > 0.0) {
                None => self.events.push((day, None)),
                Some(reference) if differ(before, reference) => {
                    self.events.push((day, Some(before / reference)));
                }
                Some(_) => {}
            }
        }
    }
}

fn differ(close: f64, reference: f64) -> bool {
    (close - reference).abs() > PRICE_PART
}

fn product(events: &[(NaiveDate, Option<f64>)], day: NaiveDate) -> Option<f64> {
    events.iter().filter(|(ex_day, _)| *ex_day <= day).map(|&(_, ratio)| ratio).product()
}

/// Whether a name is one under special treatment; `None`: there is no name.
fn treated(name: &str) -> Option<bool> {
    let name = name.replace('＊', "*");
    let mut name = name.trim();
    if name.is_empty() {
        return None;
    }
    while let Some(rest) = EVENTS.iter().find_map(|event| name.strip_prefix(event)) {
        name = rest.trim_start();
    }
    Some(TREATED.iter().any(|treated| name.starts_with(treated)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ExDay;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn ms(text: &str) -> i64 {
        shanghai::instant_ms(day(text).and_hms_opt(0, 0, 0).unwrap()).unwrap()
    }

    fn instrument(name: &str, up: f64, pre_close: f64) -> Instrument {
        Instrument {
            day: "20250102".to_owned(),
            code: String::new(),
            name: name.to_owned(),
            up: Some(up),
            down: Some(0.0),
            pre_close: Some(pre_close),
        }
    }

    #[test]
    fn a_factor_is_the_product_of_the_ex_days_up_to_its_day() {
        let (mut known, symbol) = (Known::default(), "600000.SH".parse().unwrap());
        let rows = [("2025-01-02", 1.02), ("2024-06-20", 1.05), ("2025-06-20", 1.5)];
        let rows = rows.map(|(day, dr)| ExDay { time: ms(day), dr: Some(dr) }).to_vec();
        known.divid(symbol, &Divid { code: String::new(), rows });
        known.instrument(symbol, &instrument("浦发银行", 11.0, 10.0));
        assert_eq!(known.of(symbol, day("2025-01-02")).adjust, Some(1.05 * 1.02));
        assert_eq!(known.of(symbol, day("2024-06-19")).adjust, Some(1.0));
        assert_eq!(
            known.of(symbol, day("2024-06-19")).buy_limit,
            None,
            "limits of another day are not guessed"
        );
        let wrong = vec![ExDay { time: ms("2024-06-20"), dr: None }];
        known.divid(symbol, &Divid { code: String::new(), rows: wrong });
        assert_eq!(known.of(symbol, day("2025-01-02")).adjust, None);
    }

    #[test]
    fn without_ex_days_reference_prices_tell_and_only_from_the_listing_on() {
        let (mut known, symbol) = (Known::default(), "300750.SZ".parse().unwrap());
        let row = |day: &str, close, pre_close| Row {
            time: ms(day),
            close: Some(close),
            pre_close: Some(pre_close),
            ..Row::default()
        };
        known.divid(symbol, &Divid { code: String::new(), rows: Vec::new() });
        assert_eq!(known.of(symbol, day("2025-01-24")).adjust, None, "nothing is made up");
        let from = day("2025-01-20");
        assert!(known.asks_history(symbol, from) && !known.asks_history(symbol, from), "once");
        known.row(symbol, &row("2025-01-24", 258.0, 256.27));
        for row in [
            row("2025-01-22", 250.0, 25.0),
            row("2025-01-23", 257.50, 250.0),
            row("2025-01-24", 258.0, 256.27),
        ] {
            known.row(symbol, &row);
        }
        known.caught_up(symbol, day("2025-01-24"));
        let factor = known.of(symbol, day("2025-01-24")).adjust.unwrap();
        assert!((factor - 257.50 / 256.27).abs() < 1e-12, "{factor}");
        assert_eq!(known.of(symbol, day("2025-01-23")).adjust, Some(1.0));
    }

    #[test]
    fn today_before_its_bar_is_told_by_the_instruments_reference_price() {
        let (mut known, symbol) = (Known::default(), "000001.SZ".parse().unwrap());
        known.divid(symbol, &Divid { code: String::new(), rows: Vec::new() });
        known.asks_history(symbol, day("2024-12-24"));
        known.row(symbol, &Row { time: ms("2024-12-31"), close: Some(10.1), ..Row::default() });
        known.caught_up(symbol, day("2025-01-02"));
        known.instrument(symbol, &instrument("XD*ST平安", f64::MAX, 10.0));
        let today = known.of(symbol, day("2025-01-02"));
        assert!((today.adjust.unwrap() - 1.01).abs() < 1e-12);
        assert_eq!(
            (today.st, today.buy_limit, today.sell_limit),
            (Some(true), None, None),
            "no limit is no number"
        );
    }

    #[test]
    fn a_day_keeps_what_was_told_on_it() {
        let (mut known, symbol) = (Known::default(), "600000.SH".parse().unwrap());
        known.divid(symbol, &Divid { code: String::new(), rows: Vec::new() });
        for told in 2..=20 {
            let told = Instrument { day: format!("202501{told:02}"), ..instrument("ST浦发", 11.0, 10.0) };
            known.instrument(symbol, &told);
        }
        let limit = |of: &str| known.of(symbol, day(of)).buy_limit;
        assert_eq!([limit("2025-01-20"), limit("2025-01-11")], [Some(11.0); 2]);
        assert_eq!([limit("2025-01-10"), limit("2025-01-21")], [None; 2], "the last ten, and no other day");
        assert!(known.is_known(symbol, day("2025-01-15")) && !known.is_known(symbol, day("2025-01-21")));
    }

    #[test]
    fn a_chain_with_days_missing_in_between_is_asked_for_anew_and_makes_no_event() {
        let (mut known, symbol) = (Known::default(), "000001.SZ".parse().unwrap());
        let row = |of: &str, close, before| Row {
            time: ms(of),
            close: Some(close),
            pre_close: Some(before),
            ..Row::default()
        };
        known.divid(symbol, &Divid { code: String::new(), rows: Vec::new() });
        known.asks_history(symbol, day("2024-12-24"));
        known.row(symbol, &row("2025-01-02", 10.0, 9.9));
        known.caught_up(symbol, day("2025-01-02"));
        known.row(symbol, &row("2025-01-13", 12.0, 11.5));
        assert!(!known.asks_history(symbol, day("2025-01-02")), "nothing lies in between");
        assert!(known.asks_history(symbol, day("2025-01-03")), "the third may be missing");
        assert_eq!(known.of(symbol, day("2025-01-13")).adjust, None, "until it has come");
        for row in
            [row("2025-01-02", 10.0, 9.9), row("2025-01-03", 11.5, 10.0), row("2025-01-13", 12.0, 11.5)]
        {
            known.row(symbol, &row);
        }
        known.caught_up(symbol, day("2025-01-13"));
        assert_eq!(known.of(symbol, day("2025-01-13")).adjust, Some(1.0));
    }

    #[test]
    fn a_name_tells_of_treatment_whatever_stands_before_it() {
        for (name, told) in [
            ("浦发银行", Some(false)),
            ("ST华微", Some(true)),
            ("*ST国华", Some(true)),
            ("XD＊ST国华", Some(true)),
            ("DR S*ST前锋", Some(true)),
            ("SST佳通", Some(true)),
            ("N迪哲", Some(false)),
            (" ", None),
        ] {
            assert_eq!(treated(name), told, "{name}");
        }
    }
}
