//! What day and minute features have in common: which bars they refuse, what is known of a day, sessions skipped. Knows symbols and days; must not know a formula.

use std::fmt::Display;

use chrono::{Days, NaiveDate};
use sqep::{Calendar, DayBar, RefDay, Symbol, symbol::Class};

use crate::bar::{Refused, Rules};

/// Sessions beyond which a gap is not counted further.
const GAP_SESSIONS_MAX: usize = 250;
/// Half the smallest step of a price, yuan.
const HALF_TICK: f64 = 0.005;
/// Half the smallest step of a fund's price, yuan.
const HALF_TICK_FUND: f64 = 0.0005;

/// A bar that a series does not take; the series is as before.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PushError {
    /// A number of it.
    #[error("{symbol} {frame}: {source}")]
    Bar {
        /// The security.
        symbol: Symbol,
        /// The bar's time.
        frame: String,
        /// What is wrong.
        source: Refused,
    },
    /// Not after the last one: recompute from a snapshot before it.
    #[error("{symbol} {frame} is not after {last}, the last bar taken; recompute from a state before it")]
    NotNewer {
        /// The security.
        symbol: Symbol,
        /// The bar's time.
        frame: String,
        /// Time of the last bar taken.
        last: String,
    },
    /// Of another security.
    #[error("a bar of {found} came to the features of {wanted}")]
    Symbol {
        /// The bar's.
        found: Symbol,
        /// The series'.
        wanted: Symbol,
    },
}

impl PushError {
    pub(crate) fn bar(symbol: Symbol, frame: &impl Display, source: Refused) -> PushError {
        PushError::Bar { symbol, frame: frame.to_string(), source }
    }
}

/// What is known of a security's day besides its trades; the default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// Cumulative back-adjust factor; `None` if unknown, which is not 1.
    pub adjust: Option<f64>,
    /// Under special treatment.
    pub st: Option<bool>,
    /// Upper price limit, raw yuan.
    pub buy_limit: Option<f64>,
    /// Lower price limit, raw yuan.
    pub sell_limit: Option<f64>,
}

impl From<&RefDay> for Facts {
    fn from(day: &RefDay) -> Facts {
        let RefDay { adjust, st, buy_limit, sell_limit, .. } = *day;
        Facts { adjust, st, buy_limit, sell_limit }
    }
}

impl From<&DayBar> for Facts {
    fn from(bar: &DayBar) -> Facts {
        let DayBar { adjust, st, buy_limit, sell_limit, .. } = *bar;
        Facts { adjust, st, buy_limit, sell_limit }
    }
}

impl Facts {
    /// The factor; an index is never adjusted.
    pub(crate) fn factor(&self, symbol: Symbol) -> Option<f64> {
        if symbol.class() == Class::Index { Some(self.adjust.unwrap_or(1.0)) } else { self.adjust }
    }

    pub(crate) fn rules(&self, symbol: Symbol) -> Rules {
        let half_tick = if symbol.class() == Class::Fund { HALF_TICK_FUND } else { HALF_TICK };
        Rules { st: self.st, buy_limit: self.buy_limit, sell_limit: self.sell_limit, half_tick }
    }
}

/// Sessions after the day of the last bar and before this day, at most 250; 0 for the first bar.
pub(crate) fn sessions_missed(calendar: &Calendar, last: Option<NaiveDate>, day: NaiveDate) -> u32 {
    let one = Days::new(1);
    let (Some(from), Some(to)) =
        (last.and_then(|last| last.checked_add_days(one)), day.checked_sub_days(one))
    else {
        return 0;
    };
    let skipped = calendar.sessions(from, to).take(GAP_SESSIONS_MAX).count();
    u32::try_from(skipped).unwrap_or(u32::MAX)
}
