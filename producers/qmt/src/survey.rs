//! The first pass over a file: everything that only the whole of it tells. Knows records and what they say about each other;
//! must not hand any out.

use std::{collections::BTreeSet, io};

use chrono::{NaiveDate, NaiveDateTime};
use sqep::{symbol::Class, unit::Alarm};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    bar::Raw,
    config::Auction,
    day::{close_of, is_auction},
    files::Input,
    ledger::Done,
    reading::Reading,
    records::{Place, Records, Row},
    units::{QUANTA, finding},
};

/// Examples in the letter of a file that is refused whole.
const EXAMPLES_MAX: usize = 10;
/// Minutes of a day without any volume from which on the day counts as suspended.
const IDLE_MINUTES_MIN: u32 = 4;

/// What the first pass found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Whole records of the file.
    pub(crate) seen: u64,
    /// Records that may be handed out, counted from the first.
    pub(crate) ready: u64,
    /// Records after those that wait until the file is written again: it was written before their bars were over.
    pub(crate) held: u64,
    /// Whether the records done before are still the same.
    pub(crate) known: bool,
    /// Whether the records that letters stand for are still the same.
    pub(crate) told: bool,
    pub(crate) alarm: Alarm,
    pub(crate) examples: Vec<String>,
    pub(crate) idle: BTreeSet<NaiveDate>,
}

/// The first pass: everything that only the whole file tells.
pub(crate) fn survey(
    source: &mut Records,
    input: &Input,
    reading: &Reading,
    done: Option<&Done>,
    minute: bool,
) -> io::Result<Survey> {
    let told = done.and_then(|done| done.told);
    let mut survey = Survey { known: done.is_some_and(|done| done.records == 0), ..Survey::default() };
    let (class, until) = (input.symbol.class(), reading.now.min(input.written()));
    let mut look = Look { reading, until, minute, class, days: Days::default(), waits: false };
    let mut hash = Xxh3::new();
    source.rewind(u64::MAX)?;
    while let Some(window) = source.window()? {
        for (record, row) in window.bytes.chunks_exact(input.format.record_bytes()).zip(&window.rows) {
            survey.seen += 1;
            hash.update(record);
            let same = |records, before| survey.seen == records && hash.digest() == before;
            let known = done.is_some_and(|done| same(done.records, done.hash));
            let told = told.is_some_and(|told| same(told.records, told.hash));
            (survey.known, survey.told) = (survey.known | known, survey.told | told);
            look.at(row, &mut survey);
        }
    }
    look.days.end(&mut survey.idle);
    survey.held = if until < reading.now { survey.seen - survey.ready } else { 0 };
    if look.class == Class::Index {
        survey.idle.clear();
    }
    Ok(survey)
}

/// What the pass remembers from row to row.
#[derive(Debug)]
struct Look<'a> {
    reading: &'a Reading,
    /// What is not over by then may change: the file does not know more, and neither does the clock.
    until: NaiveDateTime,
    minute: bool,
    class: Class,
    days: Days,
    /// Whether a row in its place is not final: nothing after it is handed out before it.
    waits: bool,
}

impl Look<'_> {
    fn at(&mut self, row: &Row, survey: &mut Survey) {
        let Some(raw) = row.decoded.map(|decoded| decoded.raw).filter(|_| row.place == Place::Right) else {
            // It goes with the rows around it. Whether the clock is right that a label lies ahead of, later rows tell.
            if !self.waits && row.place != Place::Ahead {
                survey.ready = survey.seen;
            }
            return;
        };
        if self.minute {
            self.days.see(&raw, &mut survey.idle);
        }
        let folds = self.reading.auction == Auction::Fold && self.minute && is_auction(raw.wall);
        // Whether the day will have a trade cannot be told before it is over.
        let idle = self.minute && !self.days.traded && !self.is_over(close_of(raw.wall.date()));
        let end = if self.minute { raw.wall } else { close_of(raw.wall.date()) };
        self.waits = folds || idle || !self.is_over(end);
        if !self.waits {
            survey.ready = survey.seen;
        }
        // Prices that are none say nothing about a unit; the row is refused for them.
        if Alarm::applies(self.class)
            && raw.has_sound_prices()
            && !survey.alarm.add(raw.turnover(), QUANTA)
            && survey.examples.len() < EXAMPLES_MAX
        {
            let told = finding(raw.turnover(), self.reading.unit).value;
            survey.examples.push(format!("record {}, {}: {told}", survey.seen, raw.wall));
        }
    }

    /// Whether a bar that ends then can change no more.
    fn is_over(&self, end: NaiveDateTime) -> bool {
        let closes = end == close_of(end.date());
        end + if closes { self.reading.close_grace } else { self.reading.grace } <= self.until
    }
}

/// Days of minutes on which nothing was traded.
#[derive(Debug, Default)]
struct Days {
    day: NaiveDate,
    minutes: u32,
    traded: bool,
}

impl Days {
    fn see(&mut self, raw: &Raw, idle: &mut BTreeSet<NaiveDate>) {
        if raw.wall.date() != self.day {
            self.end(idle);
            *self = Days { day: raw.wall.date(), ..Days::default() };
        }
        self.minutes += 1;
        self.traded |= !raw.is_idle();
    }

    fn end(&self, idle: &mut BTreeSet<NaiveDate>) {
        if self.minutes >= IDLE_MINUTES_MIN && !self.traded {
            idle.insert(self.day);
        }
    }
}
