//! Recorded lines of an agent as a source: files, folders that grow. Knows lines, offsets and order; must not know
//! connections.
//!
//! Time is what the recording's heartbeats say: a bar that neither a later one nor this time shows to be final is kept until
//! more of the recording does. The cursor holds the offset of each file and the state of each security
//! that a chunk changed, so that any stored cursor is a place to go on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};
use sqep::{Chunk, Cursors, Kind, Source, app::Usage, shanghai};
use tokio::time::sleep;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    bar::Bar,
    config::{AliasChoice, QmtSettings},
    intake::Intake,
    protocol::{Message, Period, VERSION, parse},
    units::VolUnit,
};

/// Lines of a chunk, and rows at which it is full.
const CHUNK_LINES_MAX: u64 = 4_096;
const CHUNK_ROWS_MAX: usize = 8_192;
/// Bytes at the beginning of a file by which it is known again.
const HEAD_BYTES_MAX: u64 = 1_024;
/// Names of recordings; others are passed over in folders.
const EXTENSIONS: [&str; 3] = ["ndjson", "jsonl", "log"];

/// What a recording source works with.
#[derive(Debug, Clone)]
pub struct RecordingPlan {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// That of standard input, which nobody reads again.
    pub passing: Option<PathBuf>,
    /// Section `qmt`.
    pub settings: QmtSettings,
    /// Which number a renumbered stock goes by.
    pub alias: AliasChoice,
    /// What the stream holds.
    pub kind: Kind,
    /// Bytes of a line.
    pub line_bytes_max: usize,
    /// Between two looks.
    pub rescan: Duration,
    /// Whether it ends when everything is read.
    pub once: bool,
}

/// How far a file was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Place {
    offset: u64,
    line: u64,
    unit: Option<VolUnit>,
    now: Option<NaiveDateTime>,
    /// How it begins: so many bytes, and their hash.
    #[serde(default)]
    head: (u64, u64),
}

impl Place {
    fn see(&mut self, head: &[u8]) {
        let bytes = head.len().min(usize::try_from(self.offset).unwrap_or(usize::MAX));
        self.head = (u64::try_from(bytes).unwrap_or(0), xxh3_64(&head[..bytes]));
    }

    /// Whether a file that begins like this is the one it is a place of.
    fn is_of(&self, head: &[u8]) -> bool {
        let (bytes, hash) = self.head;
        let begins = usize::try_from(bytes).ok().and_then(|bytes| head.get(..bytes));
        begins.is_some_and(|begins| bytes == 0 || xxh3_64(begins) == hash)
    }
}

/// A file that is being read.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    origin: Arc<str>,
    reader: BufReader<File>,
    place: Place,
    head: Vec<u8>,
}

/// Recordings in the order of their names.
#[derive(Debug)]
pub struct RecordingSource<R> {
    plan: RecordingPlan,
    intake: Intake<R>,
    places: BTreeMap<PathBuf, Place>,
    queue: Vec<PathBuf>,
    open: Option<Open>,
    idle: bool,
    over: bool,
}

/// What a look at a file's next line found.
enum Look {
    Line(Vec<u8>),
    /// A line without an end.
    Tail(Vec<u8>),
    TooLong(u64),
    Nothing,
}

