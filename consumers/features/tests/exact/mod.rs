//! A hard series whose features are known exactly: an index that moves a tick a minute, in integers. Its variance is eleven
//! orders smaller than its square, and one bar trades 1e14 shares.

use sqep_features::{Facts, list::LIST};

use crate::common::{Cells, Golden};

/// Bars of the window.
const WINDOW: usize = 20;
/// Ticks a yuan.
const TICKS: f64 = 100.0;

/// Closes in ticks, from a seed: one step up, down or none a bar.
fn ticks(bars: usize) -> Vec<i64> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut tick = 300_000;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        tick += i64::try_from(state % 3).unwrap() - 1;
        tick
    };
    (0..bars).map(step).collect()
}

fn float(value: i64) -> f64 {
    f64::from(i32::try_from(value).unwrap())
}

/// The series; what its features must be is still empty.
pub(crate) fn series(bars: usize) -> Vec<Golden> {
    let closes = ticks(bars);
    let bar = |(at, &tick): (usize, &i64)| {
        let close = float(tick) / TICKS;
        let vol = if at == 40 { 1e14 } else { float(1000 + tick % 7) * 0.7 };
        let facts = Facts { adjust: Some(1.0), ..Facts::default() };
        let (low, high) = (close - 0.01, close + 0.01);
        let want = [None; 45];
        Golden { frame: String::new(), open: close, high, low, close, vol, amount: None, facts, want }
    };
    closes.iter().enumerate().map(bar).collect()
}

/// Rows of a kernel with `ma_20`, `bias_20` and Bollinger's features put in as integers give them.
pub(crate) fn with_exact(bars: &[Golden], rows: &[Cells]) -> Vec<Golden> {
    let closes = ticks(bars.len());
    let mut known = bars.to_vec();
    for (at, (bar, row)) in known.iter_mut().zip(rows).enumerate() {
        bar.want = *row;
        let Some(window) = (at + 1).checked_sub(WINDOW).map(|from| &closes[from..=at]) else { continue };
        let close = closes[at];
        for (name, value) in figures(window, close) {
            bar.want[LIST.iter().position(|feature| feature.name == name).unwrap()] = Some(value);
        }
    }
    known
}

/// n·Σx² − (Σx)² of distances from the close, without any rounding.
fn figures(window: &[i64], close: i64) -> [(&'static str, f64); 4] {
    let n = f64::from(u32::try_from(WINDOW).unwrap());
    let distances = window.iter().map(|tick| tick - close);
    let sum: i64 = distances.clone().sum();
    let squares: i64 = distances.map(|distance| distance * distance).sum();
    let scatter = i64::try_from(WINDOW).unwrap() * squares - sum * sum;
    let sd = float(scatter).sqrt() / n;
    let above = -float(sum) / n;
    let mean = float(close) - above;
    let place = if scatter == 0 { 0.5 } else { 0.5 + above / (4.0 * sd) };
    [
        ("ma_20", mean / TICKS),
        ("bias_20", above / mean),
        ("boll_pctb", place),
        ("boll_width", 4.0 * sd / mean),
    ]
}
