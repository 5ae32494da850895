//! Minutes as they end: `rt_min`, asked for every list of codes once a minute.
//!
//! Knows when a minute is over and which row of an answer is news; must not know a schedule of days. A bar is published
//! only when its minute is over; one that is missed comes with the minutes of the day (`stk_mins`) in the evening, which
//! replace these in any case.
//!
//! `rt_k` is not asked: it has the day so far in one row, and a minute made of two of them has neither its high nor its
//! low.

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

/// The cursor field: the last minute that was asked for.
pub fn field(grid: Grid) -> String {
    format!("{PREFIX}{}", Kind::BarMinute(grid).name())
}

/// Reads the field.
pub fn read(text: &str) -> Option<NaiveDateTime> {
    text.parse().ok()
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

/// The bars of all codes that ended after `last` and at `label` at the latest, and the cursor after them; none where an
/// answer was refused as a whole.
pub async fn minutes(
    ground: &Ground<'_>,
    grid: Grid,
    lists: Vec<String>,
    last: Option<NaiveDateTime>,
    label: NaiveDateTime,
) -> Result<Chunk<MinuteBar>, ApiError> {
    let (mut all, mut withheld) = (Chunk::empty("rt_min"), false);
    for list in lists {
        let table = ground.tables.live(grid, list).await?;
        let Parsed { mut chunk, .. } = bars::<MinuteBar>(&table, Scale::MINUTE, &ground.universe.codes, None);
        let news = |bar: &MinuteBar| bar.frame <= label && last.is_none_or(|last| bar.frame > last);
        chunk.records = chunk.records.into_iter().filter(news).collect();
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
    if !withheld {
        all.cursor.push((field(grid), Some(label.format("%Y-%m-%dT%H:%M:%S").to_string())));
    }
    Ok(all)
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

    #[test]
    fn no_list_can_fill_a_call() {
        let symbols: Vec<Symbol> =
            (1..=5).map(|code| Symbol::new(sqep::Exchange::SZ, code).unwrap()).collect();
        assert_eq!(lists(&symbols, 3), ["000001.SZ,000002.SZ", "000003.SZ,000004.SZ", "000005.SZ"]);
    }
}