impl<R: Bar> RecordingSource<R> {
    /// A source that has not looked yet.
    pub fn new(plan: RecordingPlan) -> anyhow::Result<RecordingSource<R>> {
        let period = Period::of(plan.kind)
            .with_context(|| format!("stream.kind is {}: QMT has no such bars", plan.kind))?;
        let intake = Intake::new(plan.kind, period, &plan.settings, plan.alias);
        Ok(RecordingSource {
            plan,
            intake,
            places: BTreeMap::new(),
            queue: Vec::new(),
            open: None,
            idle: false,
            over: false,
        })
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let mut found = Vec::new();
        for path in &self.plan.paths {
            let data =
                fs::metadata(path).map_err(|error| anyhow!(Usage(anyhow!("{}: {error}", path.display()))))?;
            if data.is_dir() {
                let mut names: Vec<PathBuf> = fs::read_dir(path)?
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| is_recording(path))
                    .collect();
                names.sort_unstable();
                found.extend(names);
            } else {
                found.push(path.clone());
            }
        }
        found.reverse();
        self.queue = found;
        Ok(())
    }

    fn begin(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                warn!("{} is gone", path.display());
                return Ok(());
            }
            opened => opened.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut head = Vec::new();
        file.by_ref().take(HEAD_BYTES_MAX).read_to_end(&mut head)?;
        let mut place = self.places.get(path).cloned().unwrap_or_default();
        let size = file.metadata()?.len();
        if size < place.offset || !place.is_of(&head) {
            warn!("{} is not the file that was read: it is read from its first line", path.display());
            place = Place::default();
        }
        if size == place.offset {
            return Ok(());
        }
        file.seek(SeekFrom::Start(place.offset))?;
        let origin = path.display().to_string().into();
        self.open = Some(Open { path: path.to_owned(), origin, reader: BufReader::new(file), place, head });
        Ok(())
    }

    /// Reads on in the open file, up to a full chunk.
    fn give(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let first = open.place.line;
        while open.place.line - first < CHUNK_LINES_MAX && self.intake.outcome.rows() < CHUNK_ROWS_MAX {
            match next_line(&mut open.reader, self.plan.line_bytes_max)? {
                Look::Line(line) => self.line(&mut open, &line)?,
                Look::Tail(line) if self.is_whole(&open, &line) => self.line(&mut open, &line)?,
                Look::TooLong(bytes) => {
                    open.place.offset += bytes;
                    open.place.line += 1;
                    let why = format!("{bytes} bytes, at most {}", self.plan.line_bytes_max);
                    self.intake.unread(open.place.line, b"", &why);
                }
                Look::Tail(_) | Look::Nothing if open.place.line == first => return Ok(None),
                Look::Tail(_) | Look::Nothing => return Ok(Some(self.chunk(&mut open))),
            }
        }
        let chunk = self.chunk(&mut open);
        self.open = Some(open);
        Ok(Some(chunk))
    }

    /// Whether a line without an end is one: a message that reads is whole, and of what passes only once no more comes.
    fn is_whole(&self, open: &Open, line: &[u8]) -> bool {
        let whole = self.plan.passing.as_ref() == Some(&open.path) || parse(line).is_ok();
        if !whole {
            info!("{} ends inside a line: the rest is waited for", open.origin);
        }
        whole
    }

    fn line(&mut self, open: &mut Open, line: &[u8]) -> anyhow::Result<()> {
        open.place.offset += u64::try_from(line.len())?;
        open.place.line += 1;
        if line.trim_ascii().is_empty() { Ok(()) } else { self.take(open, line) }
    }

    fn take(&mut self, open: &mut Open, line: &[u8]) -> anyhow::Result<()> {
        let place = &mut open.place;
        match parse(line) {
            Ok(Message::Hello(hello)) if hello.v != VERSION => {
                bail!(
                    "{}:{}: protocol version {}, this program speaks {VERSION}",
                    open.origin,
                    place.line,
                    hello.v
                )
            }
            Ok(Message::Hello(hello)) => place.unit = hello.unit.volume,
            Ok(Message::Bars(bars)) => {
                let unit = self.plan.settings.vol_unit.or(place.unit).unwrap_or(VolUnit::Lots);
                self.intake.bars(&bars, unit, place.now);
            }
            Ok(Message::Beat(beat)) => {
                place.now = shanghai::wall(beat.now).max(place.now);
                if let Some(now) = place.now {
                    self.intake.due(now);
                }
            }
            Ok(
                Message::Instrument(_)
                | Message::Divid(_)
                | Message::Done(_)
                | Message::Failed(_)
                | Message::Codes(_),
            ) => {}
            Ok(Message::Odd { why, .. }) => self.intake.unread(place.line, line, &why),
            Ok(Message::Unknown(name)) => self.intake.tell(&format!("lines of type {name:?}")),
            Err(error) => {
                let mut why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                if !line.ends_with(b"\n") {
                    why.push_str("; the recording ends inside this line");
                }
                self.intake.unread(place.line, line, &why);
            }
        }
        Ok(())
    }

    fn chunk(&mut self, open: &mut Open) -> Chunk<R> {
        open.place.see(&open.head);
        let mut chunk = self.intake.chunk(&open.origin);
        self.places.insert(open.path.clone(), open.place.clone());
        chunk.cursor = self.states();
        let place = serde_json::to_string(&open.place).unwrap_or_default();
        chunk.cursor.push((format!("file/{}", open.path.display()), Some(place)));
        chunk
    }

    fn states(&mut self) -> Vec<(String, Option<String>)> {
        let touched = self.intake.touched();
        let state = |symbol| {
            let state = serde_json::to_string(&self.intake.board.state(symbol)).unwrap_or_default();
            (format!("{}/{symbol}", self.intake.period), Some(state))
        };
        touched.into_iter().map(state).collect()
    }

    /// The end of all recordings. A bar that nothing shows to be final stays in the cursor, for a recording that goes on.
    fn end(&mut self) -> Option<Chunk<R>> {
        if self.over {
            return None;
        }
        self.over = true;
        match self.intake.board.forming() {
            0 => {}
            bars => info!(
                "{bars} bars are not published: the recordings end before a later bar or a heartbeat shows that they are final"
            ),
        }
        let path = self.plan.passing.as_ref().filter(|path| self.places.contains_key(*path))?;
        let mut chunk = Chunk::empty("recording");
        chunk.cursor.push((format!("file/{}", path.display()), None));
        Some(chunk)
    }
}

