//! A bar as QMT and TDX tell it, before the stream's kind decides what it becomes. Must not know files nor messages.

use chrono::NaiveDateTime;
use sqep::{DayBar, MinuteBar, Record, Symbol, bar::round, unit::Turnover};

/// Whole lots: what QMT counts in, and what TDX rounds to.
pub const LOT_SHARES: f64 = 100.0;

/// One bar in the protocol's units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Raw {
    /// The security.
    pub symbol: Symbol,
    /// Wall clock of Asia/Shanghai: the end of the minute, or any time of the day of a day bar.
    pub wall: NaiveDateTime,
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
    /// Turnover, yuan.
    pub amount: f64,
}

impl Raw {
    /// What the unit alarm looks at.
    pub fn turnover(&self) -> Turnover {
        Turnover { high: self.high, low: self.low, vol: self.vol, amount: self.amount }
    }

    /// Whether nothing was traded.
    pub fn is_idle(&self) -> bool {
        self.vol == 0.0 && self.amount == 0.0
    }

    /// Whether it has no price at all, as padding has.
    pub fn is_blank(&self) -> bool {
        [self.open, self.high, self.low, self.close].iter().all(|&price| price == 0.0)
    }

    /// Whether the prices are above zero, and low and high around the others.
    pub fn has_sound_prices(&self) -> bool {
        let within = |price: f64| (self.low..=self.high).contains(&price);
        self.low > 0.0 && within(self.open) && within(self.close)
    }

    /// Prices brought to so many decimals, for vendors that keep them in 32-bit floats.
    #[must_use]
    pub fn with_decimals(mut self, decimals: i32) -> Raw {
        for price in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *price = round(*price, decimals);
        }
        self
    }
}

/// What a bar can become.
pub trait Bar: Record {
    /// Whether it is a minute bar.
    const MINUTE: bool;
    /// The record, at the protocol's precision.
    fn of(raw: &Raw) -> Self;
}

impl Bar for DayBar {
    const MINUTE: bool = false;

    fn of(raw: &Raw) -> DayBar {
        let Raw { symbol, wall, open, high, low, close, vol, amount } = *raw;
        let bar = DayBar {
            symbol,
            frame: wall.date(),
            open,
            high,
            low,
            close,
            vol,
            amount: Some(amount),
            adjust: None,
            st: None,
            buy_limit: None,
            sell_limit: None,
        };
        bar.normalised()
    }
}

impl Bar for MinuteBar {
    const MINUTE: bool = true;

    fn of(raw: &Raw) -> MinuteBar {
        let Raw { symbol, wall, open, high, low, close, vol, amount } = *raw;
        MinuteBar { symbol, frame: wall, open, high, low, close, vol, amount: Some(amount) }.normalised()
    }
}
