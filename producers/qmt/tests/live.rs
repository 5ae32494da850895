//! A trading day of many securities with everything that happens to it, from a seed; the clock is ours, so that a day takes
//! a moment.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{NaiveDateTime, TimeDelta};
use common::at;
use sqep::{
    Calendar, Cursors, Kind, MinuteBar, Reason, Record, Source, Symbol,
    kind::Grid,
    meter::{Meters, render},
    shanghai,
};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, Auction, QmtSettings},
    listen::{Agent, Event, Room},
    live::{LivePlan, LiveSource},
    protocol::{Bars, Beat, Done, From, Message, Period, Reply, Row, Rows},
};
use tokio::{sync::mpsc, time::timeout};

const CODES: [&str; 4] = ["600000.SH", "000001.SZ", "510300.SH", "000300.SH"];

/// Random numbers that a seed makes (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// What a bar is after so many of its twenty pushes.
fn row(code: usize, wall: NaiveDateTime, pushes: u32) -> Row {
    let minute = u32::try_from((wall - at("2025-01-02T09:00:00")).num_minutes()).unwrap();
    let lots = f64::from((10 + (u32::try_from(code).unwrap() * 7 + minute) % 9) * pushes);
    let price = f64::from(10_000 + minute) * 0.001;
    Row {
        time: shanghai::instant_ms(wall).unwrap(),
        open: Some(price),
        high: Some(price),
        low: Some(price),
        close: Some(price),
        volume: Some(lots),
        amount: Some((lots * 100.0 * price).trunc()),
        pre_close: None,
        suspend_flag: Some(0),
        open_interest: Some(13.0),
    }
}

fn labels() -> Vec<NaiveDateTime> {
    let all = (0..24 * 60u32).filter(|&minute| Grid::M1.is_label(minute));
    all.map(|minute| at("2025-01-02T00:00:00") + TimeDelta::minutes(i64::from(minute))).collect()
}

/// QMT and the agent beside it.
struct Pc {
    dice: Dice,
    events: mpsc::Sender<Event>,
    said: Option<mpsc::Receiver<Reply>>,
    agent: Option<Agent>,
    id: u64,
    now: Arc<Mutex<NaiveDateTime>>,
    seq: u64,
    /// The last acknowledgement that was heard.
    heard: Option<u64>,
    /// One request in so many fails.
    busy: u64,
    /// Requests for history that were heard.
    asked: usize,
}

