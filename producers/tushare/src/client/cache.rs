//! Answers on disk, so that the same past is not asked for twice. Knows files; must not know when a past is closed.
//!
//! One file a question, `API/xx/HASH.json.zst`, written beside and renamed, with a checksum over its content: a file
//! that was cut or garbled is as good as none, and is replaced. Errors are not kept.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{BufReader, BufWriter, ErrorKind, IntoInnerError, Read as _, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    apis::Api,
    table::{Cell, Table},
};

const ZSTD_LEVEL: i32 = 1;
const SUFFIX: &str = ".json.zst";
/// How every file begins.
const ASKED: &[u8] = br#"{"asked_ms":"#;
/// As much of a file as holds the time.
const HEAD_BYTES: usize = 36;
/// Written beside a file, before it takes its name.
const BESIDE: &str = ".tmp";

/// What a file holds. The question stands in it, so that a file answers no other one.
#[derive(Deserialize, Serialize)]
struct Kept<P, F, R> {
    asked_ms: i64,
    api: String,
    params: P,
    fields: F,
    rows: R,
}

type Params = Vec<(String, String)>;
type Read = Kept<Params, Vec<String>, Vec<Vec<Cell>>>;

/// A folder of answers.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
    /// What lies there, oldest first; read when first needed.
    shelf: Mutex<Option<Shelf>>,
    serial: AtomicU64,
}

#[derive(Debug, Default)]
struct Shelf {
    /// When each was written, and its bytes.
    files: HashMap<PathBuf, (u64, u64)>,
    by_age: BTreeSet<(u64, PathBuf)>,
    bytes: u64,
}

impl Cache {
    pub(super) fn new(dir: &Path, bytes_max: u64) -> Cache {
        Cache { dir: dir.to_owned(), bytes_max, shelf: Mutex::new(None), serial: AtomicU64::new(0) }
    }

