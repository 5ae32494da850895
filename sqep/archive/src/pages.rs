//! Which pages of a file may hold which securities. Knows the statistics in footers and page indexes; must not decode a
//! row. A file without statistics is read whole.

use arrow_schema::SchemaRef;
use parquet::{
    arrow::arrow_reader::{RowSelection, RowSelector},
    file::{
        metadata::{ParquetMetaData, RowGroupMetaData},
        page_index::column_index::ColumnIndexMetaData,
        statistics::Statistics,
    },
};

use crate::Filter;

/// Rows that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its row group.
    group: usize,
    /// Its rows.
    pub(crate) rows: usize,
    /// The first security and the last.
    pub(crate) symbols: (i32, i32),
    /// The first time and the last of its row group, in the unit of the column.
    frames: (i64, i64),
    /// Whether the unit is days.
    in_days: bool,
}

impl Page {
    /// Whether it may hold rows from security `first` to `last` that pass the filter.
    pub(crate) fn may_hold(&self, first: i32, last: i32, filter: &Filter) -> bool {
        let (low, high) = (self.symbols.0.max(first), self.symbols.1.min(last));
        let (from, to) = if self.in_days {
            let (from, to) = filter.days();
            (i64::from(from), i64::from(to))
        } else {
            filter.instants()
        };
        low <= high && filter.symbols.overlap(low, high) && from <= self.frames.1 && to >= self.frames.0
    }
}

/// The pages of a file, in order.
pub(crate) fn of(metadata: &ParquetMetaData, schema: &SchemaRef) -> Vec<Page> {
    let place = |name: &str| schema.index_of(name).unwrap_or(usize::MAX);
    let (symbol, frame) = (place("symbol"), place("frame"));
    let mut pages = Vec::new();
    for (group, found) in metadata.row_groups().iter().enumerate() {
        let (frames, in_days) = frames(found, frame);
        let page = |rows, symbols| Page { group, rows, symbols, frames, in_days };
        match indexed(metadata, group, symbol) {
            Some(indexed) => pages.extend(indexed.into_iter().map(|(rows, symbols)| page(rows, symbols))),
            None => pages.push(page(rows_of(found), symbols(found, symbol))),
        }
    }
    pages
}

/// Rows and securities of each page of a row group; `None` if its index does not say.
fn indexed(metadata: &ParquetMetaData, group: usize, symbol: usize) -> Option<Vec<(usize, (i32, i32))>> {
    let index = metadata.page_index()?;
    let ColumnIndexMetaData::INT32(values) = index.column_index(group, symbol)? else { return None };
    let locations = index.offset_index(group, symbol)?.page_locations();
    let first_rows = locations.iter().map(|page| usize::try_from(page.first_row_index).ok());
    let mut bounds = first_rows.collect::<Option<Vec<usize>>>()?;
    bounds.push(rows_of(metadata.row_groups().get(group)?));
    let page = |(at, bound): (usize, &[usize])| {
        let rows = bound.get(1)?.checked_sub(*bound.first()?)?;
        Some((rows, (*values.min_value(at)?, *values.max_value(at)?)))
    };
    bounds.windows(2).enumerate().map(page).collect()
}

fn rows_of(group: &RowGroupMetaData) -> usize {
    usize::try_from(group.num_rows()).unwrap_or_default()
}

fn statistics(group: &RowGroupMetaData, column: usize) -> Option<&Statistics> {
    group.columns().get(column)?.statistics()
}

fn symbols(group: &RowGroupMetaData, column: usize) -> (i32, i32) {
    match statistics(group, column) {
        Some(Statistics::Int32(found)) => {
            (*found.min_opt().unwrap_or(&i32::MIN), *found.max_opt().unwrap_or(&i32::MAX))
        }
        _ => (i32::MIN, i32::MAX),
    }
}

fn frames(group: &RowGroupMetaData, column: usize) -> ((i64, i64), bool) {
    match statistics(group, column) {
        Some(Statistics::Int32(days)) => {
            let (first, last) = (days.min_opt(), days.max_opt());
            let frames =
                (first.map_or(i64::MIN, |&day| day.into()), last.map_or(i64::MAX, |&day| day.into()));
            (frames, true)
        }
        Some(Statistics::Int64(found)) => {
            ((*found.min_opt().unwrap_or(&i64::MIN), *found.max_opt().unwrap_or(&i64::MAX)), false)
        }
        _ => ((i64::MIN, i64::MAX), false),
    }
}

/// The row groups that hold a wanted page, and which of their rows are in one.
pub(crate) fn selection(pages: &[Page], wanted: impl Fn(&Page) -> bool) -> (Vec<usize>, RowSelection) {
    let (mut groups, mut selectors) = (Vec::new(), Vec::new());
    for of_group in pages.chunk_by(|one, next| one.group == next.group) {
        let picked: Vec<bool> = of_group.iter().map(&wanted).collect();
        if !picked.contains(&true) {
            continue;
        }
        groups.extend(of_group.first().map(|page| page.group));
        selectors.extend(of_group.iter().zip(picked).map(|(page, picked)| {
            if picked { RowSelector::select(page.rows) } else { RowSelector::skip(page.rows) }
        }));
    }
    (groups, selectors.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(group: usize, rows: usize, symbols: (i32, i32)) -> Page {
        Page { group, rows, symbols, frames: (i64::MIN, i64::MAX), in_days: true }
    }

    #[test]
    fn only_groups_with_a_wanted_page_are_opened_and_only_its_rows_are_read() {
        let pages = [
            page(0, 10, (1, 2)),
            page(0, 5, (2, 3)),
            page(1, 7, (3, 4)),
            page(2, 4, (4, 6)),
            page(2, 3, (6, 9)),
        ];
        let filter = Filter::default();
        let (groups, selection) = selection(&pages, |page| page.may_hold(5, 6, &filter));
        assert_eq!((groups, selection.row_count()), (vec![2], 7));
        let (groups, selection) = super::selection(&pages, |page| page.may_hold(3, 3, &filter));
        assert_eq!((groups, selection.row_count(), selection.skipped_row_count()), (vec![0, 1], 12, 10));
        let (groups, _) = super::selection(&pages, |page| page.may_hold(10, 20, &filter));
        assert!(groups.is_empty());
    }
}
