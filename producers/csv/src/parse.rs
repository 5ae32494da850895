//! A row of text becomes a record, or the reason why not. Knows one row at a time; must not know what other rows say,
//! beyond counting what proves a whole file wrong.

use std::{marker::PhantomData, sync::Arc};

use chrono::{NaiveDate, NaiveTime, Timelike};
use sqep::{
    Calendar, Kind, Reason, Severity, Symbol,
    calendar::Day,
    check::{Checker, Finding},
    symbol::{Class, SymbolError},
    unit::{Alarm, Quanta},
};

use crate::{
    code::Codes,
    dialect::{AmountUnit, Basis, Column, Labels, TimeFormat, VolUnit, recognise::Match},
    lines::Fields,
    number::{self, Moment},
    row::{FromRow, Values},
    tally::Tally,
    text::Coding,
};

/// Findings that refuse nothing, as bits.
pub(crate) mod warned {
    use sqep::Reason;

    pub(crate) const UNIT_UNCHECKED: u8 = 1;
    pub(crate) const OUTSIDE_LIMITS: u8 = 2;
    pub(crate) const BEYOND_CALENDAR: u8 = 4;
    pub(crate) const JUMP: u8 = 8;
    pub(crate) const ALL: [(u8, Reason); 4] = [
        (UNIT_UNCHECKED, Reason::UnitUnchecked),
        (OUTSIDE_LIMITS, Reason::OutsideLimits),
        (BEYOND_CALENDAR, Reason::BeyondCalendar),
        (JUMP, Reason::JumpWithoutFactor),
    ];
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome<R> {
    /// A record, and bits of [`warned`].
    Record(R, u8),
    Skipped(Reason),
    Refused(Box<Refused>),
}

/// Why a row is no record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub(crate) symbol: String,
    pub(crate) findings: Vec<Finding>,
}

/// Where the columns of a header stand.
struct Plan {
    width: usize,
    symbol: Option<usize>,
    date: usize,
    time: Option<usize>,
    open: Option<usize>,
    high: Option<usize>,
    low: Option<usize>,
    close: Option<usize>,
    vol: Option<usize>,
    amount: Option<usize>,
    adjust: Option<usize>,
    st: Option<usize>,
    buy_limit: Option<usize>,
    sell_limit: Option<usize>,
    factor: Option<usize>,
    flag: Option<usize>,
    status: Option<usize>,
    period: Option<usize>,
}

impl Plan {
    fn of(found: &Match) -> Plan {
        let at = |column| found.position(column);
        Plan {
            width: found.names.len(),
            symbol: at(Column::Symbol),
            date: at(Column::Date).unwrap_or(0),
            time: at(Column::Time),
            open: at(Column::Open),
            high: at(Column::High),
            low: at(Column::Low),
            close: at(Column::Close),
            vol: at(Column::Vol),
            amount: at(Column::Amount),
            adjust: at(Column::Adjust),
            st: at(Column::St),
            buy_limit: at(Column::BuyLimit),
            sell_limit: at(Column::SellLimit),
            factor: at(Column::Factor),
            flag: at(Column::Flag),
            status: at(Column::Status),
            period: at(Column::Period),
        }
    }
}

/// What the rows of one file are read by.
pub(crate) struct Setting {
    pub(crate) found: Match,
    pub(crate) codes: Codes,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) kind: Kind,
    /// Powers of ten from the file's units to shares and yuan.
    pub(crate) vol_exponent: i32,
    /// As `vol_exponent`, for rows of an index.
    pub(crate) index_vol_exponent: i32,
    pub(crate) amount_exponent: i32,
}

/// Reads row after row of one file.
pub(crate) struct Parser<R> {
    plan: Plan,
    setting: Setting,
    nulls: Vec<Vec<u8>>,
    flags_raw: Vec<Vec<u8>>,
    suspended: Vec<Vec<u8>>,
    footers: Vec<Vec<u8>>,
    times: Vec<TimeFormat>,
    labels: Labels,
    last_day: (NaiveDate, Day),
    fields: Fields,
    pub(crate) tally: Tally,
    record: PhantomData<R>,
}

/// Why the values of a row are not all there.
enum Stop {
    Skip(Reason),
    Refuse(Finding),
}

impl Stop {
    fn refuse(reason: Reason, field: &str, value: impl Into<String>) -> Stop {
        Stop::Refuse(Finding { reason, field: field.to_owned(), value: value.into() })
    }
}

