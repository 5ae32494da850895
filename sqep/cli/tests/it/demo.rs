//! `sqep demo` with the real programs and a real Redis: counts that agree, a second run, files of one's own, and a stop
//! at any moment that leaves nothing running.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use chrono::Timelike;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sqep::{Calendar, DayBar, MinuteBar, Record};
use sqep_parquet::Rows;
use sqep_testkit::market::{Market, Plan};
use tempfile::TempDir;

/// A stop must be over long before a service manager would lose its patience.
const STOP_MAX: Duration = Duration::from_secs(15);

fn sqep() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_sqep"));
    for sibling in ["sqep-csv", "sqep-tushare", "sqep-qmt", "sqep-parquet", "sqep-clickhouse"] {
        let path = program.with_file_name(sibling);
        assert!(path.is_file(), "{} is missing: run cargo build --workspace first", path.display());
    }
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn demo(out: &Path, more: &[&str]) -> Command {
    let mut command = sqep();
    command.arg("demo").arg("--out").arg(out).args(more);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn agrees(said: &Output) -> String {
    let (out, log) = (text(&said.stdout), text(&said.stderr));
    assert!(said.status.success(), "{out}\n{log}");
    assert!(out.contains("bit by bit") && !out.contains("NOT"), "{out}");
    out
}

/// What a demo makes that is told no seed.
fn market(symbols: usize, days: usize) -> Vec<DayBar> {
    seeded(7, symbols, days)
}

fn seeded(seed: u64, symbols: usize, days: usize) -> Vec<DayBar> {
    let plan = Plan { seed, symbols, days, to: "2026-06-30".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let mut bars: Vec<DayBar> =
        market.securities().iter().flat_map(|security| market.days(security.symbol)).collect();
    bars.sort_by_key(Record::key);
    bars
}

fn archive(out: &Path) -> Vec<DayBar> {
    archived(out, "bar_1d")
}

fn archived<R: Record>(out: &Path, table: &str) -> Vec<R> {
    let mut bars = Vec::new();
    for folder in fs::read_dir(out.join("archive").join(table)).unwrap() {
        let files = sqep_parquet::files(&folder.unwrap().path()).unwrap();
        assert_eq!(files.len(), 1, "compacted: one file a partition");
        let mut rows = Rows::<R>::open(&files[0]).unwrap();
        while let Some(part) = rows.next().unwrap() {
            bars.extend(part.into_iter().map(|row| row.record));
        }
    }
    bars.sort_by_key(Record::key);
    bars
}

/// Processes that work in a folder or below it.
fn at_work_in(out: &Path) -> Vec<String> {
    let out = out.canonicalize().unwrap();
    let process = |entry: fs::DirEntry| {
        let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        // A process that has ended and waits to be seen by its parent has no folder any more.
        cwd.starts_with(&out).then(|| name.trim().to_owned())
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| process(entry.ok()?)).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < STOP_MAX, "{what} within {STOP_MAX:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_same_market_comes_from_a_service_by_its_producer() {
    let folder = TempDir::new().unwrap();
    let size = ["--source", "tushare", "--symbols", "40", "--days", "20"];
    agrees(&demo(folder.path(), &size).output().unwrap());
    let held = archive(folder.path());
    let traded = |bar: &DayBar| (bar.open, bar.high, bar.low, bar.close, bar.vol);
    let made: BTreeMap<_, _> = market(40, 20).iter().map(|bar| (bar.key(), traded(bar))).collect();
    // The service has the stocks, but for those that it says were delisted meanwhile.
    assert!(held.len() > made.len() / 2, "{} of {}", held.len(), made.len());
    let wrong = held.iter().find(|&bar| made.get(&bar.key()) != Some(&traded(bar)));
    assert!(wrong.is_none(), "{wrong:?} is {:?}", wrong.and_then(|bar| made.get(&bar.key())));
    assert!(held.iter().any(|bar| bar.adjust.is_some() && bar.buy_limit.is_some() && bar.st == Some(true)));
    let wrong = demo(folder.path(), &["--source", "tushare", "--csv", "."]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

/// Lots and price that the stand-in for QMT makes of a code and a minute; it counts the day's minutes in UTC.
fn made(bar: &MinuteBar) -> (f64, f64) {
    let minute = (bar.frame.hour() * 60 + bar.frame.minute() + 16 * 60) % (24 * 60);
    let code = u32::try_from(bar.symbol.code()).unwrap();
    (f64::from(100 + (code + minute) % 50), f64::from(10_000 + code % 100 * 10 + minute) / 1_000.0)
}

#[test]
fn minutes_come_from_a_stand_in_for_qmt_by_the_agent_beside_it() {
    let folder = TempDir::new().unwrap();
    // Over a holiday: 2026-06-19 is a Friday without a session.
    let size = ["--source", "qmt", "--symbols", "30", "--days", "3", "--to", "2026-06-22"];
    let out = agrees(&demo(folder.path(), &size).output().unwrap());
    let bars = archived::<MinuteBar>(folder.path(), "bar_1m");
    assert_eq!(bars.len(), 30 * 3 * 241);
    assert!(out.contains("rows made 21,690 = keys on the stream 21,690"), "{out}");
    assert!(out.contains("refused 0"), "{out}");
    for bar in &bars {
        let (lots, price) = made(bar);
        assert_eq!((bar.vol / 100.0, bar.open, bar.close), (lots, price, price), "{bar:?}");
    }
    assert_eq!(at_work_in(folder.path()), [""; 0], "nor does the agent dial on");
    agrees(&demo(folder.path(), &size).output().unwrap());
    assert_eq!(archived::<MinuteBar>(folder.path(), "bar_1m"), bars, "a second run adds nothing");
    for (wrong, part) in
        [(["--kind", "bar:1d"], "--source qmt has bar:1m"), (["--csv", "."], "leave out --csv")]
    {
        let said = demo(folder.path(), &[&size[..2], &wrong[..]].concat()).output().unwrap();
        assert_eq!(said.status.code(), Some(2), "{}", text(&said.stderr));
        assert!(text(&said.stderr).contains(part), "{}", text(&said.stderr));
    }
}

#[test]
fn a_made_up_market_arrives_in_the_archive_bit_by_bit_and_a_second_run_publishes_nothing_new() {
    let folder = TempDir::new().unwrap();
    let size = ["--symbols", "40", "--days", "120"];
    let out = agrees(&demo(folder.path(), &size).output().unwrap());
    let bars = market(40, 120);
    assert!(out.contains(&format!("rows made {0} = rows read {0}", thousands(bars.len()))), "{out}");
    assert_eq!(archive(folder.path()), bars, "with factor, limits and special treatment of the side files");
    assert_eq!(at_work_in(folder.path()), [""; 0]);

    let out = agrees(&demo(folder.path(), &size).output().unwrap());
    assert!(out.contains("speed     0 rows read now"), "{out}");
    assert_eq!(archive(folder.path()), bars);
}

fn thousands(number: usize) -> String {
    assert!((1_000..1_000_000).contains(&number));
    format!("{},{:03}", number / 1_000, number % 1_000)
}

#[test]
fn another_market_in_the_same_folder_goes_on_and_the_later_row_wins() {
    let folder = TempDir::new().unwrap();
    agrees(&demo(folder.path(), &["--symbols", "40", "--days", "40", "--seed", "1"]).output().unwrap());
    agrees(&demo(folder.path(), &["--symbols", "40", "--days", "40"]).output().unwrap());
    let (earlier, later) = (seeded(1, 40, 40), market(40, 40));
    let rows = |bars: &[DayBar]| bars.iter().map(|bar| (bar.key(), *bar)).collect::<BTreeMap<_, _>>();
    let (mut union, theirs) = (rows(&earlier), rows(&later));
    let both = union.iter().filter(|(key, bar)| theirs.get(key).is_some_and(|other| other != *bar)).count();
    assert!(both > 0 && theirs.len() > both, "some rows are corrected, some are new");
    union.extend(theirs);
    assert!(union.len() > later.len(), "some are left as they were");
    assert_eq!(archive(folder.path()), union.into_values().collect::<Vec<_>>());
}

#[test]
fn files_of_ones_own_are_moved_in_their_dialect() {
    let folder = TempDir::new().unwrap();
    let files = folder.path().join("mine");
    let written = sqep()
        .args(["gen", "--symbols", "30", "--days", "50", "--dialect", "sqep", "--gzip", "--out"])
        .arg(&files)
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", text(&written.stderr));
    let out = folder.path().join("demo");
    let files = files.to_string_lossy().into_owned();
    agrees(&demo(&out, &["--csv", &files, "--dialect", "sqep"]).output().unwrap());
    assert_eq!(archive(&out), market(30, 50));
}

#[test]
fn minutes_go_the_same_way() {
    let folder = TempDir::new().unwrap();
    let size = ["--kind", "bar:1m", "--symbols", "10", "--days", "2"];
    let out = agrees(&demo(folder.path(), &size).output().unwrap());
    assert!(out.contains("archive/bar_1m"), "{out}");
}

#[test]
fn files_that_are_refused_are_counted_and_the_demo_says_so() {
    let folder = TempDir::new().unwrap();
    let (good, bad) = (folder.path().join("600000.SH.csv"), folder.path().join("000001.SZ.csv"));
    let header = "ts_code,trade_date,open,high,low,close,vol,amount\n";
    fs::write(&good, format!("{header}600000.SH,20260601,10,10.5,9.9,10.2,1000,1020\n")).unwrap();
    fs::write(&bad, format!("{header}000001.SZ,20260601,10,10.5,9.9,10.2,100000,1020\n")).unwrap();
    let files: Vec<String> = [&good, &bad].map(|path| path.to_string_lossy().into_owned()).into();
    let out = folder.path().join("demo");
    let said =
        demo(&out, &["--csv", &files[0], "--csv", &files[1], "--dialect", "tushare"]).output().unwrap();
    let (told, log) = (text(&said.stdout), text(&said.stderr));
    assert_eq!(said.status.code(), Some(1), "{told}\n{log}");
    assert!(told.contains("rows read 2 = appended 1 + refused 1 + skipped 0"), "{told}");
    assert!(told.contains("units_or_adjusted 1") && !told.contains("NOT"), "{told}");
    assert!(log.contains("the counts agree, but sqep-csv ended with exit status: 1"), "{log}");
    assert_eq!(archive(&out).len(), 1);
}

#[test]
fn a_demo_of_nothing_says_why_and_prints_no_figures() {
    let folder = TempDir::new().unwrap();
    let nowhere = folder.path().join("nowhere").to_string_lossy().into_owned();
    let out = folder.path().join("demo");
    let said = demo(&out, &["--csv", &nowhere]).output().unwrap();
    let (told, log) = (text(&said.stdout), text(&said.stderr));
    assert_eq!(said.status.code(), Some(2), "{told}\n{log}");
    assert!(log.contains("nowhere") && told.is_empty(), "{told}\n{log}");
    let bad = folder.path().join("000001.csv");
    fs::write(&bad, "what,is,this\n1,2,3\n").unwrap();
    let said = demo(&out, &["--csv", &bad.to_string_lossy()]).output().unwrap();
    let told = text(&said.stdout);
    assert_eq!(said.status.code(), Some(1), "{told}");
    assert!(!told.contains("pandas") && !told.contains("bytes a bar"), "{told}");
}

/// Starts a demo that has enough to do, and waits until its server is there.
fn started(out: &Path) -> Child {
    let mut child = demo(out, &["--symbols", "400", "--days", "400"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("redis ")), "the server was started");
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(pid(child), signal).unwrap();
}

#[test]
fn a_stop_ends_every_program_and_the_next_run_goes_on() {
    let folder = TempDir::new().unwrap();
    // A terminal sends Ctrl-C to the whole process group; a service manager sends SIGTERM to the one process it knows.
    for (signal, to_all) in [(Signal::INT, true), (Signal::INT, false), (Signal::TERM, false)] {
        let mut child = started(folder.path());
        wait_until("the programs are at work", || {
            at_work_in(folder.path()).iter().any(|name| name == "sqep-parquet")
        });
        if to_all {
            kill_process_group(pid(&child), signal).unwrap();
        } else {
            send(&child, signal);
        }
        let since = Instant::now();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(1), "a demo that was stopped has not succeeded");
        assert!(since.elapsed() < STOP_MAX, "{:?}", since.elapsed());
        assert_eq!(at_work_in(folder.path()), [""; 0], "nothing is left running");
    }
    agrees(&demo(folder.path(), &["--symbols", "400", "--days", "400"]).output().unwrap());
    assert_eq!(archive(folder.path()), market(400, 400));
}

#[test]
fn what_a_killed_demo_left_running_is_ended_by_the_next() {
    let folder = TempDir::new().unwrap();
    let mut child = started(folder.path());
    wait_until("the programs are at work", || {
        at_work_in(folder.path()).iter().any(|name| name == "sqep-parquet")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(at_work_in(folder.path()).contains(&"redis-server".to_owned()));
    agrees(&demo(folder.path(), &["--symbols", "400", "--days", "400"]).output().unwrap());
    assert_eq!(archive(folder.path()), market(400, 400));
    assert_eq!(at_work_in(folder.path()), [""; 0]);
}

#[test]
fn a_server_that_is_kept_answers_and_the_next_demo_takes_over() {
    let folder = TempDir::new().unwrap();
    let size = ["--symbols", "10", "--days", "20"];
    let out = agrees(&demo(folder.path(), &[&size[..], &["--keep-redis"]].concat()).output().unwrap());
    let url = out.lines().find_map(|line| line.rsplit_once("redis.url=")).unwrap().1.to_owned();
    let status = sqep().args(["status", "--json", "--set", &format!("redis.url={url}")]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let bars = status["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stream| stream["stream"] == "sqep:{bar:1d:0}")
        .unwrap();
    let groups = bars["groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["group"] == "parquet").unwrap();
    assert_eq!(
        (&group["group"], &group["pending"], &group["lag"]),
        (&"parquet".into(), &0.into(), &0.into())
    );
    agrees(&demo(folder.path(), &size).output().unwrap());
    assert_eq!(at_work_in(folder.path()), [""; 0]);
}

#[test]
fn two_demos_do_not_share_a_folder() {
    let folder = TempDir::new().unwrap();
    let mut first = started(folder.path());
    let second = demo(folder.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another demo is at work in"), "{}", text(&second.stderr));
    send(&first, Signal::TERM);
    first.wait().unwrap();
}

#[test]
fn check_says_what_is_missing_and_does_nothing() {
    let folder = TempDir::new().unwrap();
    let out: PathBuf = folder.path().join("demo");
    assert!(demo(&out, &["--check"]).status().unwrap().success());
    assert!(!out.exists());
    let alone = folder.path().join("sqep");
    fs::copy(env!("CARGO_BIN_EXE_sqep"), &alone).unwrap();
    let said = Command::new(&alone).args(["demo", "--out"]).arg(&out).output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(text(&said.stderr).contains("sqep-csv is not beside"), "{}", text(&said.stderr));
    assert!(!out.exists());
}

#[test]
fn a_demo_into_clickhouse_ends_with_the_answers_to_three_queries() {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--symbols", "30", "--days", "40"];
    let out =
        agrees(&demo(folder.path(), &[&["--sink", "clickhouse"][..], &size].concat()).output().unwrap());
    let keys: BTreeSet<_> = market(30, 40).iter().map(Record::key).collect();
    let held = out.lines().find_map(|line| line.strip_prefix("clickhouse holds ")).unwrap();
    assert_eq!(held, format!("{} bar:1d rows", thousands(keys.len())));
    for query in ["03_cross_section.sql", "06_top_movers.sql", "10_coverage.sql"] {
        let answer = out.split_once(query).unwrap().1;
        assert!(answer.lines().nth(2).is_some_and(|row| row.starts_with("1.")), "{query}: {answer}");
    }
}

#[test]
fn features_are_a_second_archive_with_the_last_row_of_three_securities() {
    let folder = tempfile::tempdir().unwrap();
    let out = agrees(&demo(folder.path(), &["--symbols", "12", "--days", "140"]).output().unwrap());
    let shown = out.lines().filter(|line| line.contains("rsi_12") && line.contains("valid true")).count();
    assert_eq!(shown, 3, "{out}");
    let rows = archived::<sqep::DayFeature>(folder.path(), "feature_1d");
    let traded = market(12, 140).iter().filter(|bar| bar.vol > 0.0).count();
    assert_eq!(rows.len(), traded);
}
