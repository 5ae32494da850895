//! The tables have the habits of the service's: units, gaps, contradictions, hours of update.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde_json::json;
use sqep::{Calendar, symbol::Class};
use sqep_testkit::{
    given,
    market::{Market, Plan},
    tushare::{Cell, FakeTushare, Faults, Row, World},
};

use crate::http::{ask, ask_fields, column, items, numbers, texts};

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Half a year of 150 securities: large enough for everything rare.
fn half_a_year() -> World {
    World::generated(7, 150, date("2025-07-01"), date("2025-12-31"))
}

fn key(row: &Row) -> (String, String) {
    (row.code().to_owned(), row.time().to_owned())
}

fn keys(world: &World, api: &str) -> BTreeSet<(String, String)> {
    world.table(api).iter().map(key).collect()
}

#[test]
fn bars_are_the_markets_in_lots_and_thousands_of_yuan() {
    let (from, to) = (date("2026-06-01"), date("2026-06-30"));
    let calendar = Calendar::published();
    let days = calendar.sessions(from, to).count();
    let market = Market::new(&Plan { seed: 7, symbols: 40, days, to }, &calendar).unwrap();
    let world = World::generated(7, 40, from, to);
    let gone: Vec<&str> = world
        .table("stock_basic")
        .iter()
        .filter(|row| row.text("list_status") == "D")
        .map(Row::code)
        .collect();
    let mut compared = 0;
    for security in market.securities() {
        let api = match security.symbol.class() {
            Class::Index => "index_daily",
            Class::Fund => "fund_daily",
            _ => "daily",
        };
        let code = security.symbol.to_string();
        let rows: Vec<&Row> = world.table(api).iter().rev().filter(|row| row.code() == code).collect();
        assert!(rows.len() + 10 > days || security.listed > from || gone.contains(&code.as_str()));
        for (bar, row) in market.days(security.symbol).zip(rows) {
            assert_eq!(row.time(), bar.frame.format("%Y%m%d").to_string());
            let prices = ["open", "high", "low", "close"].map(|name| row.number(name).unwrap());
            assert_eq!(prices.to_vec(), [bar.open, bar.high, bar.low, bar.close].to_vec());
            let (vol, amount) = (row.number("vol").unwrap(), row.number("amount").unwrap());
            assert_eq!(((vol * 100.0).round(), (amount * 1_000.0).round()), (bar.vol, bar.amount.unwrap()));
            let decimals = |number: f64| number.to_string().split_once('.').map_or(0, |(_, rest)| rest.len());
            assert!(decimals(vol) <= 2 && decimals(amount) <= 3, "{vol} {amount}");
            compared += 1;
        }
    }
    assert!(compared > 700, "{compared}");
}

#[test]
fn a_suspended_stock_has_a_factor_a_limit_and_a_word_but_no_bar() {
    let world = half_a_year();
    let (bars, factors, limits) =
        (keys(&world, "daily"), keys(&world, "adj_factor"), keys(&world, "stk_limit"));
    let suspended: Vec<&Row> =
        world.table("suspend_d").iter().filter(|row| row.text("suspend_type") == "S").collect();
    let (whole, part): (Vec<&Row>, Vec<&Row>) =
        suspended.into_iter().partition(|row| row.cell("suspend_timing") == &Cell::Null);
    assert!(whole.len() > 20 && part.len() > 5, "{} and {}", whole.len(), part.len());
    assert!(whole.iter().all(|row| !bars.contains(&key(row)) && limits.contains(&key(row))));
    assert!(part.iter().all(|row| bars.contains(&key(row)) && row.text("suspend_timing") == "09:30-10:00"));
    assert!(whole.iter().filter(|row| factors.contains(&key(row))).count() + 2 >= whole.len());
    let gaps = bars.iter().filter(|key| !factors.contains(*key)).count();
    assert!((1..50).contains(&gaps), "{gaps} bars without a factor");
    assert!(world.table("suspend_d").iter().any(|row| row.text("suspend_type") == "R"));
}

