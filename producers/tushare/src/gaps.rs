//! The gap ledger: what was expected of each day, what came, and what is missing why.
//!
//! Knows one small file a day, or a code, in the state directory, replaced as a whole; must not know the service. It is
//! a report: what is published is told by the cursor alone.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqep::{Calendar, Kind, Symbol};

use crate::{
    code_gaps::CodeGaps,
    complete::{Count, Why},
    plan::{self, Dataset, Work},
    range::Range,
    symbols::Symbols,
};

/// Securities named in a line; the rest is counted.
pub(crate) const NAMED_MAX: usize = 5;

/// What a day lacks that nobody lists the securities of, until it was answered twice the same.
pub(crate) const CONFIRMATION: &str = "confirmation";

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
            missing.entry(why).or_default().insert(symbol);
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

    /// Says what is missing, as loud as it is final.
    pub(crate) fn tell(&self) {
        match (self.is_whole(), self.closed) {
            (true, _) => tracing::debug!("{self}"),
            (false, true) => tracing::warn!("{self}"),
            (false, false) => tracing::info!("{self}"),
        }
    }

    /// Whether nothing is known to be missing, and it was not answered twice the same yet.
    pub fn is_unconfirmed(&self) -> bool {
        !self.closed && self.missing.is_empty() && self.nulls.is_empty() && self.lacks == [CONFIRMATION]
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
    let names: Vec<String> = of.iter().take(NAMED_MAX).map(|symbol| symbol.to_string()).collect();
    match of.len().saturating_sub(NAMED_MAX) {
        0 => names.join(" "),
        more => format!("{} and {more} more", names.join(" ")),
    }
}

/// The ledger in its folder.
#[derive(Debug, Clone)]
pub struct Gaps {
    folder: PathBuf,
}

impl Gaps {
    /// The ledger of one stream, below the state directory.
    pub fn new(state: &Path, prefix: &str, kind: Kind) -> Gaps {
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

    /// Takes note of the days of a code that were asked for; `apart` says whether a session lies between.
    pub fn put_code(
        &self,
        mut gaps: CodeGaps,
        asked: Range,
        apart: impl Fn(Range) -> bool,
    ) -> anyhow::Result<()> {
        let path = self.path_of_code(&gaps.symbol);
        if path.exists() {
            gaps.keep(read(&path)?, asked, apart);
        }
        write(&path, &gaps)
    }

    fn path_of_code(&self, symbol: &str) -> PathBuf {
        self.codes().join(format!("{symbol}.json"))
    }

    /// What is known of a code, if anything is.
    pub fn code(&self, symbol: Symbol) -> anyhow::Result<Option<CodeGaps>> {
        let path = self.path_of_code(&symbol.to_string());
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Whether there is a record of some work.
    pub fn knows(&self, work: &Work) -> bool {
        match work {
            Work::Day { dataset, day } => self.path(dataset.name(), *day).exists(),
            Work::Range { symbol, .. } => self.path_of_code(&symbol.to_string()).exists(),
            Work::Live { .. } => false,
        }
    }

    /// Refuses a folder that cannot be written.
    pub fn check(&self) -> anyhow::Result<()> {
        let probe = self.folder.join("probe.json.tmp");
        let write = || fs::create_dir_all(&self.folder).and_then(|()| fs::write(&probe, "{}"));
        write().and_then(|()| fs::remove_file(&probe)).with_context(|| {
            format!("cannot write the gap ledger in {}: check fetch.state_dir", self.folder.display())
        })
    }

    /// What is to be asked for again: days that are not whole, and days of codes, in pieces of one call, which gives so
    /// many rows at most.
    pub fn holes(&self, kind: Kind, rows_max: usize, calendar: &Calendar) -> anyhow::Result<Vec<Work>> {
        let datasets = [Dataset::Stocks, Dataset::Funds, Dataset::Ref];
        let work = |gaps: &DayGaps| {
            let dataset = datasets.into_iter().find(|dataset| dataset.name() == gaps.dataset)?;
            Some(Work::Day { dataset, day: gaps.day })
        };
        let days = self.all()?;
        let mut works: Vec<Work> = days.iter().filter(|gaps| !gaps.is_whole()).filter_map(work).collect();
        for gaps in self.all_codes()? {
            let symbol: Symbol =
                gaps.symbol.parse().with_context(|| format!("gap ledger of {}", gaps.symbol))?;
            let dataset = Dataset::of_code(kind, symbol);
            let wanted: Vec<NaiveDate> = gaps.wanted().into_iter().collect();
            works.extend(plan::pieces((dataset, symbol), &wanted, rows_max, calendar));
        }
        Ok(works)
    }

    /// Every code of the ledger.
    pub fn all_codes(&self) -> anyhow::Result<Vec<CodeGaps>> {
        let mut found: Vec<CodeGaps> =
            files(&self.codes())?.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
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
