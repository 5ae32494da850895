//! The rules a record must pass, one line a rule. Knows reason codes, severities and the facts they rest on;
//! must not know where a record came from nor what is done with a finding.

use std::fmt::Display;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{Calendar, Kind, Record, Symbol, calendar::Day, symbol::Class};

/// What a finding does to its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The record, entry or file does not pass; it is kept in the dead letters.
    Refuse,
    /// The row is no bar; it is counted and left out.
    Skip,
    /// The record passes and the finding is counted.
    Warn,
}

macro_rules! reasons {
    ($($name:ident $code:literal $severity:ident $fact:literal;)*) => {
        /// Why something was refused, skipped or counted. The code is stable: it is part of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $(#[doc = $fact] #[serde(rename = $code)] $name,)* }

        impl Reason {
            /// Every reason, in the order of `schemas/reasons.toml`.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];
            /// The stable code.
            pub const fn code(self) -> &'static str { match self { $(Reason::$name => $code,)* } }
            /// What it does to its record.
            pub const fn severity(self) -> Severity { match self { $(Reason::$name => Severity::$severity,)* } }
            /// The fact the rule rests on, one line.
            pub const fn fact(self) -> &'static str { match self { $(Reason::$name => $fact,)* } }
        }
    };
}

reasons! {
    NotFinite "not_finite" Refuse "a price, volume or factor is NaN or infinite";
    PriceMissing "price_missing" Refuse "a row with volume but without open, high, low or close is a vendor's gap, not a suspension";
    PriceNotPositive "price_not_positive" Refuse "a traded price is above zero; forward-adjusted and padded rows are not";
    OhlcOrder "ohlc_order" Refuse "low ≤ open, close ≤ high by definition";
    Negative "negative" Refuse "volume and turnover are counts";
    FrameIllegal "frame_illegal" Refuse "a minute bar ends at 09:30 (1 minute only), 09:31–11:30 or 13:01–15:00, on its grid";
    NotASession "not_a_session" Refuse "the exchanges trade on the days of the calendar only; make-up working weekends are never sessions";
    AdjustNotPositive "adjust_not_positive" Refuse "a cumulative factor is a product of positive ratios; an index has 1.0 or none";
    Currency "currency" Refuse "B shares are quoted in US or Hong Kong dollars, not yuan";
    Unit "unit" Refuse "volume is in shares and turnover in yuan in every row; bonds trade in lots of ten bonds and carry no shares";
    SymbolIllegal "symbol_illegal" Refuse "a symbol is six digits and a declared exchange; an exchange is never guessed";
    ValueIllegal "value_illegal" Refuse "a value that is no number, date or truth value of its dialect";
    RowIllegal "row_illegal" Refuse "a row with another number of fields than its header";
    Conflict "conflict" Refuse "two rows of one key differ within a file: the last wins, the earlier is kept here";
    UnitsOrAdjusted "units_or_adjusted" Refuse "turnover divided by volume lies between low and high for raw prices in the right units";
    PriceBasis "price_basis" Refuse "SQEP bars are raw prices; adjusted ones change with every later dividend and cannot be undone";
    FramesShifted "frames_shifted" Refuse "a file with more than 1 % of its days outside the calendar has its dates shifted or invented";
    HeaderUnknown "header_unknown" Refuse "a file whose header no dialect explains is not guessed at";
    Undecodable "undecodable" Refuse "an entry that does not decode within the limits of the wire";
    UnknownVersion "unknown_version" Refuse "an entry of another wire version waits for an upgrade";
    UnknownType "unknown_type" Refuse "an entry of a type this stream does not carry";
    EntryEmpty "entry_empty" Refuse "an entry that was deleted or trimmed while it was pending";
    SinkNever "sink_never" Refuse "the sink can never take this record";
    Suspended "suspended" Skip "a suspended security has no bar that day, however the vendor writes it";
    Duplicate "duplicate" Skip "the same row again";
    AfterHours "after_hours" Skip "after-hours fixed-price trading (15:05–15:30) is not part of the session";
    Late "late" Skip "a live row of a minute that is closed already; corrections come from history";
    Superseded "superseded" Skip "a later push of the same unfinished bar replaced this row";
    OutsideLimits "outside_limits" Warn "a traded price lies within the day's limits";
    JumpWithoutFactor "jump_without_factor" Warn "a close that leaves the band of any board without a change of factor";
    UnitUnchecked "unit_unchecked" Warn "without turnover the unit of volume cannot be proved";
    BeyondCalendar "beyond_calendar" Warn "a weekday after the last day the calendar knows; refresh it";
    AmountRepaired "amount_repaired" Warn "a vendor kept turnover in 32 bits; the multiple of 2³² that fits price and volume was added";
}

