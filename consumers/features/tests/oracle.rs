//! TA-Lib, its official Rust port, as a second opinion on every feature whose convention it shares.
//!
//! On prices that do not tie: TA-Lib compares floats by their last bit. Not asked: averages that it seeds otherwise (EMA,
//! MACD, RSI: by a mean; the programs used in China by the first value).

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;

use common::{Golden, beyond, kernel_rows, summary};
use sqep_features::{Facts, list::LIST};
use ta_lib::{Core, MAType, OutRange, RetCode};

/// A walk without ticks, from a seed.
fn walk(bars: usize) -> Vec<Golden> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
    };
    let mut close = 20.0;
    let bar = |_| {
        let open = close * (1.0 + 0.01 * (uniform() - 0.5));
        close = open * (1.0 + 0.04 * (uniform() - 0.498));
        let (top, bottom) = (open.max(close), open.min(close));
        let (high, low) = (top * (1.0 + 0.01 * uniform()), bottom * (1.0 - 0.01 * uniform()));
        let facts = Facts { adjust: Some(1.0), ..Facts::default() };
        let vol = 1e5 * (0.2 + uniform());
        let want = [None; 45];
        Golden { frame: String::new(), open, high, low, close, vol, amount: None, facts, want }
    };
    (0..bars).map(bar).collect()
}

/// Columns of a history, and TA-Lib.
struct Oracle {
    core: Core,
    end: usize,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    vol: Vec<f64>,
}

type Column = Vec<Option<f64>>;

impl Oracle {
    fn of(bars: &[Golden]) -> Oracle {
        let column = |value: fn(&Golden) -> f64| bars.iter().map(value).collect();
        Oracle {
            core: Core::new(),
            end: bars.len() - 1,
            high: column(|bar| bar.high),
            low: column(|bar| bar.low),
            close: column(|bar| bar.close),
            vol: column(|bar| bar.vol),
        }
    }

    /// What a function says of each bar.
    fn ask(&self, function: impl Fn(&Core, usize, &mut [f64]) -> Result<OutRange, RetCode>) -> Column {
        let mut values = vec![0.0; self.end + 1];
        let range = function(&self.core, self.end, &mut values).unwrap();
        let mut column = vec![None; self.end + 1];
        let known = column[range.beg_idx..][..range.count].iter_mut();
        known.zip(values).for_each(|(place, value)| *place = Some(value));
        column
    }

    fn sma(&self, series: &[f64], n: i32) -> Column {
        self.ask(|core, end, out| core.sma(0, end, series, n, out))
    }

    fn returns(&self, n: i32) -> Column {
        self.ask(|core, end, out| core.rocp(0, end, &self.close, n, out))
    }

    /// Upper, middle or lower band.
    fn band(&self, which: usize) -> Column {
        self.ask(|core, end, out| {
            let mut bands = [vec![0.0; end + 1], vec![0.0; end + 1], vec![0.0; end + 1]];
            let [upper, middle, lower] = &mut bands;
            let range = core.bbands(0, end, &self.close, 20, 2.0, 2.0, MAType::SMA, upper, middle, lower);
            out.copy_from_slice(&bands[which]);
            range
        })
    }

    /// K, D or J: seeded otherwise, the same from bar 120 on.
    fn kdj(&self, which: usize) -> Column {
        let mut column = self.ask(|core, end, out| {
            let mut lines = [vec![0.0; end + 1], vec![0.0; end + 1], vec![0.0; end + 1]];
            let [k, d, j] = &mut lines;
            let (high, low, close) = (&self.high, &self.low, &self.close);
            let range = core.kdj(0, end, high, low, close, 9, 3, MAType::RMA, 3, MAType::RMA, k, d, j);
            out.copy_from_slice(&lines[which]);
            range
        });
        column[..120].fill(None);
        column
    }

    fn place(&self, n: i32) -> Column {
        let willr = self.ask(|core, end, out| core.willr(0, end, &self.high, &self.low, &self.close, n, out));
        willr.into_iter().map(|value| Some(1.0 + value? / 100.0)).collect()
    }

    fn on_balance(&self) -> Column {
        let obv = self.ask(|core, end, out| core.obv(0, end, &self.close, &self.vol, out));
        let sum = self.ask(|core, end, out| core.sum(0, end, &self.vol, 20, out));
        let ratio = |t: usize| Some((obv[t]? - obv[t.checked_sub(20)?]?) / sum[t]?);
        (0..obv.len()).map(ratio).collect()
    }

