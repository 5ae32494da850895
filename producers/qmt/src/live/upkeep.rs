//! What a live source does by itself as time goes: what is missing is asked for, what is over is closed, what is silent is
//! noticed. Knows the clock and the calendar; must not know lines nor chunks.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use sqep::{Calendar, Symbol};
use tracing::warn;

use super::{LiveSource, seconds};
use crate::{bar::Bar, daily::is_over};

impl<R: Bar> LiveSource<R> {
    /// Wants the history of everything from its mark on; of a day that an earlier run began, from its first minute on,
    /// so that what it published can be held against it.
    pub(super) fn ask(&mut self, now: NaiveDateTime) {
        if self.agents.is_empty() {
            return;
        }
        let starts = self.symbols().into_iter().map(|symbol| (self.start(symbol, now), symbol)).collect();
        self.asks.bars.plan(starts, now);
        self.request(now);
    }

    /// From when on the history of a security is wanted.
    pub(super) fn start(&self, symbol: Symbol, now: NaiveDateTime) -> NaiveDateTime {
        let step = if R::MINUTE { TimeDelta::minutes(1) } else { TimeDelta::days(1) };
        let board = &self.intake.board;
        match self.stored.get(&symbol).and_then(|state| state.mark) {
            Some(mark) if mark.date() == now.date() && board.shares(symbol, mark.date()).is_none() => {
                mark.date().and_time(NaiveTime::MIN)
            }
            mark => mark.max(board.settled(symbol)).map_or_else(|| self.first(now), |mark| mark + step),
        }
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
            self.asks.request(agent, now);
        }
    }

    /// What time alone brings.
    pub(super) fn tick(&mut self) {
        let now = self.plan.clock.now();
        // The rows of that look came before the heartbeat that told of it.
        if self.sweeps.at() > self.closed {
            self.closed = self.sweeps.at();
            self.intake.due(self.closed);
        }
        self.doubt(now);
        self.asks.overdue(now);
        self.request(now);
        self.days(now);
        let stale = seconds(self.plan.agent.stale_s_max);
        if !self.agents.is_empty() && self.in_session(now, stale) && now - self.last_bar > stale {
            warn!("no bar for {} s of a session: subscribing again", (now - self.last_bar).num_seconds());
            (self.last_bar, self.silent) = (now, true);
            self.subscribe(now);
            self.ask(now);
        }
        self.judge(now);
    }

    /// What is known of a day before its first bar, and its check and its bar when it is over.
    fn days(&mut self, now: NaiveDateTime) {
        let waits = self.desk.is_none() && !is_over(now);
        if waits || !R::MINUTE || self.agents.is_empty() || !self.plan.calendar.is_session(now.date()) {
            return;
        }
        let symbols = self.symbols();
        self.asks.check_day(&symbols, &self.intake.board, now);
        if let Some(desk) = self.desk.as_mut().filter(|_| self.asks.days.is_done()) {
            let missing = desk.missing(&symbols, now);
            self.asks.plan_days(&missing, now);
        }
    }

    /// Asks history about bars that grew after they went out, and about those that nothing shows to be final.
    fn doubt(&mut self, now: NaiveDateTime) {
        for (symbol, (from, until)) in self.intake.doubts() {
            self.asks.bars.want(symbol, from, now.max(until));
        }
        if self.agents.is_empty() {
            return;
        }
        // Who waits for its turn in a long look is not asked about: the look after its end comes within two.
        let patience = seconds(self.plan.agent.stale_s_max).max(self.sweeps.took() * 2);
        for (symbol, wall) in self.intake.board.over(now - patience) {
            if self.asks.bars.is_behind(symbol) {
                continue;
            }
            if self.unshown.insert(symbol, wall) == Some(wall) {
                // History has nothing better.
                self.intake.close(symbol);
            } else {
                self.asks.bars.want(symbol, wall, now);
            }
        }
    }

    /// Whether bars should have come for so long.
    pub(super) fn in_session(&self, now: NaiveDateTime, since: TimeDelta) -> bool {
        let minute = |hour: i64, minute: i64| {
            now.date().and_time(NaiveTime::MIN) + TimeDelta::minutes(hour * 60 + minute)
        };
        let spans = [(minute(9, 30), minute(11, 30)), (minute(13, 0), minute(14, 57))];
        self.plan.calendar.is_session(now.date())
            && spans.iter().any(|&(from, to)| now - since > from && now < to)
    }
}

/// Whether a minute of a session lies in a span.
pub(super) fn traded(calendar: &Calendar, from: NaiveDateTime, to: NaiveDateTime) -> bool {
    let at = |day: NaiveDate, minute: i64| day.and_time(NaiveTime::MIN) + TimeDelta::minutes(minute);
    from <= to
        && calendar.sessions(from.date(), to.date()).any(|day| {
            let spans =
                [(at(day, 9 * 60 + 30), at(day, 11 * 60 + 30)), (at(day, 13 * 60 + 1), at(day, 15 * 60))];
            spans.iter().any(|&(first, last)| from <= last && to >= first)
        })
}
