//! One security as a program follows it: its newest state, and the bars at hand that may still be corrected. Knows which
//! bar is new, the same again, or a correction; must not know where bars come from nor where rows go.
//!
//! `base` is the state before the bars at hand, `head` the one after them; `base` follows bar by bar, so that the last ones
//! are always at hand. A correction of a bar at hand is computed anew from `base`; an older one needs the past.

mod saved;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem};

use chrono::NaiveDate;
use sqep::{Calendar, Record, Symbol};

use crate::{Facts, engine::Engine, past::midnight};

/// Days whose facts are remembered, newest first.
const FACTS_DAYS_MAX: usize = 8;
/// Bars that leave the bars at hand for each that comes, at most: a day of minutes leaves in half a day, not at its turn.
const LEAVE_BARS_MAX: usize = 2;

/// What became of a bar or a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is taken; its rows, if it has any, are appended.
    Taken,
    /// It says what was known, or less.
    Known,
    /// It is older than what is at hand: rows from this time on must be computed from the past.
    Older(i64),
    /// It is no bar of a series, by the rules of the kernel.
    Refused,
}

/// The facts of a day, and the version of the record that says them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Said {
    pub(crate) day: NaiveDate,
    pub(crate) version: u64,
    pub(crate) facts: Facts,
}

/// How much of its past a security rests on: by this a past is known to be the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Time of the first bar.
    pub(crate) first: i64,
    /// Time of the last bar, whether it had volume or not.
    pub(crate) last: i64,
    /// Bars, each counted once however often it came.
    pub(crate) bars: u64,
}

/// One security.
#[derive(Debug, Clone)]
pub(crate) struct Security<E: Engine> {
    symbol: Symbol,
    base: E,
    head: E,
    /// Time of the last bar that went into `base`.
    before: i64,
    /// How many bars did.
    earlier: u64,
    /// Time of the first bar ever.
    first: i64,
    /// Bars since `base`, oldest first.
    bars: VecDeque<(E::Bar, u64)>,
    /// Facts the bars at hand were computed with.
    days: Vec<(NaiveDate, Facts)>,
    /// The newest facts heard, oldest first.
    said: Vec<Said>,
    /// Time of the last bar, whether it had volume or not.
    last: i64,
    /// Rows from this time on are to be computed again from the past as soon as that is possible.
    owed: Option<i64>,
    /// Rows from this time on wait for [`Security::refresh`]. Nothing waits in a snapshot.
    late: Option<i64>,
}

impl Default for Extent {
    fn default() -> Self {
        Extent { first: i64::MAX, last: i64::MIN, bars: 0 }
    }
}

impl Extent {
    /// Counts one more bar.
    pub(crate) fn add(&mut self, time: i64) {
        let Extent { first, last, bars } = *self;
        *self = Extent { first: first.min(time), last: last.max(time), bars: bars.saturating_add(1) };
    }

    /// Whether a past of this extent is the whole of one that was known.
    pub(crate) fn covers(self, known: Extent) -> bool {
        self.bars >= known.bars && self.first <= known.first && self.last >= known.last
    }
}

/// A security without a past, in a place of its own: it is some 10 KB.
pub(crate) fn fresh<E: Engine>(symbol: Symbol) -> Box<Security<E>> {
    Box::new(Security::new(symbol))
}

impl<E: Engine> Security<E> {
    pub(crate) fn new(symbol: Symbol) -> Security<E> {
        let (base, head) = (E::begin(symbol), E::begin(symbol));
        Security {
            symbol,
            base,
            head,
            before: i64::MIN,
            earlier: 0,
            first: i64::MAX,
            bars: VecDeque::new(),
            days: Vec::new(),
            said: Vec::new(),
            last: i64::MIN,
            owed: None,
            late: None,
        }
    }

    pub(crate) fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// How much of its past it rests on.
    pub(crate) fn extent(&self) -> Extent {
        let at_hand = u64::try_from(self.bars.len()).unwrap_or(u64::MAX);
        Extent { first: self.first, last: self.last, bars: self.earlier.saturating_add(at_hand) }
    }

