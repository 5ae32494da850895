//! What the rows of a file prove about the file as a whole. Knows counts and ten examples of each; must not know text.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use sqep::{Reason, Symbol, calendar::Day, check::Finding};

use crate::dialect::{Basis, Labels};

/// Examples kept of each proof.
pub(crate) const EXAMPLES_MAX: usize = 10;
/// Rows below which a share of them proves nothing.
const ROWS_MIN: u64 = 10;
/// Labels below which a coarser grid is not told from a finer one.
const LABELS_MIN: u64 = 12;
const MINUTES_A_DAY: usize = 24 * 60;

/// Something that a row shows, as a letter tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) line: u64,
    pub(crate) text: String,
}

/// Counts of one file.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    dated: u64,
    closed: Count,
    flagged: Count,
    factors: HashMap<Symbol, Factor>,
    refused: BTreeMap<Reason, Count>,
    labels: Vec<u64>,
}

/// How often, and ten examples.
#[derive(Debug, Default, Clone)]
struct Count {
    rows: u64,
    examples: Vec<Example>,
}

/// What the prices of one security were multiplied by.
#[derive(Debug)]
struct Factor {
    first: f64,
    line: u64,
    varied: Option<Example>,
}

impl Count {
    fn add(&mut self, line: u64, text: impl FnOnce() -> String) {
        self.rows += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Example { line, text: text() });
        }
    }

    fn findings(&self, reason: Reason, field: &str, summary: String) -> Vec<Finding> {
        findings(reason, field, summary, &self.examples)
    }
}

/// A summary and its examples, as one letter's findings.
pub(crate) fn findings(reason: Reason, field: &str, summary: String, examples: &[Example]) -> Vec<Finding> {
    let finding = |value: String| Finding { reason, field: field.to_owned(), value };
    let shown =
        examples.iter().take(EXAMPLES_MAX).map(|example| format!("line {}: {}", example.line, example.text));
    std::iter::once(summary).chain(shown).map(finding).collect()
}

impl Tally {
    pub(crate) fn new(minutes: bool) -> Tally {
        Tally { labels: vec![0; if minutes { MINUTES_A_DAY } else { 0 }], ..Tally::default() }
    }

    pub(crate) fn dated(&mut self, day: Day, line: u64, date: NaiveDate) {
        self.dated += 1;
        if day == Day::Closed {
            self.closed.add(line, || format!("{date}, {}", date.format("%A")));
        }
    }

    pub(crate) fn flagged(&mut self, line: u64, flag: &str) {
        self.flagged.add(line, || format!("{flag:?}"));
    }

    pub(crate) fn factor(&mut self, symbol: Symbol, line: u64, factor: f64) {
        let seen = self.factors.entry(symbol).or_insert(Factor { first: factor, line, varied: None });
        if (factor - seen.first).abs() > 1e-9 * seen.first.abs() && seen.varied.is_none() {
            seen.varied = Some(Example { line, text: format!("{symbol} {factor} after {}", seen.first) });
        }
    }

    pub(crate) fn label(&mut self, minute: u32) {
        if let Some(count) = usize::try_from(minute).ok().and_then(|at| self.labels.get_mut(at)) {
            *count += 1;
        }
    }

    /// A row whose text could not be read.
    pub(crate) fn refuse(&mut self, reason: Reason, line: u64, value: &str) {
        if matches!(
            reason,
            Reason::RowIllegal | Reason::SymbolIllegal | Reason::ValueIllegal | Reason::FrameIllegal
        ) {
            self.refused.entry(reason).or_default().add(line, || value.to_owned());
        }
    }

    /// What proves the whole file wrong, first proof first: price basis, days, labels, rows that do not read.
    pub(crate) fn proofs(
        &self,
        declared: Option<Basis>,
        labels: Labels,
        minutes: Option<u32>,
    ) -> Vec<Finding> {
        let mut proofs = self.adjusted(declared);
        proofs.extend(self.shifted());
        if let Some(minutes) = minutes {
            proofs.extend(self.start_labelled(labels));
            proofs.extend(self.coarser(minutes));
        }
        proofs.extend(self.unreadable());
        proofs
    }

