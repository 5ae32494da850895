//! Work that is on the stream and of which the gap ledger has no record: its folder was lost, or is another one. Knows
//! both; must not know what is missing of it.

use std::fmt;

use chrono::NaiveDate;
use sqep::{Calendar, Kind, Symbol};

use crate::{
    gaps::Gaps,
    handed::Handed,
    plan::{Dataset, Work},
};

/// Sessions of a code that are recorded at a time: a call of minute bars of the shortest grid.
const SESSIONS_MAX: usize = 33;

/// What the ledger does not know of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// Days of the market.
    pub days: Vec<Work>,
    /// Days of codes.
    pub codes: Vec<Work>,
}

impl Lost {
    /// Compares what was published with what is on record.
    pub fn new(kind: Kind, handed: &Handed, gaps: &Gaps, calendar: &Calendar) -> Lost {
        let days = handed.days.keys().filter_map(|field| day_of(field)).filter(|work| !gaps.knows(work));
        let mut lost = Lost { days: days.collect(), codes: Vec::new() };
        for (field, ranges) in &handed.ranges {
            let Some((name, symbol)) = field.split_once('/') else { continue };
            let Ok(symbol) = symbol.parse::<Symbol>() else { continue };
            let dataset = Dataset::of_code(kind, symbol);
            for &range in ranges.done().iter().filter(|_| dataset.name() == name) {
                let sessions: Vec<NaiveDate> = calendar.sessions(range.from, range.to).collect();
                let piece = |days: &[NaiveDate]| {
                    Some(Work::Range { dataset, symbol, from: *days.first()?, to: *days.last()? })
                };
                let pieces = sessions.chunks(SESSIONS_MAX).filter_map(piece);
                lost.codes.extend(pieces.filter(|work| !gaps.knows(work)));
            }
        }
        lost
    }

    /// Whether the ledger knows of everything.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty() && self.codes.is_empty()
    }
}

/// The work of the field of a day.
fn day_of(field: &str) -> Option<Work> {
    let (name, day) = field.split_once('/')?;
    let dataset = [Dataset::Stocks, Dataset::Funds, Dataset::Ref].into_iter().find(|of| of.name() == name)?;
    Some(Work::Day { dataset, day: NaiveDate::parse_from_str(day, "%Y%m%d").ok()? })
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut codes: Vec<String> = self.codes.iter().map(Work::field).collect();
        codes.dedup();
        write!(
            f,
            "on the stream and not in the gap ledger: {} days, {} codes; `gaps --fill` takes them down again, from kept \
             answers where there are any",
            self.days.len(),
            codes.len()
        )
    }
}
