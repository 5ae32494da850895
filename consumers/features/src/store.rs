//! Snapshots on disk: the state of a partition with the marks it belongs to, replaced as a whole. Knows files; must not know
//! what a state is for.
//!
//! A file is a header line of JSON, the state, and a hash of both. It is written beside, made durable and renamed, so that
//! it is the old one or the new one whenever the power goes.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sqep::{EntryId, Mark};
use xxhash_rust::xxh3::xxh3_64;

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

/// Where the snapshot of a partition lies.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new(folder: &Path, kind: sqep::Kind, partition: u16) -> Store {
        Store { path: folder.join(format!("{}-{partition}.snapshot", kind.table())) }
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
        Ok(Some(open(&mut bytes, set).map(|(header, begin)| (header, bytes.split_off(begin)))))
    }

    /// Replaces the snapshot.
    pub(crate) fn save(&self, header: &Header, state: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut bytes = serde_json::to_vec(header)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(state);
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        let draft = self.path.with_extension("tmp");
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        File::open(folder)?.sync_all()
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

    #[test]
    fn what_was_kept_last_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("deep"), sqep::Kind::FeatureDay, 3);
        assert!(store.load(5).unwrap().is_none());
        for state in [b"one".as_slice(), b"two\n\n"] {
            store.save(&header(), state).unwrap();
            assert_eq!(store.load(5).unwrap(), Some(Ok((header(), state.to_vec()))));
        }
    }

    #[test]
    fn a_flipped_bit_another_set_and_half_a_file_are_told_and_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), sqep::Kind::FeatureDay, 0);
        store.save(&header(), b"state").unwrap();
        assert!(store.load(6).unwrap().unwrap().unwrap_err().contains("set 5"));
        let good = fs::read(store.path()).unwrap();
        for bad in [&good[..good.len() - 3], &[&good[..9], &[good[9] ^ 1], &good[10..]].concat(), b""] {
            fs::write(store.path(), bad).unwrap();
            assert!(store.load(5).unwrap().unwrap().is_err(), "{} bytes", bad.len());
        }
    }
}