fn is_recording(path: &Path) -> bool {
    let known = |ending: &str| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    path.is_file() && path.extension().and_then(|ending| ending.to_str()).is_some_and(known)
}

/// The next line. What has no end may still be being written.
fn next_line(reader: &mut BufReader<File>, bytes_max: usize) -> io::Result<Look> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut line = Vec::new();
    let read = u64::try_from(reader.by_ref().take(limit).read_until(b'\n', &mut line)?).unwrap_or(0);
    match read {
        0 => Ok(Look::Nothing),
        _ if line.ends_with(b"\n") => Ok(Look::Line(line)),
        _ if read < limit => Ok(Look::Tail(line)),
        _ => rest(reader).map(|rest| Look::TooLong(read + rest)),
    }
}

/// Passes over the rest of a line; its bytes. One that goes on later is refused again, by what is left of it.
fn rest(reader: &mut BufReader<File>) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        let over = end.is_some() || buffer.is_empty();
        reader.consume(used);
        bytes += u64::try_from(used).unwrap_or(0);
        if over {
            return Ok(bytes);
        }
    }
}

impl<R: Bar> Source for RecordingSource<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        self.intake = Intake::new(self.plan.kind, self.intake.period, &self.plan.settings, self.plan.alias);
        self.places.clear();
        for (name, value) in &cursors.fields {
            if let Some(path) = name.strip_prefix("file/") {
                let place = serde_json::from_str(value).with_context(|| format!("cursor field {name}"))?;
                self.places.insert(path.into(), place);
            } else if let Some(code) =
                name.strip_prefix(self.intake.period.word()).and_then(|rest| rest.strip_prefix('/'))
            {
                let state = serde_json::from_str(value).with_context(|| format!("cursor field {name}"))?;
                self.intake.board.restore(code.parse()?, state);
            }
        }
        (self.open, self.idle, self.over) = (None, false, false);
        self.look()
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        loop {
            if let Some(chunk) = self.give()? {
                self.idle = false;
                return Ok(Some(chunk));
            }
            if let Some(path) = self.queue.pop() {
                self.begin(&path)?;
            } else if self.plan.once {
                return Ok(self.end());
            } else if !self.idle {
                self.idle = true;
                return Ok(Some(Chunk::empty("recording")));
            } else {
                sleep(self.plan.rescan).await;
                self.look()?;
            }
        }
    }
}