    /// The answer to a question, if it was asked at or after `since_ms`.
    pub(super) fn find(&self, api: &Api, params: &[(&'static str, String)], since_ms: i64) -> Option<Table> {
        let path = self.path(api, params);
        match read(&path) {
            Ok(kept) if kept.answers(api, params) => {
                let table = Table { api: kept.api, fields: kept.fields, rows: kept.rows };
                (kept.asked_ms >= since_ms).then_some(table)
            }
            Ok(_) => None,
            Err(error) if is_absent(&error) => None,
            Err(error) => {
                warn!("a kept answer cannot be read and is asked for again: {error:#}");
                None
            }
        }
    }

    /// Whether there is an answer to a question that was asked at or after `since_ms`: a look at the beginning of its
    /// file.
    pub(super) fn has(&self, api: &Api, params: &[(&'static str, String)], since_ms: i64) -> bool {
        asked_ms(&self.path(api, params)).is_some_and(|asked_ms| asked_ms >= since_ms)
    }

    /// Keeps an answer. A full disk is a warning: what was answered is still good.
    pub(super) fn keep(&self, table: &Table, api: &Api, params: &[(&'static str, String)], asked_ms: i64) {
        let path = self.path(api, params);
        match self.write(&path, table, params, asked_ms) {
            Ok(bytes) => self.make_room(path, bytes),
            Err(error) => warn!("an answer of {} is not kept: {error:#}", api.name),
        }
    }

    fn path(&self, api: &Api, params: &[(&'static str, String)]) -> PathBuf {
        let mut hasher = Xxh3Default::new();
        let mut feed = |text: &str| {
            hasher.update(text.as_bytes());
            hasher.update(&[0]);
        };
        feed(api.name);
        api.fields.iter().for_each(|field| feed(field));
        for (name, value) in sorted(params) {
            feed(name);
            feed(value);
        }
        let hash = format!("{:032x}", hasher.digest128());
        self.dir.join(api.name).join(&hash[..2]).join(format!("{hash}{SUFFIX}"))
    }

    fn write(
        &self,
        path: &Path,
        table: &Table,
        params: &[(&'static str, String)],
        asked_ms: i64,
    ) -> anyhow::Result<u64> {
        let folder = path.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}-{serial}{BESIDE}", std::process::id()));
        let written = fill(&beside, table, params, asked_ms)
            .and_then(|bytes| fs::rename(&beside, path).map(|()| bytes).map_err(anyhow::Error::from));
        if written.is_err() {
            drop(fs::remove_file(&beside));
        }
        written.with_context(|| path.display().to_string())
    }

    fn make_room(&self, path: PathBuf, bytes: u64) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *shelf {
            Some(shelf) => shelf.put(modified_ms(&path), path, bytes),
            none => *none = Some(Shelf::read(&self.dir)),
        }
        let Some(shelf) = &mut *shelf else { return };
        while shelf.bytes > self.bytes_max {
            let Some(path) = shelf.pop() else { return };
            debug!("kept answers outgrow tushare.cache_bytes_max: {} goes", path.display());
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                warn!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

impl Read {
    fn answers(&self, api: &Api, params: &[(&'static str, String)]) -> bool {
        let (own, asked) = (self.params.iter(), sorted(params));
        let same = own.map(|(name, value)| (name.as_str(), value.as_str())).eq(asked);
        let whole = self.rows.iter().all(|row| row.len() == self.fields.len());
        self.api == api.name && same && whole
    }
}

impl Shelf {
    fn read(dir: &Path) -> Shelf {
        let mut shelf = Shelf::default();
        let apis = fs::read_dir(dir).into_iter().flatten().flatten();
        let groups = apis.flat_map(|api| fs::read_dir(api.path()).into_iter().flatten().flatten());
        for entry in groups.flat_map(|group| fs::read_dir(group.path()).into_iter().flatten().flatten()) {
            let (path, size) = (entry.path(), entry.metadata().map_or(0, |file| file.len()));
            shelf.put(modified_ms(&path), path, size);
        }
        shelf
    }

    fn put(&mut self, modified_ms: u64, path: PathBuf, bytes: u64) {
        self.take(&path);
        self.by_age.insert((modified_ms, path.clone()));
        self.files.insert(path, (modified_ms, bytes));
        self.bytes += bytes;
    }

    fn pop(&mut self) -> Option<PathBuf> {
        let (_, path) = self.by_age.first()?.clone();
        self.take(&path);
        Some(path)
    }

    fn take(&mut self, path: &Path) {
        if let Some((modified_ms, bytes)) = self.files.remove(path) {
            self.by_age.remove(&(modified_ms, path.to_owned()));
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

fn sorted<'a>(params: &'a [(&'static str, String)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut sorted: Vec<_> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
    sorted.sort_unstable();
    sorted.into_iter()
}

fn fill(path: &Path, table: &Table, params: &[(&'static str, String)], asked_ms: i64) -> anyhow::Result<u64> {
    let mut encoder = zstd::Encoder::new(BufWriter::new(File::create(path)?), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let mut encoder = BufWriter::new(encoder);
    let params: Vec<(&str, &str)> = sorted(params).collect();
    let kept = Kept { asked_ms, api: table.api.clone(), params, fields: &table.fields, rows: &table.rows };
    serde_json::to_writer(&mut encoder, &kept)?;
    let mut file = encoder.into_inner().map_err(IntoInnerError::into_error)?.finish()?;
    file.flush()?;
    let file = file.into_inner().map_err(IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// When a kept answer was asked for: the number that stands first in its file.
fn asked_ms(path: &Path) -> Option<i64> {
    let mut head = [0; HEAD_BYTES];
    zstd::Decoder::new(File::open(path).ok()?).ok()?.read_exact(&mut head).ok()?;
    let text = std::str::from_utf8(head.strip_prefix(ASKED)?).ok()?;
    text.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?.parse().ok()
}

fn read(path: &Path) -> anyhow::Result<Read> {
    let decoder = zstd::Decoder::new(File::open(path)?).with_context(|| path.display().to_string())?;
    // The checksum stands at the very end, behind what the parser needs.
    let text =
        std::io::read_to_string(BufReader::new(decoder)).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn modified_ms(path: &Path) -> u64 {
    let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api;

    fn table(rows: usize) -> Table {
        let row = |row: usize| {
            vec![
                Cell::Text(format!("{row:06}.SZ").into()),
                Cell::Number(0.1 * f64::from(u32::try_from(row).unwrap())),
                Cell::Null,
            ]
        };
        let fields = ["ts_code", "adj_factor", "trade_date"].map(str::to_owned).to_vec();
        Table { api: "adj_factor".to_owned(), fields, rows: (0..rows).map(row).collect() }
    }

    fn params(date: &str) -> Vec<(&'static str, String)> {
        vec![("trade_date", date.to_owned()), ("exchange", "SSE".to_owned())]
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        Shelf::read(dir).files.into_keys().collect()
    }

    #[test]
    fn what_is_kept_comes_back_bit_for_bit_and_only_to_the_same_question() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path(), u64::MAX);
        let (api, other) = (api("adj_factor"), api("fund_adj"));
        assert_eq!(cache.find(api, &params("20240102"), 0), None);
        cache.keep(&table(1_000), api, &params("20240102"), 7);
        let mut turned = params("20240102");
        turned.reverse();
        assert_eq!(cache.find(api, &turned, 7), Some(table(1_000)), "the order of parameters means nothing");
        assert_eq!(cache.find(api, &params("20240102"), 8), None, "asked before the day was settled");
        assert!(cache.has(api, &params("20240102"), 7) && !cache.has(api, &params("20240102"), 8));
        assert!(!cache.has(api, &params("20240103"), 0));
        cache.keep(&table(0), other, &[], 1_800_000_000_000);
        assert!(cache.has(other, &[], 1_800_000_000_000), "of the shortest answer too");
        assert_eq!(cache.find(api, &params("20240103"), 0), None);
        assert_eq!(cache.find(other, &params("20240102"), 0), None);
    }

    #[test]
    fn a_file_cut_or_garbled_anywhere_is_a_miss_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path(), u64::MAX);
        let (api, params) = (api("adj_factor"), params("20240102"));
        cache.keep(&table(50), api, &params, 7);
        let path = files(dir.path()).pop().unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(cache.find(api, &params, 0), None, "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut garbled = whole.clone();
            garbled[at] ^= 0x10;
            fs::write(&path, &garbled).unwrap();
            let found = cache.find(api, &params, 0);
            assert!(found.is_none_or(|found| found == table(50)), "garbled at {at}");
        }
        cache.keep(&table(50), api, &params, 9);
        assert_eq!(cache.find(api, &params, 9), Some(table(50)));
        assert_eq!(files(dir.path()).len(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_oldest_goes_when_the_folder_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let (api, days) = (api("adj_factor"), ["20240102", "20240103", "20240104"]);
        let cache = Cache::new(dir.path(), u64::MAX);
        for (age, day) in days.iter().enumerate() {
            cache.keep(&table(1_000), api, &params(day), 7);
            let path = cache.path(api, &params(day));
            let time = UNIX_EPOCH + std::time::Duration::from_secs(1_000 + u64::try_from(age).unwrap());
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let cache = Cache::new(dir.path(), Shelf::read(dir.path()).bytes);
        for _ in 0..3 {
            // Written again, it takes no more room than once.
            cache.keep(&table(1_000), api, &params("20240105"), 7);
        }
        assert_eq!(cache.find(api, &params(days[0]), 0), None);
        assert!(days[1..].iter().all(|day| cache.find(api, &params(day), 0).is_some()));
        assert!(cache.find(api, &params("20240105"), 0).is_some());
    }
}
