//! A history of several days that is cut off in the middle: what came stays, and only the rest is asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use sqep::{Calendar, Cursors, Kind, MinuteBar, Record, Source, Symbol, kind::Grid, meter::Meters, shanghai};
use sqep_qmt::{
    clock::Clock,
    config::{AgentSettings, AliasChoice, Auction, QmtSettings},
    listen::{Agent, Event, Room},
    live::{LivePlan, LiveSource},
    protocol::{Bars, Done, From, Message, Period, Reply, Row, Rows},
};
use tokio::{sync::mpsc, time::timeout};

use crate::common::at;

const CODES: [&str; 3] = ["600000.SH", "000001.SZ", "510300.SH"];
const NOW: &str = "2025-01-06T10:00:30";
/// Three sessions before that day.
const DAYS: [&str; 4] = ["2024-12-31", "2025-01-02", "2025-01-03", "2025-01-06"];
/// Rows of a line: the second ends with an opening auction.
const PAGE: usize = 121;
/// Where a history is cut off: in the first security and in the next, in a day, after an auction, and at the very end. Each
/// has seven lines.
const CUTS: [usize; 6] = [1, 2, 4, 6, 7, 9];

/// How a history is cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The agent's connection ends, before or after what came was handed over.
    Gone { at_once: bool },
    /// The agent says that the request failed.
    Failed,
    /// The program was kept from reading, and begins anew.
    Held,
    /// The program ends, and another takes up at what is stored.
    Killed,
}

/// Labels that are over, from one on.
fn labels(start: NaiveDateTime) -> Vec<NaiveDateTime> {
    let minute = |day: &str, minute: u32| at(&format!("{day}T00:00:00")) + TimeDelta::minutes(minute.into());
    let all = DAYS.iter().flat_map(|day| {
        (0..24 * 60).filter(|&minute| Grid::M1.is_label(minute)).map(move |at| minute(day, at))
    });
    all.filter(|&wall| wall >= start && wall <= at(NOW)).collect()
}

fn row(wall: NaiveDateTime) -> Row {
    let lots = f64::from(wall.minute() + 1);
    Row {
        time: shanghai::instant_ms(wall).unwrap(),
        open: Some(10.0),
        high: Some(10.0),
        low: Some(10.0),
        close: Some(10.0),
        volume: Some(lots),
        amount: Some(lots * 1_000.0),
        pre_close: None,
        suspend_flag: Some(0),
        open_interest: Some(13.0),
    }
}

/// The agent, the program's source, and what came of both.
struct World {
    auction: Auction,
    source: LiveSource<MinuteBar>,
    events: mpsc::Sender<Event>,
    said: mpsc::Receiver<Reply>,
    now: Arc<Mutex<NaiveDateTime>>,
    id: u64,
    stream: Vec<MinuteBar>,
    cursors: Cursors,
    /// Rows that history may send before it is cut off.
    left: usize,
    asked: Vec<(Vec<String>, NaiveDateTime)>,
}

impl World {
    async fn new(auction: Auction, left: usize) -> World {
        let (events, happened) = mpsc::channel(100_000);
        let now = Arc::new(Mutex::new(at(NOW)));
        let mut source = LiveSource::new(plan(auction, &now), happened).unwrap();
        let cursors = Cursors::default();
        source.open(&cursors).await.unwrap();
        let (stream, asked) = (Vec::new(), Vec::new());
        let (_, said) = mpsc::channel(1);
        World { auction, source, events, said, now, id: 0, stream, cursors, left, asked }
    }

    async fn say(&self, message: Message) {
        self.events.send(Event::Said { id: self.id, message, room: Room::default() }).await.unwrap();
    }

    async fn come(&mut self) {
        self.id += 1;
        let (agent, said) = Agent::loose(self.id, "pc1", &CODES);
        self.said = said;
        self.events.send(Event::Came(agent)).await.unwrap();
        self.read().await;
    }

    async fn read(&mut self) {
        while let Ok(chunk) = timeout(Duration::from_millis(1), self.source.read()).await {
            let chunk = chunk.unwrap().unwrap();
            if chunk.is_empty() {
                continue;
            }
            assert!(chunk.refused.is_empty(), "{:?}", chunk.refused);
            self.stream.extend(chunk.records);
            for (name, value) in chunk.cursor {
                self.cursors.fields.insert(name, value.unwrap());
            }
        }
    }

    /// Sends rows for a request; how many they are.
    async fn page(&self, req: u64, code: &str, page: &[NaiveDateTime]) -> u64 {
        let rows = Rows { good: page.iter().map(|&wall| row(wall)).collect(), odd: Vec::new() };
        let sent = u64::try_from(rows.good.len()).unwrap();
        let (src, period, code) = (From::History, Period::M1, code.to_owned());
        self.say(Message::Bars(Bars { seq: 0, period, src, req: Some(req), code, rows })).await;
        sent
    }

    /// The next request that was made.
    fn request(&mut self) -> Option<Reply> {
        std::iter::from_fn(|| self.said.try_recv().ok()).find(|reply| matches!(reply, Reply::Hist { .. }))
    }

    async fn wait(&mut self, time: TimeDelta) {
        *self.now.lock().unwrap() += time;
        self.read().await;
    }

    /// Answers requests until there are none, or until the history is cut off: the request that was.
    async fn answer(&mut self) -> Option<u64> {
        while let Ok(reply) = self.said.try_recv() {
            let Reply::Hist { req, codes, start, .. } = reply else { continue };
            let start = NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S").unwrap();
            self.asked.push((codes.clone(), start));
            let mut sent = 0;
            for code in codes {
                for page in labels(start).chunks(PAGE) {
                    if self.left == 0 {
                        return Some(req);
                    }
                    self.left -= 1;
                    sent += self.page(req, &code, page).await;
                }
            }
            self.say(Message::Done(Done { req, rows: sent })).await;
            self.read().await;
        }
        None
    }