impl<R: FromRow> Parser<R> {
    pub(crate) fn new(setting: Setting) -> Parser<R> {
        let found = &setting.found;
        let table = found.table();
        let bytes = |texts: &[String]| -> Vec<Vec<u8>> {
            texts.iter().map(|text| found.coding.encode(text).into_owned()).collect()
        };
        Parser {
            plan: Plan::of(found),
            nulls: bytes(&found.dialect.null),
            flags_raw: bytes(&table.flag_raw),
            suspended: bytes(&table.suspended),
            footers: bytes(&found.dialect.footer),
            times: table.time.clone(),
            labels: table.labels,
            last_day: (NaiveDate::default(), setting.calendar.day(NaiveDate::default())),
            fields: Fields::default(),
            tally: Tally::new(R::MINUTE),
            record: PhantomData,
            setting,
        }
    }

    /// Smallest steps of volume and turnover. Units declared against the table take the steps of their own.
    pub(crate) fn quanta(&self) -> Quanta {
        let table = self.setting.found.table();
        let known_vol = table.vol.map(VolUnit::exponent) == Some(self.setting.vol_exponent);
        let known_amount = table.amount.map(AmountUnit::exponent) == Some(self.setting.amount_exponent);
        Quanta {
            vol: if known_vol { table.quantum.vol } else { 10f64.powi(self.setting.vol_exponent) },
            amount: if known_amount {
                table.quantum.amount
            } else {
                10f64.powi(self.setting.amount_exponent)
            },
        }
    }

    /// What explains the file.
    pub(crate) fn found(&self) -> &Match {
        &self.setting.found
    }

    pub(crate) fn coding(&self) -> Coding {
        self.setting.found.coding
    }

    /// Whether a line below the header is a row at all: not blank, no footer.
    pub(crate) fn is_row(&self, line: &[u8]) -> bool {
        if line.first().is_some_and(u8::is_ascii_digit) {
            return true;
        }
        let text = line.trim_ascii();
        !text.is_empty() && !self.footers.iter().any(|footer| text.starts_with(footer))
    }

    /// What becomes of a row.
    pub(crate) fn row(&mut self, number: u64, row: &[u8]) -> Outcome<R> {
        self.tally.rows += 1;
        match self.values(number, row) {
            Ok(values) => self.checked(number, &R::of(&values)),
            Err(Stop::Skip(reason)) => Outcome::Skipped(reason),
            Err(Stop::Refuse(finding)) => {
                self.tally.refuse(finding.reason, number, &finding.value);
                Outcome::Refused(Box::new(Refused { symbol: self.symbol_text(row), findings: vec![finding] }))
            }
        }
    }

    fn symbol_text(&mut self, row: &[u8]) -> String {
        let text = self.plan.symbol.map(|at| self.fields.get(row, at).to_vec());
        match self.symbol(text.as_deref()) {
            Ok(symbol) => symbol.to_string(),
            Err(_) => text.map_or_else(String::new, |text| self.coding().decode(&text).into_owned()),
        }
    }

    fn symbol(&mut self, text: Option<&[u8]>) -> Result<Symbol, SymbolError> {
        match text {
            Some(text) => self.setting.codes.of_row(text),
            None => self.setting.codes.of_file(),
        }
    }

    /// The record, if the rules let it pass.
    fn checked(&mut self, number: u64, record: &R) -> Outcome<R> {
        let mut checker = Checker::new(&self.setting.calendar);
        let findings = checker.check(record, self.setting.kind);
        let mut bits = 0;
        if !findings.is_empty() {
            if findings.iter().any(|finding| finding.reason.severity() == Severity::Refuse) {
                let findings = findings.to_vec();
                for finding in &findings {
                    self.tally.refuse(finding.reason, number, &finding.value);
                }
                return Outcome::Refused(Box::new(Refused { symbol: record.symbol().to_string(), findings }));
            }
            for finding in findings {
                bits |= warned::ALL
                    .iter()
                    .find(|(_, reason)| *reason == finding.reason)
                    .map_or(0, |&(bit, _)| bit);
            }
        }
        let class = record.symbol().class();
        let unproved =
            |amount: Option<f64>| class == Class::Index || (amount.is_none() && Alarm::applies(class));
        if record.traded().is_some_and(|traded| unproved(traded.amount)) {
            bits |= warned::UNIT_UNCHECKED;
        }
        Outcome::Record(*record, bits)
    }

