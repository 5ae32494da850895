//! What a new user and an attacker would do to the programs: each ends in one clear line and the right exit code.

use std::{path::Path, process::Command};

use sqep_testkit::{
    TestRedis,
    programs::{Running, program},
};

/// Exit code and everything that was printed.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let path = program(name).expect("built");
    let output = Command::new(path)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn errors(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains("ERROR")).collect()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

const ROW: &str = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n\
                   000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n";

#[test]
fn a_wrong_key_names_file_line_and_key() {
    let folder = tempfile::tempdir().expect("folder");
    let file = write(
        folder.path(),
        "sqep.toml",
        "[redis]\nurl = \"redis://127.0.0.1:1\"\n[reader]\ngruop = \"x\"\n",
    );
    for name in ["sqep-csv", "sqep-parquet"] {
        let (code, text) = run(name, &["--once", "--config", &file], &[]);
        assert_eq!(code, 2, "{name}: {text}");
        let known = if name == "sqep-parquet" { "line 4" } else { "line 3" };
        assert!(text.contains("sqep.toml") && text.contains(known), "{name}: {text}");
        assert_eq!(errors(&text).len(), 1, "{text}");
    }
}

#[test]
fn a_server_that_is_down_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().expect("folder");
    let root = format!("parquet.root={}", folder.path().display());
    let mut arguments =
        vec!["--once", "--set", "redis.url=redis://127.0.0.1:1", "--set", "redis.once_patience_s_max=0"];
    arguments.extend(["--set", &root, "--set", "reader.start=earliest"]);
    let (code, text) = run("sqep-parquet", &arguments, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(errors(&text)[0].contains("redis://127.0.0.1:1"), "{text}");
    assert!(errors(&text)[0].contains("check redis.url"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_one_line_that_does_not_show_it() {
    let redis = TestRedis::start_with(&["--requirepass", "right"]).await.expect("redis");
    let url = redis.url();
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "000001.csv", ROW);
    let secret = write(folder.path(), "password", "hunter2\n");
    let (code, text) = run(
        "sqep-csv",
        &["--once", "--set", "csv.dialect=tushare", &file],
        &[("SQEP__REDIS__URL", &url), ("SQEP__REDIS__PASSWORD_FILE", &secret)],
    );
    assert_eq!(code, 1, "{text}");
    assert!(errors(&text)[0].contains("refuses the user or password"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_not_made_before_it_is_said_where_it_begins() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let (url, root) =
        (format!("redis.url={}", redis.url()), format!("parquet.root={}", folder.path().display()));
    let (code, text) = run("sqep-parquet", &["--once", "--set", &url, "--set", &root], &[]);
    assert_eq!(code, 2, "{text}");
    assert!(errors(&text)[0].contains("reader.start") && errors(&text)[0].contains("earliest"), "{text}");
    let (code, text) = run("sqep-parquet", &["--check", "--set", &url, "--set", &root], &[]);
    assert_eq!(code, 2, "what would fail is told before: {text}");
    let start = ["--check", "--set", &url, "--set", &root, "--set", "reader.start=latest"];
    let (code, text) = run("sqep-parquet", &start, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("are in order"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_no_bar() -> anyhow::Result<()> {
    let redis = TestRedis::start().await?;
    let folder = tempfile::tempdir()?;
    let file = write(folder.path(), "000001.csv", ROW);
    let (url, root) =
        (format!("redis.url={}", redis.url()), format!("parquet.root={}", folder.path().display()));
    let reader = ["--once", "--set", &url, "--set", &root, "--set", "reader.start=earliest"];
    for (name, arguments) in [
        ("sqep-csv", &["--once", "--set", &url, "--set", "csv.dialect=tushare", &file][..]),
        ("sqep-parquet", &reader),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full")?;
        let status = Command::new(program(name)?).args(arguments).stderr(full).status()?;
        assert_eq!(status.code(), Some(0), "{name}");
    }
    assert!(folder.path().join("bar_1d/year=2018").is_dir());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_comes_out_in_shares_and_yuan_and_a_second_run_publishes_nothing() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "000001.csv", ROW);
    let url = format!("redis.url={}", redis.url());
    let arguments =
        ["--once", "--set", &url, "--set", "stream.kind=bar:1d", "--set", "csv.dialect=tushare", &file];
    for _ in 0..2 {
        let (code, text) = run("sqep-csv", &arguments, &[]);
        assert_eq!(code, 0, "{text}");
    }
    let length: u64 = redis.command(&["XLEN", "sqep:{bar:1d:0}"]).await.expect("length");
    assert_eq!(length, 1);
    let (code, text) =
        run("sqep", &["tail", "bar:1d", "--json", "--from-start", "--once", "--set", &url], &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\"vol\":52515277.0") && text.contains("\"amount\":460697377.0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_everything_is_published_again_and_the_archive_stays_the_same() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "000001.csv", ROW);
    let (url, root) =
        (format!("redis.url={}", redis.url()), format!("parquet.root={}/archive", folder.path().display()));
    let publish = ["--once", "--set", &url, "--set", "csv.dialect=tushare", &file];
    let deliver = ["--once", "--set", &url, "--set", "reader.start=earliest", "--set", &root];
    for _ in 0..2 {
        let (code, text) = run("sqep-csv", &publish, &[]);
        assert_eq!(code, 0, "{text}");
        let (code, text) = run("sqep-parquet", &deliver, &[]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("fetched=1 written=1"), "{text}");
        redis.command::<()>(&["FLUSHALL"]).await.expect("flush");
    }
    let (code, text) = run("sqep", &["compact", "--set", &root], &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(": 2 files, 2 rows,"), "each time it was written: {text}");
    assert!(text.contains("→ 1 file, 1 rows,"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_deleted_is_noticed_and_filled_again_on_demand() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "000001.csv", ROW);
    let archive = folder.path().join("archive");
    let (url, root) = (format!("redis.url={}", redis.url()), format!("parquet.root={}", archive.display()));
    let deliver = ["--once", "--set", &url, "--set", "reader.start=earliest", "--set", &root];
    let (code, text) =
        run("sqep-csv", &["--once", "--set", &url, "--set", "csv.dialect=tushare", &file], &[]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run("sqep-parquet", &deliver, &[]);
    assert_eq!(code, 0, "{text}");
    std::fs::remove_dir_all(&archive).expect("deleted");
    let (code, text) = run("sqep-parquet", &deliver, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(errors(&text)[0].contains("--resume"), "{text}");
    let (code, text) = run("sqep-parquet", &[&deliver[..], &["--resume"]].concat(), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("fetched=1 written=1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_nobody_can_read_are_buried_with_their_bytes_and_the_others_go_on() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "000001.csv", ROW);
    let url = format!("redis.url={}", redis.url());
    let stream = "sqep:{bar:1d:0}";
    redis.command::<String>(&["XADD", stream, "*", "v", "9", "p", "later"]).await.expect("another version");
    let (code, text) =
        run("sqep-csv", &["--once", "--set", &url, "--set", "csv.dialect=tushare", &file], &[]);
    assert_eq!(code, 0, "{text}");
    let mut foreign = vec!["XADD", stream, "*"];
    foreign.extend(std::iter::repeat_n("x", 9_000));
    redis.command::<String>(&foreign).await.expect("a foreign entry of many fields");
    let root = format!("parquet.root={}/archive", folder.path().display());
    let (code, text) = run(
        "sqep-parquet",
        &["--once", "--set", &url, "--set", "reader.start=earliest", "--set", &root],
        &[],
    );
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("fetched=3 written=1 buried=2"), "{text}");
    let dead: Vec<(String, Vec<String>)> =
        redis.command(&["XRANGE", "sqep:{bar:1d:0}:dead", "-", "+"]).await.expect("letters");
    assert_eq!(dead.len(), 2);
    assert!(dead[0].1.contains(&"unknown_version".to_owned()) && dead[0].1.contains(&"later".to_owned()));
    let pending: redis::Value = redis.command(&["XPENDING", stream, "parquet"]).await.expect("pending");
    assert!(format!("{pending:?}").starts_with("array([int(0)"), "{pending:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_its_end_says_what_is_left_and_fails() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    for (name, code) in [("1.csv", "000001"), ("2.csv", "000002"), ("3.csv", "000004")] {
        write(folder.path(), name, &ROW.replace("000001", code));
    }
    let (log, url) = (folder.path().join("log"), format!("redis.url={}", redis.url()));
    // One entry goes through, then a group is waited for that nobody reads.
    let set = [
        &url,
        "csv.dialect=tushare",
        "stream.groups=[\"nobody\"]",
        "stream.backlog_entries_max=0",
        "publish.records_max=1",
    ];
    let mut arguments: Vec<String> =
        set.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
    arguments.extend(["--once".to_owned(), folder.path().display().to_string()]);
    let mut producer = Running::start("sqep-csv", &arguments, &log).expect("starts");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    while !said().contains("holding back") {
        assert_eq!(producer.ended().expect("asked"), None, "{}", said());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(producer.terminate().expect("ends"), 1, "{}", said());
    assert!(
        said().contains("stopped before the end: the rows counted as the stream's are on it"),
        "{}",
        said()
    );
    assert!(!said().contains("files 3 = published 3"), "{}", said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_vendor_is_told_by_its_name() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "000001.csv", ROW);
    let url = format!("redis.url={}", redis.url());
    let (code, text) =
        run("sqep-csv", &["--once", "--set", &url, "--set", "csv.dialect=baostock", &file], &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("it is a file of tushare: set csv.dialect = \"tushare\""), "{text}");
}
