//! What came of a security that is asked for by code, day by day. Knows one security at a time; must not know files nor
//! the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqep::Symbol;

use crate::{
    gaps::NAMED_MAX,
    range::{self, Range},
    weigh::{Days, Verdict},
};

/// Rows that are there, of those that should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// There.
    pub rows: usize,
    /// What a whole day has at least.
    pub of: usize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rows", self.rows, self.of)
    }
}

/// The days of a security that is asked for by code. Each session that was asked for is in one of the sets, unless the
/// security was not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CodeGaps {
    /// The dataset, as its cursor fields name it.
    pub dataset: String,
    /// The security.
    pub symbol: String,
    /// Sessions with all of their rows, as runs of them.
    pub whole: Vec<Range>,
    /// Sessions on which it was suspended.
    pub suspended: BTreeSet<NaiveDate>,
    /// Sessions without all of their rows, which nothing explains.
    pub missing: BTreeSet<NaiveDate>,
    /// Of those, the ones that have some of them.
    pub part: BTreeMap<NaiveDate, Part>,
    /// Sessions that a suspension for a part of the day explains.
    pub halted: BTreeMap<NaiveDate, Part>,
    /// Sessions whose rows may still come.
    pub late: BTreeMap<NaiveDate, Part>,
    /// Sessions of which rows came without a turnover and are held back: their rows on the stream may have one.
    pub held: BTreeMap<NaiveDate, Part>,
    /// Sessions whose answer was refused as a whole.
    pub refused: BTreeSet<NaiveDate>,
}

impl CodeGaps {
    /// Of one security, after an answer about some of its days.
    pub fn new(dataset: &str, symbol: Symbol, days: &Days, verdict: &Verdict) -> CodeGaps {
        let part = verdict.missing.iter().filter(|(_, part)| part.rows > 0).map(|(&day, &part)| (day, part));
        CodeGaps {
            whole: days.whole.clone(),
            suspended: days.suspended.clone(),
            missing: verdict.missing.keys().copied().collect(),
            part: part.collect(),
            halted: verdict.halted.clone(),
            late: verdict.late.clone(),
            held: verdict.held.clone(),
            ..CodeGaps::named(dataset, symbol)
        }
    }

    /// Of one security whose answer was refused as a whole.
    pub fn refused(dataset: &str, symbol: Symbol, days: impl IntoIterator<Item = NaiveDate>) -> CodeGaps {
        CodeGaps { refused: days.into_iter().collect(), ..CodeGaps::named(dataset, symbol) }
    }

    fn named(dataset: &str, symbol: Symbol) -> CodeGaps {
        let (dataset, symbol) = (dataset.to_owned(), symbol.to_string());
        CodeGaps { dataset, symbol, ..CodeGaps::default() }
    }

    /// Whether no day lacks anything.
    pub fn is_whole(&self) -> bool {
        [&self.missing, &self.refused].iter().all(|days| days.is_empty())
            && [&self.halted, &self.late, &self.held].iter().all(|days| days.is_empty())
    }

    /// Days that are asked for again when gaps are filled.
    pub fn wanted(&self) -> BTreeSet<NaiveDate> {
        let late = self.late.keys().chain(self.held.keys());
        self.missing.iter().chain(&self.refused).chain(late).copied().collect()
    }

    /// Whether no row of a day that was asked for can have been published.
    pub(crate) fn has_no_row(&self, day: NaiveDate) -> bool {
        self.suspended.contains(&day) || (self.missing.contains(&day) && !self.part.contains_key(&day))
    }

    /// Takes over what is known of days that were not asked for.
    pub(crate) fn keep(&mut self, known: CodeGaps, asked: Range, apart: impl Fn(Range) -> bool) {
        self.whole.extend(range::without(&known.whole, asked.from, asked.to));
        range::join(&mut self.whole, apart);
        for (days, known) in [
            (&mut self.suspended, known.suspended),
            (&mut self.missing, known.missing),
            (&mut self.refused, known.refused),
        ] {
            days.extend(known.into_iter().filter(|&day| !asked.holds(day)));
        }
        for (days, known) in [
            (&mut self.part, known.part),
            (&mut self.halted, known.halted),
            (&mut self.late, known.late),
            (&mut self.held, known.held),
        ] {
            days.extend(known.into_iter().filter(|&(day, _)| !asked.holds(day)));
        }
    }
}

