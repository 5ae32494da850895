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

/// Rows that are there, of those that should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// There.
    pub rows: usize,
    /// What a whole day has at least.
    pub of: usize,
}

/// A security that is asked for by code, and the days that are not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeGaps {
    /// The dataset, as its cursor fields name it.
    pub dataset: String,
    /// The security.
    pub symbol: String,
    /// Sessions without all of their rows, which nothing explains.
    pub missing: BTreeSet<NaiveDate>,
    /// Of those, the ones that have some of them.
    #[serde(default)]
    pub part: BTreeMap<NaiveDate, Part>,
    /// Sessions that a suspension for a part of the day explains.
    #[serde(default)]
    pub halted: BTreeMap<NaiveDate, Part>,
}

impl CodeGaps {
    /// Of one security.
    pub fn new(
        dataset: &str,
        symbol: Symbol,
        missing: &BTreeMap<NaiveDate, Part>,
        halted: BTreeMap<NaiveDate, Part>,
    ) -> CodeGaps {
        let part = missing.iter().filter(|(_, part)| part.rows > 0).map(|(&day, &part)| (day, part));
        CodeGaps {
            dataset: dataset.to_owned(),
            symbol: symbol.to_string(),
            missing: missing.keys().copied().collect(),
            part: part.collect(),
            halted,
        }
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.halted.is_empty()
    }

    /// Takes over what is known of days that were not asked for.
    fn keep(&mut self, known: CodeGaps, asked: &RangeInclusive<NaiveDate>) {
        let kept = |day: &NaiveDate| !asked.contains(day);
        self.missing.extend(known.missing.into_iter().filter(kept));
        self.part.extend(known.part.into_iter().filter(|(day, _)| kept(day)));
        self.halted.extend(known.halted.into_iter().filter(|(day, _)| kept(day)));
    }
}

impl fmt::Display for CodeGaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CodeGaps { dataset, symbol, missing, part, halted } = self;
        let told = |day: &NaiveDate, part: Option<&Part>| match part {
            Some(Part { rows, of }) => format!("{day} ({rows} of {of} rows)"),
            None => day.to_string(),
        };
        write!(f, "{symbol} {dataset}: missing {}", missing.len())?;
        days(f, missing.iter().map(|day| told(day, part.get(day))))?;
        if !halted.is_empty() {
            write!(f, "; suspended for a part of the day {}", halted.len())?;
            days(f, halted.iter().map(|(day, part)| told(day, Some(part))))?;
        }
        Ok(())
    }
}

/// The first few of some days; the rest is counted.
fn days(f: &mut fmt::Formatter<'_>, texts: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let more = texts.len().saturating_sub(NAMED_MAX);
    let named: Vec<String> = texts.take(NAMED_MAX).collect();
    if !named.is_empty() {
        write!(f, ": {}", named.join(" "))?;
    }
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
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

    /// Takes note of the days that are not whole of a code, among those that were asked for.
    pub fn put_code(&self, mut gaps: CodeGaps, asked: &RangeInclusive<NaiveDate>) -> anyhow::Result<()> {
        let path = self.codes().join(format!("{}.json", gaps.symbol));
        let known: Option<CodeGaps> = if path.exists() { Some(read(&path)?) } else { None };
        if gaps.is_empty() && known.as_ref().is_none_or(CodeGaps::is_empty) {
            return Ok(());
        }
        if let Some(known) = known {
            gaps.keep(known, asked);
        }
        write(&path, &gaps)
    }

    /// Every code of which days are not whole.
    pub fn all_codes(&self) -> anyhow::Result<Vec<CodeGaps>> {
        let mut found: Vec<CodeGaps> =
            files(&self.codes())?.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
        found.retain(|gaps: &CodeGaps| !gaps.is_empty());
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
