//! What side files know of a day, joined into records: factors, price limits, special treatment.
//!
//! Knows which field comes from which table; must not know how such a file is written. What no table says stays null.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use chrono::{Datelike, Days, NaiveDate};
use sqep::{DayBar, MinuteBar, Record, RefDay, Symbol};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    files::{self, now},
    ledger::{Print, Stamp},
    load::Options,
    row::FromRow,
    side::{self, Factors, Limits, SideOptions, Treatment},
};

/// Different values of all side files of one sort at most: a factor or a limit that stays the same counts once.
const RUNS_MAX: usize = 8_000_000;

/// How the names begin by which months go in the ledger.
pub(crate) const MONTH_PREFIX: &str = "side files ";

/// Everything the side files know.
#[derive(Debug, Clone, Default)]
pub struct Side {
    factors: Option<Factors>,
    limits: Option<Limits>,
    treatment: Option<Treatment>,
    /// What all the files hold, as a hash.
    content: String,
}

/// Where the side files are.
#[derive(Debug, Clone, Default)]
pub(crate) struct SideFiles {
    pub(crate) factors: Vec<String>,
    pub(crate) limits: Vec<String>,
    pub(crate) treatment: Vec<String>,
}

/// A calendar month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    month: u32,
}

/// A record that side files may know more of.
pub trait Enrich: FromRow {
    /// Whether side files are joined into it, so that other side files make other records.
    const JOINED: bool = false;

    /// The record with what `side` knows of its day; what the record itself says stays.
    #[must_use]
    fn enriched(self, side: &Side) -> Self;

    /// What the side files alone say of a month, by day and security.
    fn of_month(side: &Side, month: Month) -> Vec<Self>;
}

impl Enrich for DayBar {
    const JOINED: bool = true;

    fn enriched(mut self, side: &Side) -> DayBar {
        let known = side.of(self.symbol, self.frame);
        self.adjust = self.adjust.or(known.adjust);
        self.st = self.st.or(known.st);
        self.buy_limit = self.buy_limit.or(known.buy_limit);
        self.sell_limit = self.sell_limit.or(known.sell_limit);
        self.normalised()
    }

    fn of_month(_: &Side, _: Month) -> Vec<DayBar> {
        Vec::new()
    }
}

impl Enrich for MinuteBar {
    fn enriched(self, _: &Side) -> MinuteBar {
        self
    }

    fn of_month(_: &Side, _: Month) -> Vec<MinuteBar> {
        Vec::new()
    }
}

impl Enrich for RefDay {
    fn enriched(self, _: &Side) -> RefDay {
        self
    }

    fn of_month(side: &Side, month: Month) -> Vec<RefDay> {
        let Some((from, to)) = month.days() else { return Vec::new() };
        let factors = side
            .factors
            .iter()
            .flat_map(|table| table.between(from, to))
            .map(|(symbol, day, _)| (day, symbol));
        let limits = side
            .limits
            .iter()
            .flat_map(|table| table.between(from, to))
            .map(|(symbol, day, _)| (day, symbol));
        let treated = side
            .treatment
            .iter()
            .flat_map(|table| table.between(from, to))
            .map(|(symbol, day)| (day, symbol));
        let keys: BTreeSet<(NaiveDate, Symbol)> = factors.chain(limits).chain(treated).collect();
        let (said, blank): (Vec<RefDay>, Vec<RefDay>) =
            keys.into_iter().map(|(day, symbol)| side.of(symbol, day)).partition(says_anything);
        if !blank.is_empty() {
            let (month, rows) = (month.key(), blank.len());
            tracing::info!(month, rows, "days of which the side files say nothing are left out");
        }
        said
    }
}

fn says_anything(day: &RefDay) -> bool {
    day.adjust.is_some() || day.st.is_some() || day.buy_limit.is_some() || day.sell_limit.is_some()
}