#[test]
fn limits_mean_none_in_two_ways_and_cover_funds_and_b_shares() {
    let world = half_a_year();
    let limits = world.table("stk_limit");
    let count = |test: &dyn Fn(&Row) -> bool| limits.iter().filter(|row| test(row)).count();
    assert!(count(&|row| row.cell("up_limit") == &Cell::Null) > 3);
    assert!(
        count(&|row| row.number("up_limit") == Some(99_999.99) && row.number("down_limit") == Some(0.01)) > 3
    );
    let class = |row: &Row| row.code().parse::<sqep::Symbol>().unwrap().class();
    assert!(count(&|row| class(row) == Class::Fund) > 100);
    assert!(count(&|row| class(row) == Class::BShare) > 100);
    assert_eq!(count(&|row| class(row) == Class::Index), 0);
}

#[tokio::test]
async fn a_day_of_limits_of_the_whole_market_exceeds_the_rows_of_a_call() {
    let world = World::generated(7, 6_200, date("2026-06-30"), date("2026-06-30"));
    let fake = FakeTushare::start(world, Faults::default()).await.unwrap();
    let first = ask(&fake, "stk_limit", json!({"trade_date": "20260630"})).await;
    let rest = ask(&fake, "stk_limit", json!({"trade_date": "20260630", "offset": "5800"})).await;
    let bars = ask(&fake, "daily", json!({"trade_date": "20260630"})).await;
    assert_eq!(items(&first).len(), 5_800);
    assert!(items(&rest).len() > 500);
    assert!((4_500..6_000).contains(&items(&bars).len()));
}

#[test]
fn names_change_with_special_treatment_and_some_rows_come_twice_without_an_end() {
    let world = half_a_year();
    let treated: BTreeSet<&str> = world.table("stock_st").iter().map(Row::code).collect();
    let starred: BTreeSet<&str> = world
        .table("namechange")
        .iter()
        .filter(|row| row.text("name").starts_with("*ST"))
        .map(Row::code)
        .collect();
    assert!(!treated.is_empty());
    assert_eq!(treated, starred);
    let open = world.table("namechange").iter().filter(|row| row.cell("end_date") == &Cell::Null);
    let open: Vec<_> = open.map(|row| (row.code(), row.text("name"), row.text("start_date"))).collect();
    let distinct: BTreeSet<_> = open.iter().collect();
    assert!(distinct.len() < open.len());
}

#[test]
fn delisted_stocks_end_and_beijings_have_their_former_number_before_its_end() {
    let world = half_a_year();
    let gone: Vec<&Row> =
        world.table("stock_basic").iter().filter(|row| row.text("list_status") == "D").collect();
    let before = gone.iter().filter(|row| row.text("delist_date") < "20250701").count();
    assert_eq!(before, 1, "one left long ago");
    assert!(gone.len() >= before + 2);
    for row in gone.into_iter().filter(|row| row.text("delist_date") >= "20250701") {
        let of_it = world.table("daily").iter().filter(|bar| bar.code() == row.code());
        let last = of_it.map(Row::time).max().unwrap();
        assert!(last < row.text("delist_date"));
    }
    let mapping = world.table("bse_mapping");
    assert_eq!(mapping.len(), 248);
    let (old, new) = ("873001.BJ", "920001.BJ");
    assert!(mapping.iter().any(|row| (row.text("o_code"), row.text("n_code")) == (old, new)));
    for api in ["daily", "adj_factor", "stk_limit"] {
        let days = |code: &str| -> Vec<&str> {
            world.table(api).iter().filter(|row| row.code() == code).map(Row::time).collect()
        };
        assert!(days(old).iter().all(|day| *day < "20251009") && days(old).len() > 50, "{api}");
        assert!(days(new).iter().all(|day| *day >= "20251009") && days(new).len() > 50, "{api}");
    }
    assert!(world.table("stock_basic").iter().all(|row| row.code() != old));
}

