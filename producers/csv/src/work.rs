//! One file from the first look to its last row, on a thread of its own.
//!
//! Knows what the ledger decides and what the parser yields; must not know the order of files nor who takes the rows.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
};

use sqep::{Chunk, Reason, Refusal, Totals, check::Finding};
use tokio::sync::mpsc;

use crate::{
    enrich::{Enrich, Month, Side},
    error::LoadError,
    files::{Input, now},
    ledger::{Decision, Entry, Print, Stamp, State, Tail, Terms, Why},
    load::{self, Block, Options},
    report::{Examples, Outcome},
};

/// How often a file that changes under the reader is begun again before it counts as failed.
const TRIES_MAX: usize = 3;

/// What the publishing loop finds again in every record and counts itself.
const AT_THE_DOOR: [Reason; 2] = [Reason::OutsideLimits, Reason::BeyondCalendar];

/// One file to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The file, or the name under which the ledger keeps a month of the side files.
    pub(crate) input: Input,
    /// The month, where the rows come from the side files alone.
    pub(crate) month: Option<Month>,
    /// What the ledger says of it.
    pub(crate) entry: Option<Entry>,
    /// A pass up to which the ledger is ignored.
    pub(crate) forced_pass: Option<u64>,
    /// What side files know.
    pub(crate) side: Arc<Side>,
    /// The side files as they were looked at.
    pub(crate) side_stamp: Stamp,
    /// Bytes of the file read in the pass at work.
    pub(crate) consumed: Arc<AtomicU64>,
}

/// What all files are read by.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    /// How rows are read.
    pub(crate) options: Options,
    /// See [`Entry::mapping`].
    pub(crate) mapping: String,
    /// A last line without its end is left for later.
    pub(crate) holds_tail: bool,
    /// Rows handed on at once.
    pub(crate) rows_block_max: usize,
}

/// What comes of a file, piece by piece; the last is always an [`End`].
#[derive(Debug)]
pub(crate) enum Piece<R> {
    /// Rows, or a word to the ledger.
    Rows(Box<Rows<R>>),
    /// Nothing more.
    End(End),
}

/// Rows of one file and the ledger entry after them.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    /// The rows; its cursor is the entry.
    pub(crate) chunk: Chunk<R>,
    /// The entry.
    pub(crate) entry: Entry,
    /// Bytes of the file read so far.
    pub(crate) bytes: u64,
}

/// The end of a file.
#[derive(Debug)]
pub(crate) struct End {
    /// The file as it was looked at.
    pub(crate) stamp: Option<Stamp>,
    /// The dialect, empty if it never came to that.
    pub(crate) dialect: String,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// The first of the rows that were refused.
    pub(crate) examples: Examples,
}

/// Why work on a file ends early.
enum Halt {
    /// Nobody takes the pieces any more.
    Unwanted,
    /// The file is at fault.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Halt {
    fn from(error: E) -> Halt {
        Halt::Failed(error.into())
    }
}

/// Work on one file.
struct Bout<'a, R> {
    bench: &'a Bench,
    task: &'a Task,
    out: &'a mpsc::Sender<Piece<R>>,
    terms: Terms,
    origin: Arc<str>,
    /// The ledger's entry, moved on with what was handed out.
    entry: Option<Entry>,
    stamp: Option<Stamp>,
    dialect: String,
    examples: Examples,
}

impl Bench {
    /// Works on one file until its end, or until nobody takes the pieces any more.
    pub(crate) fn work<R: Enrich>(&self, task: &Task, out: &mpsc::Sender<Piece<R>>) {
        let terms = Terms {
            mapping: task.side.mapping(&self.mapping, R::JOINED, task.month.is_some()),
            forced_pass: task.forced_pass,
            holds_tail: self.holds_tail && task.month.is_none(),
        };
        let bout = Bout {
            bench: self,
            task,
            out,
            terms,
            origin: task.input.key.as_str().into(),
            entry: task.entry.clone(),
            stamp: None,
            dialect: String::new(),
            examples: Examples::default(),
        };
        // What was given up before it began costs nothing.
        if !out.is_closed() {
            bout.run();
        }
    }
}

