//! The first pass over a file: everything that only the whole of it tells. Knows records and what they say about each other;
//! must not hand any out.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{symbol::Class, unit::Alarm};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    bar::Raw,
    config::Auction,
    day::{close_of, is_auction},
    files::Input,
    format::{Decoded, Format},
    ledger::Done,
    units::{QUANTA, VolUnit, finding},
};

/// Records of a block: what is in memory at a time, and what a chunk holds at most.
const BLOCK_RECORDS_MAX: u64 = 4_096;
/// Examples in the letter of a file that is refused whole.
const EXAMPLES_MAX: usize = 10;
/// Minutes of a day without any volume from which on the day counts as suspended.
const IDLE_MINUTES_MIN: u32 = 4;

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Unit of volume.
    pub unit: VolUnit,
    /// The bar of the opening auction.
    pub auction: Auction,
    /// Wall clock of Asia/Shanghai at which the file is read.
    pub now: NaiveDateTime,
    /// Seconds after which the bar of a minute is final.
    pub grace: TimeDelta,
    /// Seconds after the close of a day.
    pub close_grace: TimeDelta,
}

/// What the first pass found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Records that may be handed out, counted from the first.
    pub(crate) ready: u64,
    /// Whether the records done before are still the same.
    pub(crate) known: bool,
    pub(crate) alarm: Alarm,
    pub(crate) examples: Vec<String>,
    pub(crate) idle: BTreeSet<NaiveDate>,
}

/// Records of a file, a block at a time.
#[derive(Debug)]
pub(crate) struct Records {
    file: File,
    format: Format,
}

impl Records {
    pub(crate) fn open(input: &Input) -> io::Result<Records> {
        Ok(Records { file: File::open(&input.path)?, format: input.format })
    }

    /// Whether the file begins as it should. `None`: it has not that many bytes yet.
    pub(crate) fn header_fits(&mut self) -> io::Result<Option<bool>> {
        let wanted = self.format.header();
        let mut found = vec![0; wanted.len()];
        self.file.seek(SeekFrom::Start(0))?;
        let read = fill(&mut self.file, &mut found)?;
        let fits = found[..read] == wanted[..read];
        Ok(if fits && read < wanted.len() { None } else { Some(fits) })
    }

    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        let header = u64::try_from(self.format.header().len()).unwrap_or(0);
        self.file.seek(SeekFrom::Start(header)).map(drop)
    }

    /// Whole records, at most so many.
    pub(crate) fn block(&mut self, records_max: u64) -> io::Result<Vec<u8>> {
        let size = self.format.record_bytes();
        let records = usize::try_from(records_max.min(BLOCK_RECORDS_MAX)).unwrap_or(0);
        let mut bytes = vec![0; records * size];
        let read = fill(&mut self.file, &mut bytes)?;
        bytes.truncate(read / size * size);
        Ok(bytes)
    }
}

fn fill(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read(&mut bytes[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// The first pass: everything that only the whole file tells.
pub(crate) fn survey(
    source: &mut Records,
    input: &Input,
    reading: &Reading,
    done: Option<&Done>,
    minute: bool,
) -> io::Result<Survey> {
    let mut survey = Survey { known: done.is_some_and(|done| done.records == 0), ..Survey::default() };
    let (mut hash, mut at, mut days) = (Xxh3::new(), 0, Days::default());
    source.rewind()?;
    loop {
        let bytes = source.block(u64::MAX)?;
        if bytes.is_empty() {
            break;
        }
        for record in bytes.chunks_exact(input.format.record_bytes()) {
            at += 1;
            hash.update(record);
            if done.is_some_and(|done| done.records == at) {
                survey.known = done.is_some_and(|done| done.hash == hash.digest());
            }
            let Some(Decoded { raw, .. }) = input.format.decode(record, input.symbol, reading.unit) else {
                survey.ready = at;
                continue;
            };
            if minute {
                days.see(&raw, &mut survey.idle);
            }
            let folds = reading.auction == Auction::Fold && minute && is_auction(raw.wall);
            if is_final(raw.wall, reading, minute) && !folds && !days.may_be_idle(raw.wall, reading, minute) {
                survey.ready = at;
            }
            if Alarm::applies(input.symbol.class())
                && !survey.alarm.add(raw.turnover(), QUANTA)
                && survey.examples.len() < EXAMPLES_MAX
            {
                survey.examples.push(format!(
                    "record {at}, {}: {}",
                    raw.wall,
                    finding(raw.turnover(), reading.unit).value
                ));
            }
        }
    }
    days.end(&mut survey.idle);
    if input.symbol.class() == Class::Index {
        survey.idle.clear();
    }
    Ok(survey)
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

    /// Whether it cannot be told yet if the day will have a trade.
    fn may_be_idle(&self, wall: NaiveDateTime, reading: &Reading, minute: bool) -> bool {
        minute && !self.traded && reading.now < close_of(wall.date()) + reading.close_grace
    }
}

/// Whether a bar can change no more.
fn is_final(wall: NaiveDateTime, reading: &Reading, minute: bool) -> bool {
    let close = close_of(wall.date());
    let end = if minute { wall } else { close };
    let grace = if end == close { reading.close_grace } else { reading.grace };
    end + grace <= reading.now
}
