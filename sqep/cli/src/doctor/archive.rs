//! What may be wrong with an archive: its disk, its files, its marks against the streams. Reads only.

use std::{collections::BTreeMap, fs, path::Path};

use rustix::fs::statvfs;
use sqep::{
    DayBar, DayFeature, EntryId, Kind, MinuteBar, MinuteFeature, Record, RefDay, redis::inspect::StreamStatus,
};
use sqep_archive::{ArchiveFile, Filter, Home, Reader, STATE, layout, marks};

use super::Findings;
use crate::out::{bytes, count};

/// Free space below this is a warning.
const FREE_BYTES_MIN: u64 = 2 << 30;

pub(super) fn look(root: &Path, streams: &[StreamStatus], deep: bool, findings: &mut Findings) {
    let about = root.display().to_string();
    if !root.is_dir() {
        findings.fail(&about, "is no folder", "check parquet.root, mount it, or let sqep-parquet make it");
        return;
    }
    disk(root, &about, findings);
    for kind in Kind::ALL {
        let home = Home::new(root, kind);
        if home.data().is_dir() {
            files(&home, findings);
            leftovers(&home, findings);
            held_against(&home, kind, streams, findings);
            if deep {
                keys(root, kind, findings);
            }
        }
    }
}

fn disk(root: &Path, about: &str, findings: &mut Findings) {
    match statvfs(root) {
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            if free < FREE_BYTES_MIN {
                let advice = "make room: readers wait when it is full, and so do producers behind them";
                findings.warn(about, format!("{} free on its disk", bytes(free)), advice);
            } else {
                findings.good(about, format!("{} free on its disk", bytes(free)));
            }
        }
        Err(error) => findings.warn(about, format!("its disk cannot be asked: {error}"), "look at the mount"),
    }
}

/// Every footer must read.
fn files(home: &Home, findings: &mut Findings) {
    let about = home.data().display().to_string();
    let (mut sound, mut rows, mut loose) = (0u64, 0u64, 0u64);
    let folders = match layout::partitions(home.data()) {
        Ok(folders) => folders,
        Err(error) => return findings.fail(&about, error.to_string(), "restore the folder"),
    };
    for (_, folder) in folders {
        let paths = match layout::files(&folder) {
            Ok(paths) => paths,
            Err(error) => {
                findings.fail(&about, error.to_string(), "move what is not ours out of the archive");
                continue;
            }
        };
        loose += u64::try_from(paths.len().saturating_sub(1)).unwrap_or(0);
        for path in paths {
            match ArchiveFile::open(&path) {
                Ok(file) => (sound, rows) = (sound + 1, rows + file.rows),
                // Compacted between the listing and now.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    let advice =
                        "move the file away, then fill the gap: sqep replay, or publish the days again";
                    findings.fail(&about, format!("{error}"), advice);
                }
            }
        }
    }
    findings.good(&about, format!("{} files with {} rows read well", count(sound), count(rows)));
    if loose > 1_000 {
        let what = format!("{} files are not compacted", count(loose));
        findings.warn(&about, what, "sqep compact, or let sqep-parquet do it (parquet.quiet_s)");
    }
}

/// Drafts are cleared away by the next writer; many of them tell of one that keeps dying.
fn leftovers(home: &Home, findings: &mut Findings) {
    let Ok(listing) = fs::read_dir(home.state()) else { return };
    let drafts =
        listing.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "tmp")).count();
    if drafts > 3 {
        let (about, what) = (home.state().display().to_string(), format!("{drafts} drafts of files"));
        findings.warn(&about, what, "a writer was killed; the next one clears them away when it starts");
    }
}

/// The archive's marks against the streams they speak of.
fn held_against(home: &Home, kind: Kind, streams: &[StreamStatus], findings: &mut Findings) {
    let about = format!("{}/{}", home.root().join(STATE).display(), kind.table());
    let marks = match marks(home) {
        Ok(marks) => marks,
        Err(error) => {
            return findings.fail(&about, error.to_string(), "restore the mark from a backup of the archive");
        }
    };
    let by_partition: BTreeMap<u16, &StreamStatus> =
        streams.iter().filter_map(|stream| Some((partition(&stream.stream, kind)?, stream))).collect();
    for (partition, mark) in &marks {
        let Some(stream) = by_partition.get(partition) else { continue };
        let key = &stream.stream;
        if mark.is_in_replay() {
            findings.warn(&about, format!("is being given the past of {key}"), "let its reader end that");
        } else if mark.born != stream.born {
            let what = format!("holds another stream than {key}: a new one, or another server's");
            findings.warn(
                &about,
                what,
                "its reader takes up the new one by itself; check redis.url if it is none",
            );
        } else if mark.id > stream.last && mark.before > stream.last {
            let what = format!("holds {key} up to {}, which itself ends at {}", mark.id, stream.last);
            findings.fail(
                &about,
                what,
                "the server runs on an older file: restore the newer one, or sqep group resume",
            );
        } else if stream.trimmed > mark.id && mark.id > EntryId::ZERO {
            let what = format!("holds {key} up to {}, and it was trimmed up to {}", mark.id, stream.trimmed);
            findings.fail(&about, what, "what lies between is lost here: sqep replay from another archive");
        } else {
            findings.good(&about, format!("holds {key} up to {}", mark.id));
        }
    }
}

/// The partition of a stream's key, if it is of that kind.
fn partition(key: &str, kind: Kind) -> Option<u16> {
    let tag = key.split_once('{')?.1.strip_suffix('}')?;
    let (found, partition) = tag.rsplit_once(':')?;
    if found == kind.to_string() { partition.parse().ok() } else { None }
}

/// Keys that are stored more than once are no error before compaction, and none may be after it.
fn keys(root: &Path, kind: Kind, findings: &mut Findings) {
    let counted = match kind {
        Kind::BarDay => stored::<DayBar>(root, kind),
        Kind::BarMinute(_) => stored::<MinuteBar>(root, kind),
        Kind::RefDay => stored::<RefDay>(root, kind),
        Kind::FeatureDay => stored::<DayFeature>(root, kind),
        Kind::FeatureMinute => stored::<MinuteFeature>(root, kind),
    };
    let about = format!("{}/{}", root.display(), kind.table());
    match counted {
        Ok((rows, keys)) if rows == keys => findings.good(&about, format!("{} keys, each once", count(keys))),
        Ok((rows, keys)) => {
            let more = count(rows - keys);
            let what = format!("{} keys, and {more} rows that are older versions or copies", count(keys));
            findings.warn(&about, what, "sqep compact");
        }
        Err(error) => findings.fail(&about, error.to_string(), "see the file that is named"),
    }
}

/// Rows and keys.
fn stored<R: Record>(root: &Path, kind: Kind) -> Result<(u64, u64), sqep_archive::Error> {
    let mut reader = Reader::<R>::open(root, kind, Filter::default())?;
    let (mut rows, mut keys) = (0, 0);
    while let Some(block) = reader.next()? {
        rows += block.stored;
        keys += u64::try_from(block.rows.len()).unwrap_or(0);
    }
    Ok((rows, keys))
}
