//! What was done with each file, and so what is to be done with it now.
//!
//! Knows sizes, times, hashes and counts; must not know a dialect, a row nor a stream. An [`Entry`] travels as one
//! cursor field in the transaction that appends the rows it speaks of, so it is never ahead of them nor behind.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sqep::{Cursors, Reason, Totals};
use xxhash_rust::xxh3::Xxh3;

/// Bytes hashed at once.
const HASH_BYTES_MAX: usize = 256 * 1024;

/// How gzip and zstd begin.
const PACKED: [&[u8]; 2] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd]];

/// A file as its folder shows it. While it stays the same, the content is not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Length, bytes.
    pub size: u64,
    /// Last change of the content, ns since 1970.
    pub mtime: u64,
    /// Last change of anything about the file, ns since 1970; unlike `mtime` no program can set it back. 0 where the
    /// system has none.
    pub ctime: u64,
    /// Changed so shortly before that another change could bear the same date.
    #[serde(default)]
    pub fresh: bool,
}

/// The coarsest clock that dates files: FAT counts in steps of two seconds.
const FRESH_MAX: Duration = Duration::from_secs(2);

impl Stamp {
    /// Looks at a file, through links, at the time `now`.
    pub fn of(path: &Path, now: SystemTime) -> io::Result<Stamp> {
        let facts = std::fs::metadata(path)?;
        if facts.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (mtime, ctime) = (since_1970(facts.modified()?), ctime(&facts));
        let fresh = mtime.max(ctime).saturating_add(nanos(FRESH_MAX)) > since_1970(now);
        Ok(Stamp { size: facts.len(), mtime, ctime, fresh })
    }
}

fn since_1970(time: SystemTime) -> u64 {
    nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(unix)]
fn ctime(facts: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(facts.ctime()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(facts.ctime_nsec()).unwrap_or(0))
}

#[cfg(not(unix))]
fn ctime(_: &Metadata) -> u64 {
    0
}

/// The content of a file as one pass of hashing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    /// Bytes hashed.
    pub bytes: u64,
    /// xxh3 of all of them.
    pub hash: String,
    /// xxh3 of the bytes before the place asked for, and the byte at it; none if the file ends earlier.
    pub before: Option<(String, Option<u8>)>,
    /// The last byte.
    pub last: Option<u8>,
    /// Whether it begins as gzip or zstd do.
    pub packed: bool,
}

impl Print {
    /// Hashes the first `size` bytes of a file, noting the hash at `place`.
    pub fn of(path: &Path, size: u64, place: u64) -> io::Result<Print> {
        Print::read(File::open(path)?.take(size), place)
    }

    /// Hashes everything, noting the hash at `place`.
    pub fn read(mut input: impl Read, place: u64) -> io::Result<Print> {
        let mut hasher = Xxh3::new();
        let mut buffer = vec![0; HASH_BYTES_MAX];
        let mut print = Print { bytes: 0, hash: String::new(), before: None, last: None, packed: false };
        loop {
            let held = match input.read(&mut buffer) {
                Ok(held) => buffer.get(..held).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            print.note(&mut hasher, held, place);
            if held.is_empty() {
                print.hash = hex(&hasher);
                return Ok(print);
            }
        }
    }

    fn note(&mut self, hasher: &mut Xxh3, held: &[u8], place: u64) {
        self.packed |= self.bytes == 0 && PACKED.iter().any(|mark| held.starts_with(mark));
        let ahead = usize::try_from(place.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        if self.before.is_none() && ahead <= held.len() && (ahead < held.len() || held.is_empty()) {
            let (before, after) = held.split_at(ahead);
            hasher.update(before);
            self.before = Some((hex(hasher), after.first().copied()));
            hasher.update(after);
        } else {
            hasher.update(held);
        }
        self.bytes += u64::try_from(held.len()).unwrap_or(u64::MAX);
        self.last = held.last().copied().or(self.last);
    }
}

fn hex(hasher: &Xxh3) -> String {
    format!("{:016x}", hasher.digest())
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Some rows are on the stream, more are to come.
    Part,
    /// Every row is accounted for.
    Done,
    /// The file was refused as a whole: nothing of it is on the stream, its letter is in the dead letters.
    Refused,
}

/// How the last row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tail {
    /// With a line end: what comes after is another row.
    Closed,
    /// At the end of the file: if it grows by anything but a line end, the row was longer and is read again.
    Open,
    /// Its line end had not come, so it was left for later.
    Held,
    /// Unknown, for the content is compressed or grew while it was read: if the file grows, the row is read again.
    Torn,
}

/// What was done with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The file when it was last looked at.
    pub stamp: Stamp,
    /// Bytes from its beginning that `hash` covers.
    pub bytes: u64,
    /// xxh3 of these bytes.
    pub hash: String,
    /// Rows from its beginning that are accounted for.
    pub rows: u64,
    /// How far it is.
    pub state: State,
    /// How the last row ended.
    pub tail: Tail,
    /// How often it was begun from its first row.
    pub pass: u64,
    /// What the rows were read by: a hash of the dialect asked for and of everything that changes its meaning.
    pub mapping: String,
    /// The dialect it was read by.
    pub dialect: String,
    /// Why it was refused as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Reason>,
    /// What became of its rows since it was last begun.
    pub totals: Totals,
}

