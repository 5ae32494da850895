//! An agent whose market runs at sixty times its speed, in a process of its own. Knows what QMT would show; must not know
//! the program.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use serde_json::Value;
use sqep::{kind::Grid, shanghai};

use crate::common::at;

pub(crate) const TOKEN: &str = "0123456789abcdef0123";
pub(crate) const SPEED: i64 = 60;
/// What a process of the agent runs.
const TEST: &str = "an_agent_that_is_killed_is_gone_at_once";

pub(crate) fn code(at: usize) -> String {
    format!("{:06}.SZ", at + 1)
}

#[expect(clippy::disallowed_methods, reason = "the ids of entries are the server's wall clock")]
pub(crate) fn epoch_ms() -> i64 {
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

pub(crate) fn lots(place: usize, wall: NaiveDateTime) -> i64 {
    i64::try_from(place).unwrap() % 37 + i64::from(wall.minute()) % 11 + 1
}

fn is_label(wall: NaiveDateTime) -> bool {
    Grid::M1.is_label(wall.hour() * 60 + wall.minute())
}

/// The label of the bar that runs or ran last at a time, and how many of its pushes are over.
pub(crate) fn running(now: NaiveDateTime) -> (NaiveDateTime, i64) {
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
pub(crate) fn labels(first: NaiveDateTime, last: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
    let minutes = (last - first).num_minutes();
    (0..=minutes).map(move |minute| first + TimeDelta::minutes(minute)).filter(|wall| is_label(*wall))
}

/// A request, what is left of its codes, and how many rows were sent for it.
struct Job {
    asked: Value,
    left: VecDeque<String>,
    rows: usize,
}

/// The agent's side, in a process of its own, as the shipped one works: looks at everything every three seconds, and says
/// which acknowledgement it had heard. Between two looks it answers requests, one security at a time.
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
    todo: VecDeque<Job>,
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
            todo: VecDeque::new(),
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
            let wait = next.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(if self.todo.is_empty() { wait } else { Duration::ZERO }) {
                Ok(job) => self.hear(job),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < next => self.answer()?,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look()?;
                    next = Instant::now() + pause;
                }
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

    fn hear(&mut self, said: Value) {
        if said["t"] == "ack" {
            self.heard = said["seq"].as_u64();
        } else if said["t"] == "hist" {
            let codes = said["codes"].as_array().unwrap().iter();
            let left = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
            self.todo.push_back(Job { asked: said, left, rows: 0 });
        }
    }

    /// The next security of a request, or its end.
    fn answer(&mut self) -> Option<()> {
        let Some(mut job) = self.todo.pop_front() else { return Some(()) };
        let (req, period) = (&job.asked["req"], &job.asked["period"]);
        let Some(name) = job.left.pop_front() else {
            let done = format!("{{\"t\":\"done\",\"seq\":1,\"req\":{req},\"rows\":{}}}\n", job.rows);
            self.text.push_str(&done);
            return self.flush();
        };
        let start = NaiveDateTime::parse_from_str(job.asked["start"].as_str()?, "%Y%m%d%H%M%S").unwrap();
        let (last, pushes) = running(self.now());
        let place = name[..6].parse::<usize>().unwrap() - 1;
        let head = format!(
            "{{\"t\":\"bars\",\"seq\":1,\"period\":{period},\"src\":\"history\",\"req\":{req},\"code\":\"{name}\",\"rows\":["
        );
        self.text.push_str(&head);
        if period == "1d" {
            job.rows += self.day(place, last);
        } else {
            for (rows, wall) in labels(start.max(self.first), last).enumerate() {
                self.text.push_str(if rows > 0 { "," } else { "" });
                row(place, wall, if wall == last { pushes } else { 20 }, &mut self.text);
                job.rows += 1;
            }
        }
        self.text.push_str("]}\n");
        self.todo.push_front(job);
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
pub(crate) const TOLD: [&str; 5] = ["SIM_ADDRESS", "SIM_SYMBOLS", "SIM_START", "SIM_EPOCH_MS", "SIM_FIRST"];

/// A process of the agent; killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(told: &[String; 5]) -> Process {
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
pub(crate) fn be_the_agent() {
    let [address, symbols, start, epoch_ms, first] = TOLD.map(|name| std::env::var(name).unwrap());
    let (symbols, epoch_ms) = (symbols.parse().unwrap(), epoch_ms.parse().unwrap());
    loop {
        let agent = Agent::dial(&address, symbols, at(&start), epoch_ms, at(&first));
        if agent.and_then(Agent::work).is_none() {
            thread::yield_now();
        }
    }
}
