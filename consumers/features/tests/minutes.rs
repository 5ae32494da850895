//! Minute bars: the opening auction, minutes without volume, the session's average price, days without a factor.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;
mod market;

use chrono::{NaiveDateTime, NaiveTime};
use common::minute_rows;
use sqep::{Calendar, MinuteBar, RefDay, Symbol};
use sqep_features::{
    DayFeatures, Facts, MinuteFeatures, MinuteRow, PushError,
    list::{LIST, VALID_FROM},
};

fn symbol() -> Symbol {
    "600000.SH".parse().unwrap()
}

fn bar(frame: &str, prices: [f64; 4], vol: f64) -> MinuteBar {
    let frame = NaiveDateTime::parse_from_str(frame, "%Y-%m-%d %H:%M").unwrap();
    let [open, high, low, close] = prices;
    MinuteBar { symbol: symbol(), frame, open, high, low, close, vol, amount: Some(vol * close) }
}

fn known() -> Facts {
    Facts { adjust: Some(1.0), ..Facts::default() }
}

fn time(hour: u32, minute: u32) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, minute, 0).unwrap()
}

/// What a vendor of 240 bars a day makes of 241.
fn without_auctions(bars: &[MinuteBar]) -> Vec<MinuteBar> {
    let mut folded: Vec<MinuteBar> = Vec::new();
    let mut auction: Option<MinuteBar> = None;
    for bar in bars {
        if bar.frame.time() == time(9, 30) {
            auction = Some(*bar).filter(|bar| bar.vol > 0.0);
            continue;
        }
        let before = auction.take();
        folded.push(before.map_or(*bar, |auction| {
            if bar.vol == 0.0 {
                return MinuteBar { frame: bar.frame, ..auction };
            }
            MinuteBar {
                open: auction.open,
                high: auction.high.max(bar.high),
                low: auction.low.min(bar.low),
                vol: auction.vol + bar.vol,
                amount: Some(auction.amount.unwrap() + bar.amount.unwrap()),
                ..*bar
            }
        }));
    }
    folded
}

#[test]
fn vendors_with_240_and_241_bars_a_day_give_the_same_rows() {
    let (bars, facts) = market::minutes(5);
    let folded = without_auctions(&bars);
    assert_eq!(bars.len() - folded.len(), 5);
    let rows = minute_rows(&bars, &facts);
    assert_eq!(rows, minute_rows(&folded, &facts));
    assert!(rows.len() > 1000 && rows.iter().all(|row| row.frame.time() != time(9, 30)));
}

#[test]
fn an_auction_whose_minute_never_comes_is_that_minute() {
    let auction = bar("2024-03-01 09:30", [10.0; 4], 500.0);
    let second = bar("2024-03-01 09:32", [10.0, 10.2, 10.0, 10.1], 100.0);
    let rows = minute_rows(&[auction, second], &known());
    let frames: Vec<_> = rows.iter().map(|row| row.frame.time()).collect();
    assert_eq!(frames, [time(9, 31), time(9, 32)]);
    let next_day = bar("2024-03-04 09:31", [10.0; 4], 100.0);
    let rows = minute_rows(&[auction, next_day], &known());
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].frame, auction.frame.date().and_time(time(9, 31)));
    assert_eq!(minute_rows(&[auction], &known()).len(), 1, "settled at the end");
}

#[test]
fn an_auction_sent_twice_counts_once_and_a_minute_keeps_the_higher_version() {
    let auction = bar("2024-03-01 09:30", [10.0; 4], 500.0);
    let minute = bar("2024-03-01 09:31", [10.0, 10.1, 10.0, 10.1], 100.0);
    let (mut features, mut rows) = (MinuteFeatures::new(symbol()), Vec::new());
    let calendar = Calendar::published();
    for (bar, version) in [(auction, 7), (auction, 9), (minute, 8)] {
        features.push(&bar, version, &known(), &calendar, &mut rows).unwrap();
    }
    let once = minute_rows(&[auction, minute], &known());
    assert_eq!(rows, [MinuteRow { bar_version: 9, ..once[0] }]);
    let late = features.push(&auction, 10, &known(), &calendar, &mut rows);
    assert!(matches!(late, Err(PushError::NotNewer { .. })), "{late:?}");
}

#[test]
fn a_minute_without_volume_has_no_row_and_leaves_no_trace() {
    let (bars, facts) = market::minutes(3);
    let mut padded = Vec::new();
    for bar in &bars {
        let silent = MinuteBar { vol: 0.0, amount: Some(0.0), ..*bar };
        // At 09:31 it would say that the auction was all there is.
        padded.extend(Some(silent).filter(|silent| silent.frame.time() != time(9, 31)));
        padded.push(*bar);
    }
    assert!(bars.iter().any(|bar| bar.vol == 0.0), "the market has silent minutes");
    assert_eq!(minute_rows(&padded, &facts), minute_rows(&bars, &facts));
}