    fn values(&mut self, number: u64, row: &[u8]) -> Result<Values, Stop> {
        if !self.fields.split(row, self.setting.found.delimiter) {
            return Err(Stop::refuse(Reason::RowIllegal, "", "a quoted field does not end on its line"));
        }
        if self.fields.len() != self.plan.width {
            let value = format!("{} fields, the header has {}", self.fields.len(), self.plan.width);
            return Err(Stop::refuse(Reason::RowIllegal, "", value));
        }
        let symbol = match self.plan.symbol {
            Some(at) => self.setting.codes.of_row(self.fields.get(row, at)),
            None => self.setting.codes.of_file(),
        };
        let symbol =
            symbol.map_err(|error| Stop::refuse(Reason::SymbolIllegal, "symbol", error.to_string()))?;
        let (date, time) = self.frame(row)?;
        self.session(number, date);
        self.basis(number, row, symbol)?;
        if let Some(at) = self.plan.status
            && self.suspended.iter().any(|word| word.as_slice() == self.fields.get(row, at))
        {
            return Err(Stop::Skip(Reason::Suspended));
        }
        let plan = &self.plan;
        let vol = if symbol.class() == Class::Index {
            self.setting.index_vol_exponent
        } else {
            self.setting.vol_exponent
        };
        let amount = self.setting.amount_exponent;
        let mut values = Values {
            symbol,
            date,
            time,
            open: self.number(row, plan.open, "open", 0)?,
            high: self.number(row, plan.high, "high", 0)?,
            low: self.number(row, plan.low, "low", 0)?,
            close: self.number(row, plan.close, "close", 0)?,
            vol: self.number(row, plan.vol, "vol", vol)?,
            amount: self.number(row, plan.amount, "amount", amount)?,
            adjust: self.number(row, plan.adjust, "adjust", 0)?,
            st: self.truth(row, plan.st)?,
            buy_limit: self.number(row, plan.buy_limit, "buy_limit", 0)?,
            sell_limit: self.number(row, plan.sell_limit, "sell_limit", 0)?,
        };
        if R::PRICED {
            trading(&values, R::MINUTE)?;
        }
        if R::MINUTE {
            values.time = Some(self.label(row, time)?);
        }
        Ok(values)
    }

    fn frame(&self, row: &[u8]) -> Result<(NaiveDate, Option<NaiveTime>), Stop> {
        let text = self.fields.get(row, self.plan.date);
        let illegal = |text: &[u8]| Stop::refuse(Reason::ValueIllegal, "frame", self.coding().decode(text));
        let Moment { date, mut time } = number::moment(text, &self.times).ok_or_else(|| illegal(text))?;
        if let Some(at) = self.plan.time {
            let text = self.fields.get(row, at);
            time = Some(number::clock(text, &self.times).ok_or_else(|| illegal(text))?);
        }
        // A day written with a time is written at midnight or at the close.
        let day = |time: NaiveTime| matches!((time.hour(), time.minute(), time.second()), (0 | 15, 0, 0));
        let fits = if R::MINUTE { time.is_some() } else { time.is_none_or(day) };
        if fits { Ok((date, time)) } else { Err(illegal(text)) }
    }

    /// Counts days on which nobody trades: too many of them prove the file wrong.
    fn session(&mut self, number: u64, date: NaiveDate) {
        if self.last_day.0 != date {
            self.last_day = (date, self.setting.calendar.day(date));
        }
        self.tally.dated(self.last_day.1, number, date);
    }

    /// Notes what a row says about its price basis.
    fn basis(&mut self, number: u64, row: &[u8], symbol: Symbol) -> Result<(), Stop> {
        if let Some(at) = self.plan.flag {
            let text = self.fields.get(row, at);
            if !self.flags_raw.iter().any(|raw| raw.as_slice() == text) {
                let coding = self.setting.found.coding;
                self.tally.flagged(number, &coding.decode(text));
            }
        }
        if let Some(factor) = self.number(row, self.plan.factor, "factor", 0)? {
            self.tally.factor(symbol, number, factor);
        }
        Ok(())
    }

    /// The end of the minute bar.
    fn label(&mut self, row: &[u8], time: Option<NaiveTime>) -> Result<NaiveTime, Stop> {
        let Kind::BarMinute(grid) = self.setting.kind else { return Ok(time.unwrap_or(NaiveTime::MIN)) };
        let time = time.unwrap_or(NaiveTime::MIN);
        self.period(row, grid.minutes())?;
        let Some(minute) = number::whole_minute(time) else { return Ok(time) };
        self.tally.label(minute);
        let end = match self.labels {
            Labels::End => minute,
            Labels::Start => minute + grid.minutes(),
        };
        if (15 * 60 + 5..=15 * 60 + 30).contains(&end) {
            return Err(Stop::Skip(Reason::AfterHours));
        }
        Ok(NaiveTime::from_hms_opt(end / 60, end % 60, 0).unwrap_or(time))
    }

