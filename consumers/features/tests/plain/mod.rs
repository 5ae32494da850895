//! The formulas as they are written, over a whole history at once: no ring, no state, nothing shared with the kernel. What
//! takes the past in is summed from the first bar each time it may be, in plain loops.

use sqep_features::list::LIST;

use crate::common::Golden;

type Series = Vec<Option<f64>>;

/// The adjusted columns of a history.
struct Past {
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    vol: Vec<f64>,
}

/// Fills in what the features of the bars must be.
pub(crate) fn features(bars: &mut [Golden]) {
    let column = |value: fn(&Golden, f64) -> f64| -> Vec<f64> {
        bars.iter().map(|bar| value(bar, bar.facts.adjust.unwrap())).collect()
    };
    let past = Past {
        open: column(|bar, factor| bar.open * factor),
        high: column(|bar, factor| bar.high * factor),
        low: column(|bar, factor| bar.low * factor),
        close: column(|bar, factor| bar.close * factor),
        vol: column(|bar, factor| bar.vol / factor),
    };
    let mut columns = past.trend();
    columns.extend(past.strength());
    columns.extend(past.spread());
    columns.extend(past.volume());
    columns.extend(alone(bars));
    for (name, column) in columns {
        let at = LIST.iter().position(|feature| feature.name == name).unwrap();
        for (t, (bar, value)) in bars.iter_mut().zip(column).enumerate() {
            bar.want[at] = value.filter(|_| t >= usize::try_from(LIST[at].warm_up).unwrap());
        }
    }
}

fn each(length: usize, value: impl Fn(usize) -> Option<f64>) -> Series {
    (0..length).map(value).collect()
}

/// The last `n` values up to and with `t`.
fn last(values: &[f64], t: usize, n: usize) -> Option<&[f64]> {
    values.get((t + 1).checked_sub(n)?..=t)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values.len())
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count(values.len())).sqrt()
}

/// Weighted by hand: w·x + (1 − w)·before, from the first value.
fn smoothed(values: &[f64], weight: f64) -> Vec<f64> {
    let mut all = Vec::new();
    for value in values {
        let before = all.last().copied().unwrap_or(*value);
        all.push(weight * value + (1.0 - weight) * before);
    }
    all
}

fn some(values: Vec<f64>) -> Series {
    values.into_iter().map(Some).collect()
}

fn ties(change: f64, price: f64) -> bool {
    change.abs() <= 1e-9 * price
}