    /// Deviation of returns, and their correlation with the growth of volume. The series begin with the second bar.
    fn returns_figures(&self) -> [Column; 2] {
        let pairs = |series: &[f64], figure: fn(f64, f64) -> f64| -> Vec<f64> {
            series.windows(2).map(|pair| figure(pair[0], pair[1])).collect()
        };
        let returns = pairs(&self.close, |before, now| now / before - 1.0);
        let growth = pairs(&self.vol, |before, now| (now / before).ln());
        let late = |mut column: Column| {
            column.pop();
            column.insert(0, None);
            column
        };
        let deviation = self.ask(|core, end, out| core.stddev(0, end - 1, &returns, 20, 1.0, out));
        let correlation = self.ask(|core, end, out| core.correl(0, end - 1, &returns, &growth, 20, out));
        [late(deviation), late(correlation)]
    }

    fn parkinson(&self) -> Column {
        let ranges: Vec<f64> =
            self.high.iter().zip(&self.low).map(|(high, low)| (high / low).ln().powi(2)).collect();
        let root = |mean: Option<f64>| Some((mean? / (4.0 * 2f64.ln())).sqrt());
        self.sma(&ranges, 20).into_iter().map(root).collect()
    }

    fn columns(&self) -> Vec<(&'static str, Column)> {
        let close = |figure: fn(f64, f64) -> f64, of: Column| -> Column {
            of.into_iter().zip(&self.close).map(|(value, close)| Some(figure(*close, value?))).collect()
        };
        let [volatility, correlation] = self.returns_figures();
        let (high, low, vol) = (&self.high, &self.low, &self.vol);
        let atr = self.ask(|core, end, out| core.atr(0, end, high, low, &self.close, 14, out));
        let adx = self.ask(|core, end, out| core.adx(0, end, high, low, &self.close, 14, out));
        let mfi = self.ask(|core, end, out| core.mfi(0, end, high, low, &self.close, vol, 14, out));
        vec![
            ("ret_1", self.returns(1)),
            ("ret_5", self.returns(5)),
            ("ret_10", self.returns(10)),
            ("ret_20", self.returns(20)),
            ("ret_60", self.returns(60)),
            ("ma_5", self.sma(&self.close, 5)),
            ("ma_10", self.sma(&self.close, 10)),
            ("ma_20", self.sma(&self.close, 20)),
            ("ma_60", self.sma(&self.close, 60)),
            ("bias_20", close(|close, ma| close / ma - 1.0, self.sma(&self.close, 20))),
            ("adx_14", adx),
            ("boll_upper", self.band(0)),
            ("boll_lower", self.band(2)),
            ("kdj_k", self.kdj(0)),
            ("kdj_d", self.kdj(1)),
            ("kdj_j", self.kdj(2)),
            ("atr_14", atr),
            ("volatility_20", volatility),
            ("parkinson_20", self.parkinson()),
            ("vol_ratio_5", self.ask(|core, end, out| core.rvol(0, end, vol, 5, out))),
            ("vol_ratio_20", self.ask(|core, end, out| core.rvol(0, end, vol, 20, out))),
            ("obv_ratio_20", self.on_balance()),
            ("mfi_14", mfi),
            ("pv_corr_20", correlation),
            ("pos_20", self.place(20)),
            ("pos_60", self.place(60)),
        ]
    }
}

#[test]
fn ta_lib_says_the_same_where_it_means_the_same() {
    let mut bars = walk(2000);
    let got = kernel_rows(&bars);
    let columns = Oracle::of(&bars).columns();
    for (bar, row) in bars.iter_mut().zip(&got) {
        bar.want = *row;
    }
    for (name, column) in columns {
        let at = LIST.iter().position(|feature| feature.name == name).unwrap();
        let known = column.iter().flatten().count();
        assert!(known >= 2000 - 120, "{name}: {known} values");
        for (t, (bar, value)) in bars.iter_mut().zip(column).enumerate() {
            let asked = t >= 120 || !name.starts_with("kdj");
            bar.want[at] = if asked { value } else { bar.want[at] };
        }
    }
    println!("{}", summary("26 features beside TA-Lib", &bars, &got));
    assert_eq!(beyond(&bars, &got), []);
}
