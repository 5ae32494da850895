//! QMT and the agent beside it, as a seed has it. Knows what a market shows and what an agent says; must not know the source.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::sync::{Arc, Mutex};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::{kind::Grid, shanghai};
use sqep_qmt::{
    listen::{Agent, Event, Room},
    protocol::{Bars, Beat, Done, Failed, From, Message, Period, Reply, Row, Rows},
};
use sqep_testkit::dice::Dice;
use tokio::sync::mpsc;

use crate::common::at;

pub(crate) const CODES: [&str; 4] = ["600000.SH", "000001.SZ", "510300.SH", "000300.SH"];

/// What a bar is after so many of its twenty pushes.
pub(crate) fn row(code: usize, wall: NaiveDateTime, pushes: u32) -> Row {
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

pub(crate) fn labels() -> Vec<NaiveDateTime> {
    let all = (0..24 * 60u32).filter(|&minute| Grid::M1.is_label(minute));
    all.map(|minute| at("2025-01-02T00:00:00") + TimeDelta::minutes(i64::from(minute))).collect()
}

/// QMT and the agent beside it.
pub(crate) struct Pc {
    pub(crate) dice: Dice,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) said: Option<mpsc::Receiver<Reply>>,
    pub(crate) agent: Option<Agent>,
    pub(crate) id: u64,
    pub(crate) now: Arc<Mutex<NaiveDateTime>>,
    pub(crate) seq: u64,
    /// The last acknowledgement that was heard.
    pub(crate) heard: Option<u64>,
    /// One request in so many fails.
    pub(crate) busy: u64,
    /// Requests for history that were heard.
    pub(crate) asked: usize,
}

impl Pc {
    pub(crate) fn new(seed: u64, start: &str) -> (Pc, mpsc::Receiver<Event>) {
        let (events, happened) = mpsc::channel(100_000);
        let (dice, now) = (Dice::new(seed), Arc::new(Mutex::new(at(start))));
        (
            Pc { dice, events, said: None, agent: None, id: 0, now, seq: 0, heard: None, busy: 8, asked: 0 },
            happened,
        )
    }

    /// A heartbeat; with `swept` it says that everything was looked at since the last acknowledgement.
    pub(crate) async fn beat(&mut self, swept: bool) {
        self.seq += 1;
        let swept = self.heard.filter(|_| swept);
        // Nothing of it is believed: it is an hour off.
        self.say(Message::Beat(Beat { seq: self.seq, now: 0, connected: true, swept })).await;
    }

    pub(crate) fn now(&self) -> NaiveDateTime {
        *self.now.lock().unwrap()
    }

    pub(crate) fn set(&self, now: NaiveDateTime) {
        *self.now.lock().unwrap() = now;
    }

    pub(crate) async fn come(&mut self) {
        self.id += 1;
        let (agent, said) = Agent::loose(self.id, "pc1", &CODES);
        (self.said, self.agent, self.heard) = (Some(said), Some(agent.clone()), None);
        self.events.send(Event::Came(agent)).await.unwrap();
    }

    pub(crate) async fn go(&mut self) {
        self.said = None;
        self.events.send(Event::Gone { id: self.id }).await.unwrap();
    }

    pub(crate) async fn say(&self, message: Message) {
        if self.said.is_some() {
            self.events.send(Event::Said { id: self.id, message, room: Room::default() }).await.unwrap();
        }
    }

    pub(crate) async fn push(&self, code: usize, src: From, req: Option<u64>, rows: Vec<Row>) {
        let code = CODES[code].to_owned();
        let rows = Rows { good: rows, odd: Vec::new() };
        self.say(Message::Bars(Bars { seq: 0, period: Period::M1, src, req, code, rows })).await;
    }

    /// Answers what was asked, with what QMT has at this moment: the last bar is still running.
    pub(crate) async fn answer(&mut self) {
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
                self.say(Message::Failed(Failed { req: Some(req), code: None, msg: "busy".to_owned() }))
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
    pub(crate) async fn pushes(&mut self, wall: NaiveDateTime, step: i64, faults: bool, deaf: &[&str]) {
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

    pub(crate) fn kept(&self, code: usize, start: NaiveDateTime) -> Vec<Row> {
        let now = self.now();
        let begun = |wall: &NaiveDateTime| *wall >= start && *wall - TimeDelta::minutes(1) < now;
        let pushes = |wall: NaiveDateTime| {
            if wall <= now { 20 } else { u32::try_from(20 - (wall - now).num_seconds() / 3).unwrap().max(1) }
        };
        labels().into_iter().filter(begun).map(|wall| row(code, wall, pushes(wall))).collect()
    }
}
