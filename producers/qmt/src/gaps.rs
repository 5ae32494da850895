//! What is asked of an agent's history, and whether it came. Knows requests, answers and pauses; must not know
//! connections nor bars. Time is passed in.
//!
//! As long as a security's history is asked for, it is behind: its stored mark stays where it is, so that a crash asks
//! again. A request under way is never forgotten for a new plan: a download that takes long would be begun anew for ever.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::Symbol;
use tracing::warn;

use crate::protocol::{Done, Period, Reply};

/// Pause before a request is made again; doubled each time.
const PAUSE_FIRST_S: i64 = 5;
const PAUSE_S_MAX: i64 = 300;
/// How often the patience with a request is doubled at most.
const PATIENCE_DOUBLED_MAX: u32 = 4;
/// How often an answer without a row is doubted: it may mean that nothing was downloaded.
const EMPTY_MAX: u32 = 2;
/// Requests whose time is remembered, for answers that come late.
const TIMES_MAX: usize = 256;
/// How QMT writes times.
const FORM: &str = "%Y%m%d%H%M%S";

/// From when on a security's bars are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Want {
    start: NaiveDateTime,
    tries: u32,
    empty: u32,
    not_before: NaiveDateTime,
}

/// A request that was made.
#[derive(Debug)]
struct Asked {
    agent: u64,
    at: NaiveDateTime,
    deadline: NaiveDateTime,
    patience: TimeDelta,
    rows: u64,
    wants: BTreeMap<Symbol, Want>,
    /// Rows of each security, as far as they came.
    counts: BTreeMap<Symbol, u64>,
    failed: BTreeSet<Symbol>,
}

/// From when on, and not before when.
#[derive(Debug, Clone, Copy)]
struct Again {
    start: NaiveDateTime,
    not_before: NaiveDateTime,
}

/// Numbers of requests.
#[derive(Debug, Default)]
pub struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// Requests to come and under way.
#[derive(Debug)]
pub struct Gaps {
    period: Period,
    /// Whether the requests also ask what is known of the securities.
    refs: bool,
    codes_max: usize,
    patience: TimeDelta,
    wants: BTreeMap<Symbol, Want>,
    asked: BTreeMap<u64, Asked>,
    /// Wanted once more when what is under way has come: it was asked too early.
    again: BTreeMap<Symbol, Again>,
    behind: BTreeSet<Symbol>,
    times: BTreeMap<u64, NaiveDateTime>,
    empty: usize,
}

impl Gaps {
    /// Nothing is wanted yet.
    pub fn new(period: Period, refs: bool, codes_max: usize, patience: TimeDelta) -> Gaps {
        Gaps {
            period,
            refs,
            codes_max: codes_max.max(1),
            patience,
            wants: BTreeMap::new(),
            asked: BTreeMap::new(),
            again: BTreeMap::new(),
            behind: BTreeSet::new(),
            times: BTreeMap::new(),
            empty: 0,
        }
    }

    /// Wants the bars of each security from its time on, unless they are under way.
    pub fn plan(&mut self, starts: Vec<(NaiveDateTime, Symbol)>, now: NaiveDateTime) {
        for (start, symbol) in starts {
            let waits = self.wants.get(&symbol).map_or(now, |want| want.not_before);
            if self.under_way(symbol).is_none_or(|asked| asked.start > start) {
                self.want(symbol, start, waits);
            }
        }
    }

    /// Wants the bars of a security from a time on, as they are at another: what is asked for earlier does not know them.
    pub fn want(&mut self, symbol: Symbol, start: NaiveDateTime, not_before: NaiveDateTime) {
        self.behind.insert(symbol);
        if self.under_way(symbol).is_some() {
            let again = self.again.entry(symbol).or_insert(Again { start, not_before });
            again.start = start.min(again.start);
            again.not_before = not_before.max(again.not_before);
            return;
        }
        let want = self.wants.entry(symbol).or_insert(Want { start, tries: 0, empty: 0, not_before });
        want.start = want.start.min(start);
        want.not_before = want.not_before.max(not_before);
    }

    fn under_way(&self, symbol: Symbol) -> Option<Want> {
        self.asked.values().find_map(|asked| asked.wants.get(&symbol).copied())
    }

