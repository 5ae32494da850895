//! Real bars, when `SQEP_DATA` names their folder: what a row takes, and that the codecs chosen are the smallest of those tried.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{path::Path, process::Command};

use sqep::Kind;
use sqep_testkit::{TestClickHouse, TestRedis, given::data, programs::program};

/// Codecs for floats that the tables could have instead.
const OTHERS: [&str; 5] = ["LZ4", "ZSTD(1)", "DoubleDelta, ZSTD(1)", "Gorilla, ZSTD(1)", "FPC, ZSTD(1)"];
/// Prices, which the choice is about; the other columns have codecs of their own.
const PRICES: [&str; 4] = ["open", "high", "low", "close"];

fn run(name: &str, settings: &[String], more: &[&Path]) {
    let mut command = Command::new(program(name).unwrap());
    command.env_clear().arg("--once").args(more);
    command.args(settings.iter().flat_map(|each| ["--set", each]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Files through a stream into a table.
async fn load(server: &TestClickHouse, kind: Kind, dialect: &str, path: &Path) {
    let redis = TestRedis::start().await.unwrap();
    let stream = [format!("redis.url={}", redis.url()), format!("stream.kind={kind}")];
    let csv = [&stream[..], &[format!("csv.dialect={dialect}")]].concat();
    run("sqep-csv", &csv, &[path]);
    let clickhouse = [&stream[..], &["reader.start=earliest".to_owned()], &server.settings()].concat();
    run("sqep-clickhouse", &clickhouse, &[]);
}

/// Bytes a row of the prices of a table, merged into one part a partition.
fn size(server: &TestClickHouse, table: &str) -> f64 {
    server.ask(&format!("OPTIMIZE TABLE {table} FINAL")).unwrap();
    let sizes = format!(
        "SELECT sum(column_data_compressed_bytes) / (SELECT count() FROM {table}) FROM system.parts_columns WHERE active AND \
         database = currentDatabase() AND table = '{table}' AND column IN ('{}')",
        PRICES.join("', '")
    );
    server.ask(&sizes).unwrap().trim().parse().unwrap()
}

/// A copy of a table, its prices with another codec.
fn copy(server: &TestClickHouse, table: &str, codec: Option<&str>) -> f64 {
    server.ask("DROP TABLE IF EXISTS tried SYNC").unwrap();
    // Whole columns, however few rows there are.
    let wide = "ENGINE = MergeTree ORDER BY (symbol, frame) SETTINGS min_bytes_for_wide_part = 0";
    server.ask(&format!("CREATE TABLE tried AS {table} {wide}")).unwrap();
    for (column, codec) in PRICES.iter().filter_map(|column| Some((column, codec?))) {
        server.ask(&format!("ALTER TABLE tried MODIFY COLUMN {column} Float64 CODEC({codec})")).unwrap();
    }
    server.ask(&format!("INSERT INTO tried SELECT * FROM {table} FINAL")).unwrap();
    size(server, "tried")
}

#[expect(clippy::print_stdout, reason = "what a row takes is of interest")]
fn judge(server: &TestClickHouse, kind: Kind) {
    let table = kind.table();
    let ours = copy(server, &table, None);
    let rows = server.ask(&format!("SELECT count() FROM {table}_current")).unwrap();
    let all = "SELECT round(sum(data_compressed_bytes) / sum(rows), 2) FROM system.parts WHERE active AND database = \
               currentDatabase() AND table = 'tried'";
    let all = server.ask(all).unwrap();
    println!("{kind}, {} real rows: {} bytes a row, {ours:.2} of them prices", rows.trim(), all.trim());
    for codec in OTHERS {
        let other = copy(server, &table, Some(codec));
        println!("  {other:.2} with {codec}");
        assert!(ours < other, "{kind}: {ours} with the codecs chosen, {other} with {codec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_codecs_of_prices_are_the_smallest_of_those_tried_on_real_bars() {
    let Some(data) = data() else { return };
    let server = TestClickHouse::start().unwrap();
    load(&server, Kind::BarDay, "tushare", &data.join("tushare/daily_raw")).await;
    judge(&server, Kind::BarDay);
    let minutes = Kind::BarMinute(sqep::kind::Grid::M1);
    load(&server, minutes, "qmt", &data.join("qmt/csv/300750.SZ_1m.csv")).await;
    judge(&server, minutes);
}
