//! One security as a program follows it: its newest state, and the bars at hand that may still be corrected. Knows which
//! bar is new, the same again, or a correction; must not know where bars come from nor where rows go.
//!
//! `base` is the state before the bars at hand, `head` the one after them. A correction of a bar at hand is computed anew
//! from `base`; an older one needs the past.

use chrono::{NaiveDate, NaiveTime};
use sqep::{Calendar, Record, Symbol};

use crate::{
    Facts,
    engine::Engine,
    save::{Reader, Save, SnapshotError},
};

/// Days whose facts are remembered, newest first.
const FACTS_DAYS_MAX: usize = 8;

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

/// One security.
#[derive(Debug, Clone)]
pub(crate) struct Security<E: Engine> {
    symbol: Symbol,
    base: E,
    head: E,
    /// Time of the last bar that went into `base`.
    before: i64,
    /// Bars since `base`, oldest first.
    bars: Vec<(E::Bar, u64)>,
    /// Facts the bars at hand were computed with.
    days: Vec<(NaiveDate, Facts)>,
    /// The newest facts heard, oldest first.
    said: Vec<Said>,
    /// Time of the last bar, whether it had volume or not.
    last: i64,
}

impl<E: Engine> Security<E> {
    pub(crate) fn new(symbol: Symbol) -> Security<E> {
        let (base, head) = (E::begin(symbol), E::begin(symbol));
        let (bars, days, said) = (Vec::new(), Vec::new(), Vec::new());
        Security { symbol, base, head, before: i64::MIN, bars, days, said, last: i64::MIN }
    }

    pub(crate) fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// Time of the last bar.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// A security without bars that remembers what this one heard of its days.
    pub(crate) fn without_bars(&self) -> Security<E> {
        Security { said: self.said.clone(), ..Security::new(self.symbol) }
    }

    /// The facts of a day. `None`: they were heard too long ago to be remembered, and must be looked up.
    pub(crate) fn facts(&self, day: NaiveDate) -> Option<Facts> {
        if let Some(said) = self.said.iter().find(|said| said.day == day) {
            return Some(said.facts);
        }
        let forgotten =
            self.said.len() >= FACTS_DAYS_MAX && self.said.first().is_some_and(|said| day < said.day);
        (!forgotten).then(Facts::default)
    }

    /// Takes a bar with the facts of its day.
    pub(crate) fn take(
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
        match self.bars.get(at) {
            Some((known, of)) if known.time() == time => {
                if version <= *of || known == bar {
                    return Told::Known;
                }
                self.bars[at] = (*bar, version);
            }
            _ if time > self.before => {
                self.bars.insert(at, (*bar, version));
                self.remember(E::day(bar), facts);
            }
            _ => return Told::Older(time),
        }
        self.again(time, calendar, rows);
        Told::Taken
    }

    fn append(
        &mut self,
        bar: &E::Bar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<E::Feature>,
    ) -> Told {
        if self.bars.first().is_some_and(|(first, _)| E::leaves(first, self.bars.len(), bar)) {
            self.base = self.head.clone();
            self.before = self.last;
            self.bars.clear();
            self.days.clear();
        }
        self.last = bar.time();
        self.bars.push((*bar, version));
        self.remember(E::day(bar), facts);
        match self.head.take(bar, version, facts, calendar, rows) {
            Ok(()) => Told::Taken,
            Err(_) => Told::Refused,
        }
    }

    fn remember(&mut self, day: NaiveDate, facts: &Facts) {
        if E::JOINED && self.days.iter().all(|(known, _)| *known != day) {
            self.days.push((day, *facts));
        }
    }

    /// Computes the bars at hand anew; appends the rows from `time` on.
    fn again(&mut self, time: i64, calendar: &Calendar, rows: &mut Vec<E::Feature>) {
        let mut made = Vec::new();
        self.head = self.base.clone();
        for (bar, version) in &self.bars {
            let day = E::day(bar);
            let facts = self.days.iter().find(|(known, _)| *known == day).map(|(_, facts)| *facts);
            // What the kernel refused once it refuses again.
            drop(self.head.take(bar, *version, &facts.unwrap_or_default(), calendar, &mut made));
        }
        rows.extend(made.into_iter().filter(|row| row.time() >= time));
    }