impl Side {
    /// The tables there are, one letter each, beside the key that names their files.
    fn tables(&self) -> [(char, &'static str, bool); 3] {
        [
            ('f', "csv.adj_factor", self.factors.is_some()),
            ('l', "csv.stk_limit", self.limits.is_some()),
            ('s', "csv.stock_st", self.treatment.is_some()),
        ]
    }

    fn letters(&self) -> String {
        self.tables().iter().filter(|(_, _, here)| *here).map(|(letter, _, _)| letter).collect()
    }

    /// What the side files add to [`crate::ledger::Entry::mapping`] of records they are joined into.
    pub(crate) fn mapping(&self, base: &str, joined: bool, month: bool) -> String {
        match (self.is_empty(), joined, month) {
            (false, true, _) => format!("{base}+{}-{}", self.letters(), self.content),
            // The content of a month is compared by itself.
            (false, _, true) => format!("{base}+{}", self.letters()),
            _ => base.to_owned(),
        }
    }

    /// Whether the other says the same.
    pub(crate) fn is_as(&self, other: &Side) -> bool {
        (self.letters(), &self.content) == (other.letters(), &other.content)
    }

    /// The keys of side files that records read by `mapping` were joined with and that are not there now.
    pub(crate) fn lacks(&self, mapping: &str) -> Vec<&'static str> {
        let Some((_, side)) = mapping.split_once('+') else { return Vec::new() };
        let before = side.split('-').next().unwrap_or_default();
        let gone = self.tables().into_iter().filter(|&(letter, _, here)| !here && before.contains(letter));
        gone.map(|(_, key, _)| key).collect()
    }

    /// Whether there is nothing to join.
    pub fn is_empty(&self) -> bool {
        self.factors.is_none() && self.limits.is_none() && self.treatment.is_none()
    }

    /// What is known of a security on a day.
    pub fn of(&self, symbol: Symbol, frame: NaiveDate) -> RefDay {
        let limits = self.limits.as_ref().and_then(|table| table.get(symbol, frame));
        let (buy_limit, sell_limit) = limits.unwrap_or_default();
        RefDay {
            symbol,
            frame,
            adjust: self.factors.as_ref().and_then(|table| table.get(symbol, frame)),
            st: self.treatment.as_ref().and_then(|table| table.get(symbol, frame)),
            buy_limit,
            sell_limit,
        }
    }

    /// The months on which anything is known.
    pub(crate) fn months(&self) -> BTreeSet<Month> {
        let treated = self.treatment.iter().filter_map(|table| {
            let days = table.days();
            Some((*days.first()?, *days.last()?))
        });
        let factors = self.factors.iter().filter_map(Factors::span);
        let limits = self.limits.iter().filter_map(Limits::span);
        treated.chain(factors).chain(limits).flat_map(|(from, to)| Month::between(from, to)).collect()
    }

    /// The content of records as the ledger compares it: `place` counts records, not bytes.
    pub(crate) fn print<R: Record>(records: &[R], place: u64) -> Print {
        let mut hash = Xxh3::new();
        let mut print = Print { bytes: 0, hash: String::new(), before: None, last: None, packed: false };
        for record in records {
            if print.bytes == place {
                print.before = Some((format!("{:016x}", hash.digest()), Some(b'.')));
            }
            for at in 0..R::FIELDS.len() {
                hash.update(format!("{:?};", record.get(at)).as_bytes());
            }
            print.bytes += 1;
        }
        print.hash = format!("{:016x}", hash.digest());
        if print.bytes == place {
            print.before = Some((print.hash.clone(), None));
        }
        print
    }
}

impl Month {
    fn of(day: NaiveDate) -> Month {
        Month { year: day.year(), month: day.month() }
    }

