//! Published rows of the service, in the protocol's units.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeMap;

use sqep::{Calendar, Chunk, DayBar, Kind, MinuteBar, Reason, kind::Grid};
use sqep_tushare::{
    client::{Cell, Table},
    config::AliasChoice,
    judge::judge,
    parse::{Bar, Scale, bars},
    universe::Codes,
};

/// A table as the service sends it: numbers as they are written, anything else as text, blanks as null.
fn table(api: &str, fields: &str, rows: &[&str]) -> Table {
    let cell = |text: &str| match text.parse() {
        _ if text.is_empty() => Cell::Null,
        // A day is text, like a code.
        Ok(number) if text.len() != 8 => Cell::Number(number),
        _ => Cell::Text(text.into()),
    };
    Table {
        api: api.to_owned(),
        fields: fields.split(',').map(str::to_owned).collect(),
        rows: rows.iter().map(|row| row.split(',').map(cell).collect()).collect(),
    }
}

fn judged<R: Bar>(table: &Table, scale: Scale, kind: Kind) -> Chunk<R> {
    let mut chunk = bars::<R>(table, scale, &Codes::new(AliasChoice::Current), None).chunk;
    judge(&mut chunk, kind, &Calendar::published());
    assert_eq!(chunk.read(), u64::try_from(table.rows.len()).unwrap(), "every row is accounted for");
    chunk
}

const DAY: &str = "ts_code,trade_date,open,high,low,close,pre_close,vol,amount";
const MINUTE: &str = "ts_code,trade_time,close,open,high,low,vol,amount";

fn days(rows: &[&str]) -> Chunk<DayBar> {
    judged(&table("daily", DAY, rows), Scale::DAY, Kind::BarDay)
}

fn minutes(rows: &[&str]) -> Chunk<MinuteBar> {
    judged(&table("stk_mins", MINUTE, rows), Scale::MINUTE, Kind::BarMinute(Grid::M1))
}

fn reasons<R>(chunk: &Chunk<R>) -> Vec<Reason> {
    chunk.refused.iter().filter_map(sqep::Refusal::reason).collect()
}

#[test]
fn a_published_day_is_in_shares_and_yuan() {
    let chunk = days(&["000001.SZ,20180718,8.75,8.85,8.69,8.7,8.72,525152.77,460697.377"]);
    let bar = chunk.records[0];
    assert_eq!((bar.vol, bar.amount), (52_515_277.0, Some(460_697_377.0)));
    assert_eq!((bar.open, bar.high, bar.low, bar.close), (8.75, 8.85, 8.69, 8.7));
    assert_eq!((bar.adjust, bar.st, bar.buy_limit, bar.sell_limit), (None, None, None, None));
}

#[test]
fn published_minutes_are_in_shares_and_yuan_already_and_come_out_in_order() {
    let chunk = minutes(&[
        "600000.SH,2023-08-25 15:00:00,7.05,7.05,7.05,7.05,235500,1660275",
        "600000.SH,2023-08-25 14:59:00,7.05,7.05,7.05,7.05,0,0",
        "600000.SH,2023-08-25 14:58:00,7.05,7.05,7.05,7.05,0,0",
        "600000.SH,2023-08-25 14:57:00,7.05,7.06,7.06,7.05,51800,365491",
    ]);
    let vols: Vec<f64> = chunk.records.iter().map(|bar| bar.vol).collect();
    assert_eq!(vols, [51_800.0, 0.0, 0.0, 235_500.0]);
    assert_eq!(chunk.records[3].amount, Some(1_660_275.0));
}

#[test]
fn a_published_minute_of_an_index_keeps_four_decimals() {
    let chunk =
        minutes(&["000001.SH,2023-08-25 15:00:00,3064.0747,3064.1,3064.1,3064.0747,315294700,3.375271e+09"]);
    assert_eq!((chunk.records[0].close, chunk.records[0].amount), (3_064.074_7, Some(3_375_271_000.0)));
}