    /// Hears the facts of a day.
    pub(crate) fn hear(&mut self, said: Said, calendar: &Calendar, rows: &mut Vec<E::Feature>) -> Told {
        let at = self.said.partition_point(|known| known.day < said.day);
        match self.said.get_mut(at) {
            Some(known) if known.day == said.day => {
                if said.version <= known.version || known.facts == said.facts {
                    return Told::Known;
                }
                *known = said;
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
        let Some((newest, _)) = self.bars.last() else { return Told::Taken };
        if said.day > E::day(newest) {
            return Told::Taken;
        }
        let midnight = said.day.and_time(NaiveTime::MIN).and_utc().timestamp().div_euclid(60);
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

impl<E: Engine> Security<E> {
    /// Appends its state to a snapshot.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let base = self.base.save();
        self.symbol.get().save(out);
        length(base.len()).save(out);
        out.extend_from_slice(&base);
        self.before.save(out);
        self.last.save(out);
        length(self.bars.len()).save(out);
        for (bar, version) in &self.bars {
            save_record(bar, out);
            version.save(out);
        }
        length(self.days.len()).save(out);
        for (day, facts) in &self.days {
            day.save(out);
            save_facts(facts, out);
        }
        length(self.said.len()).save(out);
        for said in &self.said {
            said.day.save(out);
            said.version.save(out);
            save_facts(&said.facts, out);
        }
    }

    /// The next security of a snapshot.
    pub(crate) fn load(reader: &mut Reader<'_>, calendar: &Calendar) -> Result<Security<E>, SnapshotError> {
        let value = i32::load(reader)?;
        let illegal = |_| SnapshotError::Value { field: "a symbol", value: value.into() };
        let symbol = Symbol::from_i32(value).map_err(illegal)?;
        let bytes = u32::load(reader)?;
        let base = E::load(reader.bytes(count(bytes))?)?;
        let before = i64::load(reader)?;
        let last = i64::load(reader)?;
        let mut found = Security { before, last, head: base.clone(), base, ..Security::new(symbol) };
        for _ in 0..u32::load(reader)? {
            found.bars.push((load_record(reader)?, u64::load(reader)?));
        }
        for _ in 0..u32::load(reader)? {
            found.days.push((NaiveDate::load(reader)?, load_facts(reader)?));
        }
        for _ in 0..u32::load(reader)? {
            let (day, version) = (NaiveDate::load(reader)?, u64::load(reader)?);
            found.said.push(Said { day, version, facts: load_facts(reader)? });
        }
        found.again(i64::MAX, calendar, &mut Vec::new());
        Ok(found)
    }
}

fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn save_facts(facts: &Facts, out: &mut Vec<u8>) {
    let Facts { adjust, st, buy_limit, sell_limit } = *facts;
    st.save(out);
    [adjust, buy_limit, sell_limit].save(out);
}

fn load_facts(reader: &mut Reader<'_>) -> Result<Facts, SnapshotError> {
    let st = Option::load(reader)?;
    let [adjust, buy_limit, sell_limit] = <[Option<f64>; 3]>::load(reader)?;
    Ok(Facts { adjust, st, buy_limit, sell_limit })
}

/// A record by its cells, each behind a byte that says what it is.
fn save_record<R: Record>(record: &R, out: &mut Vec<u8>) {
    use sqep::record::Cell;
    for at in 0..R::FIELDS.len() {
        match record.get(at) {
            Cell::Null => 0u8.save(out),
            Cell::Symbol(symbol) => {
                1u8.save(out);
                symbol.get().save(out);
            }
            Cell::Date(date) => {
                2u8.save(out);
                date.save(out);
            }
            Cell::Minute(minute) => {
                3u8.save(out);
                minute.save(out);
            }
            Cell::Float(value) => {
                4u8.save(out);
                value.save(out);
            }
            Cell::Bool(value) => {
                5u8.save(out);
                value.save(out);
            }
            Cell::Integer(value) => {
                6u8.save(out);
                value.save(out);
            }
        }
    }
}

fn load_record<R: Record>(reader: &mut Reader<'_>) -> Result<R, SnapshotError> {
    use sqep::record::Cell;
    let mut record = R::blank();
    for at in 0..R::FIELDS.len() {
        let cell = match u8::load(reader)? {
            0 => Cell::Null,
            1 => {
                let value = i32::load(reader)?;
                let illegal = |_| SnapshotError::Value { field: "a symbol", value: value.into() };
                Cell::Symbol(Symbol::from_i32(value).map_err(illegal)?)
            }
            2 => Cell::Date(Save::load(reader)?),
            3 => Cell::Minute(Save::load(reader)?),
            4 => Cell::Float(Save::load(reader)?),
            5 => Cell::Bool(Save::load(reader)?),
            6 => Cell::Integer(Save::load(reader)?),
            value => return Err(SnapshotError::Value { field: "the type of a cell", value: value.into() }),
        };
        record.set(at, cell);
    }
    Ok(record)
}
