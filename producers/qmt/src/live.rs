//! Agents as a source: their lines to final bars, gaps filled from their history. Knows when what is asked of whom; must
//! not know sockets.
//!
//! Start, reconnect and a stored cursor that is not ours are one act: what is forming is forgotten, and history is asked
//! for from the mark of each security. QMT is the buffer. A source that was kept from reading lets its agents go and begins
//! anew: what waited on the way is old, and the last push of a minute may not be among it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use chrono::{NaiveDateTime, NaiveTime, TimeDelta};
use sqep::{Calendar, Chunk, Cursors, Kind, Source, Symbol, meter::Meters, shanghai};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use self::upkeep::traded;
use crate::{
    asks::Asks,
    bar::Bar,
    board::State,
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    desk::Desk,
    gaps::FORM,
    intake::Intake,
    listen::{Agent, Event},
    protocol::{Bars, Done, Period, Reply},
    sweeps::Sweeps,
    units::VolUnit,
};

mod door;
mod health;
mod upkeep;

/// How often the clock is looked at when nothing comes.
const TICK: Duration = Duration::from_millis(200);
/// Lines taken before what is final is handed over.
const LINES_MAX: usize = 2_048;
/// Rows of a chunk at which it is full.
const ROWS_MAX: usize = 8_192;
/// Kept from reading for longer, what waits in queues and sockets is too old to be taken for live.
const APART_MAX: Duration = Duration::from_secs(10);
/// Days that no security is older than: all its day bars.
const LISTED_DAYS_MAX: i64 = 45 * 366;

/// What an agent source works with.
#[derive(Debug)]
pub struct LivePlan {
    /// Section `qmt`.
    pub settings: QmtSettings,
    /// Section `agent`.
    pub agent: AgentSettings,
    /// Which number a renumbered stock goes by.
    pub alias: AliasChoice,
    /// What the stream holds.
    pub kind: Kind,
    /// Sessions.
    pub calendar: Arc<Calendar>,
    /// Whether it ends when every gap is filled.
    pub once: bool,
    /// The wall clock.
    pub clock: Clock,
    /// Where it is told whether less comes than should.
    pub meters: Meters,
    /// Where days go, if they are wanted.
    pub desk: Option<Desk>,
}

/// Agents and what came of their lines.
#[derive(Debug)]
pub struct LiveSource<R> {
    plan: LivePlan,
    events: mpsc::Receiver<Event>,
    intake: Intake<R>,
    asks: Asks,
    desk: Option<Desk>,
    sweeps: Sweeps,
    agents: BTreeMap<u64, Agent>,
    /// States as they are stored.
    stored: HashMap<Symbol, State>,
    caught_up: BTreeSet<Symbol>,
    /// Bars that nothing showed to be final, and for which history was asked.
    unshown: HashMap<Symbol, NaiveDateTime>,
    /// The look at all securities by which bars were closed last.
    closed: NaiveDateTime,
    last_bar: NaiveDateTime,
    rows: u64,
    /// Agents whose QMT does not answer them.
    cut_off: BTreeSet<u64>,
    /// Whether no bar came for too long of a session.
    silent: bool,
    /// Why less comes than should.
    wrong: Option<&'static str>,
    /// Failures that were told.
    troubles: BTreeSet<(String, String)>,
    idle: bool,
    /// Since when there is no agent, if there is none.
    alone: Instant,
    /// When it was last read.
    looked: Option<Instant>,
    came: bool,
    origin: Arc<str>,
}

impl<R: Bar> LiveSource<R> {
    /// A source of what happens at the door.
    pub fn new(mut plan: LivePlan, events: mpsc::Receiver<Event>) -> anyhow::Result<LiveSource<R>> {
        let period = Period::of(plan.kind)
            .with_context(|| format!("stream.kind is {}: QMT has no such bars", plan.kind))?;
        Ok(LiveSource {
            intake: Intake::new(plan.kind, period, &plan.settings, plan.alias),
            asks: Asks::new(period, plan.desk.is_some(), &plan.agent),
            desk: plan.desk.take(),
            sweeps: Sweeps::default(),
            agents: BTreeMap::new(),
            stored: HashMap::new(),
            caught_up: BTreeSet::new(),
            unshown: HashMap::new(),
            closed: NaiveDateTime::default(),
            last_bar: plan.clock.now(),
            rows: 0,
            cut_off: BTreeSet::new(),
            silent: false,
            wrong: None,
            troubles: BTreeSet::new(),
            idle: false,
            alone: Instant::now(),
            looked: None,
            came: false,
            origin: "agent".into(),
            plan,
            events,
        })
    }

