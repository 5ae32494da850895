//! The folders of one kind, made durably. Knows how a name in a folder outlives the power; must not know what is in a
//! file.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use sqep_archive::Home;

use crate::{ArchiveError, error::io_at};

/// Whether any partition has a mark: whether this archive was ever written.
pub(crate) fn has_marks(home: &Home) -> Result<bool, ArchiveError> {
    let entries = fs::read_dir(home.state()).map_err(io_at("list folder", home.state()))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<io::Result<_>>().map_err(io_at("list folder", home.state()))?;
    Ok(names.iter().any(|name| name.starts_with("mark-")))
}

/// Makes the folders of this kind durably.
pub(crate) fn found(home: &Home) -> Result<(), ArchiveError> {
    found_state(home)?;
    make(home.data())
}

/// Makes the folder of the sink's own files durably.
pub(crate) fn found_state(home: &Home) -> Result<(), ArchiveError> {
    make(home.state())
}

fn make(path: &Path) -> Result<(), ArchiveError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(above)?;
    make_below(above, path)
}

/// Makes one folder in an existing one, durably; never the folders above it, so that an archive that has disappeared
/// is not begun anew.
pub(crate) fn make_below(above: &Path, path: &Path) -> Result<(), ArchiveError> {
    match fs::create_dir(path) {
        Ok(()) => sync(above),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io_at("make folder", path)(error)),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), ArchiveError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_at("sync folder", folder))
}
