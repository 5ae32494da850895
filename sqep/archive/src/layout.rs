//! Which row lies in which folder and which file, and what a file's name says. Knows names; must not open a file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use sqep::{EntryId, Record, record::Cell};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, error::io_at};

/// A partition folder: a year for records of days, a date for records of minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// `year=2024`.
    Year(i32),
    /// `date=2024-03-01`.
    Date(NaiveDate),
}

impl Folder {
    /// Where a record belongs; `None` if it has no time.
    pub fn of<R: Record>(record: &R) -> Option<Folder> {
        match record.get(1) {
            Cell::Date(date) => Some(Folder::Year(date.year())),
            Cell::Minute(wall) => Some(Folder::Date(wall.date())),
            _ => None,
        }
    }

    /// The first and the last moment whose records may lie in it; `None` beyond the range of dates.
    pub fn period(self) -> Option<(NaiveDateTime, NaiveDateTime)> {
        let (first, last) = match self {
            Folder::Year(year) => {
                (NaiveDate::from_ymd_opt(year, 1, 1)?, NaiveDate::from_ymd_opt(year, 12, 31)?)
            }
            Folder::Date(date) => (date, date),
        };
        Some((first.and_time(NaiveTime::MIN), last.and_hms_opt(23, 59, 59)?))
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Folder::Year(year) => write!(f, "year={year:04}"),
            Folder::Date(date) => write!(f, "date={date}"),
        }
    }
}

/// A folder name that is no partition.
#[derive(Debug)]
pub struct NotOurs;

impl FromStr for Folder {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Folder, NotOurs> {
        match text.split_once('=') {
            Some(("year", year)) => year.parse().map(Folder::Year).map_err(|_| NotOurs),
            Some(("date", date)) => date.parse().map(Folder::Date).map_err(|_| NotOurs),
            _ => Err(NotOurs),
        }
    }
}

/// The name of a file. The same rows of the same batch have the same name, and files of one name hold the same rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// What one batch had for a folder.
    Batch {
        /// Partition of the stream.
        partition: u16,
        /// First entry of the batch.
        first: EntryId,
        /// Last entry of the batch.
        last: EntryId,
        /// Of the rows.
        hash: u64,
    },
    /// What compaction made of several.
    Compact {
        /// Of the names of its inputs.
        hash: u64,
    },
}

impl FileName {
    /// The name of what compaction makes of `inputs`, given in order.
    pub fn compacted<'a>(inputs: impl IntoIterator<Item = &'a FileName>) -> FileName {
        let names: Vec<String> = inputs.into_iter().map(ToString::to_string).collect();
        FileName::Compact { hash: xxh3_64(names.join("\n").as_bytes()) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Batch { partition, first, last, hash } => {
                write!(f, "p{partition}_{first}_{last}_{hash:016x}.parquet")
            }
            FileName::Compact { hash } => write!(f, "compact_{hash:016x}.parquet"),
        }
    }
}

impl FromStr for FileName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<FileName, NotOurs> {
        let parts: Vec<&str> = text.strip_suffix(".parquet").ok_or(NotOurs)?.split('_').collect();
        let name = match parts[..] {
            ["compact", hash] => FileName::Compact { hash: parse_hash(hash)? },
            [partition, first, last, hash] => FileName::Batch {
                partition: partition.strip_prefix('p').and_then(|p| p.parse().ok()).ok_or(NotOurs)?,
                first: first.parse().map_err(|_| NotOurs)?,
                last: last.parse().map_err(|_| NotOurs)?,
                hash: parse_hash(hash)?,
            },
            _ => return Err(NotOurs),
        };
        if name.to_string() == text { Ok(name) } else { Err(NotOurs) }
    }
}

fn parse_hash(text: &str) -> Result<u64, NotOurs> {
    u64::from_str_radix(text, 16).map_err(|_| NotOurs)
}

/// The partition folders below a kind's folder, in order. A folder that is not there has none.
pub fn folders(data: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(partitions(data)?.into_iter().map(|(_, path)| path).collect())
}

