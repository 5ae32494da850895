//! Rows of a code that may know less than those that are on the stream: a turnover was there and is not any more. Knows
//! what was published day by day; must not know the service, nor when it is asked again.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqep::{Chunk, Reason, record::Cell};

use crate::{
    code_gaps::{CodeGaps, Part},
    job::Feed,
    range::{self, Range, Ranges},
    weigh::Days,
};

/// What may be left null, of days of indices and of minutes; all else is there or there is no row.
const TURNOVER: &str = "amount";

/// What was published of a code.
pub(crate) struct Published<'a> {
    /// Days that were handed over.
    pub(crate) ranges: &'a Ranges,
    /// What is on record of them; nothing where that was lost.
    pub(crate) gaps: Option<CodeGaps>,
    /// Days of which minutes may have gone out as they ended.
    pub(crate) live: Option<Range>,
}

impl Published<'_> {
    /// Whether a row of this day may be on the stream.
    fn may_have(&self, day: NaiveDate) -> bool {
        let has_row = || !self.gaps.as_ref().is_some_and(|gaps| gaps.has_no_row(day));
        self.live.is_some_and(|live| live.holds(day)) || (self.ranges.holds(day) && has_row())
    }

    /// Takes out the rows without a turnover of days that may be on the stream, and takes note of these days.
    pub(crate) fn hold_back<R: Feed>(&self, chunk: &mut Chunk<R>, days: &mut Days) {
        let Some(at) = R::FIELDS.iter().position(|field| field.name == TURNOVER) else { return };
        let mut rows: BTreeMap<NaiveDate, usize> = BTreeMap::new();
        chunk.records.iter().for_each(|row| *rows.entry(row.session()).or_default() += 1);
        let mut held: BTreeMap<NaiveDate, usize> = BTreeMap::new();
        chunk.records.retain(|row| {
            let less = row.get(at) == Cell::Null && self.may_have(row.session());
            if less {
                *held.entry(row.session()).or_default() += 1;
            }
            !less
        });
        let left_out: usize = held.values().sum();
        if left_out == 0 {
            return;
        }
        tracing::warn!(
            "{}: {left_out} rows without a turnover are left out: they may have been published with one",
            chunk.origin
        );
        *chunk.skipped.entry(Reason::Duplicate).or_default() += u64::try_from(left_out).unwrap_or(u64::MAX);
        for (day, count) in held {
            days.whole = range::without(&days.whole, day, day);
            let of = rows.get(&day).copied().unwrap_or_default();
            match days.lacks.get_mut(&day) {
                Some(lack) => lack.halted = false,
                None => drop(days.held.insert(day, Part { rows: of - count, of })),
            }
        }
    }
}
