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

use anyhow::{Context, bail};
use chrono::{NaiveDateTime, NaiveTime, TimeDelta};
use sqep::{Calendar, Chunk, Cursors, Kind, Source, Symbol};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{
    bar::Bar,
    board::State,
    clock::Clock,
    config::{AgentSettings, AliasChoice, QmtSettings},
    daily::Daily,
    gaps::Gaps,
    intake::Intake,
    listen::{Agent, Event},
    protocol::{Message, Period, Reply},
    session::Bye,
};

/// How often the clock is looked at when nothing comes.
const TICK: Duration = Duration::from_millis(200);
/// Lines taken before what is final is handed over.
const LINES_MAX: usize = 2_048;
/// Rows of a chunk at which it is full.
const ROWS_MAX: usize = 8_192;
/// Kept from reading for longer, what waits in queues and sockets is too old to be taken for live.
const APART_MAX: Duration = Duration::from_secs(10);
/// How long a run with `--once` waits for an agent.
const ONCE_PATIENCE: Duration = Duration::from_secs(30);

/// What an agent source works with.
#[derive(Debug, Clone)]
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
}

/// Agents and what came of their lines.
#[derive(Debug)]
pub struct LiveSource<R> {
    plan: LivePlan,
    events: mpsc::Receiver<Event>,
    intake: Intake<R>,
    gaps: Gaps,
    daily: Daily,
    agents: BTreeMap<u64, Agent>,
    /// Marks as they are stored.
    stored: HashMap<Symbol, NaiveDateTime>,
    caught_up: BTreeSet<Symbol>,
    heard: NaiveDateTime,
    last_bar: NaiveDateTime,
    rows: u64,
    /// Whether QMT has its server, as far as the agent can tell.
    connected: bool,
    idle: bool,
    started: Option<Instant>,
    /// When it was last read.
    looked: Option<Instant>,
    came: bool,
    origin: Arc<str>,
}

impl<R: Bar> LiveSource<R> {
    /// A source of what happens at the door.
    pub fn new(plan: LivePlan, events: mpsc::Receiver<Event>) -> anyhow::Result<LiveSource<R>> {
        let period = Period::of(plan.kind)
            .with_context(|| format!("stream.kind is {}: QMT has no such bars", plan.kind))?;
        let patience = seconds(plan.agent.request_s_max);
        Ok(LiveSource {
            intake: Intake::new(plan.kind, period, &plan.settings, plan.alias),
            gaps: Gaps::new(period, plan.agent.request_codes_max, patience),
            daily: Daily::default(),
            agents: BTreeMap::new(),
            stored: HashMap::new(),
            caught_up: BTreeSet::new(),
            heard: NaiveDateTime::default(),
            last_bar: plan.clock.now(),
            rows: 0,
            connected: true,
            idle: false,
            started: None,
            looked: None,
            came: false,
            origin: "agent".into(),
            plan,
            events,
        })
    }

    /// Takes what happened.
    fn take(&mut self, event: Event) {
        let now = self.plan.clock.now();
        self.heard = now;
        match event {
            Event::Came(agent) => self.came(agent, now),
            Event::Gone { id } => {
                let Some(agent) = self.agents.remove(&id) else { return };
                warn!("agent {} is gone", agent.name);
                // Its last pushes may be missing.
                self.intake.board.forget(&mut self.intake.outcome);
                self.ask(now);
            }
            Event::Said { id, message } => self.said(id, message, now),
        }
    }

    fn came(&mut self, agent: Agent, now: NaiveDateTime) {
        self.came = true;
        let id = agent.id;
        self.agents.insert(id, agent);
        if self.symbols().is_empty() {
            warn!("no securities are named: set qmt.codes, or let the agent offer some");
            if let Some(agent) = self.agents.remove(&id) {
                agent.say(Reply::bye(&Bye::Codes.to_string()));
            }
            return;
        }
        self.last_bar = now;
        self.subscribe();
        self.ask(now);
    }

    fn said(&mut self, id: u64, message: Message, now: NaiveDateTime) {
        let Some(agent) = self.agents.get(&id) else { return };
        match message {
            Message::Bars(bars) if bars.period == Period::Day && R::MINUTE => {
                self.daily.compare(&bars, agent.unit, &self.intake.board);
            }
            Message::Bars(bars) => {
                self.last_bar = now;
                if let Some(req) = bars.req {
                    self.gaps.rows(req, bars.rows.len(), now);
                }
                self.rows += u64::try_from(bars.rows.len()).unwrap_or(0);
                self.intake.bars(&bars, agent.unit, Some(now));
            }
            Message::Done(done) => {
                self.caught_up.extend(self.gaps.done(done, now));
                self.day_answered(done.req, now);
            }
            Message::Failed(failed) => {
                warn!("agent {}: {}", agent.name, failed.msg);
                if let Some(req) = failed.req {
                    self.gaps.failed(req, &failed.msg, now);
                    self.day_answered(req, now);
                }
            }
            Message::Beat(beat) => {
                if self.connected && !beat.connected {
                    warn!("agent {}: QMT has lost its server: degraded", agent.name);
                }
                self.connected = beat.connected;
            }
            Message::Unknown(name) => self.intake.tell(&format!("lines of type {name:?}")),
            Message::Hello(_) | Message::Instrument(_) | Message::Divid(_) => {}
        }
    }

