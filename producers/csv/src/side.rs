//! Side files: adjust factors, price limits and ST lists by security and day.
//!
//! Knows how to look up what such a file says of a day; must not know bars. A value is kept once for all days in a row
//! on which it stays the same, so that a full history of factors is small; a day the file does not name stays unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use chrono::NaiveDate;
use sqep::{Calendar, Exchange, Kind, Reason, RefDay, Symbol, check::Finding, symbol::Class};

use crate::{
    code::Alias,
    dialect::{DialectChoice, Holds},
    input::Input,
    load::{LoadError, Options},
    parse::Outcome,
    pass::{Stream, read_error},
    report::Examples,
};

/// Days without a session that may lie between two rows of an unbroken series.
const PAUSE_DAYS_MAX: i64 = 31;

/// How side files are read.
#[derive(Debug, Clone)]
pub struct SideOptions {
    /// The dialect, or `auto`.
    pub dialect: DialectChoice,
    /// The exchange of bare codes.
    pub exchange: Option<Exchange>,
    /// The trading days.
    pub calendar: Arc<Calendar>,
    /// How renumbered securities are named.
    pub alias: Alias,
    /// Different values, at most.
    pub runs_max: usize,
}

/// What a side file says, by security and day.
#[derive(Debug, Clone)]
pub struct Days<V> {
    runs: BTreeMap<Symbol, Vec<Run<V>>>,
    calendar: Arc<Calendar>,
    /// Rows of the file.
    pub rows: u64,
    /// Rows that could not be used, by reason: a B share, a day without a session, a broken value.
    pub unused: BTreeMap<Reason, u64>,
}

/// Adjust factors.
pub type Factors = Days<f64>;
/// Upper and lower price limits; `None` where there is none.
pub type Limits = Days<(Option<f64>, Option<f64>)>;

/// Which securities were under special treatment.
#[derive(Debug, Clone)]
pub struct Treatment {
    listed: Days<bool>,
    covered: BTreeSet<NaiveDate>,
}

/// The same value on all sessions from one day to another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Run<V> {
    from: NaiveDate,
    to: NaiveDate,
    value: V,
}

/// Reads adjust factors (`adj_factor`).
pub fn read_factors(path: &Path, options: &SideOptions) -> Result<Factors, LoadError> {
    read(path, options, Holds::Factors, |row| row.adjust)
}

/// Reads price limits (`stk_limit`). Limits that mean "none" are none.
pub fn read_limits(path: &Path, options: &SideOptions) -> Result<Limits, LoadError> {
    read(path, options, Holds::Limits, |row| Some((row.buy_limit, row.sell_limit)))
}

/// Reads a list of the securities under special treatment on each day (`stock_st`).
pub fn read_st(path: &Path, options: &SideOptions) -> Result<Treatment, LoadError> {
    let mut covered = BTreeSet::new();
    let listed = read(path, options, Holds::Treatment, |row| {
        covered.insert(row.frame);
        Some(true)
    })?;
    Ok(Treatment { listed, covered })
}

fn read<V: Copy + PartialEq>(
    path: &Path,
    options: &SideOptions,
    holds: Holds,
    mut pick: impl FnMut(&RefDay) -> Option<V>,
) -> Result<Days<V>, LoadError> {
    let reading = Options {
        dialect: options.dialect.clone(),
        exchange: options.exchange,
        alias: options.alias.clone(),
        file_bytes_memory_max: 0,
        ..Options::new(Kind::RefDay, Arc::clone(&options.calendar))
    };
    let input = Input::open(path, reading.limits()).map_err(|error| read_error(path, error))?;
    let mut stream: Stream<RefDay> = Stream::begin(path, input, &reading, holds)?;
    let mut days = Days::new(Arc::clone(&options.calendar));
    let (mut runs, mut broken) = (0, Broken::default());
    while let Some((line, outcome)) = stream.next()? {
        days.rows += 1;
        match outcome {
            Outcome::Record(row, _) => {
                if let Some(value) = pick(&row) {
                    runs += usize::from(days.add(row.symbol, row.frame, value));
                } else {
                    let (reason, field) = (Reason::ValueIllegal, holds.to_string());
                    days.unuse(reason);
                    broken.add(path, line.number, &Finding { reason, field, value: String::new() });
                }
            }
            Outcome::Skipped(reason) => days.unuse(reason),
            Outcome::Refused(refused) => {
                days.unuse(refused.findings.first().map_or(Reason::RowIllegal, |finding| finding.reason));
                refused.findings.first().iter().for_each(|finding| broken.add(path, line.number, finding));
            }
        }
        if runs > options.runs_max {
            let what = holds.to_string();
            return Err(LoadError::SideTooLarge { path: path.to_owned(), what, runs_max: options.runs_max });
        }
    }
    broken.judge(path, days.rows)?;
    days.sort();
    Ok(days)
}