    /// An agent is gone: what it was asked for is wanted again, at once.
    pub fn gone(&mut self, agent: u64, now: NaiveDateTime) {
        let gone: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.agent == agent).map(|(&req, _)| req).collect();
        self.wants.values_mut().for_each(|want| want.not_before = now);
        for req in gone {
            let Some(asked) = self.asked.remove(&req) else { continue };
            for (symbol, want) in asked.wants {
                self.put(symbol, Want { not_before: now, ..want });
            }
        }
    }

    /// Nothing is wanted any more. What is behind stays so.
    pub fn give_up(&mut self) {
        self.wants.clear();
        self.asked.clear();
        self.again.clear();
    }

    /// Whether a security's history is still asked for.
    pub fn is_behind(&self, symbol: Symbol) -> bool {
        self.behind.contains(&symbol)
    }

    /// Whether nothing is wanted any more.
    pub fn is_done(&self) -> bool {
        self.wants.is_empty() && self.asked.is_empty()
    }

    /// Whether an agent has a request of ours.
    pub fn is_busy(&self, agent: u64) -> bool {
        self.asked.values().any(|asked| asked.agent == agent)
    }

    /// When a request was made.
    pub fn asked_at(&self, req: u64) -> Option<NaiveDateTime> {
        self.times.get(&req).copied()
    }

    /// Securities whose history had no row though it was asked for more than once.
    pub fn empty(&mut self) -> usize {
        std::mem::take(&mut self.empty)
    }

    /// The next request to an agent; one at a time, since QMT answers one at a time.
    pub fn next(&mut self, agent: u64, now: NaiveDateTime, numbers: &mut Numbers) -> Option<Reply> {
        if self.is_busy(agent) {
            return None;
        }
        let mut ready: Vec<(NaiveDateTime, Symbol)> = self
            .wants
            .iter()
            .filter(|(_, want)| want.not_before <= now)
            .map(|(&symbol, want)| (want.start, symbol))
            .collect();
        ready.sort_unstable();
        let &(start, _) = ready.first()?;
        // Who misses a minute does not wait for who misses days.
        ready.retain(|(other, _)| other.date() == start.date());
        ready.truncate(self.codes_max);
        let wants: BTreeMap<Symbol, Want> =
            ready.into_iter().filter_map(|(_, symbol)| Some((symbol, self.wants.remove(&symbol)?))).collect();
        let req = numbers.next();
        let codes = wants.keys().map(ToString::to_string).collect();
        let tries = wants.values().map(|want| want.tries).max().unwrap_or(0).min(PATIENCE_DOUBLED_MAX);
        let patience = self.patience * (1 << tries);
        let (counts, failed) = (BTreeMap::new(), BTreeSet::new());
        let asked =
            Asked { agent, at: now, deadline: now + patience, patience, rows: 0, wants, counts, failed };
        self.asked.insert(req, asked);
        self.times.insert(req, now);
        while self.times.len() > TIMES_MAX {
            self.times.pop_first();
        }
        Some(Reply::Hist {
            req,
            codes,
            period: self.period,
            start: start.format(FORM).to_string(),
            end: now.format(FORM).to_string(),
            download: true,
            refs: self.refs,
        })
    }

    /// Rows came for a request; as long as something does, it is not overdue.
    pub fn rows(&mut self, req: u64, symbol: Option<Symbol>, rows: usize, now: NaiveDateTime) {
        let Some(asked) = self.asked.get_mut(&req) else { return };
        let rows = u64::try_from(rows).unwrap_or(0);
        asked.rows += rows;
        asked.deadline = now + asked.patience;
        if let Some(symbol) = symbol {
            *asked.counts.entry(symbol).or_default() += rows;
        }
    }

    /// A request is answered: the securities that are caught up. What failed, and what should have rows and has none, is
    /// asked for again; `expects` says whether a security should have had some in a span.
    pub fn done(
        &mut self,
        done: Done,
        now: NaiveDateTime,
        expects: impl Fn(Symbol, NaiveDateTime, NaiveDateTime) -> bool,
    ) -> Vec<Symbol> {
        let Some(asked) = self.asked.remove(&done.req) else { return Vec::new() };
        if asked.rows != done.rows {
            warn!("{} rows came of {} that an agent sent: asking again", asked.rows, done.rows);
            self.again(asked.wants, now);
            return Vec::new();
        }
        let mut caught_up = Vec::new();
        for (symbol, mut want) in asked.wants {
            let none = asked.counts.get(&symbol).is_none_or(|&rows| rows == 0);
            let failed = asked.failed.contains(&symbol);
            let doubted = none && expects(symbol, want.start, asked.at);
            if failed || doubted && want.empty < EMPTY_MAX {
                want.empty += u32::from(!failed);
                self.again(BTreeMap::from([(symbol, want)]), now);
                continue;
            }
            self.empty += usize::from(doubted);
            if let Some(Again { start, not_before }) = self.again.remove(&symbol) {
                self.put(symbol, Want { start, tries: 0, empty: 0, not_before });
            } else {
                self.behind.remove(&symbol);
                caught_up.push(symbol);
            }
        }
        caught_up
    }

    /// A request failed, or one security of it.
    pub fn failed(&mut self, req: u64, symbol: Option<Symbol>, why: &str, now: NaiveDateTime) {
        let Some(asked) = self.asked.get_mut(&req) else { return };
        if let Some(symbol) = symbol {
            asked.deadline = now + asked.patience;
            asked.failed.insert(symbol);
        } else if let Some(asked) = self.asked.remove(&req) {
            warn!("history did not come: {why}; asking again");
            self.again(asked.wants, now);
        }
    }

    /// Requests that were not answered in time are made again, with twice the patience.
    pub fn overdue(&mut self, now: NaiveDateTime) {
        let late: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.deadline <= now).map(|(&req, _)| req).collect();
        for req in late {
            self.failed(req, None, "no answer in time", now);
        }
    }

    fn again(&mut self, wants: BTreeMap<Symbol, Want>, now: NaiveDateTime) {
        for (symbol, want) in wants {
            let pause = PAUSE_FIRST_S.saturating_mul(1 << want.tries.min(10)).min(PAUSE_S_MAX);
            let not_before = now + TimeDelta::seconds(pause);
            self.put(symbol, Want { tries: want.tries + 1, not_before, ..want });
        }
    }

    fn put(&mut self, symbol: Symbol, mut want: Want) {
        if let Some(Again { start, not_before }) = self.again.remove(&symbol) {
            want.start = want.start.min(start);
            want.not_before = want.not_before.max(not_before);
        }
        self.wants.insert(symbol, want);
    }
}

#[cfg(test)]
mod tests;
