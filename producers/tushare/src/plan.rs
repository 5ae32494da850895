//! What is to be done: which days, which codes and ranges, and in which order.
//!
//! Knows pieces of work; must not know how they are done nor what they find.

use std::{collections::BTreeMap, fmt};

use chrono::{NaiveDate, NaiveDateTime};
use sqep::{Calendar, Kind, Symbol, kind::Grid, symbol::Class};

pub use crate::range::Range;
use crate::{config::FetchSettings, live, range::Ranges, state::DayState, universe::Universe};

/// The service's minutes of a day: one more than the grid, for the opening auction.
const AUCTION_ROWS: u32 = 1;

/// Something that is asked for by day or by code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dataset {
    /// Day bars of all stocks, by day.
    Stocks,
    /// Day bars of all funds, by day.
    Funds,
    /// What is known of all stocks before the open, by day.
    Ref,
    /// Day bars of an index, by code.
    Index,
    /// Minute bars of a stock or fund, by code.
    Minutes(Grid),
    /// Minute bars of an index, by code.
    IndexMinutes(Grid),
}

impl Dataset {
    /// As cursor fields and the gap ledger name it.
    pub fn name(self) -> &'static str {
        match self {
            Dataset::Stocks => "stocks",
            Dataset::Funds => "funds",
            Dataset::Ref => "ref",
            Dataset::Index => "index",
            Dataset::Minutes(grid) | Dataset::IndexMinutes(grid) => Kind::BarMinute(grid).name(),
        }
    }

    /// What of a code goes on a stream of this kind.
    pub fn of_code(kind: Kind, symbol: Symbol) -> Dataset {
        match (kind, symbol.class()) {
            (Kind::BarMinute(grid), Class::Index) => Dataset::IndexMinutes(grid),
            (Kind::BarMinute(grid), _) => Dataset::Minutes(grid),
            _ => Dataset::Index,
        }
    }

    /// From when on its rows of a day can be asked for.
    pub fn due(self, settings: &FetchSettings, day: NaiveDate) -> NaiveDateTime {
        day.and_time(match self {
            Dataset::Stocks | Dataset::Funds => settings.bars_at,
            Dataset::Ref => settings.ref_at,
            Dataset::Index => settings.indices_at,
            Dataset::Minutes(_) | Dataset::IndexMinutes(_) => settings.minutes_at,
        })
    }
}

/// A piece of work: what one chunk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// The whole market of a day.
    Day {
        /// What is asked for.
        dataset: Dataset,
        /// The day.
        day: NaiveDate,
    },
    /// A security over some days.
    Range {
        /// What is asked for.
        dataset: Dataset,
        /// The security.
        symbol: Symbol,
        /// The first day.
        from: NaiveDate,
        /// The last day.
        to: NaiveDate,
    },
    /// The minute that has just ended, of every code.
    Live {
        /// Its length.
        grid: Grid,
        /// Its end.
        label: NaiveDateTime,
    },
}

impl Work {
    /// The cursor field that moves with it.
    pub fn field(&self) -> String {
        match self {
            Work::Day { dataset, day } => DayState::field(dataset.name(), *day),
            Work::Range { dataset, symbol, .. } => range_field(*dataset, *symbol),
            Work::Live { grid, .. } => live::field(*grid),
        }
    }

    /// What it is about.
    pub fn dataset(&self) -> Dataset {
        match self {
            Work::Day { dataset, .. } | Work::Range { dataset, .. } => *dataset,
            Work::Live { grid, .. } => Dataset::Minutes(*grid),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Day { dataset, day } => write!(f, "{}/{day}", dataset.name()),
            Work::Range { dataset, symbol, from, to } => {
                write!(f, "{}/{symbol}/{from}..{to}", dataset.name())
            }
            Work::Live { grid, label } => write!(f, "{}/{label}", live::field(*grid)),
        }
    }
}

fn range_field(dataset: Dataset, symbol: Symbol) -> String {
    format!("{}/{symbol}", dataset.name())
}

/// What is asked for, by kind and settings.
#[derive(Debug, Clone)]
pub struct Scope {
    /// By day.
    pub days: Vec<Dataset>,
    /// By code.
    pub codes: Vec<(Dataset, Symbol)>,
}

