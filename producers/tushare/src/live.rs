//! Minutes as they end: `rt_min`, asked for every list of codes once a minute.
//!
//! Knows when a minute is over and which row of an answer is news; must not know a schedule of days. A bar is published
//! only when its minute is over; one that is missed comes with the minutes of the day (`stk_mins`) in the evening, which
//! replace these in any case.
//!
//! `rt_k` is not asked: it has the day so far in one row, and a minute made of two of them has neither its high nor its
//! low.

use std::{collections::BTreeMap, mem};

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use sqep::{Chunk, Kind, MinuteBar, Symbol, kind::Grid};

use crate::{
    client::ApiError,
    judge::judge,
    market::Ground,
    parse::{Parsed, Scale, bars},
};

/// Minutes of a day in which a minute can end, first to last.
const SESSION: std::ops::RangeInclusive<u32> = 570..=900;

/// How the cursor fields of live minutes begin.
pub const PREFIX: &str = "live/";

/// The cursor field: the newest minute that came.
pub fn field(grid: Grid) -> String {
    format!("{PREFIX}{}", Kind::BarMinute(grid).name())
}

/// The last minute of each security that was handed over.
#[derive(Debug, Clone, Default)]
pub struct Last {
    /// The newest before this program started: what came until then counts as handed over.
    since: Option<NaiveDateTime>,
    of: BTreeMap<Symbol, NaiveDateTime>,
}

/// What came of live minutes.
#[derive(Debug)]
pub struct Minutes {
    /// Bars that are news, and the cursor field.
    pub chunk: Chunk<MinuteBar>,
    /// What is handed over with them.
    pub last: Last,
    /// Whether an answer was refused as a whole: the cursor does not move.
    pub withheld: bool,
}

/// How far a source got with live minutes.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The last minute that was asked for.
    pub(crate) begun: Option<NaiveDateTime>,
    /// The service did not have the last one yet.
    lags: bool,
}

impl Pace {
    /// Says once when the service lags.
    pub(crate) fn tell(&mut self, label: NaiveDateTime, newest: Option<NaiveDateTime>) {
        let lagged = mem::replace(&mut self.lags, newest.is_some_and(|newest| newest < label));
        if let (Some(newest), true, false) = (newest, self.lags, lagged) {
            tracing::warn!(
                "rt_min: {label} was asked for, and {newest} is the newest: its bars come a minute late, and the last \
                 before a break in the evening; raise fetch.live_delay_s"
            );
        }
    }
}

impl Last {
    /// Reads the field.
    pub fn read(text: &str) -> Last {
        Last { since: text.parse().ok(), of: BTreeMap::new() }
    }

    /// The newest minute of any security.
    pub fn newest(&self) -> Option<NaiveDateTime> {
        self.of.values().copied().max().max(self.since)
    }

    /// Whether a bar was not handed over yet. One of another day is none: the evening brought it.
    fn lacks(&self, bar: &MinuteBar, label: NaiveDateTime) -> bool {
        let last = self.of.get(&bar.symbol).copied().or(self.since);
        bar.frame <= label && bar.frame.date() == label.date() && last.is_none_or(|last| bar.frame > last)
    }

    fn take(&mut self, bars: &[MinuteBar]) {
        for bar in bars {
            let last = self.of.entry(bar.symbol).or_insert(bar.frame);
            *last = bar.frame.max(*last);
        }
    }
}

/// The last minute of the grid that ended at least `delay` ago on the day of `now`, if one has.
pub fn ended(grid: Grid, now: NaiveDateTime, delay: TimeDelta) -> Option<NaiveDateTime> {
    let then = now.checked_sub_signed(delay).filter(|then| then.date() == now.date())?;
    let minute = then.hour() * 60 + then.minute();
    let label = SESSION.take_while(|&label| label <= minute).filter(|&label| grid.is_label(label)).last()?;
    now.date().and_hms_opt(label / 60, label % 60, 0)
}

/// When the next minute of the grid is asked for, on the day of `now`.
pub fn next(grid: Grid, now: NaiveDateTime, delay: TimeDelta) -> Option<NaiveDateTime> {
    let times = SESSION.filter(|&label| grid.is_label(label));
    let mut due = times.filter_map(|label| Some(now.date().and_hms_opt(label / 60, label % 60, 0)? + delay));
    due.find(|&due| due > now)
}

/// Lists of codes, none of whose answers can be cut: one row a code, and fewer than a call gives.
pub fn lists(symbols: &[Symbol], rows_max: usize) -> Vec<String> {
    let text = |list: &[Symbol]| list.iter().map(ToString::to_string).collect::<Vec<String>>().join(",");
    symbols.chunks(rows_max.saturating_sub(1).max(1)).map(text).collect()
}

