//! The mark: how far the archive holds everything, one small file a partition of the stream. Knows how to read it;
//! must not change it.

use std::{collections::BTreeMap, fs, io};

use sqep::Mark;

use crate::{Error, error::io_at, home::Home, layout::list};

/// The mark of a partition of the stream; `None`: the archive never held any of it.
pub fn mark(home: &Home, partition: u16) -> Result<Option<Mark>, Error> {
    let path = home.mark(partition);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("read mark", &path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| Error::Mark { path, source })
}

/// The marks of every partition of the stream that has one.
pub fn marks(home: &Home) -> Result<BTreeMap<u16, Mark>, Error> {
    let mut found = BTreeMap::new();
    for (name, _) in list(home.state())? {
        let number = name.strip_prefix("mark-").and_then(|name| name.strip_suffix(".json"));
        let Some(partition) = number.and_then(|number| number.parse().ok()) else { continue };
        found.extend(mark(home, partition)?.map(|mark| (partition, mark)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sqep::{EntryId, Kind};

    use super::*;

    #[test]
    fn every_mark_is_found_and_an_archive_without_one_has_none() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::new(root.path(), Kind::BarDay);
        assert!(marks(&home).unwrap().is_empty());
        fs::create_dir_all(home.state()).unwrap();
        let mark_of = |ms| Mark { born: "b".into(), id: EntryId::new(ms, 0), before: EntryId::ZERO };
        for partition in [0, 3] {
            let text = serde_json::to_vec(&mark_of(u64::from(partition) + 7)).unwrap();
            fs::write(home.mark(partition), text).unwrap();
        }
        fs::write(home.state().join("lock-0"), "1 a").unwrap();
        assert_eq!(marks(&home).unwrap(), BTreeMap::from([(0, mark_of(7)), (3, mark_of(10))]));
        assert_eq!(mark(&home, 3).unwrap(), Some(mark_of(10)));
        assert_eq!(mark(&home, 1).unwrap(), None);
        assert!(marks(&Home::new(root.path(), Kind::RefDay)).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_mark_is_named_and_never_taken_for_none() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::new(root.path(), Kind::BarDay);
        fs::create_dir_all(home.state()).unwrap();
        fs::write(home.mark(0), b"{\"born\": \"a").unwrap();
        assert!(mark(&home, 0).unwrap_err().to_string().contains("mark-0.json"));
        assert!(marks(&home).is_err());
    }
}
