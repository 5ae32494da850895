//! One file of records: surveyed as a whole, then handed out block by block. Knows records and what they say about each
//! other; must not know cursors of other files nor the stream.
//!
//! Two passes, each in blocks, so that memory is bounded whatever a file's size: nothing is handed out before the unit of
//! volume was proved over all of it. Records that come while a file is read wait for the next look.

use std::{collections::BTreeMap, io, mem};

use chrono::NaiveDateTime;
use sqep::{
    Reason, Refusal,
    check::Finding,
    symbol::Class,
    unit::{Alarm, Verdict},
};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    bar::{Bar, Raw},
    config::Auction,
    day::{Folded, fold, is_after_hours, is_auction},
    files::Input,
    format::{Decoded, Format},
    ledger::{Done, Told},
    reading::Reading,
    records::{Place, Records, Row, Window},
    survey::{Survey, survey},
    units::{QUANTA, finding},
};

/// Rows of a block and the state after them.
#[derive(Debug)]
pub struct Block<R> {
    /// Bars.
    pub records: Vec<R>,
    /// Their places in the file, from 1.
    pub lines: Vec<u64>,
    /// Rows that are refused.
    pub refused: Vec<Refusal>,
    /// Rows that are no bars.
    pub skipped: BTreeMap<Reason, u64>,
    /// What was noticed.
    pub warned: BTreeMap<Reason, u64>,
    /// How far the file got.
    pub done: Done,
}

/// What the survey says of a file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Sound,
    /// It does not begin as such files do.
    Headless,
    /// Its turnovers are not those of its volumes.
    OfAnotherUnit,
}

/// A file in the second pass.
pub struct Bars {
    input: Input,
    reading: Reading,
    read_as: String,
    minute: bool,
    source: Records,
    survey: Survey,
    /// Rows at hand, and how many of them are handed over.
    window: Window,
    used: usize,
    /// Records handed over, and their hash.
    at: u64,
    hash: Xxh3,
    /// The opening auction that waits for 09:31.
    auction: Option<Raw>,
    standing: Standing,
    told: Option<Told>,
    over: bool,
}

impl Bars {
    /// Surveys a file and takes up after what was done of it. `None`: it holds no record yet.
    pub fn open(
        input: Input,
        reading: Reading,
        done: Option<&Done>,
        read_as: &str,
        minute: bool,
    ) -> io::Result<Option<Bars>> {
        let mut source = Records::open(&input, &reading)?;
        let Some(headed) = source.header_fits()? else { return Ok(None) };
        let done = done.filter(|done| done.read_as == read_as);
        let mut survey = survey(&mut source, &input, &reading, done, minute)?;
        if !headed && survey.seen == 0 {
            return Ok(None);
        }
        if !headed {
            survey.ready = survey.seen;
        }
        source.rewind(survey.seen)?;
        let skip = done.filter(|_| survey.known).map_or(0, |done| done.records);
        let mut bars = Bars {
            standing: match survey.alarm.verdict() {
                _ if !headed => Standing::Headless,
                Verdict::Refused => Standing::OfAnotherUnit,
                Verdict::Sound | Verdict::Unchecked => Standing::Sound,
            },
            told: done.and_then(|done| done.told).filter(|_| survey.told),
            input,
            reading,
            read_as: read_as.to_owned(),
            minute,
            source,
            survey,
            window: Window::default(),
            used: 0,
            at: 0,
            hash: Xxh3::new(),
            auction: None,
            over: false,
        };
        // What was handed over before is taken again, so that the next row finds what it would have found.
        while bars.at < skip {
            let mut block = bars.block::<Raw>();
            if !bars.advance(skip, |bars, row, record| bars.take(row, record, &mut block))? {
                break;
            }
        }
        Ok(Some(bars))
    }

    /// Whether the file was written anew since it was published: its rows go out again as later versions.
    pub fn is_anew(&self, done: Option<&Done>) -> bool {
        done.is_some_and(|done| done.records > 0) && !self.survey.known
    }

