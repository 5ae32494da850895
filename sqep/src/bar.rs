//! The three records of the protocol. Knows their fields, units and rules of form; must not know any vendor.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::{
    Kind, Symbol,
    check::{Checker, Reason},
    record::{Cell, Field, Record, Type},
    symbol::Class,
};

const fn field(name: &'static str, kind: Type, nullable: bool, unit: &'static str) -> Field {
    Field { name, kind, nullable, unit }
}

/// SQEP-BAR-DAY: one security, one trading day. Prices are raw (unadjusted) yuan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DayBar {
    /// The security.
    pub symbol: Symbol,
    /// Trading day, Asia/Shanghai.
    pub frame: NaiveDate,
    /// First price, yuan.
    pub open: f64,
    /// Highest price, yuan.
    pub high: f64,
    /// Lowest price, yuan.
    pub low: f64,
    /// Last price, yuan.
    pub close: f64,
    /// Volume, shares.
    pub vol: f64,
    /// Turnover, yuan; null if the source has none.
    pub amount: Option<f64>,
    /// Cumulative back-adjust factor: hfq price = raw × adjust. Null if unknown, never a made-up 1.0.
    pub adjust: Option<f64>,
    /// Under special treatment that day.
    pub st: Option<bool>,
    /// Upper price limit, yuan; null if there is none or it is unknown, never 0.
    pub buy_limit: Option<f64>,
    /// Lower price limit, yuan; null if there is none or it is unknown, never 0.
    pub sell_limit: Option<f64>,
}

/// SQEP-BAR-MINUTE: one security, one bar of 1, 5, 15, 30 or 60 minutes, labelled by its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinuteBar {
    /// The security.
    pub symbol: Symbol,
    /// End of the bar, wall clock of Asia/Shanghai.
    pub frame: NaiveDateTime,
    /// First price, yuan.
    pub open: f64,
    /// Highest price, yuan.
    pub high: f64,
    /// Lowest price, yuan.
    pub low: f64,
    /// Last price, yuan.
    pub close: f64,
    /// Volume, shares.
    pub vol: f64,
    /// Turnover, yuan; null if the source has none.
    pub amount: Option<f64>,
}

/// SQEP-REF-DAY: what is known of a day before its first bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefDay {
    /// The security.
    pub symbol: Symbol,
    /// Trading day, Asia/Shanghai.
    pub frame: NaiveDate,
    /// Cumulative back-adjust factor.
    pub adjust: Option<f64>,
    /// Under special treatment that day.
    pub st: Option<bool>,
    /// Upper price limit, yuan.
    pub buy_limit: Option<f64>,
    /// Lower price limit, yuan.
    pub sell_limit: Option<f64>,
}

/// Days since 1970-01-01.
pub(crate) fn day_number(date: NaiveDate) -> i64 {
    const EPOCH_CE: i64 = 719_163;
    i64::from(date.num_days_from_ce()) - EPOCH_CE
}

/// Minutes of Shanghai's wall clock since 1970-01-01.
pub(crate) fn minute_number(wall: NaiveDateTime) -> i64 {
    wall.and_utc().timestamp().div_euclid(60)
}

fn float(value: Option<f64>) -> Cell {
    value.map_or(Cell::Null, Cell::Float)
}

fn option(cell: Cell) -> Option<f64> {
    match cell {
        Cell::Float(value) => Some(value),
        _ => None,
    }
}

fn truth(cell: Cell) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(value),
        _ => None,
    }
}

fn put(place: &mut f64, cell: Cell) {
    if let Cell::Float(value) = cell {
        *place = value;
    }
}

/// Takes the noise of binary arithmetic off a decimal: `263.15000000000003` becomes `263.15`.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    let scaled = value * scale;
    // Beyond 2⁵² a float has no decimals left to round.
    if scaled.abs() < 4_503_599_627_370_496.0 { scaled.round() / scale } else { value }
}

/// Decimals of a price: four for an index, three for everything else.
pub fn price_decimals(symbol: Symbol) -> i32 {
    if symbol.class() == Class::Index { 4 } else { 3 }
}

/// A price limit as the protocol carries it: null where the vendor's number means "none" (0, or ten times and a
/// tenth of the reference close and beyond, as 999999.999, 99999.999 and 0.01 are).
pub fn price_limit(value: Option<f64>, reference: f64) -> Option<f64> {
    value.filter(|&limit| limit > 0.0 && limit < 10.0 * reference && limit > 0.1 * reference)
}

