//! What came of rows since the last chunk: bars, letters, counts and doubts. Knows what is collected; must not know why.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use sqep::{Reason, Refusal, Symbol, check::Finding};

use crate::{bar::Raw, protocol::Row};

/// What came of rows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Final bars, in the order in which they became so.
    pub bars: Vec<Raw>,
    /// Rows that are refused.
    pub refused: Vec<Refusal>,
    /// Rows that are no bars, or no longer.
    pub skipped: BTreeMap<Reason, u64>,
    /// Bars that were published with other values before.
    pub corrected: u64,
    /// Securities of which a row knew more than what went out: history must tell, from the first label to the last.
    pub doubts: BTreeMap<Symbol, (NaiveDateTime, NaiveDateTime)>,
}

impl Outcome {
    pub(crate) fn skip(&mut self, reason: Reason) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// History must tell what is right from a time on.
    pub(crate) fn doubt(&mut self, symbol: Symbol, wall: NaiveDateTime) {
        let (first, last) = self.doubts.entry(symbol).or_insert((wall, wall));
        (*first, *last) = (wall.min(*first), wall.max(*last));
    }

    pub(crate) fn refuse(&mut self, symbol: Symbol, row: &Row, findings: Vec<Finding>) {
        let raw = serde_json::to_string(row).unwrap_or_default();
        self.refused.push(Refusal { row: 0, rows: 1, symbol: symbol.to_string(), findings, raw });
    }

    /// Whether nothing came of them yet.
    pub fn is_empty(&self) -> bool {
        self.bars.is_empty() && self.refused.is_empty() && self.skipped.is_empty()
    }

    /// Rows it stands for.
    pub fn rows(&self) -> usize {
        self.bars.len() + self.refused.len()
    }
}