    fn bars(&mut self, bars: &Bars, unit: VolUnit, now: NaiveDateTime) {
        let symbol = self.intake.symbol(&bars.code).ok();
        if let Some(req) = bars.req {
            self.asks.rows(req, symbol, bars.rows.len(), now);
        }
        if bars.period == Period::Day && R::MINUTE {
            let Some(symbol) = symbol else { return };
            self.asks.daily.take(bars, symbol, unit);
            let asked = bars.req.and_then(|req| self.asks.days.asked_at(req));
            if let (Some(desk), Some(asked)) = (&mut self.desk, asked) {
                desk.rows(symbol, bars, unit, asked);
            }
            return;
        }
        (self.last_bar, self.silent) = (now, false);
        self.rows += u64::try_from(bars.rows.len()).unwrap_or(0);
        // Rows of which nobody knows when they were asked for may have grown since, all of them.
        let asked = bars.req.and_then(|req| self.asks.bars.asked_at(req)).unwrap_or(NaiveDateTime::MIN);
        self.intake.asked(bars, unit, Some(now), Some(asked));
        if let (Some(symbol), Some(req)) = (symbol, bars.req) {
            self.settle(req, symbol, bars, asked);
        }
    }

    /// Remembers how far a request got. What is only kept to be held against an earlier run is asked for again.
    fn settle(&mut self, req: u64, symbol: Symbol, bars: &Bars, asked: NaiveDateTime) {
        let board = &self.intake.board;
        let walls = bars.rows.good.iter().filter_map(|row| shanghai::wall(row.time));
        let last = walls.filter(|&wall| board.final_at(wall) <= asked).max();
        if let Some(last) = last.filter(|last| board.shares(symbol, last.date()).is_some()) {
            self.asks.bars.settled(req, symbol, last);
        }
    }

    fn done(&mut self, done: Done, now: NaiveDateTime) {
        let calendar = Arc::clone(&self.plan.calendar);
        let open = |from: NaiveDateTime, to: NaiveDateTime| traded(&calendar, from, to);
        let answered = self.asks.done(done, now, &self.intake.board, open);
        for symbol in answered.bars {
            self.intake.caught_up(symbol);
            self.caught_up.insert(symbol);
        }
        for symbol in answered.days {
            if self.desk.as_mut().is_some_and(|desk| desk.settle(symbol, now.date())) {
                self.asks.days.want(symbol, now - TimeDelta::days(LISTED_DAYS_MAX), now);
            }
        }
        let empty = self.asks.bars.empty();
        if empty > 0 {
            warn!("{empty} securities have no bar: suspended, or QMT does not download them");
        }
    }

    /// Lets every agent go; each comes again and is asked from the marks on.
    fn part(&mut self) {
        for agent in std::mem::take(&mut self.agents).into_values() {
            agent.end();
        }
        (self.alone, self.silent) = (Instant::now(), false);
        self.cut_off.clear();
        self.intake.board.forget(&mut self.intake.outcome);
        self.sweeps = Sweeps::default();
        self.asks.give_up();
    }

    /// The securities that are wanted: those of the configuration, else all that agents offer.
    fn symbols(&mut self) -> BTreeSet<Symbol> {
        let named = &self.plan.settings.codes;
        let offered = self.agents.values().flat_map(|agent| &agent.codes).filter(|_| named.is_empty());
        let mut symbols = BTreeSet::new();
        let mut wrong = Vec::new();
        for code in named.iter().chain(offered) {
            match code.parse() {
                Ok(symbol) => drop(symbols.insert(symbol)),
                Err(_) => wrong.push(format!("the code {code:?}")),
            }
        }
        for code in wrong {
            self.intake.tell(&code);
        }
        symbols
    }