impl Scope {
    /// The scope of a stream; codes of minute bars are those listed at any time from `from` to `to` unless named.
    pub fn new(kind: Kind, settings: &FetchSettings, universe: &Universe, span: Range) -> Scope {
        let parsed =
            |texts: &[String]| -> Vec<Symbol> { texts.iter().filter_map(|text| text.parse().ok()).collect() };
        let indices = parsed(&settings.indices);
        match kind {
            Kind::BarDay => Scope {
                days: [(settings.stocks, Dataset::Stocks), (settings.funds, Dataset::Funds)]
                    .into_iter()
                    .filter_map(|(wanted, dataset)| wanted.then_some(dataset))
                    .collect(),
                codes: indices.into_iter().map(|symbol| (Dataset::of_code(kind, symbol), symbol)).collect(),
            },
            Kind::RefDay => Scope { days: vec![Dataset::Ref], codes: Vec::new() },
            Kind::BarMinute(_) => {
                let symbols = match parsed(&settings.symbols) {
                    named if named.is_empty() => universe.listed_within(span.from, span.to),
                    named => named,
                };
                let codes = symbols.into_iter().chain(indices);
                let codes = codes.map(|symbol| (Dataset::of_code(kind, symbol), symbol)).collect();
                Scope { days: Vec::new(), codes }
            }
            // Nobody sends them: the configuration was refused.
            Kind::FeatureDay | Kind::FeatureMinute => Scope { days: Vec::new(), codes: Vec::new() },
        }
    }
}

/// Everything that is left to do from one day to another, in order.
pub struct Planner<'a> {
    /// What is asked for.
    pub scope: &'a Scope,
    /// Sessions.
    pub sessions: &'a [NaiveDate],
    /// Rows a call gives at most.
    pub rows_max: usize,
    /// Days that are done.
    pub days: &'a BTreeMap<String, DayState>,
    /// Ranges that are done.
    pub ranges: &'a BTreeMap<String, Ranges>,
}

impl Planner<'_> {
    /// The work, days before codes.
    pub fn works(&self) -> Vec<Work> {
        let mut works = Vec::new();
        // One dataset after the other: what the second asks for too is kept by then.
        for &dataset in &self.scope.days {
            for &day in self.sessions {
                let work = Work::Day { dataset, day };
                if !self.days.get(&work.field()).is_some_and(|state| state.closed) {
                    works.push(work);
                }
            }
        }
        works.extend(in_turns(
            self.scope.codes.iter().map(|&(dataset, symbol)| self.ranges_of(dataset, symbol)),
        ));
        works
    }

    /// The sessions of a code that are in none of its ranges, as far as they follow one another, in pieces of one call.
    fn ranges_of(&self, dataset: Dataset, symbol: Symbol) -> Vec<Work> {
        let done = self.ranges.get(&range_field(dataset, symbol));
        let is_done = |day: &NaiveDate| done.is_some_and(|done| done.holds(*day));
        let sessions = sessions_of_call(dataset, self.rows_max);
        let gaps = self.sessions.split(is_done);
        let pieces = gaps.flat_map(|gap| gap.chunks(sessions));
        let work = |days: &[NaiveDate]| {
            Some(Work::Range { dataset, symbol, from: *days.first()?, to: *days.last()? })
        };
        pieces.filter_map(work).collect()
    }
}

/// Some days of a code, as far as no other session lies between them, in pieces of one call.
pub(crate) fn pieces(
    (dataset, symbol): (Dataset, Symbol),
    days: &[NaiveDate],
    rows_max: usize,
    calendar: &Calendar,
) -> Vec<Work> {
    let follows =
        |day: &NaiveDate, next: &NaiveDate| !calendar.sessions(*day, *next).any(|of| of > *day && of < *next);
    let runs = days.chunk_by(follows);
    let pieces = runs.flat_map(|run| run.chunks(sessions_of_call(dataset, rows_max)));
    let work =
        |days: &[NaiveDate]| Some(Work::Range { dataset, symbol, from: *days.first()?, to: *days.last()? });
    pieces.filter_map(work).collect()
}

