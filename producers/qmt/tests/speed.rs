//! A session at sixty times its speed: thousands of securities, a look at each every three seconds, an agent that is killed
//! five times, lunch, a restart of the program and the close; through the real program onto a real server. Prints what it
//! measured.
//!
//! By environment: `SQEP_LIVE_SYMBOLS` (200), and `SQEP_LIVE_WHOLE=1` for one run from before lunch to after the close in
//! place of two short ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod common;

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use common::{Rig, at};
use serde_json::Value;
use sqep::{Kind, MinuteBar, Symbol, kind::Grid, shanghai};

const TOKEN: &str = "0123456789abcdef0123";
const SPEED: i64 = 60;
const GRACE_S: i64 = 5;
const CLOSE_GRACE_S: i64 = 10;
/// Beyond this, a bar is late.
const P99_MS_MAX: i64 = 1_000;
const PEAK_KIB_MAX: u64 = 300 << 10;
/// Parts of the program's life: from, to, and how often its agent is killed.
const SHORT: [(&str, &str, usize); 2] =
    [("2025-01-02T11:26:30", "2025-01-02T11:31:00", 2), ("2025-01-02T14:57:20", "2025-01-02T15:02:40", 3)];
const WHOLE: [(&str, &str, usize); 1] = [("2025-01-02T11:20:30", "2025-01-02T15:05:00", 5)];
/// What a process of the agent runs.
const TEST: &str = "an_agent_that_is_killed_is_gone_at_once";

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn code(at: usize) -> String {
    format!("{:06}.SZ", at + 1)
}

#[expect(clippy::disallowed_methods, reason = "the ids of entries are the server's wall clock")]
fn epoch_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
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

fn is_label(wall: NaiveDateTime) -> bool {
    Grid::M1.is_label(wall.hour() * 60 + wall.minute())
}

/// The label of the bar that runs or ran last at a time, and how many of its pushes are over.
fn running(now: NaiveDateTime) -> (NaiveDateTime, i64) {
    let begun = now.with_second(0).unwrap().with_nanosecond(0).unwrap();
    let mut wall = begun + TimeDelta::minutes(1);
    if is_label(wall) {
        return (wall, (now - begun).num_seconds() / 3 + 1);
    }
    while !is_label(wall) {
        wall -= TimeDelta::minutes(1);
    }
    (wall, 20)
}

/// The label before another; the day's first is its own.
fn before(wall: NaiveDateTime) -> NaiveDateTime {
    running(wall - TimeDelta::minutes(1) - TimeDelta::seconds(1)).0
}

/// Labels from one to another.
fn labels(first: NaiveDateTime, last: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
    let minutes = (last - first).num_minutes();
    (0..=minutes).map(move |minute| first + TimeDelta::minutes(minute)).filter(|wall| is_label(*wall))
}

/// The agent's side, in a process of its own, as the shipped one works: looks at everything every three seconds, and says
/// which acknowledgement it had heard.
struct Agent {
    symbols: usize,
    /// What the market's clock showed at this instant of the real one.
    start: NaiveDateTime,
    epoch_ms: i64,
    /// The first bar that QMT has.
    first: NaiveDateTime,
    stream: TcpStream,
    jobs: mpsc::Receiver<Value>,
    text: String,
    /// What was sent last of each: label and pushes.
    sent: Vec<(NaiveDateTime, i64)>,
    seq: u64,
    heard: Option<u64>,
    looks: u64,
}

impl Agent {
    fn dial(
        address: &str,
        symbols: usize,
        start: NaiveDateTime,
        epoch_ms: i64,
        first: NaiveDateTime,
    ) -> Option<Agent> {
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
        let answer = jobs.recv().ok()?;
        let (text, sent) = (String::new(), vec![(NaiveDateTime::MIN, 0); symbols]);
        let agent = Agent {
            symbols,
            start,
            epoch_ms,
            first,
            stream,
            jobs,
            text,
            sent,
            seq: 0,
            heard: None,
            looks: 0,
        };
        (answer["t"] == "ok").then_some(agent)
    }

    fn now(&self) -> NaiveDateTime {
        self.start + TimeDelta::milliseconds((epoch_ms() - self.epoch_ms) * SPEED)
    }

