//! The gap ledger: what was expected of each day, what came, and what is missing why.
//!
//! Knows one small file a day, or a code, in the state directory, replaced as a whole; must not know the service. It is a report: what
//! is published is told by the cursor alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::Context;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqep::Symbol;

use crate::{
    complete::{Count, Why},
    symbols::Symbols,
};

/// Securities named in a line; the rest is counted.
const NAMED_MAX: usize = 5;

/// A day of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayGaps {
    /// The dataset, as its cursor fields name it.
    pub dataset: String,
    /// The day.
    pub day: NaiveDate,
    /// Securities that should have a row.
    pub expected: usize,
    /// Securities that have one.
    pub present: usize,
    /// Securities that were suspended for the whole day.
    pub suspended: usize,
    /// Securities that should have a row and have none, by reason.
    pub missing: BTreeMap<Why, Symbols>,
    /// Tables that are not there.
    pub lacks: Vec<String>,
    /// Rows that leave a field null which a table should tell, by field.
    pub nulls: BTreeMap<String, Symbols>,
    /// How often the service was asked for all of it.
    pub tries: u32,
    /// Whether nothing more is asked of it.
    pub closed: bool,
}

impl DayGaps {
    /// From a count.
    pub fn new(dataset: &str, day: NaiveDate, count: &Count) -> DayGaps {
        let mut missing: BTreeMap<Why, Symbols> = BTreeMap::new();
        for (&symbol, &why) in &count.missing {
            missing.entry(why).or_default().0.insert(symbol);
        }
        DayGaps {
            dataset: dataset.to_owned(),
            day,
            expected: count.expected,
            present: count.present,
            suspended: count.suspended,
            missing,
            lacks: Vec::new(),
            nulls: BTreeMap::new(),
            tries: 0,
            closed: false,
        }
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.lacks.is_empty() && self.nulls.is_empty()
    }

    /// Securities that are missing.
    pub fn missing(&self) -> usize {
        self.missing.values().map(Symbols::len).sum()
    }
}

impl fmt::Display for DayGaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DayGaps { dataset, day, expected, present, suspended, .. } = self;
        let state = if self.closed { "closed" } else { "open" };
        write!(f, "{day} {dataset}: expected {expected}, present {present}, suspended {suspended}")?;
        write!(f, ", missing {} ({state}, tries {})", self.missing(), self.tries)?;
        for (why, of) in &self.missing {
            write!(f, "; {}: {}", why.word(), named(of))?;
        }
        for table in &self.lacks {
            write!(f, "; no {table}")?;
        }
        for (field, of) in &self.nulls {
            write!(f, "; without {field}: {}", named(of))?;
        }
        Ok(())
    }
}

fn named(of: &Symbols) -> String {
    let names: Vec<String> = of.0.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    match of.len().saturating_sub(NAMED_MAX) {
        0 => names.join(" "),
        more => format!("{} and {more} more", names.join(" ")),
    }
}

/// A security that is asked for by code, and the days on which it should have rows and has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeGaps {
    /// The dataset, as its cursor fields name it.
    pub dataset: String,
    /// The security.
    pub symbol: String,
    /// Sessions without rows that nothing explains.
    pub missing: BTreeSet<NaiveDate>,
}

impl fmt::Display for CodeGaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CodeGaps { dataset, symbol, missing } = self;
        let days: Vec<String> = missing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        write!(f, "{symbol} {dataset}: missing {}: {}", missing.len(), days.join(" "))?;
        match missing.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The ledger in its folder.
#[derive(Debug, Clone)]
pub struct Gaps {
    folder: PathBuf,
}

impl Gaps {
    /// The ledger of one stream, below the state directory.
    pub fn new(state: &Path, prefix: &str, kind: sqep::Kind) -> Gaps {
        Gaps { folder: state.join("gaps").join(prefix).join(kind.table()) }
    }

    fn path(&self, dataset: &str, day: NaiveDate) -> PathBuf {
        self.folder.join(dataset).join(day.format("%Y").to_string()).join(format!("{day}.json"))
    }

    /// Replaces what is known of a day. A crash leaves the old file or the new one.
    pub fn put(&self, gaps: &DayGaps) -> anyhow::Result<()> {
        write(&self.path(&gaps.dataset, gaps.day), gaps)
    }

    fn codes(&self) -> PathBuf {
        self.folder.join("codes")
    }

    /// Takes note of the days that are missing of a code, among those of a range that was asked for.
    pub fn put_code(
        &self,
        dataset: &str,
        symbol: Symbol,
        asked: RangeInclusive<NaiveDate>,
        missing: &BTreeSet<NaiveDate>,
    ) -> anyhow::Result<()> {
        let path = self.codes().join(format!("{symbol}.json"));
        let known: Option<CodeGaps> = if path.exists() { Some(read(&path)?) } else { None };
        let mut all = known.map(|known| known.missing).unwrap_or_default();
        if all.is_empty() && missing.is_empty() {
            return Ok(());
        }
        all.retain(|day| !asked.contains(day));
        all.extend(missing);
        write(&path, &CodeGaps { dataset: dataset.to_owned(), symbol: symbol.to_string(), missing: all })
    }

    /// Every code of which days are missing.
    pub fn all_codes(&self) -> anyhow::Result<Vec<CodeGaps>> {
        let mut found: Vec<CodeGaps> =
            files(&self.codes())?.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
        found.retain(|gaps: &CodeGaps| !gaps.missing.is_empty());
        found.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        Ok(found)
    }

    /// Every day of the ledger, by day and dataset.
    pub fn all(&self) -> anyhow::Result<Vec<DayGaps>> {
        let mut found: Vec<DayGaps> = Vec::new();
        for dataset in list(&self.folder)?.into_iter().filter(|path| *path != self.codes()) {
            for year in list(&dataset)? {
                for path in files(&year)? {
                    found.push(read(&path)?);
                }
            }
        }
        found.sort_by(|a, b| (a.day, &a.dataset).cmp(&(b.day, &b.dataset)));
        Ok(found)
    }
}

fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("cannot read {}", folder.display()))?.path());
    }
    Ok(paths)
}

/// The whole files of a folder; what is being written has another ending.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = list(folder)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    Ok(paths)
}

fn write(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let aside = path.with_extension("json.tmp");
        fs::write(&aside, serde_json::to_string(value)?)?;
        fs::rename(aside, path)
    };
    write().with_context(|| format!("cannot write the gap ledger {}", path.display()))
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no part of a gap ledger; remove it", path.display()))
}