impl DayBar {
    /// Brings prices, volume and amount to the precision of the protocol and drops limits that mean "none".
    #[must_use]
    pub fn normalised(mut self) -> DayBar {
        let decimals = price_decimals(self.symbol);
        for price in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *price = round(*price, decimals);
        }
        self.vol = round(self.vol, 0);
        self.amount = self.amount.map(|amount| round(amount, 2));
        self.buy_limit = price_limit(self.buy_limit, self.close).map(|limit| round(limit, decimals));
        self.sell_limit = price_limit(self.sell_limit, self.close).map(|limit| round(limit, decimals));
        self
    }
}

impl MinuteBar {
    /// Brings prices, volume and amount to the precision of the protocol.
    #[must_use]
    pub fn normalised(mut self) -> MinuteBar {
        let decimals = price_decimals(self.symbol);
        for price in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *price = round(*price, decimals);
        }
        self.vol = round(self.vol, 0);
        self.amount = self.amount.map(|amount| round(amount, 2));
        self
    }
}

impl Record for DayBar {
    const TYPE: &'static str = "SQEP-BAR-DAY";
    const FIELDS: &'static [Field] = &[
        field("symbol", Type::Symbol, false, ""),
        field("frame", Type::Date, false, ""),
        field("open", Type::Float, false, "yuan"),
        field("high", Type::Float, false, "yuan"),
        field("low", Type::Float, false, "yuan"),
        field("close", Type::Float, false, "yuan"),
        field("vol", Type::Float, false, "shares"),
        field("amount", Type::Float, true, "yuan"),
        field("adjust", Type::Float, true, "1"),
        field("st", Type::Bool, true, ""),
        field("buy_limit", Type::Float, true, "yuan"),
        field("sell_limit", Type::Float, true, "yuan"),
    ];

    fn blank() -> Self {
        DayBar {
            symbol: Symbol::BLANK,
            frame: NaiveDate::default(),
            open: f64::NAN,
            high: f64::NAN,
            low: f64::NAN,
            close: f64::NAN,
            vol: f64::NAN,
            amount: None,
            adjust: None,
            st: None,
            buy_limit: None,
            sell_limit: None,
        }
    }

    fn symbol(&self) -> Symbol {
        self.symbol
    }

    fn time(&self) -> i64 {
        day_number(self.frame)
    }

    #[inline]
    fn get(&self, at: usize) -> Cell {
        match at {
            0 => Cell::Symbol(self.symbol),
            1 => Cell::Date(self.frame),
            2 => Cell::Float(self.open),
            3 => Cell::Float(self.high),
            4 => Cell::Float(self.low),
            5 => Cell::Float(self.close),
            6 => Cell::Float(self.vol),
            7 => float(self.amount),
            8 => float(self.adjust),
            9 => self.st.map_or(Cell::Null, Cell::Bool),
            10 => float(self.buy_limit),
            11 => float(self.sell_limit),
            _ => Cell::Null,
        }
    }

    fn set(&mut self, at: usize, cell: Cell) {
        match (at, cell) {
            (0, Cell::Symbol(symbol)) => self.symbol = symbol,
            (1, Cell::Date(date)) => self.frame = date,
            (2, _) => put(&mut self.open, cell),
            (3, _) => put(&mut self.high, cell),
            (4, _) => put(&mut self.low, cell),
            (5, _) => put(&mut self.close, cell),
            (6, _) => put(&mut self.vol, cell),
            (7, _) => self.amount = option(cell),
            (8, _) => self.adjust = option(cell),
            (9, _) => self.st = truth(cell),
            (10, _) => self.buy_limit = option(cell),
            (11, _) => self.sell_limit = option(cell),
            _ => {}
        }
    }

    fn check(&self, _kind: Kind, checker: &mut Checker<'_>) {
        checker.prices(self.open, self.high, self.low, self.close);
        checker.not_negative("vol", Some(self.vol));
        checker.not_negative("amount", self.amount);
        checker.day(self.symbol, self.adjust, self.buy_limit, self.sell_limit);
        checker.session(self.frame);
        checker.currency(self.symbol);
        checker.inside_limits(self.high, self.low, self.buy_limit, self.sell_limit);
    }

    fn fits(kind: Kind) -> bool {
        kind == Kind::BarDay
    }
}