    /// From which time on its rows are to be computed again.
    pub(crate) fn owed(&self) -> Option<i64> {
        self.owed
    }

    /// Notes that rows from a time on are to be computed again.
    pub(crate) fn owe(&mut self, time: i64) {
        self.owed = Some(self.owed.map_or(time, |known| known.min(time)));
    }

    /// What was owed is done, or cannot be done.
    pub(crate) fn settle(&mut self) {
        self.owed = None;
    }

    /// Rows of the bars at hand.
    pub(crate) fn rows(&self, calendar: &Calendar) -> Vec<E::Feature> {
        self.run(&self.bars, calendar).1
    }

    /// A security without bars that remembers what this one heard of its days.
    pub(crate) fn without_bars(&self) -> Security<E> {
        Security { said: self.said.clone(), ..Security::new(self.symbol) }
    }

    /// The facts of a day as they were heard, or as its bars at hand were computed with.
    pub(crate) fn facts(&self, day: NaiveDate) -> Option<Facts> {
        let heard = self.said.iter().find(|said| said.day == day).map(|said| said.facts);
        heard.or_else(|| self.computed_with(day))
    }

    /// Whether a day lies so far back that its facts are computed with and not remembered.
    pub(crate) fn is_far_back(&self, day: NaiveDate) -> bool {
        self.before >= midnight(day) && self.said.iter().all(|said| said.day != day)
    }

    /// Whether a bar of this time is older than those at hand.
    pub(crate) fn is_older(&self, time: i64) -> bool {
        time <= self.before
    }

    /// Takes a bar with the facts of its day, whenever it comes.
    pub(crate) fn take(
        &mut self,
        bar: &E::Bar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<E::Feature>,
    ) -> Told {
        let told = self.admit(bar, version, facts, calendar, rows);
        self.refresh(calendar, rows);
        told
    }

    /// As [`Security::take`], but the rows that a late bar changes wait: of many late ones they are computed once.
    pub(crate) fn admit(
        &mut self,
        bar: &E::Bar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<E::Feature>,
    ) -> Told {
        let time = bar.time();
        if time > self.last {
            return self.append(bar, version, facts, calendar, rows);
        }
        let at = self.bars.partition_point(|(known, _)| known.time() < time);
        match self.bars.get_mut(at) {
            Some((known, of)) if known.time() == time => {
                if version <= *of {
                    return Told::Known;
                }
                // The same numbers once more: what comes late with a version between is older news all the same.
                *of = version;
                if known == bar {
                    return Told::Known;
                }
                let before = mem::replace(known, *bar);
                self.correct((at, before), calendar, rows);
            }
            _ if time > self.before => {
                self.bars.insert(at, (*bar, version));
                self.first = self.first.min(time);
                self.remember(E::day(bar), facts);
                self.late = Some(self.late.map_or(time, |known| known.min(time)));
            }
            _ => return Told::Older(time),
        }
        Told::Taken
    }

    /// Whether rows wait for late bars to be computed with.
    pub(crate) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// Computes what late bars change, and keeps no more bars at hand than without them.
    pub(crate) fn refresh(&mut self, calendar: &Calendar, rows: &mut Vec<E::Feature>) {
        let Some(time) = self.late.take() else { return };
        self.again(time, calendar, rows);
        self.slide(calendar, usize::MAX);
    }

    /// Computes anew what a corrected bar changes. A row that the bar had and has no more is withdrawn.
    fn correct(&mut self, (at, before): (usize, E::Bar), calendar: &Calendar, rows: &mut Vec<E::Feature>) {
        let (bar, version) = self.bars[at];
        let none = E::withdrawn(&bar, version);
        let known = rows.len();
        self.again(bar.time(), calendar, rows);
        if rows[known..].iter().any(|row| row.time() == none.time()) {
            return;
        }
        let mut old = self.bars.clone();
        old[at].0 = before;
        if self.run(&old, calendar).1.iter().any(|row| row.time() == none.time()) {
            rows.push(none);
        }
    }

