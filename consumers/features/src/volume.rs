//! How much is traded: volume against its past, with and against prices. Knows series; must not know the order of features.

use crate::{
    history::History,
    window::{Scatter, correlation, mean, sum},
};

/// `vol_ratio_5`, `vol_ratio_20`: V / mean of V over the n bars **before**: 量比 on day bars (TA-Lib RVOL).
#[inline]
pub(crate) fn ratios(history: &History) -> [f64; 2] {
    let [before @ .., now] = history.vol.last::<21>();
    let nearest: &[f64; 5] = before.last_chunk().unwrap_or(const { &[0.0; 5] });
    [now / mean(nearest), now / mean(before)]
}

/// `obv_ratio_20`: Σ sign(C − C')·V / Σ V over 20 bars, −1 to 1. On-balance volume itself depends on where a history
/// begins.
#[inline]
pub(crate) fn on_balance(history: &History) -> f64 {
    sum(history.signed_vol.last::<20>()) / sum(history.vol.last::<20>())
}

/// `volatility_20`, `pv_corr_20`: deviation of the last 20 returns (ddof = 0, not a year's), and their correlation with the
/// growth of volume, ln(V/V'); 0 if either stands still.
#[inline]
pub(crate) fn return_figures(history: &History) -> [f64; 2] {
    let (ret, growth) = (history.ret.last::<20>(), history.vol_growth.last::<20>());
    let scatter = Scatter::of(ret);
    [scatter.deviation::<20>(), correlation(ret, growth, scatter, Scatter::of(growth))]
}
