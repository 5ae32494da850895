//! RSI, KDJ and MFI: where a price stands between the strength of gains and of losses, 0 to 100. Knows series; must not
//! know the order of features.

use crate::{
    average::{Smooth, is_faded},
    bar::tie,
    history::History,
    save::{Reader, Save, SnapshotError},
    window::{highest, lowest, sum_abs, sum_positive},
};

/// Where gains and losses are equal, or there are none.
const MIDDLE: f64 = 50.0;

/// `rsi_n` as 通达信 and 同花顺 show it: 100·SMA(max(d, 0), n, 1)/SMA(|d|, n, 1) with d = C − C', both starting at the first
/// change; 50 without any change.
#[derive(Debug, Clone)]
pub(crate) struct Rsi<const N: u32> {
    gains: Smooth<N>,
    changes: Smooth<N>,
}

impl<const N: u32> Rsi<N> {
    pub(crate) const fn new() -> Self {
        Rsi { gains: Smooth::new(), changes: Smooth::new() }
    }

    #[inline]
    pub(crate) fn step(&mut self, change: f64) -> f64 {
        if change != 0.0 || !is_faded(self.changes.get()) {
            self.gains.step(if change > 0.0 { change } else { 0.0 });
            self.changes.step(change.abs());
        }
        let (gains, changes) = (self.gains.get(), self.changes.get());
        if changes > 0.0 { (100.0 * gains / changes).min(100.0) } else { MIDDLE }
    }
}

impl<const N: u32> Save for Rsi<N> {
    fn save(&self, out: &mut Vec<u8>) {
        self.gains.save(out);
        self.changes.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Rsi { gains: Smooth::load(reader)?, changes: Smooth::load(reader)? })
    }
}

/// Bars of the range KDJ looks at.
const KDJ_BARS: u32 = 9;

/// `kdj_k`, `kdj_d`, `kdj_j`, 9, 3, 3 as 通达信 and 同花顺 show it: RSV = 100·(C − LLV9)/(HHV9 − LLV9), 50 if flat;
/// K = (2K' + RSV)/3, D = (2D' + K)/3, J = 3K − 2D; K and D are 50 before the first range.
#[derive(Debug, Clone)]
pub(crate) struct Kdj {
    bars: u32,
    k: f64,
    d: f64,
}

impl Kdj {
    pub(crate) const fn new() -> Kdj {
        Kdj { bars: 0, k: MIDDLE, d: MIDDLE }
    }

    #[inline]
    pub(crate) fn step(&mut self, history: &History) -> [f64; 3] {
        self.bars = self.bars.saturating_add(1);
        if self.bars >= KDJ_BARS {
            self.k = (2.0 * self.k + raw_stochastic(history)) / 3.0;
            self.d = (2.0 * self.d + self.k) / 3.0;
        }
        [self.k, self.d, 3.0 * self.k - 2.0 * self.d]
    }
}

/// 100·(C − LLV9)/(HHV9 − LLV9).
#[inline]
fn raw_stochastic(history: &History) -> f64 {
    let (low, high) = (lowest(history.low.last::<9>()), highest(history.high.last::<9>()));
    let close = history.close.ago::<0>();
    if high - low <= tie(close) { MIDDLE } else { 100.0 * (close - low) / (high - low) }
}

impl Save for Kdj {
    fn save(&self, out: &mut Vec<u8>) {
        self.bars.save(out);
        self.k.save(out);
        self.d.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Kdj { bars: u32::load(reader)?, k: f64::load(reader)?, d: f64::load(reader)? })
    }
}

/// `mfi_14`: 100·(money of rising bars)/(money of rising and falling bars) over 14 changes of the typical price; 50 if none
/// (TA-Lib MFI, which has 0 there).
#[inline]
pub(crate) fn money_flow(history: &History) -> f64 {
    let flow = history.flow.last::<14>();
    let moved = sum_abs(flow);
    if moved > 0.0 { 100.0 * sum_positive(flow) / moved } else { MIDDLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_stands_still_for_ever_keeps_its_rsi() {
        let mut rsi = Rsi::<6>::new();
        let before = [0.01, -0.02, 0.03, -0.01, 0.0].map(|change| rsi.step(change))[4];
        assert!(before > 20.0 && before < 80.0);
        for _ in 0..20_000 {
            let now = rsi.step(0.0);
            assert!((now - before).abs() < 1e-9, "{now} is not {before}");
        }
        assert!(rsi.step(0.01) > 99.0 && rsi.step(-0.01) < 50.0, "the next movement counts");
        let mut still = Rsi::<6>::new();
        assert_eq!((0..9).map(|_| still.step(0.0)).collect::<Vec<_>>(), [MIDDLE; 9]);
    }
}
