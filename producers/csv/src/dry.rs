//! A run that publishes nothing: everything is read, judged and counted, and a few rows are shown.
//!
//! Knows the source and the checks; must not know a stream.

use sqep::{Calendar, Cursors, Kind, Record, Source, Totals, check::Checker};

/// What would happen.
#[derive(Debug)]
pub struct Dry<R> {
    /// What would become of every row.
    pub totals: Totals,
    /// The first records, each with the file and the line it stands on.
    pub samples: Vec<(String, u64, R)>,
}

/// Reads `source` to its end as if nothing had been published before; keeps `samples_max` records to show.
pub async fn run<S: Source>(
    source: &mut S,
    kind: Kind,
    calendar: &Calendar,
    samples_max: usize,
) -> anyhow::Result<Dry<S::Record>> {
    let mut dry = Dry { totals: Totals::default(), samples: Vec::new() };
    source.open(&Cursors::default()).await?;
    while let Some(chunk) = source.read().await? {
        let mut totals =
            Totals { read: chunk.read(), skipped: chunk.skipped, warned: chunk.warned, ..Totals::default() };
        for refusal in &chunk.refused {
            refusal.count(&mut totals.refused);
        }
        let mut checker = Checker::new(calendar);
        for (at, record) in chunk.records.into_iter().enumerate() {
            judge(&mut totals, &mut checker, kind, &record);
            if dry.samples.len() < samples_max {
                let line = chunk.lines.get(at).copied().unwrap_or_default();
                dry.samples.push((chunk.origin.to_string(), line, record));
            }
        }
        dry.totals.add(&totals);
    }
    Ok(dry)
}

/// The publishing loop's door.
fn judge<R: Record>(totals: &mut Totals, checker: &mut Checker<'_>, kind: Kind, record: &R) {
    match checker.admit(record, kind) {
        Ok(warnings) => {
            totals.appended += 1;
            for warning in warnings {
                *totals.warned.entry(warning.reason).or_default() += 1;
            }
        }
        Err(findings) => {
            if let Some(finding) = findings.first() {
                *totals.refused.entry(finding.reason).or_default() += 1;
            }
        }
    }
}

/// A record as people read it.
pub fn shown<R: Record>(record: &R) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&sqep::codec::json::object(record, None))?)
}
