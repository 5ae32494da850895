//! How far prices move: Bollinger's band, volatility, the ranges of bars. Knows series; must not know the order of
//! features.

use crate::{
    average::Wilder,
    bar::tie,
    history::History,
    save::{Reader, Save, SnapshotError},
    window::{Scatter, mean},
};

/// `boll_upper`, `boll_lower`, `boll_pctb`, `boll_width`: 20 closes, two deviations of the population (ddof = 0, as TA-Lib;
/// 通达信 divides by n − 1, a band 2.6 % wider). In a flat run the close is in the middle: 0.5.
#[inline]
pub(crate) fn bollinger(history: &History, ma_20: f64) -> [f64; 4] {
    let close = history.close.ago::<0>();
    let sd = Scatter::of(history.close.last::<20>()).deviation::<20>();
    let (upper, lower) = (ma_20 + 2.0 * sd, ma_20 - 2.0 * sd);
    let position = if sd <= tie(close) { 0.5 } else { (close - lower) / (4.0 * sd) };
    [upper, lower, position, 4.0 * sd / ma_20]
}

/// `parkinson_20`: √(mean of ln(H/L)² over 20 bars / 4 ln 2).
#[inline]
pub(crate) fn parkinson(history: &History) -> f64 {
    (mean(history.range.last::<20>()) / (4.0 * std::f64::consts::LN_2)).sqrt()
}

/// `atr_14`: Wilder's average of the true range, first the mean of bars 1 to 14 (TA-Lib ATR; 通达信 has MA(TR, 14)).
#[derive(Debug, Clone)]
pub(crate) struct Atr(Wilder<14>);

impl Atr {
    pub(crate) const fn new() -> Atr {
        Atr(Wilder::new())
    }

    #[inline]
    pub(crate) fn step(&mut self, true_range: f64) -> f64 {
        self.0.step(Some(true_range));
        self.0.get()
    }
}

impl Save for Atr {
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Wilder::load(reader).map(Atr)
    }
}
