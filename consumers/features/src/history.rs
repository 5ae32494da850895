//! The last bars of a symbol, as the series that windows are taken of. Knows what is derived from two neighbouring bars;
//! must not know any feature.
//!
//! Every feature of a window is a pure function of these series: two kernels that saw the same last 61 bars agree on it to
//! the bit, wherever they began.

use crate::{
    bar::{Adjusted, tie},
    ln::ln,
    ring::Ring,
    save::{Reader, Save, SnapshotError},
};

/// Bars of the longest window, and the one before it.
type Long = Ring<61, 96>;
/// Bars of the middle window, and the one before it.
type Middle = Ring<21, 48>;
/// Changes of the money flow.
type Short = Ring<14, 32>;

/// The last bars, and what two neighbours make.
#[derive(Debug, Clone)]
pub(crate) struct History {
    /// C, adjusted.
    pub(crate) close: Long,
    /// H, adjusted.
    pub(crate) high: Long,
    /// L, adjusted.
    pub(crate) low: Long,
    /// V, adjusted.
    pub(crate) vol: Middle,
    /// C/C' − 1.
    pub(crate) ret: Middle,
    /// ln(V/V').
    pub(crate) vol_growth: Middle,
    /// ln(H/L)².
    pub(crate) range: Middle,
    /// V with the sign of C − C'.
    pub(crate) signed_vol: Middle,
    /// Typical price × V with the sign of the typical price's change.
    pub(crate) flow: Short,
    /// (H + L + C)/3 of the newest bar.
    typical: Option<f64>,
}

/// What changed from the previous bar to this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// C'.
    pub(crate) close: f64,
    /// H − H'.
    pub(crate) up: f64,
    /// L' − L.
    pub(crate) down: f64,
    /// C − C', 0 if they tie.
    pub(crate) change: f64,
    /// max(H, C') − min(L, C').
    pub(crate) true_range: f64,
}

impl History {
    pub(crate) fn new() -> History {
        History {
            close: Ring::new(),
            high: Ring::new(),
            low: Ring::new(),
            vol: Ring::new(),
            ret: Ring::new(),
            vol_growth: Ring::new(),
            range: Ring::new(),
            signed_vol: Ring::new(),
            flow: Ring::new(),
            typical: None,
        }
    }

    /// Takes the next bar; tells what changed, `None` at the first.
    #[inline]
    pub(crate) fn push(&mut self, now: &Adjusted) -> Option<Step> {
        let step = self.typical.map(|typical| self.derive(now, typical));
        self.close.push(now.close);
        self.high.push(now.high);
        self.low.push(now.low);
        self.vol.push(now.vol);
        let range = ln(now.high / now.low);
        self.range.push(range * range);
        self.typical = Some(typical(now));
        step
    }

    /// Takes what the new bar makes with the one before it.
    #[inline]
    fn derive(&mut self, now: &Adjusted, typical_before: f64) -> Step {
        let close = self.close.ago::<0>();
        let change = now.close - close;
        let change = if change.abs() <= tie(now.close) { 0.0 } else { change };
        self.ret.push(now.close / close - 1.0);
        self.vol_growth.push(ln(now.vol / self.vol.ago::<0>()));
        self.signed_vol.push(signed(now.vol, change));
        let typical = typical(now);
        let moved = typical - typical_before;
        let moved = if moved.abs() <= tie(typical) { 0.0 } else { moved };
        self.flow.push(signed(typical * now.vol, moved));
        Step {
            close,
            up: now.high - self.high.ago::<0>(),
            down: self.low.ago::<0>() - now.low,
            change,
            true_range: now.high.max(close) - now.low.min(close),
        }
    }
}

/// (H + L + C)/3.
#[inline]
fn typical(bar: &Adjusted) -> f64 {
    (bar.high + bar.low + bar.close) / 3.0
}

/// A size with the sign of a change; 0 without one.
#[inline]
fn signed(size: f64, change: f64) -> f64 {
    if change > 0.0 {
        size
    } else if change < 0.0 {
        -size
    } else {
        0.0
    }
}

impl Save for History {
    fn save(&self, out: &mut Vec<u8>) {
        for long in [&self.close, &self.high, &self.low] {
            long.save(out);
        }
        for middle in [&self.vol, &self.ret, &self.vol_growth, &self.range, &self.signed_vol] {
            middle.save(out);
        }
        self.flow.save(out);
        self.typical.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(History {
            close: Ring::load(reader)?,
            high: Ring::load(reader)?,
            low: Ring::load(reader)?,
            vol: Ring::load(reader)?,
            ret: Ring::load(reader)?,
            vol_growth: Ring::load(reader)?,
            range: Ring::load(reader)?,
            signed_vol: Ring::load(reader)?,
            flow: Ring::load(reader)?,
            typical: Option::load(reader)?,
        })
    }
}