    fn period(&self, row: &[u8], minutes: u32) -> Result<(), Stop> {
        let Some(at) = self.plan.period else { return Ok(()) };
        let text = self.fields.get(row, at);
        if number::natural(text).is_none_or(|period| period == minutes) {
            return Ok(());
        }
        let value = format!("period {} in a file of {}", self.coding().decode(text), self.setting.kind);
        Err(Stop::refuse(Reason::FrameIllegal, "frame", value))
    }

    fn number(&self, row: &[u8], at: Option<usize>, field: &str, shift: i32) -> Result<Option<f64>, Stop> {
        let Some(at) = at else { return Ok(None) };
        let text = self.fields.get(row, at);
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(value) = number::decimal(text, shift) {
            return Ok(Some(value));
        }
        if self.nulls.iter().any(|null| null.as_slice() == text) {
            return Ok(None);
        }
        if self.setting.found.dialect.thousands
            && let Some(value) = number::ungrouped(text).and_then(|text| number::decimal(&text, shift))
        {
            return Ok(Some(value));
        }
        let written = self.coding().decode(text);
        let infinite = ["nan", "inf", "infinity"]
            .iter()
            .any(|word| written.trim_start_matches(['+', '-']).eq_ignore_ascii_case(word));
        let reason = if infinite { Reason::NotFinite } else { Reason::ValueIllegal };
        Err(Stop::refuse(reason, field, written))
    }

    fn truth(&self, row: &[u8], at: Option<usize>) -> Result<Option<bool>, Stop> {
        let Some(at) = at else { return Ok(None) };
        let text = self.fields.get(row, at);
        match text {
            b"0" | b"0.0" | b"false" | b"False" => Ok(Some(false)),
            b"1" | b"1.0" | b"true" | b"True" => Ok(Some(true)),
            b"" => Ok(None),
            _ if self.nulls.iter().any(|null| null.as_slice() == text) => Ok(None),
            _ => Err(Stop::refuse(Reason::ValueIllegal, "st", self.coding().decode(text))),
        }
    }
}

/// Tells suspended rows from broken ones. A suspension is written as nothing at all, as prices of zero, as a blank
/// volume at one price, or on day bars as no volume at one price; a row with volume and without prices is a gap.
fn trading(values: &Values, minute: bool) -> Result<(), Stop> {
    let &Values { symbol, open, high, low, close, vol, amount, .. } = values;
    let idle = vol.unwrap_or(0.0) == 0.0 && amount.unwrap_or(0.0) == 0.0;
    let (Some(open), Some(high), Some(low), Some(close)) = (open, high, low, close) else {
        if idle {
            return Err(Stop::Skip(Reason::Suspended));
        }
        let prices = [("open", open), ("high", high), ("low", low), ("close", close)];
        let missing = prices.iter().find(|(_, price)| price.is_none()).map_or("open", |&(name, _)| name);
        let value = format!("empty, with a volume of {} shares", vol.unwrap_or(0.0));
        return Err(Stop::refuse(Reason::PriceMissing, missing, value));
    };
    if idle {
        let zero = open == 0.0 && high == 0.0 && low == 0.0;
        let flat = open.max(close).max(high) <= low.min(open).min(close);
        let stopped = flat && !minute && symbol.class() != Class::Index;
        if zero || (flat && vol.is_none()) || stopped {
            return Err(Stop::Skip(Reason::Suspended));
        }
    }
    if vol.is_none() {
        let value = amount.map_or_else(
            || "empty, with prices that move".to_owned(),
            |amount| format!("empty, with a turnover of {amount} yuan"),
        );
        return Err(Stop::refuse(Reason::ValueIllegal, "vol", value));
    }
    Ok(())
}

/// What a file declares or shows about its price basis before any row is read.
pub(crate) fn declared_basis(found: &Match, declared: Option<Basis>) -> Result<(), String> {
    let words = &found.dialect.preamble.basis;
    for line in &found.preamble {
        let adjusted =
            words.iter().find(|(word, basis)| **basis == Basis::Adjusted && line.contains(word.as_str()));
        if let Some((word, _)) = adjusted {
            return Err(format!("the line above the header says {word}: {:?}", line.trim()));
        }
    }
    match (declared, found.table().basis) {
        (Some(Basis::Adjusted), _) => Err("the prices were declared adjusted (csv.price_basis)".to_owned()),
        (None, Basis::Adjusted) => Err(format!(
            "dialect {} writes adjusted prices; if these are raw, declare csv.price_basis=raw",
            found.dialect.name
        )),
        _ => Ok(()),
    }
}
