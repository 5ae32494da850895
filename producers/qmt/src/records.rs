//! Records of a file, a window at a time, each with its place in time. Knows bytes and labels; must not know what becomes
//! of a row.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::Symbol;

use crate::{
    files::Input,
    format::{Decoded, Format},
    order::in_order,
    reading::Reading,
    units::VolUnit,
};

/// Records of a window: what is in memory at a time, and what a chunk holds at most.
const WINDOW_RECORDS_MAX: usize = 4_096;
/// Records after a window that say whether its last labels lie ahead of their time.
const AFTER_RECORDS_MAX: usize = 64;
/// How far ahead of the clock a label may lie: today's day bar, and a clock that goes wrong a little.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// Where the label of a record stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// After all that are in place before it.
    Right,
    /// The same record as the one before.
    Again,
    /// Not after the one in place before it.
    Behind(NaiveDateTime),
    /// Ahead of those that follow.
    Early,
    /// Ahead of the clock.
    Ahead,
    /// It has none that could be read.
    None,
}

/// A record as it was understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// `None`: its time is none.
    pub(crate) decoded: Option<Decoded>,
    pub(crate) place: Place,
}

/// Some records in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<Row>,
}

/// Records of a file, a window at a time.
#[derive(Debug)]
pub(crate) struct Records {
    file: File,
    format: Format,
    symbol: Symbol,
    unit: VolUnit,
    horizon: NaiveDateTime,
    /// Records of the file, and how many there are without those of zeros at its end: room that was made and not written, as
    /// a power cut leaves it.
    whole: u64,
    filled: u64,
    /// Records not to be read before a rewind, so that two passes see the same.
    left: u64,
    /// What was read already of the next window.
    carry: Vec<u8>,
    last: Option<NaiveDateTime>,
    last_bytes: Vec<u8>,
}

impl Records {
    pub(crate) fn open(input: &Input, reading: &Reading) -> io::Result<Records> {
        let mut file = File::open(&input.path)?;
        let (whole, filled) = measure(&mut file, input.format)?;
        Ok(Records {
            file,
            whole,
            filled,
            format: input.format,
            symbol: input.symbol,
            unit: reading.unit,
            horizon: reading.now + AHEAD_MAX,
            left: 0,
            carry: Vec::new(),
            last: None,
            last_bytes: Vec::new(),
        })
    }

    /// Records of zeros at the end.
    pub(crate) fn unwritten(&self) -> u64 {
        self.whole - self.filled
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

    /// Begins again at the first record, for at most so many.
    pub(crate) fn rewind(&mut self, records_max: u64) -> io::Result<()> {
        (self.left, self.last) = (records_max.min(self.filled), None);
        self.carry.clear();
        self.last_bytes.clear();
        let header = u64::try_from(self.format.header().len()).unwrap_or(0);
        self.file.seek(SeekFrom::Start(header)).map(drop)
    }

    /// The next window; `None` after the last record.
    pub(crate) fn window(&mut self) -> io::Result<Option<Window>> {
        let size = self.format.record_bytes();
        let mut bytes = std::mem::take(&mut self.carry);
        let most = WINDOW_RECORDS_MAX + AFTER_RECORDS_MAX;
        let more = usize::try_from(self.left).unwrap_or(usize::MAX).min(most - bytes.len() / size);
        let had = bytes.len();
        bytes.resize(had + more * size, 0);
        let read = fill(&mut self.file, &mut bytes[had..])? / size;
        bytes.truncate(had + read * size);
        self.left -= u64::try_from(read).unwrap_or(0);
        if bytes.is_empty() {
            return Ok(None);
        }
        let decoded: Vec<Option<Decoded>> = bytes
            .chunks_exact(size)
            .map(|record| self.format.decode(record, self.symbol, self.unit))
            .collect();
        let labels: Vec<_> = decoded.iter().map(|decoded| decoded.map(|decoded| decoded.raw.wall)).collect();
        let placed = in_order(&labels, self.last, self.horizon);
        let whole = decoded.len().min(WINDOW_RECORDS_MAX);
        self.carry = bytes.split_off(whole * size);
        let mut rows = Vec::with_capacity(whole);
        for ((decoded, placed), record) in decoded.into_iter().zip(placed).zip(bytes.chunks_exact(size)) {
            rows.push(Row { decoded, place: self.place(decoded, placed, record) });
        }
        Ok(Some(Window { bytes, rows }))
    }

    fn place(&mut self, decoded: Option<Decoded>, placed: bool, record: &[u8]) -> Place {
        let Some(label) = decoded.map(|decoded| decoded.raw.wall) else { return Place::None };
        if placed {
            self.last = Some(label);
            self.last_bytes.clear();
            self.last_bytes.extend_from_slice(record);
            return Place::Right;
        }
        match self.last {
            _ if label > self.horizon => Place::Ahead,
            Some(last) if label == last && self.last_bytes == record => Place::Again,
            Some(last) if label <= last => Place::Behind(last),
            _ => Place::Early,
        }
    }
}

/// Whole records, and how many of them there are up to the last one that is not all zeros.
fn measure(file: &mut File, format: Format) -> io::Result<(u64, u64)> {
    let (size, header) = (format.record_bytes(), u64::try_from(format.header().len()).unwrap_or(0));
    let wide = u64::try_from(size).unwrap_or(1);
    let whole = file.seek(SeekFrom::End(0))?.saturating_sub(header) / wide;
    let (mut records, mut bytes) = (whole, Vec::new());
    while records > 0 {
        let some = usize::try_from(records).unwrap_or(usize::MAX).min(AFTER_RECORDS_MAX);
        records -= u64::try_from(some).unwrap_or(records);
        file.seek(SeekFrom::Start(header + records * wide))?;
        bytes.resize(some * size, 0);
        let read = fill(file, &mut bytes)?;
        if let Some(last) =
            bytes[..read].chunks_exact(size).rposition(|record| record.iter().any(|&byte| byte != 0))
        {
            return Ok((whole, records + u64::try_from(last + 1).unwrap_or(0)));
        }
    }
    Ok((whole, 0))
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
