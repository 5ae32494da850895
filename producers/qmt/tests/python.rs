//! The agent that is shipped, beside a stand-in for QMT, against the source: real processes, a market that runs sixty times
//! as fast.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use common::{Rig, at};
use sqep::{
    Calendar, Cursors, DayBar, Kind, MinuteBar, Record, RefDay, Source, kind::Grid, meter::Meters, shanghai,
};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    listen::{Event, listen},
    live::{LivePlan, LiveSource},
    protocol::{Beat, From, Message},
    secret::Token,
    session::Door,
    tls,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123";
const SPEED: i32 = 60;
const START: &str = "2025-01-02T09:29:30";
const CODES: [u32; 3] = [600_000, 1, 510_300];

/// The shipped agent, with its pauses shortened as the market is sped up.
const RUN: &str = "import sys, sqep_qmt_agent as a
from xtquant import xtdata
a.BEAT_S, a.POLL_S, a.LOOK_S, a.LIST_S, a.TURN_S, a.MINUTE_S, a.PAUSE_S_MAX = 0.02, 0.05, 0.25, 0.5, 0.2, 1.0, 0.2
agent = a.Agent(xtdata, a.options())
while True: agent.step(0.01)";

/// The same, as a strategy inside the big QMT: everything on the strategy's thread, a turn at a time.
const INSIDE: &str = "import sys, sqep_qmt_agent as a
from xtquant import xtdata
a.BEAT_S, a.POLL_S, a.LOOK_S, a.LIST_S, a.TURN_S, a.MINUTE_S, a.PAUSE_S_MAX = 0.02, 0.05, 0.25, 0.5, 0.2, 1.0, 0.2
a.DEFAULTS, a.download_history_data = sys.argv[1:], xtdata.download_history_data
context = xtdata.ContextInfo()
a.init(context)
while True: getattr(a, context.timer)(context)";

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

fn shipped(
    script: &str,
    address: &str,
    folder: &Path,
    epoch: f64,
    more: &[&str],
    habits: &[(&str, &str)],
) -> Command {
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let path = [root().join("producers/qmt/agent"), root().join("testkit/python/standin")];
    let mut command = Command::new(python());
    command
        .args([
            "-c",
            script,
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
    command
}

/// The final bar of the stand-in's formula: lots and price.
fn wanted(code: u32, frame: NaiveDateTime) -> (f64, f64) {
    let minute = frame.hour() * 60 + frame.minute();
    // The stand-in counts minutes of the day in UTC.
    let utc = (minute + 1_440 - 480) % 1_440;
    let price = f64::from(10_000 + code % 100 * 10 + utc) / 1_000.0;
    (f64::from(100 + (code + utc) % 50), price)
}

/// What runs, and beside what.
struct Scene<'a> {
    script: &'a str,
    /// How often the agent is killed.
    kills: usize,
    /// Minutes that must come of each.
    minutes: i64,
    codes: &'a [u32],
    more: &'a [&'a str],
    habits: &'a [(&'a str, &'a str)],
    /// Seconds of the market without a bar after which everything is subscribed and asked for again. As long as a day:
    /// nothing but what the agent sends by itself brings a bar.
    stale_s_max: u64,
    tls: Option<TlsAcceptor>,
    /// How often an agent may come.
    comes: usize,
    /// Minutes from the start whose bars may go out more than once: their last version counts.
    again: i64,
}

const SCENE: Scene<'_> = Scene {
    script: RUN,
    kills: 0,
    minutes: 5,
    codes: &CODES,
    more: &[],
    habits: &[],
    stale_s_max: 86_400,
    tls: None,
    comes: 1,
    again: 0,
};

/// What agents did by themselves.
#[derive(Debug, Default)]
struct Seen {
    came: AtomicUsize,
    /// Heartbeats that told of a whole look.
    looks: AtomicUsize,
    /// Time of the newest row that was not asked for.
    newest_ms: AtomicI64,
}

/// Passes on what happens, and remembers it.
fn watched(mut events: mpsc::Receiver<Event>) -> (mpsc::Receiver<Event>, Arc<Seen>) {
    let ((tell, told), seen) = (mpsc::channel(1_000), Arc::new(Seen::default()));
    let sees = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            sees.came.fetch_add(usize::from(matches!(event, Event::Came(_))), Ordering::Relaxed);
            if let Event::Said { message: Message::Beat(Beat { swept: Some(_), .. }), .. } = &event {
                sees.looks.fetch_add(1, Ordering::Relaxed);
            }
            if let Event::Said { message: Message::Bars(bars), .. } = &event
                && bars.src == From::Live
            {
                let newest = bars.rows.good.iter().map(|row| row.time).max().unwrap_or(0);
                sees.newest_ms.fetch_max(newest, Ordering::Relaxed);
            }
            if tell.send(event).await.is_err() {
                return;
            }
        }
    });
    (told, seen)
}

