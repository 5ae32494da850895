//! The program itself, between a folder and a Redis of the test's own.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sqep::{Totals, redis::inspect::Inspector};
use sqep_testkit::TestRedis;

use sqep_{{ident}}::row::HEADER;

fn run(redis: &TestRedis, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sqep-{{name}}"))
        .args(["--once", "--set", &format!("redis.url={}", redis.url())])
        .args(["--set", &format!("{{ident}}.folder={}", folder.display())])
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What became of all rows so far, and letters about them.
async fn stands(redis: &TestRedis) -> (Totals, u64) {
    let mut inspector = Inspector::connect(&redis.client().unwrap()).await.unwrap();
    let status = inspector.stream("sqep:{bar:1d:0}").await.unwrap();
    (serde_json::from_value(status.totals.unwrap()).unwrap(), status.dead_letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_accounted_for_and_a_second_run_publishes_nothing_new() {
    let (redis, folder) = (TestRedis::start().await.unwrap(), tempfile::tempdir().unwrap());
    let rows = "600000.SH,20240301,10,10,10,10,1,1\n000001.SZ,20240301,0,0,0,9,0,0\n600004.SH,20240301,x\n";
    fs::write(folder.path().join("20240301.csv"), format!("{HEADER}\n{rows}")).unwrap();
    let first = run(&redis, folder.path());
    assert!(first.status.success(), "{}", said(&first));
    let (totals, letters) = stands(&redis).await;
    assert_eq!((totals.read, totals.appended, totals.refused(), totals.skipped()), (3, 1, 1, 1));
    assert_eq!(letters, 1, "what is refused is kept");
    assert!(run(&redis, folder.path()).status.success());
    assert_eq!(stands(&redis).await, (totals, letters));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_header_stops_it_and_names_both() {
    let (redis, folder) = (TestRedis::start().await.unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("20240301.csv"), "code,date,close\n600000.SH,20240301,10\n").unwrap();
    let stopped = run(&redis, folder.path());
    assert_eq!(stopped.status.code(), Some(1));
    let told = said(&stopped);
    assert!(
        told.contains("20240301.csv") && told.contains("code,date,close") && told.contains(HEADER),
        "{told}"
    );
}

#[test]
fn the_example_configuration_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sqep-{{name}}.toml");
    let mut program = Command::new(env!("CARGO_BIN_EXE_sqep-{{name}}"));
    let loaded = program.arg("--config").arg(path).arg("--print-config").output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
}