#[test]
fn a_time_outside_the_session_is_refused_and_after_hours_are_skipped() {
    let chunk = minutes(&[
        "600000.SH,2023-08-25 09:00:00,7.05,7.05,7.05,7.05,100,705",
        "600000.SH,2023-08-25 15:05:00,7.05,7.05,7.05,7.05,100,705",
        "600000.SH,2023-08-25 09:30:00,7.05,7.05,7.05,7.05,100,705",
    ]);
    assert_eq!(chunk.records.len(), 1);
    assert_eq!(reasons(&chunk), [Reason::FrameIllegal]);
    assert_eq!(chunk.skipped, BTreeMap::from([(Reason::AfterHours, 1)]));
}

#[test]
fn units_that_were_changed_under_way_refuse_the_answer_as_a_whole() {
    let chunk = days(&[
        "000001.SZ,20180718,8.75,8.85,8.69,8.7,8.72,52515277,460697377",
        "000002.SZ,20180718,8.75,8.85,8.69,8.7,8.72,52515277,460697.377",
    ]);
    assert!(chunk.records.is_empty());
    assert_eq!((reasons(&chunk), chunk.refused[0].rows), (vec![Reason::UnitsOrAdjusted], 2));
}

#[test]
fn an_old_row_without_trading_is_a_suspension_and_one_without_prices_or_volume_a_gap() {
    let chunk = days(&[
        "000001.SZ,19950718,8.7,8.7,8.7,8.7,8.7,0,0",
        "000002.SZ,19950718,,,,,8.7,,",
        "000005.SZ,19950718,8.7,8.7,8.7,8.7,8.7,,",
        "000003.SZ,19950718,,,,,8.7,525152.77,460697.377",
        "000004.SZ,19950718,8.75,8.85,8.69,8.7,8.72,525152.77,",
    ]);
    assert_eq!(chunk.skipped, BTreeMap::from([(Reason::Suspended, 2)]));
    assert_eq!(reasons(&chunk), [Reason::ValueIllegal, Reason::PriceMissing]);
    assert_eq!((chunk.records.len(), chunk.records[0].amount), (1, None));
    assert_eq!(chunk.warned, BTreeMap::from([(Reason::UnitUnchecked, 1)]));
}

#[test]
fn a_row_that_comes_again_is_skipped_and_one_that_differs_replaces_it() {
    let row = |symbol: &str, close: &str| {
        format!("{symbol},20180718,8.75,8.85,8.69,{close},8.72,525152.77,460697.377")
    };
    let rows =
        [row("000002.SZ", "8.7"), row("000001.SZ", "8.7"), row("000001.SZ", "8.7"), row("000002.SZ", "8.71")];
    let chunk = days(&rows.each_ref().map(String::as_str));
    assert_eq!(chunk.skipped, BTreeMap::from([(Reason::Duplicate, 1)]));
    assert_eq!(reasons(&chunk), [Reason::Conflict]);
    let closes: Vec<f64> = chunk.records.iter().map(|bar| bar.close).collect();
    assert_eq!(closes, [8.7, 8.71]);
}

#[test]
fn b_shares_bonds_and_codes_of_no_exchange_are_refused() {
    let prices = "20180718,8.75,8.85,8.69,8.7,8.72,525152.77,460697.377";
    let rows = ["200011.SZ", "123001.SZ", "000300.CSI", "A00001"].map(|code| format!("{code},{prices}"));
    let chunk = days(&rows.each_ref().map(String::as_str));
    assert!(chunk.records.is_empty());
    let mut found = reasons(&chunk);
    found.sort_unstable();
    assert_eq!(found, [Reason::Currency, Reason::Unit, Reason::SymbolIllegal, Reason::SymbolIllegal]);
}

#[test]
fn a_minute_series_without_any_volume_is_a_suspended_day() {
    let rows: Vec<String> = (31..36)
        .map(|minute| format!("600000.SH,2023-08-25 09:{minute}:00,7.05,7.05,7.05,7.05,0,0"))
        .chain(std::iter::once("600001.SH,2023-08-25 09:31:00,7.05,7.05,7.05,7.05,100,705".to_owned()))
        .collect();
    let chunk = minutes(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(chunk.skipped, BTreeMap::from([(Reason::Suspended, 5)]));
    assert_eq!(chunk.records.len(), 1);
}
