//! Rows of the service as bars: columns, units, suspensions. Knows one row at a time; must not know what other rows or
//! tables say.

use std::collections::BTreeSet;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use sqep::{
    Chunk, DayBar, MinuteBar, Reason, Record, Refusal, Symbol, bar::round, check::Finding, symbol::Class,
    unit::Turnover,
};

use crate::{
    client::{Cell, CellError, Table},
    universe::Codes,
};

/// Shares of a lot (手).
const LOT: f64 = 100.0;
/// Yuan of 千元.
const THOUSAND: f64 = 1000.0;
/// The minute of the day at which the last bar ends.
pub(crate) const CLOSE: u32 = 15 * 60;
/// The last minutes of the day in which after-hours trading at a fixed price is labelled.
const AFTER_HOURS: std::ops::RangeInclusive<u32> = 15 * 60 + 1..=15 * 60 + 30;

const VOL: &str = "vol";
const NO_VOLUME: &str = "empty, with prices";

/// Whether a row was refused for nothing but that it has prices and does not say how much was traded.
pub(crate) fn has_no_volume(refusal: &Refusal) -> bool {
    let unknown = |finding: &Finding| finding.field == VOL && finding.value == NO_VOLUME;
    !refusal.findings.is_empty() && refusal.findings.iter().all(unknown)
}

/// The units in which an API counts, and what is left of its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Shares of one unit of volume.
    pub vol: f64,
    /// Yuan of one unit of turnover.
    pub amount: f64,
    /// Decimals of a turnover in yuan; what lies below is noise.
    pub amount_decimals: i32,
}

impl Scale {
    /// `daily`, `fund_daily`, `index_daily`: 手 and 千元, the latter with three decimals.
    pub const DAY: Scale = Scale { vol: LOT, amount: THOUSAND, amount_decimals: 0 };
    /// `stk_mins`, `idx_mins`, `rt_min`: 股 and 元.
    pub const MINUTE: Scale = Scale { vol: 1.0, amount: 1.0, amount_decimals: 2 };
}

/// A row in the protocol's units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    symbol: Symbol,
    frame: NaiveDateTime,
    prices: [f64; 4],
    vol: f64,
    amount: Option<f64>,
}

/// A bar of the service.
pub trait Bar: Record {
    /// Columns that may hold its time.
    const TIME: &'static [&'static str];
    /// Whether it is a minute.
    const MINUTE: bool;
    /// From a row.
    fn of(values: &Values) -> Self;
    /// What the unit alarm looks at.
    fn turnover(&self) -> Option<Turnover>;
    /// The day it belongs to.
    fn day(&self) -> NaiveDate;
    /// The minute of its day at which it ends.
    fn label(&self) -> u32;
}

impl Bar for DayBar {
    const TIME: &'static [&'static str] = &["trade_date"];
    const MINUTE: bool = false;

    fn of(values: &Values) -> DayBar {
        let [open, high, low, close] = values.prices;
        DayBar {
            symbol: values.symbol,
            frame: values.frame.date(),
            open,
            high,
            low,
            close,
            vol: values.vol,
            amount: values.amount,
            adjust: None,
            st: None,
            buy_limit: None,
            sell_limit: None,
        }
        .normalised()
    }

    fn turnover(&self) -> Option<Turnover> {
        Some(Turnover { high: self.high, low: self.low, vol: self.vol, amount: self.amount? })
    }

    fn day(&self) -> NaiveDate {
        self.frame
    }

    fn label(&self) -> u32 {
        CLOSE
    }
}

impl Bar for MinuteBar {
    const TIME: &'static [&'static str] = &["trade_time", "time"];
    const MINUTE: bool = true;

    fn of(values: &Values) -> MinuteBar {
        let [open, high, low, close] = values.prices;
        let &Values { symbol, frame, vol, amount, .. } = values;
        MinuteBar { symbol, frame, open, high, low, close, vol, amount }.normalised()
    }

    fn turnover(&self) -> Option<Turnover> {
        Some(Turnover { high: self.high, low: self.low, vol: self.vol, amount: self.amount? })
    }

    fn day(&self) -> NaiveDate {
        self.frame.date()
    }

    fn label(&self) -> u32 {
        self.frame.hour() * 60 + self.frame.minute()
    }
}

