//! The views on values known by hand.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use chrono::{NaiveDate, NaiveDateTime};
use sqep::{
    DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay, Symbol, kind::Grid, record::Cell,
};
use sqep_testkit::TestClickHouse;

use crate::common::{sink, write};

const MINUTE: Kind = Kind::BarMinute(Grid::M1);

fn symbol(text: &str) -> Symbol {
    text.parse().unwrap()
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// A bar around `close`, one yuan up and down.
fn day(code: &str, frame: &str, close: f64, adjust: Option<f64>) -> DayBar {
    DayBar {
        symbol: symbol(code),
        frame: date(frame),
        open: close - 0.5,
        high: close + 1.0,
        low: close - 1.0,
        close,
        vol: 100.0,
        amount: Some(close * 100.0),
        adjust,
        st: Some(false),
        buy_limit: Some(close + 2.0),
        sell_limit: Some(close - 2.0),
    }
}

fn minute(code: &str, frame: &str, close: f64, amount: Option<f64>) -> MinuteBar {
    MinuteBar {
        symbol: symbol(code),
        frame: NaiveDateTime::parse_from_str(frame, "%Y-%m-%d %H:%M").unwrap(),
        open: close - 0.25,
        high: close + 0.5,
        low: close - 0.5,
        close,
        vol: 10.0,
        amount,
    }
}

/// A security whose price halves and factor doubles on 3 January; another that was not traded that day.
async fn days(server: &TestClickHouse) {
    let mut sink = sink::<DayBar>(server, Kind::BarDay);
    let bars = [
        (day("000001.SZ", "2025-01-02", 10.0, Some(2.0)), 1),
        (day("000001.SZ", "2025-01-03", 9.0, Some(4.0)), 2),
        (day("000001.SZ", "2025-01-03", 5.0, Some(4.0)), 3),
        (day("000001.SZ", "2025-01-06", 6.0, Some(4.0)), 4),
        (day("600000.SH", "2025-01-02", 20.0, None), 4),
        (day("600000.SH", "2025-01-06", 22.0, None), 4),
    ];
    write(&mut sink, &bars).await.unwrap();
}

fn ask(server: &TestClickHouse, sql: &str) -> Vec<String> {
    server.ask(sql).unwrap().lines().map(|line| line.replace('\t', " ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_row_is_that_of_the_highest_version_and_prices_adjust_both_ways() {
    let server = TestClickHouse::start().unwrap();
    days(&server).await;
    let of = |view: &str, more: &str| {
        ask(
            &server,
            &format!(
                "SELECT frame, open, close, buy_limit{more} FROM {view} WHERE symbol = 2000001 ORDER BY frame"
            ),
        )
    };
    assert_eq!(
        of("bar_1d_current", ", version"),
        ["2025-01-02 9.5 10 12 1", "2025-01-03 4.5 5 7 3", "2025-01-06 5.5 6 8 4"]
    );
    assert_eq!(of("bar_1d_hfq", ""), ["2025-01-02 19 20 24", "2025-01-03 18 20 28", "2025-01-06 22 24 32"]);
    assert_eq!(
        of("bar_1d_qfq(as_of = '2025-01-06')", ""),
        ["2025-01-02 4.75 5 6", "2025-01-03 4.5 5 7", "2025-01-06 5.5 6 8"]
    );
    assert_eq!(of("bar_1d_qfq(as_of = '2025-01-02')", ""), ["2025-01-02 9.5 10 12"]);
    let unknown = ask(&server, "SELECT close FROM bar_1d_hfq WHERE symbol = 1600000 LIMIT 1");
    assert_eq!(unknown, ["\\N"], "no factor is no price, never the raw one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_across_the_market_has_names_and_changes_on_one_footing() {
    let server = TestClickHouse::start().unwrap();
    days(&server).await;
    server
        .ask("INSERT INTO symbol (symbol, code, name, version) VALUES (2000001, '000001.SZ', '平安银行', 1)")
        .unwrap();
    server.ask("SYSTEM RELOAD DICTIONARY symbols").unwrap();
    assert_eq!(
        ask(
            &server,
            "SELECT code, name, close, close_before, round(change, 6) FROM bar_1d_on(day = '2025-01-03')"
        ),
        ["000001.SZ 平安银行 5 5 0"]
    );
    assert_eq!(
        ask(
            &server,
            "SELECT code, close, round(change, 6) FROM bar_1d_on(day = '2025-01-06') ORDER BY symbol"
        ),
        ["600000.SH 22 \\N", "000001.SZ 6 0.2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_has_the_factor_known_by_then_and_limits_of_its_own_day_only() {
    let server = TestClickHouse::start().unwrap();
    days(&server).await;
    // Before the open of the 7th its limits are known, its bar is not; of the 8th nothing is known.
    let known = RefDay {
        symbol: symbol("000001.SZ"),
        frame: date("2025-01-07"),
        adjust: Some(8.0),
        st: Some(true),
        buy_limit: Some(6.6),
        sell_limit: Some(5.4),
    };
    write(&mut sink::<RefDay>(&server, Kind::RefDay), &[(known, 5)]).await.unwrap();
    let minutes = ["2025-01-01 10:00", "2025-01-03 10:00", "2025-01-07 10:00", "2025-01-08 10:00"];
    let bars = minutes.map(|frame| (minute("000001.SZ", frame, 5.0, None), 6));
    write(&mut sink::<MinuteBar>(&server, MINUTE), &bars).await.unwrap();
    assert_eq!(
        ask(
            &server,
            "SELECT frame, close, adjust, close_hfq, st, buy_limit, sell_limit FROM bar_1m_day(from_day = '2025-01-01', to_day \
             = '2025-01-31') ORDER BY frame"
        ),
        [
            "2025-01-01 10:00:00 5 \\N \\N \\N \\N \\N",
            "2025-01-03 10:00:00 5 4 20 false 7 3",
            "2025-01-07 10:00:00 5 8 40 true 6.6 5.4",
            "2025-01-08 10:00:00 5 8 40 \\N \\N \\N",
        ]
    );
}

/// What is known of days comes from two tables, and neither takes back what only the other knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_know_a_factor_takes_none_back() {
    let server = TestClickHouse::start().unwrap();
    let limits = |frame: &str| RefDay {
        symbol: symbol("000001.SZ"),
        frame: date(frame),
        buy_limit: Some(11.0),
        sell_limit: Some(9.0),
        ..RefDay::blank()
    };
    let bare = |frame| DayBar {
        st: None,
        buy_limit: None,
        sell_limit: None,
        ..day("000001.SZ", frame, 10.0, Some(2.0))
    };
    // Of the 2nd the limits come after the bar, of the 3rd before it; of the 6th nothing but limits is known.
    let bars = [(bare("2025-01-02"), 1), (bare("2025-01-03"), 4)];
    write(&mut sink::<DayBar>(&server, Kind::BarDay), &bars).await.unwrap();
    let known = [(limits("2025-01-02"), 2), (limits("2025-01-03"), 3), (limits("2025-01-06"), 5)];
    write(&mut sink::<RefDay>(&server, Kind::RefDay), &known).await.unwrap();
    let facts = "SELECT frame, adjust, buy_limit, sell_limit FROM day_facts ORDER BY frame";
    assert_eq!(ask(&server, facts), ["2025-01-02 2 11 9", "2025-01-03 2 11 9", "2025-01-06 \\N 11 9"]);
    let minutes = ["2025-01-02 10:00", "2025-01-03 10:00", "2025-01-06 10:00"];
    let minutes = minutes.map(|frame| (minute("000001.SZ", frame, 5.0, None), 6));
    write(&mut sink::<MinuteBar>(&server, MINUTE), &minutes).await.unwrap();
    let of = "FROM bar_1m_day(from_day = '2025-01-01', to_day = '2025-01-31') ORDER BY frame";
    assert_eq!(
        ask(&server, &format!("SELECT toDate(frame), adjust, close_hfq, buy_limit {of}")),
        ["2025-01-02 2 10 11", "2025-01-03 2 10 11", "2025-01-06 2 10 11"],
        "the last factor known by then, though newer rows have none"
    );
    let none = "SELECT count() FROM bar_1m_day(from_day = '2025-01-04', to_day = '2025-01-05')";
    assert_eq!(ask(&server, none), ["0"], "only the days that were asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_minutes_with_their_days_reads_neither_other_years_nor_other_months() {
    let server = TestClickHouse::start().unwrap();
    for kind in [Kind::BarDay, MINUTE] {
        match kind {
            Kind::BarDay => sink::<DayBar>(&server, kind).prepare().await.unwrap(),
            _ => sink::<MinuteBar>(&server, kind).prepare().await.unwrap(),
        }
    }
    // Ten years of fifty securities; a year of some of their minutes.
    server
        .ask(
            "INSERT INTO bar_1d (symbol, frame, adjust, version) SELECT 2000001 + number % 50, toDate('2015-07-01') + \
             intDiv(number, 50), 2, 1 FROM numbers(50 * 3650)",
        )
        .unwrap();
    server
        .ask(
            "INSERT INTO bar_1m (symbol, frame, close, version) SELECT 2000001 + number % 50, toDateTime('2024-07-01 \
             10:00:00', 'Asia/Shanghai') + 86400 * intDiv(number, 50), 5, 1 FROM numbers(50 * 360)",
        )
        .unwrap();
    let june = "bar_1m_day(from_day = '2025-06-01', to_day = '2025-06-20')";
    assert_eq!(ask(&server, &format!("SELECT count(), sum(close_hfq) FROM {june}")), ["1000 10000"]);
    let read = |what: &str| -> Vec<(String, u32)> {
        let sql = format!("SELECT table, rows FROM (EXPLAIN ESTIMATE SELECT * FROM {what}) ORDER BY table");
        let lines = ask(&server, &sql);
        let table = |line: &String| {
            line.split_once(' ').map(|(table, rows)| (table.to_owned(), rows.parse().unwrap()))
        };
        lines.iter().map(|line| table(line).unwrap()).collect()
    };
    let all = read(june);
    assert_eq!((all[0].0.as_str(), all[1].0.as_str()), ("bar_1d", "bar_1m"));
    assert!(all[0].1 <= 50 * 366 * 3, "two years for the factor, one for the limits, of eleven: {all:?}");
    assert!(all[1].1 <= 50 * 31, "a month of twelve: {all:?}");
    server
        .ask(
            "INSERT INTO bar_1d (symbol, frame, adjust, version) SELECT 2000101 + number % 1000, toDate('2025-01-01') + \
             intDiv(number, 1000), 2, 1 FROM numbers(1000 * 180)",
        )
        .unwrap();
    let one = read(&format!("{june} WHERE symbol = 2000001"));
    assert!(one[0].1 <= all[0].1, "the factors of no other security: {one:?}");
    let longer = read("bar_1m_to_5m WHERE day = '2025-06-03'");
    assert!(longer[0].1 <= 50 * 31, "a month of twelve: {longer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn longer_bars_end_where_their_label_says_and_the_auction_is_in_the_first() {
    let server = TestClickHouse::start().unwrap();
    let at = |minute_of_day: u32| format!("2025-01-03 {:02}:{:02}", minute_of_day / 60, minute_of_day % 60);
    // 09:30, 09:31 to 11:30, 13:01 to 15:00; the price is the minute of the day.
    let labels: Vec<u32> = (570..=690).chain(781..=900).collect();
    let bars: Vec<_> = labels
        .iter()
        .map(|&label| (minute("000001.SZ", &at(label), f64::from(label), (label != 900).then_some(1.5)), 6))
        .collect();
    write(&mut sink::<MinuteBar>(&server, MINUTE), &bars).await.unwrap();
    let of = |minutes: u32| {
        let what = "formatDateTime(frame, '%H:%i'), open, high, low, close, vol, amount";
        ask(&server, &format!("SELECT {what} FROM bar_1m_to_{minutes}m ORDER BY frame"))
    };
    assert_eq!(
        of(60),
        [
            "10:30 569.75 630.5 569.5 630 610 91.5",
            "11:30 630.75 690.5 630.5 690 600 90",
            "14:00 780.75 840.5 780.5 840 600 90",
            "15:00 840.75 900.5 840.5 900 600 \\N",
        ]
    );
    for (minutes, grid) in [(5, Grid::M5), (15, Grid::M15), (30, Grid::M30)] {
        let rows = of(minutes);
        let expected: Vec<_> = (0..1440).filter(|&label| grid.is_label(label)).map(at).collect();
        let found: Vec<_> = rows.iter().map(|row| format!("2025-01-03 {}", &row[..5])).collect();
        assert_eq!(found, expected);
        assert!(rows[0].contains(" 569.75 "), "the auction opens the first: {}", rows[0]);
    }
    let labels = |minutes: u32| {
        let labels = format!(
            "SELECT formatDateTime(frame, '%H:%i') FROM bar_1m_to(minutes = {minutes}) ORDER BY frame"
        );
        ask(&server, &labels)
    };
    assert_eq!(
        labels(45),
        ["10:15", "11:00", "11:30", "13:45", "14:30", "15:00"],
        "none after the half-day's end"
    );
    assert_eq!(labels(240), ["11:30", "15:00"]);
    assert_eq!(of(5)[0], "09:35 569.75 575.5 569.5 575 60 9");
    assert_eq!(of(5)[1], "09:40 575.75 580.5 575.5 580 50 7.5");
}

/// A row of features all of which are `value`, or none of which is known.
fn features<R: Record>(frame: Cell, value: Option<f64>) -> R {
    let mut row = R::blank();
    for (at, field) in R::FIELDS.iter().enumerate().skip(1).filter(|(_, field)| field.nullable) {
        row.set(at, value.map_or(Cell::Null, Cell::Float));
        assert_eq!(row.get(at) == Cell::Null, value.is_none(), "{}", field.name);
    }
    row.set(0, Cell::Symbol(symbol("000001.SZ")));
    row.set(1, frame);
    row
}

/// A row that is there, withdrawn, and there again; beside it one that stays.
/// An auction without a trade shows the close before, on an ex-day another price altogether.
#[tokio::test(flavor = "multi_thread")]
async fn minutes_without_volume_set_no_price_of_a_longer_bar_that_was_traded() {
    let server = TestClickHouse::start().unwrap();
    let mut sink = sink::<MinuteBar>(&server, Kind::BarMinute(Grid::M1));
    let of = |frame: &str, close, vol| {
        (MinuteBar { vol, ..minute("000001.SZ", frame, close, Some(close * vol)) }, 1)
    };
    let bars = [
        of("2025-06-03 09:30", 20.0, 0.0),
        of("2025-06-03 09:31", 10.0, 10.0),
        of("2025-06-03 09:32", 12.0, 10.0),
        of("2025-06-03 09:33", 30.0, 0.0),
        of("2025-06-03 09:36", 5.0, 0.0),
        of("2025-06-03 09:37", 6.0, 0.0),
    ];
    write(&mut sink, &bars).await.unwrap();
    let longer = ask(
        &server,
        "SELECT formatDateTime(frame, '%H:%i'), open, high, low, close, vol FROM bar_1m_to_5m ORDER BY frame",
    );
    assert_eq!(
        longer,
        ["09:35 9.75 12.5 9.5 12 20", "09:40 4.75 6.5 4.5 6 0"],
        "quiet ones have what there is"
    );
}

async fn withdrawn<R: Record>(server: &TestClickHouse, kind: Kind, frames: [Cell; 2]) {
    let mut sink = sink::<R>(server, kind);
    let of = |sql: &str| ask(server, &sql.replace("VIEW", &format!("{}_current", kind.table())));
    let held = "SELECT ret_1, susp_gap FROM VIEW ORDER BY frame";
    let both = [(features::<R>(frames[0], Some(1.0)), 1), (features(frames[1], Some(2.0)), 2)];
    write(&mut sink, &both).await.unwrap();
    assert_eq!(of(held), ["1 1", "2 2"]);
    write(&mut sink, &[(features::<R>(frames[0], None), 3)]).await.unwrap();
    assert_eq!(of(held), ["2 2"], "neither the row without numbers nor the one it withdraws");
    write(&mut sink, &[(features::<R>(frames[0], Some(4.0)), 4)]).await.unwrap();
    assert_eq!(of(held), ["4 4", "2 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_features_that_was_withdrawn_is_not_shown() {
    let server = TestClickHouse::start().unwrap();
    let days = ["2025-01-02", "2025-01-03"].map(|day| Cell::Date(date(day)));
    withdrawn::<DayFeature>(&server, Kind::FeatureDay, days).await;
    let minute = |text| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
    let minutes = ["2025-01-02 09:31", "2025-01-02 09:32"].map(|text| Cell::Minute(minute(text)));
    withdrawn::<MinuteFeature>(&server, Kind::FeatureMinute, minutes).await;
}
