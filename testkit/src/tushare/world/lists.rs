//! Tables that are no bars: who is listed, under which names and numbers, when the exchanges trade, and the limits of
//! securities that no other table has. Knows their habits; must not know prices.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{Datelike, NaiveDate};
use sqep::{Calendar, Exchange, Symbol, symbol::Class};

use super::{Cell, Row, known, ymd};
use crate::market::{Board, Security};

/// Beijing's renumbering: old, new, since.
const RENUMBERED: &str = include_str!("../../../../schemas/bj_alias.csv");

/// One fund more than the market has for every so many of its securities: a full day of limits exceeds the rows of a call.
const SYMBOLS_A_FUND: usize = 4;
/// One B share for every so many.
const SYMBOLS_A_B_SHARE: usize = 60;

/// A number that a stock had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) old: Arc<str>,
    pub(super) new: Symbol,
    since: NaiveDate,
}

/// A security over the days.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    symbol: Symbol,
    board: Board,
    code: Arc<str>,
    former: Option<Former>,
    listed: NaiveDate,
    pub(super) delisted: Option<NaiveDate>,
    /// It had no bar on the last session.
    pub(super) halted: bool,
    /// Spells of special treatment: the first day, and the first day after.
    spells: Vec<(NaiveDate, Option<NaiveDate>)>,
}

impl Listing {
    pub(super) fn of(security: &Security, former: Option<Former>, delisted: Option<NaiveDate>) -> Listing {
        Listing {
            symbol: security.symbol,
            board: security.board,
            code: security.symbol.to_string().into(),
            former,
            listed: security.listed,
            delisted,
            halted: false,
            spells: vec![],
        }
    }

    /// The number it went by on a day.
    pub(super) fn code_on(&self, day: NaiveDate) -> &Arc<str> {
        self.former.as_ref().filter(|former| day < former.since).map_or(&self.code, |former| &former.old)
    }

    /// Takes note of a session.
    pub(super) fn turn(&mut self, day: NaiveDate, st: bool) {
        match (self.spells.last_mut(), st) {
            (Some((_, end @ None)), false) => *end = Some(day),
            (None | Some((_, Some(_))), true) => self.spells.push((day, None)),
            _ => {}
        }
    }

    /// Its name by now.
    pub(super) fn name(&self) -> String {
        self.name_when(matches!(self.spells.last(), Some((_, None))))
    }

    fn name_when(&self, st: bool) -> String {
        let kind = match self.symbol.class() {
            Class::Index => "指数",
            Class::Fund => "基金",
            _ => "股份",
        };
        format!("{}{kind}{:03}", if st { "*ST" } else { "" }, self.symbol.code() % 1_000)
    }

    fn exchange(&self) -> &'static str {
        match self.symbol.exchange() {
            Exchange::SH => "SSE",
            Exchange::SZ => "SZSE",
            Exchange::BJ => "BSE",
        }
    }

    fn market(&self) -> &'static str {
        match self.board {
            Board::ChiNext => "创业板",
            Board::Star => "科创板",
            Board::Beijing => "北交所",
            _ => "主板",
        }
    }

    fn basic(&self) -> Row {
        Row::new(known("stock_basic"))
            .with("ts_code", &self.code)
            .with("symbol", self.code.get(..6).unwrap_or_default())
            .with("name", self.name().as_str())
            .with("area", "上海")
            .with("industry", "综合类")
            .with("market", self.market())
            .with("exchange", self.exchange())
            .with("curr_type", "CNY")
            .with("list_status", if self.delisted.is_some() { "D" } else { "L" })
            .with("list_date", &ymd(self.listed))
            .with("delist_date", self.delisted.map(ymd).as_ref())
            .with("is_hs", "N")
    }

    /// A row for the listing and two for each spell: its beginning, which the service tells twice while it lasts, and
    /// its end.
    fn names(&self) -> Vec<Row> {
        let row = |start: NaiveDate, end: Option<NaiveDate>, st: bool, reason: &str| {
            Row::new(known("namechange"))
                .with("ts_code", &self.code)
                .with("name", self.name_when(st).as_str())
                .with("start_date", &ymd(start))
                .with("end_date", end.map(|end| ymd(end.pred_opt().unwrap_or(end))).as_ref())
                .with("ann_date", &ymd(start.pred_opt().unwrap_or(start)))
                .with("change_reason", reason)
        };
        let mut rows = vec![row(self.listed, self.spells.first().map(|spell| spell.0), false, "其他")];
        for (at, &(start, end)) in self.spells.iter().enumerate() {
            rows.push(row(start, end, true, "*ST"));
            match end {
                Some(end) => {
                    let next = self.spells.get(at + 1).map(|spell| spell.0);
                    rows.push(row(end, next, false, "撤销*ST"));
                }
                None => rows.push(row(start, None, true, "*ST").with("ann_date", Cell::Null)),
            }
        }
        rows
    }
}

