//! One file from the first look to its last row, on a thread of its own.
//!
//! Knows what the ledger decides and what the parser yields; must not know the order of files nor who takes the rows.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use sqep::{Chunk, Reason, Refusal, Totals, check::Finding};
use tokio::sync::mpsc;

use crate::{
    enrich::{Enrich, Side},
    files::{Input, is_packed},
    ledger::{Decision, Entry, Ledger, Print, Stamp, State, Tail, Terms, Why},
    load::{self, Block, LoadError, Loaded, Options},
    report::Outcome,
};

/// One file to be looked at.
#[derive(Debug, Clone)]
pub struct Task {
    /// The file.
    pub input: Input,
    /// What the ledger says of it.
    pub entry: Option<Entry>,
    /// A pass up to which the ledger is ignored.
    pub forced_pass: Option<u64>,
    /// What side files know.
    pub side: Arc<Side>,
}

/// What all files are read by.
#[derive(Debug, Clone)]
pub struct Bench {
    /// How rows are read.
    pub options: Options,
    /// See [`Entry::mapping`].
    pub mapping: String,
    /// A last line without its end is left for later.
    pub holds_tail: bool,
}

/// What comes of a file, piece by piece; the last is always an [`End`].
#[derive(Debug)]
pub enum Piece<R> {
    /// Rows, or a word to the ledger.
    Rows(Rows<R>),
    /// Nothing more.
    End(End),
}

/// Rows of one file and the ledger entry after them.
#[derive(Debug)]
pub struct Rows<R> {
    /// The rows; its cursor is the entry.
    pub chunk: Chunk<R>,
    /// The entry.
    pub entry: Entry,
    /// Bytes of the file read so far.
    pub bytes: u64,
}

/// The end of a file.
#[derive(Debug)]
pub struct End {
    /// The file as it was looked at.
    pub stamp: Option<Stamp>,
    /// The dialect, empty if it never came to that.
    pub dialect: String,
    /// What became of it.
    pub outcome: Outcome,
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

impl Bench {
    /// Works on one file until its end, or until nobody takes the pieces any more.
    pub fn work<R: Enrich>(&self, task: &Task, out: &mpsc::Sender<Piece<R>>) {
        if out.is_closed() {
            return;
        }
        let stamp = Stamp::of(&task.input.path);
        let looked = stamp.as_ref().ok().copied();
        let mut bout = Bout { bench: self, task, out, dialect: String::new(), terms: self.terms(task) };
        let outcome = match stamp.context("it could not be looked at").map_err(Halt::Failed).and_then(|stamp| bout.file(stamp)) {
            Ok(outcome) => outcome,
            Err(Halt::Failed(error)) => Outcome::Failed { error: format!("{error:#}") },
            Err(Halt::Unwanted) => return,
        };
        let end = End { stamp: looked, dialect: bout.dialect, outcome };
        if out.blocking_send(Piece::End(end)).is_err() {
            tracing::debug!(file = task.input.key, "nobody waits for the end of this file any more");
        }
    }

    fn terms(&self, task: &Task) -> Terms {
        let packed = is_packed(&task.input.path);
        Terms {
            mapping: self.mapping.clone(),
            forced_pass: task.forced_pass,
            holds_tail: self.holds_tail && !packed,
            packed,
        }
    }
}
