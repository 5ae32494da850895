//! The gap ledger as it is printed: by day, then by code, then in sum. Knows the records; must not know where they lie.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqep::Calendar;

use crate::{
    code_gaps::{CodeGaps, CodesOfDay, by_day},
    gaps::{DayGaps, Gaps},
};

/// A ledger, read.
#[derive(Debug)]
pub struct Shown {
    days: Vec<DayGaps>,
    codes: Vec<CodeGaps>,
    by_day: BTreeMap<(NaiveDate, String), CodesOfDay>,
}

impl Shown {
    /// Reads a ledger; what is asked for by code is counted by day as well.
    pub fn new(gaps: &Gaps, calendar: &Calendar) -> anyhow::Result<Shown> {
        let (days, codes) = (gaps.all()?, gaps.all_codes()?);
        let by_day = by_day(&codes, |range| calendar.sessions(range.from, range.to).collect());
        Ok(Shown { days, codes, by_day })
    }

    /// A line for each day and each code that lacks something; `all`: for each day.
    pub fn lines(&self, all: bool) -> Vec<String> {
        let days = self.days.iter().filter(|gaps| all || !gaps.is_whole()).map(ToString::to_string);
        let of_codes = self.by_day.iter().filter(|(_, of)| all || !of.lacks.is_empty());
        let of_codes = of_codes.map(|((day, dataset), of)| format!("{day} {dataset}: {of}"));
        let codes = self.codes.iter().filter(|gaps| !gaps.is_whole()).map(ToString::to_string);
        days.chain(of_codes).chain(codes).collect()
    }

    /// How much there is on record, and how much of it is missing.
    pub fn totals(&self) -> Vec<String> {
        let whole = self.days.iter().filter(|gaps| gaps.is_whole()).count();
        let missing: usize = self.days.iter().map(DayGaps::missing).sum();
        let mut lines =
            vec![format!("days: {} on record, {whole} complete; rows missing: {missing}", self.days.len())];
        if !self.codes.is_empty() {
            let wanted: Vec<usize> = self.codes.iter().map(|gaps| gaps.wanted().len()).collect();
            let lacking = wanted.iter().filter(|&&days| days > 0).count();
            lines.push(format!(
                "codes: {} on record, {lacking} with days missing; days missing: {}",
                self.codes.len(),
                wanted.iter().sum::<usize>()
            ));
        }
        lines
    }
}
