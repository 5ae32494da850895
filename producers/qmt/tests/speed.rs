//! A session at sixty times its speed: thousands of securities, a push of each every three seconds, an agent that dies five
//! times; through the real program onto a real server. Prints what it measured.
//!
//! Sizes by environment: `SQEP_LIVE_SYMBOLS` (200), `SQEP_LIVE_MINUTES` (6).

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod common;

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use common::{Rig, at};
use serde_json::Value;
use sqep::{Kind, MinuteBar, Symbol, kind::Grid, shanghai};

const TOKEN: &str = "0123456789abcdef0123";
const START: &str = "2025-01-02T09:30:30";
const SPEED: u32 = 60;
const KILLS: usize = 5;
const GRACE_S: i64 = 5;
/// Beyond this, a bar is late.
const P99_MS_MAX: i64 = 1_000;
const PEAK_KIB_MAX: u64 = 300 << 10;

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn code(at: usize) -> String {
    format!("{:06}.SZ", at + 1)
}

/// A row of a security when so many of a minute's twenty pushes are over.
fn row(place: usize, wall: NaiveDateTime, pushes: i64, text: &mut String) {
    let (lots, milli) = (lots(place, wall) * pushes, 10_000 + i64::from(wall.minute()));
    let time = shanghai::instant_ms(wall).unwrap();
    let (yuan, rest, amount) = (milli / 1_000, milli % 1_000, lots * milli / 10);
    write!(
        text,
        "{{\"time\":{time},\"open\":{yuan}.{rest:03},\"high\":{yuan}.{rest:03},\"low\":{yuan}.{rest:03},\"close\":{yuan}.{rest:03}0000001,\
         \"volume\":{lots},\"amount\":{amount}.0,\"preClose\":10.0,\"suspendFlag\":0,\"openInterest\":13}}"
    )
    .unwrap();
}

fn lots(place: usize, wall: NaiveDateTime) -> i64 {
    i64::try_from(place).unwrap() % 37 + i64::from(wall.minute()) % 11 + 1
}

/// The label of the bar that runs at a time, and how many of its pushes are over.
fn running(now: NaiveDateTime) -> (NaiveDateTime, i64) {
    let begun = now.with_second(0).unwrap().with_nanosecond(0).unwrap();
    (begun + TimeDelta::minutes(1), (now - begun).num_seconds() / 3 + 1)
}

/// The agent's side: one connection until the time `until`.
struct Agent {
    symbols: usize,
    began: Instant,
    stream: TcpStream,
    jobs: mpsc::Receiver<Value>,
    text: String,
    pushed: u64,
    seq: u64,
}

impl Agent {
    fn dial(address: &str, symbols: usize, began: Instant) -> Option<Agent> {
        let mut stream = TcpStream::connect(address).ok()?;
        let (tell, jobs) = mpsc::sync_channel::<Value>(1_000);
        let reader = BufReader::new(stream.try_clone().unwrap());
        let codes: Vec<String> = (0..symbols).map(code).collect();
        let hello = serde_json::json!({"t":"hello","v":1,"agent":"pc1","token":TOKEN,"unit":{"volume":"lot"},"codes":codes});
        stream.write_all(format!("{hello}\n").as_bytes()).ok()?;
        thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { return };
                if tell.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let first = jobs.recv().ok()?;
        (first["t"] == "ok").then_some(Agent {
            symbols,
            began,
            stream,
            jobs,
            text: String::new(),
            pushed: 0,
            seq: 0,
        })
    }

    fn now(&self) -> NaiveDateTime {
        at(START) + TimeDelta::from_std(self.began.elapsed() * SPEED).unwrap()
    }

    /// Pushes and answers until the market's time is `until`; then the connection is cut.
    fn work(mut self, until: NaiveDateTime) -> u64 {
        let mut last = i64::MIN;
        while self.now() < until {
            let (wall, pushes) = running(self.now());
            let tick = wall.and_utc().timestamp() + 3 * pushes;
            if tick == last {
                let over = u64::from(self.began.elapsed().subsec_millis()) % 50;
                let next = Duration::from_millis(50 - over);
                if let Ok(job) = self.jobs.recv_timeout(next) {
                    self.answer(&job);
                }
                continue;
            }
            // A tick that was missed is made up for, so that the last push of a minute is always sent.
            if last != i64::MIN && tick > last + 3 && pushes == 1 {
                self.push(wall - TimeDelta::minutes(1), 20);
            }
            last = tick;
            self.push(wall, pushes);
            self.seq += 1;
            let beat = format!("{{\"t\":\"hb\",\"seq\":{},\"now\":0}}\n", self.seq);
            self.text.push_str(&beat);
            self.flush();
            while let Ok(job) = self.jobs.try_recv() {
                self.answer(&job);
            }
        }
        // The reading thread holds the connection, too.
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
        self.pushed
    }

    fn flush(&mut self) {
        drop(self.stream.write_all(self.text.as_bytes()));
        self.text.clear();
    }