    /// Lets every agent go; each comes again and is asked from the marks on.
    fn part(&mut self) {
        for agent in std::mem::take(&mut self.agents).into_values() {
            agent.end();
        }
        self.intake.board.forget(&mut self.intake.outcome);
        self.gaps.give_up();
        self.daily.give_up();
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

    fn subscribe(&mut self) {
        let codes: Vec<String> = self.symbols().iter().map(ToString::to_string).collect();
        for agent in self.agents.values() {
            agent.say(Reply::Sub { codes: codes.clone(), period: self.intake.period });
        }
    }

    /// Wants the history of everything from its mark on.
    fn ask(&mut self, now: NaiveDateTime) {
        self.gaps.give_up();
        self.daily.give_up();
        if self.agents.is_empty() {
            return;
        }
        let first = self.first(now);
        let step = if R::MINUTE { TimeDelta::minutes(1) } else { TimeDelta::days(1) };
        let symbols = self.symbols();
        let start = |symbol| self.stored.get(&symbol).map_or(first, |&mark| mark + step);
        let starts = symbols.into_iter().map(|symbol| (start(symbol), symbol)).collect();
        self.gaps.plan(starts, now);
        self.request(now);
    }

    /// Where history begins for a security of which nothing was published.
    fn first(&self, now: NaiveDateTime) -> NaiveDateTime {
        let days = usize::try_from(self.plan.agent.history_days).unwrap_or(usize::MAX);
        let back = self.plan.agent.history_days.saturating_mul(3).saturating_add(20);
        let from = now.date().checked_sub_days(chrono::Days::new(back)).unwrap_or(self.plan.calendar.first());
        let sessions: Vec<_> =
            self.plan.calendar.sessions(from, now.date()).filter(|&day| day < now.date()).collect();
        let day = match days {
            0 => now.date(),
            days => sessions.get(sessions.len().saturating_sub(days)).copied().unwrap_or(now.date()),
        };
        day.and_time(NaiveTime::MIN)
    }

    fn request(&mut self, now: NaiveDateTime) {
        for agent in self.agents.values() {
            if let Some(request) = self.gaps.next(agent.id, now) {
                agent.say(request);
            }
        }
    }

    /// What time alone brings.
    fn tick(&mut self) {
        let now = self.plan.clock.now();
        self.intake.due(now, self.heard);
        self.gaps.overdue(now);
        self.request(now);
        self.compare_day(now);
        let stale = seconds(self.plan.agent.stale_s_max);
        if !self.agents.is_empty() && self.in_session(now, stale) && now - self.last_bar > stale {
            warn!(
                "no bar for {} s of a session: degraded; subscribing again",
                (now - self.last_bar).num_seconds()
            );
            self.last_bar = now;
            self.subscribe();
            self.ask(now);
        }
    }

    /// Asks for the day's bars when the day is over and nothing else is wanted.
    fn compare_day(&mut self, now: NaiveDateTime) {
        let session = R::MINUTE && self.plan.calendar.is_session(now.date());
        if !session || !self.daily.is_due(now) || !self.gaps.is_done() || self.agents.is_empty() {
            return;
        }
        let (symbols, codes_max) = (self.symbols(), self.plan.agent.request_codes_max);
        let requests = self.daily.ask(&symbols, codes_max, now, || self.gaps.number());
        if let Some(agent) = self.agents.values().next() {
            for request in requests {
                agent.say(request);
            }
        }
    }

    /// Wants the minutes of securities whose day does not add up.
    fn day_answered(&mut self, req: u64, now: NaiveDateTime) {
        if let Some(differ) = self.daily.done(req) {
            let day = now.date().and_time(NaiveTime::MIN);
            self.gaps.plan(differ.into_iter().map(|symbol| (day, symbol)).collect(), now);
        }
    }

    /// Whether bars should have come for so long.
    fn in_session(&self, now: NaiveDateTime, since: TimeDelta) -> bool {
        let minute = |hour: i64, minute: i64| {
            now.date().and_time(NaiveTime::MIN) + TimeDelta::minutes(hour * 60 + minute)
        };
        let spans = [(minute(9, 30), minute(11, 30)), (minute(13, 0), minute(14, 57))];
        self.plan.calendar.is_session(now.date())
            && spans.iter().any(|&(from, to)| now - since > from && now < to)
    }

    /// What is final since the last chunk, with the marks after it. `None`: nothing to store.
    fn chunk(&mut self) -> Option<Chunk<R>> {
        let mut changed = self.intake.touched();
        changed.append(&mut self.caught_up);
        let mut cursor = Vec::new();
        for symbol in changed {
            let mark = self.intake.board.mark(symbol).filter(|_| !self.gaps.is_behind(symbol));
            if let Some(mark) = mark.filter(|mark| self.stored.get(&symbol) != Some(mark)) {
                self.stored.insert(symbol, mark);
                let state = State { mark: Some(mark), ..State::default() };
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
        self.stored.clear();
        for (name, value) in &cursors.fields {
            let code = name.strip_prefix(self.intake.period.word()).and_then(|rest| rest.strip_prefix('/'));
            let Some(code) = code else { continue };
            let state: State = serde_json::from_str(value).with_context(|| format!("cursor field {name}"))?;
            let symbol = code.parse()?;
            if let Some(mark) = state.mark {
                self.stored.insert(symbol, mark);
                self.intake.board.published(symbol, mark);
            }
        }
        info!("{} securities have a mark", self.stored.len());
        self.started.get_or_insert_with(Instant::now);
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
            if !open || (self.plan.once && self.came && self.gaps.is_done() && !self.agents.is_empty()) {
                return Ok(None);
            }
            let waited = self.started.map_or(Duration::ZERO, |started| started.elapsed());
            if self.plan.once && !self.came && waited > ONCE_PATIENCE {
                bail!("no agent came within {ONCE_PATIENCE:?}: start it, or leave out --once");
            }
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
