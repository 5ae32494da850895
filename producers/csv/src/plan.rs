//! A configuration made ready: what is read, by which rules, and how the folders look at a moment.
//!
//! Knows settings and folders; must not know threads, order or streams. Everything a user can get wrong is found here,
//! before the first file is opened.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use sqep::{Calendar, Exchange, Kind, app::Usage, symbol::Aliases};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::{AliasChoice, CsvSettings, SymbolSettings},
    dialect::{self, AmountUnit, Basis, VolUnit},
    enrich::{Month, Side, SideFiles},
    files::{self, FilesError, Input, now},
    ledger::Stamp,
    load::{Alias, Options},
    watch::Pace,
    work::Bench,
};

/// What is read and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Files, folders, patterns.
    pub(crate) paths: Vec<String>,
    /// How rows are read.
    pub(crate) options: Options,
    /// See [`crate::ledger::Entry::mapping`].
    pub(crate) mapping: String,
    /// Whether the ledger is ignored.
    pub(crate) force: bool,
    /// How folders are watched; `None`: the source ends when every file is done.
    pub(crate) pace: Option<Pace>,
    workers: usize,
    side: SideFiles,
    /// Where standard input is kept.
    stdin: Option<PathBuf>,
}

/// The folders at one moment.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// What is to be looked at, in order: files, and the months that the side files alone make.
    pub(crate) inputs: Vec<(Input, Option<Month>)>,
    /// Arguments and folders that stand for nothing, each with why.
    pub(crate) missing: Vec<(String, String)>,
    /// What the side files know.
    pub(crate) side: Arc<Side>,
    /// The side files as they were when they were read.
    pub(crate) side_stamp: Stamp,
    stamps: BTreeMap<String, Stamp>,
}

impl Plan {
    /// Judges the settings. With `watch` the source goes on looking for new and grown files.
    pub fn new(
        settings: &CsvSettings,
        symbol: SymbolSettings,
        kind: Kind,
        calendar: Arc<Calendar>,
        watch: bool,
    ) -> anyhow::Result<Plan> {
        let side = SideFiles {
            factors: settings.adj_factor.clone(),
            limits: settings.stk_limit.clone(),
            treatment: settings.stock_st.clone(),
        };
        let from_side = kind == Kind::RefDay && !side.is_empty();
        if settings.paths.is_empty() && !from_side {
            bail!(FilesError::Nothing);
        }
        if watch && settings.paths.iter().any(|path| path == "-") {
            bail!("standard input cannot be watched; add --once");
        }
        let workers = match settings.max_workers {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        };
        let pace = Pace {
            rescan: Duration::from_secs(settings.rescan_s.max(1)),
            quiet: Duration::from_millis(settings.quiet_ms),
            busy_max: Duration::from_secs(settings.busy_s_max),
        };
        Ok(Plan {
            paths: settings.paths.clone(),
            options: options(settings, symbol, kind, calendar, workers)?,
            mapping: mapping(settings, symbol)?,
            force: settings.force,
            pace: watch.then_some(pace),
            workers,
            side,
            stdin: None,
        })
    }

    /// Files parsed at the same time.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Says where standard input is kept; in the ledger and in messages it stays `-`.
    pub fn keep_stdin(&mut self, path: &Path) {
        self.stdin = Some(path.to_owned());
    }

    /// Arguments and folders that stand for nothing, each with why.
    pub fn missing(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.scan(&Scan::default())?.missing.into_iter().map(|(_, error)| error).collect())
    }

    /// What every file is read by.
    pub(crate) fn bench(&self) -> Bench {
        Bench {
            options: self.options.clone(),
            mapping: self.mapping.clone(),
            holds_tail: self.pace.is_some(),
            rows_block_max: self.options.rows_block_max,
        }
    }

    /// The folders whose changes matter.
    pub(crate) fn roots(&self) -> BTreeMap<PathBuf, bool> {
        let mut roots = files::roots(&self.paths);
        roots.extend(self.side.roots());
        roots
    }

    /// Looks at the folders. Side files that have not changed since `last` are not read again; those that do not read
    /// are an error at first, and later leave what was known before.
    pub(crate) fn scan(&self, last: &Scan) -> anyhow::Result<Scan> {
        let mut scan = Scan::default();
        if !self.paths.is_empty() {
            let mut found = files::find(&self.paths);
            if let Some(kept) = &self.stdin {
                found
                    .files
                    .iter_mut()
                    .filter(|input| input.key == "-")
                    .for_each(|input| input.path.clone_from(kept));
            }
            scan.take_files(found, self.pace.is_some());
        }
        match self.side.read(&self.options, &last.side, last.side_stamp) {
            Ok((side, stamp)) => (scan.side, scan.side_stamp) = (side, stamp),
            Err(error) if last.side.is_empty() => return Err(Usage(error).into()),
            Err(error) => {
                tracing::warn!("{error:#}; what the side files said before still holds");
                (scan.side, scan.side_stamp) = (Arc::clone(&last.side), last.side_stamp);
            }
        }
        if self.options.kind == Kind::RefDay {
            scan.take_months();
        }
        Ok(scan)
    }
}