/// What a file is looked at by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// See [`Entry::mapping`].
    pub mapping: String,
    /// An entry of this pass or an earlier one is ignored.
    pub forced_pass: Option<u64>,
    /// A last line without its end is left for later, unless the content is compressed.
    pub holds_tail: bool,
}

/// What is to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the content is what was done.
    Same,
    /// Read from the first row.
    Afresh(Why),
    /// Read, but hand out only what comes after these rows.
    After {
        /// Rows done.
        rows: u64,
        /// Why.
        why: Why,
    },
}

/// Why a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Never seen before.
    New,
    /// Begun and not ended: a run was interrupted.
    Resumed,
    /// Longer, and the same as far as it was done.
    Grown,
    /// Other content.
    Changed,
    /// Read by another dialect, other declarations or other side files.
    Remapped,
    /// Refused before, and the same content: it may read by now, or is told again.
    Refused,
    /// Asked for.
    Forced,
}

impl Why {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Resumed => "resumed",
            Why::Grown => "grown",
            Why::Changed => "changed",
            Why::Remapped => "other dialect or side files",
            Why::Refused => "refused before",
            Why::Forced => "forced",
        }
    }
}

impl Terms {
    fn ignores(&self, entry: &Entry) -> bool {
        self.forced_pass.is_some_and(|pass| entry.pass <= pass)
    }

    /// Whether the folder alone shows that nothing is to be done.
    pub fn is_settled(&self, entry: &Entry, stamp: Stamp) -> bool {
        let waits = entry.tail == Tail::Held && !self.holds_tail;
        let same = entry.stamp == stamp && !stamp.fresh && entry.mapping == self.mapping;
        same && entry.state == State::Done && !waits && !self.ignores(entry)
    }

    /// What is to be done with a file of this content; `print` was taken at the entry's bytes.
    pub fn decide(&self, entry: Option<&Entry>, print: &Print) -> Decision {
        let Some(entry) = entry else { return Decision::Afresh(Why::New) };
        let next = match &print.before {
            _ if self.ignores(entry) => return Decision::Afresh(Why::Forced),
            _ if entry.mapping != self.mapping => return Decision::Afresh(Why::Remapped),
            Some((hash, next)) if *hash == entry.hash => *next,
            _ => return Decision::Afresh(Why::Changed),
        };
        let waits = entry.tail == Tail::Held && !self.holds_tail;
        let why = match entry.state {
            State::Refused if next.is_some() => return Decision::Afresh(Why::Changed),
            State::Refused => return Decision::Afresh(Why::Refused),
            State::Done if next.is_none() && !waits => return Decision::Same,
            State::Done => Why::Grown,
            State::Part => Why::Resumed,
        };
        let again = match entry.tail {
            Tail::Open => !matches!(next, Some(b'\n' | b'\r')),
            Tail::Torn => true,
            Tail::Closed | Tail::Held => false,
        };
        Decision::After { rows: entry.rows.saturating_sub(u64::from(again)), why }
    }

    /// How the last row of a file of this content ends, once all of it is done.
    pub fn tail(&self, print: &Print) -> Tail {
        match print.last {
            _ if print.packed => Tail::Torn,
            None | Some(b'\n') => Tail::Closed,
            Some(_) if self.holds_tail => Tail::Held,
            Some(_) => Tail::Open,
        }
    }
}

/// The entries of all files, by [`crate::files::Input::key`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
}

impl Ledger {
    /// Reads what is stored beside the stream. A field that does not read is returned by name: its file counts as new.
    pub fn read(cursors: &Cursors) -> (Ledger, Vec<String>) {
        let (mut ledger, mut unread) = (Ledger::default(), Vec::new());
        for (key, text) in &cursors.fields {
            match serde_json::from_str(text) {
                Ok(entry) => ledger.put(key, entry),
                Err(_) => unread.push(key.clone()),
            }
        }
        (ledger, unread)
    }

    /// The entry of a file.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Replaces the entry of a file.
    pub fn put(&mut self, key: &str, entry: Entry) {
        self.entries.insert(key.to_owned(), entry);
    }

    /// Every file and its entry.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }
}

impl Entry {
    /// Whether the same content was refused for the same reason, read the same way.
    pub fn is_same_refusal(&self, other: &Entry) -> bool {
        let same = self.hash == other.hash && self.bytes == other.bytes && self.mapping == other.mapping;
        same && self.state == State::Refused && other.state == State::Refused && self.verdict == other.verdict
    }

    /// The cursor field that stores it.
    pub fn field(&self, key: &str) -> Result<(String, Option<String>), serde_json::Error> {
        Ok((key.to_owned(), Some(serde_json::to_string(self)?)))
    }
}
