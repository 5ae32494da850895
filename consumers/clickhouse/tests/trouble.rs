//! A server that fails: what was acknowledged is there, what was not comes again, and nothing is there twice.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;

use common::{held, sink, write};
use sqep::{DayBar, EntryId, Exchange, Kind, Mark, Record, Sink, Symbol, WriteError};
use sqep_testkit::{
    TestClickHouse,
    clickhouse::{Fault, Mishap},
};

const DAY: Kind = Kind::BarDay;
const INSERT: &str = "^INSERT INTO bar_1d .*FORMAT";

/// Bars of two years, whose values follow from their number.
fn bars(count: u32) -> Vec<(DayBar, u64)> {
    let from = chrono::NaiveDate::from_ymd_opt(2023, 7, 3).unwrap();
    let bar = |n: u32| {
        let price = 10.0 + f64::from(n % 700) / 100.0;
        DayBar {
            symbol: Symbol::new(Exchange::SZ, n % 50 + 1).unwrap(),
            frame: from + chrono::TimeDelta::days(i64::from(n / 50)),
            open: price,
            high: price + 0.33,
            low: price - 0.21,
            close: price + 0.1,
            vol: f64::from(100 * (n + 1)),
            ..DayBar::blank()
        }
    };
    (0..count).map(|n| (bar(n), u64::from(n / 900) + 1)).collect()
}

fn expected(bars: &[(DayBar, u64)]) -> std::collections::BTreeMap<(Symbol, i64), (u64, DayBar)> {
    bars.iter().map(|&(bar, version)| (bar.key(), (version, bar))).collect()
}

fn is_later(result: Result<(), WriteError>) -> String {
    match result {
        Err(WriteError::Later(error)) => format!("{error:#}"),
        other => panic!("must be Later, is {other:?}"),
    }
}

/// One server meets every fault in turn: nothing of it is final, and afterwards the rows are there once.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_an_insert_is_later_and_the_rows_are_there_once() {
    let server = TestClickHouse::front(&[]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let bars = bars(9_000);
    sink.mark(0).await.unwrap();
    let fault = |mishap: Mishap| -> Fault { mishap.befalls(1, INSERT) };
    for mishap in [
        Mishap::Drop,
        Mishap::Lose,
        Mishap::Cut { bytes: 300_000 },
        Mishap::Code { code: 252 },
        Mishap::Code { code: 241 },
        Mishap::Code { code: 242 },
        Mishap::Code { code: 159 },
        Mishap::Code { code: 516 },
        Mishap::Code { code: 497 },
        Mishap::Code { code: 33 },
    ] {
        server.ask("TRUNCATE TABLE bar_1d").unwrap();
        server.fail(&[fault(mishap)]).unwrap();
        is_later(write(&mut sink, &bars).await);
        write(&mut sink, &bars).await.unwrap();
        assert_eq!(held(&server, DAY).unwrap(), expected(&bars), "{mishap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_of_an_insert_holds_every_row_once_when_it_is_back() {
    let mut server = TestClickHouse::front(&[]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let bars = bars(9_000);
    write(&mut sink, &bars[..2_000]).await.unwrap();
    server.fail(&[Mishap::Die { bytes: 300_000 }.befalls(1, INSERT)]).unwrap();
    is_later(write(&mut sink, &bars).await);
    assert!(server.is_dead().unwrap());
    is_later(write(&mut sink, &bars).await);
    is_later(sink.save(0, &Mark { born: "b".into(), id: EntryId::new(9, 0), before: EntryId::ZERO }).await);
    server.restart().unwrap();
    assert_eq!(sink.mark(0).await.unwrap(), None, "no mark for what was not written");
    write(&mut sink, &bars).await.unwrap();
    assert_eq!(held(&server, DAY).unwrap(), expected(&bars));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up_after_the_time_limit() {
    let server = TestClickHouse::front(&[]).unwrap();
    let config = sqep_clickhouse::Config { timeout_s_max: 1, ..common::config(&server) };
    let store = sqep_clickhouse::Store::new(config).unwrap();
    let mut sink = sqep_clickhouse::ClickHouseSink::<DayBar>::new(store, DAY).unwrap();
    sink.prepare().await.unwrap();
    server.fail(&[Mishap::Delay { ms: 2_500 }.befalls(1, INSERT)]).unwrap();
    let told = is_later(write(&mut sink, &bars(100)).await);
    assert!(told.contains("timeout"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_comes_again_whole_is_dropped_by_its_token() {
    let server = TestClickHouse::start().unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let bars = bars(500);
    for _ in 0..3 {
        write(&mut sink, &bars).await.unwrap();
    }
    let count = |server: &TestClickHouse| server.ask("SELECT count() FROM bar_1d").unwrap();
    assert_eq!(count(&server), "500\n", "the same rows three times");
    let mut other = bars.clone();
    other[0].0.close += 0.01;
    write(&mut sink, &other).await.unwrap();
    assert_ne!(count(&server), "500\n", "other rows are never taken for the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_is_asked_for_nothing_it_does_not_know() {
    let without = "async_insert,optimize_on_insert,insert_deduplication_token,distributed_foreground_insert,insert_distributed_sync";
    let server = TestClickHouse::front(&[("FRONT_WITHOUT", without)]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let bars = bars(500);
    write(&mut sink, &bars).await.unwrap();
    write(&mut sink, &bars).await.unwrap();
    assert_eq!(held(&server, DAY).unwrap(), expected(&bars));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_rows_cause_is_never() {
    let server = TestClickHouse::front(&[]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let mut bars = bars(10);
    let told = |result| match result {
        Err(WriteError::Never(error)) => error.to_string(),
        other => panic!("must be Never, is {other:?}"),
    };
    for code in [349, 469] {
        sink.prepare().await.unwrap();
        server.fail(&[Mishap::Code { code }.befalls(1, INSERT)]).unwrap();
        assert!(told(write(&mut sink, &bars).await).contains(&code.to_string()));
    }
    bars[3].0.frame = "1969-12-31".parse().unwrap();
    assert!(told(write(&mut sink, &bars).await).contains("row 4 of the batch"));
}
