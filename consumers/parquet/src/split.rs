//! Which rows of a batch lie in which folder. Knows the rows of a batch; must not know files.

use std::collections::BTreeMap;

use sqep::{Record, Row};
use sqep_archive::Folder;

/// Positions of the rows of each folder, in stream order; the error is the position of a row without a time.
pub(crate) fn split<R: Record>(rows: &[Row<R>]) -> Result<BTreeMap<Folder, Vec<usize>>, usize> {
    let mut folders: BTreeMap<Folder, Vec<usize>> = BTreeMap::new();
    // Neighbours mostly share their folder: the map is asked once a run.
    let mut begin = 0;
    while let Some(first) = rows.get(begin) {
        let folder = Folder::of(&first.record).ok_or(begin)?;
        let same = |row: &&Row<R>| Folder::of(&row.record) == Some(folder);
        let end = begin + rows[begin..].iter().take_while(same).count();
        folders.entry(folder).or_default().extend(begin..end);
        begin = end;
    }
    Ok(folders)
}