impl Pc {
    fn new(seed: u64, start: &str) -> (Pc, mpsc::Receiver<Event>) {
        let (events, happened) = mpsc::channel(100_000);
        let (dice, now) =
            (Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), Arc::new(Mutex::new(at(start))));
        (
            Pc { dice, events, said: None, agent: None, id: 0, now, seq: 0, heard: None, busy: 8, asked: 0 },
            happened,
        )
    }

    /// A heartbeat; with `swept` it says that everything was looked at since the last acknowledgement.
    async fn beat(&mut self, swept: bool) {
        self.seq += 1;
        let swept = self.heard.filter(|_| swept);
        // Nothing of it is believed: it is an hour off.
        self.say(Message::Beat(Beat { seq: self.seq, now: 0, connected: true, swept })).await;
    }

    fn now(&self) -> NaiveDateTime {
        *self.now.lock().unwrap()
    }

    fn set(&self, now: NaiveDateTime) {
        *self.now.lock().unwrap() = now;
    }

    async fn come(&mut self) {
        self.id += 1;
        let (agent, said) = Agent::loose(self.id, "pc1", &CODES);
        (self.said, self.agent, self.heard) = (Some(said), Some(agent.clone()), None);
        self.events.send(Event::Came(agent)).await.unwrap();
    }

    async fn go(&mut self) {
        self.said = None;
        self.events.send(Event::Gone { id: self.id }).await.unwrap();
    }

    async fn say(&self, message: Message) {
        if self.said.is_some() {
            self.events.send(Event::Said { id: self.id, message, room: Room::default() }).await.unwrap();
        }
    }

    async fn push(&self, code: usize, src: From, req: Option<u64>, rows: Vec<Row>) {
        let code = CODES[code].to_owned();
        let rows = Rows { good: rows, odd: Vec::new() };
        self.say(Message::Bars(Bars { seq: 0, period: Period::M1, src, req, code, rows })).await;
    }

    /// Answers what was asked, with what QMT has at this moment: the last bar is still running.
    async fn answer(&mut self) {
        let Some(said) = self.said.as_mut() else { return };
        let mut asked = Vec::new();
        while let Ok(reply) = said.try_recv() {
            if let Reply::Ack { seq } = reply {
                self.heard = Some(seq);
            }
            if let Reply::Hist { req, codes, start, period, .. } = reply {
                asked.push((
                    req,
                    period,
                    codes,
                    NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S").unwrap(),
                ));
            }
        }
        self.asked += asked.len();
        for (req, period, codes, start) in asked {
            if self.dice.one_in(self.busy) {
                self.say(Message::Failed(sqep_qmt::protocol::Failed {
                    req: Some(req),
                    code: None,
                    msg: "busy".to_owned(),
                }))
                .await;
                continue;
            }
            let mut sent = 0;
            for code in &codes {
                let place = CODES.iter().position(|known| known == code).unwrap();
                let mut rows = self.kept(place, start);
                if period == Period::Day {
                    let volume = rows.iter().filter_map(|row| row.volume).sum();
                    let time = shanghai::instant_ms(at("2025-01-02T00:00:00")).unwrap();
                    rows = vec![Row { time, volume: Some(volume), ..rows[0] }];
                }
                sent += u64::try_from(rows.len()).unwrap();
                let code = CODES[place].to_owned();
                let rows = Rows { good: rows, odd: Vec::new() };
                let bars = Bars { seq: 0, period, src: From::History, req: Some(req), code, rows };
                self.say(Message::Bars(bars)).await;
            }
            self.say(Message::Done(Done { req, rows: sent })).await;
        }
    }

    /// The pushes of a moment; with faults some come twice, late, or go back.
    async fn pushes(&mut self, wall: NaiveDateTime, step: i64, faults: bool, deaf: &[&str]) {
        for code in 0..CODES.len() {
            let pushed = row(code, wall, u32::try_from(step).unwrap());
            if code == 0 && deaf.contains(&&*wall.format("%H:%M").to_string()) {
                continue;
            }
            self.push(code, From::Live, None, vec![pushed]).await;
            if faults && self.dice.one_in(40) {
                self.push(code, From::Live, None, vec![pushed]).await;
            }
            if faults && self.dice.one_in(40) && step > 3 {
                self.push(code, From::Live, None, vec![row(code, wall, u32::try_from(step - 3).unwrap())])
                    .await;
            }
            if faults && self.dice.one_in(60) && wall > at("2025-01-02T09:32:00") {
                let back = wall - TimeDelta::minutes(1);
                if Grid::M1.is_label(u32::try_from((back - at("2025-01-02T00:00:00")).num_minutes()).unwrap())
                {
                    self.push(code, From::Live, None, vec![row(code, back, 9)]).await;
                }
            }
        }
    }

    fn kept(&self, code: usize, start: NaiveDateTime) -> Vec<Row> {
        let now = self.now();
        let begun = |wall: &NaiveDateTime| *wall >= start && *wall - TimeDelta::minutes(1) < now;
        let pushes = |wall: NaiveDateTime| {
            if wall <= now { 20 } else { u32::try_from(20 - (wall - now).num_seconds() / 3).unwrap().max(1) }
        };
        labels().into_iter().filter(begun).map(|wall| row(code, wall, pushes(wall))).collect()
    }
}

/// What came onto the stream, and what is stored beside it.
#[derive(Default)]
struct World {
    stream: Vec<MinuteBar>,
    cursors: Cursors,
}

