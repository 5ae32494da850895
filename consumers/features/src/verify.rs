//! `sqep-features verify`: whether an archive of features is what its bars give. Knows both archives and days; must not
//! write anything.
//!
//! The features of all bars are computed anew, a hash is taken of each day's rows, and the same of what the archive of
//! features holds. Not compared is when a bar came (`bar_version`): a bar that is sent again unchanged has a later one. A row
//! that was withdrawn is none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use chrono::NaiveDate;
use sqep::{
    Calendar, Record,
    app::Usage,
    codec::{self, Encoding},
    record::Cell,
    redis::Server,
};
use sqep_archive::{Filter, Reader, Symbols, any_narrow};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    engine::Engine,
    past::{Past, day_of},
    security::{Security, fresh},
};

/// Arguments of `sqep-features verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// Archive of the bars (and of ref:1d, for minutes).
    #[arg(long, value_name = "DIR")]
    pub archive: PathBuf,
    /// Archive of the features, if it is another.
    #[arg(long, value_name = "DIR")]
    pub features: Option<PathBuf>,
    /// Only rows of this day; repeatable. Bars before it are needed all the same.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub day: Vec<NaiveDate>,
}

/// What rows of a day add up to: how many, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Rows.
    pub rows: u64,
    /// Sum of their hashes, whatever their order.
    pub hash: u64,
}

/// Sums by day.
pub type Days = BTreeMap<NaiveDate, Sum>;

/// Compares, tells each day that differs, and fails if one does.
pub fn verify<E: Engine>(args: &VerifyArgs, calendar: &Arc<Calendar>) -> anyhow::Result<()> {
    let asked = |day: &NaiveDate| args.day.is_empty() || args.day.contains(day);
    let root = args.features.as_ref().unwrap_or(&args.archive);
    let narrow = any_narrow(root, E::FEATURES)?;
    let computed = computed::<E>(&args.archive, calendar, narrow)?;
    let computed: Days = computed.into_iter().filter(|(day, _)| asked(day)).collect();
    let (stored, sets) = stored::<E>(root, narrow)?;
    let stored: Days = stored.into_iter().filter(|(day, _)| asked(day)).collect();
    let mut days: Vec<_> = computed.keys().chain(stored.keys()).copied().collect();
    days.sort_unstable();
    days.dedup();
    let differ: Vec<_> = days.iter().filter(|day| computed.get(day) != stored.get(day)).collect();
    let mut out = std::io::stdout().lock();
    for day in &differ {
        let sum = |sums: &Days| sums.get(day).copied().unwrap_or_default();
        let (ours, theirs) = (sum(&computed), sum(&stored));
        writeln!(
            out,
            "{day}  computed {} rows {:016x}  stored {} rows {:016x}",
            ours.rows, ours.hash, theirs.rows, theirs.hash
        )?;
    }
    let rows: u64 = computed.values().map(|sum| sum.rows).sum();
    writeln!(out, "{} days, {rows} rows, {} days differ", days.len(), differ.len())?;
    if !differ.is_empty() {
        bail!("{} days differ from what their bars give{}", differ.len(), of_other_sets::<E>(&sets));
    }
    // Of several days one that is nowhere hides no verdict.
    if let Some(day) = args.day.iter().find(|day| !days.contains(day)) {
        let (bars, kind) = (args.archive.display(), E::BARS);
        bail!(Usage(anyhow!(
            "{bars} holds no {kind} with a row on {day}, and {} no row of it",
            root.display()
        )));
    }
    Ok(())
}

/// What to do where rows were computed by other formulas.
fn of_other_sets<E: Engine>(sets: &BTreeSet<u64>) -> String {
    if sets.iter().all(|&set| set == u64::from(E::SET)) {
        return String::new();
    }
    let sets: Vec<_> = sets.iter().map(u64::to_string).collect();
    format!(
        "; stored rows are of set {}, this program computes set {}: to have all of one set, retire the group, remove its \
         snapshot and give it the past anew (sqep group retire, sqep replay)",
        sets.join(" and "),
        E::SET
    )
}

/// The features of every bar of an archive.
fn computed<E: Engine>(archive: &Path, calendar: &Arc<Calendar>, narrow: bool) -> anyhow::Result<Days> {
    let mut days = Days::new();
    each::<E>(archive, calendar, |row| add::<E>(&mut days, row, narrow))?;
    Ok(days)
}

/// Shows the features of every bar of an archive, computed anew.
pub fn each<E: Engine>(
    archive: &Path,
    calendar: &Arc<Calendar>,
    mut visit: impl FnMut(&E::Feature) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let past: Past<E> = Past {
        server: Server::new(&sqep::redis::RedisSettings::default())?,
        prefix: String::new(),
        partition: 0,
        partitions: 1,
        archive: Some(archive.to_owned()),
        calendar: Arc::clone(calendar),
        engine: PhantomData,
    };
    let mut walk = past.archive_walk(Symbols::ALL, u64::MAX)?;
    let mut securities: HashMap<i32, Box<Security<E>>> = HashMap::new();
    let mut rows = Vec::new();
    while let Some(items) = walk.next()? {
        for item in &items {
            let Some((version, bar)) = item.newest() else { continue };
            let symbol = bar.symbol();
            let security = securities.entry(symbol.get()).or_insert_with(|| fresh(symbol));
            security.take(bar, *version, &item.facts, calendar, &mut rows);
            rows.drain(..).try_for_each(|row| visit(&row))?;
        }
    }
    Ok(())
}

/// Sums of the rows an archive holds, and the sets they are of.
fn stored<E: Engine>(root: &Path, narrow: bool) -> anyhow::Result<(Days, BTreeSet<u64>)> {
    let mut reader = Reader::<E::Feature>::open(root, E::FEATURES, Filter::default())
        .with_context(|| format!("no archive of {}", E::FEATURES))?;
    let set = E::Feature::FIELDS.iter().position(|field| field.name == "set").unwrap_or_default();
    let (mut days, mut sets) = (Days::new(), BTreeSet::new());
    while let Some(block) = reader.next()? {
        for row in block.rows.iter().map(|row| &row.record).filter(|row| !E::is_withdrawn(row)) {
            if let Cell::Integer(set) = row.get(set) {
                sets.insert(set);
            }
            add::<E>(&mut days, row, narrow)?;
        }
    }
    Ok((days, sets))
}

/// The row as an archive of 32-bit floats gives it back.
fn rounded<R: Record>(mut row: R) -> R {
    for at in 0..R::FIELDS.len() {
        if let Cell::Float(value) = row.get(at) {
            #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "what is meant")]
            let narrow = value as f32;
            row.set(at, Cell::Float(narrow.into()));
        }
    }
    row
}

fn add<E: Engine>(days: &mut Days, row: &E::Feature, narrow: bool) -> anyhow::Result<()> {
    let timeless = E::timeless(row);
    let timeless = if narrow { rounded(timeless) } else { timeless };
    let mut bytes = Vec::with_capacity(1_024);
    codec::encode(Encoding::Csv, &[timeless], None, &mut bytes)?;
    let sum = days.entry(day_of(row)).or_default();
    sum.rows += 1;
    sum.hash = sum.hash.wrapping_add(xxh3_64(&bytes));
    Ok(())
}