impl fmt::Display for CodeGaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CodeGaps { dataset, symbol, missing, part, halted, late, held, refused, .. } = self;
        let told = |day: &NaiveDate, part: Option<&Part>| match part {
            Some(part) => format!("{day} ({part})"),
            None => day.to_string(),
        };
        write!(f, "{symbol} {dataset}: missing {}", missing.len())?;
        days(f, missing.iter().map(|day| told(day, part.get(day))))?;
        for (what, of) in [(HALTED, halted), (LATE, late), (HELD, held)] {
            if !of.is_empty() {
                write!(f, "; {what} {}", of.len())?;
                days(f, of.iter().map(|(day, part)| told(day, Some(part))))?;
            }
        }
        if !refused.is_empty() {
            write!(f, "; refused {}", refused.len())?;
            days(f, refused.iter().map(|day| told(day, None)))?;
        }
        Ok(())
    }
}

/// The first few of some days; the rest is counted.
fn days(f: &mut fmt::Formatter<'_>, texts: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let more = texts.len().saturating_sub(NAMED_MAX);
    let named: Vec<String> = texts.take(NAMED_MAX).collect();
    if !named.is_empty() {
        write!(f, ": {}", named.join(" "))?;
    }
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}

/// A day of all securities that are asked for by code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodesOfDay {
    /// Securities with all of their rows.
    pub present: usize,
    /// Securities that were suspended.
    pub suspended: usize,
    /// Securities that lack something, by reason, with what they have.
    pub lacks: BTreeMap<&'static str, Vec<(String, Option<Part>)>>,
}

impl CodesOfDay {
    /// Securities without all of their rows, which nothing explains.
    pub fn missing(&self) -> usize {
        self.lacks.iter().filter(|(why, _)| **why != HALTED).map(|(_, of)| of.len()).sum()
    }
}

/// Why a security has some of its rows and no more are expected.
const HALTED: &str = "suspended for a part of the day";
/// Why the rest may still come.
const LATE: &str = "not there yet";
/// Why some rows were not published again.
const HELD: &str = "held back without a turnover";

impl fmt::Display for CodesOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacking: usize = self.lacks.values().map(Vec::len).sum();
        let (expected, missing) = (self.present + lacking, self.missing());
        write!(f, "expected {expected}, present {}, suspended {}", self.present, self.suspended)?;
        write!(f, ", missing {missing}")?;
        for (why, of) in &self.lacks {
            write!(f, "; {why}")?;
            days(
                f,
                of.iter().map(|(symbol, part)| match part {
                    Some(part) => format!("{symbol} ({part})"),
                    None => symbol.clone(),
                }),
            )?;
        }
        Ok(())
    }
}

/// The ledger of codes turned to days; `sessions` lists those of a range.
pub fn by_day(
    codes: &[CodeGaps],
    sessions: impl Fn(Range) -> Vec<NaiveDate>,
) -> BTreeMap<(NaiveDate, String), CodesOfDay> {
    let mut all: BTreeMap<(NaiveDate, String), CodesOfDay> = BTreeMap::new();
    for code in codes {
        let mut of = |day: NaiveDate, put: &dyn Fn(&mut CodesOfDay)| {
            put(all.entry((day, code.dataset.clone())).or_default());
        };
        for day in code.whole.iter().flat_map(|&range| sessions(range)) {
            of(day, &|day| day.present += 1);
        }
        for &day in &code.suspended {
            of(day, &|day| day.suspended += 1);
        }
        let lack = |why: &'static str, part: Option<Part>| {
            move |day: &mut CodesOfDay| day.lacks.entry(why).or_default().push((code.symbol.clone(), part))
        };
        for &day in &code.missing {
            of(day, &lack("unexplained", code.part.get(&day).copied()));
        }
        for &day in &code.refused {
            of(day, &lack("refused", None));
        }
        for (why, parts) in [(HALTED, &code.halted), (LATE, &code.late), (HELD, &code.held)] {
            for (&day, &part) in parts {
                of(day, &lack(why, Some(part)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn range(from: &str, to: &str) -> Range {
        Range { from: day(from), to: day(to) }
    }

    #[test]
    fn days_that_are_asked_for_again_replace_what_was_known_of_them() {
        let known = CodeGaps {
            whole: vec![range("2026-03-02", "2026-03-06"), range("2026-03-10", "2026-03-13")],
            missing: [day("2026-03-09")].into(),
            ..CodeGaps::default()
        };
        let mut gaps = CodeGaps { whole: vec![range("2026-03-09", "2026-03-10")], ..CodeGaps::default() };
        let calendar = sqep::Calendar::published();
        let apart = |gap: Range| calendar.sessions(gap.from, gap.to).next().is_some();
        gaps.keep(known, range("2026-03-09", "2026-03-10"), apart);
        assert_eq!(gaps.whole, [range("2026-03-02", "2026-03-13")]);
        assert!(gaps.is_whole());
        let text = serde_json::to_string(&gaps).unwrap();
        assert_eq!(serde_json::from_str::<CodeGaps>(&text).unwrap(), gaps);
    }
}
