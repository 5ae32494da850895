//! Averages that remember everything a little: the exponential one and Wilder's. Each is one number; the only state of the
//! kernel, besides the last bars, that depends on where a history began.

use crate::save::{Reader, Save, SnapshotError};

/// Averages of movements that are smaller than this, and more than nothing, lose their digits as they go on to shrink; what
/// is asked of them is a ratio, which no bar without movement changes. It takes thousands of such bars.
const FADED: f64 = 1e-200;

/// Whether movements have been none for so long that only the ratio of their averages means something.
#[inline]
pub(crate) fn is_faded(movement: f64) -> bool {
    movement > 0.0 && movement < FADED
}

/// EMA(x, n): e = e' + (x − e')·2/(n + 1), starting at the first value, as 通达信, 同花顺 and
/// `pandas.ewm(span=n, adjust=False)` have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ema<const N: u32>(Option<f64>);

impl<const N: u32> Ema<N> {
    pub(crate) const fn new() -> Self {
        Ema(None)
    }

    #[inline]
    pub(crate) fn step(&mut self, value: f64) -> f64 {
        let weight = 2.0 / (f64::from(N) + 1.0);
        let next = self.0.map_or(value, |last| last + (value - last) * weight);
        self.0 = Some(next);
        next
    }
}

impl<const N: u32> Save for Ema<N> {
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Option::load(reader).map(Ema)
    }
}

/// SMA(x, n, 1) of the Chinese programs: s = s' + (x − s')/n, starting at the first value;
/// `pandas.ewm(alpha=1/n, adjust=False)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Smooth<const N: u32>(Option<f64>);

impl<const N: u32> Smooth<N> {
    pub(crate) const fn new() -> Self {
        Smooth(None)
    }

    /// The average; 0 before the first value.
    #[inline]
    pub(crate) fn get(&self) -> f64 {
        self.0.unwrap_or(0.0)
    }

    #[inline]
    pub(crate) fn step(&mut self, value: f64) -> f64 {
        let next = self.0.map_or(value, |last| last + (value - last) / f64::from(N));
        self.0 = Some(next);
        next
    }
}

impl<const N: u32> Save for Smooth<N> {
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Option::load(reader).map(Smooth)
    }
}

/// Wilder's average, as TA-Lib seeds it: the mean of the first `N` values, then a = ((N − 1)·a' + x)/N. Null until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wilder<const N: u32> {
    seen: u32,
    value: f64,
}

impl<const N: u32> Wilder<N> {
    pub(crate) const fn new() -> Self {
        Wilder { seen: 0, value: 0.0 }
    }

    /// Takes the next value; `None` leaves the average as it is but counts as a value of the seed.
    #[inline]
    pub(crate) fn step(&mut self, value: Option<f64>) {
        let n = f64::from(N);
        if self.seen < N {
            self.seen += 1;
            self.value += value.unwrap_or(0.0);
            if self.seen == N {
                self.value /= n;
            }
        } else if let Some(value) = value {
            self.value = ((n - 1.0) * self.value + value) / n;
        }
    }

    /// The average; means nothing before the `N`th value.
    #[inline]
    pub(crate) fn get(&self) -> f64 {
        self.value
    }
}

impl<const N: u32> Save for Wilder<N> {
    fn save(&self, out: &mut Vec<u8>) {
        self.seen.save(out);
        self.value.save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Wilder { seen: u32::load(reader)?, value: f64::load(reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-15, "{got} is not {want}");
    }

    #[test]
    fn the_first_value_is_the_seed_of_an_exponential_average() {
        let mut ema = Ema::<3>::new();
        near(ema.step(4.0), 4.0);
        near(ema.step(2.0), 3.0);
        let mut smooth = Smooth::<4>::new();
        near(smooth.step(4.0), 4.0);
        near(smooth.step(2.0), 3.5);
    }

    #[test]
    fn the_mean_is_the_seed_of_wilders() {
        let mut wilder = Wilder::<2>::new();
        wilder.step(Some(1.0));
        wilder.step(Some(3.0));
        near(wilder.get(), 2.0);
        wilder.step(Some(4.0));
        near(wilder.get(), 3.0);
        wilder.step(None);
        near(wilder.get(), 3.0);
    }
}