impl World {
    async fn read(&mut self, source: &mut LiveSource<MinuteBar>) {
        // A source with nothing at hand waits; the clock is ours, so that a moment is enough.
        while let Ok(chunk) = timeout(Duration::from_millis(1), source.read()).await {
            let chunk = chunk.unwrap().unwrap();
            if chunk.is_empty() {
                continue;
            }
            let totals = &mut self.cursors.totals;
            totals.read += chunk.read();
            totals.appended += u64::try_from(chunk.records.len()).unwrap();
            chunk.refused.iter().for_each(|refusal| refusal.count(&mut totals.refused));
            for (&reason, &count) in &chunk.skipped {
                *totals.skipped.entry(reason).or_default() += count;
            }
            self.stream.extend(chunk.records);
            for (name, value) in chunk.cursor {
                self.cursors.fields.insert(name, value.unwrap());
            }
        }
    }
}

fn plan(now: &Arc<Mutex<NaiveDateTime>>) -> LivePlan {
    let shown = Arc::clone(now);
    LivePlan {
        settings: QmtSettings::default(),
        agent: AgentSettings { request_codes_max: 3, ..AgentSettings::default() },
        alias: AliasChoice::Current,
        kind: Kind::BarMinute(Grid::M1),
        calendar: Arc::new(Calendar::published()),
        once: false,
        meters: Meters::default(),
        clock: Clock::new(move || *shown.lock().unwrap()),
        desk: None,
    }
}

/// One day: pushes every three seconds of what is running, with faults from the seed.
async fn day(seed: u64, faults: bool, deaf: &[&str], restarts: u64) -> World {
    let (mut pc, happened) = Pc::new(seed, "2025-01-02T09:29:57");
    let now = Arc::clone(&pc.now);
    let mut source = LiveSource::<MinuteBar>::new(plan(&now), happened).unwrap();
    let mut world = World::default();
    source.open(&world.cursors.clone()).await.unwrap();
    pc.come().await;
    let mut away = 0;
    for wall in labels() {
        for step in 1..=20 {
            pc.set(wall - TimeDelta::seconds(60 - 3 * step));
            away -= i64::from(away > 0);
            if away == 0 && pc.said.is_none() {
                pc.come().await;
            }
            pc.answer().await;
            pc.pushes(wall, step, faults, deaf).await;
            world.read(&mut source).await;
            if restarts > 0 && pc.dice.one_in(restarts) {
                // A process that ends, and another that takes up at what is stored.
                let (events, happened) = mpsc::channel(100_000);
                (pc.events, pc.said) = (events, None);
                source = LiveSource::new(plan(&now), happened).unwrap();
                source.open(&world.cursors.clone()).await.unwrap();
            }
            if faults && pc.said.is_some() && pc.dice.one_in(400) {
                pc.go().await;
                away = 1 + i64::try_from(pc.dice.below(80)).unwrap();
            }
        }
        // After lunch and after the close nothing later comes: the clock and a heartbeat close the last bars.
        let last = ["11:30", "15:00"].contains(&&*wall.format("%H:%M").to_string());
        for second in if last { 0..14 } else { 0..0 } {
            pc.set(wall + TimeDelta::seconds(second));
            pc.answer().await;
            pc.beat(true).await;
            world.read(&mut source).await;
        }
    }
    for minute in 1..=20 {
        pc.set(at("2025-01-02T15:00:11") + TimeDelta::minutes(minute));
        if pc.said.is_none() {
            pc.come().await;
        }
        world.read(&mut source).await;
        pc.answer().await;
        world.read(&mut source).await;
    }
    world
}