impl Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// A rule that a record broke, with the value that broke it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule.
    pub reason: Reason,
    /// The field it was seen in; empty for the record as a whole.
    pub field: String,
    /// The value as it came.
    pub value: String,
}

/// Judges records one after another and keeps what it found in the last one.
#[derive(Debug)]
pub struct Checker<'a> {
    calendar: &'a Calendar,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    /// A checker by this calendar.
    pub fn new(calendar: &'a Calendar) -> Checker<'a> {
        Checker { calendar, findings: Vec::new() }
    }

    /// Judges one record of a stream of `kind`; the findings are those of this record alone.
    pub fn check<R: Record>(&mut self, record: &R, kind: Kind) -> &[Finding] {
        self.findings.clear();
        record.check(kind, self);
        &self.findings
    }

    /// The door: `Ok` lets the record pass, with the warnings that are counted; `Err` holds the rules that refuse it.
    pub fn admit<R: Record>(&mut self, record: &R, kind: Kind) -> Result<&[Finding], Vec<Finding>> {
        let refuses = |finding: &&Finding| finding.reason.severity() == Severity::Refuse;
        let findings = self.check(record, kind);
        if findings.iter().any(|finding| refuses(&finding)) {
            return Err(findings.iter().filter(refuses).cloned().collect());
        }
        Ok(&self.findings)
    }

    /// Notes a broken rule.
    pub fn find(&mut self, reason: Reason, field: &str, value: &dyn Display) {
        self.findings.push(Finding { reason, field: field.to_owned(), value: value.to_string() });
    }

    /// Four finite, positive prices in order.
    pub fn prices(&mut self, open: f64, high: f64, low: f64, close: f64) {
        let ordered = low <= open && low <= close && open <= high && close <= high;
        if low > 0.0 && ordered && high.is_finite() {
            return;
        }
        for (name, price) in [("open", open), ("high", high), ("low", low), ("close", close)] {
            if !price.is_finite() {
                return self.find(Reason::NotFinite, name, &price);
            }
            if price <= 0.0 {
                return self.find(Reason::PriceNotPositive, name, &price);
            }
        }
        self.find(
            Reason::OhlcOrder,
            "high",
            &format_args!("open {open} high {high} low {low} close {close}"),
        );
    }

    /// A finite count of shares or yuan.
    pub fn not_negative(&mut self, field: &str, value: Option<f64>) {
        match value {
            Some(value) if !value.is_finite() => self.find(Reason::NotFinite, field, &value),
            Some(value) if value < 0.0 => self.find(Reason::Negative, field, &value),
            _ => {}
        }
    }

    /// Factor and limits of a day.
    pub fn day(
        &mut self,
        symbol: Symbol,
        adjust: Option<f64>,
        buy_limit: Option<f64>,
        sell_limit: Option<f64>,
    ) {
        if let Some(adjust) = adjust {
            let index = symbol.class() == Class::Index;
            if !adjust.is_finite() || adjust <= 0.0 || (index && (adjust - 1.0).abs() > f64::EPSILON) {
                self.find(Reason::AdjustNotPositive, "adjust", &adjust);
            }
        }
        for (name, limit) in [("buy_limit", buy_limit), ("sell_limit", sell_limit)] {
            match limit {
                Some(limit) if !limit.is_finite() => self.find(Reason::NotFinite, name, &limit),
                Some(limit) if limit <= 0.0 => self.find(Reason::PriceNotPositive, name, &limit),
                _ => {}
            }
        }
    }

    /// A day on which the exchanges trade.
    pub fn session(&mut self, date: NaiveDate) {
        match self.calendar.day(date) {
            Day::Session => {}
            Day::Closed => self.find(Reason::NotASession, "frame", &date),
            Day::Unknown => self.find(Reason::BeyondCalendar, "frame", &date),
        }
    }

    /// Yuan and shares only.
    pub fn currency(&mut self, symbol: Symbol) {
        match symbol.class() {
            Class::BShare => self.find(Reason::Currency, "symbol", &symbol),
            Class::Bond => self.find(Reason::Unit, "symbol", &symbol),
            _ => {}
        }
    }

    /// Prices within the day's limits, half a tick allowed.
    pub fn inside_limits(&mut self, high: f64, low: f64, buy_limit: Option<f64>, sell_limit: Option<f64>) {
        const HALF_TICK: f64 = 0.0051;
        if buy_limit.is_some_and(|limit| high > limit + HALF_TICK) {
            self.find(Reason::OutsideLimits, "high", &high);
        }
        if sell_limit.is_some_and(|limit| low < limit - HALF_TICK) {
            self.find(Reason::OutsideLimits, "low", &low);
        }
    }
}
