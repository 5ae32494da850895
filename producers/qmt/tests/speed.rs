//! A session at sixty times its speed: thousands of securities, a look at each every three seconds, an agent that is killed
//! five times, lunch, a restart of the program and the close; through the real program onto a real server. Prints what it
//! measured: how late bars are, and what the program takes of memory and of a core.
//!
//! By environment: `SQEP_LIVE_SYMBOLS` (5,500), and `SQEP_LIVE_WHOLE=1` for one run from before lunch to after the close
//! in place of two, an hour of the session together.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

#[path = "speed/agent.rs"]
mod agent;
#[path = "it/common/mod.rs"]
mod common;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Stdio},
    thread,
    time::Instant,
};

use agent::{Process, SPEED, TOKEN, TOLD, be_the_agent, code, epoch_ms, labels, lots, running};
use chrono::{NaiveDateTime, Timelike};
use common::{Rig, at};
use sqep::{Kind, MinuteBar, Symbol, kind::Grid};

const GRACE_S: i64 = 5;
const CLOSE_GRACE_S: i64 = 10;
/// All stocks.
const SYMBOLS: usize = 5_500;
/// Beyond this, a bar is late.
const P99_MS_MAX: i64 = 1_000;
const PEAK_KIB_MAX: u64 = 300 << 10;
/// Of a core, all of the program's time together.
const CORES_MAX: f64 = 1.0;
/// Parts of the program's life: from, to, and how often its agent is killed.
const PARTS: [(&str, &str, usize); 2] =
    [("2025-01-02T11:00:30", "2025-01-02T11:31:00", 2), ("2025-01-02T14:32:20", "2025-01-02T15:02:40", 3)];
const WHOLE: [(&str, &str, usize); 1] = [("2025-01-02T11:20:30", "2025-01-02T15:05:00", 5)];

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn an_agent_that_is_killed_is_gone_at_once() {
    if std::env::var_os(TOLD[0]).is_some() {
        return be_the_agent();
    }
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = "2025-01-02T10:00:00".to_owned();
    let address = door.local_addr().unwrap().to_string();
    let process = Process::start(&[address, "3".to_owned(), start.clone(), epoch_ms().to_string(), start]);
    let mut stream = BufReader::new(door.accept().unwrap().0);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.contains("\"hello\"") && line.contains("000003.SZ"), "{line}");
    drop(process);
    line.clear();
    assert_eq!(stream.read_line(&mut line).unwrap_or(0), 0, "{line}");
}