impl Record for MinuteBar {
    const TYPE: &'static str = "SQEP-BAR-MINUTE";
    const FIELDS: &'static [Field] = &[
        field("symbol", Type::Symbol, false, ""),
        field("frame", Type::Minute, false, ""),
        field("open", Type::Float, false, "yuan"),
        field("high", Type::Float, false, "yuan"),
        field("low", Type::Float, false, "yuan"),
        field("close", Type::Float, false, "yuan"),
        field("vol", Type::Float, false, "shares"),
        field("amount", Type::Float, true, "yuan"),
    ];

    fn blank() -> Self {
        MinuteBar {
            symbol: Symbol::BLANK,
            frame: NaiveDate::default().and_time(NaiveTime::MIN),
            open: f64::NAN,
            high: f64::NAN,
            low: f64::NAN,
            close: f64::NAN,
            vol: f64::NAN,
            amount: None,
        }
    }

    fn symbol(&self) -> Symbol {
        self.symbol
    }

    fn time(&self) -> i64 {
        minute_number(self.frame)
    }

    #[inline]
    fn get(&self, at: usize) -> Cell {
        match at {
            0 => Cell::Symbol(self.symbol),
            1 => Cell::Minute(self.frame),
            2 => Cell::Float(self.open),
            3 => Cell::Float(self.high),
            4 => Cell::Float(self.low),
            5 => Cell::Float(self.close),
            6 => Cell::Float(self.vol),
            7 => float(self.amount),
            _ => Cell::Null,
        }
    }

    fn set(&mut self, at: usize, cell: Cell) {
        match (at, cell) {
            (0, Cell::Symbol(symbol)) => self.symbol = symbol,
            (1, Cell::Minute(minute)) => self.frame = minute,
            (2, _) => put(&mut self.open, cell),
            (3, _) => put(&mut self.high, cell),
            (4, _) => put(&mut self.low, cell),
            (5, _) => put(&mut self.close, cell),
            (6, _) => put(&mut self.vol, cell),
            (7, _) => self.amount = option(cell),
            _ => {}
        }
    }

    fn check(&self, kind: Kind, checker: &mut Checker<'_>) {
        checker.prices(self.open, self.high, self.low, self.close);
        checker.not_negative("vol", Some(self.vol));
        checker.not_negative("amount", self.amount);
        let minute_of_day = self.frame.hour() * 60 + self.frame.minute();
        let whole = self.frame.second() == 0 && self.frame.nanosecond() == 0;
        let legal = match kind {
            Kind::BarMinute(grid) => whole && grid.is_label(minute_of_day),
            _ => false,
        };
        if !legal {
            checker.find(Reason::FrameIllegal, "frame", &self.frame);
        }
        checker.session(self.frame.date());
        checker.currency(self.symbol);
    }

    fn fits(kind: Kind) -> bool {
        matches!(kind, Kind::BarMinute(_))
    }
}

impl Record for RefDay {
    const TYPE: &'static str = "SQEP-REF-DAY";
    const FIELDS: &'static [Field] = &[
        field("symbol", Type::Symbol, false, ""),
        field("frame", Type::Date, false, ""),
        field("adjust", Type::Float, true, "1"),
        field("st", Type::Bool, true, ""),
        field("buy_limit", Type::Float, true, "yuan"),
        field("sell_limit", Type::Float, true, "yuan"),
    ];

    fn blank() -> Self {
        RefDay {
            symbol: Symbol::BLANK,
            frame: NaiveDate::default(),
            adjust: None,
            st: None,
            buy_limit: None,
            sell_limit: None,
        }
    }

    fn symbol(&self) -> Symbol {
        self.symbol
    }

    fn time(&self) -> i64 {
        day_number(self.frame)
    }

    #[inline]
    fn get(&self, at: usize) -> Cell {
        match at {
            0 => Cell::Symbol(self.symbol),
            1 => Cell::Date(self.frame),
            2 => float(self.adjust),
            3 => self.st.map_or(Cell::Null, Cell::Bool),
            4 => float(self.buy_limit),
            5 => float(self.sell_limit),
            _ => Cell::Null,
        }
    }

    fn set(&mut self, at: usize, cell: Cell) {
        match (at, cell) {
            (0, Cell::Symbol(symbol)) => self.symbol = symbol,
            (1, Cell::Date(date)) => self.frame = date,
            (2, _) => self.adjust = option(cell),
            (3, _) => self.st = truth(cell),
            (4, _) => self.buy_limit = option(cell),
            (5, _) => self.sell_limit = option(cell),
            _ => {}
        }
    }

    fn check(&self, _kind: Kind, checker: &mut Checker<'_>) {
        checker.day(self.symbol, self.adjust, self.buy_limit, self.sell_limit);
        checker.session(self.frame);
        checker.currency(self.symbol);
    }

    fn fits(kind: Kind) -> bool {
        kind == Kind::RefDay
    }
}
