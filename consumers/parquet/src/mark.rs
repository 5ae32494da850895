//! The mark: how far the archive holds everything, one small file a partition of the stream. Knows how to keep it
//! atomically; must not know when.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use sqep::Mark;

use crate::{
    ArchiveError,
    clean::{Draft, WRITE},
    error::io_at,
    home::{Home, sync},
};

/// The mark kept last.
pub(crate) fn load(home: &Home, partition: u16) -> Result<Option<Mark>, ArchiveError> {
    let path = home.mark(partition);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("read mark", &path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| ArchiveError::Mark { path, source })
}

/// Replaces the mark; it is either the old one or the new one, whenever the power goes.
pub(crate) fn store(home: &Home, partition: u16, mark: &Mark) -> Result<(), ArchiveError> {
    let path = home.mark(partition);
    let text =
        serde_json::to_vec(mark).map_err(|source| ArchiveError::Mark { path: path.clone(), source })?;
    let draft = Draft::new(home.state().join(format!("{WRITE}{partition}-mark.tmp")));
    put(draft.path(), &text).map_err(io_at("write mark", draft.path()))?;
    draft.rename(&path)?;
    sync(home.state())
}

fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use sqep::EntryId;

    use super::*;

    #[test]
    fn the_mark_kept_last_is_the_mark_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path(), "bar_1d");
        home.found().unwrap();
        assert_eq!(load(&home, 3).unwrap(), None);
        for ms in [5, 7] {
            let mark = Mark { born: "abc".into(), id: EntryId::new(ms, 1), before: EntryId::ZERO };
            store(&home, 3, &mark).unwrap();
            assert_eq!(load(&home, 3).unwrap(), Some(mark));
        }
        assert_eq!(load(&home, 0).unwrap(), None);
    }

    #[test]
    fn a_damaged_mark_is_named_and_never_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path(), "bar_1d");
        home.found().unwrap();
        fs::write(home.mark(0), b"{\"born\": \"a").unwrap();
        assert!(load(&home, 0).unwrap_err().to_string().contains("mark-0.json"));
    }
}
