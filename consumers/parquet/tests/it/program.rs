//! The program itself, between a Redis of the test's own and an archive.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use sqep::{Calendar, DayBar, Kind, Record, redis::keys::StreamSettings};
use sqep_testkit::{
    TestRedis, feed,
    market::{Market, Plan},
};

fn bars() -> Vec<DayBar> {
    let plan = Plan { seed: 3, symbols: 40, days: 120, to: "2025-03-03".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let mut bars: Vec<_> = market.securities().iter().flat_map(|each| market.days(each.symbol)).collect();
    bars.extend(market.corrections(25));
    bars
}

async fn publish(redis: &TestRedis, bars: Vec<DayBar>) {
    feed::publish(&redis.settings(), &StreamSettings::default(), &bars, 2_000).await.unwrap();
}

fn run(redis: &TestRedis, root: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sqep-parquet"))
        .args(["--set", &format!("redis.url={}", redis.url()), "--set", "stream.kind=bar:1d"])
        .args(["--set", "reader.start=earliest", "--set", &format!("parquet.root={}", root.display())])
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_becomes_an_archive_and_a_second_run_writes_nothing_new() {
    let (redis, folder, bars) = (TestRedis::start().await.unwrap(), tempfile::tempdir().unwrap(), bars());
    let root = folder.path().join("archive");
    publish(&redis, bars.clone()).await;
    let first = run(&redis, &root, &["--once"]);
    assert!(first.status.success(), "{}", said(&first));
    let expected: BTreeMap<_, _> = bars.iter().map(|bar| (bar.key(), *bar)).collect();
    let found = crate::common::best::<DayBar>(&root, Kind::BarDay);
    assert_eq!(found.into_iter().map(|(key, (_, bar))| (key, bar)).collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(crate::common::rows::<DayBar>(&root, Kind::BarDay).len(), bars.len());
    let files = crate::common::parquet_files(&root, Kind::BarDay);
    let second = run(&redis, &root, &["--once"]);
    assert!(second.status.success(), "{}", said(&second));
    assert_eq!(crate::common::parquet_files(&root, Kind::BarDay), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_writes_nothing_and_a_missing_root_is_wrong_usage() {
    let (redis, folder) = (TestRedis::start().await.unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path().join("archive");
    let checked = run(&redis, &root, &["--check"]);
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(!root.exists());
    let nowhere = run(&redis, &root, &["--once", "--set", "parquet.root="]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", said(&nowhere));
    assert!(said(&nowhere).contains("parquet.root"), "{}", said(&nowhere));
}