impl<R: Enrich> Bout<'_, R> {
    fn run(mut self) {
        let done = match self.task.month {
            Some(month) => self.month(month),
            None => self.tries(),
        };
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(Halt::Failed(error)) => Outcome::Failed { error: format!("{error:#}") },
            Err(Halt::Unwanted) => return,
        };
        let end = End { stamp: self.stamp, dialect: self.dialect, outcome, examples: self.examples };
        if self.out.blocking_send(Piece::End(end)).is_err() {
            tracing::debug!(file = self.task.input.key, "nobody waits for the end of this file any more");
        }
    }

    fn tries(&mut self) -> Result<Outcome, Halt> {
        let mut tries = 1;
        loop {
            match self.file() {
                Err(Halt::Failed(error)) if tries < TRIES_MAX && has_changed(&error) => tries += 1,
                done => return done,
            }
        }
    }

    fn file(&mut self) -> Result<Outcome, Halt> {
        let path = &self.task.input.path;
        let stamp = Stamp::of(path, now()).map_err(|error| unread(path, error))?;
        self.stamp = Some(stamp);
        if self.entry.as_ref().is_some_and(|entry| self.terms.is_settled(entry, stamp)) {
            return Ok(Outcome::Unchanged);
        }
        let place = self.entry.as_ref().map_or(0, |entry| entry.bytes);
        let print = Print::of(path, stamp.size, place).map_err(|error| unread(path, error))?;
        match self.terms.decide(self.entry.as_ref(), &print) {
            Decision::Same => self.touch(stamp),
            Decision::Afresh(why) => self.read(stamp, &print, 0, why),
            Decision::After { rows, why } => self.read(stamp, &print, rows, why),
        }
    }

    /// The content is the same under another date: says so to the ledger, so that the next look is short.
    fn touch(&mut self, stamp: Stamp) -> Result<Outcome, Halt> {
        if let Some(entry) = self.entry.clone().filter(|entry| entry.stamp != stamp) {
            self.send(Chunk::empty(&self.origin), Entry { stamp, ..entry }, stamp.size)?;
        }
        Ok(Outcome::Unchanged)
    }

    /// The entry of a file of which `rows` rows are done.
    fn draft(&self, stamp: Stamp, print: &Print, rows: u64, why: Why) -> Entry {
        let goes_on = matches!(why, Why::Resumed | Why::Grown);
        let (before, pass) = match &self.entry {
            Some(entry) if goes_on => (entry.totals.clone(), entry.pass),
            Some(entry) => (Totals::default(), entry.pass + 1),
            None => (Totals::default(), 1),
        };
        Entry {
            stamp,
            bytes: print.bytes,
            hash: print.hash.clone(),
            rows,
            state: State::Part,
            tail: Tail::Closed,
            pass,
            mapping: self.terms.mapping.clone(),
            dialect: self.dialect.clone(),
            verdict: None,
            totals: before,
        }
    }

    fn read(&mut self, stamp: Stamp, print: &Print, rows: u64, why: Why) -> Result<Outcome, Halt> {
        let mut options = self.bench.options.clone();
        options.partial_tail = self.terms.holds_tail && !print.packed;
        options.consumed = Arc::clone(&self.task.consumed);
        let opened = load::open::<R>(&self.task.input.path, &options, rows);
        let mut loaded = match opened {
            Ok(loaded) => loaded,
            Err(LoadError::Empty(_)) if options.partial_tail => return Ok(Outcome::Unchanged),
            Err(error) => return self.unopened(self.draft(stamp, print, rows, why), error),
        };
        loaded.dialect_name().clone_into(&mut self.dialect);
        let mut entry = self.draft(stamp, print, rows, why);
        let side = &self.task.side;
        let join = |record: R| if side.is_empty() { record } else { record.enriched(side) };
        let mut held = loaded.next_joined(join)?;
        if let Some(refused) = held.take_if(|_| loaded.is_refused()) {
            return self.refuse(entry, refused.rows, refused.refused);
        }
        loop {
            let block = held.take();
            let next = if block.is_some() { loaded.next_joined(join) } else { Ok(None) };
            let bytes = block.as_ref().map_or(stamp.size, |block| block.bytes);
            let chunk = self.chunk(block, &mut entry);
            if let Ok(None) = next {
                (entry.state, entry.tail) = (State::Done, self.tail(print));
                self.send(chunk, entry, stamp.size)?;
                return Ok(Outcome::Published { why, before: rows });
            }
            self.send(chunk, entry.clone(), bytes)?;
            held = next?;
        }
    }

    /// How the last row ended. A file that grew while it was read may have been cut anywhere.
    fn tail(&self, print: &Print) -> Tail {
        let size = Stamp::of(&self.task.input.path, now()).map_or(0, |stamp| stamp.size);
        if size > print.bytes && !self.terms.holds_tail { Tail::Torn } else { self.terms.tail(print) }
    }

    /// A block as a chunk, and the entry after it.
    fn chunk(&mut self, block: Option<Block<R>>, entry: &mut Entry) -> Chunk<R> {
        let mut chunk = Chunk::empty(&self.origin);
        let Some(block) = block else { return chunk };
        entry.rows = block.rows;
        chunk.records = block.records;
        (chunk.lines, chunk.refused) = (block.lines, block.refused);
        chunk.refused.iter().for_each(|refusal| self.examples.refused(&self.origin, refusal));
        (chunk.skipped, chunk.warned) = (block.skipped, block.warned);
        entry.totals.add(&totals(&chunk));
        chunk.warned.retain(|reason, _| !AT_THE_DOOR.contains(reason));
        chunk
    }

    fn send(&mut self, mut chunk: Chunk<R>, entry: Entry, bytes: u64) -> Result<(), Halt> {
        chunk.cursor.push(entry.field(&self.task.input.key)?);
        self.entry = Some(entry.clone());
        let rows = Rows { chunk, entry, bytes };
        self.out.blocking_send(Piece::Rows(Box::new(rows))).map_err(|_| Halt::Unwanted)
    }

    /// A file that no dialect explains gets a letter; one that cannot be read is only told.
    fn unopened(&mut self, entry: Entry, error: LoadError) -> Result<Outcome, Halt> {
        let Some(reason) = error.reason() else { return Err(error.into()) };
        let value = match error {
            LoadError::HeaderUnknown { explanation, .. } => explanation,
            other => other.to_string(),
        };
        let finding = Finding { reason, field: "header".to_owned(), value };
        // What a row is was not found out, so the file counts as one.
        let refusal =
            Refusal { row: 1, rows: 1, symbol: String::new(), findings: vec![finding], raw: String::new() };
        self.refuse(entry, 0, vec![refusal])
    }

    /// Refuses the file as a whole, in one letter; the same content is told again without another.
    fn refuse(&mut self, mut entry: Entry, rows: u64, refused: Vec<Refusal>) -> Result<Outcome, Halt> {
        let found = refused.first().and_then(|refusal| refusal.findings.first());
        let reason = found.map_or(Reason::HeaderUnknown, |finding| finding.reason);
        let what = found.map_or_else(String::new, |finding| finding.value.clone());
        (entry.rows, entry.state, entry.verdict) = (rows, State::Refused, Some(reason));
        let told = self.entry.as_ref().filter(|old| old.is_same_refusal(&entry)).cloned();
        let (stamp, again) = (entry.stamp, told.is_some());
        for refusal in &refused {
            self.examples.refused(&self.origin, refusal);
        }
        match told {
            Some(old) if old.stamp == stamp => {}
            Some(old) => self.send(Chunk::empty(&self.origin), Entry { stamp, ..old }, stamp.size)?,
            None => {
                let chunk = Chunk { refused, ..Chunk::empty(&self.origin) };
                entry.totals.add(&totals(&chunk));
                self.send(chunk, entry, stamp.size)?;
            }
        }
        Ok(Outcome::Refused { reason, what, again })
    }

    /// What the side files alone know of a month.
    fn month(&mut self, month: Month) -> Result<Outcome, Halt> {
        let records = R::of_month(&self.task.side, month);
        "side files".clone_into(&mut self.dialect);
        let place = self.entry.as_ref().map_or(0, |entry| entry.bytes);
        let print = Side::print(&records, place);
        let stamp = self.task.side_stamp;
        self.stamp = Some(stamp);
        let (done, why) = match self.terms.decide(self.entry.as_ref(), &print) {
            Decision::Same => return Ok(Outcome::Unchanged),
            Decision::Afresh(why) => (0, why),
            Decision::After { rows, why } => (rows, why),
        };
        let mut entry = self.draft(stamp, &print, done, why);
        let new = records.get(usize::try_from(done)?..).unwrap_or_default();
        let parts = new.chunks(self.bench.rows_block_max.max(1));
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.enumerate() {
            let chunk = Chunk { records: part.to_vec(), ..Chunk::empty(&self.origin) };
            entry.rows += chunk.read();
            entry.totals.add(&totals(&chunk));
            entry.state = if at == last { State::Done } else { State::Part };
            self.send(chunk, entry.clone(), 0)?;
        }
        Ok(Outcome::Published { why, before: done })
    }
}

/// What a chunk adds to the counts.
fn totals<R>(chunk: &Chunk<R>) -> Totals {
    let mut totals = Totals {
        read: chunk.read(),
        appended: u64::try_from(chunk.records.len()).unwrap_or(u64::MAX),
        skipped: chunk.skipped.clone(),
        warned: chunk.warned.clone(),
        ..Totals::default()
    };
    for refusal in &chunk.refused {
        if let Some(finding) = refusal.findings.first() {
            *totals.refused.entry(finding.reason).or_default() += refusal.rows;
        }
    }
    totals
}

fn has_changed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LoadError::Changed { .. }))
}

fn unread(path: &std::path::Path, error: io::Error) -> LoadError {
    LoadError::Read { path: path.to_owned(), error }
}
