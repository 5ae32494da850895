//! What is asked of an agent's history, and whether it came. Knows requests, answers and pauses; must not know
//! connections nor bars. Time is passed in.
//!
//! As long as a security's history is asked for, it is behind: its stored mark stays where it is, so that a crash asks
//! again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::Symbol;
use tracing::warn;

use crate::protocol::{Done, Period, Reply};

/// Pause before a request is made again; doubled each time.
const PAUSE_FIRST_S: i64 = 5;
const PAUSE_S_MAX: i64 = 300;
/// How QMT writes times.
const FORM: &str = "%Y%m%d%H%M%S";

/// Securities whose bars from `start` on are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Want {
    symbols: Vec<Symbol>,
    start: NaiveDateTime,
    tries: u32,
    not_before: NaiveDateTime,
}

/// A request that was made.
#[derive(Debug)]
struct Asked {
    agent: u64,
    want: Want,
    deadline: NaiveDateTime,
    rows: u64,
}

/// Requests to come and under way.
#[derive(Debug)]
pub struct Gaps {
    period: Period,
    codes_max: usize,
    patience: TimeDelta,
    wants: VecDeque<Want>,
    asked: BTreeMap<u64, Asked>,
    behind: BTreeSet<Symbol>,
    number: u64,
}

impl Gaps {
    /// Nothing is wanted yet.
    pub fn new(period: Period, codes_max: usize, patience: TimeDelta) -> Gaps {
        Gaps {
            period,
            codes_max: codes_max.max(1),
            patience,
            wants: VecDeque::new(),
            asked: BTreeMap::new(),
            behind: BTreeSet::new(),
            number: 0,
        }
    }

    /// Wants the bars of each security from its time on, in place of what was wanted before.
    pub fn plan(&mut self, mut starts: Vec<(NaiveDateTime, Symbol)>, now: NaiveDateTime) {
        starts.sort_unstable();
        self.give_up();
        self.behind = starts.iter().map(|&(_, symbol)| symbol).collect();
        for part in starts.chunks(self.codes_max) {
            let Some(&(start, _)) = part.first() else { continue };
            let symbols = part.iter().map(|&(_, symbol)| symbol).collect();
            self.wants.push_back(Want { symbols, start, tries: 0, not_before: now });
        }
    }

    /// Nobody is left to ask. What is behind stays so.
    pub fn give_up(&mut self) {
        self.wants.clear();
        self.asked.clear();
    }

    /// Whether a security's history is still asked for.
    pub fn is_behind(&self, symbol: Symbol) -> bool {
        self.behind.contains(&symbol)
    }

    /// Whether nothing is wanted any more.
    pub fn is_done(&self) -> bool {
        self.wants.is_empty() && self.asked.is_empty()
    }

    /// The next request to an agent; one at a time, since QMT answers one at a time.
    pub fn next(&mut self, agent: u64, now: NaiveDateTime) -> Option<Reply> {
        if self.asked.values().any(|asked| asked.agent == agent) {
            return None;
        }
        let at = self.wants.iter().position(|want| want.not_before <= now)?;
        let want = self.wants.remove(at)?;
        let req = self.number();
        let request = Reply::Hist {
            req,
            codes: want.symbols.iter().map(ToString::to_string).collect(),
            period: self.period,
            start: want.start.format(FORM).to_string(),
            end: now.format(FORM).to_string(),
            download: true,
        };
        self.asked.insert(req, Asked { agent, want, deadline: now + self.patience, rows: 0 });
        Some(request)
    }

    /// A number for a request.
    pub fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Rows came for a request; as long as they do, it is not overdue.
    pub fn rows(&mut self, req: u64, rows: usize, now: NaiveDateTime) {
        if let Some(asked) = self.asked.get_mut(&req) {
            asked.rows += u64::try_from(rows).unwrap_or(0);
            asked.deadline = now + self.patience;
        }
    }

