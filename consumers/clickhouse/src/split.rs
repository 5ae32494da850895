//! Which rows of a batch go into which partition of the table: days by year, minutes by month. Must not write them.

use std::collections::BTreeMap;

use chrono::Datelike;
use sqep::{Record, Row, record::Cell};

/// Year, and month of minutes: what `PARTITION BY` in `schemas/clickhouse` says.
type Partition = (i32, u32);

/// Positions of the rows of each partition, in the order of the table's key.
pub(crate) fn split<R: Record>(rows: &[Row<R>]) -> BTreeMap<Partition, Vec<usize>> {
    let mut parts: BTreeMap<Partition, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        parts.entry(partition(&row.record)).or_default().push(at);
    }
    for positions in parts.values_mut() {
        // The rows of one batch come by entry; the server would sort them, and takes sorted ones as they are.
        positions.sort_by_key(|&at| rows[at].record.key());
    }
    parts
}

fn partition<R: Record>(record: &R) -> Partition {
    const FRAME: usize = 1;
    match record.get(FRAME) {
        Cell::Date(date) => (date.year(), 0),
        Cell::Minute(wall) => (wall.year(), wall.month()),
        // Without a frame no row can be written, as whoever makes bytes of it will say.
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use sqep::{MinuteBar, RefDay};

    use super::*;

    #[test]
    fn days_go_by_year_and_minutes_by_month() {
        let day = |frame: &str| Row {
            record: RefDay { frame: frame.parse().unwrap(), ..RefDay::blank() },
            version: 1,
            source: 0,
        };
        let days = [day("2024-12-31"), day("2025-01-02"), day("2024-01-02")];
        let parts: Vec<_> = split(&days).into_iter().collect();
        assert_eq!(parts, [((2024, 0), vec![2, 0]), ((2025, 0), vec![1])]);
        let minute = |frame: &str| Row {
            record: MinuteBar { frame: frame.parse().unwrap(), ..MinuteBar::blank() },
            version: 1,
            source: 0,
        };
        let minutes = [minute("2025-01-02T09:31:00"), minute("2025-02-05T09:31:00")];
        assert_eq!(split(&minutes).into_keys().collect::<Vec<_>>(), [(2025, 1), (2025, 2)]);
    }
}
