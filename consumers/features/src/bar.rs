//! What the kernel takes: one traded bar with what is known of its day. Knows which numbers it refuses and how prices
//! are adjusted; must not know days, symbols or where a bar came from.

/// Prices, factors and volumes outside these bounds are refused: inside them no product or square of ours overflows.
pub const PRICE_YUAN_MAX: f64 = 1e9;
/// See [`PRICE_YUAN_MAX`].
pub const PRICE_YUAN_MIN: f64 = 1e-6;
/// The largest back-adjust factor.
pub const FACTOR_MAX: f64 = 1e9;
/// The smallest back-adjust factor.
pub const FACTOR_MIN: f64 = 1e-9;
/// The largest volume of a bar.
pub const VOL_SHARES_MAX: f64 = 1e18;
/// The smallest volume of a bar: less is no trade.
pub const VOL_SHARES_MIN: f64 = 1e-6;
/// The largest turnover.
pub const AMOUNT_YUAN_MAX: f64 = 1e24;

/// Two prices closer than this part of the price are equal. Prices come in ticks and tie often; adjusted, they tie but
/// for the last bit, and MFI differed by 17 points between two right ways to compute it.
const TIE: f64 = 1e-9;

/// The largest change or range that counts as none at this price.
#[inline]
pub(crate) fn tie(price: f64) -> f64 {
    TIE * price
}

/// One traded bar. Prices are raw yuan, volume shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traded {
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Volume, shares, above zero: a bar without trade is no bar here.
    pub vol: f64,
    /// Cumulative back-adjust factor: adjusted price = raw × factor, adjusted volume = raw / factor. `None` if unknown:
    /// what goes before and what follows cannot be compared.
    pub factor: Option<f64>,
    /// What was traded since the session began: of a day bar the bar itself.
    pub session: Turnover,
    /// The day's limits and treatment.
    pub rules: Rules,
    /// Sessions of the exchange between the previous traded bar's day and this one's.
    pub sessions_missed: u32,
}

/// Turnover and volume of a session so far, and the prices between which its average must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turnover {
    /// Yuan; `None` if the source has none.
    pub amount: Option<f64>,
    /// Shares.
    pub vol: f64,
    /// Lowest raw price.
    pub low: f64,
    /// Highest raw price.
    pub high: f64,
}

/// What the exchange decided for a security and a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Under special treatment; `None` if unknown.
    pub st: Option<bool>,
    /// Upper price limit, raw yuan; `None` if there is none or it is unknown.
    pub buy_limit: Option<f64>,
    /// Lower price limit, raw yuan.
    pub sell_limit: Option<f64>,
    /// Half the smallest step of a price, yuan: 0.005 for shares, 0.0005 for funds.
    pub half_tick: f64,
}

/// A bar the kernel does not take; its state is as before.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refused {
    /// NaN, infinite, not positive, or too large to square. One such number would poison every later row.
    #[error("{field} is {value}, not between {min:e} and {max:e}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The least that is taken.
        min: f64,
        /// The most that is taken.
        max: f64,
    },
    /// low ≤ open, close ≤ high does not hold.
    #[error("low {low} and high {high} do not hold open {open} and close {close}")]
    Order {
        /// First price.
        open: f64,
        /// Highest price.
        high: f64,
        /// Lowest price.
        low: f64,
        /// Last price.
        close: f64,
    },
}

fn range(field: &'static str, value: f64, min: f64, max: f64) -> Result<(), Refused> {
    if value >= min && value <= max { Ok(()) } else { Err(Refused::Range { field, value, min, max }) }
}

impl Traded {
    /// Judges every number.
    pub fn check(&self) -> Result<(), Refused> {
        let Traded { open, high, low, close, .. } = *self;
        for (field, price) in [("open", open), ("high", high), ("low", low), ("close", close)] {
            range(field, price, PRICE_YUAN_MIN, PRICE_YUAN_MAX)?;
        }
        if open.min(close) < low || open.max(close) > high {
            return Err(Refused::Order { open, high, low, close });
        }
        range("vol", self.vol, VOL_SHARES_MIN, VOL_SHARES_MAX)?;
        range("adjust", self.factor.unwrap_or(1.0), FACTOR_MIN, FACTOR_MAX)?;
        range("amount", self.session.amount.unwrap_or(0.0), 0.0, AMOUNT_YUAN_MAX)
    }

    /// The bar in adjusted prices and shares, if its factor is known.
    #[inline]
    pub(crate) fn adjusted(&self) -> Option<Adjusted> {
        let factor = self.factor?;
        Some(Adjusted {
            open: self.open * factor,
            high: self.high * factor,
            low: self.low * factor,
            close: self.close * factor,
            vol: self.vol / factor,
        })
    }
}

/// A bar in adjusted prices and shares: comparable with every other bar of its symbol. Price × volume is still money.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adjusted {
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    pub(crate) vol: f64,
}