#[tokio::test]
async fn a_day_has_241_minutes_with_silence_before_the_close_and_folds_into_longer_ones() {
    let world = World::generated(7, 20, date("2026-06-01"), date("2026-06-30"));
    let day = world.table("daily").iter().find(|row| row.code() == "000001.SZ").unwrap().clone();
    let fake = FakeTushare::start(world, Faults::default()).await.unwrap();
    for (freq, count) in [("1min", 241), ("5min", 48), ("15min", 16), ("30min", 8), ("60min", 4)] {
        let params = json!({"ts_code": "000001.SZ", "freq": freq, "start_date": "2026-06-30 00:00:00"});
        let answer = ask(&fake, "stk_mins", params).await;
        assert_eq!(items(&answer).len(), count, "{freq}");
        let total = |name: &str| numbers(&answer, name).iter().sum::<f64>();
        assert!((total("vol") - day.number("vol").unwrap() * 100.0).abs() < 0.5, "{freq}");
        assert!((total("amount") - day.number("amount").unwrap() * 1_000.0).abs() < 0.5, "{freq}");
        let highest = numbers(&answer, "high").into_iter().fold(f64::MIN, f64::max);
        assert_eq!(Some(highest), day.number("high"), "{freq}");
        let times = texts(&answer, "trade_time");
        assert!(times.is_sorted_by(|a, b| a > b), "newest first");
        assert_eq!(times[0], "2026-06-30 15:00:00");
        if freq == "1min" {
            assert_eq!(times[240], "2026-06-30 09:30:00");
            assert_eq!(numbers(&answer, "vol")[1..3], [0.0, 0.0], "14:59 and 14:58");
        }
    }
    let last_days = ask(&fake, "stk_mins", json!({"ts_code": "000001.SZ", "freq": "60min"})).await;
    let first = texts(&last_days, "trade_time").pop().unwrap();
    assert!(first.as_str() >= "2026-06-20", "ten calendar days: {first}");
    let index = ask(&fake, "idx_mins", json!({"ts_code": "000001.SH", "freq": "5min"})).await;
    assert!(items(&index).len() > 48);
    assert_eq!(
        items(&ask(&fake, "idx_mins", json!({"ts_code": "000001.SZ", "freq": "5min"})).await).len(),
        0
    );
}

#[tokio::test]
async fn minutes_page_like_everything_else_and_can_be_taken_away() {
    let mut world = World::generated(7, 4, date("2026-01-05"), date("2026-06-30"));
    let fake = FakeTushare::start(world.clone(), Faults::default()).await.unwrap();
    let page = |offset: usize| json!({"ts_code": "000001.SZ", "freq": "1min", "start_date": "2026-01-01 00:00:00", "offset": offset.to_string()});
    let mut times = vec![];
    loop {
        let answer = ask(&fake, "stk_mins", page(times.len())).await;
        times.extend(texts(&answer, "trade_time"));
        if items(&answer).len() < 8_000 {
            break;
        }
    }
    let days = world.table("daily").iter().filter(|row| row.code() == "000001.SZ").count();
    assert_eq!(times.len(), days * 241);
    assert!(times.is_sorted_by(|a, b| a > b));

    world.remove("stk_mins", |row| row.time().starts_with("2026-06-30"));
    fake.set_world(world);
    let left = ask(&fake, "stk_mins", page(0)).await;
    assert_eq!(texts(&left, "trade_time")[0], "2026-06-29 15:00:00");
}

