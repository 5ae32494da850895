//! A server that fails: what was acknowledged is there, what was not comes again, and nothing is there twice.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use sqep::{DayBar, EntryId, Exchange, Kind, Mark, Record, Sink, Symbol, WriteError};
use sqep_testkit::{
    TestClickHouse,
    clickhouse::{Fault, Mishap},
};

use crate::common::{self, held, sink, write};

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
        Mishap::Break { bytes: 300_000 },
        Mishap::Cut { rows: 1_200 },
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

fn rows(server: &TestClickHouse) -> usize {
    server.ask("SELECT count() FROM bar_1d").unwrap().trim().parse().unwrap()
}

/// A server that cuts inserts into blocks whatever it was told, and has kept some of them: neither the sink that tried nor one
/// of a later life may have the whole taken for them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_server_kept_of_a_broken_insert_are_never_taken_for_the_whole() {
    let server = TestClickHouse::front(&[]).unwrap();
    let bars = bars(9_000);
    for anew in [false, true] {
        let mut writer = sink::<DayBar>(&server, DAY);
        writer.prepare().await.unwrap();
        server.ask("TRUNCATE TABLE bar_1d").unwrap();
        server.fail(&[Mishap::Cut { rows: 4_321 }.befalls(1, INSERT)]).unwrap();
        is_later(write(&mut writer, &bars).await);
        assert_eq!(rows(&server), 4_321, "a part of them is there");
        if anew {
            writer = sink::<DayBar>(&server, DAY);
        }
        write(&mut writer, &bars).await.unwrap();
        assert_eq!(held(&server, DAY).unwrap(), expected(&bars));
    }
}

