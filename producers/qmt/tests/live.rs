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
use sqep::{Calendar, Cursors, Kind, MinuteBar, Reason, Record, Source, Symbol, kind::Grid, shanghai};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    listen::{Agent, Event},
    live::{LivePlan, LiveSource},
    protocol::{Bars, Beat, Done, From, Message, Period, Reply, Row},
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
}

impl Pc {
    fn now(&self) -> NaiveDateTime {
        *self.now.lock().unwrap()
    }

    fn set(&self, now: NaiveDateTime) {
        *self.now.lock().unwrap() = now;
    }

    async fn come(&mut self) {
        self.id += 1;
        let (agent, said) = Agent::loose(self.id, "pc1", &CODES);
        (self.said, self.agent) = (Some(said), Some(agent.clone()));
        self.events.send(Event::Came(agent)).await.unwrap();
    }

    async fn go(&mut self) {
        self.said = None;
        self.events.send(Event::Gone { id: self.id }).await.unwrap();
    }

    async fn say(&self, message: Message) {
        if self.said.is_some() {
            self.events.send(Event::Said { id: self.id, message }).await.unwrap();
        }
    }

    async fn push(&self, code: usize, src: From, req: Option<u64>, rows: Vec<Row>) {
        let code = CODES[code].to_owned();
        self.say(Message::Bars(Bars { seq: 0, period: Period::M1, src, req, code, rows })).await;
    }

    /// Answers what was asked, with what QMT has at this moment: the last bar is still running.
    async fn answer(&mut self) {
        let Some(said) = self.said.as_mut() else { return };
        let mut asked = Vec::new();
        while let Ok(reply) = said.try_recv() {
            if let Reply::Hist { req, codes, start, period, .. } = reply {
                asked.push((
                    req,
                    period,
                    codes,
                    NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S").unwrap(),
                ));
            }
        }
        for (req, period, codes, start) in asked {
            if self.dice.one_in(8) {
                self.say(Message::Failed(sqep_qmt::protocol::Failed {
                    req: Some(req),
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
        clock: Clock::new(move || *shown.lock().unwrap()),
    }
}

/// One day: pushes every three seconds of what is running, with faults from the seed.
async fn day(seed: u64, faults: bool, deaf: &[&str], restarts: u64) -> World {
    let now = Arc::new(Mutex::new(at("2025-01-02T09:29:57")));
    let (events, happened) = mpsc::channel(100_000);
    let mut pc = Pc {
        dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        events,
        said: None,
        agent: None,
        id: 0,
        now: Arc::clone(&now),
    };
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
        for second in [4, 6, 11] {
            pc.set(wall + TimeDelta::seconds(second));
            pc.say(Message::Beat(Beat { seq: 0, now: 0, connected: true })).await;
            if second > 4
                && wall.format("%H:%M").to_string() != "11:30"
                && wall.format("%H:%M").to_string() != "15:00"
            {
                break;
            }
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
    let now = Arc::new(Mutex::new(at("2025-01-02T09:31:30")));
    let (events, happened) = mpsc::channel(100_000);
    let mut pc = Pc { dice: Dice(5), events, said: None, agent: None, id: 0, now: Arc::clone(&now) };
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
        let now = Arc::new(Mutex::new(at(&format!("2025-01-02T{start}"))));
        let (events, happened) = mpsc::channel(100_000);
        let mut pc = Pc { dice: Dice(5), events, said: None, agent: None, id: 0, now: Arc::clone(&now) };
        let mut source = LiveSource::<MinuteBar>::new(plan(&now), happened).unwrap();
        let mut world = World::default();
        source.open(&world.cursors.clone()).await.unwrap();
        pc.come().await;
        let mut subscribed = 0;
        for _ in 0..30 {
            pc.say(Message::Beat(Beat { seq: 0, now: 0, connected: true })).await;
            world.read(&mut source).await;
            while let Ok(reply) = pc.said.as_mut().unwrap().try_recv() {
                subscribed += usize::from(matches!(reply, Reply::Sub { .. }));
            }
            pc.set(pc.now() + TimeDelta::seconds(5));
        }
        assert_eq!(subscribed, if noticed { 3 } else { 1 }, "at {start}, 150 seconds of heartbeats alone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_dies_and_starts_anew_loses_nothing() {
    let seeds = std::env::var("SQEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 2..2 + seeds {
        assert_nothing_lost(&day(seed, true, &[], 300).await, seed);
    }
}
