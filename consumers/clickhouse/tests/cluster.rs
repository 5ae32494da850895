//! The schema for a cluster, before the engine's own parser: no cluster runs here.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;

use sqep_clickhouse::{Config, STATEMENTS, Store, statements};
use sqep_testkit::TestClickHouse;

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
