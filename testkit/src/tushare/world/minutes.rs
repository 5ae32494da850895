//! Minutes of a security: those that were put, or 241 a day fitted into its day bar. Knows grids and folding; must not
//! know pages.

use std::sync::Arc;

use chrono::{Days, NaiveDate, NaiveDateTime, Timelike};
use sqep::DayBar;

use super::{Row, Wanted, World, day_of, written};
use crate::{market::minutes_of, tushare::api::Api};

/// Without a range, the service gives so many calendar days.
const DAYS_BY_DEFAULT: u64 = 10;
/// Minute of the day of the first bar, the opening auction.
const OPEN: u32 = 9 * 60 + 30;
/// Minute of the day after which the afternoon counts.
const NOON: u32 = 12 * 60;
/// Minutes without trading at noon.
const BREAK: u32 = 90;

/// A bar of any number of minutes; vol in shares, amount in yuan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minute {
    pub(super) time: NaiveDateTime,
    pub(super) open: f64,
    pub(super) high: f64,
    pub(super) low: f64,
    pub(super) close: f64,
    pub(super) vol: f64,
    pub(super) amount: f64,
}

/// The length of `1min` or `60MIN`; none for a length the service does not have.
pub(in crate::tushare) fn length(freq: &str) -> Option<u32> {
    match freq.to_ascii_lowercase().strip_suffix("min")? {
        "1" => Some(1),
        "5" => Some(5),
        "15" => Some(15),
        "30" => Some(30),
        "60" => Some(60),
        _ => None,
    }
}

/// The rows of `stk_mins` or `idx_mins`, newest first, no more than `most` of them.
pub(super) fn history(world: &World, api: &'static Api, wanted: &Wanted, most: usize) -> Vec<Row> {
    let minutes = wanted.freq.as_deref().and_then(length).unwrap_or(1);
    let wanted = within_days(world, wanted);
    let mut rows: Vec<Row> =
        wanted.codes.iter().flat_map(|code| of_code(world, api, code, &wanted, minutes, most)).collect();
    rows.sort_by(|a, b| b.time().cmp(a.time()));
    rows.truncate(most);
    rows
}

fn within_days(world: &World, wanted: &Wanted) -> Wanted {
    let mut wanted = wanted.clone();
    if wanted.from.is_none() && wanted.to.is_none() {
        let first = world.last_day().and_then(|day| day.checked_sub_days(Days::new(DAYS_BY_DEFAULT)));
        wanted.from = first.map(|day| day.format("%Y-%m-%d 00:00:00").to_string());
    }
    wanted
}

fn of_code(
    world: &World,
    api: &'static Api,
    code: &str,
    wanted: &Wanted,
    minutes: u32,
    most: usize,
) -> Vec<Row> {
    let table = world.kept(api.name);
    if minutes == 1 && table.has_code(code) {
        let kept = table.select(&Wanted { codes: vec![code.to_owned()], ..wanted.clone() });
        return kept.into_iter().filter(|row| world.is_out(row)).collect();
    }
    let mut rows = vec![];
    let text: Arc<str> = code.into();
    for (day, bar) in bars(world, api, code) {
        if rows.len() >= most || wanted.from.as_deref().and_then(day_of).is_some_and(|from| day < from) {
            break;
        }
        if wanted.to.as_deref().and_then(day_of).is_some_and(|to| day > to) {
            continue;
        }
        let made = folded(&of_bar(world, api, code, &bar), minutes);
        let row = |minute: &Minute| row(api, &text, minute);
        let meant = |row: &Row| wanted.has_time(row.time()) && world.is_out(row) && !world.is_removed(row);
        rows.extend(made.iter().rev().map(row).filter(meant));
    }
    rows
}

/// The minutes of a day: put ones if there are any.
fn of_bar(world: &World, api: &'static Api, code: &str, bar: &DayBar) -> Vec<Minute> {
    let table = world.kept(api.name);
    if table.has_code(code) {
        let rows = table.select(&Wanted { codes: vec![code.to_owned()], ..Wanted::default() });
        let of_day = rows.iter().rev().filter(|row| day_of(row.time()) == Some(bar.frame));
        return of_day.filter_map(read).collect();
    }
    made(world, bar)
}

