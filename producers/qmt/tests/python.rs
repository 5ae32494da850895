//! The agent that is shipped, beside a stand-in for QMT, against the source: real processes, a market that runs sixty times
//! as fast.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use common::{Rig, at};
use sqep::{Calendar, Cursors, DayBar, Kind, MinuteBar, Record, RefDay, Source, kind::Grid, shanghai};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    listen::listen,
    live::{LivePlan, LiveSource},
    secret::Token,
    session::Door,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123";
const SPEED: i32 = 60;
const START: &str = "2025-01-02T09:29:30";
const CODES: [u32; 3] = [600_000, 1, 510_300];

/// The shipped agent, with its pauses shortened as the market is sped up.
const RUN: &str = "import sys, sqep_qmt_agent as a
from xtquant import xtdata
a.BEAT_S, a.POLL_S, a.TURN_S, a.MINUTE_S, a.PAUSE_S_MAX = 0.02, 0.05, 0.2, 1.0, 0.2
agent = a.Agent(xtdata, a.options())
while True: agent.step(0.01)";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python() -> PathBuf {
    std::env::var_os("SQEP_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// One process of the agent; killed when dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn agent(address: &str, folder: &Path, epoch: f64, more: &[&str], habits: &[(&str, &str)]) -> Agent {
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let path = [root().join("producers/qmt/agent"), root().join("testkit/python/standin")];
    let mut command = Command::new(python());
    command
        .args([
            "-c",
            RUN,
            "--connect",
            address,
            "--token-file",
            token.to_str().unwrap(),
            "--name",
            "pc1",
            "--sector",
            "all",
        ])
        .args(more)
        .env("PYTHONPATH", std::env::join_paths(path).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The computer's own zone is another, and must not matter.
        .env("TZ", "America/New_York")
        .env("STANDIN_BASE_MS", shanghai::instant_ms(at(START)).unwrap().to_string())
        .env("STANDIN_AT", format!("{epoch:.3}"))
        .env("STANDIN_SPEED", SPEED.to_string())
        .envs(habits.iter().copied());
    Agent(command.spawn().unwrap())
}

/// The final bar of the stand-in's formula: lots and price.
fn wanted(code: u32, frame: NaiveDateTime) -> (f64, f64) {
    let minute = frame.hour() * 60 + frame.minute();
    // The stand-in counts minutes of the day in UTC.
    let utc = (minute + 1_440 - 480) % 1_440;
    let price = f64::from(10_000 + code % 100 * 10 + utc) / 1_000.0;
    (f64::from(100 + (code + utc) % 50), price)
}

/// Runs the market until all bars of the first minutes are there; returns them as they were published.
async fn watch(kills: usize, minutes: i64, more: &[&str], habits: &[(&str, &str)]) -> Vec<MinuteBar> {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let door = Door { token: Token::from(TOKEN), unit: None };
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where ours does")]
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let clock =
        Clock::new(move || at(START) + TimeDelta::from_std(began.elapsed() * SPEED.cast_unsigned()).unwrap());
    let plan = LivePlan {
        settings: QmtSettings::default(),
        agent: AgentSettings { stale_s_max: 30, ..AgentSettings::default() },
        alias: AliasChoice::Current,
        kind: Kind::BarMinute(Grid::M1),
        calendar: Arc::new(Calendar::published()),
        once: false,
        clock,
        desk: None,
    };
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let events = listen(listener, door, AgentSettings::default(), None, stop);
    let mut source = LiveSource::<MinuteBar>::new(plan, events).unwrap();
    source.open(&Cursors::default()).await.unwrap();
    let mut running = Some(agent(&address, folder.path(), epoch, more, habits));
    let (mut bars, mut killed, last) = (Vec::new(), 0, at(START) + TimeDelta::minutes(minutes));
    let all = async {
        while !CODES.iter().all(|&code| {
            bars.iter().any(|bar: &MinuteBar| bar.symbol.code().cast_unsigned() == code && bar.frame >= last)
        }) {
            bars.extend(source.read().await.unwrap().unwrap().records);
            if killed < kills && bars.len() >= (killed + 1) * 3 {
                killed += 1;
                drop(running.take());
                running = Some(agent(&address, folder.path(), epoch, more, habits));
            }
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("all bars within a minute");
    assert_eq!(killed, kills);
    bars
}

fn assert_whole(bars: &[MinuteBar], minutes: i64) {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for bar in bars {
        *seen.entry(bar.key()).or_default() += 1;
        let (lots, price) = wanted(bar.symbol.code().cast_unsigned(), bar.frame);
        assert!(
            (bar.vol - lots * 100.0).abs() < 0.5 && (bar.close - price).abs() < 1e-9,
            "final values: {bar:?} {lots} {price}"
        );
    }
    assert!(seen.values().all(|&count| count == 1), "each key once: {seen:?}");
    for code in CODES {
        let frames: Vec<String> = bars
            .iter()
            .filter(|bar| bar.symbol.code().cast_unsigned() == code)
            .map(|bar| bar.frame.format("%H:%M").to_string())
            .collect();
        for minute in 1..=minutes {
            let wanted = (at("2025-01-02T09:29:00") + TimeDelta::minutes(minute)).format("%H:%M").to_string();
            assert!(frames.contains(&wanted), "{code} {wanted} in {frames:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_minute_comes_once_with_its_last_values_though_the_agent_is_killed_five_times() {
    assert_whole(&watch(5, 7, &[], &[("STANDIN_FAIL", "17")]).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_minute_is_cut_short_by_a_download_that_takes_its_time() {
    // A minute of the market is a second; the three downloads after each start take two of its minutes together.
    assert_whole(&watch(2, 9, &[], &[("STANDIN_DOWNLOAD_S", "40")]).await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_always_fails_to_download_leaves_the_others_alone() {
    assert_whole(
        &watch(
            1,
            5,
            &["--codes", "600000.SH,000001.SZ,510300.SH,600999.SH"],
            &[("STANDIN_BROKEN", "600999.SH")],
        )
        .await,
        5,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribed_bars_come_as_polled_ones_do() {
    assert_whole(&watch(0, 3, &["--subscribe"], &[]).await, 3);
}

#[test]
fn the_agent_is_one_short_file_that_python_3_6_reads() {
    let path = root().join("producers/qmt/agent/sqep_qmt_agent.py");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() <= 150, "{} lines", text.lines().count());
    let check =
        "import ast, sys; ast.parse(open(sys.argv[1], encoding='utf-8').read(), feature_version=(3, 6))";
    let status = Command::new(python()).args(["-c", check]).arg(&path).status().unwrap();
    assert!(status.success());
    let modules = [
        "argparse",
        "contextlib",
        "json",
        "math",
        "os",
        "queue",
        "socket",
        "ssl",
        "threading",
        "time",
        "xtquant",
    ];
    for line in
        text.lines().map(str::trim).filter(|line| line.starts_with("import ") || line.starts_with("from "))
    {
        let names =
            line.trim_start_matches("import ").trim_start_matches("from ").split(" import ").next().unwrap();
        assert!(names.split(", ").all(|name| modules.contains(&name)), "{line}");
    }
}

/// The program beside the agent, from a time of the market on.
struct Program {
    child: Child,
    agent: Option<Agent>,
}

impl Program {
    fn start(rig: &Rig, folder: &Path, start: &str, more: &[&str]) -> Program {
        let words = [
            "--rehearse",
            start,
            "--speed",
            "60",
            "--set",
            "agent.listen=127.0.0.1:0",
            "--set",
            "stream.kind=bar:1m",
        ];
        let mut command = rig.command(&[&words[..], &["--set", "qmt.day_bars=true"], more].concat());
        let mut child = command
            .env("SQEP__AGENT__TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where the program's does")]
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let base = shanghai::instant_ms(at(start)).unwrap().to_string();
        let agent = agent(
            &address,
            folder,
            epoch,
            &[],
            &[("STANDIN_BASE_MS", &base), ("STANDIN_CLOSED", "20250101")],
        );
        Program { child, agent: Some(agent) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.agent.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a stream has a row of each code on a day.
async fn day_of<R: Record>(rig: &Rig, kind: Kind) -> Vec<R> {
    let day = common::day("2025-01-02").signed_duration_since(common::day("1970-01-01")).num_days();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(40) {
        let rows = rig.stream::<R>(kind).await.rows;
        let today: Vec<R> =
            rows.into_iter().filter(|((_, time), _)| *time == day).map(|(_, row)| row).collect();
        if today.len() == CODES.len() {
            return today;
        }
    }
    panic!("no {kind} of every code in 40 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn factor_limits_and_treatment_come_before_the_open_and_in_the_day_bar_after_the_close() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let program = Program::start(&rig, folder.path(), "2025-01-02T08:54:00", &[]);
    let refs = day_of::<RefDay>(&rig, Kind::RefDay).await;
    drop(program);
    let known = |code: u32| *refs.iter().find(|row| row.symbol.code().cast_unsigned() == code).unwrap();
    // Ex-days where QMT has them; else what the reference prices tell.
    assert!((known(600_000).adjust.unwrap() - 1.05 * 1.02).abs() < 1e-9, "{refs:?}");
    assert!((known(1).adjust.unwrap() - 1.01).abs() < 1e-3, "{refs:?}");
    assert_eq!((known(1).st, known(600_000).st, known(510_300).st), (Some(true), Some(false), None));
    let limits = refs.iter().map(|row| row.buy_limit.unwrap() / row.sell_limit.unwrap());
    assert!(limits.clone().all(|ratio| (ratio - 1.1 / 0.9).abs() < 0.01), "{refs:?}");

    let program = Program::start(&rig, folder.path(), "2025-01-02T14:59:20", &[]);
    let bars = day_of::<DayBar>(&rig, Kind::BarDay).await;
    drop(program);
    let minutes = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    for (bar, known) in bars.iter().zip(&refs) {
        let sum: f64 = minutes.rows.values().filter(|row| row.symbol == bar.symbol).map(|row| row.vol).sum();
        assert!((bar.vol - sum).abs() < 0.5, "{bar:?}: its minutes add up to {sum}");
        let told = (bar.adjust, bar.st, bar.buy_limit, bar.sell_limit);
        assert_eq!(told, (known.adjust, known.st, known.buy_limit, known.sell_limit), "{bar:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_days_that_another_source_feeds_is_not_overwritten() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    common::dat(folder.path(), "SH/86400/600000.DAT", &common::days(0, 3));
    let path = folder.path().to_str().unwrap();
    rig.run(&["--once", "--set", "qmt.source=dat", "--set", "qmt.name=files", path]).good();
    let mut program = Program::start(&rig, folder.path(), "2025-01-02T09:00:00", &[]);
    let status = program.child.wait().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut program.child.stderr.take().unwrap(), &mut text).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("bar:1d") && text.contains("files"), "{text}");
}