    fn adjusted(&self, declared: Option<Basis>) -> Vec<Finding> {
        if self.flagged.rows > 0 {
            let summary =
                format!("{} of {} rows say their prices are adjusted", self.flagged.rows, self.rows);
            return self.flagged.findings(Reason::PriceBasis, "adjustflag", summary);
        }
        let mut varied: Vec<Example> =
            self.factors.values().filter_map(|factor| factor.varied.clone()).collect();
        varied.sort_by_key(|example| example.line);
        if !varied.is_empty() {
            let summary = "the factor varies: prices are adjusted; export raw ones (fq=None)".to_owned();
            return findings(Reason::PriceBasis, "factor", summary, &varied);
        }
        if declared == Some(Basis::Raw) {
            return Vec::new();
        }
        let odd = self.factors.iter().filter(|(_, factor)| (factor.first - 1.0).abs() > 1e-9);
        let mut odd: Vec<Example> = odd
            .map(|(symbol, factor)| Example { line: factor.line, text: format!("{symbol} {}", factor.first) })
            .collect();
        odd.sort_by_key(|example| example.line);
        if odd.is_empty() {
            return Vec::new();
        }
        let summary =
            "the factor is constant and not 1: only whoever exported the file knows whether prices are raw; \
                       declare csv.price_basis=raw if they are"
                .to_owned();
        findings(Reason::PriceBasis, "factor", summary, &odd)
    }

    fn shifted(&self) -> Vec<Finding> {
        if self.closed.rows < 2 || self.closed.rows * 100 <= self.dated {
            return Vec::new();
        }
        let summary = format!(
            "{} of {} rows are dated on days without a session: the dates are shifted or invented",
            self.closed.rows, self.dated
        );
        self.closed.findings(Reason::FramesShifted, "frame", summary)
    }

    fn at(&self, hour: usize, minute: usize) -> u64 {
        self.labels.get(hour * 60 + minute).copied().unwrap_or(0)
    }

    fn start_labelled(&self, labels: Labels) -> Vec<Finding> {
        let (thirteen, fifteen) = (self.at(13, 0), self.at(15, 0));
        let summary = match labels {
            Labels::End if thirteen > 0 && fifteen == 0 => {
                format!("{thirteen} bars are labelled 13:00 and none 15:00: labels name the start of a bar")
            }
            Labels::Start if fifteen > 0 && thirteen == 0 => {
                format!("{fifteen} bars are labelled 15:00 and none 13:00: labels name the end of a bar")
            }
            _ => return Vec::new(),
        };
        let advice = "; use a dialect whose table says so (labels = \"start\" or \"end\")";
        findings(Reason::FramesShifted, "frame", summary + advice, &[])
    }

    /// A file of coarser bars than its stream. One minute of the whole market says nothing of the minutes between: only
    /// several different labels prove it.
    fn coarser(&self, minutes: u32) -> Vec<Finding> {
        let count: u64 = self.labels.iter().sum();
        let different = self.labels.iter().filter(|&&count| count > 0).count();
        let on = |grid: usize| self.labels.iter().step_by(grid).sum::<u64>() == count;
        let half_hours = self.at(10, 0) + self.at(11, 0) + self.at(13, 30) + self.at(14, 30);
        let coarse = [30u32, 15, 5]
            .into_iter()
            .find(|&grid| grid > minutes && usize::try_from(grid).is_ok_and(on))
            .or((minutes == 30 && half_hours == 0).then_some(60));
        let different_min = |grid| match grid {
            5 => 6,
            15 => 5,
            30 => 4,
            _ => 3,
        };
        match coarse {
            Some(grid) if count >= LABELS_MIN && different >= different_min(grid) => {
                let summary = format!(
                    "all {count} labels are multiples of {grid} minutes: these are bars of {grid} minutes or more, not of {minutes}"
                );
                findings(Reason::FrameIllegal, "frame", summary, &[])
            }
            _ => Vec::new(),
        }
    }

    /// A file of which more than half does not read was not understood.
    fn unreadable(&self) -> Vec<Finding> {
        let most =
            self.refused.iter().filter(|(_, count)| count.rows >= ROWS_MIN && count.rows * 2 > self.rows);
        most.flat_map(|(&reason, count)| {
            let summary = format!("{} of {} rows do not read", count.rows, self.rows);
            let field = match reason {
                Reason::SymbolIllegal => "symbol",
                Reason::FrameIllegal => "frame",
                _ => "",
            };
            count.findings(reason, field, summary)
        })
        .collect()
    }
}
