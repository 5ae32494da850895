//! The tables of one trade date, and which of them to ask for again. What came once is not lost again.
//!
//! Knows which tables make a day of a dataset; must not know rows, nor what was published.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use sqep::Symbol;

use crate::{
    client::{ApiError, Table},
    config::{FetchSettings, Join},
    known::{self, Known},
    market::{Ground, Question},
    plan::Dataset,
    tables::Tables,
};

/// The tables of a day so far.
#[derive(Default)]
pub(crate) struct Sheet {
    pub(crate) bars: Option<Table>,
    pub(crate) suspended: Option<BTreeSet<Symbol>>,
    pub(crate) known: Known,
    /// Whether the last answer had fewer bars than one before it.
    pub(crate) fewer: bool,
    again: BTreeSet<Part>,
}

/// A part of a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Bars, and who is suspended.
    Bars,
    /// Factors of stocks, or of funds.
    Factors,
    /// Price limits.
    Limits,
    /// Special treatment.
    Treatment,
}

/// The APIs that are to be asked.
struct Wants {
    bars: Option<&'static str>,
    halts: Option<&'static str>,
    stock_factors: Option<&'static str>,
    fund_factors: Option<&'static str>,
    limits: Option<&'static str>,
    treatment: bool,
}

impl Wants {
    /// Finds out what a quota is in the way of, before calls are spent on the other tables. Before a day is over, a table
    /// that is joined is late then; what is over is done as a whole or not at all.
    fn afford(&mut self, tables: &Tables, day: NaiveDate, fresh: bool, over: bool) -> Result<(), ApiError> {
        let quota = |api: Option<&'static str>| api.and_then(|api| tables.quota(api, day, fresh));
        if let Some(error) = quota(self.bars).or_else(|| quota(self.halts)) {
            return Err(error);
        }
        for joined in [&mut self.stock_factors, &mut self.fund_factors, &mut self.limits] {
            if let Some(error) = quota(*joined) {
                if over {
                    return Err(error);
                }
                *joined = None;
            }
        }
        match quota(self.treatment.then_some("stock_st")) {
            Some(error) if over => return Err(error),
            Some(_) => self.treatment = false,
            None => {}
        }
        Ok(())
    }
}

impl Sheet {
    /// Marks what may be better if it is asked for again.
    pub(crate) fn doubt(&mut self, parts: BTreeSet<Part>) {
        self.again = parts;
        // An empty answer is none.
        self.bars = self.bars.take().filter(|table| !table.rows.is_empty());
    }

    fn wants(&self, dataset: Dataset, settings: &FetchSettings) -> Wants {
        let (stocks, funds) = match dataset {
            Dataset::Funds => (false, true),
            dataset => (true, dataset == Dataset::Ref && settings.funds),
        };
        let bars = match dataset {
            Dataset::Stocks => Some("daily"),
            Dataset::Funds => Some("fund_daily"),
            _ => None,
        };
        let wanted = |part, there: bool| !there || self.again.contains(&part);
        let joined = |join, part, there: bool| settings.joins(join) && wanted(part, there);
        let known = &self.known;
        let bars = bars.filter(|_| wanted(Part::Bars, self.bars.is_some()));
        let stock_factors = stocks && joined(Join::Adjust, Part::Factors, known.factors.is_some());
        let fund_factors = funds && joined(Join::Adjust, Part::Factors, known.fund_factors.is_some());
        Wants {
            bars,
            halts: (bars.is_some() && stocks).then_some("suspend_d"),
            stock_factors: stock_factors.then_some("adj_factor"),
            fund_factors: fund_factors.then_some("fund_adj"),
            limits: joined(Join::Limits, Part::Limits, known.limits.is_some()).then_some("stk_limit"),
            treatment: stocks && joined(Join::St, Part::Treatment, known.treatment.is_some()),
        }
    }

    /// Asks for the tables of a day that are not there or in doubt, all at once.
    pub(crate) async fn fill(
        &mut self,
        ground: &Ground<'_>,
        question: &Question,
        fresh: bool,
    ) -> Result<(), ApiError> {
        let (tables, codes, day) = (ground.tables, &ground.universe.codes, question.day);
        let mut wants = self.wants(question.dataset, ground.settings);
        wants.afford(tables, day, fresh, question.over)?;
        let over = question.over;
        let ask = |api: Option<&'static str>| async move {
            match api {
                Some(api) => tables.of_day(api, day, fresh).await.map(Some),
                None => Ok(None),
            }
        };
        let joined = |api| async move { late(ask(api).await, over) };
        let treatment = async {
            if !wants.treatment {
                return Ok(None);
            }
            late(tables.treatment(codes, day, fresh).await, over)
        };
        let (bars, halts, of_stocks, of_funds, limits, treatment) = tokio::try_join!(
            ask(wants.bars),
            ask(wants.halts),
            joined(wants.stock_factors),
            joined(wants.fund_factors),
            joined(wants.limits),
            treatment
        )?;
        self.put_bars(bars, halts.map(|table| known::suspended(&table, codes)));
        let known = &mut self.known;
        for table in [&limits, &of_stocks, &of_funds].into_iter().flatten() {
            known.given.extend(known::given(table, codes));
        }
        put(&mut known.factors, of_stocks.and_then(|table| known::factors(&table, codes)));
        put(&mut known.fund_factors, of_funds.and_then(|table| known::factors(&table, codes)));
        put(&mut known.limits, limits.and_then(|table| known::limits(&table, codes)));
        known.treatment = treatment.or(known.treatment.take());
        Ok(())
    }

    /// Takes bars that came again, unless there are fewer of them.
    fn put_bars(&mut self, bars: Option<Table>, suspended: Option<BTreeSet<Symbol>>) {
        let before = self.bars.as_ref().map_or(0, |table| table.rows.len());
        self.fewer = bars.as_ref().is_some_and(|table| table.rows.len() < before);
        if let Some(bars) = bars.filter(|_| !self.fewer) {
            self.bars = Some(bars);
        }
        self.suspended = suspended.or(self.suspended.take());
    }
}

/// A table that is joined holds nothing back as long as the day is not over: whatever passes makes it late.
fn late<T>(answer: Result<Option<T>, ApiError>, over: bool) -> Result<Option<T>, ApiError> {
    match answer {
        Err(error) if !over && error.passes() => {
            tracing::warn!("{error}; the day goes out without it for now");
            Ok(None)
        }
        answer => answer,
    }
}

/// Adds what came to what is there.
fn put<T: Extend<E> + IntoIterator<Item = E> + Default, E>(place: &mut Option<T>, came: Option<T>) {
    if let Some(came) = came {
        place.get_or_insert_default().extend(came);
    }
}