#[tokio::test]
async fn live_quotes_know_the_minutes_up_to_now() {
    let mut world = World::generated(7, 20, date("2026-06-01"), date("2026-06-30"));
    world.set_now(Some("2026-06-30T10:01:30".parse().unwrap()));
    let fake = FakeTushare::start(world, Faults::default()).await.unwrap();
    let codes = "000001.SZ,605000.SH";
    let live = ask(&fake, "rt_min", json!({"ts_code": codes, "freq": "1MIN"})).await;
    assert_eq!(texts(&live, "time"), ["2026-06-30 10:01:00"; 2]);
    let day = ask(&fake, "rt_min_daily", json!({"ts_code": "000001.SZ", "freq": "1MIN"})).await;
    assert_eq!(
        day["data"]["fields"],
        json!(["code", "freq", "time", "open", "close", "high", "low", "vol", "amount"])
    );
    assert!(texts(&day, "time").is_sorted());
    assert_eq!((items(&day).len(), &texts(&day, "time")[0]), (32, &"2026-06-30 09:30:00".to_owned()));
    let quotes = ask(&fake, "rt_k", json!({"ts_code": "6*.SH,9*.BJ"})).await;
    assert!(texts(&quotes, "ts_code").iter().all(|code| code.starts_with(['6', '9'])));
    assert!(items(&quotes).len() > 5);
    let one = ask(&fake, "rt_k", json!({"ts_code": "000001.SZ"})).await;
    let so_far: f64 = numbers(&day, "vol").iter().sum();
    assert!((numbers(&one, "vol")[0] - so_far).abs() < 0.5);
}

#[tokio::test]
async fn the_rows_of_a_day_appear_at_the_hour_of_their_api() {
    let fake = FakeTushare::start(
        World::generated(7, 20, date("2026-06-01"), date("2026-06-30")),
        Faults::default(),
    )
    .await
    .unwrap();
    let there = async |time: &str| {
        fake.set_now(format!("2026-06-30T{time}:00").parse().unwrap());
        let mut there = vec![];
        for api in ["stk_limit", "adj_factor", "daily"] {
            let answer = ask(&fake, api, json!({"trade_date": "20260630", "limit": "1"})).await;
            there.push(items(&answer).len());
        }
        there
    };
    assert_eq!(there("08:39").await, [0, 0, 0]);
    assert_eq!(there("08:40").await, [1, 0, 0]);
    assert_eq!(there("09:20").await, [1, 1, 0]);
    assert_eq!(there("15:59").await, [1, 1, 0]);
    assert_eq!(there("16:00").await, [1, 1, 1]);
    let minutes = json!({"ts_code": "000001.SZ", "freq": "1min", "limit": "10"});
    let newest = texts(&ask(&fake, "stk_mins", minutes.clone()).await, "trade_time");
    assert_eq!((newest.len(), newest[0].as_str()), (10, "2026-06-29 15:00:00"));
    assert_eq!(there("19:30").await, [1, 1, 1]);
    assert_eq!(texts(&ask(&fake, "stk_mins", minutes).await, "trade_time")[0], "2026-06-30 15:00:00");
    assert_eq!(
        items(&ask(&fake, "trade_cal", json!({"start_date": "20261231"})).await).len(),
        1,
        "the future is planned"
    );
}

#[tokio::test]
async fn a_stock_is_listed_until_the_day_it_is_not() {
    let fake = FakeTushare::start(half_a_year(), Faults::default()).await.unwrap();
    let fields = "ts_code,delist_date,list_date";
    let gone = async || ask_fields(&fake, "stock_basic", json!({"list_status": "D"}), fields).await;
    let (all, days) = (items(&gone().await).len(), texts(&gone().await, "delist_date"));
    let day = days.iter().max().unwrap();
    assert!(all > 1);
    let day = NaiveDate::parse_from_str(day, "%Y%m%d").unwrap();
    fake.set_now(day.pred_opt().unwrap().and_hms_opt(12, 0, 0).unwrap());
    assert_eq!(texts(&gone().await, "delist_date"), ["20070521"], "who left long ago");
    let listed = ask_fields(&fake, "stock_basic", json!({}), fields).await;
    assert!(column(&listed, "delist_date").iter().all(serde_json::Value::is_null));
    fake.set_now(day.and_hms_opt(12, 0, 0).unwrap());
    assert_eq!(items(&gone().await).len(), all);
}

