//! Keys and hashes between the two sides, by the period of their folder. Knows how to keep many of them in little memory;
//! must not know where they come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, bail};
use sqep::{Record, record::Cell};
use sqep_archive::Folder;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// Items that wait in memory before they go to their files.
const HELD_MAX: usize = 1_000_000;
/// Bytes of an item in its file.
const BYTES: usize = 28;

/// A row of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    /// The security.
    pub(crate) symbol: i32,
    /// [`Record::time`].
    pub(crate) time: i64,
    /// The highest of a key wins.
    pub(crate) order: u64,
    /// Of key and fields.
    pub(crate) hash: u64,
}

impl Item {
    pub(crate) fn key(&self) -> (i32, i64) {
        (self.symbol, self.time)
    }

    fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&self.symbol.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.time.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.order.to_le_bytes());
        bytes[20..].copy_from_slice(&self.hash.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Item> {
        let (symbol, rest) = bytes.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (order, rest) = rest.split_first_chunk()?;
        Some(Item {
            symbol: i32::from_le_bytes(*symbol),
            time: i64::from_le_bytes(*time),
            order: u64::from_le_bytes(*order),
            hash: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

/// Hash of a record's key and fields.
pub(crate) fn hash<R: Record>(record: &R) -> u64 {
    let mut bytes = Vec::with_capacity(12 + 9 * R::FIELDS.len());
    bytes.extend(record.symbol().get().to_le_bytes());
    bytes.extend(record.time().to_le_bytes());
    for at in 2..R::FIELDS.len() {
        match record.get(at) {
            Cell::Null => bytes.push(0),
            Cell::Float(value) => {
                bytes.push(1);
                // Zero is one number, whatever its sign.
                bytes.extend((value + 0.0).to_bits().to_le_bytes());
            }
            Cell::Bool(value) => bytes.extend([2, u8::from(value)]),
            Cell::Integer(value) => {
                bytes.push(3);
                bytes.extend(value.to_le_bytes());
            }
            other => bytes.extend(format!("{other:?}").bytes()),
        }
    }
    xxh3_64(&bytes)
}

/// The rows of one side.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: TempDir,
    held: BTreeMap<Folder, Vec<Item>>,
    held_count: usize,
    /// Rows of each period so far.
    counts: BTreeMap<Folder, usize>,
    on_disk: BTreeSet<Folder>,
    keys_max: usize,
}

impl Spool {
    /// An empty one; its files lie below `folder` and go with it.
    pub(crate) fn new(folder: Option<&Path>, keys_max: usize) -> anyhow::Result<Spool> {
        let made = match folder {
            Some(folder) => tempfile::Builder::new().prefix("sqep-audit-").tempdir_in(folder),
            None => tempfile::Builder::new().prefix("sqep-audit-").tempdir(),
        };
        Ok(Spool {
            folder: made.context(
                "cannot make a folder to keep rows in; set audit.spool to one that can be written",
            )?,
            held: BTreeMap::new(),
            held_count: 0,
            counts: BTreeMap::new(),
            on_disk: BTreeSet::new(),
            keys_max,
        })
    }

    /// Adds a row; of rows of one key that of the highest order will win.
    pub(crate) fn add<R: Record>(&mut self, record: &R, order: u64) -> anyhow::Result<()> {
        let Some(period) = Folder::of(record) else { return Ok(()) };
        let count = self.counts.entry(period).or_default();
        *count += 1;
        if *count > self.keys_max {
            let max = self.keys_max;
            bail!(
                "more than {max} rows in {period}: ask for fewer with --symbols, --from and --to, or raise audit.keys_max"
            );
        }
        let (symbol, time) = (record.symbol().get(), record.time());
        self.held.entry(period).or_default().push(Item { symbol, time, order, hash: hash(record) });
        self.held_count += 1;
        if self.held_count >= HELD_MAX { self.put_down() } else { Ok(()) }
    }

    fn put_down(&mut self) -> anyhow::Result<()> {
        for (period, items) in std::mem::take(&mut self.held) {
            let path = self.folder.path().join(period.to_string());
            let context = || format!("cannot keep rows in {}", path.display());
            let file = OpenOptions::new().create(true).append(true).open(&path).with_context(context)?;
            let mut out = BufWriter::new(file);
            items.iter().try_for_each(|item| out.write_all(&item.bytes())).with_context(context)?;
            out.flush().with_context(context)?;
            self.on_disk.insert(period);
        }
        self.held_count = 0;
        Ok(())
    }

    /// The periods that have rows.
    pub(crate) fn periods(&self) -> BTreeSet<Folder> {
        self.counts.keys().copied().collect()
    }

    /// The winners of a period, by key.
    pub(crate) fn take(&mut self, period: Folder) -> anyhow::Result<Vec<Item>> {
        let mut items = self.held.remove(&period).unwrap_or_default();
        if self.on_disk.remove(&period) {
            items.reserve(self.counts.get(&period).copied().unwrap_or_default().saturating_sub(items.len()));
            let path = self.folder.path().join(period.to_string());
            read(&path, &mut items)
                .with_context(|| format!("cannot read rows back from {}", path.display()))?;
        }
        items.sort_unstable();
        items.dedup_by(|next, kept| {
            let same = next.key() == kept.key();
            if same {
                *kept = *next;
            }
            same
        });
        Ok(items)
    }
}

/// Adds the rows of a file, which is gone then.
fn read(path: &Path, items: &mut Vec<Item>) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut bytes = [0; BYTES];
    while !file.fill_buf()?.is_empty() {
        file.read_exact(&mut bytes)?;
        items.extend(Item::of(&bytes));
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use sqep::DayBar;
    use sqep_testkit::market::{Market, Plan};

    use super::*;

    fn bars() -> Vec<DayBar> {
        let plan = Plan { seed: 1, symbols: 6, days: 300, to: "2026-06-30".parse().unwrap() };
        let market = Market::new(&plan, &sqep::Calendar::published()).unwrap();
        market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
    }

    fn winners(spool: &mut Spool) -> Vec<Item> {
        spool.periods().into_iter().flat_map(|period| spool.take(period).unwrap()).collect()
    }

    #[test]
    fn what_went_to_disk_comes_back_and_the_highest_order_wins() {
        let bars = bars();
        let (mut kept, mut written) = (Spool::new(None, 10_000).unwrap(), Spool::new(None, 10_000).unwrap());
        for (order, bar) in (0..).zip(bars.iter().rev()) {
            kept.add(bar, order).unwrap();
            written.add(bar, order + 5_000).unwrap();
        }
        written.put_down().unwrap();
        for (order, bar) in (0..).zip(&bars) {
            let older = DayBar { close: bar.close + 1.0, ..*bar };
            written.add(&older, order).unwrap();
            if order == 900 {
                written.put_down().unwrap();
            }
        }
        let hashes = |items: Vec<Item>| items.iter().map(|item| (item.key(), item.hash)).collect::<Vec<_>>();
        let found = hashes(winners(&mut written));
        assert_eq!(found.len(), bars.len());
        assert_eq!(found, hashes(winners(&mut kept)));
    }

    #[test]
    fn any_other_field_and_any_null_changes_the_hash_and_the_sign_of_zero_does_not() {
        for bar in bars() {
            let others = [
                DayBar { close: bar.close + 0.001, ..bar },
                DayBar { amount: None, ..bar },
                DayBar { st: bar.st.map_or(Some(false), |st| Some(!st)), ..bar },
                DayBar { buy_limit: bar.sell_limit, sell_limit: bar.buy_limit, ..bar },
            ];
            for other in others.iter().filter(|other| **other != bar) {
                assert_ne!(hash(&bar), hash(other), "{other:?}");
            }
            assert_eq!(hash(&DayBar { vol: 0.0, ..bar }), hash(&DayBar { vol: -0.0, ..bar }));
        }
    }

    #[test]
    fn more_rows_than_may_be_held_are_refused_with_what_to_do() {
        let mut spool = Spool::new(None, 3).unwrap();
        let refused = bars().iter().try_for_each(|bar| spool.add(bar, 1)).unwrap_err().to_string();
        assert!(refused.contains("audit.keys_max") && refused.contains("more than 3 rows"), "{refused}");
    }
}
