//! What a fake service knows: a table an API, minutes on demand, and what time it is there. Must not know protocols.

mod csv;
mod days;
mod generate;
mod lists;
mod minutes;
mod quotes;
mod table;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, LazyLock},
};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use self::table::Table;
pub(super) use self::{minutes::length, table::Wanted};
use super::{
    api::Api,
    row::{Cell, Row},
};

static NOTHING: LazyLock<Table> = LazyLock::new(Table::default);

/// Says of a row whether it is meant.
type Filter = Arc<dyn Fn(&Row) -> bool + Send + Sync>;

/// Tables by API. Cloning one is cheap: tables are shared until they change.
#[derive(Clone, Default)]
pub struct World {
    tables: BTreeMap<&'static str, Arc<Table>>,
    removed: Vec<(&'static str, Filter)>,
    hours: BTreeMap<&'static str, NaiveTime>,
    live_lag: TimeDelta,
    now: Option<NaiveDateTime>,
    seed: u64,
}

impl World {
    /// Tables of a made-up market: stocks of all boards with suspensions, special treatment, limits and factors, funds,
    /// indices, one listing in a while, one delisting in twenty-five, and in Beijing a stock that went by its former
    /// number. Everything from the seed; the sessions are those of the published calendar between the two days.
    pub fn generated(seed: u64, symbols: usize, from: NaiveDate, to: NaiveDate) -> World {
        generate::world(seed, symbols, from, to)
    }

    /// Tables of files named `API_*.csv` or `API.csv` with Tushare's columns, in this folder and its subfolders (`st_*`
    /// is `stock_st`). Other files are passed over. Without `stock_basic` or `trade_cal` those are made of the days.
    pub fn from_csv(folder: &Path) -> anyhow::Result<World> {
        csv::world(folder)
    }

    /// The rows of an API, newest first; minutes and live quotes are made when asked for and are not among them, unless
    /// they were put.
    pub fn table(&self, api: &str) -> &[Row] {
        self.kept(api).rows()
    }

    /// The APIs that have rows.
    pub fn apis(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.tables.iter().filter(|(_, table)| !table.rows().is_empty()).map(|(&name, _)| name)
    }

    /// Adds a row; minutes put this way replace the made-up ones of their security.
    pub fn put(&mut self, row: Row) {
        self.put_all(row.api(), vec![row]);
    }

    pub(super) fn put_all(&mut self, api: &'static Api, rows: Vec<Row>) {
        Arc::make_mut(self.tables.entry(api.name).or_default()).add(rows);
    }

    /// Takes rows away, made-up minutes too, and says how many of the kept ones there were. The made-up minutes of a
    /// day go with its day bar.
    pub fn remove(&mut self, api: &str, filter: impl Fn(&Row) -> bool + Send + Sync + 'static) -> usize {
        let Some(api) = Api::named(api) else { return 0 };
        let gone = self.tables.get_mut(api.name).map_or(0, |table| Arc::make_mut(table).remove(&filter));
        self.removed.push((api.name, Arc::new(filter)));
        gone
    }

    /// Changes the rows that are meant, and says how many there were.
    pub fn change(
        &mut self,
        api: &str,
        filter: impl Fn(&Row) -> bool,
        mut change: impl FnMut(&mut Row),
    ) -> usize {
        let Some(table) = self.tables.get_mut(api) else { return 0 };
        Arc::make_mut(table).change(|row| {
            let meant = filter(row);
            if meant {
                change(row);
            }
            meant
        })
    }

    /// What time it is in Shanghai: rows of a day appear at their API's hour of update. Without a time everything is
    /// there.
    pub fn set_now(&mut self, now: Option<NaiveDateTime>) {
        self.now = now;
    }

    /// What time it is, if it is any.
    pub fn now(&self) -> Option<NaiveDateTime> {
        self.now
    }

    /// From which hour on an API has the rows of a day.
    pub fn set_hour(&mut self, api: &str, hour: NaiveTime) {
        if let Some(api) = Api::named(api) {
            self.hours.insert(api.name, hour);
        }
    }

