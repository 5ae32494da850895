//! What Tushare knows of a day beside its bars, as Tushare writes it: `adj_factor`, `stk_limit`, `stock_st`. Knows their
//! columns and habits; must not know who joins them.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use sqep::RefDay;
use sqep_testkit::market::Market;
use tokio_util::sync::CancellationToken;

use super::{files::whole, go_on};

/// The file names, in the order of `sqep-csv`'s keys `csv.adj_factor`, `csv.stk_limit`, `csv.stock_st`.
pub(crate) const NAMES: [&str; 3] = ["adj_factor.csv", "stk_limit.csv", "stock_st.csv"];

pub(super) fn write(market: &Market, folder: &Path, stop: &CancellationToken) -> anyhow::Result<()> {
    let [factors, limits, treated] = NAMES.map(|name| folder.join(name));
    let rows = |path: &Path, header: &str, row: fn(&mut Out, &RefDay) -> std::io::Result<()>| {
        let fill = |mut out: Out| {
            writeln!(out, "{header}")?;
            for (_, days) in market.by_session() {
                go_on(stop)?;
                days.iter().try_for_each(|day| row(&mut out, &day.reference))?;
            }
            Ok(out.into_inner().map_err(std::io::IntoInnerError::into_error)?)
        };
        whole(path, fill)
    };
    rows(&factors, "ts_code,trade_date,adj_factor", factor)?;
    rows(&limits, "trade_date,ts_code,up_limit,down_limit", limit)?;
    rows(&treated, "ts_code,name,trade_date,type,type_name", special)?;
    Ok(())
}

type Out = BufWriter<File>;

/// A row on suspended days too.
fn factor(out: &mut Out, day: &RefDay) -> std::io::Result<()> {
    let RefDay { symbol, frame, adjust: Some(adjust), .. } = day else { return Ok(()) };
    writeln!(out, "{symbol},{},{adjust}", frame.format("%Y%m%d"))
}

/// Indices have no row; a day without limits has absurd ones.
fn limit(out: &mut Out, day: &RefDay) -> std::io::Result<()> {
    if day.symbol.class() == sqep::symbol::Class::Index {
        return Ok(());
    }
    let up = day.buy_limit.unwrap_or(99_999.999);
    let down = day.sell_limit.unwrap_or(0.01);
    writeln!(out, "{},{},{up},{down}", day.frame.format("%Y%m%d"), day.symbol)
}

/// Only those that are under special treatment that day.
fn special(out: &mut Out, day: &RefDay) -> std::io::Result<()> {
    if day.st != Some(true) {
        return Ok(());
    }
    writeln!(
        out,
        "{},*ST{:03},{},ST,风险警示板",
        day.symbol,
        day.symbol.code() % 1_000,
        day.frame.format("%Y%m%d")
    )
}