    /// Looks and answers until the connection ends.
    fn work(mut self) -> Option<()> {
        let pause = Duration::from_millis(3_000 / SPEED.unsigned_abs());
        let mut next = Instant::now();
        loop {
            match self.jobs.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(job) => self.answer(&job)?,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    next = Instant::now() + pause;
                    self.look()?;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn flush(&mut self) -> Option<()> {
        let sent = self.stream.write_all(self.text.as_bytes()).ok();
        self.text.clear();
        sent
    }

    /// A look at everything. One in seven misses a third of the securities, and does not count.
    fn look(&mut self) -> Option<()> {
        let (heard, (wall, pushes)) = (self.heard, running(self.now()));
        self.looks += 1;
        let whole = !self.looks.is_multiple_of(7);
        for place in 0..self.symbols {
            let (last, told) = self.sent[place];
            if (!whole && place % 3 == 0) || (last, told) == (wall, pushes) {
                continue;
            }
            self.sent[place] = (wall, pushes);
            let head = format!(
                "{{\"t\":\"bars\",\"seq\":1,\"period\":\"1m\",\"src\":\"live\",\"code\":\"{}\",\"rows\":[",
                code(place)
            );
            self.text.push_str(&head);
            // With a new bar come those before it, back to the last look.
            let from = if last == NaiveDateTime::MIN { before(wall) } else { last };
            for label in labels(from.max(self.first), wall).filter(|label| *label < wall && last < wall) {
                row(place, label, 20, &mut self.text);
                self.text.push(',');
            }
            row(place, wall, pushes, &mut self.text);
            // Some rows come twice, some go back.
            if place % 97 == 0 {
                for pushes in [pushes, 1] {
                    self.text.push(',');
                    row(place, wall, pushes, &mut self.text);
                }
            }
            self.text.push_str("]}\n");
        }
        self.seq += 1;
        let swept = heard.filter(|_| whole).map_or_else(|| "null".to_owned(), |heard| heard.to_string());
        // Its clock is hours off, and must not matter.
        let beat = format!("{{\"t\":\"hb\",\"seq\":{},\"now\":0,\"swept\":{swept}}}\n", self.seq);
        self.text.push_str(&beat);
        self.flush()
    }

    fn answer(&mut self, job: &Value) -> Option<()> {
        if job["t"] == "ack" {
            self.heard = job["seq"].as_u64();
        }
        if job["t"] != "hist" {
            return Some(());
        }
        let start = NaiveDateTime::parse_from_str(job["start"].as_str()?, "%Y%m%d%H%M%S").unwrap();
        let (last, pushes) = running(self.now());
        let mut sent = 0;
        for name in job["codes"].as_array()? {
            let name = name.as_str()?;
            let place = name[..6].parse::<usize>().unwrap() - 1;
            let head = format!(
                "{{\"t\":\"bars\",\"seq\":1,\"period\":{},\"src\":\"history\",\"req\":{},\"code\":\"{name}\",\"rows\":[",
                job["period"], job["req"]
            );
            self.text.push_str(&head);
            if job["period"] == "1d" {
                sent += self.day(place, last);
            } else {
                for (rows, wall) in labels(start.max(self.first), last).enumerate() {
                    self.text.push_str(if rows > 0 { "," } else { "" });
                    row(place, wall, if wall == last { pushes } else { 20 }, &mut self.text);
                    sent += 1;
                }
            }
            self.text.push_str("]}\n");
            self.flush()?;
        }
        let done = format!("{{\"t\":\"done\",\"seq\":1,\"req\":{},\"rows\":{sent}}}\n", job["req"]);
        self.text.push_str(&done);
        self.flush()
    }

    /// The bar of the day: its volume is what the minutes add up to.
    fn day(&mut self, place: usize, last: NaiveDateTime) -> usize {
        let lots: i64 = labels(self.first, last).map(|wall| 20 * lots(place, wall)).sum();
        let time = shanghai::instant_ms(last.date().and_time(chrono::NaiveTime::MIN)).unwrap();
        write!(
            self.text,
            "{{\"time\":{time},\"open\":10,\"high\":10,\"low\":10,\"close\":10,\"volume\":{lots},\"amount\":{}}}",
            lots * 1_000
        )
        .unwrap();
        1
    }
}

/// What a process of the agent is told by its environment.
const TOLD: [&str; 5] = ["SIM_ADDRESS", "SIM_SYMBOLS", "SIM_START", "SIM_EPOCH_MS", "SIM_FIRST"];

/// A process of the agent; killed when dropped.
struct Process(Child);

impl Process {
    fn start(told: &[String; 5]) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([TEST, "--exact", "--nocapture"]).envs(TOLD.iter().zip(told));
        Process(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Dials and works for ever, in the process that is told where.
fn be_the_agent() {
    let [address, symbols, start, epoch_ms, first] = TOLD.map(|name| std::env::var(name).unwrap());
    let (symbols, epoch_ms) = (symbols.parse().unwrap(), epoch_ms.parse().unwrap());
    loop {
        let agent = Agent::dial(&address, symbols, at(&start), epoch_ms, at(&first));
        if agent.and_then(Agent::work).is_none() {
            thread::yield_now();
        }
    }
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
    let symbols = size("SQEP_LIVE_SYMBOLS", 200);
    let whole = std::env::var_os("SQEP_LIVE_WHOLE").is_some();
    let parts = if whole { WHOLE.to_vec() } else { SHORT.to_vec() };
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
}
