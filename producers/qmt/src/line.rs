//! One security's bars: the one that forms, those that went out, and what an earlier run published. Knows rows in the
//! order in which they came; must not know other securities nor the clock.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use serde::{Deserialize, Serialize};
use sqep::{Reason, Symbol, symbol::Class};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    bar::Raw,
    day::{Folded, fold, is_auction},
    outcome::Outcome,
    protocol::Row,
    rules::Rules,
    units::{Judge, VolUnit},
};

/// Volumes that differ by less are the same.
const SHARE_PART: f64 = 0.5;

/// The state of a security that outlives a process, where the source asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Label of the last final bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<NaiveDateTime>,
    /// What the bars of the mark's day add up to that went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<u64>,
    /// The bar that is not final yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forming: Option<(Row, VolUnit)>,
    /// The opening auction of the mark's day, where it is folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auction: Option<(Row, VolUnit)>,
    /// The first minute of that day, where the auction is folded into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<(Row, VolUnit)>,
}

/// A row of one bar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forming {
    pub(crate) row: Row,
    pub(crate) unit: VolUnit,
    pub(crate) raw: Raw,
    /// Whether it was pushed or polled. What history says of a running bar may have grown since without a word.
    pub(crate) heard: bool,
}

/// What an earlier run published up to its mark.
#[derive(Debug)]
struct Floor {
    mark: NaiveDateTime,
    print: Option<u64>,
    /// Whether its day goes on, so that history is asked for all of it.
    today: bool,
    /// Rows of the mark's day, up to it, as history has them.
    kept: BTreeMap<u16, Forming>,
}

/// The auction and the first minute of a day, which become one bar.
#[derive(Debug, Default)]
struct Opening {
    day: NaiveDate,
    auction: Option<Forming>,
    first: Option<Forming>,
    /// What went out of them.
    out: Option<u64>,
}

/// One security.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) mark: Option<NaiveDateTime>,
    pub(crate) forming: Option<Forming>,
    /// The last day that had a bar, and the bars of it that went out: minute of the day, hash, shares.
    day: NaiveDate,
    sent: BTreeMap<u16, (u64, f64)>,
    /// Tells days apart of which other bars went out, whatever their order.
    print: u64,
    judge: Judge,
    opening: Opening,
    floor: Option<Floor>,
    /// Label of the last bar that history settled, of those after what was published by an earlier run.
    pub(crate) settled: Option<NaiveDateTime>,
    /// A row of a bar that is out and knew more than it, as far as that was told.
    doubt: Option<(NaiveDateTime, f64)>,
    /// The last row that was refused.
    refused: Option<(i64, Reason)>,
}

impl Line {
    pub(crate) fn restore(&mut self, state: &State, bar: impl Fn(Option<(Row, VolUnit)>) -> Option<Forming>) {
        (self.mark, self.forming) = (state.mark, bar(state.forming));
        let day = state.mark.map(|mark| mark.date()).unwrap_or_default();
        let (auction, first) = (bar(state.auction), bar(state.first));
        let day = auction.or(first).map_or(day, |bar| bar.raw.wall.date());
        let given = first.is_some() || state.mark.is_some_and(|mark| mark.date() == day && !is_auction(mark));
        self.opening = Opening { day, auction, first, out: None };
        self.opening.out = self.opening.bar().filter(|_| given).map(|raw| hash_of(&raw));
    }

    pub(crate) fn published(&mut self, mark: NaiveDateTime, print: Option<u64>, today: bool) {
        self.mark = Some(mark);
        self.floor = Some(Floor { mark, print, today, kept: BTreeMap::new() });
    }

    pub(crate) fn state(&self) -> State {
        let kept = |bar: Option<Forming>| bar.map(|bar| (bar.row, bar.unit));
        let Opening { auction, first, .. } = &self.opening;
        let print = match &self.floor {
            Some(floor) => floor.print,
            None => self.mark.filter(|mark| mark.date() == self.day).map(|_| self.print),
        };
        State {
            mark: self.mark,
            print,
            forming: kept(self.forming),
            auction: kept(*auction),
            first: kept(*first),
        }
    }

    /// Remembers a bar that goes out, and says which hash it had before.
    fn send(&mut self, minute: u16, hash: u64, shares: f64) -> Option<u64> {
        let before = self.sent.insert(minute, (hash, shares)).map(|(before, _)| before);
        self.print ^= marked(minute, hash) ^ before.map_or(0, |before| marked(minute, before));
        before
    }

    /// Shares of the bars of a day that went out; `None`: what an earlier run published is not known yet.
    pub(crate) fn shares(&self, day: NaiveDate) -> Option<f64> {
        if self.floor.as_ref().is_some_and(|floor| floor.mark.date() >= day) {
            return None;
        }
        let sent = self.sent.values().map(|(_, shares)| shares);
        Some(if self.day == day { sent.sum() } else { 0.0 })
    }