/// The same, with what their names say.
pub fn partitions(data: &Path) -> Result<Vec<(Folder, PathBuf)>, Error> {
    let mut found = Vec::new();
    for (name, path) in list(data)? {
        if let Ok(folder) = name.parse::<Folder>()
            && path.is_dir()
        {
            found.push((folder, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The Parquet files of a partition folder, in a fixed order; one that is not ours is an error.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(named_files(folder)?.into_iter().map(|(_, path)| path).collect())
}

/// The same, with what their names say.
pub fn named_files(folder: &Path) -> Result<Vec<(FileName, PathBuf)>, Error> {
    let mut found = Vec::new();
    for (name, path) in list(folder)? {
        if !name.ends_with(".parquet") || name.starts_with(['.', '_']) {
            continue;
        }
        match name.parse() {
            Ok(name) => found.push((name, path)),
            Err(NotOurs) => {
                return Err(Error::Foreign { path, why: "its name is not one the archive gives".into() });
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_at("list folder", folder))?,
    };
    entries
        .map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())))
        .collect::<io::Result<_>>()
        .map_err(io_at("list folder", folder))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folders_are_hive_partitions() {
        let date = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap();
        assert_eq!(Folder::Year(2024).to_string(), "year=2024");
        assert_eq!(Folder::Date(date).to_string(), "date=2024-03-01");
        for text in ["year=2024", "date=2024-03-01"] {
            assert_eq!(text.parse::<Folder>().unwrap().to_string(), text);
        }
        for text in ["year=", "month=3", "2024", "date=2024-02-30", "_sqep"] {
            assert!(text.parse::<Folder>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_it_was_written(p: u16, a: u64, b: u64, c: u64, d: u64, hash: u64, compact: bool) {
            let name = if compact {
                FileName::Compact { hash }
            } else {
                FileName::Batch { partition: p, first: EntryId::new(a, b), last: EntryId::new(c, d), hash }
            };
            prop_assert_eq!(name.to_string().parse::<FileName>().unwrap(), name);
        }

        #[test]
        fn a_name_with_another_byte_is_another_name_or_none(
            p: u16, a: u64, b: u64, c: u64, d: u64, hash: u64, at: prop::sample::Index, byte in "[0-9a-fpA-F_.-]",
        ) {
            let name = FileName::Batch { partition: p, first: EntryId::new(a, b), last: EntryId::new(c, d), hash };
            let mut text = name.to_string();
            let at = at.index(text.len());
            text.replace_range(at..=at, &byte);
            if let Ok(read) = text.parse::<FileName>() {
                prop_assert_eq!(read.to_string(), &*text);
                prop_assert_eq!(read == name, text == name.to_string());
            }
        }
    }

    #[test]
    fn every_part_of_a_name_has_one_place_and_one_form() {
        let batch =
            FileName::Batch { partition: 3, first: EntryId::new(1, 2), last: EntryId::new(4, 5), hash: 0xab };
        let text = "p3_1-2_4-5_00000000000000ab.parquet";
        assert_eq!(batch.to_string(), text);
        let wrong = [
            ("p3", &["", "3", "p", "q3", "P3", "p03", "p+3", "p-3", "p65536"][..]),
            ("_1-2", &["", "_", "_1", "_1-", "_-2", "_01-2", "_1-02", "_+1-2", "_1-2-3", "-1-2"]),
            ("_4-5", &["", "_", "_4", "_4-", "_-5", "_04-5", "_4-05", "_4-+5", "_4-5-6", "_4-5_6-7"]),
            (
                "_00000000000000ab",
                &["", "_", "_ab", "_00000000000000AB", "_000000000000000ab", "_000000000000-0ab"],
            ),
            (".parquet", &["", ".csv", ".parquet.tmp", "_.parquet", ".PARQUET"]),
        ];
        for (part, others) in wrong {
            assert_eq!(text.matches(part).count(), 1, "{part}");
            for other in others {
                let text = text.replace(part, other);
                assert!(text.parse::<FileName>().is_err(), "{text}");
            }
        }
        assert_eq!(FileName::Compact { hash: 0xab }.to_string(), "compact_00000000000000ab.parquet");
        for text in
            ["compact_ab.parquet", "compact_.parquet", "compacted_00000000000000ab.parquet", "part-0.parquet"]
        {
            assert!(text.parse::<FileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_part_of_every_input_is_in_the_name_of_what_compaction_makes() {
        let batch = |partition, first, last, hash| FileName::Batch {
            partition,
            first: EntryId::new(first, 0),
            last: EntryId::new(last, 0),
            hash,
        };
        let (one, two) = (batch(0, 1, 2, 3), FileName::Compact { hash: 3 });
        let others = [batch(1, 1, 2, 3), batch(0, 9, 2, 3), batch(0, 1, 9, 3), batch(0, 1, 2, 9)];
        let mut names = vec![
            FileName::compacted([&one, &two]),
            FileName::compacted([&two, &one]),
            FileName::compacted([&one]),
            FileName::compacted([&one, &FileName::Compact { hash: 4 }]),
        ];
        names.extend(others.iter().map(|other| FileName::compacted([other, &two])));
        assert_eq!(FileName::compacted([&one, &two]), names[0], "the same inputs, the same name");
        let made = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), made);
    }
}