/// Sessions that fit into one call.
fn sessions_of_call(dataset: Dataset, rows_max: usize) -> usize {
    let rows = match dataset {
        Dataset::Minutes(grid) | Dataset::IndexMinutes(grid) => 240 / grid.minutes() + AUCTION_ROWS,
        _ => 1,
    };
    // One row less than the cap: an answer as long as the cap could have been cut.
    (rows_max.saturating_sub(1) / usize::try_from(rows).unwrap_or(usize::MAX)).max(1)
}

/// The first of each, then the second of each: the same days of all codes come together, and a store that keeps a day in a
/// folder touches few of them at a time.
fn in_turns(of_codes: impl Iterator<Item = Vec<Work>>) -> Vec<Work> {
    let mut queues: Vec<_> = of_codes.map(Vec::into_iter).collect();
    let mut works = Vec::new();
    loop {
        let before = works.len();
        works.extend(queues.iter_mut().filter_map(Iterator::next));
        if works.len() == before {
            return works;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn ranges(works: &[Work]) -> Vec<String> {
        works.iter().map(ToString::to_string).collect()
    }

    fn plan(done: &[(&str, &str)], rows_max: usize) -> Vec<String> {
        plan_of(&["600000.SH"], done, rows_max)
    }

    fn plan_of(codes: &[&str], done: &[(&str, &str)], rows_max: usize) -> Vec<String> {
        let calendar = Calendar::published();
        let sessions: Vec<NaiveDate> = calendar.sessions(day("2024-03-04"), day("2024-03-15")).collect();
        let codes = codes.iter().map(|code| (Dataset::Minutes(Grid::M1), code.parse().unwrap())).collect();
        let scope = Scope { days: vec![], codes };
        let ranges_done =
            done.iter().map(|(name, text)| ((*name).to_owned(), Ranges::read(text).unwrap())).collect();
        let planner = Planner {
            scope: &scope,
            sessions: &sessions,
            rows_max,
            days: &BTreeMap::new(),
            ranges: &ranges_done,
        };
        ranges(&planner.works())
    }

    #[test]
    fn a_code_is_cut_so_that_no_answer_reaches_the_cap() {
        assert_eq!(
            plan(&[], 4 * 241 + 1),
            [
                "bar:1m/600000.SH/2024-03-04..2024-03-07",
                "bar:1m/600000.SH/2024-03-08..2024-03-13",
                "bar:1m/600000.SH/2024-03-14..2024-03-15",
            ]
        );
        assert_eq!(plan(&[], 4 * 241).len(), 4, "three days fit, four could be cut");
    }

    #[test]
    fn the_same_days_of_all_codes_come_together() {
        assert_eq!(
            plan_of(
                &["600000.SH", "000001.SZ"],
                &[("bar:1m/000001.SZ", "2024-03-04..2024-03-13")],
                5 * 241 + 1
            ),
            [
                "bar:1m/600000.SH/2024-03-04..2024-03-08",
                "bar:1m/000001.SZ/2024-03-14..2024-03-15",
                "bar:1m/600000.SH/2024-03-11..2024-03-15",
            ]
        );
    }

    #[test]
    fn every_hole_of_a_code_is_planned_and_nothing_that_is_done() {
        assert_eq!(
            plan(&[("bar:1m/600000.SH", "2024-03-04..2024-03-05,2024-03-12..2024-03-13")], 3 * 241 + 1),
            [
                "bar:1m/600000.SH/2024-03-06..2024-03-08",
                "bar:1m/600000.SH/2024-03-11..2024-03-11",
                "bar:1m/600000.SH/2024-03-14..2024-03-15",
            ]
        );
        assert_eq!(
            plan(&[("bar:1m/600000.SH", "2024-03-08..2024-03-12")], 2 * 241 + 1),
            [
                "bar:1m/600000.SH/2024-03-04..2024-03-05",
                "bar:1m/600000.SH/2024-03-06..2024-03-07",
                "bar:1m/600000.SH/2024-03-13..2024-03-14",
                "bar:1m/600000.SH/2024-03-15..2024-03-15",
            ]
        );
        assert!(plan(&[("bar:1m/600000.SH", "2024-01-02..2024-03-15")], 8_000).is_empty());
    }
}
