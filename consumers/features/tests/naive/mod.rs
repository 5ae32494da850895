//! A kernel as one writes it first: running sums that add the new value and take the old one away, and E\[x²\] − mean².
//! It replaces the window features of rows that are right, so that the gate judges nothing but the sums.

use std::collections::VecDeque;

use sqep_features::list::LIST;

use crate::common::{Cells, Golden};

/// A window's sum: kept up, or summed anew.
trait Sum {
    fn new(length: usize) -> Self;
    fn push(&mut self, value: f64) -> f64;
}

/// Adds what comes and takes away what goes.
struct Running {
    length: usize,
    values: VecDeque<f64>,
    sum: f64,
}

impl Sum for Running {
    fn new(length: usize) -> Running {
        Running { length, values: VecDeque::new(), sum: 0.0 }
    }

    fn push(&mut self, value: f64) -> f64 {
        self.values.push_back(value);
        self.sum += value;
        if self.values.len() > self.length {
            self.sum -= self.values.pop_front().unwrap();
        }
        self.sum
    }
}

/// Sums the window each time.
struct Fresh {
    length: usize,
    values: VecDeque<f64>,
}

impl Sum for Fresh {
    fn new(length: usize) -> Fresh {
        Fresh { length, values: VecDeque::new() }
    }

    fn push(&mut self, value: f64) -> f64 {
        self.values.push_back(value);
        if self.values.len() > self.length {
            self.values.pop_front();
        }
        self.values.iter().sum()
    }
}

pub(crate) fn with_running_sums(golden: &[Golden], good: &[Cells]) -> Vec<Cells> {
    with::<Running>(golden, good, true)
}

pub(crate) fn with_fresh_sums(golden: &[Golden], good: &[Cells]) -> Vec<Cells> {
    with::<Fresh>(golden, good, false)
}

/// Replaces the columns whose sums `S` keeps; where `squares`, also those of variances by E\[x²\] − mean².
fn with<S: Sum>(golden: &[Golden], good: &[Cells], squares: bool) -> Vec<Cells> {
    let mut sums = Sums::<S>::new();
    let mut previous: Option<(f64, f64)> = None;
    let mut rows = good.to_vec();
    for (bar, row) in golden.iter().zip(&mut rows) {
        let factor = bar.facts.adjust.unwrap();
        let (close, vol) = (bar.close * factor, bar.vol / factor);
        let mut put = |name: &str, value: f64| {
            let at = LIST.iter().position(|feature| feature.name == name).unwrap();
            row[at] = row[at].map(|_| value);
        };
        let ma = sums.close.push(close) / 20.0;
        let variance = (sums.close_squared.push(close * close) / 20.0 - ma * ma).max(0.0);
        put("ma_20", ma);
        put("bias_20", close / ma - 1.0);
        if squares {
            let sd = variance.sqrt();
            put("boll_pctb", if sd <= 1e-9 * close { 0.5 } else { (close - ma + 2.0 * sd) / (4.0 * sd) });
            put("boll_width", 4.0 * sd / ma);
        }
        let before = sums.before;
        sums.before = sums.vol_5.push(vol);
        put("vol_ratio_5", 5.0 * vol / before);
        let traded = sums.vol_20.push(vol);
        if let Some((last_close, last_vol)) = previous {
            let change = close - last_close;
            let sign = if change.abs() <= 1e-9 * close { 0.0 } else { change.signum() };
            put("obv_ratio_20", sums.signed.push(sign * vol) / traded);
            let (x, y) = (close / last_close - 1.0, (vol / last_vol).ln());
            let pushed = [x, y, x * x, y * y, x * y];
            let mut mean = [0.0; 5];
            for ((mean, sum), value) in mean.iter_mut().zip(&mut sums.products).zip(pushed) {
                *mean = sum.push(value) / 20.0;
            }
            let [mx, my, mxx, myy, mxy] = mean;
            let (vx, vy) = (mxx - mx * mx, myy - my * my);
            if squares {
                let flat = 20.0 * vx <= 1e-24 || 20.0 * vy <= 1e-24;
                put("pv_corr_20", if flat { 0.0 } else { (mxy - mx * my) / (vx * vy).sqrt() });
            }
        }
        previous = Some((close, vol));
    }
    rows
}

struct Sums<S> {
    close: S,
    close_squared: S,
    vol_5: S,
    vol_20: S,
    signed: S,
    products: [S; 5],
    /// Σ V over the five bars before.
    before: f64,
}

impl<S: Sum> Sums<S> {
    fn new() -> Sums<S> {
        Sums {
            close: S::new(20),
            close_squared: S::new(20),
            vol_5: S::new(5),
            vol_20: S::new(20),
            signed: S::new(20),
            products: std::array::from_fn(|_| S::new(20)),
            before: 0.0,
        }
    }
}