    fn subscribe(&mut self, now: NaiveDateTime) {
        let start = now.date().and_time(NaiveTime::MIN).format(FORM).to_string();
        let codes: Vec<String> = self.symbols().iter().map(ToString::to_string).collect();
        for agent in self.agents.values() {
            let (codes, start) = (codes.clone(), start.clone());
            agent.say(Reply::Sub { codes, period: self.intake.period, start });
        }
    }

    /// What is final since the last chunk, with the marks after it. `None`: nothing to store.
    fn chunk(&mut self) -> Option<Chunk<R>> {
        let mut changed = self.intake.touched();
        changed.append(&mut self.caught_up);
        let mut cursor = Vec::new();
        for symbol in changed {
            let State { mark, print, .. } = if self.asks.bars.is_behind(symbol) {
                self.past(symbol)
            } else {
                self.intake.board.state(symbol)
            };
            let state = State { mark, print, ..State::default() };
            if mark.is_some() && self.stored.get(&symbol) != Some(&state) {
                self.stored.insert(symbol, state);
                let text = serde_json::to_string(&state).unwrap_or_default();
                cursor.push((format!("{}/{symbol}", self.intake.period), Some(text)));
            }
        }
        if self.intake.outcome.rows() == 0 && cursor.is_empty() {
            return None;
        }
        let mut chunk = self.intake.chunk(&self.origin);
        cursor.push((format!("rows:{}", self.intake.period), Some(self.rows.to_string())));
        chunk.cursor = cursor;
        Some(chunk)
    }

    /// What is done of a security whose history is still coming: of days before today, all up to the last bar that came.
    fn past(&self, symbol: Symbol) -> State {
        let today = self.plan.clock.now().date().and_time(NaiveTime::MIN);
        let stored = self.stored.get(&symbol).and_then(|state| state.mark);
        let settled = self.intake.board.settled(symbol).map(|mark| mark.min(today - TimeDelta::minutes(1)));
        let mark = settled.filter(|_| settled > stored);
        State { mark, ..State::default() }
    }

    /// Takes what is at hand; `false`: the door is closed for good.
    fn drain(&mut self) -> bool {
        for _ in 0..LINES_MAX {
            if self.intake.outcome.rows() >= ROWS_MAX {
                break;
            }
            match self.events.try_recv() {
                Ok(event) => self.take(event),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        true
    }
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::from(u32::MAX)))
}

impl<R: Bar> Source for LiveSource<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        self.intake = Intake::new(self.plan.kind, self.intake.period, &self.plan.settings, self.plan.alias);
        (self.stored, self.caught_up, self.unshown) = Default::default();
        for (name, value) in &cursors.fields {
            let code = name.strip_prefix(self.intake.period.word()).and_then(|rest| rest.strip_prefix('/'));
            let Some(code) = code else { continue };
            let state: State = serde_json::from_str(value).with_context(|| format!("cursor field {name}"))?;
            let symbol = code.parse()?;
            if let Some(mark) = state.mark {
                self.stored.insert(symbol, state);
                let today = mark.date() == self.plan.clock.now().date();
                self.intake.board.published(symbol, mark, state.print, today);
            }
        }
        info!("{} securities have a mark", self.stored.len());
        self.looked = None;
        self.part();
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        if self.looked.is_some_and(|looked| looked.elapsed() > APART_MAX) {
            warn!("held back for more than {APART_MAX:?}: the agents begin anew");
            self.part();
        }
        loop {
            let open = self.drain();
            self.looked = Some(Instant::now());
            self.tick();
            if let Some(chunk) = self.chunk() {
                self.idle = false;
                return Ok(Some(chunk));
            }
            if !open || (self.plan.once && self.came && self.asks.is_done() && !self.agents.is_empty()) {
                return Ok(None);
            }
            self.patience()?;
            if !self.idle {
                self.idle = true;
                return Ok(Some(Chunk::empty(&self.origin)));
            }
            if let Ok(Some(event)) = timeout(TICK, self.events.recv()).await {
                self.take(event);
            }
        }
    }
}
