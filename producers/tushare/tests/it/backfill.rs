//! From the service to the stream: the program between a fake service and a private Redis.

#![expect(clippy::float_cmp, reason = "whole shares are whole")]

use sqep::{DayBar, Kind, MinuteBar, Record, RefDay, Symbol, kind::Grid, symbol::Class};
use sqep_testkit::tushare::{Api, Faults, Refusal, Row, World};

use crate::common::{self, Rig, assert_same, day, day_bars, sessions};

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-31";

fn world(symbols: usize) -> World {
    World::generated(7, symbols, day(FROM), day(TO))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_the_market_is_on_the_stream_as_the_service_has_it() {
    let rig = Rig::start(world(40), Faults::default()).await;
    let run = rig.backfill(FROM, TO, &[]).await.good();
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let wanted = day_bars(&rig.fake.world(), day(FROM), day(TO));
    assert_same(&stream.rows, &wanted);
    assert_eq!(stream.count, wanted.len(), "no row comes twice: {}", run.out);
    assert_eq!(rig.letters(Kind::BarDay).await, 0);
    let days = sessions(day(FROM), day(TO)).len();
    let calls = days + 1;
    let told = format!("plan: {days} pieces of work, calls: adj_factor {calls}, daily {calls}");
    assert!(run.out.contains(&told), "{}", run.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_asks_for_no_day_and_publishes_nothing_new() {
    let rig = Rig::start(world(12), Faults::default()).await;
    rig.backfill(FROM, TO, &[]).await.good();
    let by_day = || rig.fake.calls().iter().filter(|call| call.params.contains_key("trade_date")).count();
    let (before, calls) = (rig.stream::<DayBar>(Kind::BarDay).await, by_day());
    rig.backfill(FROM, TO, &[]).await.good();
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, before.count);
    assert_eq!(by_day(), calls, "days that are done cost no call");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_server_is_filled_again_without_a_call() {
    let mut world = world(12);
    common::fill_tables(&mut world);
    let rig = Rig::start(world, Faults::default()).await;
    rig.backfill(FROM, TO, &[]).await.good();
    let (before, calls) = (rig.stream::<DayBar>(Kind::BarDay).await, rig.fake.calls().len());
    rig.redis.command::<String>(&["FLUSHALL"]).await.unwrap();
    rig.backfill(FROM, TO, &[]).await.good();
    let after = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_same(&after.rows, &before.rows);
    assert_eq!((after.count, rig.fake.calls().len()), (before.count, calls), "days without a suspension too");
}

#[tokio::test(flavor = "multi_thread")]
async fn funds_and_indices_are_day_bars_of_their_own_kind() {
    let rig = Rig::start(world(60), Faults::default()).await;
    let indices = [
        "--set",
        "fetch.stocks=false",
        "--set",
        "fetch.funds=true",
        "--set",
        "fetch.indices=[\"000001.SH\"]",
    ];
    let run = rig.backfill(FROM, TO, &indices).await.good();
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let world = rig.fake.world();
    let index: Vec<&DayBar> = stream.rows.values().filter(|bar| bar.symbol.class() == Class::Index).collect();
    assert_eq!(index.len(), sessions(day(FROM), day(TO)).len(), "{}", run.out);
    assert!(index.iter().all(|bar| bar.adjust == Some(1.0) && bar.st.is_none() && bar.buy_limit.is_none()));
    let funds: Vec<&DayBar> = stream.rows.values().filter(|bar| bar.symbol.class() == Class::Fund).collect();
    assert_eq!(funds.len(), world.table("fund_daily").len());
    assert!(funds.iter().all(|bar| bar.adjust.is_some() && bar.st.is_none() && bar.buy_limit.is_some()));
    assert_eq!(stream.count, index.len() + funds.len());
    for row in world.table("fund_daily") {
        let symbol: Symbol = row.code().parse().unwrap();
        let bar = funds
            .iter()
            .find(|bar| bar.symbol == symbol && bar.frame.format("%Y%m%d").to_string() == row.time());
        assert_eq!(bar.unwrap().vol, (row.number("vol").unwrap() * 100.0).round());
    }
    rig.backfill(FROM, TO, &indices).await.good();
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, stream.count, "nothing new");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_before_the_open_is_a_stream_of_its_own() {
    let mut world = world(30);
    common::fill_tables(&mut world);
    let rig = Rig::start(world, Faults::default()).await;
    rig.backfill(FROM, TO, &["--set", "stream.kind=ref:1d"]).await.good();
    let stream = rig.stream::<RefDay>(Kind::RefDay).await;
    let bars = day_bars(&rig.fake.world(), day(FROM), day(TO));
    for bar in bars.values() {
        let known = &stream.rows[&bar.key()];
        assert_eq!((known.adjust, known.st), (bar.adjust, bar.st));
        assert_eq!((known.buy_limit, known.sell_limit), (bar.buy_limit, bar.sell_limit), "{bar:?}");
    }
    let is_stock = |row: &&Row| row.code().parse::<Symbol>().unwrap().class() == Class::Stock;
    let stocks = rig.fake.world().table("stk_limit").iter().filter(is_stock).count();
    assert_eq!(stream.rows.len(), stocks, "suspended stocks too, neither funds nor B shares");
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_of_a_code_add_up_to_its_days() {
    let rig = Rig::start(world(30), Faults::default()).await;
    let set = |key: &str| ["--set".to_owned(), key.to_owned()];
    let arguments: Vec<String> = [
        set("stream.kind=bar:1m"),
        set("fetch.symbols=[\"000001.SZ\", \"601000.SH\"]"),
        set("fetch.indices=[\"000001.SH\"]"),
        set("tushare.caps.stk_mins=1000"),
    ]
    .concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    rig.backfill(FROM, TO, &arguments).await.good();
    let kind = Kind::BarMinute(Grid::M1);
    let stream = rig.stream::<MinuteBar>(kind).await;
    let bars = day_bars(&rig.fake.world(), day(FROM), day(TO));
    let mut days = 0;
    for bar in bars.values().filter(|bar| ["000001.SZ", "601000.SH"].contains(&&*bar.symbol.to_string())) {
        let of_day = |minute: &&MinuteBar| minute.symbol == bar.symbol && minute.frame.date() == bar.frame;
        let minutes: Vec<&MinuteBar> = stream.rows.values().filter(of_day).collect();
        assert_eq!(minutes.len(), 241);
        assert_eq!((minutes[0].open, minutes[240].close), (bar.open, bar.close));
        let (vol, amount) = minutes
            .iter()
            .fold((0.0, 0.0), |(vol, amount), minute| (vol + minute.vol, amount + minute.amount.unwrap()));
        assert_eq!(vol, bar.vol);
        assert!((amount - bar.amount.unwrap()).abs() < 300.0, "{amount} {bar:?}");
        days += 1;
    }
    assert!(days > 30, "{days}");
    assert!(stream.rows.values().any(|minute| minute.symbol.class() == Class::Index));
    let calls = rig.fake.calls().len();
    rig.backfill(FROM, TO, &arguments).await.good();
    assert_eq!(rig.stream::<MinuteBar>(kind).await.count, stream.count, "nothing new");
    assert!(rig.fake.calls().iter().skip(calls).all(|call| !call.api.ends_with("mins")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_minutes_that_is_missing_is_on_record_and_filled_when_it_comes() {
    let whole = world(30);
    let mut holed = whole.clone();
    holed.remove("stk_mins", |row| row.code() == "000001.SZ" && row.time().starts_with("2026-03-05"));
    // Suspended on the sixth: neither day nor minutes, and no gap.
    let gone = |row: &Row| row.code() == "000001.SZ" && row.time() == "20260306";
    holed.remove("daily", gone);
    holed.put(
        Row::new(Api::named("suspend_d").unwrap())
            .with("ts_code", "000001.SZ")
            .with("trade_date", "20260306")
            .with("suspend_type", "S"),
    );
    let rig = Rig::start(holed, Faults::default()).await;
    let arguments = ["--set", "stream.kind=bar:5m", "--set", "fetch.symbols=[\"000001.SZ\", \"601000.SH\"]"];
    let run = rig.backfill(FROM, TO, &arguments).await.good();
    assert!(run.out.contains("ranges of codes: 2, days missing of them: 1"), "{run:?}");
    let gaps = rig.run(&[&["gaps"], &arguments[..]].concat()).await.good();
    assert!(gaps.out.contains("000001.SZ bar:5m: missing 1: 2026-03-05"), "{gaps:?}");

    let kind = Kind::BarMinute(Grid::M5);
    let before = rig.stream::<MinuteBar>(kind).await.count;
    rig.fake.set_world(whole);
    rig.run(&[&["gaps", "--fill"], &arguments[..]].concat()).await.good();
    assert_eq!(rig.stream::<MinuteBar>(kind).await.count, before + 48);
    let gaps = rig.run(&[&["gaps"], &arguments[..]].concat()).await.good();
    assert!(!gaps.out.contains("000001.SZ"), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renumbered_stock_is_one_stock_or_goes_by_the_number_of_the_day() {
    let (from, to) = (day("2025-09-29"), day("2025-10-17"));
    let mut world = World::generated(7, 40, from, to);
    common::fill_tables(&mut world);
    let renumbered = |row: &&Row| row.code().contains(".BJ") && !row.code().starts_with("920");
    let former: Vec<String> =
        world.table("daily").iter().filter(renumbered).map(|row| row.code().to_owned()).collect();
    assert!(!former.is_empty());
    for (alias, wanted) in [("current", 0), ("as_given", former.len())] {
        let rig = Rig::start(world.clone(), Faults::default()).await;
        let alias = format!("symbol.alias={alias}");
        let run = rig.backfill("2025-09-29", "2025-10-17", &["--set", &alias]).await.good();
        assert!(run.out.contains(" complete, 0 closed with gaps"), "{run:?}");
        let stream = rig.stream::<DayBar>(Kind::BarDay).await;
        let of_former = stream.rows.values().filter(|bar| bar.symbol.to_string() == former[0]).count();
        assert_eq!(of_former, wanted, "{alias}");
        assert_eq!(stream.count, world.table("daily").len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_the_list_of_special_treatment_takes_it_from_names() {
    let refused =
        Faults { refuse: [("stock_st".to_owned(), Refusal::PermissionNew)].into(), ..Faults::default() };
    let rig = Rig::start(World::generated(7, 60, day(FROM), day(TO)), refused).await;
    let run = rig.backfill(FROM, TO, &[]).await.good();
    assert_eq!(run.err.matches("special treatment is told by namechange instead").count(), 1, "{run:?}");
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_same(&stream.rows, &day_bars(&rig.fake.world(), day(FROM), day(TO)));
}