/// The bars of all codes that are not among the `last` and ended at `label` at the latest. A service that lags has the
/// minute before, and some securities later than others: each is compared with its own last bar.
pub async fn minutes(
    ground: &Ground<'_>,
    grid: Grid,
    lists: Vec<String>,
    last: &Last,
    label: NaiveDateTime,
) -> Result<Minutes, ApiError> {
    let (mut all, mut withheld) = (Chunk::empty("rt_min"), false);
    for list in lists {
        let table = ground.tables.live(grid, list).await?;
        let Parsed { mut chunk, .. } = bars::<MinuteBar>(&table, Scale::MINUTE, &ground.universe.codes, None);
        chunk.records.retain(|bar| last.lacks(bar, label));
        chunk.lines = (1..).take(chunk.records.len()).collect();
        withheld |= judge(&mut chunk, Kind::BarMinute(grid), ground.calendar);
        all.records.append(&mut chunk.records);
        all.refused.append(&mut chunk.refused);
        for (reason, count) in chunk.skipped {
            *all.skipped.entry(reason).or_default() += count;
        }
    }
    all.records.sort_by_key(|bar| (bar.frame, bar.symbol));
    all.origin = format!("rt_min/{label}").into();
    let mut last = last.clone();
    last.take(&all.records);
    if let Some(newest) = last.newest().filter(|_| !withheld) {
        all.cursor.push((field(grid), Some(newest.format("%Y-%m-%dT%H:%M:%S").to_string())));
    }
    Ok(Minutes { chunk: all, last, withheld })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        format!("2026-03-03T{text}").parse().unwrap()
    }

    fn ends(grid: Grid, now: &str) -> Option<String> {
        ended(grid, at(now), TimeDelta::seconds(3)).map(|label| label.format("%H:%M").to_string())
    }

    #[test]
    fn a_minute_is_asked_for_when_it_is_over_and_not_before() {
        for (now, wanted) in [
            ("09:30:02", None),
            ("09:30:03", Some("09:30")),
            ("09:31:02", Some("09:30")),
            ("09:31:03", Some("09:31")),
            ("12:59:00", Some("11:30")),
            ("13:01:03", Some("13:01")),
            ("23:00:00", Some("15:00")),
        ] {
            assert_eq!(ends(Grid::M1, now).as_deref(), wanted, "{now}");
        }
        assert_eq!(ends(Grid::M5, "09:39:59").as_deref(), Some("09:35"));
    }

    #[test]
    fn the_next_look_is_after_the_next_end_of_a_minute() {
        let after = |now| next(Grid::M1, at(now), TimeDelta::seconds(3)).map(|then| then.time().to_string());
        assert_eq!(after("08:00:00").as_deref(), Some("09:30:03"));
        assert_eq!(after("09:30:03").as_deref(), Some("09:31:03"));
        assert_eq!(after("11:45:00").as_deref(), Some("13:01:03"));
        assert_eq!(after("15:00:03"), None);
    }

    fn bar(code: &str, time: &str) -> MinuteBar {
        let (symbol, frame) = (code.parse().unwrap(), at(time));
        MinuteBar { symbol, frame, open: 1.0, high: 1.0, low: 1.0, close: 1.0, vol: 0.0, amount: None }
    }

    #[test]
    fn each_security_is_compared_with_its_own_last_minute_and_nothing_comes_twice() {
        let mut last = Last::read("2026-03-03T09:30:00");
        let label = at("09:32:00");
        assert!(!last.lacks(&bar("000001.SZ", "09:30:00"), label), "it came before the program started");
        let of_yesterday =
            MinuteBar { frame: at("15:00:00") - TimeDelta::days(1), ..bar("000001.SZ", "15:00:00") };
        assert!(!Last::default().lacks(&of_yesterday, label));
        last.take(&[bar("000001.SZ", "09:32:00")]);
        assert_eq!(last.newest(), Some(label));
        assert!(last.lacks(&bar("600000.SH", "09:31:00"), label), "one that lags behind the others");
        assert!(!last.lacks(&bar("000001.SZ", "09:32:00"), label));
        assert!(!last.lacks(&bar("600000.SH", "09:33:00"), label), "it is not over");
        last.take(&[bar("600000.SH", "09:31:00")]);
        assert_eq!(last.newest(), Some(label), "the cursor never goes back");
    }

    #[test]
    fn no_list_can_fill_a_call() {
        let symbols: Vec<Symbol> =
            (1..=5).map(|code| Symbol::new(sqep::Exchange::SZ, code).unwrap()).collect();
        assert_eq!(lists(&symbols, 3), ["000001.SZ,000002.SZ", "000003.SZ,000004.SZ", "000005.SZ"]);
    }
}
