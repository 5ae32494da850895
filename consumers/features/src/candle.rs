//! The shape of one bar, its place in a range, and what the exchange allowed. Knows ratios within raw prices, where no
//! factor matters, and within windows; must not know the order of features.

use crate::{
    bar::{Rules, Traded, Turnover, tie},
    history::History,
    window::{highest, lowest},
};

/// The most sessions a gap counts.
const GAP_SESSIONS_MAX: u32 = 250;

/// What the average price of a session may be of its low and of its high.
const VWAP_LOW: f64 = 0.98;
/// See [`VWAP_LOW`].
const VWAP_HIGH: f64 = 1.02;

/// `upper_shadow`, `lower_shadow`, `close_pos`: parts of the range above and below the body, and of the range below the
/// close. A bar without range has no shadows, and its close is in the middle.
#[inline]
pub(crate) fn shape(bar: &Traded) -> [f64; 3] {
    let range = bar.high - bar.low;
    if range <= tie(bar.close) {
        return [0.0, 0.0, 0.5];
    }
    let (top, bottom) = (bar.open.max(bar.close), bar.open.min(bar.close));
    [(bar.high - top) / range, (bottom - bar.low) / range, (bar.close - bar.low) / range]
}

/// `pos_20`, `pos_60`: (C − lowest L)/(highest H − lowest L) of n bars, 0.5 if flat (TA-Lib 1 + WILLR/100).
#[inline]
pub(crate) fn places(history: &History) -> [f64; 2] {
    [place::<20>(history), place::<60>(history)]
}

#[inline]
fn place<const N: usize>(history: &History) -> f64 {
    let (low, high) = (lowest(history.low.last::<N>()), highest(history.high.last::<N>()));
    let close = history.close.ago::<0>();
    if high - low <= tie(close) { 0.5 } else { (close - low) / (high - low) }
}

/// The average price of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Vwap {
    /// The source has no turnover.
    Unknown,
    /// Not between the session's prices, 2 % allowed: an index, or a wrong unit.
    Outside,
    /// Turnover / volume, yuan a share.
    Price(f64),
}

impl Vwap {
    #[inline]
    pub(crate) fn of(session: &Turnover) -> Vwap {
        let Some(amount) = session.amount else { return Vwap::Unknown };
        let price = amount / session.vol;
        let inside = price >= VWAP_LOW * session.low && price <= VWAP_HIGH * session.high;
        if inside { Vwap::Price(price) } else { Vwap::Outside }
    }

    /// `vwap_gap`: raw close / average price − 1; 0 without a price to compare with, null without turnover.
    #[inline]
    pub(crate) fn gap(self, close: f64) -> f64 {
        match self {
            Vwap::Unknown => crate::row::NULL,
            Vwap::Outside => 0.0,
            Vwap::Price(price) => close / price - 1.0,
        }
    }
}

/// `limit_state`, `is_st`, `susp_gap`: 1 at the upper price limit, −1 at the lower one; 1 under special treatment; sessions
/// skipped before this bar. What is unknown is 0.
#[inline]
pub(crate) fn rules(bar: &Traded) -> [f64; 3] {
    let Rules { st, buy_limit, sell_limit, half_tick } = bar.rules;
    let at_upper = buy_limit.is_some_and(|limit| limit > 0.0 && bar.close >= limit - half_tick);
    let at_lower = sell_limit.is_some_and(|limit| limit > 0.0 && bar.close <= limit + half_tick);
    let state = match (at_upper, at_lower) {
        (true, _) => 1.0,
        (false, true) => -1.0,
        (false, false) => 0.0,
    };
    [state, f64::from(st == Some(true)), f64::from(bar.sessions_missed.min(GAP_SESSIONS_MAX))]
}