impl Scan {
    fn take_files(&mut self, found: files::Found, watch: bool) {
        for input in found.files {
            // What cannot be looked at is told when its turn comes.
            if let Ok(stamp) = Stamp::of(&input.path, now()) {
                self.stamps.insert(input.key.clone(), stamp);
            }
            self.inputs.push((input, None));
        }
        for error in found.missing {
            // A daemon waits for files that are not there yet.
            if !(watch && matches!(error, FilesError::Empty { .. } | FilesError::Unmatched(_))) {
                self.missing.push((error.name(), format!("{:#}", anyhow::Error::from(error))));
            }
        }
    }

    fn take_months(&mut self) {
        for month in self.side.months() {
            let key = month.key();
            self.stamps.insert(key.clone(), self.side_stamp);
            self.inputs.push((Input { path: PathBuf::new(), key }, Some(month)));
        }
    }

    /// How a file looked.
    pub(crate) fn stamp(&self, key: &str) -> Option<Stamp> {
        self.stamps.get(key).copied()
    }

    /// Bytes that progress counts a file for.
    pub(crate) fn size(&self, key: &str) -> u64 {
        self.stamps.get(key).map_or(0, |stamp| stamp.size)
    }
}

fn options(
    settings: &CsvSettings,
    symbol: SymbolSettings,
    kind: Kind,
    calendar: Arc<Calendar>,
    workers: usize,
) -> anyhow::Result<Options> {
    let mut options = Options::new(kind, calendar);
    options.dialect = dialect::from_choice(&settings.dialect).context("csv.dialect")?;
    options.exchange = chosen("csv.exchange", settings.exchange.as_deref(), "SH, SZ or BJ", Exchange::parse)?;
    options.price_basis =
        chosen("csv.price_basis", settings.price_basis.as_deref(), "raw or adjusted", basis)?;
    options.vol_unit = chosen("csv.vol_unit", settings.vol_unit.as_deref(), "shares or lots", vol_unit)?;
    options.amount_unit =
        chosen("csv.amount_unit", settings.amount_unit.as_deref(), "yuan or thousand_yuan", amount_unit)?;
    options.alias = match symbol.alias {
        AliasChoice::Current => Alias::Current(Arc::new(Aliases::published())),
        AliasChoice::AsGiven => Alias::AsGiven,
    };
    options.rows_block_max = settings.rows_block_max.max(1);
    options.keys_max = settings.keys_max;
    options.file_bytes_memory_max = settings.text_bytes_max / u64::try_from(workers.max(1))?;
    if let Some(spool) = &settings.spool {
        options.spool_dir.clone_from(spool);
    }
    Ok(options)
}

fn chosen<T>(
    key: &str,
    text: Option<&str>,
    known: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> anyhow::Result<Option<T>> {
    let Some(text) = text else { return Ok(None) };
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => bail!("{key} {text:?} is not {known}"),
    }
}

fn basis(text: &str) -> Option<Basis> {
    match text {
        "raw" => Some(Basis::Raw),
        "adjusted" => Some(Basis::Adjusted),
        _ => None,
    }
}

fn vol_unit(text: &str) -> Option<VolUnit> {
    match text {
        "shares" => Some(VolUnit::Shares),
        "lots" => Some(VolUnit::Lots),
        _ => None,
    }
}

fn amount_unit(text: &str) -> Option<AmountUnit> {
    match text {
        "yuan" => Some(AmountUnit::Yuan),
        "thousand_yuan" => Some(AmountUnit::ThousandYuan),
        _ => None,
    }
}

/// What changes the meaning of a row: a file read by other declarations is read again. A built-in dialect counts by
/// its name, so that an upgrade does not publish everything again; one of the user's own by its text.
fn mapping(settings: &CsvSettings, symbol: SymbolSettings) -> anyhow::Result<String> {
    let path = Path::new(&settings.dialect);
    let own = match path.extension() {
        Some(ending) if ending == "toml" => fs::read(path).context("csv.dialect")?,
        _ => settings.dialect.clone().into_bytes(),
    };
    let CsvSettings { exchange, price_basis, vol_unit, amount_unit, .. } = settings;
    let declared =
        format!("{exchange:?} {price_basis:?} {vol_unit:?} {amount_unit:?} {}", symbol.alias.word());
    Ok(format!("{:016x}", xxh3_64(&[&own, declared.as_bytes()].concat())))
}
