//! What work costs: calls by API, before any is made.
//!
//! Knows which answers are kept, how many pages a day has by the number of stocks, and which days are asked for twice;
//! must not know the limits of an account. What the service turns out to lack, and pages whose length is in doubt later
//! on, come on top.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sqep::{Symbol, symbol::Class};

use crate::{
    client::{Api, api},
    codes,
    config::Join,
    desk::Desk,
    errand::Errand,
    handed::Handed,
    plan::{Dataset, Range, Work},
    tables::minutes_api,
    universe::Universe,
};

/// Stocks of a market of which no list is at hand.
const STOCKS: usize = 5_500;
/// Rows of `stk_limit` for ten stocks: beside these, B shares and funds have limits.
const LIMITS_OF_TEN: usize = 14;
/// Stocks among which somebody is suspended on any day.
const MANY: usize = 100;

/// Counts the calls of work.
pub struct Cost<'a> {
    /// What the work is done with.
    pub desk: &'a Desk,
    /// Who is listed.
    pub universe: &'a Universe,
    /// What is done already.
    pub handed: &'a Handed,
    /// For what.
    pub errand: &'a Errand,
}

/// Calls so far.
#[derive(Default)]
struct Bill {
    calls: BTreeMap<&'static str, u64>,
    /// Tables of days that are kept by then.
    asked: BTreeSet<(&'static str, NaiveDate)>,
    /// Sessions of stocks that are asked for by code.
    sessions: BTreeSet<NaiveDate>,
    stocks: BTreeSet<Symbol>,
    names: bool,
}

impl Bill {
    fn add(&mut self, api: &'static str, calls: usize) {
        if calls > 0 {
            *self.calls.entry(api).or_default() += u64::try_from(calls).unwrap_or(u64::MAX);
        }
    }
}

impl Cost<'_> {
    /// The calls of these works, by API.
    pub fn calls(&self, works: &[Work]) -> BTreeMap<&'static str, u64> {
        let mut bill = Bill::default();
        for work in works {
            match *work {
                Work::Day { dataset, day } => self.day(&mut bill, work, dataset, day),
                Work::Range { dataset, symbol, from, to } => {
                    self.range(&mut bill, work, dataset, symbol, Range { from, to });
                }
                Work::Live { .. } => {}
            }
        }
        if bill.stocks.len() >= MANY {
            for day in std::mem::take(&mut bill.sessions) {
                self.table(&mut bill, "suspend_d", day, (1, 1), false);
            }
        }
        if bill.names && !self.desk.tables.has_names() {
            bill.add("namechange", 1);
        }
        self.first_pages(&mut bill);
        bill.calls
    }

    fn day(&self, bill: &mut Bill, work: &Work, dataset: Dataset, day: NaiveDate) {
        let (settings, listed) = (&self.desk.settings, self.universe.listed(day).len());
        let (now, state) = (self.desk.tables.now(), self.handed.state(work));
        let fresh = self.errand.is_fresh(work, state.tries);
        let tries = self.errand.tries(work, state.tries, now.date(), settings.tries_max);
        let (stocks, funds) = (dataset != Dataset::Funds, dataset == Dataset::Funds);
        let unlisted = funds || self.universe.is_empty();
        // Twice the same, unless it came once before.
        let twice = unlisted && dataset != Dataset::Ref && state.tries == 0 && tries > 1;
        let rows = if listed == 0 { STOCKS } else { listed };
        let often = if twice && day <= self.errand.over(now) { 2 } else { 1 };
        match dataset {
            Dataset::Stocks => {
                self.table(bill, "daily", day, (rows, often), fresh);
                self.table(bill, "suspend_d", day, (1, often), fresh);
            }
            Dataset::Funds => self.table(bill, "fund_daily", day, (1, often), fresh),
            _ => {}
        }
        if settings.joins(Join::Adjust) {
            if stocks {
                self.table(bill, "adj_factor", day, (rows, 1), fresh);
            }
            if funds || (dataset == Dataset::Ref && settings.funds) {
                self.table(bill, "fund_adj", day, (1, 1), fresh);
            }
        }
        if settings.joins(Join::Limits) {
            self.table(bill, "stk_limit", day, (rows * LIMITS_OF_TEN / 10, 1), fresh);
        }
        if stocks && settings.joins(Join::St) {
            if self.desk.tables.lists_treatment(day) {
                self.table(bill, "stock_st", day, (1, 1), fresh);
            } else {
                bill.names = true;
            }
        }
    }

    /// A table of a day with so many rows, asked for so often.
    fn table(
        &self,
        bill: &mut Bill,
        name: &'static str,
        day: NaiveDate,
        (rows, often): (usize, usize),
        fresh: bool,
    ) {
        let tables = &self.desk.tables;
        let kept = !fresh && (tables.is_kept(name, day) || bill.asked.contains(&(name, day)));
        if tables.client().keeps() && day < tables.now().date() {
            bill.asked.insert((name, day));
        }
        let often = if kept { often - 1 } else { often };
        bill.add(name, often * self.pages(api(name), rows));
    }

    /// Pages of so many rows: the last one is shorter than a page.
    fn pages(&self, api: &'static Api, rows: usize) -> usize {
        rows / self.desk.tables.client().cap_of(api).max(1) + 1
    }

    fn range(&self, bill: &mut Bill, work: &Work, dataset: Dataset, symbol: Symbol, range: Range) {
        let name = match dataset {
            Dataset::Minutes(_) => minutes_api(false),
            Dataset::IndexMinutes(_) => minutes_api(true),
            _ => "index_daily",
        };
        if symbol.class() == Class::Stock {
            bill.stocks.insert(symbol);
            bill.sessions.extend(self.universe.sessions(&self.desk.calendar, range.from, range.to));
        }
        let fresh = self.errand.is_fresh(work, 0);
        let codes = &self.universe.codes;
        for (number, range) in codes::numbers(codes, codes.current(symbol), range) {
            let kept = !fresh && self.desk.tables.is_range_kept(dataset, number, range);
            bill.add(name, usize::from(!kept));
        }
    }

    /// The first short page of an API is not trusted to be the last one.
    fn first_pages(&self, bill: &mut Bill) {
        let client = self.desk.tables.client();
        let rows = self.universe.listed(self.desk.tables.now().date()).len();
        for (name, calls) in &mut bill.calls {
            let full = match *name {
                "stk_limit" => rows * LIMITS_OF_TEN / 10,
                "daily" | "adj_factor" => rows,
                _ => 0,
            };
            let api = api(name);
            if api.paged && client.is_new(api) && full < client.cap_of(api) {
                *calls += 1;
            }
        }
    }
}
