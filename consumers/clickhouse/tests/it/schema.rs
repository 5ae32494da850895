//! A database that another program has been at: what is there is kept, and what this program says otherwise is said again.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use sqep_clickhouse::{ClickHouseError, Config, Store};
use sqep_testkit::{TestClickHouse, clickhouse::Mishap};

use crate::common;

/// What a start does to the schema; how many scripts were new.
async fn administer(config: Config) -> Result<usize, ClickHouseError> {
    sqep_clickhouse::administer(&mut Store::new(config).unwrap()).await
}

fn made(server: &TestClickHouse, name: &str) -> String {
    server.ask(&format!("SHOW CREATE TABLE {name}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_another_program_is_made_anew_and_then_left_alone() {
    let server = TestClickHouse::front(&[]).unwrap();
    administer(common::config(&server)).await.unwrap();
    let view = made(&server, "bar_1d_hfq");
    // A newer program, and one from before views had signs.
    for row in [
        "(number, file, said) VALUES (5, '005_views.sql', 'other')",
        "(number, file) VALUES (5, '005_views.sql')",
    ] {
        server.ask("CREATE OR REPLACE VIEW bar_1d_hfq AS SELECT 1 AS other").unwrap();
        server.ask(&format!("INSERT INTO sqep_schema {row}")).unwrap();
        assert_eq!(administer(common::config(&server)).await.unwrap(), 0, "no number is new");
        assert_eq!(made(&server, "bar_1d_hfq"), view, "{row}");
    }
    let said = || server.said("^CREATE|^ALTER|^INSERT INTO sqep_schema").unwrap();
    let before = said();
    administer(common::config(&server)).await.unwrap();
    assert_eq!(said(), before, "nothing is said to a database that is as it should be");
}

/// A database from before the scripts 8 and 9.
#[tokio::test(flavor = "multi_thread")]
async fn hashes_that_an_earlier_program_asked_for_are_given_up_once() {
    let server = TestClickHouse::front(&[]).unwrap();
    administer(common::config(&server)).await.unwrap();
    let window = |rows: u32| {
        let sql = format!("ALTER TABLE bar_60m MODIFY SETTING non_replicated_deduplication_window = {rows}");
        server.ask(&sql).unwrap();
    };
    window(100);
    server.ask("ALTER TABLE sqep_schema DELETE WHERE number > 7 SETTINGS mutations_sync = 2").unwrap();
    server.ask("ALTER TABLE sqep_schema DROP COLUMN said").unwrap();
    server.ask("ALTER TABLE sqep_mark DROP COLUMN filled").unwrap();
    assert_eq!(administer(common::config(&server)).await.unwrap(), 2);
    assert!(made(&server, "bar_60m").contains("non_replicated_deduplication_window = 0"));
    // From here on it is somebody's wish.
    window(50);
    server.ask("DROP VIEW bar_1d_hfq").unwrap();
    assert_eq!(administer(common::config(&server)).await.unwrap(), 0);
    made(&server, "bar_1d_hfq");
    assert!(made(&server, "bar_60m").contains("non_replicated_deduplication_window = 50"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dictionary_is_made_anew_for_another_password_alone() {
    let server = TestClickHouse::front(&[]).unwrap();
    let with = |password: &str| Config {
        user: "quant".to_owned(),
        password: password.into(),
        ..common::config(&server)
    };
    for (password, times) in [("one", 1), ("one", 1), ("other", 2), ("other", 2)] {
        administer(with(password)).await.unwrap();
        assert_eq!(server.said("^CREATE OR REPLACE DICTIONARY").unwrap(), times, "{password}");
    }
    let kept = server.ask("SELECT said FROM sqep_schema FINAL WHERE number = 2").unwrap();
    assert_eq!(kept.trim().len(), 4, "too little to guess a password by: {kept}");
}

/// No cluster can be reached here, so that a front says what one would.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lacks_a_server_is_told_of_views_once_and_loaded() {
    let server = TestClickHouse::front(&[]).unwrap();
    administer(common::config(&server)).await.unwrap();
    let tables = server.ask("SELECT name FROM system.tables WHERE database = currentDatabase() AND match(name, '^(bar|ref|feature)_') AND engine LIKE '%MergeTree'").unwrap();
    assert_eq!(tables.lines().count(), 9);
    for table in tables.lines() {
        server.ask(&format!("CREATE TABLE {table}_local AS {table}")).unwrap();
    }
    let config = || Config { cluster: "main".to_owned(), ..common::config(&server) };
    let anew = "^CREATE OR REPLACE (VIEW|DICTIONARY) .* ON CLUSTER";
    server.fail(&[Mishap::Code { code: 62 }.befalls(1_000, anew)]).unwrap();
    assert!(administer(config()).await.unwrap_err().to_string().contains("Code: 62"), "another word counts");
    server.fail(&[Mishap::Code { code: 159 }.befalls(1_000, anew)]).unwrap();
    administer(config()).await.unwrap();
    let said = server.said(anew).unwrap();
    assert!(said > 10, "{said}");
    administer(config()).await.unwrap();
    assert_eq!(server.said(anew).unwrap(), said, "a server that is back does it by itself");
}