/// Rows of a side file that say nothing although they should, with the first ones as examples.
#[derive(Default)]
struct Broken {
    rows: u64,
    foreign: u64,
    examples: Examples,
}

impl Broken {
    fn add(&mut self, path: &Path, line: u64, finding: &Finding) {
        // What is quoted in another currency has no bars to join.
        if finding.reason == Reason::Currency {
            self.foreign += 1;
            return;
        }
        self.rows += 1;
        self.examples.add(&path.display().to_string(), line, finding);
    }

    /// Warns of what could not be used; a file of which that is more than half was not understood.
    fn judge(self, path: &Path, rows: u64) -> Result<(), LoadError> {
        if self.rows == 0 {
            return Ok(());
        }
        let (unusable, first) = (self.rows, self.examples.lines().join("; "));
        if unusable * 2 > rows.saturating_sub(self.foreign) {
            return Err(LoadError::SideUnusable { path: path.to_owned(), unusable, rows, first });
        }
        let file = path.display();
        tracing::warn!(%file, "{unusable} of {rows} rows of this side file cannot be used, their days stay unknown: {first}");
        Ok(())
    }
}

impl<V: Copy + PartialEq> Days<V> {
    fn new(calendar: Arc<Calendar>) -> Days<V> {
        Days { runs: BTreeMap::new(), calendar, rows: 0, unused: BTreeMap::new() }
    }

    fn unuse(&mut self, reason: Reason) {
        *self.unused.entry(reason).or_default() += 1;
    }

    /// Takes a row, in any order; true if it began a new run. The last row of a key wins.
    fn add(&mut self, symbol: Symbol, date: NaiveDate, value: V) -> bool {
        let runs = self.runs.entry(symbol).or_default();
        if let Some(last) = runs.last_mut().filter(|last| last.value == value) {
            if (last.from..=last.to).contains(&date) {
                return false;
            }
            if date > last.to && follows(&self.calendar, last.to, date) {
                last.to = date;
                return false;
            }
            if date < last.from && follows(&self.calendar, date, last.from) {
                last.from = date;
                return false;
            }
        }
        runs.push(Run { from: date, to: date, value });
        true
    }

    /// Several files as one, in their order: where two speak of a day, the later one is believed.
    pub fn joined(files: Vec<Days<V>>) -> Option<Days<V>> {
        let mut files = files.into_iter();
        let mut all = files.next()?;
        for file in files {
            all.rows += file.rows;
            file.unused.iter().for_each(|(&reason, count)| *all.unused.entry(reason).or_default() += count);
            for (symbol, runs) in file.runs {
                all.append(symbol, runs);
            }
        }
        all.sort();
        Some(all)
    }

    /// Runs of a later file; one that goes on where the last one ended becomes part of it.
    fn append(&mut self, symbol: Symbol, later: Vec<Run<V>>) {
        let runs = self.runs.entry(symbol).or_default();
        for run in later {
            match runs.last_mut() {
                Some(last)
                    if last.value == run.value
                        && last.to < run.from
                        && follows(&self.calendar, last.to, run.from) =>
                {
                    last.to = run.to;
                }
                _ => runs.push(run),
            }
        }
    }

    /// Sorts the runs of each security; where they overlap, each day is decided by the later row.
    fn sort(&mut self) {
        let calendar = Arc::clone(&self.calendar);
        for runs in self.runs.values_mut() {
            let written = runs.clone();
            runs.sort_by_key(|run| run.from);
            if runs.windows(2).all(|pair| matches!(pair, [a, b] if a.to < b.from)) {
                continue;
            }
            let mut single: BTreeMap<NaiveDate, V> = BTreeMap::new();
            for run in &written {
                single.extend(calendar.sessions(run.from, run.to).map(|day| (day, run.value)));
            }
            *runs = single.into_iter().map(|(day, value)| Run { from: day, to: day, value }).collect();
        }
    }

    /// What the file says of a security on a day.
    pub fn get(&self, symbol: Symbol, date: NaiveDate) -> Option<V> {
        let runs = self.runs.get(&symbol)?;
        let after = runs.partition_point(|run| run.from <= date);
        let run = runs.get(after.checked_sub(1)?)?;
        (date <= run.to).then_some(run.value)
    }

