//! From entries to records in hand: opens, checks again, buries what is neither.
//!
//! The second door. Knows codecs and rules; must not know the sink, the server or when a batch is due.

use tokio::time::Instant;

use super::{
    Deliverer,
    hand::{InHand, whole},
};
use crate::{Record, Refusal, Row, check::Checker, wire::Entry};

impl Deliverer {
    /// Opens entries into rows; what cannot be opened or breaks a rule becomes a letter.
    pub(super) fn take<R: Record>(&self, hand: &mut InHand<R>, entries: Vec<Entry>) {
        for entry in entries {
            hand.since.get_or_insert_with(Instant::now);
            hand.ids.push(entry.id);
            hand.bytes += entry.bytes();
            match entry.open::<R>() {
                Ok(opened) => {
                    let source = hand.source(&opened.source);
                    let versions = opened.decoded.versions;
                    let version = |at: usize| versions.as_ref().map_or(entry.id.version(), |all| all[at]);
                    hand.fetched += u64::try_from(opened.decoded.records.len()).unwrap_or(u64::MAX);
                    let rows = opened.decoded.records.into_iter().enumerate();
                    let rows = rows.map(|(at, record)| Row { record, version: version(at), source });
                    let refusals = self.check(hand, rows);
                    if !refusals.is_empty() {
                        hand.bury(&self.asker.group, entry, refusals);
                    }
                }
                Err(unreadable) => {
                    hand.fetched += entry.claimed();
                    let refusal = whole(&entry, unreadable);
                    hand.bury(&self.asker.group, entry, vec![refusal]);
                }
            }
        }
    }

    /// The second door: adds the rows that pass, returns the others.
    fn check<R: Record>(&self, hand: &mut InHand<R>, rows: impl Iterator<Item = Row<R>>) -> Vec<Refusal> {
        let mut checker = Checker::new(&self.calendar);
        let mut refusals = Vec::new();
        for (at, row) in rows.enumerate() {
            match checker.admit(&row.record, self.kind) {
                Ok(_) => hand.rows.push(row),
                Err(findings) => {
                    let place = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
                    refusals.push(Refusal::of(place, &row.record, findings));
                }
            }
        }
        refusals
    }
}