    async fn cut(&mut self, cut: Cut, req: u64) {
        match cut {
            Cut::Gone { at_once } => {
                if !at_once {
                    self.read().await;
                }
                self.events.send(Event::Gone { id: self.id }).await.unwrap();
            }
            Cut::Failed => {
                let msg = "busy".to_owned();
                let failed = sqep_qmt::protocol::Failed { req: Some(req), code: None, msg };
                self.say(Message::Failed(failed)).await;
                self.read().await;
                // It is asked again after a pause, or when the agent comes again.
                self.events.send(Event::Gone { id: self.id }).await.unwrap();
            }
            Cut::Held => {
                self.read().await;
                tokio::time::advance(Duration::from_secs(30)).await;
                self.read().await;
                self.events.send(Event::Gone { id: self.id }).await.unwrap();
            }
            Cut::Killed => {
                self.read().await;
                let (events, happened) = mpsc::channel(100_000);
                self.events = events;
                self.source = LiveSource::new(plan(self.auction, &self.now), happened).unwrap();
                self.source.open(&self.cursors.clone()).await.unwrap();
            }
        }
        self.read().await;
    }
}

fn plan(auction: Auction, now: &Arc<Mutex<NaiveDateTime>>) -> LivePlan {
    let shown = Arc::clone(now);
    LivePlan {
        settings: QmtSettings { auction, ..QmtSettings::default() },
        agent: AgentSettings { history_days: 3, ..AgentSettings::default() },
        alias: AliasChoice::Current,
        kind: Kind::BarMinute(Grid::M1),
        calendar: Arc::new(Calendar::published()),
        once: false,
        clock: Clock::new(move || *shown.lock().unwrap()),
        meters: Meters::default(),
        desk: None,
    }
}

async fn history(auction: Auction, cut: Cut, pages: usize) -> World {
    let mut world = World::new(auction, pages).await;
    world.come().await;
    let req = world.answer().await.unwrap();
    world.cut(cut, req).await;
    world.left = usize::MAX;
    world.asked.clear();
    world.come().await;
    for _ in 0..4 {
        assert_eq!(world.answer().await, None);
        world.read().await;
    }
    world
}

fn assert_whole(world: &World, what: &str, again: impl Fn(&MinuteBar) -> bool) {
    let mut counts: BTreeMap<(Symbol, i64), usize> = BTreeMap::new();
    for bar in world.stream.iter().filter(|bar| !again(bar)) {
        *counts.entry(bar.key()).or_default() += 1;
    }
    let twice = counts.iter().find(|(_, count)| **count != 1);
    assert_eq!(twice, None, "{what}: nothing is doubled");
    let keys: BTreeSet<_> = world.stream.iter().map(Record::key).collect();
    let folds = world.auction == Auction::Fold;
    let wanted = labels(NaiveDateTime::MIN)
        .iter()
        .filter(|wall| !folds || (wall.hour(), wall.minute()) != (9, 30))
        .count();
    assert_eq!(keys.len(), CODES.len() * wanted, "{what}: nothing is lost");
    let marks = world.cursors.fields.values().filter(|value| value.contains("2025-01-06T10:00:00"));
    assert_eq!(marks.count(), CODES.len(), "{what}: {:?}", world.cursors.fields);
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_only_the_rest_of_several_days_is_asked_for() {
    for auction in [Auction::Keep, Auction::Fold] {
        for cut in [Cut::Gone { at_once: true }, Cut::Gone { at_once: false }, Cut::Failed, Cut::Held] {
            for pages in CUTS {
                let world = history(auction, cut, pages).await;
                assert_whole(&world, &format!("{auction:?}, {cut:?} after {pages} pages"), |_| false);
                let rows: usize =
                    world.asked.iter().map(|(codes, start)| codes.len() * labels(*start).len()).sum();
                let all = CODES.len() * labels(NaiveDateTime::MIN).len();
                assert!(
                    rows <= all + 1 - pages.min(6) * PAGE,
                    "{cut:?} after {pages} pages: {rows} rows were asked for"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_its_repetition_doubles_no_day() {
    for auction in [Auction::Keep, Auction::Fold] {
        let mut world = World::new(auction, usize::MAX).await;
        world.come().await;
        let Some(Reply::Hist { req, codes, start, .. }) = world.request() else { panic!("nothing is asked") };
        // Nothing comes for longer than anybody waits: it is asked again, and answered.
        for _ in 0..40 {
            world.wait(TimeDelta::seconds(10)).await;
            assert_eq!(world.answer().await, None);
            world.read().await;
        }
        assert_whole(&world, "asked again", |_| false);
        let start = NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S").unwrap();
        let mut sent = 0;
        for code in codes {
            for page in labels(start).chunks(PAGE) {
                sent += world.page(req, &code, page).await;
            }
        }
        world.say(Message::Done(Done { req, rows: sent })).await;
        world.read().await;
        assert_whole(&world, "the first answer after the second", |_| false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_killed_repeats_no_day_but_the_one_that_goes_on() {
    for auction in [Auction::Keep, Auction::Fold] {
        for pages in CUTS {
            let world = history(auction, Cut::Killed, pages).await;
            let today = |bar: &MinuteBar| bar.frame.date() == at(NOW).date();
            assert_whole(&world, &format!("{auction:?}, killed after {pages} pages"), today);
        }
    }
}
