//! `sqep status` and `sqep tail` on a private server that the test fills.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use sqep::{
    Calendar, DayBar, Kind,
    redis::{embedded::Embedded, keys::StreamSettings},
};
use sqep_testkit::{
    feed,
    market::{Market, Plan},
};
use tempfile::TempDir;

fn bars() -> Vec<DayBar> {
    let plan = Plan { seed: 1, symbols: 6, days: 120, to: "2026-06-30".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
}

async fn publish(server: &Embedded, bars: Vec<DayBar>) {
    let stream = StreamSettings { kind: Kind::BarDay, ..StreamSettings::default() };
    feed::publish(&server.settings(), &stream, &bars, 45_000).await.unwrap();
}

async fn server() -> (TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let server = Embedded::start(folder.path()).await.unwrap();
    (folder, server)
}

fn command(server: &Embedded, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep"));
    command.args(arguments).args(["--set", &format!("redis.url={}", server.url())]).stdin(Stdio::null());
    command
}

fn sqep(server: &Embedded, arguments: &[&str]) -> Output {
    command(server, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_counts_what_is_there() {
    let (_folder, server) = server().await;
    let empty = sqep(&server, &["status"]);
    assert!(text(&empty.stdout).contains("no stream under the prefix \"sqep\""), "{}", text(&empty.stdout));

    let bars = bars();
    publish(&server, bars.clone()).await;
    let said = sqep(&server, &["status"]);
    assert!(said.status.success());
    let table = text(&said.stdout);
    assert!(table.contains("sqep:{bar:1d:0}") && table.contains("no group reads any of them"), "{table}");

    let json: Value = serde_json::from_slice(&sqep(&server, &["status", "--json"]).stdout).unwrap();
    let stream = &json["streams"][0];
    assert_eq!(json["append_only"], true);
    assert_eq!(stream["stream"], "sqep:{bar:1d:0}");
    assert_eq!(stream["source"], "feed");
    assert_eq!(stream["totals"]["appended"], bars.len());
    assert_eq!(stream["dead_letters"], 0);
    assert_eq!(stream["oldest_pending_ms"], Value::Null);
    assert!(stream["bytes"].as_u64().unwrap() > 10_000, "{stream}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_every_bar_and_leaves_no_trace() {
    let (_folder, server) = server().await;
    let bars = bars();
    publish(&server, bars.clone()).await;
    let before = sqep(&server, &["status", "--json"]).stdout;

    let all = sqep(&server, &["tail", "bar:1d", "--json", "--from-start", "--once"]);
    assert!(all.status.success(), "{}", text(&all.stderr));
    let lines: Vec<Value> =
        text(&all.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), bars.len());
    for (line, bar) in lines.iter().zip(&bars) {
        assert_eq!(line["symbol"], bar.symbol.get());
        assert_eq!(line["frame"], bar.frame.to_string());
        assert_eq!(line["close"], bar.close);
        assert_eq!(line["buy_limit"].as_f64(), bar.buy_limit);
        assert_eq!(line["source"], "feed");
    }

    let one = sqep(&server, &["tail", "bar:1d", "--symbol", "000001.SZ", "--from-start", "--count", "3"]);
    let expected: Vec<&DayBar> =
        bars.iter().filter(|bar| bar.symbol.to_string() == "000001.SZ").take(3).collect();
    let lines = text(&one.stdout);
    assert_eq!(lines.lines().count(), 3);
    for (line, bar) in lines.lines().zip(expected) {
        assert!(line.starts_with(&format!("000001.SZ  {}  open {}", bar.frame, bar.open)), "{line}");
    }

    let groups = |said: &[u8]| serde_json::from_slice::<Value>(said).unwrap()["streams"][0]["groups"].clone();
    assert_eq!(groups(&before), groups(&sqep(&server, &["status", "--json"]).stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_waits_for_what_comes() {
    let (_folder, server) = server().await;
    let bars = bars();
    let (first, then) = bars.split_at(bars.len() / 2);
    publish(&server, first.to_vec()).await;
    let mut tail = command(&server, &["tail", "--json", "--from-start", "--count", &bars.len().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines().map(|line| parsed(&line.unwrap()));
    let expected = |bars: &[DayBar]| -> Vec<(Value, Value)> {
        bars.iter().map(|bar| (bar.symbol.get().into(), bar.frame.to_string().into())).collect()
    };
    assert_eq!(lines.by_ref().take(first.len()).collect::<Vec<_>>(), expected(first));
    assert_eq!(tail.try_wait().unwrap(), None, "it waits for the rest");
    publish(&server, then.to_vec()).await;
    assert_eq!(lines.collect::<Vec<_>>(), expected(then));
    assert_eq!(tail.wait().unwrap().code(), Some(0));
}

/// Symbol and frame of a line.
fn parsed(line: &str) -> (Value, Value) {
    let mut line: Value = serde_json::from_str(line).unwrap();
    (line["symbol"].take(), line["frame"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_kind_or_key_is_usage_and_an_absent_server_is_failure() {
    let (_folder, server) = server().await;
    assert_eq!(sqep(&server, &["tail", "bar:2d"]).status.code(), Some(2));
    let unknown = sqep(&server, &["status", "--set", "redis.ulr=x"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("ulr"), "{}", text(&unknown.stderr));
    let absent = sqep(&server, &["status", "--set", "redis.url=redis+unix:///nowhere.sock"]);
    assert_eq!(absent.status.code(), Some(0), "the last --set wins");
    let gone = Command::new(env!("CARGO_BIN_EXE_sqep"))
        .args(["status", "--set", "redis.url=redis+unix:///nowhere.sock"])
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("/nowhere.sock"), "{}", text(&gone.stderr));
}