    /// Whether a row of this time was refused for this before.
    pub(crate) fn was_refused(&mut self, time: i64, reason: Reason) -> bool {
        self.refused.replace((time, reason)) == Some((time, reason))
    }

    /// A row of which more may come.
    pub(crate) fn live(&mut self, symbol: Symbol, new: Forming, rules: &Rules, out: &mut Outcome) {
        let wall = new.raw.wall;
        if self.mark.is_some_and(|mark| wall <= mark) {
            return self.late(symbol, new.raw, out);
        }
        let Some(old) = self.forming else { return self.forming = Some(new) };
        if wall == old.raw.wall && new.raw.vol >= old.raw.vol {
            self.forming = Some(new);
            out.skip(Reason::Superseded);
        } else if wall == old.raw.wall {
            // A push that was overtaken by a later one.
            out.skip(Reason::Late);
        } else if wall < old.raw.wall {
            self.late(symbol, new.raw, out);
        } else {
            self.forming = Some(new);
            if old.heard {
                return self.finish(symbol, old, rules, out);
            }
            out.skip(Reason::Superseded);
            out.doubt(symbol, old.raw.wall);
        }
    }

    /// A row that goes back in time. If it knows more than what went out, history must say what is right.
    fn late(&mut self, symbol: Symbol, raw: Raw, out: &mut Outcome) {
        let floor = self.floor.as_ref().is_some_and(|floor| raw.wall <= floor.mark);
        let sent = self.sent.get(&minute_of(raw.wall)).filter(|_| raw.wall.date() == self.day);
        if sent.is_some_and(|(hash, _)| *hash == hash_of(&raw)) {
            return out.skip(Reason::Duplicate);
        }
        out.skip(Reason::Late);
        let more = sent.is_none_or(|(_, shares)| raw.vol > shares + SHARE_PART);
        let told = self.doubt.is_some_and(|(wall, vol)| wall == raw.wall && raw.vol <= vol);
        if more && !told && !floor && raw.wall.date() >= self.day {
            self.doubt = Some((raw.wall, raw.vol));
            out.doubt(symbol, raw.wall);
        }
    }

    /// A row of history of a bar that was over when it was asked for.
    pub(crate) fn settled(&mut self, symbol: Symbol, bar: Forming, rules: &Rules, out: &mut Outcome) {
        if self.forming.is_some_and(|forming| forming.raw.wall == bar.raw.wall) {
            self.forming = None;
            out.skip(Reason::Superseded);
        }
        let wall = bar.raw.wall;
        let published = self.floor.as_ref().is_some_and(|floor| wall <= floor.mark);
        // Of a day before, nobody remembers what went out but up to where: the answer to a request that was made again.
        if !published && wall.date() < self.day && self.settled >= Some(wall) {
            return out.skip(Reason::Duplicate);
        }
        if !published && !rules.waits(wall) {
            self.settled = self.settled.max(Some(wall));
        }
        self.finish(symbol, bar, rules, out);
    }

    /// A final bar: compared with what went out, judged, and out.
    pub(crate) fn finish(&mut self, symbol: Symbol, bar: Forming, rules: &Rules, out: &mut Outcome) {
        let (raw, day) = (bar.raw, bar.raw.wall.date());
        if let Some(floor) = self.floor.as_mut().filter(|floor| raw.wall <= floor.mark) {
            let held = floor.today && day == floor.mark.date();
            if !held || floor.kept.insert(minute_of(raw.wall), bar).is_some() {
                out.skip(Reason::Duplicate);
            }
            return;
        }
        self.enter(day);
        // An auction that waits is asked for again after a restart.
        if !rules.waits(raw.wall) {
            self.mark = self.mark.max(Some(raw.wall));
        }
        let hash = hash_of(&raw);
        if day == self.day {
            match self.send(minute_of(raw.wall), hash, raw.vol) {
                Some(before) if before == hash => return out.skip(Reason::Duplicate),
                Some(_) => out.corrected += 1,
                None => {}
            }
        }
        if let Some(finding) = self.judge.see(symbol.class(), raw.turnover(), bar.unit) {
            return out.refuse(symbol, &bar.row, vec![finding]);
        }
        if rules.folds() { self.fold(bar, out) } else { out.bars.push(raw) }
    }

    fn enter(&mut self, day: NaiveDate) {
        if day > self.day {
            self.day = day;
            self.sent.clear();
            self.print = 0;
            self.judge = Judge::default();
        }
    }

