//! Figures of a window of values: sum, mean, scatter, correlation, highest, lowest. Pure functions of the values and
//! their places; nothing is carried from one window to the next.
//!
//! That is the point: a running sum drifts, and after a spike of 1e14 shares it is wrong for ever; a fresh one costs a
//! few nanoseconds. Each window is summed in four lanes by place, oldest first, so a window gives the same bits whatever
//! came before it: in a batch, live, or after a restart.

/// Lanes of a sum: as many additions as do not wait for each other.
const LANES: usize = 4;

/// Folds a window in four lanes: `step` takes a lane and a value, `join` two lanes.
#[inline]
fn fold<const N: usize>(
    from: f64,
    window: &[f64; N],
    step: impl Fn(f64, f64) -> f64,
    join: impl Fn(f64, f64) -> f64,
) -> f64 {
    let mut lanes = [from; LANES];
    let (rows, rest) = window.as_chunks::<LANES>();
    for row in rows {
        for (lane, &value) in lanes.iter_mut().zip(row) {
            *lane = step(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, value);
    }
    join(join(lanes[0], lanes[2]), join(lanes[1], lanes[3]))
}

/// Σ x.
#[inline]
pub(crate) fn sum<const N: usize>(window: &[f64; N]) -> f64 {
    fold(0.0, window, |lane, value| lane + value, |a, b| a + b)
}

/// Σ |x|.
#[inline]
pub(crate) fn sum_abs<const N: usize>(window: &[f64; N]) -> f64 {
    fold(0.0, window, |lane, value| lane + value.abs(), |a, b| a + b)
}

/// Σ max(x, 0).
#[inline]
pub(crate) fn sum_positive<const N: usize>(window: &[f64; N]) -> f64 {
    fold(0.0, window, |lane, value| lane + if value > 0.0 { value } else { 0.0 }, |a, b| a + b)
}

/// Σ x / n.
#[inline]
pub(crate) fn mean<const N: usize>(window: &[f64; N]) -> f64 {
    sum(window) / count::<N>()
}

/// The highest value.
#[inline]
pub(crate) fn highest<const N: usize>(window: &[f64; N]) -> f64 {
    let max = |a: f64, b: f64| if b > a { b } else { a };
    fold(f64::NEG_INFINITY, window, max, max)
}

/// The lowest value.
#[inline]
pub(crate) fn lowest<const N: usize>(window: &[f64; N]) -> f64 {
    let min = |a: f64, b: f64| if b < a { b } else { a };
    fold(f64::INFINITY, window, min, min)
}

/// A window's mean and the squares of its distances from it, in two passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scatter {
    /// Σ x / n.
    pub(crate) mean: f64,
    /// Σ (x − mean)².
    pub(crate) squares: f64,
}

impl Scatter {
    #[inline]
    pub(crate) fn of<const N: usize>(window: &[f64; N]) -> Scatter {
        let mean = mean(window);
        let square = |lane: f64, value: f64| lane + (value - mean) * (value - mean);
        Scatter { mean, squares: fold(0.0, window, square, |a, b| a + b) }
    }

    /// Standard deviation of the population (ddof = 0) of `N` values.
    #[inline]
    pub(crate) fn deviation<const N: usize>(self) -> f64 {
        (self.squares / count::<N>()).sqrt()
    }
}

/// Pearson's correlation of two windows of known scatter; 0 if either does not scatter (Σ of squares ≤ 1e-24).
#[inline]
pub(crate) fn correlation<const N: usize>(x: &[f64; N], y: &[f64; N], sx: Scatter, sy: Scatter) -> f64 {
    const SQUARES_MIN: f64 = 1e-24;
    if sx.squares <= SQUARES_MIN || sy.squares <= SQUARES_MIN {
        return 0.0;
    }
    let mut products = [0.0; N];
    for ((product, x), y) in products.iter_mut().zip(x).zip(y) {
        *product = (x - sx.mean) * (y - sy.mean);
    }
    (sum(&products) / (sx.squares * sy.squares).sqrt()).clamp(-1.0, 1.0)
}

/// The length of a window as a number.
#[inline]
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "windows are far shorter than 2⁵²")]
const fn count<const N: usize>() -> f64 {
    N as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-15 * want.abs().max(1.0), "{got} is not {want}");
    }

    #[test]
    fn figures_of_a_window_are_those_of_the_textbook() {
        let x = [1.0, -2.0, 3.0, -4.0, 5.0];
        near(sum(&x), 3.0);
        near(sum_abs(&x), 15.0);
        near(sum_positive(&x), 9.0);
        near(mean(&x), 0.6);
        near(highest(&x), 5.0);
        near(lowest(&x), -4.0);
        near(Scatter::of(&x).squares, 53.2);
        near(Scatter::of(&x).deviation::<5>(), (53.2f64 / 5.0).sqrt());
        let y = x.map(|value| 7.0 - 2.0 * value);
        near(correlation(&x, &y, Scatter::of(&x), Scatter::of(&y)), -1.0);
    }

    #[test]
    fn a_window_without_scatter_correlates_with_nothing() {
        let (flat, x) = ([0.1; 5], [1.0, 2.0, 3.0, 4.0, 5.0]);
        let got = correlation(&flat, &x, Scatter::of(&flat), Scatter::of(&x));
        assert_eq!(got.to_bits(), 0f64.to_bits());
    }
}