    fn append(
        &mut self,
        bar: &E::Bar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<E::Feature>,
    ) -> Told {
        self.last = bar.time();
        self.first = self.first.min(self.last);
        self.bars.push_back((*bar, version));
        self.remember(E::day(bar), facts);
        if self.late.is_some() {
            return Told::Taken;
        }
        let taken = self.head.take(bar, version, facts, calendar, rows);
        self.slide(calendar, LEAVE_BARS_MAX);
        if taken.is_ok() { Told::Taken } else { Told::Refused }
    }

    /// Lets the oldest bars at hand go into `base`, `bars_max` of them at most.
    fn slide(&mut self, calendar: &Calendar, bars_max: usize) {
        for _ in 0..bars_max {
            let (Some((oldest, _)), Some((newest, _))) = (self.bars.front(), self.bars.back()) else {
                return;
            };
            if !E::leaves(oldest, self.bars.len(), newest) {
                return;
            }
            let Some((bar, version)) = self.bars.pop_front() else { return };
            let day = E::day(&bar);
            let facts = self.day(day);
            // What the kernel refused once it refuses again; its rows went out when it came.
            drop(self.base.take(&bar, version, &facts, calendar, &mut Vec::new()));
            self.before = bar.time();
            self.earlier = self.earlier.saturating_add(1);
            if self.bars.front().is_some_and(|(first, _)| E::day(first) > day) {
                self.days.retain(|(known, _)| *known > day);
            }
        }
    }

    /// Facts a day of the bars at hand is computed with.
    fn day(&self, day: NaiveDate) -> Facts {
        self.computed_with(day).unwrap_or_default()
    }

    fn computed_with(&self, day: NaiveDate) -> Option<Facts> {
        self.days.iter().find(|(known, _)| *known == day).map(|(_, facts)| *facts)
    }

    fn remember(&mut self, day: NaiveDate, facts: &Facts) {
        if E::JOINED && self.days.iter().all(|(known, _)| *known != day) {
            self.days.push((day, *facts));
        }
    }

    /// Computes the bars at hand anew; appends the rows from `time` on.
    fn again(&mut self, time: i64, calendar: &Calendar, rows: &mut Vec<E::Feature>) {
        let (head, made) = self.run(&self.bars, calendar);
        self.head = head;
        rows.extend(made.into_iter().filter(|row| row.time() >= time));
    }

    /// The state after these bars, which follow `base`, and their rows.
    fn run(&self, bars: &VecDeque<(E::Bar, u64)>, calendar: &Calendar) -> (E, Vec<E::Feature>) {
        let (mut state, mut rows) = (self.base.clone(), Vec::new());
        for (bar, version) in bars {
            // What the kernel refused once it refuses again.
            drop(state.take(bar, *version, &self.day(E::day(bar)), calendar, &mut rows));
        }
        (state, rows)
    }

    /// Hears the facts of a day.
    pub(crate) fn hear(&mut self, said: Said, calendar: &Calendar, rows: &mut Vec<E::Feature>) -> Told {
        let at = self.said.partition_point(|known| known.day < said.day);
        match self.said.get_mut(at) {
            Some(known) if known.day == said.day => {
                if said.version <= known.version {
                    return Told::Known;
                }
                if mem::replace(known, said).facts == said.facts {
                    return Told::Known;
                }
            }
            _ => {
                self.said.insert(at, said);
                if self.said.len() > FACTS_DAYS_MAX {
                    self.said.remove(0);
                }
            }
        }
        self.apply(&said, calendar, rows)
    }

    /// What new facts of a day do to the bars there are.
    fn apply(&mut self, said: &Said, calendar: &Calendar, rows: &mut Vec<E::Feature>) -> Told {
        let Some((newest, _)) = self.bars.back() else { return Told::Taken };
        if said.day > E::day(newest) {
            return Told::Taken;
        }
        let midnight = midnight(said.day);
        if self.before >= midnight {
            return Told::Older(midnight);
        }
        if let Some(at) = self.bars.iter().position(|(bar, _)| E::day(bar) == said.day) {
            self.days.retain(|(day, _)| *day != said.day);
            self.days.push((said.day, said.facts));
            self.again(self.bars[at].0.time(), calendar, rows);
        }
        Told::Taken
    }
}