#[test]
fn the_average_price_is_the_sessions_and_begins_anew_each_day() {
    let bars = [
        bar("2024-03-01 09:30", [10.0; 4], 300.0),
        bar("2024-03-01 09:31", [10.0, 10.2, 10.0, 10.2], 100.0),
        bar("2024-03-01 13:01", [10.2, 10.4, 10.2, 10.4], 600.0),
        bar("2024-03-04 09:31", [10.4; 4], 100.0),
    ];
    let gaps: Vec<_> =
        minute_rows(&bars, &known()).iter().map(|minute| minute.row.by_name("vwap_gap").unwrap()).collect();
    let (first, second) = (4020.0 / 400.0, (4020.0 + 6240.0) / 1000.0);
    let want = [10.2 / first - 1.0, 10.4 / second - 1.0, 0.0];
    assert!(gaps.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12), "{gaps:?} {want:?}");
}

#[test]
fn without_turnover_the_average_price_is_null_for_the_rest_of_the_day_only() {
    let mut bars = [
        bar("2024-03-01 09:31", [10.0; 4], 300.0),
        bar("2024-03-01 09:32", [10.0; 4], 300.0),
        bar("2024-03-04 09:31", [10.0; 4], 300.0),
    ];
    bars[0].amount = None;
    let gaps: Vec<_> =
        minute_rows(&bars, &known()).iter().map(|minute| minute.row.by_name("vwap_gap")).collect();
    assert_eq!(gaps, [None, None, Some(0.0)]);
}

/// Features a bar decides alone: known even where no factor is.
const ALONE: [&str; 7] =
    ["vwap_gap", "upper_shadow", "lower_shadow", "close_pos", "limit_state", "is_st", "susp_gap"];

#[test]
fn a_day_without_a_factor_is_null_where_it_matters_and_never_bridged() {
    let (bars, facts) = market::minutes(4);
    let second_day = bars[241].frame.date();
    let unknown = Facts { adjust: None, ..facts };
    let (mut features, mut rows) = (MinuteFeatures::new(bars[0].symbol), Vec::new());
    for bar in &bars {
        let facts = if bar.frame.date() == second_day { &unknown } else { &facts };
        features.push(bar, 1, facts, &Calendar::published(), &mut rows).unwrap();
    }
    let mut first = rows.iter().filter(|row| row.frame.date() < second_day);
    assert!(first.next_back().unwrap().row.valid, "the day before is valid");
    for minute in rows.iter().filter(|row| row.frame.date() == second_day) {
        assert!(!minute.row.valid);
        for (at, feature) in LIST.iter().enumerate() {
            assert_eq!(minute.row.get(at).is_some(), ALONE.contains(&feature.name), "{}", feature.name);
        }
    }
    let after: Vec<_> = rows.iter().filter(|row| row.frame.date() > second_day).collect();
    let anew: Vec<_> = bars.iter().copied().filter(|bar| bar.frame.date() > second_day).collect();
    for (got, want) in after.iter().zip(minute_rows(&anew, &facts)) {
        assert_eq!(got.row, want.row, "{}: history begins after the gap", got.frame);
    }
    let valid_from = usize::try_from(VALID_FROM).unwrap();
    assert!(!after[valid_from - 1].row.valid && after[valid_from].row.valid);
}

#[test]
fn an_index_needs_no_factor_and_a_share_does() {
    let known = market::days(1, 3).swap_remove(0);
    for (security, has) in [("000001.SH", true), ("600000.SH", false)] {
        let symbol = security.parse().unwrap();
        let mut features = DayFeatures::new(symbol);
        for bar in &known {
            let bar = sqep::DayBar { symbol, adjust: None, ..*bar };
            let row = features.push(&bar, &Calendar::published()).unwrap().unwrap();
            assert_eq!(row.by_name("ret_1").is_some(), has && bar.frame != known[0].frame, "{security}");
        }
    }
}

#[test]
fn limits_and_treatment_come_from_what_is_known_before_the_open() {
    let day = "2024-03-01".parse().unwrap();
    let mut known = RefDay {
        symbol: symbol(),
        frame: day,
        adjust: Some(1.0),
        st: Some(true),
        buy_limit: Some(10.5),
        sell_limit: Some(9.5),
    };
    for (close, state) in [(10.5, 1.0), (10.49, 0.0), (10.0, 0.0), (9.51, 0.0), (9.5, -1.0)] {
        let bar = bar("2024-03-01 09:31", [close; 4], 100.0);
        let row = minute_rows(&[bar], &Facts::from(&known))[0].row;
        assert_eq!(row.by_name("limit_state"), Some(state), "{close}");
        assert_eq!(row.by_name("is_st"), Some(1.0));
    }
    known = RefDay { st: None, buy_limit: None, sell_limit: None, ..known };
    let row = minute_rows(&[bar("2024-03-01 09:31", [10.5; 4], 100.0)], &Facts::from(&known))[0].row;
    assert_eq!((row.by_name("limit_state"), row.by_name("is_st")), (Some(0.0), Some(0.0)));
}

#[test]
fn sessions_missed_count_at_the_first_minute_of_the_day() {
    let bars = [
        bar("2024-03-01 15:00", [10.0; 4], 100.0),
        bar("2024-03-06 09:31", [10.0; 4], 100.0),
        bar("2024-03-06 09:32", [10.0; 4], 100.0),
    ];
    let gaps: Vec<_> =
        minute_rows(&bars, &known()).iter().map(|minute| minute.row.by_name("susp_gap").unwrap()).collect();
    assert_eq!(gaps, [0.0, 2.0, 0.0]);
}