/// Runs the market until all bars of the first minutes are there, and holds each to its final values.
async fn play(scene: Scene<'_>) {
    let Scene { minutes, codes, again, .. } = scene;
    let mut bars = watch(scene).await;
    let until = at(START) + TimeDelta::minutes(again);
    let last: BTreeMap<_, MinuteBar> = bars.iter().map(|bar| (bar.key(), *bar)).collect();
    bars.retain(|bar| bar.frame > until);
    bars.extend(last.into_values().filter(|bar| bar.frame <= until));
    assert_whole(&bars, codes, minutes);
}

/// Runs the market until all bars of the first minutes are there; returns them as they were published.
async fn watch(scene: Scene<'_>) -> Vec<MinuteBar> {
    let Scene { script, kills, minutes, codes, more, habits, stale_s_max, tls, comes, again: _ } = scene;
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let door = Door { token: Token::from(TOKEN), unit: None };
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where ours does")]
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let clock =
        Clock::new(move || at(START) + TimeDelta::from_std(began.elapsed() * SPEED.cast_unsigned()).unwrap());
    let plan = LivePlan {
        settings: QmtSettings::default(),
        agent: AgentSettings { stale_s_max, ..AgentSettings::default() },
        alias: AliasChoice::Current,
        kind: Kind::BarMinute(Grid::M1),
        calendar: Arc::new(Calendar::published()),
        once: false,
        meters: Meters::default(),
        clock,
        desk: None,
    };
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let (events, seen) = watched(listen(listener, door, AgentSettings::default(), tls, stop));
    let mut source = LiveSource::<MinuteBar>::new(plan, events).unwrap();
    source.open(&Cursors::default()).await.unwrap();
    let start = || Agent(shipped(script, &address, folder.path(), epoch, more, habits).spawn().unwrap());
    let mut running = Some(start());
    let (mut bars, mut killed, last) = (Vec::new(), 0, at(START) + TimeDelta::minutes(minutes));
    let all = async {
        while !codes.iter().all(|&code| {
            bars.iter().any(|bar: &MinuteBar| bar.symbol.code().cast_unsigned() == code && bar.frame >= last)
        }) {
            if let Ok(chunk) = timeout(Duration::from_millis(100), source.read()).await {
                bars.extend(chunk.unwrap().unwrap().records);
            }
            if killed < kills && bars.len() >= (killed + 1) * 3 {
                killed += 1;
                drop(running.take());
                running = Some(start());
            }
            if running.as_mut().unwrap().0.try_wait().unwrap().is_some() {
                // Whoever supervises it starts it again.
                running = Some(start());
            }
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("all bars within a minute");
    assert_eq!((killed, seen.came.load(Ordering::Relaxed)), (kills, comes), "killed, came");
    assert!(seen.looks.load(Ordering::Relaxed) > 0, "no look at all was whole");
    let newest = shanghai::wall(seen.newest_ms.load(Ordering::Relaxed)).unwrap();
    assert!(newest >= last, "the last row that came by itself is of {newest}");
    bars
}

fn assert_whole(bars: &[MinuteBar], codes: &[u32], minutes: i64) {
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
    for &code in codes {
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
    play(Scene { kills: 5, minutes: 7, habits: &[("STANDIN_FAIL", "17")], comes: 6, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_minute_is_cut_short_by_a_download_that_takes_its_time() {
    // A minute of the market is a second; the three downloads after each start take two of its minutes together.
    play(Scene { kills: 2, minutes: 9, habits: &[("STANDIN_DOWNLOAD_S", "40")], comes: 3, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_always_fails_to_download_leaves_the_others_alone() {
    let more = ["--codes", "600000.SH,000001.SZ,510300.SH,600999.SH"];
    for subscribed in ["50", "0"] {
        let more = [&more[..], &["--subscribe-max", subscribed]].concat();
        play(Scene { kills: 1, more: &more, habits: &[("STANDIN_BROKEN", "600999.SH")], comes: 2, ..SCENE })
            .await;
    }
}

// What nobody subscribes stands still in the stand-in, and nothing but the agent's own looks brings a bar here: no later
// request for history.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_subscribed_is_kept_fresh_by_qmt_and_read_every_few_seconds() {
    play(SCENE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_of_subscriptions_bars_come_by_downloads() {
    play(Scene { more: &["--subscribe-max", "1"], ..SCENE }).await;
    play(Scene { more: &["--subscribe-max", "0"], ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_qmt_refuses_to_subscribe_comes_by_downloads() {
    play(Scene { habits: &[("STANDIN_SUBSCRIBE_MAX", "1")], ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_the_big_qmt_reading_subscribes_up_to_the_limit() {
    play(Scene { script: INSIDE, ..SCENE }).await;
    play(Scene { script: INSIDE, more: &["--subscribe-max", "2"], ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_die_in_silence_are_made_again() {
    // What QMT shows then is half a minute that stands still, as a minute without trade does: it goes out, and its end
    // after it. What begins after they were made again goes out once.
    let lost = [("STANDIN_DEAF_S", "200")];
    play(Scene { minutes: 8, stale_s_max: 30, habits: &lost, again: 5, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_downloads_fail_for_some_looks_no_bar_is_cut_short_and_no_minute_is_lost() {
    // Six looks of 15 seconds of the market.
    let out = [("STANDIN_OUT_S", "100-195")];
    play(Scene { minutes: 11, more: &["--subscribe-max", "0"], habits: &out, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_not_all_is_subscribed_a_dead_subscription_cuts_no_bar_short() {
    let lost = [("STANDIN_DEAF_S", "200")];
    play(Scene { minutes: 8, more: &["--subscribe-max", "1"], habits: &lost, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_console_cannot_show_ends_no_agent() {
    // Every message of the stand-in is Chinese; what fails while the agent looks for its codes is printed.
    let habits = [("PYTHONIOENCODING", "ascii"), ("STANDIN_DUMB", "3")];
    play(Scene { habits: &habits, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_listing_comes_without_a_new_connection() {
    let listed = [("STANDIN_LISTED", "600999.SH"), ("STANDIN_LISTED_S", "100")];
    let codes = [600_000, 1, 510_300, 600_999];
    play(Scene { codes: &codes, habits: &listed, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_returns_ends_the_agent_and_the_next_one_brings_the_bars() {
    let folder = tempfile::tempdir().unwrap();
    let hang = folder.path().join("hang");
    std::fs::write(&hang, "").unwrap();
    let habits = [("STANDIN_HANG", hang.to_str().unwrap())];
    play(Scene { more: &["--hang-s-max", "2"], habits: &habits, comes: 2, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_speaks_tls_and_only_with_whom_its_certificate_names() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (cert, key) =
            (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let settings = AgentSettings {
            tls_cert_file: Some(cert.clone()),
            tls_key_file: Some(key),
            ..AgentSettings::default()
        };
        (cert.to_str().unwrap().to_owned(), tls::acceptor(&settings).unwrap())
    };
    let (cert, acceptor) = made("localhost");
    play(Scene { tls: acceptor, more: &["--tls-ca", &cert], kills: 2, comes: 3, ..SCENE }).await;
    // It is not who it should be: the token is not told.
    let (cert, acceptor) = made("elsewhere");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let door = Door { token: Token::from(TOKEN), unit: None };
    let mut events = listen(listener, door, AgentSettings::default(), acceptor, CancellationToken::new());
    let mut command = shipped(RUN, &address, folder.path(), 0.0, &["--tls-ca", &cert], &[]);
    let mut agent = Agent(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(agent.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("CERTIFICATE_VERIFY_FAILED"), "{line}");
    assert!(events.try_recv().is_err(), "nobody came");
}

#[test]
fn the_agent_is_one_short_file_that_python_3_6_reads() {
    let path = root().join("producers/qmt/agent/sqep_qmt_agent.py");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() <= 150, "{} lines", text.lines().count());
    assert!(text.is_ascii(), "a build that takes it for another code page reads the same");
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
        "select",
        "socket",
        "ssl",
        "sys",
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
    out: BufReader<ChildStdout>,
    agent: Option<Agent>,
}

impl Program {
    fn start(rig: &Rig, folder: &Path, start: &str, more: &[&str], habits: &[(&str, &str)]) -> Program {
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
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where the program's does")]
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let base = shanghai::instant_ms(at(start)).unwrap().to_string();
        let habits = [&[("STANDIN_BASE_MS", &*base), ("STANDIN_CLOSED", "20250101")], habits].concat();
        let agent = shipped(RUN, &address, folder, epoch, &[], &habits).spawn().unwrap();
        Program { child, out, agent: Some(Agent(agent)) }
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
    let program = Program::start(&rig, folder.path(), "2025-01-02T08:54:00", &[], &[]);
    let refs = day_of::<RefDay>(&rig, Kind::RefDay).await;
    drop(program);
    let known = |code: u32| *refs.iter().find(|row| row.symbol.code().cast_unsigned() == code).unwrap();
    // Ex-days where QMT has them; else what the reference prices tell.
    assert!((known(600_000).adjust.unwrap() - 1.05 * 1.02).abs() < 1e-9, "{refs:?}");
    assert!((known(1).adjust.unwrap() - 1.01).abs() < 1e-3, "{refs:?}");
    assert_eq!((known(1).st, known(600_000).st, known(510_300).st), (Some(true), Some(false), None));
    let limits = refs.iter().map(|row| row.buy_limit.unwrap() / row.sell_limit.unwrap());
    assert!(limits.clone().all(|ratio| (ratio - 1.1 / 0.9).abs() < 0.01), "{refs:?}");

    let program = Program::start(&rig, folder.path(), "2025-01-02T14:59:20", &[], &[]);
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
    let mut program = Program::start(&rig, folder.path(), "2025-01-02T09:00:00", &[], &[]);
    let status = program.child.wait().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut program.child.stderr.take().unwrap(), &mut text).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("bar:1d") && text.contains("files"), "{text}");
}

/// A program that is done: what it said on both ways, and how it ended.
fn end(mut program: Program) -> (Option<i32>, String) {
    let status = program.child.wait().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut program.child.stderr.take().unwrap(), &mut text).unwrap();
    (status.code(), text)
}

/// What a program says until this is in a line.
fn said(stderr: ChildStderr, part: &'static str) -> Vec<String> {
    let (tell, told) = std::sync::mpsc::sync_channel(1_000);
    std::thread::spawn(move || {
        BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| tell.send(line.clone()).is_ok())
            .count()
    });
    let mut log = Vec::new();
    while !log.last().is_some_and(|line: &String| line.contains(part)) {
        log.push(
            told.recv_timeout(Duration::from_secs(40)).unwrap_or_else(|_| panic!("no {part} in {log:?}")),
        );
    }
    log
}

/// One of four that QMT never gives.
const BROKEN: [(&str, &str); 2] =
    [("STANDIN_CODES", "600000.SH,000001.SZ,510300.SH,600999.SH"), ("STANDIN_BROKEN", "600999.SH")];

#[tokio::test(flavor = "multi_thread")]
async fn one_security_that_always_fails_keeps_no_day_bar_from_the_others_and_is_named() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let mut program = Program::start(&rig, folder.path(), "2025-01-02T14:59:20", &[], &BROKEN);
    let bars = day_of::<DayBar>(&rig, Kind::BarDay).await;
    assert!(bars.iter().all(|bar| CODES.contains(&bar.symbol.code().cast_unsigned())), "{bars:?}");
    // The end of the day goes on without it, and says so.
    let log = said(program.child.stderr.take().unwrap(), "end of day: QMT does not give");
    let line = log.last().unwrap();
    assert!(line.contains("600999.SH") && line.contains("周期错误") && !line.contains("600000.SH"), "{line}");
    assert!(log.iter().any(|line| line.contains("end of day: 3 securities compared, 0 differ")), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_once_ends_without_a_security_that_always_fails_and_says_which() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let mut program = Program::start(&rig, folder.path(), "2025-01-02T09:40:00", &["--once"], &BROKEN);
    let out: Vec<String> = program.out.by_ref().lines().map(Result::unwrap).collect();
    for name in ["stream: read", "ref:1d: read", "bar:1d: read"] {
        assert!(out.iter().any(|line| line.starts_with(name)), "{name} comes to its end: {out:?}");
    }
    let (code, text) = end(program);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("securities whose history did not come: 600999.SH"), "{text}");
    let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    let symbols: std::collections::BTreeSet<_> =
        stream.rows.keys().map(|(symbol, _)| symbol.code()).collect();
    assert_eq!(symbols.len(), CODES.len(), "the others are there: {symbols:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_once_whose_agent_is_killed_ends_and_says_what_to_do() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    // The download takes longer than the agent lives.
    let words = ["--once", "--set", "agent.once_patience_s_max=1"];
    let mut program = Program::start(
        &rig,
        folder.path(),
        "2025-01-02T09:40:00",
        &words,
        &[("STANDIN_DOWNLOAD_S", "36000")],
    );
    let mut log = BufReader::new(program.child.stderr.take().unwrap()).lines();
    log.find(|line| line.as_ref().unwrap().contains("agent pc1 is in")).unwrap().unwrap();
    // SIGKILL.
    drop(program.agent.take());
    let text: Vec<String> = log.map(Result::unwrap).collect();
    assert_eq!(program.child.wait().unwrap().code(), Some(1), "{text:?}");
    let last = text.join("\n");
    assert!(last.contains("the agent is gone") && last.contains("run this again"), "{last}");
}