    /// A request is answered: the securities that are caught up. When rows are missing it is made again.
    pub fn done(&mut self, done: Done, now: NaiveDateTime) -> Vec<Symbol> {
        let Some(asked) = self.asked.remove(&done.req) else { return Vec::new() };
        if asked.rows != done.rows {
            warn!("{} rows came of {} that an agent sent: asking again", asked.rows, done.rows);
            self.again(asked.want, now);
            return Vec::new();
        }
        for symbol in &asked.want.symbols {
            self.behind.remove(symbol);
        }
        asked.want.symbols
    }

    /// A request failed.
    pub fn failed(&mut self, req: u64, why: &str, now: NaiveDateTime) {
        let Some(asked) = self.asked.remove(&req) else { return };
        warn!("history did not come: {why}; asking again");
        self.again(asked.want, now);
    }

    /// Requests that were not answered in time are made again.
    pub fn overdue(&mut self, now: NaiveDateTime) {
        let late: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.deadline <= now).map(|(&req, _)| req).collect();
        for req in late {
            self.failed(req, "no answer in time", now);
        }
    }

    fn again(&mut self, want: Want, now: NaiveDateTime) {
        let pause = PAUSE_FIRST_S.saturating_mul(1 << want.tries.min(10)).min(PAUSE_S_MAX);
        let not_before = now + TimeDelta::seconds(pause);
        self.wants.push_back(Want { tries: want.tries + 1, not_before, ..want });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> NaiveDateTime {
        format!("2025-01-02T{time}").parse().unwrap()
    }

    fn symbol(code: u32) -> Symbol {
        Symbol::new(sqep::Exchange::SZ, code).unwrap()
    }

    fn gaps(count: u32) -> Gaps {
        let mut gaps = Gaps::new(Period::M1, 2, TimeDelta::seconds(60));
        gaps.plan((1..=count).map(|code| (at("09:31:00"), symbol(code))).collect(), at("10:00:00"));
        gaps
    }

    fn asked(reply: Option<Reply>) -> (u64, usize) {
        match reply {
            Some(Reply::Hist { req, codes, .. }) => (req, codes.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_go_out_one_by_one_and_securities_catch_up() {
        let mut gaps = gaps(3);
        let now = at("10:00:00");
        let (first, codes) = asked(gaps.next(7, now));
        assert_eq!(codes, 2);
        assert_eq!(gaps.next(7, now), None, "one at a time");
        gaps.rows(first, 5, now);
        assert_eq!(gaps.done(Done { req: first, rows: 5 }, now), [symbol(1), symbol(2)]);
        assert!(!gaps.is_behind(symbol(1)) && gaps.is_behind(symbol(3)));
        let (second, _) = asked(gaps.next(7, now));
        assert_eq!(
            gaps.done(Done { req: second, rows: 0 }, now),
            [symbol(3)],
            "nothing to give is an answer"
        );
        assert!(gaps.is_done());
    }

    #[test]
    fn what_fails_or_comes_short_is_asked_again_after_a_pause() {
        let mut gaps = gaps(1);
        let now = at("10:00:00");
        let (first, _) = asked(gaps.next(7, now));
        gaps.failed(first, "周期错误", now);
        assert_eq!(gaps.next(7, now), None);
        let later = at("10:00:05");
        let (second, _) = asked(gaps.next(7, later));
        gaps.rows(second, 3, later);
        assert_eq!(gaps.done(Done { req: second, rows: 4 }, later), []);
        assert_eq!(gaps.next(7, at("10:00:10")), None, "the pause doubles");
        let (_, _) = asked(gaps.next(7, at("10:00:15")));
        gaps.overdue(at("10:01:14"));
        assert!(gaps.next(8, at("10:05:00")).is_none(), "not overdue yet");
        gaps.overdue(at("10:01:15"));
        assert!(gaps.next(8, at("10:05:00")).is_some());
        assert!(gaps.is_behind(symbol(1)) && !gaps.is_done());
    }
}
