//! Agents as they come, speak and go. Knows what each kind of message is for; must not know chunks nor what time alone
//! brings.

use chrono::NaiveDateTime;
use sqep::Symbol;
use tokio::time::Instant;
use tracing::{info, warn};

use super::LiveSource;
use crate::{
    bar::Bar,
    listen::{Agent, Event},
    protocol::{Beat, Codes, Failed, Message, Reply},
    session::Bye,
};

/// Failures that are remembered, so that each is told once.
const TROUBLES_MAX: usize = 1_000;

impl<R: Bar> LiveSource<R> {
    /// Takes what happened.
    pub(super) fn take(&mut self, event: Event) {
        let now = self.plan.clock.now();
        match event {
            Event::Came(agent) => self.came(agent, now),
            Event::Gone { id } => self.gone(id, now),
            Event::Said { id, message, .. } => self.said(id, message, now),
        }
    }

    fn came(&mut self, agent: Agent, now: NaiveDateTime) {
        let id = agent.id;
        self.agents.insert(id, agent);
        if self.symbols().is_empty() {
            warn!("no securities are named: set qmt.codes, or let the agent offer some");
            if let Some(agent) = self.agents.remove(&id) {
                agent.say(Reply::bye(&Bye::Codes.to_string()));
            }
            return;
        }
        (self.came, self.last_bar) = (true, now);
        self.subscribe(now);
        self.ask(now);
    }

    fn gone(&mut self, id: u64, now: NaiveDateTime) {
        let Some(agent) = self.agents.remove(&id) else { return };
        warn!("agent {} is gone", agent.name);
        self.alone = Instant::now();
        self.cut_off.remove(&id);
        // Its last pushes may be missing.
        self.intake.board.forget(&mut self.intake.outcome);
        self.sweeps.gone(id);
        self.asks.gone(id, now);
        self.ask(now);
    }

    fn said(&mut self, id: u64, message: Message, now: NaiveDateTime) {
        let Some(agent) = self.agents.get(&id) else { return };
        match message {
            Message::Bars(bars) => {
                let unit = agent.unit;
                self.bars(&bars, unit, now);
            }
            Message::Done(done) => self.done(done, now),
            Message::Failed(failed) => self.failed(id, &failed, now),
            Message::Beat(beat) => self.beat(id, beat, now),
            Message::Codes(codes) => self.codes(id, codes, now),
            Message::Odd { why, raw } => self.intake.unread(0, raw.as_bytes(), &why),
            Message::Unknown(name) => self.intake.tell(&format!("lines of type {name:?}")),
            Message::Instrument(told) => {
                if let (Some(desk), Ok(symbol)) = (&mut self.desk, self.intake.symbol(&told.code)) {
                    desk.instrument(symbol, &told);
                }
            }
            Message::Divid(told) => {
                if let (Some(desk), Ok(symbol)) = (&mut self.desk, self.intake.symbol(&told.code)) {
                    desk.divid(symbol, &told);
                }
            }
            Message::Hello(_) => {}
        }
    }

    fn beat(&mut self, id: u64, beat: Beat, now: NaiveDateTime) {
        if beat.connected {
            self.cut_off.remove(&id);
        } else {
            self.cut_off.insert(id);
        }
        self.sweeps.acked(id, beat.seq, now);
        if let Some(agent) = self.agents.get(&id) {
            agent.say(Reply::Ack { seq: beat.seq });
        }
        if let Some(ack) = beat.swept {
            self.sweeps.swept(id, ack, now);
        }
    }

    fn failed(&mut self, id: u64, failed: &Failed, now: NaiveDateTime) {
        let code = failed.code.as_deref().unwrap_or_default();
        if self.troubles.len() >= TROUBLES_MAX {
            self.troubles.clear();
        }
        if self.troubles.insert((code.to_owned(), failed.msg.clone())) {
            let name = self.agents.get(&id).map(|agent| agent.name.clone()).unwrap_or_default();
            warn!("agent {name}: {code} {}", failed.msg);
        }
        let symbol = failed.code.as_deref().map(|code| self.intake.symbol(code));
        match (failed.req, symbol) {
            (None, None) | (_, Some(Err(_))) => {}
            (None, Some(Ok(symbol))) => self.unseen(symbol, now),
            (Some(req), symbol) => self.asks.failed(req, symbol.and_then(Result::ok), &failed.msg, now),
        }
    }

    /// A look went on without a security: what is known of its running bar is old, and minutes may be missing.
    fn unseen(&mut self, symbol: Symbol, now: NaiveDateTime) {
        self.intake.board.forget_one(symbol, &mut self.intake.outcome);
        let start = self.start(symbol, now);
        self.asks.bars.want(symbol, start, now);
    }

    /// An agent can give other securities than before: those that are new are asked for, too.
    fn codes(&mut self, id: u64, told: Codes, now: NaiveDateTime) {
        let before = self.symbols();
        let Some(agent) = self.agents.get_mut(&id).filter(|_| !told.codes.is_empty()) else { return };
        agent.codes = told.codes;
        let after = self.symbols();
        if after != before {
            info!("{} securities are offered, {} before", after.len(), before.len());
            self.subscribe(now);
            self.ask(now);
        }
    }
}
