//! The schema for a cluster, before the engine's own parser. A cluster that `SQEP_CLICKHOUSE_CLUSTER` names is tried for real.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::collections::BTreeMap;

use sqep::{DayBar, Kind, Record, Symbol};
use sqep_clickhouse::{Config, STATEMENTS, Store, statements};
use sqep_testkit::TestClickHouse;

use crate::common;

/// No cluster can be reached here, so that the first statement for it fails; that it was asked, and how, is what counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_told_to_lose_patience_before_the_loader_does() {
    let server = TestClickHouse::front(&[]).unwrap();
    let config = Config { cluster: "main".to_owned(), timeout_s_max: 40, ..common::config(&server) };
    let told = sqep_clickhouse::administer(&mut Store::new(config).unwrap()).await.unwrap_err();
    assert!(told.to_string().contains("making sqep_schema"), "{told}");
    let asked = server.said("^CREATE TABLE .* ON CLUSTER 'main' .* WITH .*distributed_ddl_task_timeout=30");
    assert_eq!(asked.unwrap(), 1);
    let others = server.said("^SELECT .* WITH .*distributed_ddl_task_timeout");
    assert_eq!(others.unwrap(), 0);
}

/// The table of the shard holds the rows: the one over all shards may be there without it.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_the_table_that_holds_the_rows_is_asked_for() {
    let server = TestClickHouse::front(&[]).unwrap();
    sqep_clickhouse::administer(&mut Store::new(common::config(&server)).unwrap()).await.unwrap();
    let config = || Config { cluster: "main".to_owned(), ..common::config(&server) };
    let prepared = async || common::sink_of::<DayBar>(config(), common::key(Kind::BarDay)).prepare().await;
    // No cluster can be reached here: what is missing cannot be made, but that it is missing was seen.
    let told = prepared().await.unwrap_err().to_string();
    assert!(told.contains("making sqep_schema"), "{told}");
    server.ask("CREATE TABLE bar_1d_local (symbol Int32, frame Date, open Float32) ENGINE = Memory").unwrap();
    let told = prepared().await.unwrap_err().to_string();
    assert!(told.contains("table bar_1d_local") && told.contains("Float32"), "{told}");
}

#[test]
fn every_statement_for_a_cluster_is_one_the_engine_can_read() {
    let server = TestClickHouse::start().unwrap();
    let config = Config { cluster: "main".to_owned(), ..common::config(&server) };
    let store = Store::new(config).unwrap();
    let all: Vec<_> = STATEMENTS.iter().flat_map(|script| statements(script, &store).unwrap()).collect();
    assert!(all.len() > 40, "{}", all.len());
    for sql in &all {
        let quoted = sql.replace('\\', "\\\\").replace('\'', "\\'");
        let read = server.ask(&format!("SELECT formatQuerySingleLine('{quoted}')")).unwrap();
        assert!(read.contains("ON CLUSTER"), "{read}");
    }
    let distributed = all.iter().filter(|sql| sql.contains("Distributed('main'")).count();
    let replicated = all.iter().filter(|sql| sql.contains("ENGINE = ReplicatedReplacingMergeTree(")).count();
    assert_eq!((distributed, replicated), (9, 11), "nine kinds are cut, the mark and the symbols are whole");
}

/// On one server as well, where no cluster is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_security_is_on_one_shard_and_shows_its_newest_rows_once() {
    let server = TestClickHouse::start().unwrap();
    let mut sink = common::sink::<DayBar>(&server, Kind::BarDay);
    let bars = |version: u32| -> Vec<_> {
        let frames = ["2024-12-31", "2025-01-02"].map(|day| day.parse().unwrap());
        let price = f64::from(version);
        let (open, high, low, close, vol) = (price, price, price, price, 100.0);
        let bar = |at, frame| {
            let symbol = Symbol::from_i32(2_000_001 + at).unwrap();
            (DayBar { symbol, frame, open, high, low, close, vol, ..DayBar::blank() }, u64::from(version))
        };
        (0..50).flat_map(|at| frames.map(|frame| bar(at, frame))).collect()
    };
    common::write(&mut sink, &bars(1)).await.unwrap();
    for cut in bars(2).chunks(33) {
        common::write(&mut sink, cut).await.unwrap();
    }
    common::write(&mut sink, &bars(1)).await.unwrap();
    let newest = bars(2).into_iter().map(|(bar, version)| (bar.key(), (version, bar)));
    assert_eq!(common::held::<DayBar>(&server, Kind::BarDay).unwrap(), newest.collect::<BTreeMap<_, _>>());
    if !server.cluster().is_empty() {
        let shards =
            "SELECT max(shards) FROM (SELECT uniqExact(_shard_num) AS shards FROM bar_1d GROUP BY symbol)";
        assert_eq!(server.ask(shards).unwrap().trim(), "1");
    }
}
