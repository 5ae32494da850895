//! A security takes bars and facts in whatever order they come.

use sqep::DayBar;

use super::*;
use crate::DayFeatures;

fn bar(close: f64) -> DayBar {
    let (frame, adjust) = ("2024-03-01".parse().unwrap(), Some(1.0));
    let (open, high, low) = (close, close + 0.1, close - 0.1);
    DayBar {
        symbol: "600000.SH".parse().unwrap(),
        frame,
        open,
        high,
        low,
        close,
        vol: 9.0,
        adjust,
        ..DayBar::blank()
    }
}

#[test]
fn a_version_between_two_that_say_the_same_is_older_news() {
    let (calendar, mut rows) = (Calendar::published(), Vec::new());
    let mut security = Security::<DayFeatures>::new(bar(1.0).symbol);
    let mut take =
        |close, version| security.take(&bar(close), version, &Facts::default(), &calendar, &mut rows);
    assert_eq!([take(10.0, 1), take(10.0, 3), take(11.0, 2)], [Told::Taken, Told::Known, Told::Known]);
    assert_eq!(take(11.0, 4), Told::Taken);
    assert_eq!(rows.iter().map(|row| row.bar_version).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn facts_between_two_that_say_the_same_are_older_news() {
    let (calendar, mut rows) = (Calendar::published(), Vec::new());
    let mut security = Security::<DayFeatures>::new(bar(1.0).symbol);
    let day = bar(1.0).frame;
    let mut hear = |adjust, version| {
        let facts = Facts { adjust: Some(adjust), ..Facts::default() };
        security.hear(Said { day, version, facts }, &calendar, &mut rows)
    };
    assert_eq!([hear(1.0, 1), hear(1.0, 3), hear(2.0, 2)], [Told::Taken, Told::Known, Told::Known]);
    assert_eq!(security.facts(day).unwrap().adjust, Some(1.0));
}

#[test]
fn however_late_bars_come_each_row_is_computed_once_and_few_are_at_hand() {
    let calendar = Calendar::published();
    let sessions: Vec<_> =
        calendar.sessions("2020-01-01".parse().unwrap(), "2022-12-31".parse().unwrap()).collect();
    let bar = |at: usize| DayBar { frame: sessions[at], ..bar([10.0, 11.0, 10.5][at % 3]) };
    let newest = sessions.len() - 1;
    let in_order: Vec<usize> = (0..=newest).collect();
    let newest_first: Vec<usize> = (0..=newest).rev().collect();
    let newest_before: Vec<usize> = (newest - 2..=newest).chain(0..newest - 2).collect();
    let mut told = Vec::new();
    for order in [&in_order, &newest_first, &newest_before] {
        let (mut security, mut rows) = (Security::<DayFeatures>::new(bar(0).symbol), Vec::new());
        for &at in &order[..newest] {
            security.admit(&bar(at), 1, &Facts::default(), &calendar, &mut rows);
        }
        security.refresh(&calendar, &mut rows);
        assert!(rows.len() <= order.len() + 3, "{} rows of {} bars", rows.len(), order.len());
        assert!(security.bars.len() <= 16, "{} bars at hand", security.bars.len());
        security.take(&bar(order[newest]), 1, &Facts::default(), &calendar, &mut rows);
        told.push(security.rows(&calendar));
    }
    assert!(told[0] == told[2], "the order leaves no trace");
}
