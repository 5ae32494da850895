//! One traded bar in, one row of 45 out. Knows the order of the features and what a row needs; must not know days, clocks,
//! files or streams.
//!
//! O(1) a bar, a bounded state a symbol. The state is the last 61 bars, from which all windows are computed afresh, and a
//! handful of averages that reach back further. Saved and restored at any bar it goes on with the same bits.

use crate::{
    bar::{Adjusted, Refused, Traded},
    candle::{Vwap, places, rules, shape},
    history::History,
    list::{COUNT, LIST, VALID_FROM, WARM_UP_MAX, place},
    oscillator::{Kdj, Rsi, money_flow},
    row::{NULL, Row},
    save::{Reader, Save, SnapshotError},
    spread::{Atr, bollinger, parkinson},
    trend::{Adx, Macd, averages, returns},
    volume::{on_balance, ratios, return_figures},
};

/// Places of what the bar alone decides.
const VWAP_GAP: usize = place("vwap_gap");
const SHAPE: usize = place("upper_shadow");
const RULES: usize = place("limit_state");

/// The state of one symbol and one length of bar.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Bars since the history began.
    bars: u32,
    history: History,
    macd: Macd,
    adx: Adx,
    rsi: (Rsi<6>, Rsi<12>, Rsi<24>),
    kdj: Kdj,
    atr: Atr,
}

/// What a bar and its day alone decide: never null for want of a factor or of a past.
#[derive(Debug, Clone, Copy)]
struct Alone {
    vwap: Vwap,
    vwap_gap: f64,
    shape: [f64; 3],
    rules: [f64; 3],
}

impl Alone {
    #[inline]
    fn of(bar: &Traded) -> Alone {
        let vwap = Vwap::of(&bar.session);
        Alone { vwap, vwap_gap: vwap.gap(bar.close), shape: shape(bar), rules: rules(bar) }
    }
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel::new()
    }
}

impl Kernel {
    /// A symbol without a past.
    pub fn new() -> Kernel {
        Kernel {
            bars: 0,
            history: History::new(),
            macd: Macd::new(),
            adx: Adx::new(),
            rsi: (Rsi::new(), Rsi::new(), Rsi::new()),
            kdj: Kdj::new(),
            atr: Atr::new(),
        }
    }

    /// Bars since the history began: what came before a bar without a factor is forgotten.
    pub fn bars(&self) -> u32 {
        self.bars
    }

    /// Takes the next traded bar and gives its row. A bar that is refused changes nothing.
    ///
    /// A bar without a factor cannot be compared with any other: its row holds what the bar alone decides, all else is null,
    /// and the next bar begins a new history. A factor is never carried over.
    pub fn push(&mut self, bar: &Traded) -> Result<Row, Refused> {
        bar.check()?;
        let alone = Alone::of(bar);
        let Some(now) = bar.adjusted() else {
            *self = Kernel::new();
            return Ok(self.row([NULL; COUNT], &alone));
        };
        let mut values = self.step(&now);
        if self.bars < WARM_UP_MAX {
            self.hide(&mut values);
        }
        let row = self.row(values, &alone);
        self.bars = self.bars.saturating_add(1);
        Ok(row)
    }

    /// Nulls what has not seen its bars yet.
    #[cold]
    fn hide(&self, values: &mut [f64; COUNT]) {
        for (value, feature) in values.iter_mut().zip(&LIST) {
            if self.bars < feature.warm_up {
                *value = NULL;
            }
        }
    }

    /// Completes a row by what the bar alone decides.
    #[inline]
    fn row(&self, mut values: [f64; COUNT], alone: &Alone) -> Row {
        const { assert!(SHAPE + 2 == place("close_pos") && RULES + 2 == place("susp_gap")) };
        values[VWAP_GAP] = alone.vwap_gap;
        values[SHAPE..SHAPE + 3].copy_from_slice(&alone.shape);
        values[RULES..RULES + 3].copy_from_slice(&alone.rules);
        Row::new(values, self.bars >= VALID_FROM, alone.vwap == Vwap::Outside)
    }

    /// Everything that needs the past, in the order of the list.
    #[inline]
    fn step(&mut self, now: &Adjusted) -> [f64; COUNT] {
        let Kernel { history, macd, adx, rsi, kdj, atr, .. } = self;
        let close = now.close;
        let step = history.push(now);
        let [ret_1, ret_5, ret_10, ret_20, ret_60] = returns(history);
        let [ma_5, ma_10, ma_20, ma_60] = averages(history);
        let macd = macd.step(close);
        let [boll_upper, boll_lower, boll_pctb, boll_width] = bollinger(history, ma_20);
        let [kdj_k, kdj_d, kdj_j] = kdj.step(history);
        let [vol_ratio_5, vol_ratio_20] = ratios(history);
        let [volatility_20, pv_corr_20] = return_figures(history);
        let [pos_20, pos_60] = places(history);
        let moved = step.map_or([NULL; 7], |step| {
            let amplitude = (now.high - now.low) / step.close;
            let [rsi_6, rsi_12, rsi_24] =
                [rsi.0.step(step.change), rsi.1.step(step.change), rsi.2.step(step.change)];
            let adx = adx.step(&step, close);
            [now.open / step.close - 1.0, adx, rsi_6, rsi_12, rsi_24, atr.step(step.true_range), amplitude]
        });
        let [gap_open, adx_14, rsi_6, rsi_12, rsi_24, atr_14, amplitude] = moved;
        [
            [ret_1, ret_5, ret_10, ret_20, ret_60],
            [gap_open, ma_5, ma_10, ma_20, ma_60],
            [macd.fast, macd.slow, close / ma_20 - 1.0, adx_14, macd.dif],
            [macd.dea, macd.hist, rsi_6, rsi_12, rsi_24],
            [boll_upper, boll_lower, boll_pctb, boll_width, kdj_k],
            [kdj_d, kdj_j, atr_14, volatility_20, parkinson(history)],
            [amplitude, vol_ratio_5, vol_ratio_20, on_balance(history), money_flow(history)],
            [NULL, pv_corr_20, NULL, NULL, NULL],
            [pos_20, pos_60, NULL, NULL, NULL],
        ]
        .as_flattened()
        .try_into()
        .unwrap_or([NULL; COUNT])
    }
}

impl Save for Kernel {
    fn save(&self, out: &mut Vec<u8>) {
        self.bars.save(out);
        self.history.save(out);
        self.macd.save(out);
        self.adx.save(out);
        self.rsi.0.save(out);
        self.rsi.1.save(out);
        self.rsi.2.save(out);
        self.kdj.save(out);
        self.atr.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Kernel {
            bars: u32::load(reader)?,
            history: History::load(reader)?,
            macd: Macd::load(reader)?,
            adx: Adx::load(reader)?,
            rsi: (Rsi::load(reader)?, Rsi::load(reader)?, Rsi::load(reader)?),
            kdj: Kdj::load(reader)?,
            atr: Atr::load(reader)?,
        })
    }
}