    fn between(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = Month> {
        let next = |month: &Month| {
            let (_, last) = month.days()?;
            Some(Month::of(last.checked_add_days(Days::new(1))?))
        };
        std::iter::successors(Some(Month::of(from)), next).take_while(move |&month| month <= Month::of(to))
    }

    /// Its first and last day.
    fn days(self) -> Option<(NaiveDate, NaiveDate)> {
        let first = NaiveDate::from_ymd_opt(self.year, self.month, 1)?;
        let next = first.checked_add_months(chrono::Months::new(1))?;
        Some((first, next.pred_opt()?))
    }

    /// The name it goes by in the ledger.
    pub(crate) fn key(self) -> String {
        format!("{MONTH_PREFIX}{:04}-{:02}", self.year, self.month)
    }
}

impl SideFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.factors.iter().chain(&self.limits).chain(&self.treatment)
    }

    /// The folders whose changes matter.
    pub(crate) fn roots(&self) -> BTreeMap<PathBuf, bool> {
        files::roots(&self.all().cloned().collect::<Vec<String>>())
    }

    /// Reads all of them, unless they are as they were at `last`.
    pub(crate) fn read(
        &self,
        options: &Options,
        known: &Arc<Side>,
        last: Stamp,
    ) -> anyhow::Result<(Arc<Side>, Stamp)> {
        let (factors, limits) =
            (found("csv.adj_factor", &self.factors)?, found("csv.stk_limit", &self.limits)?);
        let treatment = found("csv.stock_st", &self.treatment)?;
        let stamp = stamp(factors.iter().chain(&limits).chain(&treatment))?;
        if stamp == last && !stamp.fresh {
            return Ok((Arc::clone(known), last));
        }
        let options = SideOptions {
            dialect: crate::dialect::DialectChoice::Auto,
            exchange: options.exchange,
            calendar: Arc::clone(&options.calendar),
            alias: options.alias.clone(),
            runs_max: RUNS_MAX,
        };
        let content = content([&factors, &limits, &treatment])?;
        let side = Side {
            content,
            factors: Factors::joined(each("csv.adj_factor", &factors, |path| {
                side::read_factors(path, &options)
            })?),
            limits: Limits::joined(each("csv.stk_limit", &limits, |path| side::read_limits(path, &options))?),
            treatment: Treatment::joined(each("csv.stock_st", &treatment, |path| {
                side::read_st(path, &options)
            })?),
        };
        side.tell();
        Ok((Arc::new(side), stamp))
    }
}

impl Side {
    /// Says what of the side files could not be used; the rows of a side file become no records, so no letter says it.
    fn tell(&self) {
        let factors = self.factors.iter().map(|table| ("csv.adj_factor", table.rows, &table.unused));
        let limits = self.limits.iter().map(|table| ("csv.stk_limit", table.rows, &table.unused));
        let treated = self.treatment.iter().map(|table| ("csv.stock_st", table.rows().0, table.rows().1));
        for (key, rows, unused) in factors.chain(limits).chain(treated) {
            let unused: Vec<String> =
                unused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            tracing::info!(key, rows, unused = unused.join(" "), "side files read");
        }
    }
}

fn found(key: &str, arguments: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    if arguments.is_empty() {
        return Ok(Vec::new());
    }
    let found = files::find(arguments);
    match found.missing.into_iter().next() {
        Some(error) => Err(error).context(key.to_owned()),
        None => Ok(found.files.into_iter().map(|input| input.path).collect()),
    }
}

/// All files as one: any change of one changes it.
fn stamp<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<Stamp> {
    let mut all = Stamp::default();
    for path in paths {
        let stamp = Stamp::of(path, now()).with_context(|| format!("side file {}", path.display()))?;
        all.size = all.size.wrapping_add(stamp.size);
        all.mtime = all.mtime.max(stamp.mtime);
        all.ctime = all.ctime.max(stamp.ctime);
        all.fresh |= stamp.fresh;
    }
    Ok(all)
}

/// A hash of all files by what they hold, whatever they are called.
fn content(tables: [&Vec<PathBuf>; 3]) -> anyhow::Result<String> {
    let mut hash = Xxh3::new();
    for paths in tables {
        for path in paths {
            let print =
                Print::of(path, u64::MAX, 0).with_context(|| format!("side file {}", path.display()))?;
            hash.update(format!("{} {};", print.bytes, print.hash).as_bytes());
        }
        hash.update(b"|");
    }
    Ok(format!("{:016x}", hash.digest()))
}

fn each<T>(
    key: &str,
    paths: &[PathBuf],
    read: impl Fn(&Path) -> Result<T, crate::error::LoadError>,
) -> anyhow::Result<Vec<T>> {
    paths.iter().map(|path| read(path).context(key.to_owned())).collect()
}
