//! The same bits in a batch, bar by bar, after a restart at any bar, and from another start.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;
mod market;

use common::{day_rows, minute_rows};
use proptest::prelude::*;
use sqep::{Calendar, DayBar};
use sqep_features::{DayFeatures, Length, MinuteFeatures, Row, SnapshotError, list::LIST};

/// Features that remember more than the last 61 bars.
const LONG_MEMORY: [&str; 13] = [
    "ema_12",
    "ema_26",
    "adx_14",
    "macd_dif",
    "macd_dea",
    "macd_hist",
    "rsi_6",
    "rsi_12",
    "rsi_24",
    "kdj_k",
    "kdj_d",
    "kdj_j",
    "atr_14",
];

fn edge() -> Vec<DayBar> {
    let golden = common::read(common::EDGE);
    golden.iter().map(|bar| bar.day_bar("600000.SH".parse().unwrap())).collect()
}

fn bits(row: &Row, at: usize) -> Option<u64> {
    row.get(at).map(f64::to_bits)
}

#[test]
fn a_day_series_restarted_at_every_bar_gives_the_same_bits() {
    let (bars, calendar) = (edge(), Calendar::published());
    let straight = day_rows(&bars);
    let mut features = DayFeatures::new(bars[0].symbol);
    for (bar, row) in bars.iter().zip(&straight) {
        let bytes = features.snapshot();
        features = DayFeatures::restore(&bytes).unwrap();
        assert_eq!(features.snapshot(), bytes, "{}", bar.frame);
        assert_eq!(features.push(bar, &calendar).unwrap().as_ref(), Some(row), "{}", bar.frame);
    }
}

#[test]
fn a_minute_series_restarted_at_every_bar_gives_the_same_bits() {
    let ((bars, facts), calendar) = (market::minutes(2), Calendar::published());
    let straight = minute_rows(&bars, &facts);
    let (mut features, mut rows) = (MinuteFeatures::new(bars[0].symbol), Vec::new());
    for bar in &bars {
        let bytes = features.snapshot();
        features = MinuteFeatures::restore(&bytes).unwrap();
        assert_eq!(features.snapshot(), bytes, "{}", bar.frame);
        features.push(bar, 1, &facts, &calendar, &mut rows).unwrap();
    }
    assert_eq!(rows, straight);
}

#[test]
fn a_state_is_what_was_pushed_not_how_it_was_come_by() {
    let (bars, calendar) = (edge(), Calendar::published());
    let (mut straight, mut restarted) = (DayFeatures::new(bars[0].symbol), DayFeatures::new(bars[0].symbol));
    for bar in &bars {
        straight.push(bar, &calendar).unwrap();
        restarted = DayFeatures::restore(&restarted.snapshot()).unwrap();
        restarted.push(bar, &calendar).unwrap();
        assert_eq!(straight.snapshot(), restarted.snapshot());
    }
    println!("a snapshot has {} bytes", straight.snapshot().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_do_not_know_the_future(cut in 1..600usize) {
        let bars = edge();
        prop_assert_eq!(&day_rows(&bars[..cut])[..], &day_rows(&bars)[..cut]);
    }

    #[test]
    fn features_of_windows_have_the_same_bits_from_any_start(from in 0..500usize) {
        let bars = edge();
        let (all, late) = (day_rows(&bars), day_rows(&bars[from..]));
        for (at, feature) in LIST.iter().enumerate() {
            if LONG_MEMORY.contains(&feature.name) {
                continue;
            }
            for (row, long) in late[60..].iter().zip(&all[from + 60..]) {
                prop_assert_eq!(bits(row, at), bits(long, at), "{}", feature.name);
            }
        }
    }

    #[test]
    fn bytes_that_are_not_those_of_a_snapshot_are_refused(
        bars in 0..80usize, cut in 0..4000usize, garbage in any::<u8>(), at in 0..4000usize
    ) {
        let bars = &edge()[..bars];
        let mut features = DayFeatures::new("600000.SH".parse().unwrap());
        let calendar = Calendar::published();
        for bar in bars {
            features.push(bar, &calendar).unwrap();
        }
        let bytes = features.snapshot();
        if cut < bytes.len() {
            prop_assert!(DayFeatures::restore(&bytes[..cut]).is_err());
        }
        let longer = [bytes.as_slice(), &[garbage]].concat();
        prop_assert!(DayFeatures::restore(&longer).is_err());
        let mut spoilt = bytes.clone();
        if let Some(byte) = spoilt.get_mut(at) {
            *byte = garbage;
        }
        prop_assert_eq!(DayFeatures::restore(&spoilt).is_ok(), spoilt == bytes);
    }
}

#[test]
fn what_remembers_long_forgets_where_it_began_by_the_first_valid_row() {
    let bars = market::days(1, 1200).swap_remove(0);
    let (all, late) = (day_rows(&bars), day_rows(&bars[600..]));
    let apart = |at: usize, name: &str| {
        let place = LIST.iter().position(|feature| feature.name == name).unwrap();
        (late[at].get(place).unwrap() - all[600 + at].get(place).unwrap()).abs()
    };
    for (name, soon, later) in [("rsi_24", 5.0, 1e-7), ("macd_dif", 0.05, 1e-12), ("kdj_k", 1e-9, 1e-12)] {
        assert!(apart(120, name) < soon, "{name} at 120: {:e}", apart(120, name));
        assert!(apart(550, name) < later, "{name} at 550: {:e}", apart(550, name));
    }
}

#[test]
fn a_snapshot_of_another_set_or_kind_is_refused_by_name() {
    let symbol = "600000.SH".parse().unwrap();
    let bytes = DayFeatures::new(symbol).snapshot();
    let refused = MinuteFeatures::restore(&bytes).unwrap_err();
    let (found, wanted) = (Length::Day.set(), Length::Minute.set());
    assert_eq!(refused, SnapshotError::Set { found, wanted });
    assert!(refused.to_string().contains("rebuild it from the archive"));
}
