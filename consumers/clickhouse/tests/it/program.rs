//! The program itself, between a Redis and a database of the test's own.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    time::Duration,
};

use sqep::{
    DayBar, Kind, Record,
    app::{CalendarSettings, Outward, PublishSettings},
    meter::Meters,
    redis::keys::StreamSettings,
};
use sqep_archive::replay::{Order, Speed, Start, begin, give};
use sqep_testkit::{TestClickHouse, TestRedis, clickhouse::Mishap, feed};

use crate::common::{
    self,
    stream::{bars, publish},
};

fn command(redis: &str, server: &TestClickHouse, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep-clickhouse"));
    command.args(["--set", &format!("redis.url={redis}"), "--set", "stream.kind=bar:1d"]);
    command.args(["--set", "reader.start=earliest"]);
    for setting in server.settings() {
        command.args(["--set", &setting]);
    }
    command.env("SQEP__CLICKHOUSE__PASSWORD", server.user().1).args(more);
    command
}

fn run(redis: &TestRedis, server: &TestClickHouse, more: &[&str]) -> Output {
    command(&redis.url(), server, more).output().unwrap()
}

/// The last line of the log, where an error of a start is told.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last().unwrap_or_default().to_owned()
}

fn count(server: &TestClickHouse, table: &str) -> String {
    server.ask(&format!("SELECT count() FROM {table}")).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_becomes_a_table_and_a_second_run_writes_nothing_new() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    let bars = bars(120);
    publish(&redis, bars.clone()).await;
    let first = run(&redis, &server, &["--once"]);
    assert!(first.status.success(), "{}", said(&first));
    let expected: BTreeMap<_, _> = bars.iter().map(|bar| (bar.key(), *bar)).collect();
    let found = common::held::<DayBar>(&server, Kind::BarDay).unwrap();
    assert_eq!(found.into_iter().map(|(key, (_, bar))| (key, bar)).collect::<BTreeMap<_, _>>(), expected);
    let sources = server.ask("SELECT DISTINCT source FROM bar_1d").unwrap();
    assert_eq!(sources, "feed\n");
    assert_eq!(count(&server, "symbol"), "40");
    let rows = count(&server, "bar_1d");
    let second = run(&redis, &server, &["--once"]);
    assert!(second.status.success(), "{}", said(&second));
    assert_eq!(count(&server, "bar_1d"), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_writes_nothing() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    let checked = run(&redis, &server, &["--check"]);
    assert!(checked.status.success(), "{}", said(&checked));
    assert_eq!(server.ask("SHOW TABLES").unwrap(), "");
    let migrated = run(&redis, &server, &["--migrate"]);
    assert!(migrated.status.success(), "{}", said(&migrated));
    let checked = run(&redis, &server, &["--check"]);
    assert!(checked.status.success(), "{}", said(&checked));
    assert_eq!(count(&server, "sqep_mark"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_cannot_do_without_is_told_in_one_line() {
    let redis = TestRedis::start().await.unwrap();
    let server = TestClickHouse::front(&[("FRONT_USER", "sqep"), ("FRONT_PASSWORD", "hunter2")]).unwrap();
    let told = |output: Output, words: &[&str]| {
        let line = said(&output);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert!(!line.contains("hunter"), "{line}");
    };
    let wrong =
        command(&redis.url(), &server, &["--once"]).env("SQEP__CLICKHOUSE__PASSWORD", "hunter3").output();
    told(wrong.unwrap(), &["refuses user \"sqep\"", "clickhouse.password_file"]);
    let nowhere = run(&redis, &server, &["--once", "--set", "clickhouse.database=nowhere"]);
    told(nowhere, &["no database \"nowhere\"", "CREATE DATABASE nowhere"]);
    server.fail(&[Mishap::Code { code: 497 }.befalls(1, "^CREATE")]).unwrap();
    told(run(&redis, &server, &["--once"]), &["does not let user \"sqep\"", "making sqep_schema"]);
    server.fail(&[Mishap::Code { code: 164 }.befalls(1, "^CREATE")]).unwrap();
    told(run(&redis, &server, &["--once"]), &["does not let user \"sqep\"", "Code: 164"]);
    server.fail(&[Mishap::Code { code: 497 }.befalls(1, "^INSERT INTO bar_1d")]).unwrap();
    told(run(&redis, &server, &["--once"]), &["does not let user \"sqep\" insert into bar_1d"]);
    told(run(&redis, &server, &["--once", "--set", "clickhouse.url=tcp://h:9000"]), &["clickhouse.url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_told_by_the_version_it_has_and_the_one_it_needs() {
    let redis = TestRedis::start().await.unwrap();
    let server = TestClickHouse::front(&[("FRONT_VERSION", "23.8.9.54")]).unwrap();
    for more in [&["--once"][..], &["--check"], &["--migrate"]] {
        let old = run(&redis, &server, more);
        let told = said(&old);
        assert_eq!(old.status.code(), Some(2), "{told}");
        assert!(told.contains("version 23.8.9.54, this program needs 24.3 or newer"), "{told}");
        assert_eq!(server.ask("SHOW TABLES").unwrap(), "", "nothing was begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_applied_once_a_start_however_many_partitions_there_are() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    let bars = bars(20);
    let stream = StreamSettings { partitions: 4, ..StreamSettings::default() };
    feed::publish(&redis.settings(), &stream, &bars, 2_000).await.unwrap();
    let loaded = run(&redis, &server, &["--once", "--set", "stream.partitions=4"]);
    assert!(loaded.status.success(), "{}", said(&loaded));
    assert_eq!(server.said("^CREATE OR REPLACE VIEW bar_1d_hfq").unwrap(), 1);
    assert_eq!(server.said("^SELECT version").unwrap(), 1);
    let again = run(&redis, &server, &["--once", "--set", "stream.partitions=4"]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(
        server.said("^ALTER TABLE bar_1d MODIFY SETTING fsync_after_insert").unwrap(),
        1,
        "all of it is there"
    );
    assert_eq!(server.said("^CREATE OR REPLACE DICTIONARY").unwrap(), 1, "its password is the same");
    assert_eq!(count(&server, "(SELECT DISTINCT partition FROM sqep_mark)"), "4");
    let keys: std::collections::BTreeSet<_> = bars.iter().map(Record::key).collect();
    assert_eq!(common::held::<DayBar>(&server, Kind::BarDay).unwrap().len(), keys.len());
}

/// The group has settled what the table no longer holds: whoever runs it is told, and nothing is loaded in the meantime.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_while_the_loader_runs_ends_it_with_a_word_on_what_is_missing() {
    let (redis, mut server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    let bars = bars(40);
    let (first, then) = bars.split_at(bars.len() / 2);
    publish(&redis, first.to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut loader = command(&redis.url(), &server, &["--set", "clickhouse.wait_s_max=1"])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let patience = std::time::Instant::now();
    while server.ask("SELECT count() FROM sqep_mark WHERE id != '0-0'").unwrap_or_default().trim().parse()
        != Ok(1)
    {
        assert!(patience.elapsed() < Duration::from_secs(60), "{}", std::fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill().unwrap();
    publish(&redis, then.to_vec()).await;
    server.restart().unwrap();
    server.ask("DROP TABLE bar_1d SYNC").unwrap();
    let status = loader.wait().unwrap();
    let told = std::fs::read_to_string(&log).unwrap();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("is not what it was") && told.contains("the sink holds no mark of it"), "{told}");
    assert_eq!(count(&server, "bar_1d"), "0");
    let resumed = run(&redis, &server, &["--resume", "--once"]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    let keys: std::collections::BTreeSet<_> = bars.iter().map(Record::key).collect();
    assert_eq!(common::held::<DayBar>(&server, Kind::BarDay).unwrap().len(), keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_emptied_between_two_runs_ends_the_next_with_a_word_and_is_loaded_again() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    let bars = bars(20);
    publish(&redis, bars.clone()).await;
    assert!(run(&redis, &server, &["--once"]).status.success());
    server.ask("TRUNCATE TABLE bar_1d").unwrap();
    let told = run(&redis, &server, &["--once"]);
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(text.contains("table bar_1d holds no row any more"), "{text}");
    assert!(text.contains("the sink holds no mark of it"), "{text}");
    let resumed = run(&redis, &server, &["--resume", "--once"]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    let keys: std::collections::BTreeSet<_> = bars.iter().map(Record::key).collect();
    assert_eq!(common::held::<DayBar>(&server, Kind::BarDay).unwrap().len(), keys.len());
}

/// As on the first days of a reader of what comes from now on.
#[tokio::test(flavor = "multi_thread")]
async fn a_loader_that_has_loaded_nothing_yet_starts_again_as_before() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    publish(&redis, bars(5)).await;
    for _ in 0..2 {
        let ran = run(&redis, &server, &["--once", "--set", "reader.start=latest"]);
        assert!(ran.status.success(), "{}", said(&ran));
    }
    assert_eq!(count(&server, "bar_1d"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dictionary_that_does_not_answer_is_told_and_rows_are_loaded_all_the_same() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    publish(&redis, bars(5)).await;
    let first = run(&redis, &server, &["--once"]);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(
        server.said("^SELECT dictGetOrDefault").unwrap(),
        0,
        "asked it would be read without securities"
    );
    server.fail(&[Mishap::Code { code: 516 }.befalls(1, "^SELECT dictGetOrDefault")]).unwrap();
    publish(&redis, bars(6)).await;
    let rows = count(&server, "bar_1d");
    let loaded = run(&redis, &server, &["--once"]);
    assert!(loaded.status.success(), "{}", said(&loaded));
    let text = String::from_utf8_lossy(&loaded.stderr).into_owned();
    assert!(
        text.contains("views that name securities do not answer") && text.contains("HOST LOCAL"),
        "{text}"
    );
    assert_ne!(count(&server, "bar_1d"), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_or_renamed_by_hand_is_there_again_after_a_start() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    assert!(run(&redis, &server, &["--migrate"]).status.success());
    let whole = server.ask("SHOW TABLES").unwrap();
    server.ask("DROP VIEW bar_1d_hfq").unwrap();
    server.ask("RENAME TABLE bar_30m TO bar_30m_mine").unwrap();
    assert!(run(&redis, &server, &["--migrate"]).status.success());
    server.ask("DROP TABLE bar_30m_mine").unwrap();
    assert_eq!(server.ask("SHOW TABLES").unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_program_is_left_alone() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    assert!(run(&redis, &server, &["--migrate"]).status.success());
    server.ask("INSERT INTO sqep_schema (number, file) VALUES (999, 'future')").unwrap();
    let newer = run(&redis, &server, &["--once"]);
    assert_eq!(newer.status.code(), Some(2));
    assert!(said(&newer).contains("schema 999"), "{}", said(&newer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_shape_is_told_by_its_column() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    server
        .ask(
            "CREATE TABLE bar_1d (symbol Int32, frame Date, open Float32) ENGINE = MergeTree ORDER BY symbol",
        )
        .unwrap();
    let other = run(&redis, &server, &["--once"]);
    let told = said(&other);
    assert_eq!(other.status.code(), Some(2), "{told}");
    assert!(
        told.contains("table bar_1d") && told.contains("\"open\" is Float32, expected Float64"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_securities_gives_them_their_names() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::start().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("stock_basic.csv");
    std::fs::write(&list, "ts_code,name,market,list_date,delist_date\n000001.SZ,平安银行,主板,19910403,\nT00018.SH,上港集箱(退),主板,20000719,20061020\n")
        .unwrap();
    let listed = run(&redis, &server, &["--symbols", list.to_str().unwrap()]);
    assert!(listed.status.success(), "{}", said(&listed));
    let text = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(text.contains("line 3") && text.contains("T00018.SH"), "{text}");
    let sql = "SELECT code, name, board, list_date, delist_date FROM symbols WHERE symbol = 2000001";
    assert_eq!(server.ask(sql).unwrap(), "000001.SZ\t平安银行\t主板\t1991-04-03\t\\N\n");
    // Its bars come later and know less.
    server.ask("INSERT INTO symbol (symbol, code, version) VALUES (2000001, '000001.SZ', 0)").unwrap();
    server.ask("SYSTEM RELOAD DICTIONARY symbols").unwrap();
    assert_eq!(server.ask(sql).unwrap(), "000001.SZ\t平安银行\t主板\t1991-04-03\t\\N\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let (redis, mut server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    let bars = bars(20);
    publish(&redis, bars.clone()).await;
    server.kill().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let child =
        command(&redis.url(), &server, &["--once"]).stderr(std::fs::File::create(&log).unwrap()).spawn();
    let mut child = child.unwrap();
    while !std::fs::read_to_string(&log).unwrap().contains("asking for the mark again") {
        assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.restart().unwrap();
    assert!(child.wait().unwrap().success(), "{}", std::fs::read_to_string(&log).unwrap());
    let keys: std::collections::BTreeSet<_> = bars.iter().map(Record::key).collect();
    assert_eq!(common::held::<DayBar>(&server, Kind::BarDay).unwrap().len(), keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_or_read_only_at_the_start_is_waited_for() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    publish(&redis, bars(5)).await;
    for (code, statement) in
        [(202, "^SELECT version"), (242, "^CREATE"), (243, "^CREATE"), (252, "^INSERT INTO bar_1d")]
    {
        server.fail(&[Mishap::Code { code }.befalls(1, statement)]).unwrap();
        let output = run(&redis, &server, &["--once"]);
        assert!(output.status.success(), "{code}: {}", said(&output));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&format!("Code: {code}")), "{code} befell it: {text}");
        server.clear().unwrap();
        redis.command::<()>(&["FLUSHALL"]).await.unwrap();
        publish(&redis, bars(5)).await;
    }
}

/// Day after day, so that a past can be given at the pace of its days.
async fn publish_by_day(redis: &TestRedis) {
    let mut bars = bars(10);
    bars.sort_by_key(|bar| (bar.frame, bar.symbol));
    feed::publish(&redis.settings(), &StreamSettings::default(), &bars, 40).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_in_the_middle_of_a_replay_ends_the_loader_with_a_word_on_the_past() {
    let (redis, server) = (TestRedis::start().await.unwrap(), TestClickHouse::front(&[]).unwrap());
    publish_by_day(&redis).await;
    let (settings, stream) = (redis.settings(), StreamSettings::default());
    let (publish, calendar, meters) =
        (PublishSettings::default(), CalendarSettings::default(), Meters::default());
    let outward = Outward {
        redis: &settings,
        stream: &stream,
        publish: &publish,
        calendar: &calendar,
        meters: &meters,
    };
    // A day of frames a second.
    let order = Order { group: "clickhouse".to_owned(), speed: Speed::Times(86_400.0), ..Order::default() };
    assert_eq!(begin(&outward, &order).await.unwrap(), Start::Waits);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let told = || std::fs::read_to_string(&log).unwrap();
    let mut loader = command(&redis.url(), &server, &["--set", "clickhouse.wait_s_max=1"])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let dropped = async {
        let rows = || server.ask("SELECT count() FROM bar_1d").unwrap_or_default().trim().parse::<u64>();
        while rows().unwrap_or(0) == 0 {
            assert!(loader.try_wait().unwrap().is_none(), "{}", told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.ask("DROP TABLE bar_1d SYNC").unwrap();
        let ended = loop {
            if let Some(status) = loader.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        stop.cancel();
        ended
    };
    let (given, ended) = tokio::join!(give::<DayBar>(&outward, &order, false, &stop, |_| ()), dropped);
    given.unwrap();
    let told = told();
    assert_eq!(ended.code(), Some(1), "{told}");
    assert!(told.contains("was handed a part of the past"), "{told}");
    assert!(told.contains("sqep group retire clickhouse --kind bar:1d"), "{told}");
}