/// What the settings of an insert are for, on a server that cuts inserts where it is told nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_is_broken_off_leaves_nothing_since_it_is_one_block() {
    let small = "max_insert_block_size=500,min_insert_block_size_rows=0,min_insert_block_size_bytes=0";
    let server = TestClickHouse::front(&[("FRONT_SETTINGS", small)]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    sink.prepare().await.unwrap();
    let bars = bars(9_000);
    for bytes in [1, 300_000, 770_000] {
        server.fail(&[Mishap::Break { bytes }.befalls(1, INSERT)]).unwrap();
        is_later(write(&mut sink, &bars).await);
        assert_eq!(rows(&server), 0, "{bytes} bytes");
    }
    write(&mut sink, &bars).await.unwrap();
    assert_eq!(rows(&server), bars.len());
    assert_eq!(server.ask("SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'bar_1d' AND active").unwrap(), "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_of_an_insert_holds_every_row_once_when_it_is_back() {
    let mut server = TestClickHouse::front(&[]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let bars = bars(9_000);
    write(&mut sink, &bars[..2_000]).await.unwrap();
    server.fail(&[Mishap::Die { rows: 5_000 }.befalls(1, INSERT)]).unwrap();
    is_later(write(&mut sink, &bars).await);
    assert!(server.is_dead().unwrap());
    is_later(write(&mut sink, &bars).await);
    is_later(sink.save(0, &Mark { born: "b".into(), id: EntryId::new(9, 0), before: EntryId::ZERO }).await);
    server.restart().unwrap();
    let left = held::<DayBar>(&server, DAY).unwrap().len();
    assert!(2_000 < left && left < bars.len(), "a part of them is there: {left}");
    assert_eq!(sink.mark(0).await.unwrap(), None, "no mark for what was not written");
    write(&mut sink, &bars).await.unwrap();
    assert_eq!(held(&server, DAY).unwrap(), expected(&bars));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up_after_the_time_limit() {
    let server = TestClickHouse::front(&[]).unwrap();
    let config = sqep_clickhouse::Config { timeout_s_max: 1, ..common::config(&server) };
    let mut sink = common::sink_of::<DayBar>(config, common::key(DAY));
    sink.prepare().await.unwrap();
    server.fail(&[Mishap::Delay { ms: 2_500 }.befalls(1, INSERT)]).unwrap();
    let told = is_later(write(&mut sink, &bars(100)).await);
    assert!(told.contains("timeout"), "{told}");
}

/// Makes a table keep the hashes of its last inserts, as somebody may have done.
fn keep_hashes(server: &TestClickHouse) {
    server.ask("ALTER TABLE bar_1d MODIFY SETTING non_replicated_deduplication_window = 100").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_comes_again_whole_is_dropped_whoever_brings_it_if_that_was_asked_for() {
    let server = TestClickHouse::start().unwrap();
    let config = || sqep_clickhouse::Config { deduplicate: true, ..common::config(&server) };
    let mut sink = common::sink_of::<DayBar>(config(), common::key(DAY));
    sink.prepare().await.unwrap();
    keep_hashes(&server);
    let bars = bars(500);
    for _ in 0..2 {
        write(&mut sink, &bars).await.unwrap();
    }
    write(&mut common::sink_of::<DayBar>(config(), common::key(DAY)), &bars).await.unwrap();
    assert_eq!(rows(&server), 500, "the same rows three times");
    let mut other = bars.clone();
    other[0].0.close += 0.01;
    write(&mut sink, &other).await.unwrap();
    assert_ne!(rows(&server), 500, "other rows are never taken for the same");
}

/// As after a death between the hash of an insert and its rows: the hash is there, the rows are not.
#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_hash_a_server_knows_and_which_it_does_not_hold_are_taken() {
    let server = TestClickHouse::start().unwrap();
    let config = sqep_clickhouse::Config { deduplicate: true, ..common::config(&server) };
    let mut hashed = common::sink_of::<DayBar>(config, common::key(DAY));
    let bars = bars(500);
    hashed.prepare().await.unwrap();
    let made = server.ask("SELECT create_table_query FROM system.tables WHERE database = currentDatabase()");
    let made = made.unwrap().replace("deduplication_window = 0", "");
    assert!(!made.contains("deduplication_window"), "the schema asks for no hashes");
    keep_hashes(&server);
    write(&mut hashed, &bars).await.unwrap();
    server.ask("ALTER TABLE bar_1d DELETE WHERE 1 SETTINGS mutations_sync = 2").unwrap();
    write(&mut hashed, &bars).await.unwrap();
    assert_eq!(rows(&server), 0, "acknowledged, and nowhere: the trouble there is with hashes");
    for times in [1, 2] {
        write(&mut sink::<DayBar>(&server, DAY), &bars).await.unwrap();
        assert_eq!(rows(&server), 500 * times);
    }
    assert_eq!(held(&server, DAY).unwrap(), expected(&bars));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_is_asked_for_nothing_it_does_not_know() {
    let without = "async_insert,optimize_on_insert,max_insert_block_size,distributed_foreground_insert,insert_distributed_sync";
    let server = TestClickHouse::front(&[("FRONT_WITHOUT", without)]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    let bars = bars(500);
    write(&mut sink, &bars).await.unwrap();
    write(&mut sink, &bars).await.unwrap();
    assert_eq!(held(&server, DAY).unwrap(), expected(&bars));
}

fn is_never(result: Result<(), WriteError>) -> String {
    match result {
        Err(WriteError::Never(error)) => error.to_string(),
        other => panic!("must be Never, is {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_rows_cause_is_never() {
    let server = TestClickHouse::front(&[]).unwrap();
    let mut sink = sink::<DayBar>(&server, DAY);
    sink.prepare().await.unwrap();
    let mut bars = bars(10);
    for code in [27, 33, 53, 131, 321, 349] {
        server.fail(&[Mishap::Code { code }.befalls(1, INSERT)]).unwrap();
        assert!(
            is_later(write(&mut sink, &bars).await).contains(&code.to_string()),
            "as if by the rows, and not"
        );
    }
    server.ask("ALTER TABLE bar_1d ADD CONSTRAINT mine CHECK close < 10.15").unwrap();
    assert!(is_never(write(&mut sink, &bars).await).contains("469"), "somebody's own rule");
    write(&mut sink, &bars[..3]).await.unwrap();
    bars[3].0.frame = "1969-12-31".parse().unwrap();
    assert!(is_never(write(&mut sink, &bars).await).contains("row 4 of the batch"));
}
