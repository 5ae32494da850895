//! What the real programs expose on `http.listen`, and whether rules and dashboard ask for things that are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use sqep_testkit::{TestRedis, programs::Running};
use tempfile::TempDir;

/// Nothing that is waited for may take longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

const ROWS: &str = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n\
    000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n\
    000001.SZ,20180719,8.75,8.65,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n";

/// A program with metrics on a port of its own.
struct Watched {
    running: Running,
    address: String,
}

impl Watched {
    fn start(name: &str, folder: &TempDir, keys: &[(&str, &str)], more: &[String]) -> Watched {
        // Free a moment ago; a test that loses the port says so.
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("port").to_string();
        let mut arguments: Vec<String> = vec!["--set".to_owned(), format!("http.listen={address}")];
        arguments.extend(keys.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
        arguments.extend(more.iter().cloned());
        let running =
            Running::start(name, &arguments, &folder.path().join(format!("{name}.log"))).expect("starts");
        Watched { running, address }
    }

    /// One request; `None`: nobody listens yet.
    fn ask(&self, request: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(WAIT_MAX)).expect("time-out");
        stream.write_all(request.as_bytes()).expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        Some(answer)
    }

    /// Status and body.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.ask(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status");
        Some((status, body.to_owned()))
    }

    /// Asks again and again until the answer is as it should be.
    fn get_until(&mut self, path: &str, good: impl Fn(u16, &str) -> bool) -> (u16, String) {
        let since = Instant::now();
        loop {
            let got = self.get(path);
            if let Some((status, body)) = &got
                && good(*status, body)
            {
                return (*status, body.clone());
            }
            assert_eq!(self.running.ended().expect("status"), None, "the program has ended");
            assert!(since.elapsed() < WAIT_MAX, "{path} stays at {got:?}");
            std::thread::yield_now();
        }
    }

    /// The samples, once `sample` has the value.
    fn metrics_once(&mut self, sample: &str, value: &str) -> BTreeMap<String, String> {
        let line = format!("{sample} {value}\n");
        let (_, text) = self.get_until("/metrics", |_, text| text.contains(&line));
        samples(&text)
    }
}

/// Samples by name and labels; checks the form of every line on the way.
fn samples(text: &str) -> BTreeMap<String, String> {
    let (mut family, mut found) = (String::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').is_some_and(|(_, help)| help.ends_with('.')), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            rest.split(' ').next().expect("name").clone_into(&mut family);
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
            assert!(sample.starts_with(&family), "{line} stands under {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(found.insert(sample.to_owned(), value.to_owned()).is_none(), "{line} comes twice");
        }
    }
    found
}

fn publisher(redis: &TestRedis, folder: &TempDir) -> Watched {
    let input = folder.path().join("in");
    std::fs::create_dir_all(&input).expect("folder");
    std::fs::write(input.join("000001.csv"), ROWS).expect("writes");
    let keys = [("redis.url", &*redis.url()), ("csv.dialect", "tushare"), ("csv.watch", "true")];
    Watched::start("sqep-csv", folder, &keys, &[input.display().to_string()])
}

fn reader(redis: &TestRedis, folder: &TempDir) -> Watched {
    let root = folder.path().join("archive").display().to_string();
    let keys = [
        ("redis.url", &*redis.url()),
        ("reader.start", "earliest"),
        ("parquet.root", &*root),
        ("parquet.wait_s_max", "1"),
    ];
    Watched::start("sqep-parquet", folder, &keys, &[])
}

fn listener(redis: &TestRedis, folder: &TempDir) -> Watched {
    let token = folder.path().join("token");
    std::fs::write(&token, "a-secret-that-no-agent-here-shows").expect("writes");
    let keys = [
        ("redis.url", &*redis.url()),
        ("stream.kind", "bar:1m"),
        ("agent.listen", "127.0.0.1:0"),
        ("agent.token_file", &*token.display().to_string()),
    ];
    Watched::start("sqep-qmt", folder, &keys, &[])
}

fn features(redis: &TestRedis, folder: &TempDir) -> Watched {
    let state = folder.path().join("state").display().to_string();
    let keys = [("redis.url", &*redis.url()), ("reader.start", "earliest"), ("features.state", &*state)];
    Watched::start("sqep-features", folder, &keys, &[])
}