/// Where the columns of a table of bars are.
struct Columns {
    code: Option<usize>,
    time: Option<usize>,
    prices: [(&'static str, Option<usize>); 4],
    vol: Option<usize>,
    amount: Option<usize>,
}

/// Why a row is no bar.
enum Stop {
    Skip(Reason),
    Refuse(Finding),
}

impl Stop {
    fn refuse(reason: Reason, field: &str, value: impl Into<String>) -> Stop {
        Stop::Refuse(Finding { reason, field: field.to_owned(), value: value.into() })
    }
}

impl From<CellError> for Stop {
    fn from(error: CellError) -> Stop {
        Stop::refuse(Reason::ValueIllegal, &error.field, error.value)
    }
}

/// The rows of a table, read.
#[derive(Debug)]
pub struct Parsed<R> {
    /// Every row: a bar, a refusal, or counted as skipped.
    pub chunk: Chunk<R>,
    /// Securities of the rows, whatever became of them.
    pub seen: BTreeSet<Symbol>,
    /// Securities whose row says that they were suspended.
    pub suspended: BTreeSet<Symbol>,
}

/// Reads a table of bars. `day` is the day that was asked for, if one was.
pub fn bars<R: Bar>(table: &Table, scale: Scale, codes: &Codes, day: Option<NaiveDate>) -> Parsed<R> {
    let columns = Columns::of::<R>(table);
    let mut parsed =
        Parsed { chunk: Chunk::empty(&table.api), seen: BTreeSet::new(), suspended: BTreeSet::new() };
    let chunk = &mut parsed.chunk;
    for at in 0..table.rows.len() {
        let line = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
        match columns.values::<R>(table, at, scale, codes, day) {
            Ok(values) => {
                parsed.seen.insert(values.symbol);
                chunk.records.push(R::of(&values));
                chunk.lines.push(line);
            }
            Err(Stop::Skip(reason)) => {
                *chunk.skipped.entry(reason).or_default() += 1;
                if reason == Reason::Suspended {
                    parsed.suspended.extend(columns.symbol(table, at, codes).ok());
                }
            }
            Err(Stop::Refuse(finding)) => {
                let symbol = match columns.symbol(table, at, codes) {
                    Ok(symbol) => {
                        parsed.seen.insert(symbol);
                        symbol.to_string()
                    }
                    Err(_) => table.text(at, columns.code).ok().flatten().unwrap_or_default().to_owned(),
                };
                let findings = vec![finding];
                chunk.refused.push(Refusal { row: line, rows: 1, symbol, findings, raw: raw(table, at) });
            }
        }
    }
    parsed
}

impl Columns {
    fn of<R: Bar>(table: &Table) -> Columns {
        let price = |name| (name, table.column(name));
        Columns {
            code: table.column("ts_code").or_else(|| table.column("code")),
            time: R::TIME.iter().find_map(|name| table.column(name)),
            prices: [price("open"), price("high"), price("low"), price("close")],
            vol: table.column("vol"),
            amount: table.column("amount"),
        }
    }

    fn symbol(&self, table: &Table, at: usize, codes: &Codes) -> Result<Symbol, Stop> {
        let code = table.text(at, self.code)?.unwrap_or_default();
        codes.symbol(code).map_err(|error| Stop::refuse(Reason::SymbolIllegal, "symbol", error.to_string()))
    }

    fn values<R: Bar>(
        &self,
        table: &Table,
        at: usize,
        scale: Scale,
        codes: &Codes,
        day: Option<NaiveDate>,
    ) -> Result<Values, Stop> {
        let symbol = self.symbol(table, at, codes)?;
        let frame = self.frame::<R>(table, at)?;
        if day.is_some_and(|day| frame.date() != day) {
            let value = format!("{} in an answer about {}", frame.date(), day.unwrap_or_default());
            return Err(Stop::refuse(Reason::ValueIllegal, "frame", value));
        }
        let mut prices = [None; 4];
        for (price, &(_, column)) in prices.iter_mut().zip(&self.prices) {
            *price = table.number(at, column)?;
        }
        let vol = table.number(at, self.vol)?.map(|vol| round(vol * scale.vol, 0));
        let amount =
            table.number(at, self.amount)?.map(|amount| round(amount * scale.amount, scale.amount_decimals));
        let (prices, vol) = self.traded::<R>(symbol, prices, vol, amount)?;
        Ok(Values { symbol, frame, prices, vol, amount })
    }

    fn frame<R: Bar>(&self, table: &Table, at: usize) -> Result<NaiveDateTime, Stop> {
        if !R::MINUTE {
            let date = date(table, at, self.time)?;
            let missing = || Stop::refuse(Reason::ValueIllegal, "frame", "empty");
            return Ok(date.ok_or_else(missing)?.and_time(NaiveTime::MIN));
        }
        let text = table.text(at, self.time)?.unwrap_or_default();
        let time = minute(text).ok_or_else(|| Stop::refuse(Reason::ValueIllegal, "frame", text))?;
        if AFTER_HOURS.contains(&(time.hour() * 60 + time.minute())) {
            return Err(Stop::Skip(Reason::AfterHours));
        }
        Ok(time)
    }

    /// Tells a suspension, which old rows write as no prices or as one price with a volume of zero, from a gap. A price
    /// without any volume is none: whether there was trading is unknown.
    fn traded<R: Bar>(
        &self,
        symbol: Symbol,
        prices: [Option<f64>; 4],
        vol: Option<f64>,
        amount: Option<f64>,
    ) -> Result<([f64; 4], f64), Stop> {
        let idle = vol.unwrap_or(0.0) == 0.0 && amount.unwrap_or(0.0) == 0.0;
        let [Some(open), Some(high), Some(low), Some(close)] = prices else {
            if idle {
                return Err(Stop::Skip(Reason::Suspended));
            }
            let missing = self.prices.iter().zip(prices).find(|(_, price)| price.is_none());
            let field = missing.map_or("open", |((name, _), _)| name);
            let value = format!("empty, with a volume of {} shares", vol.unwrap_or(0.0));
            return Err(Stop::refuse(Reason::PriceMissing, field, value));
        };
        let none = open == 0.0 && high == 0.0 && low == 0.0;
        let flat = open.max(close).max(high) <= low.min(open).min(close);
        let still = vol.is_some() && flat && !R::MINUTE && symbol.class() != Class::Index;
        if idle && (none || still) {
            return Err(Stop::Skip(Reason::Suspended));
        }
        match vol {
            Some(vol) => Ok(([open, high, low, close], vol)),
            None => Err(Stop::refuse(Reason::ValueIllegal, VOL, NO_VOLUME)),
        }
    }
}

/// A date: `20240301` as text or number, or `2024-03-01`.
pub(crate) fn date(table: &Table, row: usize, column: Option<usize>) -> Result<Option<NaiveDate>, CellError> {
    let wrong = || table.wrong(row, column, "date");
    match table.cell(row, column) {
        Cell::Null => Ok(None),
        Cell::Number(number) => day(&number.to_string()).map(Some).ok_or_else(wrong),
        Cell::Text(text) if text.trim().is_empty() => Ok(None),
        Cell::Text(text) => day(text.trim()).map(Some).ok_or_else(wrong),
    }
}

/// `20240301` or `2024-03-01`.
pub(crate) fn day(text: &str) -> Option<NaiveDate> {
    if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let part = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse().ok());
        let (year, month, day): (u32, u32, u32) = (part(0..4)?, part(4..6)?, part(6..8)?);
        return NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day);
    }
    text.parse().ok()
}

fn minute(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()
}

/// A row as it came.
pub(crate) fn raw(table: &Table, row: usize) -> String {
    let cells = table.rows.get(row).map(Vec::as_slice).unwrap_or_default();
    let texts = cells.iter().map(|cell| match cell {
        Cell::Null => String::new(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => text.to_string(),
    });
    texts.collect::<Vec<String>>().join(",")
}
