//! Where a price came from and stands: returns, averages, MACD and ADX. Knows series; must not know the order of features.

use crate::{
    average::{Ema, Wilder, is_faded},
    bar::tie,
    history::{History, Step},
    save::{Reader, Save, SnapshotError},
    window::mean,
};

/// `ret_1`, `ret_5`, `ret_10`, `ret_20`, `ret_60`: C/C[−k] − 1 (TA-Lib ROCP).
#[inline]
pub(crate) fn returns(history: &History) -> [f64; 5] {
    let close = &history.close;
    let now = close.ago::<0>();
    let before =
        [close.ago::<1>(), close.ago::<5>(), close.ago::<10>(), close.ago::<20>(), close.ago::<60>()];
    before.map(|before| now / before - 1.0)
}

/// `ma_5`, `ma_10`, `ma_20`, `ma_60`: mean of the last n closes (TA-Lib SMA).
#[inline]
pub(crate) fn averages(history: &History) -> [f64; 4] {
    let close = &history.close;
    [mean(close.last::<5>()), mean(close.last::<10>()), mean(close.last::<20>()), mean(close.last::<60>())]
}

/// MACD 12, 26, 9 as 通达信 and 同花顺 show it: averages start at the first close, the bar is doubled.
#[derive(Debug, Clone)]
pub(crate) struct Macd {
    fast: Ema<12>,
    slow: Ema<26>,
    signal: Ema<9>,
}

/// One step of [`Macd`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct MacdStep {
    /// `ema_12`.
    pub(crate) fast: f64,
    /// `ema_26`.
    pub(crate) slow: f64,
    /// `macd_dif`: EMA12 − EMA26.
    pub(crate) dif: f64,
    /// `macd_dea`: EMA9 of dif.
    pub(crate) dea: f64,
    /// `macd_hist`: 2·(dif − dea).
    pub(crate) hist: f64,
}

impl Macd {
    pub(crate) const fn new() -> Macd {
        Macd { fast: Ema::new(), slow: Ema::new(), signal: Ema::new() }
    }

    #[inline]
    pub(crate) fn step(&mut self, close: f64) -> MacdStep {
        let (fast, slow) = (self.fast.step(close), self.slow.step(close));
        let dif = fast - slow;
        let dea = self.signal.step(dif);
        MacdStep { fast, slow, dif, dea, hist: 2.0 * (dif - dea) }
    }
}

impl Save for Macd {
    fn save(&self, out: &mut Vec<u8>) {
        self.fast.save(out);
        self.slow.save(out);
        self.signal.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Macd { fast: Ema::load(reader)?, slow: Ema::load(reader)?, signal: Ema::load(reader)? })
    }
}

/// Changes after which Wilder's sums of directional movement are first smoothed.
const SEED: u32 = 13;

/// `adx_14`, Wilder's directional index with the seeding of TA-Lib: movements of bars 1 to 13 are summed, from bar 14 on
/// s = s' − s'/14 + x; DX = 100·|+DM − −DM|/(+DM + −DM) (the true range cancels); ADX is the mean of the DX of bars 14 to
/// 27, then (13a' + DX)/14. Two movements that tie cancel; a DX without any movement is left out.
#[derive(Debug, Clone)]
pub(crate) struct Adx {
    seen: u32,
    plus: f64,
    minus: f64,
    index: Wilder<14>,
}

impl Adx {
    pub(crate) const fn new() -> Adx {
        Adx { seen: 0, plus: 0.0, minus: 0.0, index: Wilder::new() }
    }

    #[inline]
    pub(crate) fn step(&mut self, step: &Step, close: f64) -> f64 {
        let tie = tie(close);
        let plus = if step.up > tie && step.up - step.down > tie { step.up } else { 0.0 };
        let minus = if step.down > tie && step.down - step.up > tie { step.down } else { 0.0 };
        if self.seen < SEED {
            self.seen += 1;
            self.plus += plus;
            self.minus += minus;
            return 0.0;
        }
        if plus + minus > 0.0 || !is_faded(self.plus + self.minus) {
            self.plus += plus - self.plus / 14.0;
            self.minus += minus - self.minus / 14.0;
        }
        let moved = self.plus + self.minus;
        let dx = 100.0 * (self.plus - self.minus).abs() / moved;
        self.index.step(if moved > 0.0 { Some(dx) } else { None });
        self.index.get()
    }
}

impl Save for Adx {
    fn save(&self, out: &mut Vec<u8>) {
        self.seen.save(out);
        self.plus.save(out);
        self.minus.save(out);
        self.index.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Adx {
            seen: u32::load(reader)?,
            plus: f64::load(reader)?,
            minus: f64::load(reader)?,
            index: Wilder::load(reader)?,
        })
    }
}
