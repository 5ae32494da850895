//! What is asked of agents, and in which order: minutes that are missing first, then days. Knows requests and whom they
//! went to; must not know what becomes of the rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDateTime, NaiveTime, TimeDelta};
use sqep::Symbol;

use crate::{
    board::Board,
    config::AgentSettings,
    daily::{Daily, Step, is_over},
    desk::DAYS_BACK,
    gaps::{Gaps, Numbers},
    listen::Agent,
    protocol::{Done, Period},
};

/// Everything that is asked.
#[derive(Debug)]
pub struct Asks {
    /// Bars of the stream's period.
    pub bars: Gaps,
    /// Bars of days.
    pub days: Gaps,
    /// The check at the end of a day.
    pub daily: Daily,
    /// Days before today that are asked for, too.
    days_back: i64,
    numbers: Numbers,
}

/// Securities of which everything that was asked for has come.
#[derive(Debug)]
pub struct Answered {
    /// Bars of the stream's period.
    pub bars: Vec<Symbol>,
    /// Bars of days.
    pub days: Vec<Symbol>,
}

impl Asks {
    /// Nothing is asked yet. `refs`: what is known of the securities is wanted, too.
    pub fn new(period: Period, refs: bool, settings: &AgentSettings) -> Asks {
        let patience =
            TimeDelta::seconds(i64::try_from(settings.request_s_max).unwrap_or(i64::from(u32::MAX)));
        Asks {
            bars: Gaps::new(period, false, settings.request_codes_max, patience),
            days: Gaps::new(Period::Day, refs, settings.request_codes_max, patience),
            daily: Daily::default(),
            days_back: if refs { i64::try_from(DAYS_BACK).unwrap_or(0) } else { 0 },
            numbers: Numbers::default(),
        }
    }

    /// Says the next request to an agent that has none.
    pub fn request(&mut self, agent: &Agent, now: NaiveDateTime) {
        if self.bars.is_busy(agent.id) || self.days.is_busy(agent.id) {
            return;
        }
        let next = self.bars.next(agent.id, now, &mut self.numbers);
        if let Some(request) = next.or_else(|| self.days.next(agent.id, now, &mut self.numbers)) {
            agent.say(request);
        }
    }

    /// Rows came for a request.
    pub fn rows(&mut self, req: u64, symbol: Option<Symbol>, rows: usize, now: NaiveDateTime) {
        self.bars.rows(req, symbol, rows, now);
        self.days.rows(req, symbol, rows, now);
    }

    /// A request failed, or one security of it.
    pub fn failed(&mut self, req: u64, symbol: Option<Symbol>, why: &str, now: NaiveDateTime) {
        self.bars.failed(req, symbol, why, now);
        self.days.failed(req, symbol, why, now);
    }

    /// A request is answered: the securities that are caught up. `open`: whether a bar of the stream could have
    /// ended in a span.
    pub fn done(
        &mut self,
        done: Done,
        now: NaiveDateTime,
        board: &Board,
        open: impl Fn(NaiveDateTime, NaiveDateTime) -> bool,
    ) -> Answered {
        let traded = |symbol| board.shares(symbol, now.date()).is_none_or(|shares| shares > 0.0);
        Answered {
            days: self.days.done(done, now, |symbol, _, _| is_over(now) && traded(symbol)),
            bars: self.bars.done(done, now, |_, start, asked| open(start, asked)),
        }
    }

    /// Whether everything has come, but for what is missing.
    pub fn is_done(&self) -> bool {
        self.bars.is_done() && self.days.is_done()
    }

    /// Securities of which something failed time and again, and what failed last.
    pub fn missing(&self) -> BTreeMap<Symbol, String> {
        let all = self.days.missing().iter().chain(self.bars.missing());
        all.map(|(&symbol, why)| (symbol, why.clone())).collect()
    }

    /// What was not answered in time is asked again.
    pub fn overdue(&mut self, now: NaiveDateTime) {
        self.bars.overdue(now);
        self.days.overdue(now);
    }

    /// An agent is gone.
    pub fn gone(&mut self, agent: u64, now: NaiveDateTime) {
        self.bars.gone(agent, now);
        self.days.gone(agent, now);
    }

    /// Nothing is asked any more.
    pub fn give_up(&mut self) {
        self.bars.give_up();
        self.days.give_up();
        self.daily.give_up();
    }

    /// The check of a day that is over, when everything else has come.
    pub fn check_day(&mut self, symbols: &BTreeSet<Symbol>, board: &Board, now: NaiveDateTime) {
        if !is_over(now) || !self.bars.is_done() || !self.days.is_done() {
            return;
        }
        match self.daily.step(symbols, &self.missing(), board, now) {
            Step::Nothing => {}
            Step::Days => self.plan_days(symbols, now),
            Step::Minutes(symbols, not_before) => {
                for symbol in symbols {
                    self.bars.want(symbol, now.date().and_time(NaiveTime::MIN), not_before);
                }
            }
        }
    }

    /// Wants the bars of today and of the days before it, whose evening may have been missed.
    pub fn plan_days<'a>(&mut self, symbols: impl IntoIterator<Item = &'a Symbol>, now: NaiveDateTime) {
        let from = now.date().and_time(NaiveTime::MIN) - TimeDelta::days(self.days_back);
        self.days.plan(symbols.into_iter().map(|&symbol| (from, symbol)).collect(), now);
    }
}