type Named = (&'static str, Series);

impl Past {
    fn len(&self) -> usize {
        self.close.len()
    }

    fn changes(&self) -> Vec<f64> {
        let change = |t: usize| {
            let change = self.close[t] - self.close[t - 1];
            if ties(change, self.close[t]) { 0.0 } else { change }
        };
        (1..self.len()).map(change).collect()
    }

    fn ret(&self, t: usize, n: usize) -> Option<f64> {
        Some(self.close[t] / self.close[t.checked_sub(n)?] - 1.0)
    }

    fn trend(&self) -> Vec<Named> {
        let (n, close) = (self.len(), &self.close);
        let (fast, slow) = (smoothed(close, 2.0 / 13.0), smoothed(close, 2.0 / 27.0));
        let dif: Vec<f64> = fast.iter().zip(&slow).map(|(fast, slow)| fast - slow).collect();
        let dea = smoothed(&dif, 0.2);
        let hist = dif.iter().zip(&dea).map(|(dif, dea)| (dif - dea) * 2.0).collect();
        let ma = |length: usize| each(n, |t| last(close, t, length).map(mean));
        vec![
            ("ret_1", each(n, |t| self.ret(t, 1))),
            ("ret_5", each(n, |t| self.ret(t, 5))),
            ("ret_10", each(n, |t| self.ret(t, 10))),
            ("ret_20", each(n, |t| self.ret(t, 20))),
            ("ret_60", each(n, |t| self.ret(t, 60))),
            ("gap_open", each(n, |t| Some(self.open[t] / close[t.checked_sub(1)?] - 1.0))),
            ("ma_5", ma(5)),
            ("ma_10", ma(10)),
            ("ma_20", ma(20)),
            ("ma_60", ma(60)),
            ("ema_12", some(fast)),
            ("ema_26", some(slow)),
            ("bias_20", each(n, |t| Some(close[t] / mean(last(close, t, 20)?) - 1.0))),
            ("adx_14", self.adx()),
            ("macd_dif", some(dif)),
            ("macd_dea", some(dea)),
            ("macd_hist", some(hist)),
        ]
    }

    /// The smoothed sum of movements at `t`, from the first bar: Σ of 13, then each fades by 1/14 a bar.
    fn faded(movements: &[f64], t: usize) -> f64 {
        let fade = 13.0 / 14.0;
        let seed: f64 = movements[1..14].iter().sum();
        movements[14..=t].iter().fold(seed, |sum, movement| sum * fade + movement)
    }

    fn adx(&self) -> Series {
        let n = self.len();
        let movement = |t: usize, up: bool| {
            let rise = self.high[t] - self.high[t - 1];
            let fall = self.low[t - 1] - self.low[t];
            let (mine, other) = if up { (rise, fall) } else { (fall, rise) };
            let counts = mine > 1e-9 * self.close[t] && mine - other > 1e-9 * self.close[t];
            if counts { mine } else { 0.0 }
        };
        let all =
            |up: bool| -> Vec<f64> { (0..n).map(|t| if t == 0 { 0.0 } else { movement(t, up) }).collect() };
        let (plus, minus) = (all(true), all(false));
        let dx: Vec<f64> = (14..n)
            .map(|t| {
                let (plus, minus) = (Past::faded(&plus, t), Past::faded(&minus, t));
                100.0 * (plus - minus).abs() / (plus + minus)
            })
            .collect();
        let mut adx = vec![None; n.min(27)];
        let mut value = mean(&dx[..14]);
        adx.push(Some(value));
        for dx in &dx[14..] {
            value += (dx - value) / 14.0;
            adx.push(Some(value));
        }
        adx
    }

    fn strength(&self) -> Vec<Named> {
        let n = self.len();
        let changes = self.changes();
        let rsi = |length: u32| {
            let weight = 1.0 / f64::from(length);
            let gains: Vec<f64> = changes.iter().map(|change| change.max(0.0)).collect();
            let sizes: Vec<f64> = changes.iter().map(|change| change.abs()).collect();
            let (gains, sizes) = (smoothed(&gains, weight), smoothed(&sizes, weight));
            let value = |at: usize| if sizes[at] > 0.0 { 100.0 * gains[at] / sizes[at] } else { 50.0 };
            each(n, |t| t.checked_sub(1).map(value))
        };
        let [k, d, j] = self.kdj();
        let place = |length: usize| each(n, |t| self.place(t, length));
        vec![
            ("rsi_6", rsi(6)),
            ("rsi_12", rsi(12)),
            ("rsi_24", rsi(24)),
            ("kdj_k", k),
            ("kdj_d", d),
            ("kdj_j", j),
            ("mfi_14", each(n, |t| self.money_flow(t))),
            ("pos_20", place(20)),
            ("pos_60", place(60)),
        ]
    }

    fn place(&self, t: usize, n: usize) -> Option<f64> {
        let low = last(&self.low, t, n)?.iter().copied().fold(f64::INFINITY, f64::min);
        let high = last(&self.high, t, n)?.iter().copied().fold(0.0, f64::max);
        Some(if ties(high - low, self.close[t]) { 0.5 } else { (self.close[t] - low) / (high - low) })
    }

    fn kdj(&self) -> [Series; 3] {
        let (mut k, mut d) = (50.0, 50.0);
        let mut all: [Series; 3] = Default::default();
        for t in 0..self.len() {
            if let Some(place) = self.place(t, 9) {
                k += (100.0 * place - k) / 3.0;
                d += (k - d) / 3.0;
            }
            all.iter_mut().zip([k, d, 3.0 * k - 2.0 * d]).for_each(|(all, value)| all.push(Some(value)));
        }
        all
    }

    fn money_flow(&self, t: usize) -> Option<f64> {
        let typical = |t: usize| (self.high[t] + self.low[t] + self.close[t]) / 3.0;
        let (mut gains, mut losses) = (0.0, 0.0);
        for t in t.checked_sub(13).filter(|from| *from > 0)?..=t {
            let (change, flow) = (typical(t) - typical(t - 1), typical(t) * self.vol[t]);
            if !ties(change, typical(t)) {
                *(if change > 0.0 { &mut gains } else { &mut losses }) += flow;
            }
        }
        Some(if gains + losses > 0.0 { 100.0 * gains / (gains + losses) } else { 50.0 })
    }

    fn true_range(&self, t: usize) -> f64 {
        let before = self.close[t - 1];
        [self.high[t] - self.low[t], (self.high[t] - before).abs(), (self.low[t] - before).abs()]
            .into_iter()
            .fold(0.0, f64::max)
    }

    fn spread(&self) -> Vec<Named> {
        let (n, close) = (self.len(), &self.close);
        let band = |t: usize| Some((mean(last(close, t, 20)?), deviation(last(close, t, 20)?)));
        let ranges: Vec<f64> = (0..n).map(|t| (self.high[t] / self.low[t]).ln().powi(2)).collect();
        let mut atr = vec![None; 14];
        let mut value = (1..15).map(|t| self.true_range(t)).sum::<f64>() / 14.0;
        atr.push(Some(value));
        for t in 15..n {
            value += (self.true_range(t) - value) / 14.0;
            atr.push(Some(value));
        }
        let parkinson = |ranges: &[f64]| (mean(ranges) / (4.0 * 2f64.ln())).sqrt();
        vec![
            ("boll_upper", each(n, |t| band(t).map(|(mean, sd)| mean + 2.0 * sd))),
            ("boll_lower", each(n, |t| band(t).map(|(mean, sd)| mean - 2.0 * sd))),
            (
                "boll_pctb",
                each(n, |t| {
                    band(t).map(
                        |(mean, sd)| {
                            if ties(sd, close[t]) { 0.5 } else { 0.5 + (close[t] - mean) / (4.0 * sd) }
                        },
                    )
                }),
            ),
            ("boll_width", each(n, |t| band(t).map(|(mean, sd)| 4.0 * sd / mean))),
            ("atr_14", atr),
            ("volatility_20", each(n, |t| self.returns(t).map(|returns| deviation(&returns)))),
            ("parkinson_20", each(n, |t| last(&ranges, t, 20).map(parkinson))),
            ("amplitude", each(n, |t| Some((self.high[t] - self.low[t]) / close[t.checked_sub(1)?]))),
        ]
    }

    /// The last 20 returns.
    fn returns(&self, t: usize) -> Option<Vec<f64>> {
        (t.checked_sub(19)?..=t).map(|t| self.ret(t, 1)).collect()
    }

    fn volume(&self) -> Vec<Named> {
        let (n, vol) = (self.len(), &self.vol);
        let changes = self.changes();
        let ratio = |length: usize| each(n, |t| Some(vol[t] / mean(last(vol, t.checked_sub(1)?, length)?)));
        let balance = |t: usize| {
            let signs = last(&changes, t.checked_sub(1)?, 20)?;
            let vols = last(vol, t, 20)?;
            let signed = signs.iter().zip(vols).map(
                |(change, vol)| {
                    if *change == 0.0 { 0.0 } else { change.signum() * vol }
                },
            );
            Some(signed.sum::<f64>() / vols.iter().sum::<f64>())
        };
        vec![
            ("vol_ratio_5", ratio(5)),
            ("vol_ratio_20", ratio(20)),
            ("obv_ratio_20", each(n, balance)),
            ("pv_corr_20", each(n, |t| self.correlation(t))),
        ]
    }

    fn correlation(&self, t: usize) -> Option<f64> {
        let x = self.returns(t)?;
        let y: Vec<f64> = (t - 19..=t).map(|t| (self.vol[t] / self.vol[t - 1]).ln()).collect();
        let (mx, my) = (mean(&x), mean(&y));
        let squares = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let (sx, sy) = (squares(&x, mx), squares(&y, my));
        if sx <= 1e-24 || sy <= 1e-24 {
            return Some(0.0);
        }
        let products: f64 = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum();
        Some(products / (sx.sqrt() * sy.sqrt()))
    }
}

/// What a bar decides alone.
fn alone(bars: &[Golden]) -> Vec<Named> {
    let all = |value: fn(&Golden) -> Option<f64>| bars.iter().map(value).collect();
    let part = |flat: f64, bar: &Golden, part: f64| {
        let range = bar.high - bar.low;
        Some(if ties(range, bar.close) { flat } else { part / range })
    };
    vec![
        (
            "vwap_gap",
            all(|bar| {
                let price = bar.amount? / bar.vol;
                let inside = (0.98 * bar.low..=1.02 * bar.high).contains(&price);
                Some(if inside { bar.close / price - 1.0 } else { 0.0 })
            }),
        ),
        ("upper_shadow", bars.iter().map(|bar| part(0.0, bar, bar.high - bar.open.max(bar.close))).collect()),
        ("lower_shadow", bars.iter().map(|bar| part(0.0, bar, bar.open.min(bar.close) - bar.low)).collect()),
        ("close_pos", bars.iter().map(|bar| part(0.5, bar, bar.close - bar.low)).collect()),
        (
            "limit_state",
            all(|bar| {
                let upper = bar.facts.buy_limit.is_some_and(|limit| bar.close >= limit - 0.005);
                let lower = bar.facts.sell_limit.is_some_and(|limit| bar.close <= limit + 0.005);
                Some(f64::from(upper) - f64::from(lower))
            }),
        ),
        ("is_st", all(|bar| Some(f64::from(bar.facts.st.unwrap_or(false))))),
        ("susp_gap", all(|_| Some(0.0))),
    ]
}
