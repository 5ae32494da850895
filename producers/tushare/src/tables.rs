//! The tables that bars are made of, asked for by their purpose. Knows which API has what, and when an answer is the last
//! word; must not know what is made of it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime};
use sqep::{Symbol, kind::Grid, shanghai};
use tokio::sync::Mutex as Turn;

use crate::{
    client::{ApiError, Ask, Client, Keep, Misfit, Table, api},
    config::{AliasChoice, FetchSettings},
    known::{Names, Treatment, treated},
    plan::{Dataset, Range},
    universe::{Codes, Universe},
};

/// The first day of `stock_st`; before it names tell.
const ST_SINCE: Option<NaiveDate> = NaiveDate::from_ymd_opt(2016, 1, 1);
/// Every list status: listed, delisted, paused, and approved but not yet listed.
const STATUSES: [&str; 4] = ["L", "D", "P", "G"];

/// Asks for tables.
#[derive(Clone)]
pub struct Tables {
    client: Client,
    alias: AliasChoice,
    /// When, after midnight, lists are read anew.
    anew: [NaiveTime; 2],
    /// Or, for what lies behind, as they were after this day or later.
    as_of: Option<NaiveDate>,
    names: Arc<Mutex<Lately<Names>>>,
    universe: Arc<Mutex<Lately<Universe>>>,
    /// Who reads a list anew; the others wait for it.
    turn: Arc<Turn<()>>,
    /// Whether it was told that names stand in for the list.
    told: Arc<AtomicBool>,
}

/// Something that is good until lists are read anew, and since when it was.
type Lately<T> = Option<(NaiveDateTime, Arc<T>)>;

fn kept_since<T>(kept: &Mutex<Lately<T>>, since: NaiveDateTime) -> Option<Arc<T>> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.as_ref().filter(|(of, _)| *of == since).map(|(_, kept)| Arc::clone(kept))
}

