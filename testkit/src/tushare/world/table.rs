//! The rows of one API, newest first, found by code and by day without looking at all of them. Knows what a question
//! wants of rows; must not know how it came.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use super::super::row::{Cell, Row};

/// Which rows are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of these codes; empty: of all. `*` stands for any digits.
    pub(crate) codes: Vec<String>,
    /// Of this day or minute: it wins over the range.
    pub(crate) time: Option<String>,
    /// From this day or minute on.
    pub(crate) from: Option<String>,
    /// Up to this day or minute.
    pub(crate) to: Option<String>,
    /// With one of these values in a column.
    pub(crate) equals: BTreeMap<&'static str, Vec<String>>,
    /// Minutes of this length, as asked for.
    pub(crate) freq: Option<String>,
}

impl Wanted {
    /// Whether a day or a minute is asked for.
    pub(crate) fn has_time(&self, time: &str) -> bool {
        match &self.time {
            Some(wanted) => time == wanted,
            None => {
                self.from.as_deref().is_none_or(|from| time >= from)
                    && self.to.as_deref().is_none_or(|to| time <= to)
            }
        }
    }

    /// Whether a code is asked for.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.codes.is_empty() || self.codes.iter().any(|wanted| matches(wanted, code))
    }

    fn has(&self, row: &Row) -> bool {
        let equal = |(column, values): (&&str, &Vec<String>)| {
            let value = match row.cell(column) {
                Cell::Text(text) => text.to_string(),
                Cell::Whole(number) => number.to_string(),
                Cell::Number(number) => number.to_string(),
                Cell::Null => String::new(),
            };
            values.contains(&value)
        };
        self.has_code(row.code()) && self.has_time(row.time()) && self.equals.iter().all(equal)
    }
}

/// `6*.SH` and the like; without a star, the code itself.
fn matches(wanted: &str, code: &str) -> bool {
    match wanted.split_once('*') {
        Some((head, tail)) => {
            code.len() >= head.len() + tail.len() && code.starts_with(head) && code.ends_with(tail)
        }
        None => wanted == code,
    }
}

#[derive(Debug, Clone, Default)]
struct Index {
    codes: HashMap<Arc<str>, Vec<usize>>,
    times: HashMap<Arc<str>, Vec<usize>>,
}

/// The rows of an API.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    index: OnceLock<Index>,
}

impl Table {
    /// A table of these rows.
    pub(super) fn of(rows: Vec<Row>) -> Table {
        let mut table = Table::default();
        table.add(rows);
        table
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
        self.rows.sort_by(|a, b| b.time().cmp(a.time()).then_with(|| a.code().cmp(b.code())));
        self.index = OnceLock::new();
    }

    pub(super) fn remove(&mut self, filter: impl Fn(&Row) -> bool) -> usize {
        let before = self.rows.len();
        self.rows.retain(|row| !filter(row));
        self.index = OnceLock::new();
        before - self.rows.len()
    }

    pub(super) fn change(&mut self, change: impl FnMut(&mut Row) -> bool) -> usize {
        let changed = self.rows.iter_mut().map(change).filter(|&changed| changed).count();
        self.add(Vec::new());
        changed
    }

    /// Whether it has rows of this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.index().codes.contains_key(code)
    }

    /// The rows that are wanted, newest first.
    pub(super) fn select(&self, wanted: &Wanted) -> Vec<Row> {
        let (index, none) = (self.index(), Vec::new());
        let plain = !wanted.codes.is_empty() && wanted.codes.iter().all(|code| !code.contains('*'));
        let hits = |positions: &[usize]| -> Vec<Row> {
            positions
                .iter()
                .filter_map(|&at| self.rows.get(at))
                .filter(|row| wanted.has(row))
                .cloned()
                .collect()
        };
        match &wanted.time {
            _ if plain => {
                let of = |code: &String| index.codes.get(code.as_str()).unwrap_or(&none).iter().copied();
                let mut positions: Vec<usize> = wanted.codes.iter().flat_map(of).collect();
                positions.sort_unstable();
                positions.dedup();
                hits(&positions)
            }
            Some(time) => hits(index.times.get(time.as_str()).unwrap_or(&none)),
            None => self.rows.iter().filter(|row| wanted.has(row)).cloned().collect(),
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for (at, row) in self.rows.iter().enumerate() {
                for (column, map) in [(row.api().code, &mut index.codes), (row.api().time, &mut index.times)]
                {
                    if let Some(Cell::Text(text)) = column.map(|column| row.cell(column)) {
                        map.entry(Arc::clone(text)).or_default().push(at);
                    }
                }
            }
            index
        })
    }
}