/// Every bar is there, and the last word on it is right; a restart may say it twice.
fn assert_nothing_lost(world: &World, seed: u64) {
    let last: BTreeMap<(Symbol, i64), MinuteBar> = world.stream.iter().map(|bar| (bar.key(), *bar)).collect();
    for (code, name) in CODES.iter().enumerate() {
        for wall in labels() {
            let key = (name.parse().unwrap(), wall.and_utc().timestamp() / 60);
            let bar = last.get(&key).unwrap_or_else(|| panic!("seed {seed}: {name} {wall} is lost"));
            let lots = row(code, wall, 20).volume.unwrap();
            assert!((bar.vol / 100.0 - lots).abs() < 0.1, "seed {seed}: {name} {wall} {bar:?}");
        }
    }
    assert!(world.cursors.totals.balances(), "{:?}", world.cursors.totals);
}

fn assert_whole(world: &World, seed: u64) {
    let mut bars: BTreeMap<(Symbol, i64), usize> = BTreeMap::new();
    world.stream.iter().for_each(|bar| *bars.entry(bar.key()).or_default() += 1);
    for (code, name) in CODES.iter().enumerate() {
        let symbol: Symbol = name.parse().unwrap();
        for wall in labels() {
            let wanted = row(code, wall, 20);
            let found: Vec<&MinuteBar> =
                world.stream.iter().filter(|bar| bar.symbol == symbol && bar.frame == wall).collect();
            assert_eq!(found.len(), 1, "seed {seed}: {name} {wall} once: {found:?}");
            let lots = wanted.volume.unwrap();
            assert!(
                (found[0].vol / 100.0 - lots).abs() < 0.1,
                "seed {seed}: {name} {wall} with its last values"
            );
        }
    }
    assert_eq!(bars.len(), CODES.len() * 241);
    assert!(world.cursors.totals.balances(), "{:?}", world.cursors.totals);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_day_comes_whole() {
    let world = day(1, false, &[], 0).await;
    assert_whole(&world, 1);
    let skipped = &world.cursors.totals.skipped;
    assert_eq!(skipped.get(&Reason::Late), None, "{skipped:?}");
    let mark = world.cursors.fields.get("1m/600000.SH").unwrap();
    assert!(mark.contains("2025-01-02T15:00:00"), "{mark}");
}

#[tokio::test(start_paused = true)]
async fn every_bar_comes_once_with_its_last_values_whatever_happens_to_the_agent() {
    let seeds = std::env::var("SQEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 2..2 + seeds {
        assert_whole(&day(seed, true, &[], 0).await, seed);
    }
}

#[tokio::test(start_paused = true)]
async fn minutes_that_were_lost_in_silence_are_found_when_the_day_is_over() {
    assert_whole(&day(1, false, &["10:01", "10:02", "14:30", "15:00"], 0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_waited_while_nobody_read_is_not_taken_for_live() {
    let (mut pc, happened) = Pc::new(5, "2025-01-02T09:31:30");
    let now = Arc::clone(&pc.now);
    let mut source = LiveSource::<MinuteBar>::new(plan(&now), happened).unwrap();
    let mut world = World::default();
    source.open(&world.cursors.clone()).await.unwrap();
    pc.come().await;
    world.read(&mut source).await;
    // The stream is full: half a minute is pushed, and nobody reads for ten minutes.
    for step in 1..=10 {
        pc.pushes(at("2025-01-02T09:32:00"), step, false, &[]).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    pc.set(at("2025-01-02T09:41:30"));
    world.read(&mut source).await;
    assert!(pc.agent.as_ref().unwrap().is_ended(), "it is let go");
    assert!(world.stream.is_empty(), "half a minute is no bar: {:?}", world.stream);
    pc.go().await;
    pc.come().await;
    for _ in 0..40 {
        world.read(&mut source).await;
        pc.answer().await;
        pc.set(pc.now() + TimeDelta::seconds(10));
    }
    let frames = labels().into_iter().filter(|wall| *wall <= at("2025-01-02T09:41:00"));
    for (code, wall) in frames.flat_map(|wall| (0..CODES.len()).map(move |code| (code, wall))) {
        let found: Vec<f64> = world
            .stream
            .iter()
            .filter(|bar| bar.symbol.to_string() == CODES[code] && bar.frame == wall)
            .map(|bar| bar.vol)
            .collect();
        assert!(
            found.len() == 1 && (found[0] / 100.0 - row(code, wall, 20).volume.unwrap()).abs() < 0.1,
            "{code} {wall} {found:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn pushes_that_stop_in_silence_are_noticed_in_a_session_and_only_there() {
    for (start, noticed) in [("10:00:00", true), ("12:00:00", false), ("15:10:00", false)] {
        let (mut pc, happened) = Pc::new(5, &format!("2025-01-02T{start}"));
        let now = Arc::clone(&pc.now);
        let plan = plan(&now);
        let meters = plan.meters.clone();
        let mut source = LiveSource::<MinuteBar>::new(plan, happened).unwrap();
        let mut world = World::default();
        source.open(&world.cursors.clone()).await.unwrap();
        pc.come().await;
        let mut subscribed = 0;
        for _ in 0..30 {
            pc.beat(false).await;
            world.read(&mut source).await;
            while let Ok(reply) = pc.said.as_mut().unwrap().try_recv() {
                subscribed += usize::from(matches!(reply, Reply::Sub { .. }));
            }
            pc.set(pc.now() + TimeDelta::seconds(5));
        }
        assert_eq!(subscribed, if noticed { 3 } else { 1 }, "at {start}, 150 seconds of heartbeats alone");
        assert_eq!(meters.degraded(), Some(noticed), "at {start}");
        pc.push(0, From::Live, None, vec![row(0, at("2025-01-02T10:03:00"), 9)]).await;
        world.read(&mut source).await;
        assert!(render(&meters).contains("\nsqep_source_degraded 0\n"), "a bar has come");
        pc.say(Message::Beat(Beat { seq: 1, now: 0, connected: false, swept: None })).await;
        world.read(&mut source).await;
        assert!(render(&meters).contains("\nsqep_source_degraded 1\n"), "QMT does not answer");
        pc.go().await;
        world.read(&mut source).await;
        assert_eq!(meters.degraded(), Some(noticed), "at {start}, without an agent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_dies_and_starts_anew_loses_nothing() {
    let seeds = std::env::var("SQEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 2..2 + seeds {
        assert_nothing_lost(&day(seed, true, &[], 300).await, seed);
    }
}

/// A day of one restart at a time, without faults, and what an agent's history says may be changed.
struct Bench {
    pc: Pc,
    source: LiveSource<MinuteBar>,
    world: World,
}

impl Bench {
    async fn new(start: &str, settings: QmtSettings) -> Bench {
        let (mut pc, happened) = Pc::new(7, start);
        pc.busy = u64::MAX;
        let plan = LivePlan { settings, ..plan(&pc.now) };
        let mut bench =
            Bench { source: LiveSource::new(plan, happened).unwrap(), pc, world: World::default() };
        bench.source.open(&bench.world.cursors.clone()).await.unwrap();
        bench.pc.come().await;
        bench.settle().await;
        bench
    }

    /// The process ends, and another takes up at what is stored.
    async fn restart(&mut self, settings: QmtSettings) {
        let (events, happened) = mpsc::channel(100_000);
        (self.pc.events, self.pc.said) = (events, None);
        self.source = LiveSource::new(LivePlan { settings, ..plan(&self.pc.now) }, happened).unwrap();
        self.source.open(&self.world.cursors.clone()).await.unwrap();
        self.pc.come().await;
    }

    async fn settle(&mut self) {
        for _ in 0..4 {
            self.world.read(&mut self.source).await;
            self.pc.answer().await;
        }
        self.world.read(&mut self.source).await;
    }

    fn bars(&self, code: usize, wall: &str) -> Vec<f64> {
        let (symbol, wall): (Symbol, _) =
            (CODES[code].parse().unwrap(), at(&format!("2025-01-02T{wall}:00")));
        let bars = self.world.stream.iter().filter(|bar| bar.symbol == symbol && bar.frame == wall);
        bars.map(|bar| bar.vol / 100.0).collect()
    }

    async fn push(&mut self, code: usize, wall: &str, pushes: u32) {
        let wall = at(&format!("2025-01-02T{wall}:00"));
        self.pc.push(code, From::Live, None, vec![row(code, wall, pushes)]).await;
    }
}

fn whole(code: usize, wall: &str) -> f64 {
    row(code, at(&format!("2025-01-02T{wall}:00")), 20).volume.unwrap()
}

#[tokio::test(start_paused = true)]
async fn time_alone_makes_no_bar_final_only_a_look_that_began_after_its_end() {
    let mut bench = Bench::new("2025-01-02T11:29:20", QmtSettings::default()).await;
    bench.pc.beat(false).await;
    bench.settle().await;
    bench.push(0, "11:30", 11).await;
    bench.settle().await;
    // The agent downloads and does not look: heartbeats come, and say nothing.
    bench.pc.set(at("2025-01-02T11:30:20"));
    for _ in 0..3 {
        bench.pc.beat(false).await;
        bench.settle().await;
    }
    // A look that had heard no word of ours since the end began before it.
    bench.pc.set(at("2025-01-02T11:30:21"));
    bench.pc.heard = Some(1);
    bench.pc.beat(true).await;
    bench.world.read(&mut bench.source).await;
    assert_eq!(bench.bars(0, "11:30"), [0.0; 0], "eleven of twenty pushes are no bar");
    bench.settle().await;
    bench.push(0, "11:30", 20).await;
    bench.pc.beat(true).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "11:30"), [whole(0, "11:30")]);
}

#[tokio::test(start_paused = true)]
async fn what_no_look_shows_to_be_final_history_does() {
    let mut bench = Bench::new("2025-01-02T11:29:20", QmtSettings::default()).await;
    bench.push(0, "11:30", 11).await;
    bench.pc.set(at("2025-01-02T11:31:00"));
    bench.settle().await;
    assert_eq!(bench.bars(0, "11:30"), [0.0; 0]);
    bench.pc.set(at("2025-01-02T11:31:10"));
    bench.settle().await;
    assert_eq!(bench.bars(0, "11:30"), [whole(0, "11:30")]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_went_on_without_a_security_makes_no_bar_of_it_final() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    bench.push(0, "10:01", 10).await;
    bench.push(1, "10:01", 10).await;
    bench.pc.set(at("2025-01-02T10:01:10"));
    bench.pc.beat(false).await;
    bench.settle().await;
    bench.pc.set(at("2025-01-02T10:01:20"));
    bench.push(1, "10:01", 20).await;
    let (code, msg) = (Some(CODES[0].to_owned()), "no server".to_owned());
    bench.pc.say(Message::Failed(sqep_qmt::protocol::Failed { req: None, code, msg })).await;
    bench.pc.beat(true).await;
    bench.world.read(&mut bench.source).await;
    assert_eq!(bench.bars(1, "10:01"), [whole(1, "10:01")]);
    assert_eq!(bench.bars(0, "10:01"), [0.0; 0], "ten of twenty pushes are no bar");
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01"), [whole(0, "10:01")], "history tells");
}

/// Eight minutes of heartbeats, and the word that everything was looked at since they began. `shown`: at which second which
/// bar of the first security.
async fn long_look(bench: &mut Bench, shown: (i64, &str, u32)) {
    let (began, heard) = (bench.pc.now(), bench.pc.heard);
    for second in 1..=480 {
        bench.pc.set(began + TimeDelta::seconds(second));
        bench.pc.beat(false).await;
        if second == shown.0 {
            bench.push(0, shown.1, shown.2).await;
        }
        bench.world.read(&mut bench.source).await;
        bench.pc.answer().await;
    }
    let after = std::mem::replace(&mut bench.pc.heard, heard);
    bench.pc.beat(true).await;
    bench.pc.heard = after;
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn looks_that_take_eight_minutes_close_bars_and_nothing_is_asked_of_who_waits_its_turn() {
    let mut bench = Bench::new("2025-01-02T11:19:40", QmtSettings::default()).await;
    bench.push(0, "11:20", 16).await;
    bench.pc.beat(false).await;
    bench.settle().await;
    long_look(&mut bench, (30, "11:21", 4)).await;
    long_look(&mut bench, (130, "11:30", 16)).await;
    assert_eq!(bench.bars(0, "11:30"), [0.0; 0], "sixteen of twenty pushes are no bar");
    let before = bench.pc.asked;
    long_look(&mut bench, (130, "11:30", 20)).await;
    assert_eq!(bench.bars(0, "11:30"), [whole(0, "11:30")]);
    assert_eq!(bench.pc.asked, before, "requests for history");
}

#[tokio::test(start_paused = true)]
async fn a_bar_that_grew_after_it_went_out_goes_out_again_as_history_has_it() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    bench.push(0, "10:01", 16).await;
    bench.pc.set(at("2025-01-02T10:01:30"));
    // Pushes were lost: a later row closes what is not whole.
    bench.push(0, "10:02", 9).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01").len(), 1);
    bench.push(0, "10:01", 20).await;
    bench.push(0, "10:01", 20).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01")[1..], [whole(0, "10:01")]);
    // A row that knows less changes nothing.
    bench.push(0, "10:01", 3).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_running_when_history_was_asked_for_is_not_final() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    assert_eq!(bench.bars(0, "10:01"), [0.0; 0]);
    bench.restart(QmtSettings::default()).await;
    bench.world.read(&mut bench.source).await;
    // Asked at 10:00:40, read at 10:00:50, and handed on late: what it says of 10:01 has grown since.
    bench.pc.set(at("2025-01-02T10:00:50"));
    bench.pc.answer().await;
    bench.pc.set(at("2025-01-02T10:02:30"));
    bench.push(0, "10:03", 9).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "10:01"), [whole(0, "10:01")]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_day_is_still_held_against_its_own_bar() {
    let mut bench = Bench::new("2025-01-02T10:00:30", QmtSettings::default()).await;
    // One process publishes half a bar, and its successor must find it.
    bench.push(0, "10:01", 10).await;
    bench.pc.set(at("2025-01-02T10:01:30"));
    bench.push(0, "10:02", 1).await;
    bench.settle().await;
    let half = bench.bars(0, "10:01");
    let rows = bench.world.stream.len();
    bench.pc.set(at("2025-01-02T14:00:30"));
    bench.restart(QmtSettings::default()).await;
    bench.settle().await;
    assert_eq!(half.len(), 1);
    assert_eq!(bench.bars(0, "10:01")[1..], [whole(0, "10:01")], "history says otherwise than what went out");
    assert_eq!(bench.bars(1, "10:00").len(), 1, "of the others nothing goes out again");
    // Another one, and nothing is said twice.
    let more = bench.world.stream.len();
    assert!(more > rows);
    bench.restart(QmtSettings::default()).await;
    bench.settle().await;
    assert_eq!(bench.world.stream.len(), more);
    bench.pc.set(at("2025-01-02T15:02:00"));
    for _ in 0..30 {
        bench.pc.set(bench.pc.now() + TimeDelta::seconds(20));
        bench.settle().await;
    }
    assert_whole_last(&bench.world);
}

/// The last word on every bar is right.
fn assert_whole_last(world: &World) {
    let last: BTreeMap<(Symbol, i64), MinuteBar> = world.stream.iter().map(|bar| (bar.key(), *bar)).collect();
    assert_eq!(last.len(), CODES.len() * 241);
    for (code, name) in CODES.iter().enumerate() {
        let sum: f64 =
            last.values().filter(|bar| bar.symbol.to_string() == *name).map(|bar| bar.vol / 100.0).sum();
        let wanted: f64 = labels().into_iter().map(|wall| row(code, wall, 20).volume.unwrap()).sum();
        assert!((sum - wanted).abs() < 0.1, "{name}: {sum} of {wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn corrections_of_the_auction_and_of_the_first_minute_are_folded_again() {
    let settings = QmtSettings { auction: Auction::Fold, ..QmtSettings::default() };
    let mut bench = Bench::new("2025-01-02T09:29:40", settings.clone()).await;
    for (wall, pushes) in [("09:30", 15), ("09:31", 11), ("09:32", 5)] {
        bench.pc.set(at(&format!("2025-01-02T{wall}:00")) - TimeDelta::seconds(10));
        bench.push(0, wall, pushes).await;
        bench.settle().await;
    }
    let parts = |auction, first| {
        let part = |wall: &str, pushes| row(0, at(&format!("2025-01-02T{wall}:00")), pushes).volume.unwrap();
        part("09:30", auction) + part("09:31", first)
    };
    assert_eq!(bench.bars(0, "09:31"), [parts(15, 11)]);
    assert_eq!(bench.bars(0, "09:30"), [0.0; 0]);
    // Rows that know more of either: history is asked, and both parts are kept.
    bench.pc.set(at("2025-01-02T09:31:58"));
    bench.push(0, "09:31", 20).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "09:31")[1..], [parts(15, 20)]);
    bench.push(0, "09:30", 20).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "09:31")[2..], [parts(20, 20)]);
    bench.restart(settings).await;
    bench.settle().await;
    assert_eq!(bench.bars(0, "09:31").len(), 3, "and nothing of it again after a restart");
    assert!(bench.world.cursors.totals.balances());
}

#[tokio::test(start_paused = true)]
async fn a_download_that_takes_longer_than_patience_is_not_begun_anew_for_ever() {
    let mut bench = Bench::new("2025-01-02T10:00:00", QmtSettings::default()).await;
    bench.pc.set(at("2025-01-02T10:30:00"));
    bench.restart(QmtSettings::default()).await;
    let mut asked = Vec::new();
    // Each request is answered four minutes after it was made; there is no bar meanwhile.
    for second in 0..120 {
        bench.pc.set(at("2025-01-02T10:30:00") + TimeDelta::seconds(10 * second));
        bench.world.read(&mut bench.source).await;
        let said = bench.pc.said.as_mut().unwrap();
        while let Ok(reply) = said.try_recv() {
            if let Reply::Hist { req, codes, start, .. } = reply {
                asked.push((second, req, codes, start));
            }
        }
        for (_, req, codes, start) in asked.extract_if(.., |(made, ..)| *made + 24 <= second) {
            let start = NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S").unwrap();
            let mut sent = 0;
            for code in codes {
                let place = CODES.iter().position(|known| *known == code).unwrap();
                let rows = bench.pc.kept(place, start);
                sent += u64::try_from(rows.len()).unwrap();
                bench.pc.push(place, From::History, Some(req), rows).await;
            }
            bench.pc.say(Message::Done(Done { req, rows: sent })).await;
        }
    }
    bench.world.read(&mut bench.source).await;
    for (code, name) in CODES.iter().enumerate() {
        assert_eq!(bench.bars(code, "10:30"), [whole(code, "10:30")], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_refused_is_refused_once_however_often_it_grows() {
    let mut bench = Bench::new("2025-01-02T10:00:40", QmtSettings::default()).await;
    for pushes in 12..20 {
        let mut bad = row(0, at("2025-01-02T10:01:00"), pushes);
        bad.close = None;
        bench.pc.push(0, From::Live, None, vec![bad]).await;
    }
    bench.settle().await;
    let refused = &bench.world.cursors.totals.refused;
    assert_eq!(refused.get(&Reason::PriceMissing), Some(&1), "{refused:?}");
}