    /// One bar of the auction and the first minute, again whenever one of them changes; the auction alone becomes it when
    /// a later bar shows that there was no first minute. Every row is accounted for once: as a bar, or as superseded.
    fn fold(&mut self, bar: Forming, out: &mut Outcome) {
        let wall = bar.raw.wall;
        if wall.date() != self.opening.day || !is_opening(wall) {
            if self.opening.waits() {
                self.opening.give(out);
            }
            if !is_opening(wall) {
                return out.bars.push(bar.raw);
            }
            self.opening = Opening { day: wall.date(), ..Opening::default() };
        }
        let waited = usize::from(self.opening.waits());
        *self.opening.part(wall) = Some(bar);
        let later = self.mark.is_some_and(|mark| mark.date() == wall.date() && !is_opening(mark));
        let given = later || self.opening.first.is_some();
        let given = usize::from(given && self.opening.give(out));
        for _ in given + usize::from(self.opening.waits())..=waited {
            out.skip(Reason::Superseded);
        }
    }

    /// History has said all it has: what an earlier run published is held against it, and if it is not the same, the day
    /// goes out again.
    pub(crate) fn caught_up(&mut self, symbol: Symbol, rules: &Rules, out: &mut Outcome) {
        let Some(Floor { mark, print, kept, .. }) = self.floor.take() else { return };
        let told = kept.iter().fold(0, |print, (&minute, bar)| print ^ marked(minute, hash_of(&bar.raw)));
        let same = print == Some(told);
        for (minute, bar) in kept {
            if !same {
                self.finish(symbol, bar, rules, out);
                continue;
            }
            self.enter(mark.date());
            self.send(minute, hash_of(&bar.raw), bar.raw.vol);
            drop(self.judge.see(symbol.class(), bar.raw.turnover(), bar.unit));
            self.remember(bar, rules);
            out.skip(Reason::Duplicate);
        }
    }

    /// A part of an opening that an earlier run published.
    fn remember(&mut self, bar: Forming, rules: &Rules) {
        let wall = bar.raw.wall;
        if !rules.folds() || !is_opening(wall) {
            return;
        }
        if self.opening.day != wall.date() {
            self.opening = Opening { day: wall.date(), ..Opening::default() };
        }
        *self.opening.part(wall) = Some(bar);
        self.opening.out = self.opening.bar().map(|raw| hash_of(&raw));
    }

    /// Rows of history that were kept are asked for again.
    pub(crate) fn forget(&mut self, out: &mut Outcome) {
        let kept = self.floor.as_mut().map(|floor| std::mem::take(&mut floor.kept));
        for _ in 0..kept.map_or(0, |kept| kept.len()) + usize::from(self.forming.take().is_some()) {
            out.skip(Reason::Superseded);
        }
    }
}

impl Opening {
    fn part(&mut self, wall: NaiveDateTime) -> &mut Option<Forming> {
        if is_auction(wall) { &mut self.auction } else { &mut self.first }
    }

    /// Whether there is an auction of which nothing went out.
    fn waits(&self) -> bool {
        self.auction.is_some() && self.first.is_none() && self.out.is_none()
    }

    /// The bar of 09:31 that both make.
    fn bar(&self) -> Option<Raw> {
        match (self.auction, self.first) {
            (None, first) => first.map(|first| first.raw),
            (Some(auction), None) => {
                Some(Raw { wall: auction.raw.wall + TimeDelta::minutes(1), ..auction.raw })
            }
            (Some(auction), Some(first)) => match fold(Some(auction.raw), first.raw) {
                Folded::Into(raw) => Some(raw),
                Folded::Nothing | Folded::Before(_) => Some(first.raw),
            },
        }
    }

    /// Hands it out; `false`: it went out as it is.
    fn give(&mut self, out: &mut Outcome) -> bool {
        let Some(raw) = self.bar() else { return false };
        let hash = hash_of(&raw);
        let new = self.out.replace(hash) != Some(hash);
        if new {
            out.bars.push(raw);
        }
        new
    }
}

/// Whether a minute is the auction or the one it is folded into.
fn is_opening(wall: NaiveDateTime) -> bool {
    is_auction(wall) || is_auction(wall - TimeDelta::minutes(1))
}

fn minute_of(wall: NaiveDateTime) -> u16 {
    u16::try_from(wall.hour() * 60 + wall.minute()).unwrap_or(u16::MAX)
}

fn marked(minute: u16, hash: u64) -> u64 {
    let mut hasher = Xxh3::new();
    (minute, hash).hash(&mut hasher);
    hasher.finish()
}

/// Tells bars of other values apart; noise beyond the protocol's precision makes no difference.
fn hash_of(raw: &Raw) -> u64 {
    let mut hasher = Xxh3::new();
    let decimals = if raw.symbol.class() == Class::Index { 4 } else { 3 };
    for price in [raw.open, raw.high, raw.low, raw.close] {
        sqep::bar::round(price, decimals).to_bits().hash(&mut hasher);
    }
    sqep::bar::round(raw.vol, 0).to_bits().hash(&mut hasher);
    sqep::bar::round(raw.amount, 2).to_bits().hash(&mut hasher);
    hasher.finish()
}
