//! The vendor's files as a source: one a trading day in one folder, taken line by line in the order of their names.
//!
//! Knows files and how far each was read; must not know what a line means ([`crate::row`]), where bars go, nor when to
//! try again. A file is there when it is whole: it is moved into the folder. A correction comes in a file of its own,
//! such as `20240301-2.csv`: of two rows of one key the later one wins.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, fs,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    mem,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use sqep::{Chunk, Cursors, DayBar, Reason, Refusal, Source};
use tokio::{task::spawn_blocking, time::sleep};

use crate::row;

/// Lines of a chunk.
const CHUNK_LINES_MAX: usize = 8_192;
/// Bytes of a line.
const LINE_BYTES_MAX: u64 = 4_096;

/// Bars from daily files.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// The pause between two looks at the folder; `None`: the source ends where the files end.
    look: Option<Duration>,
    /// What was handed over of each file, not only what is stored.
    places: BTreeMap<String, Place>,
    waiting: VecDeque<String>,
    idle: bool,
}

/// How far a file was read; stored beside the stream as a field of the cursor, in the transaction of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    lines: u64,
    bytes: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.lines, self.bytes)
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Place> {
        let (lines, bytes) =
            text.split_once(' ').ok_or_else(|| anyhow!("{text:?} is not lines and bytes"))?;
        Ok(Place { lines: lines.parse()?, bytes: bytes.parse()? })
    }
}

impl Files {
    /// The files of `folder`. With a pause to `look` again it waits for more, for ever.
    pub fn new(folder: PathBuf, look: Option<Duration>) -> Files {
        Files { folder, look, places: BTreeMap::new(), waiting: VecDeque::new(), idle: false }
    }

    /// The next lines of the file in front, on a thread that may block.
    async fn take(&mut self, name: &str) -> anyhow::Result<Option<Chunk<DayBar>>> {
        let (path, file) = (self.folder.join(name), name.to_owned());
        let place = self.places.get(name).copied().unwrap_or_default();
        let taken =
            spawn_blocking(move || take(&path, &file, place)).await.context("a read was cut off")??;
        Ok(taken.map(|(chunk, after)| {
            self.places.insert(name.to_owned(), after);
            self.idle = false;
            chunk
        }))
    }

    async fn look_around(&mut self) -> anyhow::Result<()> {
        let (folder, places) = (self.folder.clone(), self.places.clone());
        self.waiting =
            spawn_blocking(move || unread(&folder, &places)).await.context("a look was cut off")??;
        Ok(())
    }
}

impl Source for Files {
    type Record = DayBar;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        let place = |(name, text): (&String, &String)| {
            let place = text.parse().with_context(|| format!("the stored cursor of {name}"))?;
            Ok((name.clone(), place))
        };
        self.places = cursors.fields.iter().map(place).collect::<anyhow::Result<_>>()?;
        self.idle = false;
        self.look_around().await
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<DayBar>>> {
        loop {
            while let Some(name) = self.waiting.front().cloned() {
                if let Some(chunk) = self.take(&name).await? {
                    return Ok(Some(chunk));
                }
                self.waiting.pop_front();
            }
            let Some(pause) = self.look else { return Ok(None) };
            if !mem::replace(&mut self.idle, true) {
                return Ok(Some(Chunk::empty("")));
            }
            sleep(pause).await;
            self.look_around().await?;
        }
    }
}

/// Files that hold more than was read of them, in the order of their names.
fn unread(folder: &Path, places: &BTreeMap<String, Place>) -> anyhow::Result<VecDeque<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let (read, bytes) = (places.get(&name).map_or(0, |place| place.bytes), entry.metadata()?.len());
        if bytes < read {
            let path = entry.path();
            let path = path.display();
            bail!("{path} has {bytes} bytes and {read} were read: put it back, a correction is a new file");
        }
        if bytes > read {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into())
}

/// The lines after a place, with the place after them; `None` at the end of the file.
fn take(path: &Path, name: &str, from: Place) -> anyhow::Result<Option<(Chunk<DayBar>, Place)>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(fs::File::open(path).with_context(cannot)?);
    file.seek(SeekFrom::Start(from.bytes)).with_context(cannot)?;
    let (mut chunk, mut place) = (Chunk::empty(name), from);
    for _ in 0..CHUNK_LINES_MAX {
        let Some(line) = line(&mut file, &mut place).with_context(cannot)? else { break };
        if place.lines > 1 {
            add(&mut chunk, place.lines, &line);
        } else if line != row::HEADER {
            bail!(
                "{} begins with {line:?}, expected {:?}: the vendor has changed it",
                path.display(),
                row::HEADER
            );
        }
    }
    chunk.cursor = vec![(name.to_owned(), Some(place.to_string()))];
    Ok((place != from).then_some((chunk, place)))
}

/// The next line, without its end; moves the place behind it.
fn line(file: &mut impl BufRead, place: &mut Place) -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = file.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    let read = u64::try_from(read)?;
    if read == LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
        bail!("line {} is longer than {LINE_BYTES_MAX} bytes", place.lines + 1);
    }
    place.bytes += read;
    place.lines += u64::from(read > 0);
    Ok((read > 0).then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// Adds what a line means. Every line is a record, refused or skipped, and counted.
fn add(chunk: &mut Chunk<DayBar>, number: u64, line: &str) {
    match row::parse(line) {
        Ok(Some(bar)) => {
            chunk.records.push(bar);
            chunk.lines.push(number);
        }
        Ok(None) => *chunk.skipped.entry(Reason::Suspended).or_default() += 1,
        Err(finding) => {
            let symbol = line.split(',').next().unwrap_or_default().to_owned();
            let raw = line.to_owned();
            chunk.refused.push(Refusal { row: number, rows: 1, symbol, findings: vec![finding], raw });
        }
    }
}