    /// How long after its end a minute is there live; by default at once.
    pub fn set_live_lag(&mut self, lag: TimeDelta) {
        self.live_lag = lag;
    }

    fn kept(&self, api: &str) -> &Table {
        self.tables.get(api).map_or(&*NOTHING, |table| table)
    }

    /// The rows that answer, before paging: at most `most` of them where they are made.
    pub(super) fn select(&self, api: &'static Api, wanted: &Wanted, most: usize) -> Vec<Row> {
        let rows = match api.name {
            "stk_mins" | "idx_mins" => minutes::history(self, api, wanted, most),
            "rt_min" | "rt_min_daily" | "rt_k" => quotes::live(self, api, wanted),
            "stock_basic" => self.listed_by_now().select(wanted),
            _ => self.kept(api.name).select(wanted),
        };
        rows.into_iter().filter(|row| self.is_out(row)).collect()
    }

    /// `stock_basic` without what the days to come bring: listings, and delistings of whoever is listed still.
    fn listed_by_now(&self) -> Cow<'_, Table> {
        let (kept, Some(now)) = (self.kept("stock_basic"), self.now) else {
            return Cow::Borrowed(self.kept("stock_basic"));
        };
        let today = ymd(now.date());
        let of_today = |row: &Row| {
            let later = row.text("delist_date") > &*today;
            let row = row.clone();
            if later { row.with("delist_date", Cell::Null).with("list_status", "L") } else { row }
        };
        let listed = kept.rows().iter().filter(|row| row.text("list_date") <= &*today);
        Cow::Owned(Table::of(listed.map(of_today).collect()))
    }

    /// Whether the service has this row by now.
    fn is_out(&self, row: &Row) -> bool {
        let (Some(now), Some("trade_date" | "trade_time")) = (self.now, row.api().time) else { return true };
        let Some(day) = day_of(row.time()) else { return true };
        let minutes = TimeDelta::minutes(i64::from(row.api().updates));
        let hour = self.hours.get(row.api().name).copied().unwrap_or(NaiveTime::MIN + minutes);
        day.and_time(hour) <= now
    }

    /// Whether a made-up row was taken away.
    fn is_removed(&self, row: &Row) -> bool {
        self.removed.iter().any(|(api, filter)| *api == row.api().name && filter(row))
    }

    /// The last day that has bars.
    fn last_day(&self) -> Option<NaiveDate> {
        let last = |api: &&str| day_of(self.table(api).first()?.time());
        let bars =
            ["daily", "fund_daily", "index_daily", "stk_mins", "idx_mins"].iter().filter_map(last).max();
        self.now.map(|now| now.date()).or(bars)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<_, _> =
            self.tables.iter().map(|(name, table)| (*name, table.rows().len())).collect();
        f.debug_struct("World").field("now", &self.now).field("rows", &sizes).finish_non_exhaustive()
    }
}

/// The day of `YYYYMMDD` or of `YYYY-MM-DD HH:MM:SS`.
pub(super) fn day_of(time: &str) -> Option<NaiveDate> {
    let digits: String = time.chars().filter(char::is_ascii_digit).take(8).collect();
    NaiveDate::parse_from_str(&digits, "%Y%m%d").ok()
}

/// A day as the service writes it.
fn ymd(day: NaiveDate) -> Arc<str> {
    day.format("%Y%m%d").to_string().into()
}

/// A number with so many decimals at most.
fn rounded(value: f64, decimals: i32) -> Cell {
    let unit = 10f64.powi(decimals);
    Cell::Number((value * unit).round() / unit)
}

/// Minute after minute as the service writes it.
fn written(time: NaiveDateTime) -> Arc<str> {
    time.format("%Y-%m-%d %H:%M:%S").to_string().into()
}

/// The API of this name, which the caller knows to exist.
///
/// # Panics
/// When there is none.
#[expect(clippy::expect_used, reason = "a name of the table above, mistyped, is a fault of this module")]
fn known(name: &str) -> &'static Api {
    Api::named(name).expect("an api of the table")
}
