//! One session of one security as rows in the vendor's units: 手 with two decimals, 千元 with three. Knows the tables by
//! day; must not know the market as a whole.

use std::sync::Arc;

use sqep::{DayBar, symbol::Class};

use super::{Cell, Row, known, rounded};
use crate::market::{MarketDay, rng::Rng};

/// A stock trades on a day of which it was stopped for half an hour, once in so many.
const PART_DAYS_ONE_IN: u32 = 400;
/// The service lost a factor, once in so many.
const FACTOR_GAPS_ONE_IN: u32 = 2_000;
/// What stands for no limit where it is not null.
const NO_LIMIT: (f64, f64) = (99_999.99, 0.01);

/// A security on a session.
#[derive(Debug)]
pub(super) struct Day<'a> {
    pub(super) code: &'a Arc<str>,
    pub(super) date: &'a Arc<str>,
    pub(super) name: &'a str,
    pub(super) class: Class,
    pub(super) market: &'a MarketDay,
    /// It had no bar on the session before.
    pub(super) was_halted: bool,
}

impl Day<'_> {
    /// All its rows.
    pub(super) fn rows(&self, rng: &mut Rng) -> Vec<Row> {
        let mut rows = match self.class {
            Class::Index => vec![],
            Class::Fund => vec![self.factor("fund_adj"), self.limits("stk_limit"), self.limits("etf_limit")],
            _ => self.reference(rng),
        };
        if let Some(bar) = &self.market.bar {
            rows.push(match self.class {
                Class::Index => self.bar("index_daily", bar),
                Class::Fund => self.bar("fund_daily", bar),
                _ => self.bar("daily", bar),
            });
        }
        rows
    }

    fn row(&self, api: &str) -> Row {
        Row::new(known(api)).with("ts_code", self.code).with("trade_date", self.date)
    }

    /// What is known of a stock before the open, and why it does not trade.
    fn reference(&self, rng: &mut Rng) -> Vec<Row> {
        let mut rows = vec![self.limits("stk_limit")];
        if !rng.once_in(FACTOR_GAPS_ONE_IN) {
            rows.push(self.factor("adj_factor"));
        }
        if self.market.reference.st == Some(true) {
            let row = self.row("stock_st").with("name", self.name).with("type", "ST");
            rows.push(row.with("type_name", "风险警示板"));
        }
        let stop = |timing: Cell, kind: &str| {
            self.row("suspend_d").with("suspend_timing", timing).with("suspend_type", kind)
        };
        let part_day = rng.once_in(PART_DAYS_ONE_IN);
        match &self.market.bar {
            None => rows.push(stop(Cell::Null, "S")),
            Some(_) if self.was_halted => rows.push(stop(Cell::Null, "R")),
            Some(_) if part_day => rows.push(stop("09:30-10:00".into(), "S")),
            Some(bar) => rows.push(self.basic(bar)),
        }
        rows
    }

    fn factor(&self, api: &str) -> Row {
        self.row(api).with("adj_factor", self.market.reference.adjust)
    }

    /// Null or absurd where there is no limit.
    fn limits(&self, api: &str) -> Row {
        let reference = &self.market.reference;
        let absurd = reference.symbol.code() % 2 == 0;
        let or = |limit: Option<f64>, none: f64| limit.or(absurd.then_some(none));
        self.row(api)
            .with("pre_close", self.market.pre_close)
            .with("up_limit", or(reference.buy_limit, NO_LIMIT.0))
            .with("down_limit", or(reference.sell_limit, NO_LIMIT.1))
    }

    fn bar(&self, api: &str, bar: &DayBar) -> Row {
        let change = bar.close - self.market.pre_close;
        self.row(api)
            .with("open", bar.open)
            .with("high", bar.high)
            .with("low", bar.low)
            .with("close", bar.close)
            .with("pre_close", self.market.pre_close)
            .with("change", rounded(change, if self.class == Class::Index { 4 } else { 3 }))
            .with("pct_chg", rounded(change / self.market.pre_close * 100.0, 4))
            .with("vol", bar.vol / 100.0)
            .with("amount", bar.amount.map(|amount| amount / 1_000.0))
    }

    /// Shares in 万股, values in 万元; not on every day that has a bar.
    fn basic(&self, bar: &DayBar) -> Row {
        let shares = f64::from(bar.symbol.code() % 997 + 3) * 100.0;
        self.row("daily_basic")
            .with("close", bar.close)
            .with("turnover_rate", rounded(bar.vol / shares / 100.0, 4))
            .with("volume_ratio", 1.0)
            .with("total_share", shares)
            .with("float_share", shares)
            .with("total_mv", rounded(shares * bar.close, 4))
            .with("circ_mv", rounded(shares * bar.close, 4))
    }
}