fn hung(redis: &TestRedis, folder: &TempDir) -> Watched {
    let root = folder.path().display().to_string();
    let keys = [
        ("redis.url", &*redis.url()),
        ("reader.start", "earliest"),
        ("reader.write_timeout_s_max", "1"),
        ("hung.folder", &*root),
    ];
    Watched::start("sqep-hung", folder, &keys, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_and_refusal_is_counted_on_both_sides_of_the_stream() {
    let (redis, folder) = (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    let mut publisher = publisher(&redis, &folder);
    let source = "kind=\"bar:1d\",source=\"csv\"";
    let out = publisher.metrics_once(&format!("sqep_rows_total{{{source},direction=\"in\"}}"), "2");
    assert_eq!(out[&format!("sqep_rows_total{{{source},direction=\"out\"}}")], "1");
    assert_eq!(out[&format!("sqep_rows_refused_total{{{source},reason=\"ohlc_order\"}}")], "1");
    assert_eq!(out[&format!("sqep_dead_letters_total{{{source}}}")], "1");
    assert_eq!(out[&format!("sqep_connected{{{source}}}")], "1");
    assert_ne!(out[&format!("sqep_stream_bytes_total{{{source},direction=\"out\"}}")], "0");

    let mut reader = reader(&redis, &folder);
    let group = "kind=\"bar:1d\",partition=\"0\",group=\"parquet\"";
    let within = reader.metrics_once(&format!("sqep_rows_total{{{group},direction=\"out\"}}"), "1");
    assert_eq!(within[&format!("sqep_rows_total{{{group},direction=\"in\"}}")], "1");
    assert_eq!(within[&format!("sqep_batch_latency_seconds_count{{{group}}}")], "1");
    let infinite = &within[&format!("sqep_batch_latency_seconds_bucket{{{group},le=\"+Inf\"}}")];
    assert_eq!(infinite, "1");
    assert_eq!(within[&format!("sqep_lease_held{{{group}}}")], "1");
    let bytes: u64 = within["process_resident_memory_bytes"].parse().expect("bytes");
    assert!((1 << 20..1 << 30).contains(&bytes), "{bytes}");
    reader.metrics_once(&format!("sqep_lag_entries{{{group}}}"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_between_two_streams_is_counted_on_both() {
    let (redis, folder) = (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    let mut publisher = publisher(&redis, &folder);
    publisher.metrics_once("sqep_rows_total{kind=\"bar:1d\",source=\"csv\",direction=\"out\"}", "1");
    let mut features = features(&redis, &folder);
    let (group, source) =
        ("kind=\"bar:1d\",partition=\"0\",group=\"features\"", "kind=\"feature:1d\",source=\"features\"");
    let seen = features.metrics_once(&format!("sqep_rows_total{{{source},direction=\"out\"}}"), "1");
    assert_eq!(seen[&format!("sqep_connected{{{source}}}")], "1");
    let seen = features.metrics_once(&format!("sqep_rows_total{{{group},direction=\"out\"}}"), "1");
    assert_eq!(seen[&format!("sqep_rows_total{{{group},direction=\"in\"}}")], "1");
    assert_eq!(seen[&format!("sqep_lease_held{{{group}}}")], "1");
    features.metrics_once(&format!("sqep_lag_entries{{{group}}}"), "0");
    features.get_until("/readyz", |status, _| status == 200);
    assert_eq!(features.get("/healthz").map(|(status, _)| status), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_write_shows_as_lag_and_as_ill_health() {
    let (redis, folder) = (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    let mut publisher = publisher(&redis, &folder);
    publisher.get_until("/metrics", |_, text| text.contains("direction=\"out\"} 1\n"));
    let mut hung = hung(&redis, &folder);
    let (_, why) = hung.get_until("/healthz", |status, _| status == 503);
    assert!(why.contains("bar:1d/0 for hung: one step has lasted"), "{why}");
    assert_eq!(hung.get("/readyz"), Some((200, "ok\n".to_owned())), "it is connected and holds the lease");
    let group = "kind=\"bar:1d\",partition=\"0\",group=\"hung\"";
    let now = hung.metrics_once(&format!("sqep_lag_entries{{{group}}}"), "1");
    assert_eq!(now[&format!("sqep_moving{{{group}}}")], "0");
    let lag: f64 = now[&format!("sqep_lag_seconds{{{group}}}")].parse().expect("seconds");
    assert!(lag > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_who_is_connected_and_holds_the_lease() {
    let (mut redis, folder) =
        (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    redis.server.kill().expect("killed");
    let mut first = reader(&redis, &folder);
    let (_, why) = first.get_until("/readyz", |_, why| why.contains("not connected: redis at"));
    assert!(why.contains("last error"), "{why}");
    assert_eq!(
        first.get("/healthz").map(|(status, _)| status),
        Some(200),
        "waiting for a server is no illness"
    );
    redis.server.restart().await.expect("redis again");
    first.get_until("/readyz", |status, _| status == 200);
    let failed = first.metrics_once("sqep_connected{kind=\"bar:1d\",partition=\"0\",group=\"parquet\"}", "1");
    let retries = "sqep_retries_total{kind=\"bar:1d\",partition=\"0\",group=\"parquet\",what=\"server\"}";
    assert_ne!(failed[retries], "0");
    let mut second = reader(&redis, &folder);
    second.get_until("/readyz", |status, why| status == 503 && why.contains("standing by"));
    second.metrics_once("sqep_lease_held{kind=\"bar:1d\",partition=\"0\",group=\"parquet\"}", "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_answered_and_does_no_harm() {
    let (redis, folder) = (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    let mut reader = reader(&redis, &folder);
    reader.get_until("/healthz", |status, _| status == 200);
    assert_eq!(reader.get("/").map(|(status, _)| status), Some(404));
    let post =
        reader.ask("POST /metrics HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").expect("answer");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let long = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "a".repeat(7_000_000));
    let mut stream = TcpStream::connect(&reader.address).expect("connects");
    // Cut off while it still talks, or told that this is too long.
    drop(stream.write_all(long.as_bytes()));
    // More silent connections than are served at a time: a scrape waits for one of them to be thrown out.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(&reader.address).expect("connects")).collect();
    assert_eq!(reader.get("/healthz").map(|(status, _)| status), Some(200));
    drop(silent);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_program_is_a_target_of_prometheus() {
    let deploy = root().join("deploy");
    let targets = std::fs::read_to_string(deploy.join("prometheus/prometheus.yml")).expect("targets");
    let (mut wanted, mut named) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(&deploy).expect("deploy") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let http = text.split("[http]").nth(1).filter(|_| path.extension().is_some_and(|end| end == "toml"));
        let address = http.and_then(|http| http.lines().find_map(|line| line.strip_prefix("listen = \"")));
        let name = path.file_stem().and_then(|name| name.to_str()).expect("name");
        wanted.extend(address.map(|address| format!("{} # {name}", address.trim_end_matches('"'))));
    }
    named.extend(
        targets.lines().filter_map(|line| line.trim().strip_prefix("- 127")).map(|rest| format!("127{rest}")),
    );
    assert!(wanted.len() >= 6, "{wanted:?}");
    assert_eq!(named, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_ask_only_for_what_programs_expose() {
    let (redis, folder) = (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    let mut reader = reader(&redis, &folder);
    let (_, text) = reader.get_until("/metrics", |status, _| status == 200);
    let metrics = folder.path().join("metrics.txt");
    std::fs::write(&metrics, text).expect("writes");
    let deploy = root().join("deploy");
    let files = [metrics, deploy.join("prometheus/sqep.rules.yml"), deploy.join("grafana/sqep.json")];
    let python =
        std::env::var_os("SQEP_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let output = Command::new(&python)
        .arg(root().join("testkit/python/metrics.py"))
        .args(&files)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; testkit/setup.sh test makes it", python.display()));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let lies =
        std::fs::read_to_string(&files[1]).expect("rules").replace("sqep_lag_seconds", "sqep_lag_secs");
    let wrong = folder.path().join("wrong.yml");
    std::fs::write(&wrong, lies).expect("writes");
    let output = Command::new(python)
        .arg(root().join("testkit/python/metrics.py"))
        .args([&files[0], &wrong, &files[2]])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SqepLagging: no program exposes sqep_lag_secs"), "{said}");
}

/// Metrics of ours and labels that a text of rules or a dashboard names, by the simplest means there are.
fn asked(text: &str) -> (BTreeSet<String>, BTreeSet<(String, String)>) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names =
        text.split(|c| !word(c)).filter(|name| name.starts_with("sqep_") || name.starts_with("process_"));
    let text = text.replace("\\\"", "\"");
    let mut labels = BTreeSet::new();
    for block in text.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        for (label, value) in block.split(',').filter_map(|matcher| matcher.split_once('=')) {
            let label = label.trim_end_matches('!').trim();
            let value = value.trim_start_matches('~').trim_matches('"');
            // What is left to who looks, and what is not there, has no value of ours.
            if label.chars().all(word) && !value.starts_with('$') && !value.is_empty() {
                labels.extend(value.split('|').map(|value| (label.to_owned(), value.to_owned())));
            }
        }
    }
    (names.map(str::to_owned).collect(), labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_and_value_that_rules_and_dashboard_ask_for_is_in_what_the_programs_say() {
    let (mut redis, folder) =
        (TestRedis::start().await.expect("redis"), tempfile::tempdir().expect("folder"));
    redis.server.kill().expect("killed");
    let (mut publisher, mut reader) = (publisher(&redis, &folder), reader(&redis, &folder));
    reader.get_until("/readyz", |_, why| why.contains("last error"));
    redis.server.restart().await.expect("redis again");
    let twice = folder.path().join("in/000002.csv");
    let good = ROWS.lines().nth(1).expect("a row").replace("000001", "000002");
    std::fs::write(twice, format!("{}\n{good}\n{good}\n", ROWS.lines().next().expect("names")))
        .expect("writes");
    publisher
        .metrics_once("sqep_rows_skipped_total{kind=\"bar:1d\",source=\"csv\",reason=\"duplicate\"}", "1");
    let group = "kind=\"bar:1d\",partition=\"0\",group=\"parquet\"";
    reader.metrics_once(&format!("sqep_rows_total{{{group},direction=\"out\"}}"), "2");
    reader.metrics_once(&format!("sqep_lag_entries{{{group}}}"), "0");
    let mut listener = listener(&redis, &folder);
    listener.get_until("/metrics", |_, told| told.contains("\nsqep_source_degraded "));
    let told = [&publisher, &reader, &listener];
    let told = told.map(|watched| watched.get("/metrics").expect("answers").1).concat();
    let samples = told.lines().filter(|line| !line.starts_with('#'));
    let names: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let (_, values) = asked(&told);

    for file in ["prometheus/sqep.rules.yml", "prometheus/sqep.rules.test.yml", "grafana/sqep.json"] {
        let text = std::fs::read_to_string(root().join("deploy").join(file)).expect(file);
        let (metrics, mut labels) = asked(&text);
        assert!(metrics.len() >= 3, "{file}: {metrics:?}");
        let missing: Vec<_> = metrics.iter().filter(|name| !names.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{file}: no program says {missing:?}");
        // Whom Prometheus asks, and for what market, is no program's word.
        labels.retain(|(label, _)| !["job", "instance", "kind", "partition"].contains(&label.as_str()));
        assert!(!labels.is_empty(), "{file} names no label");
        let missing: Vec<_> = labels.iter().filter(|pair| !values.contains(pair)).collect();
        assert!(missing.is_empty(), "{file}: no program says {missing:?}");
    }
}

/// Where Prometheus is installed, its own tool checks the rules and runs their tests.
#[test]
fn promtool_agrees_where_there_is_one() {
    let folder = root().join("deploy/prometheus");
    let checks = [["check", "rules", "sqep.rules.yml"], ["test", "rules", "sqep.rules.test.yml"]];
    for words in checks.into_iter().chain([["check", "config", "prometheus.yml"]]) {
        match Command::new("promtool").args(words).current_dir(&folder).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                println!("NOT CHECKED by promtool, which is not installed: {words:?}");
            }
        }
    }
}
