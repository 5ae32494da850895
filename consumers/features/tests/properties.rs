//! What holds for any bars: ranges, scales, refusals, and no drift in ten years.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;
mod market;
mod plain;

use common::{Golden, beyond, cells, summary};
use proptest::prelude::*;
use sqep_features::{
    Facts, Kernel, Refused, Row, Rules, Traded, Turnover,
    list::{LIST, VALID_FROM},
};

/// Features in adjusted yuan.
const PRICES: [&str; 12] = [
    "ma_5",
    "ma_10",
    "ma_20",
    "ma_60",
    "ema_12",
    "ema_26",
    "macd_dif",
    "macd_dea",
    "macd_hist",
    "boll_upper",
    "boll_lower",
    "atr_14",
];

fn traded(prices: [f64; 4], vol: f64, amount: Option<f64>, factor: f64) -> Traded {
    let [open, high, low, close] = prices;
    let rules = Rules { st: None, buy_limit: Some(11.0), sell_limit: Some(9.0), half_tick: 0.005 };
    let session = Turnover { amount, vol, low, high };
    Traded { open, high, low, close, vol, factor: Some(factor), session, rules, sessions_missed: 0 }
}

prop_compose! {
    /// Any bar a market could have, and many it could not: ticks, ties, flat bars, spikes.
    fn any_bar()(
        low in 1..2000i32, body in prop::array::uniform2(0..40i32), top in 0..40i32,
        vol in prop_oneof![1.0..1e6, Just(100.0), 1e9..1e15], gap in 0..400u32,
        amount in prop::option::of(0.5..1.5f64), factor in prop_oneof![8 => Just(1.5), 1 => 0.1..20.0]
    ) -> Traded {
        let price = |ticks: i32| f64::from(ticks) * 0.01;
        let highest = low + body[0].max(body[1]) + top;
        let close = price(low + body[1]);
        let amount = amount.map(|part| part * close * vol);
        let bar = traded([price(low + body[0]), price(highest), price(low), close], vol, amount, factor);
        Traded { sessions_missed: gap, ..bar }
    }
}

fn rows(bars: &[Traded]) -> Vec<Row> {
    let mut kernel = Kernel::new();
    bars.iter().map(|bar| kernel.push(bar).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_feature_stays_in_its_range_and_is_null_only_while_it_warms_up(
        bars in prop::collection::vec(any_bar(), 1..200)
    ) {
        for (t, (row, bar)) in rows(&bars).iter().zip(&bars).enumerate() {
            let t = u32::try_from(t).unwrap();
            prop_assert_eq!(row.valid, t >= VALID_FROM);
            for (at, feature) in LIST.iter().enumerate() {
                let known = feature.name != "vwap_gap" || bar.session.amount.is_some();
                prop_assert_eq!(row.get(at).is_some(), t >= feature.warm_up && known, "{} at {}", feature.name, t);
                let Some(value) = row.get(at) else { continue };
                let (min, max) = (feature.min.unwrap_or(f64::MIN), feature.max.unwrap_or(f64::MAX));
                prop_assert!(min <= value && value <= max, "{} is {}", feature.name, value);
            }
        }
    }

    #[test]
    fn another_base_of_the_factor_scales_prices_and_changes_nothing_else(
        bars in prop::collection::vec(any_bar(), 130), power in -6..7i32
    ) {
        let base = 2f64.powi(power);
        let rebased: Vec<_> = bars
            .iter()
            .map(|bar| Traded { factor: bar.factor.map(|factor| factor * base), ..*bar })
            .collect();
        for (row, other) in rows(&bars).iter().zip(rows(&rebased)) {
            for (at, feature) in LIST.iter().enumerate() {
                let scale = if PRICES.contains(&feature.name) { base } else { 1.0 };
                let want = row.get(at).map(|value| (value * scale).to_bits());
                prop_assert_eq!(other.get(at).map(f64::to_bits), want, "{}", feature.name);
            }
        }
    }

    #[test]
    fn a_bar_that_is_refused_changes_nothing(bars in prop::collection::vec(any_bar(), 1..80), bad in 0..10usize) {
        let good = bars[0];
        let [nan, inf] = [f64::NAN, f64::INFINITY];
        let bad = [
            Traded { close: nan, ..good },
            Traded { high: inf, ..good },
            Traded { open: -1.0, ..good },
            Traded { low: 0.0, ..good },
            Traded { vol: 0.0, ..good },
            Traded { vol: 1e300, ..good },
            Traded { factor: Some(nan), ..good },
            Traded { factor: Some(0.0), ..good },
            Traded { high: good.low * 0.5, ..good },
            Traded { session: Turnover { amount: Some(-1.0), ..good.session }, ..good },
        ][bad];
        let mut kernel = Kernel::new();
        let mut met = Vec::new();
        for bar in &bars {
            let refused = kernel.push(&bad).unwrap_err();
            let named = matches!(refused, Refused::Range { .. } | Refused::Order { .. });
            prop_assert!(named);
            met.push(kernel.push(bar).unwrap());
        }
        prop_assert_eq!(met, rows(&bars));
    }
}

/// Bars of a market as golden rows without values.
fn decade(symbol: usize) -> Vec<Golden> {
    let bars = market::days(symbol + 1, 2430).swap_remove(symbol);
    let golden = |bar: &sqep::DayBar| {
        let sqep::DayBar { open, high, low, close, vol, amount, .. } = *bar;
        let want = [None; 45];
        let facts = Facts { adjust: Some(bar.adjust.unwrap_or(1.0)), ..Facts::from(bar) };
        Golden { frame: bar.frame.to_string(), open, high, low, close, vol, amount, facts, want }
    };
    bars.iter().filter(|bar| bar.vol > 0.0).map(golden).collect()
}

#[test]
fn ten_years_do_not_drift_from_formulas_written_out_over_the_whole_past() {
    for symbol in 0..4 {
        let mut bars = decade(symbol);
        let mut kernel = Kernel::new();
        let got: Vec<_> = bars.iter().map(|bar| cells(&kernel.push(&bar.traded()).unwrap())).collect();
        plain::features(&mut bars);
        println!("{}", summary(&bars[0].frame, &bars, &got));
        assert!(bars.len() > 2000);
        assert_eq!(beyond(&bars, &got), [], "security {symbol}");
        let year = bars.len() - 240;
        for (at, error) in common::worst(&bars[year..], &got[year..]).iter().enumerate() {
            assert!(*error <= 1e-12, "{} in the last year: {error:e}", LIST[at].name);
        }
    }
}