    /// Records that wait until the file is written again, and when it was written last.
    pub fn held(&self) -> (u64, NaiveDateTime) {
        (if self.is_refused() { 0 } else { self.survey.held }, self.input.written())
    }

    /// Records of zeros at its end: room that was made and not written.
    pub fn unwritten(&self) -> u64 {
        self.source.unwritten()
    }

    fn is_refused(&self) -> bool {
        self.standing != Standing::Sound
    }

    /// Whether its last record is not there as a whole.
    pub fn is_cut(&self) -> bool {
        let header = u64::try_from(self.input.format.header().len()).unwrap_or(0);
        let record = u64::try_from(self.input.format.record_bytes()).unwrap_or(1);
        self.input.size.saturating_sub(header) % record != 0
    }

    /// Passes the records of the window on, up to the record `end`; `false`: there are none.
    fn advance(&mut self, end: u64, mut each: impl FnMut(&mut Bars, &Row, &[u8])) -> io::Result<bool> {
        if self.used == self.window.rows.len() {
            let Some(window) = self.source.window()? else { return Ok(false) };
            (self.window, self.used) = (window, 0);
        }
        let window = mem::take(&mut self.window);
        let rest = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let size = self.input.format.record_bytes();
        let rows = window.rows.iter().zip(window.bytes.chunks_exact(size)).skip(self.used).take(rest);
        let before = self.at;
        for (row, record) in rows {
            self.at += 1;
            self.used += 1;
            self.hash.update(record);
            each(self, row, record);
        }
        self.window = window;
        Ok(self.at > before)
    }

    /// The next rows; `None` after the last.
    #[expect(clippy::should_implement_trait, reason = "an error ends it: no iterator would")]
    pub fn next<R: Bar>(&mut self) -> io::Result<Option<Block<R>>> {
        if self.over {
            return Ok(None);
        }
        if self.is_refused() {
            self.over = true;
            return Ok(Some(self.all_refused()?));
        }
        let mut block = self.block::<Raw>();
        self.over =
            !self.advance(self.survey.ready, |bars, row, record| bars.take(row, record, &mut block))?;
        let Block { records, lines, refused, skipped, warned, .. } = block;
        let records = records.iter().map(R::of).collect();
        Ok((!self.over).then(|| Block { records, lines, refused, skipped, warned, done: self.done() }))
    }

    /// A block without rows.
    pub fn block<R>(&self) -> Block<R> {
        Block {
            records: Vec::new(),
            lines: Vec::new(),
            refused: Vec::new(),
            skipped: BTreeMap::new(),
            warned: BTreeMap::new(),
            done: self.done(),
        }
    }

    /// How far it got.
    pub fn done(&self) -> Done {
        Done {
            size: self.input.size,
            changed_ns: self.input.changed_ns,
            records: self.at,
            held: self.held().0,
            hash: self.hash.digest(),
            refused: self.is_refused(),
            told: self.told.filter(|_| self.is_refused()),
            read_as: self.read_as.clone(),
        }
    }

    fn take(&mut self, row: &Row, record: &[u8], block: &mut Block<Raw>) {
        let Some((raw, repaired)) = self.placed(row, record, block) else { return };
        let mut skip = |reason| *block.skipped.entry(reason).or_default() += 1;
        let idle = raw.is_idle() && self.input.symbol.class() != Class::Index;
        if idle && (!self.minute || raw.is_blank()) || self.survey.idle.contains(&raw.wall.date()) {
            return skip(Reason::Suspended);
        }
        if self.minute && is_after_hours(raw.wall) {
            return skip(Reason::AfterHours);
        }
        if let Some(finding) = self.odd(&raw) {
            return block.refused.push(self.refused(record, vec![finding]));
        }
        if repaired {
            *block.warned.entry(Reason::AmountRepaired).or_default() += 1;
        }
        let mut push = |raw: Raw| {
            block.records.push(raw);
            block.lines.push(self.at);
        };
        match fold(self.auction.take(), raw) {
            Folded::Nothing => {}
            Folded::Into(bar) => {
                push(bar);
                return *block.skipped.entry(Reason::Superseded).or_default() += 1;
            }
            Folded::Before(auction) => push(auction),
        }
        if self.waits(&raw) {
            self.auction = Some(raw);
        } else {
            push(raw);
        }
    }

