//! From the values of one row to a record. Knows the three records of the protocol; must not know text.

use chrono::{NaiveDate, NaiveTime};
use sqep::{
    DayBar, MinuteBar, Record, RefDay, Symbol,
    bar::{price_decimals, round},
    unit::Turnover,
};

/// The last label of a day, in minutes.
pub(crate) const CLOSE_MINUTE: i64 = 15 * 60;
/// Minutes of a day.
pub(crate) const MINUTES_A_DAY: i64 = 24 * 60;

/// Minutes of a day without any volume from which on the day counts as suspended: a day of the coarsest grid. Fewer tell of
/// a quiet minute, as in a file that holds one minute of the whole market.
pub(crate) const IDLE_MINUTES_MIN: u32 = 4;

/// What a row says, in the protocol's units; `None` where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// The security.
    pub symbol: Symbol,
    /// The day.
    pub date: NaiveDate,
    /// The end of the minute.
    pub time: Option<NaiveTime>,
    /// Yuan.
    pub open: Option<f64>,
    /// Yuan.
    pub high: Option<f64>,
    /// Yuan.
    pub low: Option<f64>,
    /// Yuan.
    pub close: Option<f64>,
    /// Shares.
    pub vol: Option<f64>,
    /// Yuan.
    pub amount: Option<f64>,
    /// Cumulative back-adjust factor.
    pub adjust: Option<f64>,
    /// Special treatment.
    pub st: Option<bool>,
    /// Yuan.
    pub buy_limit: Option<f64>,
    /// Yuan.
    pub sell_limit: Option<f64>,
}

/// What a bar says about its trading, for the checks that look at more than one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traded {
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Shares.
    pub vol: f64,
    /// Yuan.
    pub amount: Option<f64>,
    /// Factor.
    pub adjust: Option<f64>,
}

/// A record that a row can become.
pub trait FromRow: Record {
    /// Whether it has prices and volume.
    const PRICED: bool;
    /// Whether its frame is a minute.
    const MINUTE: bool;

    /// The record, at the protocol's precision. A missing price is NaN and does not pass the checks.
    fn of(values: &Values) -> Self;
    /// Its trading, if it has any.
    fn traded(&self) -> Option<Traded>;
}

const fn price(value: Option<f64>) -> f64 {
    match value {
        Some(value) => value,
        None => f64::NAN,
    }
}

impl Traded {
    /// As the unit alarm wants it; `None` without turnover.
    pub(crate) fn turnover(self) -> Option<Turnover> {
        self.amount.map(|amount| Turnover { high: self.high, low: self.low, vol: self.vol, amount })
    }
}

impl FromRow for DayBar {
    const PRICED: bool = true;
    const MINUTE: bool = false;

    fn of(values: &Values) -> DayBar {
        let bar = DayBar {
            symbol: values.symbol,
            frame: values.date,
            open: price(values.open),
            high: price(values.high),
            low: price(values.low),
            close: price(values.close),
            vol: price(values.vol),
            amount: values.amount,
            adjust: values.adjust,
            st: values.st,
            buy_limit: values.buy_limit,
            sell_limit: values.sell_limit,
        };
        bar.normalised()
    }

    fn traded(&self) -> Option<Traded> {
        let DayBar { high, low, close, vol, amount, adjust, .. } = *self;
        Some(Traded { high, low, close, vol, amount, adjust })
    }
}

impl FromRow for MinuteBar {
    const PRICED: bool = true;
    const MINUTE: bool = true;

    fn of(values: &Values) -> MinuteBar {
        let bar = MinuteBar {
            symbol: values.symbol,
            frame: values.date.and_time(values.time.unwrap_or(NaiveTime::MIN)),
            open: price(values.open),
            high: price(values.high),
            low: price(values.low),
            close: price(values.close),
            vol: price(values.vol),
            amount: values.amount,
        };
        bar.normalised()
    }

    fn traded(&self) -> Option<Traded> {
        let MinuteBar { high, low, close, vol, amount, .. } = *self;
        Some(Traded { high, low, close, vol, amount, adjust: None })
    }
}

impl FromRow for RefDay {
    const PRICED: bool = false;
    const MINUTE: bool = false;

    fn of(values: &Values) -> RefDay {
        let (buy_limit, sell_limit) = limits(values.symbol, values.buy_limit, values.sell_limit);
        RefDay {
            symbol: values.symbol,
            frame: values.date,
            adjust: values.adjust,
            st: values.st,
            buy_limit,
            sell_limit,
        }
    }

    fn traded(&self) -> Option<Traded> {
        None
    }
}

/// Limits without a close to measure them by: null where they mean "none", as 99999.999 above and 0.01 below do.
pub(crate) fn limits(symbol: Symbol, upper: Option<f64>, lower: Option<f64>) -> (Option<f64>, Option<f64>) {
    const NO_LIMIT_MIN: f64 = 99_999.0;
    const WIDEST_BAND: f64 = 10.0;
    let wide = upper.zip(lower).is_some_and(|(upper, lower)| upper > WIDEST_BAND * lower);
    let decimals = price_decimals(symbol);
    let real = |limit: &f64| !wide && *limit > 0.0 && *limit < NO_LIMIT_MIN;
    let rounded = |limit: f64| round(limit, decimals);
    (upper.filter(real).map(rounded), lower.filter(real).map(rounded))
}

/// Whether a bar was traded in at all; a record without prices counts as if.
pub(crate) fn has_volume<R: FromRow>(record: &R) -> bool {
    record.traded().is_none_or(|traded| traded.vol > 0.0 || traded.amount.is_some_and(|amount| amount > 0.0))
}

/// The day of a time in minutes.
pub(crate) fn day(minutes: i64) -> i64 {
    minutes.div_euclid(MINUTES_A_DAY)
}