    fn push(&mut self, wall: NaiveDateTime, pushes: i64) {
        for place in 0..self.symbols {
            let head = format!(
                "{{\"t\":\"bars\",\"seq\":1,\"period\":\"1m\",\"src\":\"live\",\"code\":\"{}\",\"rows\":[",
                code(place)
            );
            self.text.push_str(&head);
            row(place, wall, pushes, &mut self.text);
            // Some rows come twice, some go back.
            if place % 97 == 0 {
                self.text.push(',');
                row(place, wall, pushes, &mut self.text);
                self.text.push(',');
                row(place, wall, 1, &mut self.text);
            }
            self.text.push_str("]}\n");
            self.pushed += 1;
        }
    }

    fn answer(&mut self, job: &Value) {
        if job["t"] != "hist" {
            return;
        }
        let start = NaiveDateTime::parse_from_str(job["start"].as_str().unwrap(), "%Y%m%d%H%M%S").unwrap();
        let (last, pushes) = running(self.now());
        let mut sent = 0;
        for name in job["codes"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let place = name[..6].parse::<usize>().unwrap() - 1;
            let head = format!(
                "{{\"t\":\"bars\",\"seq\":1,\"period\":\"1m\",\"src\":\"history\",\"req\":{},\"code\":\"{name}\",\"rows\":[",
                job["req"]
            );
            self.text.push_str(&head);
            let mut wall = start.max(at("2025-01-02T09:31:00"));
            let mut rows = 0;
            while wall <= last {
                self.text.push_str(if rows > 0 { "," } else { "" });
                row(place, wall, if wall == last { pushes } else { 20 }, &mut self.text);
                rows += 1;
                wall += TimeDelta::minutes(1);
            }
            self.text.push_str("]}\n");
            sent += rows;
        }
        let done = format!("{{\"t\":\"done\",\"seq\":1,\"req\":{},\"rows\":{sent}}}\n", job["req"]);
        self.text.push_str(&done);
        self.flush();
    }
}

/// A session of so many seconds by several connections, one after another; returns its pushes.
fn session(address: &str, symbols: usize, span_s: i64, began: Instant) -> u64 {
    let parts = i64::try_from(KILLS + 1).unwrap();
    let mut pushed = 0;
    for part in 1..=parts {
        // The last one stays until the bars of its last minute are out.
        let more = if part == parts { 120 } else { 0 };
        let until = at(START) + TimeDelta::seconds(span_s * part / parts + more);
        let agent = std::iter::repeat_with(|| Agent::dial(address, symbols, began)).flatten().next().unwrap();
        pushed += agent.work(until);
    }
    pushed
}

fn status(child: &Child, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    text.lines()
        .find(|line| line.starts_with(key))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Seconds of a processor that a process has used.
fn cpu_s(child: &Child) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_sixty_times_its_speed_loses_and_doubles_nothing() {
    let (symbols, minutes) = (size("SQEP_LIVE_SYMBOLS", 200), size("SQEP_LIVE_MINUTES", 6));
    let rig = Rig::start().await;
    let words = [
        "--rehearse",
        START,
        "--speed",
        "60",
        "--set",
        "agent.listen=127.0.0.1:0",
        "--set",
        "stream.kind=bar:1m",
        "--set",
        "agent.lines_per_s_max=1000000",
    ];
    let mut command = rig.command(&words);
    command.env("SQEP__AGENT__TOKEN", TOKEN).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "the ids of entries are the server's wall clock")]
    let epoch = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let span = i64::try_from(minutes).unwrap() * 60;
    let pushed = tokio::task::spawn_blocking(move || session(&address, symbols, span, began)).await.unwrap();
    let (peak, cpu, wall) = (status(&child, "VmHWM"), cpu_s(&child), began.elapsed().as_secs_f64());
    child.kill().unwrap();
    child.wait().unwrap();

    let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    let mut late: Vec<i64> = Vec::new();
    for place in 0..symbols {
        let symbol: Symbol = code(place).parse().unwrap();
        for minute in 1..=minutes {
            let frame = at("2025-01-02T09:30:00") + TimeDelta::minutes(i64::try_from(minute).unwrap());
            let key = (symbol, frame.and_utc().timestamp() / 60);
            let bar = stream.rows.get(&key).unwrap_or_else(|| panic!("{symbol} {frame} is missing"));
            assert!(
                (bar.vol / 100.0 - f64::from(i32::try_from(20 * lots(place, frame)).unwrap())).abs() < 0.1,
                "final values: {bar:?}"
            );
            let due = epoch + ((frame - at(START)).num_seconds() + GRACE_S) * 1_000 / i64::from(SPEED);
            late.push(i64::try_from(stream.versions[&key] >> 20).unwrap() - due);
        }
    }
    assert_eq!(stream.count, stream.rows.len(), "each key once");
    late.sort_unstable();
    let p99 = late[late.len() * 99 / 100 - 1];
    println!(
        "{symbols} securities, {} bars, {pushed} pushes in {wall:.1} s ({:.0} a second); end of minute + grace to stream: p50 {} ms, \
         p99 {p99} ms, most {} ms; peak {} MiB; {:.2} of a core",
        stream.count,
        f64::from(u32::try_from(pushed).unwrap()) / wall,
        late[late.len() / 2],
        late[late.len() - 1],
        peak >> 10,
        cpu / wall
    );
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB at the peak");
    assert!(p99 <= P99_MS_MAX, "{p99} ms");
}