/// 241 minutes that add up to the day.
pub(super) fn made(world: &World, bar: &DayBar) -> Vec<Minute> {
    let minute = |bar: &sqep::MinuteBar| Minute {
        time: bar.frame,
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        vol: bar.vol,
        amount: bar.amount.unwrap_or_default(),
    };
    minutes_of(world.seed, bar).iter().map(minute).collect()
}

fn read(row: &Row) -> Option<Minute> {
    Some(Minute {
        time: NaiveDateTime::parse_from_str(row.time(), "%Y-%m-%d %H:%M:%S").ok()?,
        open: row.number("open")?,
        high: row.number("high")?,
        low: row.number("low")?,
        close: row.number("close")?,
        vol: row.number("vol")?,
        amount: row.number("amount")?,
    })
}

fn row(api: &'static Api, code: &Arc<str>, minute: &Minute) -> Row {
    Row::new(api)
        .with("ts_code", code)
        .with("trade_time", &written(minute.time))
        .with("close", minute.close)
        .with("open", minute.open)
        .with("high", minute.high)
        .with("low", minute.low)
        .with("vol", minute.vol)
        .with("amount", minute.amount)
}

/// The day bars that minutes can be made of, newest first.
pub(super) fn bars(world: &World, api: &Api, code: &str) -> Vec<(NaiveDate, DayBar)> {
    let days: &[&str] =
        if api.name == "idx_mins" { &["index_daily"] } else { &["daily", "fund_daily", "index_daily"] };
    let wanted = Wanted { codes: vec![code.to_owned()], ..Wanted::default() };
    let rows = days.iter().flat_map(|name| world.kept(name).select(&wanted));
    rows.filter_map(|row| day_bar(&row)).map(|bar| (bar.frame, bar)).collect()
}

/// A row of a day back in shares and yuan.
fn day_bar(row: &Row) -> Option<DayBar> {
    Some(DayBar {
        symbol: row.code().parse().ok()?,
        frame: day_of(row.time())?,
        open: row.number("open")?,
        high: row.number("high")?,
        low: row.number("low")?,
        close: row.number("close")?,
        vol: (row.number("vol")? * 100.0).round(),
        amount: Some((row.number("amount")? * 1_000.0).round()),
        adjust: None,
        st: None,
        buy_limit: None,
        sell_limit: None,
    })
}

/// Bars of so many minutes, labelled by their end; 09:30 goes into the first.
pub(super) fn folded(minutes: &[Minute], length: u32) -> Vec<Minute> {
    if length == 1 {
        return minutes.to_vec();
    }
    let mut folded: Vec<(u32, Minute)> = vec![];
    for minute in minutes {
        let bucket = nth(minute.time).div_ceil(length).max(1);
        match folded.last_mut() {
            Some((last, bar)) if *last == bucket => {
                bar.high = bar.high.max(minute.high);
                bar.low = bar.low.min(minute.low);
                bar.close = minute.close;
                bar.vol += minute.vol;
                bar.amount = ((bar.amount + minute.amount) * 100.0).round() / 100.0;
            }
            _ => folded.push((bucket, Minute { time: end(minute.time, bucket * length), ..*minute })),
        }
    }
    folded.into_iter().map(|(_, bar)| bar).collect()
}

/// Which minute of trading this is: 0 for 09:30, 240 for 15:00.
fn nth(time: NaiveDateTime) -> u32 {
    let minute = time.hour() * 60 + time.minute();
    let passed = if minute > NOON { minute.saturating_sub(BREAK) } else { minute };
    passed.saturating_sub(OPEN)
}

fn end(time: NaiveDateTime, nth: u32) -> NaiveDateTime {
    let minute = OPEN + nth + if nth > 120 { BREAK } else { 0 };
    time.date().and_hms_opt(minute / 60, minute % 60, 0).unwrap_or(time)
}