    /// The bar of a row in its place, and whether its turnover was repaired; any other is refused, and no more than it.
    fn placed(&self, row: &Row, record: &[u8], block: &mut Block<Raw>) -> Option<(Raw, bool)> {
        let Some(Decoded { raw, repaired }) = row.decoded else {
            block.refused.push(self.refusal(record, Reason::ValueIllegal, "frame", hex(record)));
            return None;
        };
        let why = match row.place {
            Place::Right | Place::None => return Some((raw, repaired)),
            Place::Again => {
                *block.skipped.entry(Reason::Duplicate).or_default() += 1;
                return None;
            }
            Place::Behind(last) => format!("{} after {last}", raw.wall),
            Place::Early => format!("{} before rows of earlier times", raw.wall),
            Place::Ahead => format!("{} lies ahead of the clock, {}", raw.wall, self.reading.now),
        };
        block.refused.push(self.refusal(record, Reason::FrameIllegal, "frame", why));
        None
    }

    /// Whether a bar is the auction's and is to be folded into the next.
    fn waits(&self, raw: &Raw) -> bool {
        self.reading.auction == Auction::Fold && self.input.format == Format::Dat(60) && is_auction(raw.wall)
    }

    /// A row whose turnover cannot be of its prices and volume, in a file that is sound otherwise.
    fn odd(&self, raw: &Raw) -> Option<Finding> {
        let row = raw.turnover();
        let judged = Alarm::applies(self.input.symbol.class()) && raw.has_sound_prices();
        (judged && !row.plausible(QUANTA)).then(|| finding(row, self.reading.unit))
    }

    fn refusal(&self, record: &[u8], reason: Reason, field: &str, value: String) -> Refusal {
        self.refused(record, vec![Finding { reason, field: field.to_owned(), value }])
    }

    fn refused(&self, record: &[u8], findings: Vec<Finding>) -> Refusal {
        let symbol = self.input.symbol.to_string();
        Refusal { row: self.at, rows: 1, symbol, findings, raw: hex(record) }
    }

    /// One letter for all that is left, and no other that day while the file only grows. The records are not done: a file
    /// that is put right is read from here.
    fn all_refused<R>(&mut self) -> io::Result<Block<R>> {
        let (mut block, today) = (self.block(), self.reading.now.date());
        let before = self.told.map_or(0, |told| told.records).max(self.at);
        let rows = self.survey.ready.saturating_sub(before);
        if rows == 0 || self.told.is_some_and(|told| told.day == today) {
            return Ok(block);
        }
        let findings = self.whole_findings();
        let (row, symbol) = (before + 1, self.input.symbol.to_string());
        block.refused.push(Refusal { row, rows, symbol, findings, raw: String::new() });
        let (at, hash) = (self.at, self.hash.clone());
        while self.at < self.survey.ready && self.advance(self.survey.ready, |_, _, _| ())? {}
        self.told = Some(Told { records: self.at, hash: self.hash.digest(), day: today });
        (self.at, self.hash) = (at, hash);
        block.done = self.done();
        Ok(block)
    }

    fn whole_findings(&mut self) -> Vec<Finding> {
        if self.standing == Standing::Headless {
            let value = "the file does not begin with the 8 bytes of a K-line file of QMT".to_owned();
            return vec![Finding { reason: Reason::HeaderUnknown, field: String::new(), value }];
        }
        let alarm = &self.survey.alarm;
        let summary = format!(
            "in {} of {} rows turnover / volume lies outside low to high, {} are declared: {}",
            alarm.failed(),
            alarm.checked(),
            self.reading.unit,
            alarm.guess()
        );
        let told = std::iter::once(summary).chain(mem::take(&mut self.survey.examples));
        told.map(|value| Finding { reason: Reason::UnitsOrAdjusted, field: "amount".to_owned(), value })
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(u32::from(half), 16)).collect()
}
