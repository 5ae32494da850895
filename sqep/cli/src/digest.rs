//! What is on a stream and what is in an archive, as numbers that must be equal: rows, keys, and a sum over every cell
//! of the row that wins each key. Knows records and versions; must not know what the difference would mean.

use std::{collections::HashMap, fs, path::Path};

use anyhow::Context;
use sqep::{EntryId, Kind, Record, record::Cell, redis::inspect::Inspector};
use sqep_parquet::Rows;

/// The rows of one kind in one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// Entries of a stream, or files of an archive.
    pub(crate) pieces: u64,
    /// Rows.
    pub(crate) rows: u64,
    /// Distinct keys.
    pub(crate) keys: u64,
    /// Sum over the winners, whatever their order.
    pub(crate) sum: u64,
}

impl Digest {
    /// Whether both hold the same row for every key.
    pub(crate) fn same_rows(&self, other: &Digest) -> bool {
        self.keys == other.keys && self.sum == other.sum
    }
}

/// Keeps the winner of every key: its version and the hash of its cells. 40 bytes a key.
#[derive(Debug, Default)]
struct Winners {
    rows: u64,
    by_key: HashMap<(i32, i64), (u64, u64)>,
}

impl Winners {
    fn add<R: Record>(&mut self, record: &R, version: u64) {
        let (symbol, time) = record.key();
        let row = (version, hash(record, version));
        self.rows += 1;
        self.by_key.entry((symbol.get(), time)).and_modify(|best| *best = (*best).max(row)).or_insert(row);
    }

    fn digest(&self, pieces: u64) -> Digest {
        let sum = self.by_key.values().fold(0u64, |sum, &(_, hash)| sum.wrapping_add(hash));
        Digest { pieces, rows: self.rows, keys: u64::try_from(self.by_key.len()).unwrap_or(u64::MAX), sum }
    }
}

/// FNV-1a over words instead of bytes, and a last stir.
fn hash<R: Record>(record: &R, version: u64) -> u64 {
    let (symbol, time) = record.key();
    let take = |state: u64, word: u64| (state ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let start = take(take(0xcbf2_9ce4_8422_2325, version), u64::from(symbol.get().unsigned_abs()));
    let cells = (2..R::FIELDS.len()).map(|at| match record.get(at) {
        Cell::Float(value) => value.to_bits(),
        Cell::Bool(value) => 1 + u64::from(value),
        Cell::Integer(value) => value,
        _ => u64::MAX,
    });
    let state = cells.fold(take(start, time.unsigned_abs()), take);
    (state ^ (state >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Everything on a stream.
pub(crate) async fn of_stream<R: Record>(inspector: &mut Inspector, key: &str) -> anyhow::Result<Digest> {
    const WAIT_MS: u64 = 1;
    let (mut winners, mut pieces, mut after) = (Winners::default(), 0, EntryId::ZERO);
    loop {
        let entries = inspector.read(key, after, WAIT_MS).await?;
        if entries.is_empty() {
            return Ok(winners.digest(pieces));
        }
        for entry in entries {
            let opened = entry.open::<R>().with_context(|| format!("entry {} of {key}", entry.id))?;
            let versions = opened.decoded.versions.unwrap_or_default();
            for (at, record) in opened.decoded.records.iter().enumerate() {
                winners.add(record, versions.get(at).copied().unwrap_or_else(|| entry.id.version()));
            }
            pieces += 1;
            after = entry.id;
        }
    }
}

/// Everything of one kind in an archive.
pub(crate) fn of_archive<R: Record>(root: &Path, kind: Kind) -> anyhow::Result<Digest> {
    let (mut winners, mut pieces) = (Winners::default(), 0);
    each_file(root, kind, |path| {
        pieces += 1;
        let mut rows = Rows::<R>::open(path)?;
        while let Some(part) = rows.next()? {
            for row in part {
                winners.add(&row.record, row.version);
            }
        }
        Ok(true)
    })?;
    Ok(winners.digest(pieces))
}

/// Shows every Parquet file of a kind to `look`, in order, until it has seen enough.
pub(crate) fn each_file(
    root: &Path,
    kind: Kind,
    mut look: impl FnMut(&Path) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let table = root.join(kind.table());
    if !table.is_dir() {
        return Ok(());
    }
    let listed = fs::read_dir(&table).with_context(|| format!("cannot list {}", table.display()))?;
    let mut folders = listed.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    folders.sort_unstable();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for path in sqep_parquet::files(folder)? {
            if !look(&path).with_context(|| path.display().to_string())? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Bytes of the Parquet files of a kind.
pub(crate) fn bytes_of_archive(root: &Path, kind: Kind) -> anyhow::Result<u64> {
    let mut bytes = 0;
    each_file(root, kind, |path| {
        bytes += fs::metadata(path)?.len();
        Ok(true)
    })?;
    Ok(bytes)
}

/// A few bars from an archive: evenly spread over its last file.
pub(crate) fn samples<R: Record>(root: &Path, kind: Kind, count: usize) -> anyhow::Result<Vec<R>> {
    let mut last = None;
    each_file(root, kind, |path| {
        last = Some(path.to_owned());
        Ok(true)
    })?;
    let Some(path) = last else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    let mut rows = Rows::<R>::open(&path)?;
    while let Some(part) = rows.next()? {
        all.extend(part.into_iter().map(|row| row.record));
    }
    let step = (all.len() / count.max(1)).max(1);
    Ok(all.into_iter().skip(step / 2).step_by(step).take(count).collect())
}

#[cfg(test)]
mod tests {
    use sqep::DayBar;
    use sqep_testkit::market::{Market, Plan};

    use super::*;

    fn bars() -> Vec<DayBar> {
        let plan = Plan { seed: 1, symbols: 5, days: 10, to: "2026-06-30".parse().unwrap() };
        let market = Market::new(&plan, &sqep::Calendar::published()).unwrap();
        market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
    }

    fn digest(rows: impl IntoIterator<Item = (DayBar, u64)>) -> Digest {
        let mut winners = Winners::default();
        rows.into_iter().for_each(|(bar, version)| winners.add(&bar, version));
        winners.digest(0)
    }

    #[test]
    fn neither_order_nor_rows_that_lost_change_the_sum() {
        let bars = bars();
        let once = digest(bars.iter().map(|&bar| (bar, 2)));
        let older = bars.iter().map(|&bar| (DayBar { vol: 1.0, ..bar }, 1));
        let both = digest(bars.iter().rev().map(|&bar| (bar, 2)).chain(older));
        assert!(once.same_rows(&both));
        assert_eq!((once.rows * 2, once.keys), (both.rows, both.keys));
    }

    #[test]
    fn any_other_cell_or_version_or_a_missing_row_changes_it() {
        let bars = bars();
        let right = digest(bars.iter().map(|&bar| (bar, 2)));
        for (at, bar) in bars.iter().enumerate() {
            let changed = [
                DayBar { close: bar.close + 0.01, ..*bar },
                DayBar { adjust: None, ..*bar },
                DayBar { st: bar.st.map_or(Some(false), |st| Some(!st)), ..*bar },
            ];
            for other in changed {
                let rows =
                    bars.iter().enumerate().map(|(place, &bar)| (if place == at { other } else { bar }, 2));
                assert!(!right.same_rows(&digest(rows)), "{other:?}");
            }
        }
        assert!(!right.same_rows(&digest(bars.iter().map(|&bar| (bar, 3)))));
        assert!(!right.same_rows(&digest(bars.iter().skip(1).map(|&bar| (bar, 2)))));
    }
}
