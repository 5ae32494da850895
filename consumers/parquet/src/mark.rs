//! The mark: how far the archive holds everything, one small file a partition of the stream. Knows how to replace it
//! atomically; must not know when.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use sqep::Mark;
use sqep_archive::{Error, Home};

use crate::{
    ArchiveError,
    clean::{Draft, WRITE},
    error::io_at,
    home::sync,
};

/// Replaces the mark; it is either the old one or the new one, whenever the power goes.
pub(crate) fn store(home: &Home, partition: u16, mark: &Mark) -> Result<(), ArchiveError> {
    let path = home.mark(partition);
    let text = serde_json::to_vec(mark).map_err(|source| Error::Mark { path: path.clone(), source })?;
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
    use sqep::{EntryId, Kind};
    use sqep_archive::mark as load;

    use super::*;
    use crate::home::found;

    #[test]
    fn the_mark_kept_last_is_the_mark_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path(), Kind::BarDay);
        found(&home).unwrap();
        assert_eq!(load(&home, 3).unwrap(), None);
        for ms in [5, 7] {
            let mark = Mark { born: "abc".into(), id: EntryId::new(ms, 1), before: EntryId::ZERO };
            store(&home, 3, &mark).unwrap();
            assert_eq!(load(&home, 3).unwrap(), Some(mark));
        }
        assert_eq!(load(&home, 0).unwrap(), None);
    }
}
