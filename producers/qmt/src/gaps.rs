//! What is asked of an agent's history, and whether it came. Knows requests, answers and pauses; must not know
//! connections nor bars. Time is passed in.
//!
//! As long as a security's history is asked for, it is behind: its stored mark stays where it is, so that a crash asks
//! again. A request under way is never forgotten for a new plan: a download that takes long would be begun anew for ever.
//! What fails time and again is missing: it is asked for now and then, apart from the others, and nobody waits for it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::Symbol;
use tracing::warn;

use self::want::{BRIEF_S, TRIES_MAX, Want};
use crate::protocol::{Done, Period, Reply};

mod want;

/// Missing securities that are told by name.
const TOLD_MAX: usize = 10;
/// How often the patience with a request is doubled at most.
const PATIENCE_DOUBLED_MAX: u32 = 4;
/// How often a request is halved at most.
const LOST_MAX: u32 = 16;
/// How often an answer without a row is doubted: it may mean that nothing was downloaded.
const EMPTY_MAX: u32 = 2;
/// Requests whose time is remembered, for answers that come late.
const TIMES_MAX: usize = 256;
/// How QMT writes times.
pub(crate) const FORM: &str = "%Y%m%d%H%M%S";

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
    /// Up to which label they are settled.
    settled: BTreeMap<Symbol, NaiveDateTime>,
    failed: BTreeMap<Symbol, String>,
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
    /// What failed last of securities that are missing.
    missing: BTreeMap<Symbol, String>,
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
            missing: BTreeMap::new(),
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
        let want = self.wants.entry(symbol).or_insert(Want::new(start, not_before));
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
        self.wants.values_mut().filter(|want| !want.is_missing()).for_each(|want| want.not_before = now);
        for req in gone {
            let Some(asked) = self.asked.remove(&req) else { continue };
            let brief = now - asked.at < TimeDelta::seconds(BRIEF_S);
            for (symbol, want) in self.rest(asked) {
                self.put(symbol, want.gone(brief, now), "the agent was gone each time");
            }
        }
    }

    /// Nothing is wanted any more. What is behind stays so.
    pub fn give_up(&mut self) {
        self.wants.clear();
        self.asked.clear();
        self.again.clear();
        self.missing.clear();
    }

    /// Whether a security's history is still asked for.
    pub fn is_behind(&self, symbol: Symbol) -> bool {
        self.behind.contains(&symbol)
    }

    /// Whether nothing is wanted any more but what is missing.
    pub fn is_done(&self) -> bool {
        let asked = self.asked.values().flat_map(|asked| asked.wants.values());
        self.wants.values().chain(asked).all(Want::is_missing)
    }

    /// Securities whose history failed time and again, and what failed last.
    pub fn missing(&self) -> &BTreeMap<Symbol, String> {
        &self.missing
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
        let mut ready: Vec<(bool, NaiveDateTime, u32, Symbol)> = self
            .wants
            .iter()
            .filter(|(_, want)| want.not_before <= now)
            .map(|(&symbol, want)| (want.is_missing(), want.start, want.lost, symbol))
            .collect();
        ready.sort_unstable();
        let &(missing, start, lost, _) = ready.first()?;
        // Who misses a minute does not wait for who misses days, nor anybody for what fails each time. What is repeated of
        // today is known to be a repetition; of a day before, nobody remembers it.
        let alike = |other: &(bool, NaiveDateTime, u32, Symbol)| {
            let today = start.date() == now.date() && other.1.date() == start.date();
            other.0 == missing && other.2 == lost && (today || other.1 == start)
        };
        ready.retain(alike);
        ready.truncate((self.codes_max >> lost.min(LOST_MAX)).max(1));
        let wants: BTreeMap<Symbol, Want> = ready
            .into_iter()
            .filter_map(|(.., symbol)| Some((symbol, self.wants.remove(&symbol)?)))
            .collect();
        let req = numbers.next();
        let codes = wants.keys().map(ToString::to_string).collect();
        let tries = wants.values().map(|want| want.tries).max().unwrap_or(0).min(PATIENCE_DOUBLED_MAX);
        let patience = self.patience * (1 << tries);
        let asked = Asked {
            agent,
            at: now,
            deadline: now + patience,
            patience,
            rows: 0,
            wants,
            counts: BTreeMap::new(),
            settled: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
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

    /// Rows of a security came for a request, the last of them settled at this label. If the rest is cut off, only the rest is
    /// asked for again.
    pub fn settled(&mut self, req: u64, symbol: Symbol, last: NaiveDateTime) {
        if let Some(asked) = self.asked.get_mut(&req) {
            asked.settled.insert(symbol, last);
        }
    }

    /// What is still wanted of a request that was cut off.
    fn rest(&self, asked: Asked) -> BTreeMap<Symbol, Want> {
        let step = if self.period == Period::Day { TimeDelta::days(1) } else { TimeDelta::minutes(1) };
        let Asked { mut wants, settled, .. } = asked;
        for (symbol, last) in settled {
            if let Some(want) = wants.get_mut(&symbol).filter(|want| want.start <= last) {
                *want = Want { tries: 0, lost: 0, start: last + step, ..*want };
            }
        }
        wants
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
            self.again(asked.wants, "not all rows came", now);
            return Vec::new();
        }
        let mut caught_up = Vec::new();
        for (symbol, mut want) in asked.wants {
            let none = asked.counts.get(&symbol).is_none_or(|&rows| rows == 0);
            let failed = asked.failed.get(&symbol);
            let doubted = none && expects(symbol, want.start, asked.at);
            if failed.is_some() || doubted && want.empty < EMPTY_MAX {
                want.empty += u32::from(failed.is_none());
                self.put(symbol, want.failed(false, now), failed.map_or("no row came", String::as_str));
                continue;
            }
            self.empty += usize::from(doubted);
            self.missing.remove(&symbol);
            if let Some(Again { start, not_before }) = self.again.remove(&symbol) {
                self.put(symbol, Want::new(start, not_before), "");
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
            asked.failed.insert(symbol, why.to_owned());
        } else if let Some(asked) = self.asked.remove(&req) {
            warn!("history did not come: {why}; asking again");
            self.again(self.rest(asked), why, now);
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

    /// A whole request is lost.
    fn again(&mut self, wants: BTreeMap<Symbol, Want>, why: &str, now: NaiveDateTime) {
        for (symbol, want) in wants {
            self.put(symbol, want.failed(true, now), why);
        }
    }

    fn put(&mut self, symbol: Symbol, mut want: Want, why: &str) {
        if want.is_missing() && self.missing.insert(symbol, why.to_owned()).is_none() {
            match self.missing.len() {
                ..=TOLD_MAX => {
                    warn!("the history of {symbol} has failed {TRIES_MAX} times, {why}: it is missing");
                }
                count if count.is_power_of_two() => {
                    warn!("the history of {count} securities is missing: {why}");
                }
                _ => {}
            }
        }
        if let Some(Again { start, not_before }) = self.again.remove(&symbol) {
            want.start = want.start.min(start);
            want.not_before = want.not_before.max(not_before);
        }
        self.wants.insert(symbol, want);
    }
}

#[cfg(test)]
mod tests;
