//! Which partition folders have gone quiet. Knows when files changed; time is passed in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sqep::Kind;
use sqep_archive::{Error, layout};

use crate::{ArchiveError, compact::is_done, error::io_at};

/// The partition folders of a kind that have something to gain from compaction and whose newest file is at least
/// `quiet` old at `now`. A folder with a foreign file is among them, so that compaction says so.
pub fn quiet_partitions(
    root: &Path,
    kind: Kind,
    quiet: Duration,
    now: SystemTime,
) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut found = Vec::new();
    for folder in layout::folders(&root.join(kind.table()))? {
        match layout::named_files(&folder) {
            Ok(files) if is_done(&files) => {}
            Ok(files) => {
                let newest = newest(files.iter().map(|(_, path)| path))?;
                let age = newest.and_then(|newest| now.duration_since(newest).ok());
                found.extend(age.filter(|&age| age >= quiet).map(|_| folder));
            }
            Err(Error::Foreign { .. }) => found.push(folder),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn newest<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<Option<SystemTime>, ArchiveError> {
    let mut newest = None;
    for path in paths {
        match fs::metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(changed) => newest = newest.max(Some(changed)),
            // A compaction beside us took it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_at("look at", path)(error)),
        }
    }
    Ok(newest)
}
