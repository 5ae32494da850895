//! The sink: a batch becomes a file. Knows what a batch is and when it is durable; must not try again or acknowledge.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context, bail};
use serde::Serialize;
use sqep::{Appetite, Batch, Kind, Mark, Record, Sink, WriteError, codec::json};
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::StoreSettings;

/// What unfinished files end with.
const DRAFT: &str = ".tmp";

/// Writes batches of one kind as files with a line of JSON a record, each with its `version` and `source`.
///
/// **Why a record that comes twice does no harm.** A file's name is its partition, first and last entry and a hash of
/// its lines, so a batch that is written again replaces its own file by the same bytes. A batch that comes again with
/// other cuts makes other files with the same lines: readers take, of the lines of one key (symbol, frame), one with
/// the highest `version`, and it is the same record whichever copy it is. The mark is kept only after every file of the
/// batches before it is durable; lost, it makes records come again and nothing else.
#[derive(Debug)]
pub struct JsonLines<R> {
    folder: PathBuf,
    appetite: Appetite,
    record: PhantomData<fn() -> R>,
}

/// A line.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    #[serde(flatten)]
    record: T,
    source: &'a str,
}

impl<R: Record> JsonLines<R> {
    /// Opens `ROOT/KIND`, and makes it at the first start.
    pub fn open(settings: &StoreSettings, kind: Kind) -> anyhow::Result<JsonLines<R>> {
        if !R::fits(kind) {
            bail!("{} records do not belong on {kind}; set stream.kind to the kind of the stream", R::TYPE);
        }
        let folder = settings.root.join(kind.table());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let appetite = Appetite {
            records_max: settings.records_max,
            wait_max: Duration::from_secs(settings.wait_s_max),
        };
        Ok(JsonLines { folder, appetite, record: PhantomData })
    }

    /// Puts a file in place, on a thread that may block. Whatever hinders it may mend: a full disk, a folder that is away.
    async fn put(&self, name: String, bytes: Vec<u8>) -> Result<(), WriteError> {
        let folder = self.folder.clone();
        let put = spawn_blocking(move || {
            put(&folder, &name, &bytes)
                .with_context(|| format!("cannot write {name} in {}", folder.display()))
        });
        put.await.context("a write was cut off").and_then(|put| put).map_err(WriteError::Later)
    }

    fn mark_name(partition: u16) -> String {
        format!("mark-{partition}.json")
    }
}

impl<R: Record> Sink for JsonLines<R> {
    type Record = R;

    fn appetite(&self) -> Appetite {
        self.appetite
    }

    async fn write(&mut self, batch: &Batch<'_, R>) -> Result<(), WriteError> {
        let text = lines(batch).map_err(|error| WriteError::Never(error.into()))?;
        let Batch { partition, first, last, .. } = batch;
        let name = format!("p{partition}_{first}_{last}_{:016x}.jsonl", xxh3_64(&text));
        self.put(name, text).await
    }

    async fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), WriteError> {
        let text = serde_json::to_vec(mark).map_err(|error| WriteError::Later(error.into()))?;
        self.put(Self::mark_name(partition), text).await
    }

    async fn mark(&mut self, partition: u16) -> Result<Option<Mark>, WriteError> {
        let (folder, path) = (self.folder.clone(), self.folder.join(Self::mark_name(partition)));
        clear(&folder, partition).with_context(|| cannot_read(&folder)).map_err(WriteError::Later)?;
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => return Ok(None),
            Err(error) => {
                return Err(WriteError::Later(anyhow::Error::new(error).context(cannot_read(&path))));
            }
        };
        let mark = serde_json::from_slice(&text).with_context(|| {
            format!("{} is damaged: restore it, or delete it and run once with --resume", path.display())
        });
        mark.map(Some).map_err(WriteError::Never)
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn lines<R: Record>(batch: &Batch<'_, R>) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in batch.rows {
        let record = json::object(&row.record, Some(row.version));
        serde_json::to_writer(&mut text, &Line { record, source: batch.source(row) })?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Writes a file beside its name, and moves it there when it is durable. Never makes the folder: a store that has
/// disappeared is not begun anew.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // Nobody else's draft, were it a paused process of the same number in another container.
    let draft = folder.join(format!("{name}.{:016x}{DRAFT}", RandomState::new().hash_one(process::id())));
    let mut file = File::create_new(&draft)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // What cannot be removed now is cleared away at the next start.
        drop(fs::remove_file(&draft));
        return Err(error);
    }
    fs::rename(draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Clears away what a killed process left of a partition.
fn clear(folder: &Path, partition: u16) -> io::Result<()> {
    let ours = [format!("p{partition}_"), format!("mark-{partition}.")];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(DRAFT) && ours.iter().any(|start| name.starts_with(start.as_str())) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