#[test]
fn a_factor_can_be_taken_away_and_come_back() {
    let whole = World::generated(7, 20, date("2026-06-01"), date("2026-06-30"));
    let mut late = whole.clone();
    let meant = |row: &Row| row.code() == "000001.SZ" && row.time() == "20260630";
    assert_eq!(late.remove("adj_factor", meant), 1);
    assert_eq!(whole.table("adj_factor").len(), late.table("adj_factor").len() + 1);
    let row = whole.table("adj_factor").iter().find(|row| meant(row)).unwrap();
    late.put(row.clone());
    assert_eq!(whole.table("adj_factor"), late.table("adj_factor"));
    assert_eq!(late.change("daily", meant, |row| row.set("amount", Cell::Null)), 1);
    assert!(late.table("daily").iter().filter(|row| row.cell("amount") == &Cell::Null).all(meant));
}

#[tokio::test]
async fn files_of_tushares_columns_become_tables() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "daily_2018.csv",
        "ts_code,trade_date,open,high,low,close,vol,amount\n000001.SZ,20180718,8.75,8.85,8.69,8.7,525152.77,460697.377\n",
    );
    write("st_20180718.csv", "ts_code,trade_date,name\n000004.SZ,20180718,*ST国农\n");
    write(
        "meta/trade_cal.csv",
        "\u{feff}exchange,cal_date,is_open,pretrade_date\nSSE,2018-07-18,1,2018-07-17\n",
    );
    write("notes.csv", "nothing,of,ours\n");
    let world = World::from_csv(folder.path()).unwrap();
    assert_eq!(
        world.apis().collect::<Vec<_>>(),
        ["bse_mapping", "daily", "stock_basic", "stock_st", "trade_cal"]
    );
    let fake = FakeTushare::start(world, Faults::default()).await.unwrap();
    let bar = ask_fields(&fake, "daily", json!({"trade_date": "20180718"}), "vol,amount,pre_close").await;
    assert_eq!(items(&bar), &vec![json!([525_152.77, 460_697.377, null])]);
    let open = ask(&fake, "trade_cal", json!({})).await;
    assert_eq!(items(&open), &vec![json!(["SSE", "20180718", 1, "20180717"])]);
    assert_eq!(texts(&ask(&fake, "stock_basic", json!({})).await, "ts_code"), ["000001.SZ"]);

    write("stk_limit_2018.csv", "nothing,of,ours\n1,2,3\n");
    let error = format!("{:#}", World::from_csv(folder.path()).unwrap_err());
    assert!(
        error.contains("stk_limit_2018.csv") && error.contains("names no column of stk_limit"),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(World::from_csv(empty.path()).unwrap_err().to_string().contains("holds no table"));
}

/// Two days of the whole market, where real data is given.
#[tokio::test]
async fn real_files_are_served_row_by_row() {
    let Some(folder) = given::data() else { return };
    let folder = folder.join("tushare/derived_from_quantide");
    let fake = FakeTushare::start(World::from_csv(&folder).unwrap(), Faults::default()).await.unwrap();
    for (api, file) in [
        ("daily", "daily_20250331_20250401.csv"),
        ("adj_factor", "adj_factor_20250331_20250401.csv"),
        ("stk_limit", "stk_limit_20250331_20250401.csv"),
        ("stock_st", "st_20250331_20250401.csv"),
    ] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        for day in ["20250331", "20250401"] {
            let lines = text.lines().skip(1).filter(|line| line.split(',').any(|cell| cell == day));
            let mut expected: Vec<Vec<String>> =
                lines.map(|line| line.split(',').map(number).collect()).collect();
            let params = json!({"trade_date": day});
            let answer = ask_fields(&fake, api, params, &header.join(",")).await;
            let cell =
                |cell: &serde_json::Value| cell.as_str().map_or_else(|| number(&cell.to_string()), number);
            let mut served: Vec<Vec<String>> =
                items(&answer).iter().map(|row| row.as_array().unwrap().iter().map(cell).collect()).collect();
            expected.sort();
            served.sort();
            assert_eq!(served, expected, "{api} {day}");
        }
    }
}

/// A number in one spelling; other text as it is.
fn number(text: &str) -> String {
    if text.len() == 8 && text.starts_with("20") {
        return text.to_owned();
    }
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string())
}