/// `stock_basic` of the stocks among these.
pub(super) fn stocks<'a>(listings: impl Iterator<Item = &'a Listing>) -> Vec<Row> {
    listings.filter(|listing| listing.symbol.class() == Class::Stock).map(Listing::basic).collect()
}

/// `stock_basic` of a stock that left long ago: no market is without any.
pub(super) fn gone() -> Row {
    Row::new(known("stock_basic"))
        .with("ts_code", "000583.SZ")
        .with("symbol", "000583")
        .with("name", "ST股份583")
        .with("exchange", "SZSE")
        .with("list_status", "D")
        .with("list_date", "19951205")
        .with("delist_date", "20070521")
}

/// `namechange` of the stocks among these.
pub(super) fn names<'a>(listings: impl Iterator<Item = &'a Listing>) -> Vec<Row> {
    listings.filter(|listing| listing.symbol.class() == Class::Stock).flat_map(Listing::names).collect()
}

/// `trade_cal`: every day of the years from one day to another, for three exchanges.
pub(super) fn calendar(calendar: &Calendar, from: NaiveDate, to: NaiveDate) -> Vec<Row> {
    let first = NaiveDate::from_ymd_opt(from.year(), 1, 1).unwrap_or(from).max(calendar.first());
    let last = NaiveDate::from_ymd_opt(to.year(), 12, 31).unwrap_or(to).min(calendar.last());
    let mut before = calendar.sessions(calendar.first(), first).filter(|&day| day < first).last();
    let mut rows = vec![];
    for day in first.iter_days().take_while(|&day| day <= last) {
        let open = calendar.is_session(day);
        let row = Row::new(known("trade_cal"))
            .with("cal_date", &ymd(day))
            .with("is_open", i64::from(open))
            .with("pretrade_date", before.map(ymd).as_ref());
        rows.extend(["SSE", "SZSE", "BSE"].map(|exchange| row.clone().with("exchange", exchange)));
        before = if open { Some(day) } else { before };
    }
    rows
}

fn renumberings() -> impl Iterator<Item = Former> {
    RENUMBERED.lines().filter_map(|line| {
        let mut parts = line.split(',');
        let (old, new, since) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Former { old: old.into(), new: new.parse().ok()?, since: since.trim().parse().ok()? })
    })
}

/// The former number of a stock that was renumbered.
pub(super) fn former(symbol: Symbol) -> Option<Former> {
    renumberings().find(|former| former.new == symbol)
}

/// `bse_mapping`.
pub(super) fn renumbered() -> Vec<Row> {
    let row = |former: Former| {
        Row::new(known("bse_mapping"))
            .with("name", format!("北证{:03}", former.new.code() % 1_000).as_str())
            .with("o_code", &former.old)
            .with("n_code", former.new.to_string().as_str())
            .with("list_date", "20211115")
    };
    renumberings().map(row).collect()
}

/// `stk_limit` of funds and B shares that no table of bars has here.
pub(super) fn limits_of_others(symbols: usize, date: &Arc<str>) -> impl Iterator<Item = Row> + use<> {
    let date = Arc::clone(date);
    let row = move |code: String, pre_close: f64, up: f64, down: f64| {
        Row::new(known("stk_limit"))
            .with("ts_code", code.as_str())
            .with("trade_date", &date)
            .with("pre_close", pre_close)
            .with("up_limit", up)
            .with("down_limit", down)
    };
    let of_fund = row.clone();
    let funds = (0..symbols.div_ceil(SYMBOLS_A_FUND)).map(move |at| {
        let (head, suffix) = if at % 2 == 0 { (501_000, "SH") } else { (160_100, "SZ") };
        of_fund(format!("{}.{suffix}", head + at / 2), 1.0, 1.1, 0.9)
    });
    let b_shares = (0..symbols.div_ceil(SYMBOLS_A_B_SHARE)).map(move |at| {
        let (head, suffix) = if at % 2 == 0 { (900_901, "SH") } else { (200_011, "SZ") };
        row(format!("{}.{suffix}", head + at / 2), 0.5, 0.55, 0.45)
    });
    funds.chain(b_shares)
}

/// `stock_basic` of whoever has a row in `daily`, listed on the first day that has one.
pub(super) fn stocks_of(daily: &[Row]) -> Vec<Row> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for row in daily {
        first.insert(row.code(), row.time());
    }
    let row = |(code, day): (&str, &str)| {
        let exchange = match code.rsplit('.').next() {
            Some("SH") => "SSE",
            Some("SZ") => "SZSE",
            _ => "BSE",
        };
        Row::new(known("stock_basic"))
            .with("ts_code", code)
            .with("symbol", code.get(..6).unwrap_or_default())
            .with("name", code)
            .with("exchange", exchange)
            .with("list_status", "L")
            .with("list_date", day)
    };
    first.into_iter().map(row).collect()
}