fn status(child: &Child, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Seconds of a processor that a process has used.
fn cpu_s(child: &Child) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// What a life of the program came to.
#[derive(Debug, Default)]
struct Life {
    peak_kib: u64,
    cpu_s: f64,
    wall_s: f64,
    /// Of bars whose end it saw: when they were due, by the real clock.
    due: Vec<(NaiveDateTime, i64)>,
}

/// Runs the program from one time of the market to another, and kills its agent now and then, and it in the end.
fn live(rig: &Rig, symbols: usize, first: NaiveDateTime, (from, to, kills): (&str, &str, usize)) -> Life {
    let words = [
        "--rehearse",
        from,
        "--speed",
        "60",
        "--set",
        "agent.listen=127.0.0.1:0",
        "--set",
        "stream.kind=bar:1m",
    ];
    let mut command = rig.command(&[&words[..], &["--set", "agent.lines_per_s_max=1000000"]].concat());
    command.env("SQEP__AGENT__TOKEN", TOKEN).stdout(Stdio::piped());
    if std::env::var_os("SQEP_LIVE_LOG").is_none() {
        command.stderr(Stdio::null());
    }
    // The program's clock begins a moment later: it is behind the market, as a clock may be, and not ahead of it.
    let (began, epoch) = (Instant::now(), epoch_ms());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let told =
        [address, symbols.to_string(), from.to_owned(), epoch.to_string(), first.format("%FT%T").to_string()];
    let span = (at(to) - at(from)).to_std().unwrap() / u32::try_from(SPEED).unwrap();
    for part in 1..=u32::try_from(kills + 1).unwrap() {
        let process = Process::start(&told);
        let until = span * part / u32::try_from(kills + 1).unwrap();
        // It lives for a while: that is what is tested.
        thread::park_timeout(until.saturating_sub(began.elapsed()));
        drop(process);
    }
    let due = |wall: NaiveDateTime| {
        let grace = if wall.hour() == 15 { CLOSE_GRACE_S } else { GRACE_S };
        (wall, epoch + ((wall - at(from)).num_seconds() + grace) * 1_000 / SPEED)
    };
    let ends = labels(running(at(from)).0, running(at(to)).0).map(due).collect();
    let life = Life {
        peak_kib: status(&child, "VmHWM"),
        cpu_s: cpu_s(&child),
        wall_s: began.elapsed().as_secs_f64(),
        due: ends,
    };
    child.kill().unwrap();
    child.wait().unwrap();
    life
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_sixty_times_its_speed_loses_and_doubles_nothing() {
    let symbols = size("SQEP_LIVE_SYMBOLS", SYMBOLS);
    let whole = std::env::var_os("SQEP_LIVE_WHOLE").is_some();
    let parts = if whole { WHOLE.to_vec() } else { PARTS.to_vec() };
    let rig = Rig::start().await;
    let first = running(at(parts[0].0)).0;
    let lives: Vec<Life> =
        tokio::task::block_in_place(|| parts.iter().map(|&part| live(&rig, symbols, first, part)).collect());

    let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    let all: Vec<NaiveDateTime> = labels(first, at("2025-01-02T15:00:00")).collect();
    for place in 0..symbols {
        let symbol: Symbol = code(place).parse().unwrap();
        for &frame in &all {
            let key = (symbol, frame.and_utc().timestamp() / 60);
            let bar = stream.rows.get(&key).unwrap_or_else(|| panic!("{symbol} {frame} is missing"));
            let lots = f64::from(i32::try_from(20 * lots(place, frame)).unwrap());
            assert!((bar.vol / 100.0 - lots).abs() < 0.1, "final values: {bar:?}");
        }
    }
    let (keys, wanted) = (stream.rows.len(), symbols * all.len());
    assert_eq!((stream.count, keys), (wanted, wanted), "each key once, and no other");
    let mut late: Vec<i64> = Vec::new();
    for (frame, due) in lives.iter().flat_map(|life| &life.due) {
        let minute = frame.and_utc().timestamp() / 60;
        let versions = stream.versions.iter().filter(|((_, time), _)| *time == minute);
        late.extend(versions.map(|(_, version)| i64::try_from(version >> 20).unwrap() - due));
    }
    // The label whose bars came latest, and how late the latest of them was.
    let worst = |life: &Life| {
        let of = |&(frame, due): &(NaiveDateTime, i64)| {
            let minute = frame.and_utc().timestamp() / 60;
            let of = stream.versions.iter().filter(move |((_, time), _)| *time == minute);
            (of.map(|(_, version)| i64::try_from(version >> 20).unwrap() - due).max(), frame)
        };
        life.due.iter().map(of).max()
    };
    println!("latest: {:?}", lives.iter().filter_map(worst).collect::<Vec<_>>());
    late.sort_unstable();
    let p99 = late[late.len() * 99 / 100 - 1];
    let (cpu, wall) = lives.iter().fold((0.0, 0.0), |sum, life| (sum.0 + life.cpu_s, sum.1 + life.wall_s));
    let peak = lives.iter().map(|life| life.peak_kib).max().unwrap();
    println!(
        "{symbols} securities, {} bars in {wall:.1} s; end of minute + grace to stream: p50 {} ms, p99 {p99} ms, most {} ms; \
         peak {} MiB; {:.2} of a core",
        stream.count,
        late[late.len() / 2],
        late[late.len() - 1],
        peak >> 10,
        cpu / wall
    );
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB at the peak");
    assert!(p99 <= P99_MS_MAX, "{p99} ms");
    assert!(cpu / wall < CORES_MAX, "{cpu:.1} s of a core in {wall:.1} s");
}