    /// Everything the file says of the sessions from one day to another, by security and day.
    pub fn between(
        &self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> impl Iterator<Item = (Symbol, NaiveDate, V)> + '_ {
        self.runs.iter().flat_map(move |(&symbol, runs)| {
            let inside = runs.iter().filter(move |run| run.from <= to && run.to >= from);
            inside.flat_map(move |run| {
                self.calendar
                    .sessions(run.from.max(from), run.to.min(to))
                    .map(move |day| (symbol, day, run.value))
            })
        })
    }

    /// The first and the last day the file names; `None` if it names none.
    pub fn span(&self) -> Option<(NaiveDate, NaiveDate)> {
        let runs = || self.runs.values().flatten();
        Some((runs().map(|run| run.from).min()?, runs().map(|run| run.to).max()?))
    }
}

impl Treatment {
    /// Several lists as one.
    pub fn joined(lists: Vec<Treatment>) -> Option<Treatment> {
        let (listed, covered): (Vec<_>, Vec<_>) =
            lists.into_iter().map(|list| (list.listed, list.covered)).unzip();
        Some(Treatment { listed: Days::joined(listed)?, covered: covered.into_iter().flatten().collect() })
    }

    /// Whether a security was under special treatment; `None` on a day the list does not cover, and for what is no
    /// stock.
    pub fn get(&self, symbol: Symbol, date: NaiveDate) -> Option<bool> {
        if symbol.class() != Class::Stock || !self.covered.contains(&date) {
            return None;
        }
        Some(self.listed.get(symbol, date).unwrap_or(false))
    }

    /// The securities listed on the days from one to another.
    pub fn between(&self, from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = (Symbol, NaiveDate)> + '_ {
        self.listed.between(from, to).map(|(symbol, day, _)| (symbol, day))
    }

    /// The days the list covers.
    pub fn days(&self) -> &BTreeSet<NaiveDate> {
        &self.covered
    }

    /// Rows of the file, and those that could not be used.
    pub fn rows(&self) -> (u64, &BTreeMap<Reason, u64>) {
        (self.listed.rows, &self.listed.unused)
    }
}

