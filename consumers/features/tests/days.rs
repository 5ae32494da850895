//! Day bars: suspensions, calendars, bars that come again, steps of prices.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;

use common::day_rows;
use sqep::{Calendar, DayBar, Record};
use sqep_features::{DayFeatures, PushError, list::LIST};

fn bar(security: &str, day: &str, close: f64) -> DayBar {
    let (open, high, low) = (close, close, close);
    let (symbol, frame) = (security.parse().unwrap(), day.parse().unwrap());
    let amount = Some(100.0 * close);
    let adjust = Some(1.0);
    DayBar { symbol, frame, open, high, low, close, vol: 100.0, amount, adjust, ..DayBar::blank() }
}

fn share(day: &str) -> DayBar {
    bar("600000.SH", day, 10.0)
}

#[test]
fn a_suspended_day_has_no_row_and_the_next_one_counts_it() {
    let bars = [share("2024-03-01"), DayBar { vol: 0.0, ..share("2024-03-04") }, share("2024-03-05")];
    let rows = day_rows(&bars);
    assert_eq!(rows, day_rows(&[bars[0], bars[2]]));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].by_name("susp_gap"), Some(1.0));
    assert_eq!(rows[1].by_name("ret_1"), Some(0.0));
}

#[test]
fn sessions_missed_are_those_of_the_calendar_that_is_given_and_at_most_250() {
    let gap = |calendar: &Calendar, from: &str, to: &str| {
        let mut features = DayFeatures::new(share(from).symbol);
        features.push(&share(from), calendar).unwrap();
        features.push(&share(to), calendar).unwrap().unwrap().by_name("susp_gap")
    };
    let published = Calendar::published();
    let other: Calendar = "first,2024-01-01\nlast,2024-12-31\n2024-10-08\n".parse().unwrap();
    assert_eq!(gap(&published, "2024-09-30", "2024-10-08"), Some(0.0), "a week of holidays");
    assert_eq!(gap(&other, "2024-09-30", "2024-10-09"), Some(5.0), "another market trades in it");
    assert_eq!(gap(&published, "2015-01-05", "2024-10-09"), Some(250.0));
}

#[test]
fn a_bar_that_is_not_newer_or_of_another_security_is_refused_by_name_and_changes_nothing() {
    let calendar = Calendar::published();
    let mut features = DayFeatures::new(share("2024-03-01").symbol);
    features.push(&share("2024-03-01"), &calendar).unwrap();
    let before = features.snapshot();
    let again = features.push(&share("2024-03-01"), &calendar).unwrap_err();
    assert!(again.to_string().starts_with("600000.SH 2024-03-01 is not after 2024-03-01"), "{again}");
    let late = features.push(&share("2024-02-29"), &calendar).unwrap_err();
    assert!(matches!(late, PushError::NotNewer { .. }));
    let other = features.push(&bar("600001.SH", "2024-03-04", 10.0), &calendar).unwrap_err();
    assert!(other.to_string().contains("600001.SH"), "{other}");
    let broken = features.push(&DayBar { close: f64::NAN, ..share("2024-03-04") }, &calendar).unwrap_err();
    assert_eq!(broken.to_string(), "600000.SH 2024-03-04: close is NaN, not between 1e-6 and 1e9");
    assert_eq!(features.snapshot(), before);
}

#[test]
fn a_fund_is_at_its_limit_within_half_a_tenth_of_a_fen() {
    let state = |security: &str, close: f64| {
        let bar =
            DayBar { buy_limit: Some(4.4), sell_limit: Some(3.6), ..bar(security, "2024-03-01", close) };
        day_rows(&[bar])[0].by_name("limit_state").unwrap()
    };
    let states = [("510300.SH", 4.399), ("510300.SH", 4.4), ("510300.SH", 3.6), ("600000.SH", 4.399)];
    let got = states.map(|(security, close)| state(security, close).to_bits());
    assert_eq!(got, [0.0f64, 1.0, -1.0, 1.0].map(f64::to_bits));
}

#[test]
fn a_factor_that_changes_is_a_split_and_one_that_is_missing_ends_the_history() {
    let before = share("2024-03-01");
    let split = DayBar { adjust: Some(2.0), ..bar("600000.SH", "2024-03-04", 5.0) };
    let rows = day_rows(&[before, split]);
    assert_eq!(rows[1].by_name("ret_1"), Some(0.0));
    let missing = DayBar { adjust: None, ..split };
    let rows = day_rows(&[before, missing, share("2024-03-05")]);
    for row in &rows {
        assert_eq!(row.by_name("ret_1"), None);
        assert_eq!(row.by_name("close_pos"), Some(0.5));
    }
    let known = |at: usize| LIST.iter().filter(|feature| rows[at].by_name(feature.name).is_some()).count();
    assert_eq!([known(0), known(1), known(2)], [7, 7, 7]);
}

#[test]
fn an_average_price_outside_the_bar_is_told_and_counts_as_none() {
    let lots = DayBar { amount: Some(100.0 * 10.0 * 100.0), ..share("2024-03-01") };
    let row = day_rows(&[lots])[0];
    assert!(row.vwap_outside);
    assert_eq!(row.by_name("vwap_gap"), Some(0.0));
    assert!(!day_rows(&[share("2024-03-01")])[0].vwap_outside);
    let none = DayBar { amount: None, ..share("2024-03-01") };
    assert_eq!(day_rows(&[none])[0].by_name("vwap_gap"), None);
}
