//! Live quotes: the minutes of the current day up to now. Knows what each of the three APIs makes of them; must not know
//! pages.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};

use super::{
    Row, Wanted, World, known,
    minutes::{self, Minute, bars, folded, made},
    written,
};
use crate::tushare::api::Api;

/// The rows of `rt_min`, `rt_min_daily` or `rt_k`.
pub(super) fn live(world: &World, api: &'static Api, wanted: &Wanted) -> Vec<Row> {
    if !world.kept(api.name).rows().is_empty() {
        return world.kept(api.name).select(wanted);
    }
    let Some(today) = world.last_day() else { return vec![] };
    let length = wanted.freq.as_deref().and_then(minutes::length).unwrap_or(1);
    let until = world.now().unwrap_or(today.and_time(chrono::NaiveTime::MIN) + chrono::TimeDelta::days(1));
    let mut rows = vec![];
    for code in codes(world, wanted) {
        let passed = passed(world, &code, today, until);
        match api.name {
            "rt_k" => rows.extend(quote(world, &code, today, &passed)),
            "rt_min" => {
                let bars = folded(&passed, length);
                rows.extend(bars.last().map(|bar| of_minute(api, &code, bar)));
            }
            _ => {
                let freq = wanted.freq.as_deref().unwrap_or("1MIN");
                let row = |bar: &Minute| of_minute(api, &code, bar).with("freq", freq);
                rows.extend(folded(&passed, length).iter().map(row));
            }
        }
    }
    rows.retain(|row| !world.is_removed(row));
    rows
}

/// The codes that are asked for, stars resolved among those that trade.
fn codes(world: &World, wanted: &Wanted) -> Vec<Arc<str>> {
    if wanted.codes.iter().all(|code| !code.contains('*')) {
        return wanted.codes.iter().map(|code| code.as_str().into()).collect();
    }
    let listed = world.table("stock_basic").iter().filter(|row| row.text("list_status") == "L");
    listed.map(Row::code).filter(|code| wanted.has_code(code)).map(Into::into).collect()
}

/// The minutes of today that are over, as far as the service has them yet.
fn passed(world: &World, code: &str, today: NaiveDate, until: NaiveDateTime) -> Vec<Minute> {
    let bars = bars(world, known("stk_mins"), code);
    let today = bars.iter().find(|(day, _)| *day == today);
    let all = today.map(|(_, bar)| made(world, bar)).unwrap_or_default();
    all.into_iter().filter(|minute| minute.time + world.live_lag <= until).collect()
}

fn of_minute(api: &'static Api, code: &Arc<str>, bar: &Minute) -> Row {
    Row::new(api)
        .with(api.code.unwrap_or("ts_code"), code)
        .with("time", &written(bar.time))
        .with("open", bar.open)
        .with("close", bar.close)
        .with("high", bar.high)
        .with("low", bar.low)
        .with("vol", bar.vol)
        .with("amount", bar.amount)
}

/// The day so far in one row; none before the first minute.
fn quote(world: &World, code: &Arc<str>, today: NaiveDate, passed: &[Minute]) -> Option<Row> {
    let so_far = passed.iter().copied().reduce(|day, minute| Minute {
        time: minute.time,
        open: day.open,
        high: day.high.max(minute.high),
        low: day.low.min(minute.low),
        close: minute.close,
        vol: day.vol + minute.vol,
        amount: ((day.amount + minute.amount) * 100.0).round() / 100.0,
    })?;
    let wanted = Wanted {
        codes: vec![code.to_string()],
        time: Some(today.format("%Y%m%d").to_string()),
        ..Wanted::default()
    };
    let day = ["daily", "fund_daily", "index_daily"]
        .iter()
        .find_map(|name| world.kept(name).select(&wanted).into_iter().next())?;
    Some(
        Row::new(known("rt_k"))
            .with("ts_code", code)
            .with("name", code.get(..6).unwrap_or_default())
            .with("pre_close", day.number("pre_close"))
            .with("high", so_far.high)
            .with("open", so_far.open)
            .with("low", so_far.low)
            .with("close", so_far.close)
            .with("vol", so_far.vol)
            .with("amount", so_far.amount)
            .with("num", i64::try_from(passed.len()).unwrap_or(i64::MAX))
            .with("trade_time", &written(so_far.time)),
    )
}