/// Whether no session lies between two days.
fn follows(calendar: &Calendar, earlier: NaiveDate, later: NaiveDate) -> bool {
    later.signed_duration_since(earlier).num_days() <= PAUSE_DAYS_MAX
        && earlier.iter_days().skip(1).take_while(|&day| day < later).all(|day| !calendar.is_session(day))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn options() -> SideOptions {
        SideOptions {
            dialect: DialectChoice::Auto,
            exchange: None,
            calendar: Arc::new(Calendar::published()),
            alias: Alias::AsGiven,
            runs_max: 1000,
        }
    }

    fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("side.csv");
        fs::write(&path, text).unwrap();
        path
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn symbol(text: &str) -> Symbol {
        text.parse().unwrap()
    }

    #[test]
    fn a_factor_holds_on_the_days_that_are_named_and_on_no_other() {
        let folder = tempfile::tempdir().unwrap();
        // A weekend, a missing Tuesday, a change, in falling order for one security.
        let path = file(
            &folder,
            "ts_code,trade_date,adj_factor\n000001.SZ,20240105,2.5\n000001.SZ,20240108,2.5\n000001.SZ,20240110,2.5\n\
             000001.SZ,20240111,2.6\n600000.SH,20240109,1.5\n600000.SH,20240108,1.5\n900901.SH,20240108,1.0\n",
        );
        let factors = read_factors(&path, &options()).unwrap();
        let bank = symbol("000001.SZ");
        let all: Vec<Option<f64>> = [
            "2024-01-04",
            "2024-01-05",
            "2024-01-06",
            "2024-01-08",
            "2024-01-09",
            "2024-01-10",
            "2024-01-11",
            "2024-01-12",
        ]
        .iter()
        .map(|text| factors.get(bank, day(text)))
        .collect();
        // A Saturday lies within the run; no bar ever asks for it.
        assert_eq!(all, [None, Some(2.5), Some(2.5), Some(2.5), None, Some(2.5), Some(2.6), None]);
        assert_eq!(factors.get(symbol("600000.SH"), day("2024-01-08")), Some(1.5));
        assert_eq!((factors.rows, factors.unused.get(&Reason::Currency)), (7, Some(&1)));
        let named: Vec<_> = factors.between(day("2024-01-08"), day("2024-01-10")).collect();
        assert_eq!(named.len(), 4, "{named:?}");
    }

    #[test]
    fn the_last_row_of_a_key_wins_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(
            &folder,
            "ts_code,trade_date,adj_factor\n000001.SZ,20240108,2\n000001.SZ,20240109,2\n000001.SZ,20240110,2\n\
             000001.SZ,20240109,3\n000001.SZ,20240108,2\n",
        );
        let factors = read_factors(&path, &options()).unwrap();
        let of = |text| factors.get(symbol("000001.SZ"), day(text));
        assert_eq!((of("2024-01-08"), of("2024-01-09"), of("2024-01-10")), (Some(2.0), Some(3.0), Some(2.0)));
    }

    #[test]
    fn a_file_a_day_or_a_security_reads_as_one_file_would() {
        let folder = tempfile::tempdir().unwrap();
        let read = |rows: &str| {
            let path = file(&folder, &format!("ts_code,trade_date,adj_factor\n{rows}"));
            read_factors(&path, &options()).unwrap()
        };
        let days = ["20240105", "20240108", "20240109", "20240110"];
        let of_day = |day: &&str| read(&format!("000001.SZ,{day},2.5\n600000.SH,{day},1.5\n"));
        let joined = Days::joined(days.iter().map(of_day).collect()).unwrap();
        let bank = symbol("000001.SZ");
        assert_eq!(joined.runs[&bank].len(), 1, "a value that stays the same is kept once");
        assert_eq!((joined.rows, joined.get(bank, day("2024-01-09"))), (8, Some(2.5)));
        let corrected = Days::joined(vec![joined, read("000001.SZ,20240108,3\n")]).unwrap();
        let of = |text| corrected.get(bank, day(text));
        assert_eq!((of("2024-01-05"), of("2024-01-08"), of("2024-01-09")), (Some(2.5), Some(3.0), Some(2.5)));
        assert!(Factors::joined(Vec::new()).is_none());
    }

    #[test]
    fn a_file_of_which_more_than_half_cannot_be_used_is_an_error_that_names_line_field_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let head = "ts_code,trade_date,adj_factor\n000001.SZ,20240108,2\n000001.SZ,20240109,x2\n";
        let path = file(&folder, head);
        assert_eq!(read_factors(&path, &options()).unwrap().rows, 2, "half of it may be broken");
        let path = file(&folder, &format!("{head}000001.SZ,20240110,y2\n"));
        let error = read_factors(&path, &options()).unwrap_err().to_string();
        for part in ["2 of 3 rows", "side.csv:3 adjust \"x2\": value_illegal"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn a_list_of_suspensions_is_no_list_of_special_treatment() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "ts_code,trade_date,suspend_timing,suspend_type\n000001.SZ,20240108,,S\n");
        assert!(matches!(read_st(&path, &options()), Err(LoadError::HeaderUnknown { .. })));
    }

    #[test]
    fn limits_that_mean_none_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(
            &folder,
            "trade_date,ts_code,up_limit,down_limit\n20240108,000001.SZ,10.1,8.3\n20240108,301001.SZ,99999.999,0.01\n",
        );
        let limits = read_limits(&path, &options()).unwrap();
        assert_eq!(limits.get(symbol("000001.SZ"), day("2024-01-08")), Some((Some(10.1), Some(8.3))));
        assert_eq!(limits.get(symbol("301001.SZ"), day("2024-01-08")), Some((None, None)));
    }

    #[test]
    fn who_is_not_on_the_list_of_a_day_is_known_not_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "ts_code,trade_date,name\n000040.SZ,20240108,*ST旭蓝\n");
        let list = read_st(&path, &options()).unwrap();
        let (listed, other, index) = (symbol("000040.SZ"), symbol("000001.SZ"), symbol("000001.SH"));
        assert_eq!(list.get(listed, day("2024-01-08")), Some(true));
        assert_eq!(list.get(other, day("2024-01-08")), Some(false));
        assert_eq!(list.get(index, day("2024-01-08")), None);
        assert_eq!(list.get(listed, day("2024-01-09")), None);
    }

    #[test]
    fn a_table_beyond_its_limit_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            file(&folder, "ts_code,trade_date,adj_factor\n000001.SZ,20240108,2\n000001.SZ,20240109,3\n");
        let error = read_factors(&path, &SideOptions { runs_max: 1, ..options() }).unwrap_err();
        assert!(error.to_string().contains("split it by year"), "{error}");
    }
}
