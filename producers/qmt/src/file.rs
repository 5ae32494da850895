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
    ledger::Done,
    survey::{Reading, Records, Survey, survey},
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

/// A file in the second pass.
pub struct Bars {
    input: Input,
    reading: Reading,
    read_as: String,
    source: Records,
    survey: Survey,
    /// Records handed over, and their hash.
    at: u64,
    hash: Xxh3,
    /// The last row that was in order.
    last: Option<NaiveDateTime>,
    last_bytes: Vec<u8>,
    /// The opening auction that waits for 09:31.
    auction: Option<Raw>,
    refused: bool,
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
        let mut source = Records::open(&input)?;
        let Some(fits) = source.header_fits()? else { return Ok(None) };
        let done = done.filter(|done| done.read_as == read_as);
        let survey =
            if fits { survey(&mut source, &input, &reading, done, minute)? } else { Survey::default() };
        let skip = done.filter(|_| survey.known).map_or(0, |done| done.records);
        source.rewind()?;
        let refused = !fits || survey.alarm.verdict() == Verdict::Refused;
        let mut bars = Bars {
            input,
            reading,
            read_as: read_as.to_owned(),
            source,
            survey,
            at: 0,
            hash: Xxh3::new(),
            last: None,
            last_bytes: Vec::new(),
            auction: None,
            refused,
            over: false,
        };
        bars.skip(skip)?;
        if !fits {
            bars.survey.ready = bars.whole();
        }
        Ok(Some(bars))
    }

    /// Whether the file was written anew since it was published: its rows go out again as later versions.
    pub fn is_anew(&self, done: Option<&Done>) -> bool {
        done.is_some_and(|done| done.records > 0) && !self.survey.known
    }

    /// Whether its last record is not there as a whole.
    pub fn is_cut(&self) -> bool {
        let header = u64::try_from(self.input.format.header().len()).unwrap_or(0);
        let record = u64::try_from(self.input.format.record_bytes()).unwrap_or(1);
        self.input.size.saturating_sub(header) % record != 0
    }

    fn whole(&self) -> u64 {
        let header = u64::try_from(self.input.format.header().len()).unwrap_or(0);
        let record = u64::try_from(self.input.format.record_bytes()).unwrap_or(1);
        self.input.size.saturating_sub(header) / record
    }

    /// Passes over records that were handed over before.
    fn skip(&mut self, records: u64) -> io::Result<()> {
        while self.at < records {
            let bytes = self.source.block(records - self.at)?;
            if bytes.is_empty() {
                break;
            }
            self.hash.update(&bytes);
            for record in bytes.chunks_exact(self.input.format.record_bytes()) {
                self.at += 1;
                let Some(raw) = self.decode(record).map(|decoded| decoded.raw) else { continue };
                self.auction = self.waits(&raw).then_some(raw);
                self.keep(&raw, record);
            }
        }
        Ok(())
    }

    fn decode(&self, record: &[u8]) -> Option<Decoded> {
        self.input.format.decode(record, self.input.symbol, self.reading.unit)
    }

    /// Whether a bar is the auction's and is to be folded into the next.
    fn waits(&self, raw: &Raw) -> bool {
        self.reading.auction == Auction::Fold && self.input.format == Format::Dat(60) && is_auction(raw.wall)
    }

    /// The next rows; `None` after the last.
    #[expect(clippy::should_implement_trait, reason = "an error ends it: no iterator would")]
    pub fn next<R: Bar>(&mut self) -> io::Result<Option<Block<R>>> {
        if self.over {
            return Ok(None);
        }
        if self.refused {
            self.over = true;
            return Ok(Some(self.all_refused()));
        }
        let bytes = self.source.block(self.survey.ready.saturating_sub(self.at))?;
        if bytes.is_empty() {
            self.over = true;
            return Ok(None);
        }
        let mut block = self.block();
        for record in bytes.chunks_exact(self.input.format.record_bytes()) {
            self.at += 1;
            self.hash.update(record);
            self.take(record, &mut block);
        }
        block.done = self.done();
        Ok(Some(block))
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
            hash: self.hash.digest(),
            refused: self.refused,
            read_as: self.read_as.clone(),
        }
    }

    fn take<R: Bar>(&mut self, record: &[u8], block: &mut Block<R>) {
        let Some(Decoded { raw, repaired }) = self.decode(record) else {
            let value = hex(record);
            return block.refused.push(self.refusal(record, Reason::ValueIllegal, "frame", value));
        };
        let mut skip = |reason| *block.skipped.entry(reason).or_default() += 1;
        if let Some(wall) = self.last
            && raw.wall <= wall
        {
            if self.last_bytes == record {
                return skip(Reason::Duplicate);
            }
            let value = format!("{} after {wall}", raw.wall);
            return block.refused.push(self.refusal(record, Reason::FrameIllegal, "frame", value));
        }
        self.keep(&raw, record);
        let idle = raw.is_idle() && self.input.symbol.class() != Class::Index;
        if idle && (!R::MINUTE || raw.is_blank()) || self.survey.idle.contains(&raw.wall.date()) {
            return skip(Reason::Suspended);
        }
        if R::MINUTE && is_after_hours(raw.wall) {
            return skip(Reason::AfterHours);
        }
        if let Some(finding) = self.odd(&raw) {
            return block.refused.push(self.refused(record, vec![finding]));
        }
        if repaired {
            *block.warned.entry(Reason::AmountRepaired).or_default() += 1;
        }
        let mut push = |raw: &Raw| {
            block.records.push(R::of(raw));
            block.lines.push(self.at);
        };
        match fold(self.auction.take(), raw) {
            Folded::Nothing => {}
            Folded::Into(bar) => {
                push(&bar);
                return *block.skipped.entry(Reason::Superseded).or_default() += 1;
            }
            Folded::Before(auction) => push(&auction),
        }
        if self.waits(&raw) {
            self.auction = Some(raw);
        } else {
            push(&raw);
        }
    }

    fn keep(&mut self, raw: &Raw, record: &[u8]) {
        self.last = Some(raw.wall);
        self.last_bytes.clear();
        self.last_bytes.extend_from_slice(record);
    }

    /// A row that another unit explains, in a file that is sound otherwise.
    fn odd(&self, raw: &Raw) -> Option<Finding> {
        let row = raw.turnover();
        let applies = self.survey.alarm.failed() > 0 && Alarm::applies(self.input.symbol.class());
        (applies && row.off_by(QUANTA).is_some()).then(|| finding(row, self.reading.unit))
    }

    fn refusal(&self, record: &[u8], reason: Reason, field: &str, value: String) -> Refusal {
        self.refused(record, vec![Finding { reason, field: field.to_owned(), value }])
    }

    fn refused(&self, record: &[u8], findings: Vec<Finding>) -> Refusal {
        let symbol = self.input.symbol.to_string();
        Refusal { row: self.at, rows: 1, symbol, findings, raw: hex(record) }
    }

    /// One letter for all that is left. The records are not done: a file that is put right is read from here.
    fn all_refused<R>(&mut self) -> Block<R> {
        let mut block = self.block();
        let rows = self.survey.ready.saturating_sub(self.at);
        let findings = if self.survey.alarm.verdict() == Verdict::Refused {
            let (failed, checked) = (self.survey.alarm.failed(), self.survey.alarm.checked());
            let summary = format!(
                "in {failed} of {checked} rows turnover / volume lies outside low to high, {} are declared: {}",
                self.reading.unit,
                self.survey.alarm.guess()
            );
            let told = std::iter::once(summary).chain(mem::take(&mut self.survey.examples));
            let finding =
                |value| Finding { reason: Reason::UnitsOrAdjusted, field: "amount".to_owned(), value };
            told.map(finding).collect()
        } else {
            let value = "the file does not begin with the 8 bytes of a K-line file of QMT".to_owned();
            vec![Finding { reason: Reason::HeaderUnknown, field: String::new(), value }]
        };
        if rows > 0 {
            let (row, symbol) = (self.at + 1, self.input.symbol.to_string());
            block.refused.push(Refusal { row, rows, symbol, findings, raw: String::new() });
        }
        block
    }
}

fn hex(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(u32::from(half), 16)).collect()
}
