//! Snapshots on disk: the state of a partition with the marks it belongs to, replaced as a whole. Knows files; must not know
//! what a state is for.
//!
//! A file is a header line of JSON, the state, and a hash of both. It is written beside, made durable and renamed, so that
//! it is the old one or the new one whenever the power goes.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sqep::{EntryId, Mark};
use tokio::{sync::mpsc, task::spawn_blocking};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What stands at the head of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Number of the set of features.
    pub(crate) set: u32,
    /// Form of the state that follows.
    pub(crate) form: u32,
    /// Up to where bars are in it.
    pub(crate) bars: Option<Mark>,
    /// Up to where facts of days are in it.
    pub(crate) facts: Option<Mark>,
    /// Up to where entries of a past that is given are in it.
    pub(crate) given: EntryId,
    /// Securities.
    pub(crate) securities: usize,
}

/// A snapshot, or why it cannot be used.
pub(crate) type Found = Result<(Header, Vec<u8>), String>;

/// The form this program writes.
pub(crate) const FORM: u32 = 2;
/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Parts that wait to be written at most.
const PARTS_MAX: usize = 4;

/// Where the snapshot of a partition lies.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
    writing: Arc<Mutex<()>>,
}

impl Store {
    pub(crate) fn new(folder: &Path, kind: sqep::Kind, partition: u16) -> Store {
        let path = folder.join(format!("{}-{partition}.snapshot", kind.table()));
        Store { path, writing: Arc::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Header and state; `None` if there is no snapshot, an error in words if it cannot be used.
    pub(crate) fn load(&self, set: u32) -> io::Result<Option<Found>> {
        let mut bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(open(&mut bytes, set).map(|(header, begin)| {
            drop(bytes.drain(..begin));
            (header, bytes)
        })))
    }

    /// Replaces the snapshot; few of its parts are in memory at once. Files are written on a thread that may wait.
    pub(crate) async fn save(&self, header: &Header, state: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let (parts, came) = mpsc::channel(PARTS_MAX);
        let (store, header) = (self.clone(), serde_json::to_vec(header)?);
        let writing = spawn_blocking(move || store.write(&header, came));
        for part in state.map(Part::Bytes).chain([Part::End]) {
            // Whoever writes failed, and says why.
            if parts.send(part).await.is_err() {
                break;
            }
        }
        writing.await.map_err(io::Error::other)?
    }

    fn write(&self, header: &[u8], mut parts: mpsc::Receiver<Part>) -> io::Result<()> {
        // Of two one ends before the other begins.
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let path = self.path.with_extension("tmp");
        let mut draft = Draft::create(&path)?;
        draft.add(header)?;
        draft.add(b"\n")?;
        loop {
            match parts.blocking_recv() {
                Some(Part::Bytes(bytes)) => draft.add(&bytes)?,
                Some(Part::End) => break,
                None => return Err(io::Error::other("the program ended before the snapshot was whole")),
            }
        }
        draft.end()?;
        fs::rename(&path, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

/// What a snapshot is written of.
#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    /// Nothing is missing.
    End,
}

/// A snapshot while it is written.
struct Draft {
    file: BufWriter<File>,
    hash: Box<Xxh3>,
}

impl Draft {
    fn create(path: &Path) -> io::Result<Draft> {
        let file = BufWriter::with_capacity(WRITE_BYTES, File::create(path)?);
        Ok(Draft { file, hash: Box::new(Xxh3::new()) })
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }

    /// Writes the hash of all before it, and makes the file durable.
    fn end(self) -> io::Result<()> {
        let Draft { mut file, hash } = self;
        file.write_all(&hash.digest().to_le_bytes())?;
        file.into_inner()?.sync_all()
    }
}

/// Proves the bytes; where the state begins. Leaves the hash off.
fn open(bytes: &mut Vec<u8>, set: u32) -> Result<(Header, usize), String> {
    let whole =
        bytes.split_last_chunk::<8>().is_some_and(|(rest, hash)| xxh3_64(rest) == u64::from_le_bytes(*hash));
    if !whole {
        return Err("its bytes do not give the hash at its end".to_owned());
    }
    bytes.truncate(bytes.len() - 8);
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let header: Header =
        serde_json::from_slice(&bytes[..end]).map_err(|error| format!("its header: {error}"))?;
    if header.set != set {
        return Err(format!("it is of feature set {}, this program computes {set}", header.set));
    }
    if header.form != FORM {
        return Err(format!("it is of form {}, this program writes {FORM}", header.form));
    }
    Ok((header, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mark = Mark { born: "b".into(), id: EntryId::new(7, 1), before: EntryId::ZERO };
        Header { set: 5, form: FORM, bars: Some(mark), facts: None, given: EntryId::ZERO, securities: 1 }
    }

    #[tokio::test]
    async fn what_was_kept_last_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("deep"), sqep::Kind::FeatureDay, 3);
        assert!(store.load(5).unwrap().is_none());
        for state in [b"one".as_slice(), b"two\n\n"] {
            store.save(&header(), state.chunks(2).map(<[u8]>::to_vec)).await.unwrap();
            assert_eq!(store.load(5).unwrap(), Some(Ok((header(), state.to_vec()))));
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_another_set_and_half_a_file_are_told_and_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), sqep::Kind::FeatureDay, 0);
        store.save(&header(), [b"state".to_vec()].into_iter()).await.unwrap();
        assert!(store.load(6).unwrap().unwrap().unwrap_err().contains("set 5"));
        let good = fs::read(store.path()).unwrap();
        for bad in [&good[..good.len() - 3], &[&good[..9], &[good[9] ^ 1], &good[10..]].concat(), b""] {
            fs::write(store.path(), bad).unwrap();
            assert!(store.load(5).unwrap().unwrap().is_err(), "{} bytes", bad.len());
        }
    }

    #[tokio::test]
    async fn a_snapshot_that_was_cut_off_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), sqep::Kind::FeatureDay, 0);
        store.save(&header(), [b"state".to_vec()].into_iter()).await.unwrap();
        let (parts, came) = mpsc::channel(1);
        parts.send(Part::Bytes(b"half".to_vec())).await.unwrap();
        drop(parts);
        let again = store.clone();
        assert!(spawn_blocking(move || again.write(b"{}", came)).await.unwrap().is_err());
        assert_eq!(store.load(5).unwrap(), Some(Ok((header(), b"state".to_vec()))));
    }
}