fn keep<T>(place: &Mutex<Lately<T>>, since: NaiveDateTime, value: T) -> Arc<T> {
    let value = Arc::new(value);
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some((since, Arc::clone(&value)));
    value
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Tables {
    /// Tables of this service, at the time of its clock.
    pub fn new(client: Client, alias: AliasChoice) -> Tables {
        let FetchSettings { ref_at, bars_at, .. } = FetchSettings::default();
        let (names, universe, turn, told) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        Tables { client, alias, anew: [ref_at, bars_at], as_of: None, names, universe, turn, told }
    }

    /// Reads lists anew at these times of a day: a stock that is listed today is on the list by then.
    #[must_use]
    pub fn read_anew_at(self, anew: [NaiveTime; 2]) -> Tables {
        Tables { anew, ..self }
    }

    /// For days up to `last` alone: lists that were asked for after it are good, however long ago that was.
    #[must_use]
    pub fn as_of(self, last: NaiveDate) -> Tables {
        Tables { as_of: Some(last), ..self }
    }

    /// Since when a list must have been asked for to be good now.
    fn lists_since(&self) -> NaiveDateTime {
        let now = self.now();
        if let Some(last) = self.as_of.filter(|last| *last < now.date()) {
            return (last + Days::new(1)).and_time(NaiveTime::MIN);
        }
        let passed = self.anew.into_iter().filter(|&time| time <= now.time()).max();
        now.date().and_time(passed.unwrap_or(NaiveTime::MIN))
    }

    /// The service.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What time it is in Shanghai.
    pub fn now(&self) -> NaiveDateTime {
        self.client.now()
    }

    /// An answer about a day that is over counts if it was asked for after that day; about today, none kept counts.
    fn keep(&self, last: NaiveDate, fresh: bool) -> Keep {
        if fresh || last >= self.now().date() {
            return Keep::Fresh;
        }
        Keep::Settled { since_ms: midnight_after(last) }
    }

    /// The quota that is in the way of a table of a trade date, if one is.
    pub(crate) fn quota(&self, name: &'static str, day: NaiveDate, fresh: bool) -> Option<ApiError> {
        self.client.quota(&ask_of_day(name, day), self.keep(day, fresh))
    }

    /// Whether a table of a trade date costs no call.
    pub(crate) fn is_kept(&self, name: &'static str, day: NaiveDate) -> bool {
        self.client.is_kept(&ask_of_day(name, day), self.keep(day, false))
    }

    /// A table of a trade date.
    pub async fn of_day(&self, name: &'static str, day: NaiveDate, fresh: bool) -> Result<Table, ApiError> {
        self.client.table(&ask_of_day(name, day), self.keep(day, fresh)).await
    }

    /// Day bars of an index, or minute bars of a security, over some days.
    pub async fn of_code(
        &self,
        dataset: Dataset,
        symbol: Symbol,
        range: Range,
        fresh: bool,
    ) -> Result<Table, ApiError> {
        self.client.table(&ask_of_code(dataset, symbol, range), self.keep(range.to, fresh)).await
    }

    /// Whether that costs no call.
    pub(crate) fn is_range_kept(&self, dataset: Dataset, symbol: Symbol, range: Range) -> bool {
        self.client.is_kept(&ask_of_code(dataset, symbol, range), self.keep(range.to, false))
    }

    /// The latest minute of some securities.
    pub async fn live(&self, grid: Grid, codes: String) -> Result<Table, ApiError> {
        let params = vec![("ts_code", codes), ("freq", format!("{}MIN", grid.minutes()))];
        self.client.table(&Ask { api: api("rt_min"), params }, Keep::No).await
    }

    /// Who is under special treatment on a day; `None`: the list is not there yet. Before there was a list, where it stays
    /// empty, and for an account that may not ask for it, names tell.
    pub async fn treatment(
        &self,
        codes: &Codes,
        day: NaiveDate,
        fresh: bool,
    ) -> Result<Option<Treatment>, ApiError> {
        if since_st(day) {
            match self.treated_twice(day, fresh).await {
                Ok(table) if !table.rows.is_empty() => return Ok(treated(&table, codes)),
                Ok(_) if day >= self.now().date() => return Ok(None),
                Ok(_) => {}
                Err(error @ ApiError::Permission { .. }) => {
                    if !self.told.swap(true, Ordering::Relaxed) {
                        tracing::warn!("{error}; special treatment is told by namechange instead");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.names(codes).await?.on(day))
    }

    /// `stock_st` of a day, asked for once more if a day that is over has nobody: that may be a moment's nothing.
    async fn treated_twice(&self, day: NaiveDate, fresh: bool) -> Result<Table, ApiError> {
        let table = self.of_day("stock_st", day, fresh).await?;
        if !table.rows.is_empty() || day >= self.now().date() {
            return Ok(table);
        }
        self.of_day("stock_st", day, true).await
    }

    /// Whether a list of the day says who is under special treatment, and the account may ask for it.
    pub(crate) fn lists_treatment(&self, day: NaiveDate) -> bool {
        since_st(day) && self.client.allows(api("stock_st"))
    }

    /// Whether name changes cost no call.
    pub(crate) fn has_names(&self) -> bool {
        let since = self.lists_since();
        kept_since(&self.names, since).is_some()
            || self.client.is_kept(&Ask { api: api("namechange"), params: Vec::new() }, settled(since))
    }

    /// All name changes.
    async fn names(&self, codes: &Codes) -> Result<Arc<Names>, ApiError> {
        let (since, _turn) = (self.lists_since(), self.turn.lock().await);
        if let Some(names) = kept_since(&self.names, since) {
            return Ok(names);
        }
        let table = self.list("namechange", Vec::new(), since).await?;
        Ok(keep(&self.names, since, Names::new(&table, codes)))
    }

    /// A list, asked for at `since` or later.
    async fn list(
        &self,
        name: &'static str,
        params: Vec<(&'static str, String)>,
        since: NaiveDateTime,
    ) -> Result<Table, ApiError> {
        self.client.table(&Ask { api: api(name), params }, settled(since)).await
    }

    /// The stocks of a list status. Somebody is listed always, and somebody left: else whoever is missing of a day would
    /// not be missed.
    async fn listing(&self, status: &'static str, since: NaiveDateTime) -> Result<Table, ApiError> {
        let ask = Ask { api: api("stock_basic"), params: vec![("list_status", status.to_owned())] };
        let table = self.client.table(&ask, settled(since)).await?;
        if table.rows.is_empty() && !ask.may_be_empty() {
            let (api, asked) = (ask.api.name, ask.to_string());
            return Err(ApiError::Incomplete { api, asked, why: Misfit::Empty });
        }
        Ok(table)
    }

    /// Who is listed, under which number, and when the exchanges trade, as far as the account may know it. Read a few
    /// times a day.
    pub async fn universe(&self) -> Result<Arc<Universe>, ApiError> {
        let (since, _turn) = (self.lists_since(), self.turn.lock().await);
        if let Some(universe) = kept_since(&self.universe, since) {
            return Ok(universe);
        }
        let mut codes = Codes::new(self.alias);
        if let Some(mapping) = allowed(self.list("bse_mapping", Vec::new(), since).await)? {
            codes.serve(&mapping);
        }
        let mut basics = Vec::new();
        for status in STATUSES {
            basics.extend(allowed(self.listing(status, since).await)?);
        }
        let calendar = self.list("trade_cal", vec![("exchange", "SSE".to_owned())], since).await;
        let universe = Universe::new(codes, &basics, &allowed(calendar)?.unwrap_or_default());
        Ok(keep(&self.universe, since, universe))
    }
}

/// A list that the account may not ask for is done without; who is expected is unknown then.
fn allowed(answer: Result<Table, ApiError>) -> Result<Option<Table>, ApiError> {
    match answer {
        Ok(table) => Ok(Some(table)),
        Err(error @ ApiError::Permission { .. }) => {
            tracing::warn!("{error}; days are published without being compared with it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn since_st(day: NaiveDate) -> bool {
    ST_SINCE.is_some_and(|since| day >= since)
}

/// An answer asked for at `since` or later counts.
fn settled(since: NaiveDateTime) -> Keep {
    Keep::Settled { since_ms: shanghai::instant_ms(since).unwrap_or(i64::MAX) }
}

fn ask_of_day(name: &'static str, day: NaiveDate) -> Ask {
    Ask { api: api(name), params: vec![("trade_date", compact(day))] }
}

fn ask_of_code(dataset: Dataset, symbol: Symbol, Range { from, to }: Range) -> Ask {
    let minutes = |grid: Grid| {
        vec![
            ("ts_code", symbol.to_string()),
            ("freq", format!("{}min", grid.minutes())),
            ("start_date", format!("{from} 09:00:00")),
            ("end_date", format!("{to} 16:00:00")),
        ]
    };
    match dataset {
        Dataset::Minutes(grid) => Ask { api: api(minutes_api(false)), params: minutes(grid) },
        Dataset::IndexMinutes(grid) => Ask { api: api(minutes_api(true)), params: minutes(grid) },
        _ => {
            let days = [("start_date", compact(from)), ("end_date", compact(to))];
            let params = [("ts_code", symbol.to_string())].into_iter().chain(days).collect();
            Ask { api: api("index_daily"), params }
        }
    }
}

fn compact(day: NaiveDate) -> String {
    day.format("%Y%m%d").to_string()
}

/// Milliseconds since 1970 of the end of a day in Shanghai.
fn midnight_after(day: NaiveDate) -> i64 {
    shanghai::instant_ms((day + Days::new(1)).and_time(NaiveTime::MIN)).unwrap_or(i64::MAX)
}

/// The API of minute bars of the past.
pub fn minutes_api(index: bool) -> &'static str {
    if index { "idx_mins" } else { "stk_mins" }
}
