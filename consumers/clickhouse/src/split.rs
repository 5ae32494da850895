//! Which rows of a batch go into which partition of the table: days by year, minutes by month. Must not write them.

use std::collections::BTreeMap;

use chrono::Datelike;
use sqep::{Record, Row, Symbol, record::Cell};

/// Year, and month of minutes: what `PARTITION BY` in `schemas/clickhouse` says.
type Partition = (i32, u32);

/// Positions of the rows of each partition, in the order of the table's key.
pub(crate) fn split<R: Record>(rows: &[Row<R>]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<Partition, usize> = BTreeMap::new();
    let (mut parts, mut last): (Vec<Part>, Option<(Partition, usize)>) = (Vec::new(), None);
    for (at, row) in rows.iter().enumerate() {
        let partition = partition(&row.record);
        // Neighbours are mostly of one partition.
        let place = match last {
            Some((same, place)) if same == partition => place,
            _ => *places.entry(partition).or_insert_with(|| {
                parts.push(Part::default());
                parts.len() - 1
            }),
        };
        last = Some((partition, place));
        parts[place].push(at, row.record.key());
    }
    let mut taken = |place: usize| std::mem::take(&mut parts[place]);
    places.into_values().map(|place| taken(place).sorted(rows)).collect()
}

/// The rows of one partition, and whether they came in the order of their keys.
#[derive(Debug, Default)]
struct Part {
    positions: Vec<usize>,
    last: Option<(Symbol, i64)>,
    mixed: bool,
}

impl Part {
    fn push(&mut self, at: usize, key: (Symbol, i64)) {
        self.mixed |= self.last.is_some_and(|last| last > key);
        self.last = Some(key);
        self.positions.push(at);
    }

    /// The server would sort them, and takes sorted ones as they are.
    fn sorted<R: Record>(self, rows: &[Row<R>]) -> Vec<usize> {
        if !self.mixed {
            return self.positions;
        }
        let mut keyed: Vec<_> = self.positions.into_iter().map(|at| (rows[at].record.key(), at)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, at)| at).collect()
    }
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

    fn days(frames: &[&str]) -> Vec<Row<RefDay>> {
        let day = |frame: &&str| Row {
            record: RefDay { frame: frame.parse().unwrap(), ..RefDay::blank() },
            version: 1,
            source: 0,
        };
        frames.iter().map(day).collect()
    }

    #[test]
    fn days_go_by_year_and_minutes_by_month() {
        assert_eq!(split(&days(&["2024-12-31", "2025-01-02", "2024-01-02"])), [vec![2, 0], vec![1]]);
        let minute = |frame: &str| Row {
            record: MinuteBar { frame: frame.parse().unwrap(), ..MinuteBar::blank() },
            version: 1,
            source: 0,
        };
        let minutes = ["2025-02-05T09:31:00", "2025-01-02T09:31:00"].map(minute);
        assert_eq!(split(&minutes), [vec![1], vec![0]], "January first");
    }

    #[test]
    fn rows_of_a_key_keep_their_order_and_rows_in_order_stay() {
        assert_eq!(split(&days(&["2024-01-03", "2024-01-02", "2024-01-03"])), [vec![1, 0, 2]]);
        assert_eq!(split(&days(&["2024-01-02", "2024-01-03", "2024-01-03"])), [vec![0, 1, 2]]);
    }
}
