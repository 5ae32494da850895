//! From pages to a whole table, or to the reason why it cannot be whole. Knows when an answer ends; must not know how a
//! page is fetched.
//!
//! The service cuts an answer at its cap without a word, and the cap may be smaller than the documented one. So an
//! answer ends at a page that is shorter than the limit only if nothing speaks for more. These do:
//!
//! - the service claims more (`has_more`, or a `count` above the rows so far): believed when it says more, never when
//!   it says less;
//! - the length is a multiple of 50: every cap of the service is one;
//! - the page is by a tenth longer than any that was seen to end an answer: the first page of an API, above all.
//!
//! Then one page more is asked. If it is empty, the answer was whole, and its length is trusted from then on; if not,
//! the service's cap is smaller than ours, and is learned. In a backfill that costs some two calls of a hundred.

use std::collections::HashSet;

use xxhash_rust::xxh3::Xxh3Default;

use super::{
    error::Misfit,
    reply::Page,
    table::{Cell, Table},
};

/// Beyond it the service refuses.
const OFFSET_MAX: usize = 100_000;
/// Every cap is a multiple of it.
const CAP_STEP: usize = 50;

/// What is known of the caps of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cap {
    /// Rows to ask for.
    pub(super) limit: usize,
    /// The longest page that was seen to end an answer, or to be full.
    trusted: usize,
}

/// What comes after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The table is whole.
    Whole,
    /// Ask at this offset.
    Ask(usize),
    /// More rows than can be paged through.
    TooLarge,
}

impl Cap {
    pub(super) fn new(limit: usize) -> Cap {
        Cap { limit, trusted: 0 }
    }

    /// Whether a page of so many rows may have been cut.
    fn doubts(self, rows: usize) -> bool {
        rows >= self.limit || rows.is_multiple_of(CAP_STEP) || rows > self.trusted + self.trusted / 10
    }

    /// What another question learned.
    pub(super) fn merge(&mut self, other: Cap) {
        self.limit = self.limit.min(other.limit);
        self.trusted = self.trusted.max(other.trusted);
    }
}

/// A table in the making.
#[derive(Debug)]
pub(super) struct Pages {
    table: Option<Table>,
    seen: HashSet<u64>,
    cap: Cap,
    /// Rows of the page before, which was shorter than the limit.
    short: Option<usize>,
}

impl Pages {
    pub(super) fn new(cap: Cap) -> Pages {
        Pages { table: None, seen: HashSet::new(), cap, short: None }
    }

    /// Takes the page at the offset that [`After`] named, or 0.
    ///
    /// A page that does not fit changes nothing: it may be asked for again.
    pub(super) fn take(&mut self, mut page: Page) -> Result<After, Misfit> {
        let (offset, rows) = (self.rows(), page.table.rows.len());
        if rows > self.cap.limit {
            return Err(Misfit::TooManyRows { rows, limit: self.cap.limit });
        }
        let claims_rows = page.claims_rows.is_some_and(|claimed| claimed > number(offset + rows));
        if rows == 0 {
            return if page.claims_more || claims_rows {
                Err(Misfit::EmptyClaimsMore { offset })
            } else {
                Ok(self.end(page))
            };
        }
        if let Some(table) = &self.table {
            align(&mut page.table, &table.fields);
            if self.seen.contains(&hash(&page.table.rows)) {
                return Err(Misfit::RepeatedPage { offset });
            }
        }
        if let Some(cut) = self.short.take() {
            // What looked like an end was the service's own cap.
            self.cap.limit = cut.max(rows).max(self.cap.trusted).min(self.cap.limit);
        }
        let more = page.claims_more || claims_rows || self.cap.doubts(rows);
        if rows < self.cap.limit {
            self.short = Some(rows);
        } else {
            self.cap.trusted = self.cap.trusted.max(rows);
        }
        if offset == 0 && !more {
            self.table = Some(page.table);
            return Ok(After::Whole);
        }
        self.add(page.table);
        Ok(match self.rows() {
            _ if !more => After::Whole,
            next if next > OFFSET_MAX => After::TooLarge,
            next => After::Ask(next),
        })
    }

    /// The table and what was learned.
    pub(super) fn finish(self) -> (Table, Cap) {
        (self.table.unwrap_or_default(), self.cap)
    }

    /// Rows to ask for next.
    pub(super) fn limit(&self) -> usize {
        self.cap.limit
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.rows.len())
    }

    fn end(&mut self, page: Page) -> After {
        if let Some(whole) = self.short.take() {
            self.cap.trusted = self.cap.trusted.max(whole);
        }
        self.table.get_or_insert(page.table);
        After::Whole
    }

    fn add(&mut self, mut page: Table) {
        self.seen.insert(hash(&page.rows));
        match &mut self.table {
            Some(table) => table.rows.append(&mut page.rows),
            None => self.table = Some(page),
        }
    }
}

/// Brings columns into the order of the first page; the service reorders them as it likes.
fn align(page: &mut Table, fields: &[String]) {
    if page.fields == fields {
        return;
    }
    let from: Vec<Option<usize>> = fields.iter().map(|field| page.column(field)).collect();
    for row in &mut page.rows {
        let cell = |at: &Option<usize>| at.and_then(|at| row.get(at)).cloned().unwrap_or_default();
        *row = from.iter().map(cell).collect();
    }
    page.fields = fields.to_vec();
}

/// The same page has the same hash, also when its numbers come in quotes.
fn hash(rows: &[Vec<Cell>]) -> u64 {
    let mut hasher = Xxh3Default::new();
    for cell in rows.iter().flatten() {
        match (cell.as_number(), cell) {
            (Some(number), _) => hasher.update(&number.to_bits().to_le_bytes()),
            (None, Cell::Text(text)) => hasher.update(text.as_bytes()),
            (None, _) => {}
        }
        hasher.update(&[0xff]);
    }
    hasher.digest()
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "far below 2^53")]
fn number(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with so many rows that gives `cap` of them a call, whatever is asked for.
    struct Service {
        rows: usize,
        cap: usize,
        has_more: Option<bool>,
        ignores_offset: bool,
        calls: usize,
    }

    impl Service {
        fn honest(rows: usize, cap: usize) -> Service {
            Service { rows, cap, has_more: None, ignores_offset: false, calls: 0 }
        }

        fn page(&mut self, limit: usize, offset: usize) -> Page {
            self.calls += 1;
            let offset = if self.ignores_offset { 0 } else { offset.min(self.rows) };
            let until = (offset + limit.min(self.cap)).min(self.rows);
            let rows: Vec<_> =
                (offset..until).map(|row| vec![Cell::Number(number(row)), Cell::Null]).collect();
            let claims_more = self.has_more.unwrap_or(false);
            let fields = vec!["ts_code".to_owned(), "vol".to_owned()];
            let mut table = Table { api: "daily".to_owned(), fields, rows };
            if self.calls.is_multiple_of(2) {
                let quoted =
                    |cell: &mut Cell| *cell = Cell::Text(cell.as_number().unwrap().to_string().into());
                table.rows.iter_mut().for_each(|row| quoted(&mut row[0]));
                table.fields.reverse();
                table.rows.iter_mut().for_each(|row| row.reverse());
            }
            Page { table, claims_more, claims_rows: Some(0.0) }
        }

        /// Asks for everything.
        fn ask(&mut self, cap: &mut Cap) -> Result<Table, Misfit> {
            let (mut pages, mut offset) = (Pages::new(*cap), 0);
            loop {
                match pages.take(self.page(pages.limit(), offset))? {
                    After::Ask(next) => offset = next,
                    After::Whole => break,
                    After::TooLarge => panic!("too large"),
                }
            }
            let (table, learned) = pages.finish();
            cap.merge(learned);
            Ok(table)
        }
    }

    fn is_whole(table: &Table, rows: usize) {
        assert_eq!(table.rows.len(), rows);
        assert_eq!(table.fields, ["ts_code", "vol"]);
        assert!(table.rows.iter().enumerate().all(|(at, row)| row[0].as_number() == Some(number(at))));
    }

    #[test]
    fn no_row_is_missing_whatever_the_service_cuts_off_in_silence() {
        for cap in [7, 37, 50, 100, 333, 2_000] {
            for rows in [0, 1, cap - 1, cap, cap + 1, 3 * cap - 1, 3 * cap, 3 * cap + 1] {
                let mut service = Service::honest(rows, cap);
                is_whole(&service.ask(&mut Cap::new(6_000)).unwrap(), rows);
            }
        }
    }

    #[test]
    fn a_cap_smaller_than_documented_is_learned() {
        let (mut service, mut cap) = (Service::honest(5_401, 2_000), Cap::new(6_000));
        is_whole(&service.ask(&mut cap).unwrap(), 5_401);
        assert_eq!(cap.limit, 2_000);
        service.calls = 0;
        is_whole(&service.ask(&mut cap).unwrap(), 5_401);
        assert_eq!(service.calls, 3);
    }

    #[test]
    fn a_year_of_whole_market_days_costs_few_calls_more_than_days() {
        let (mut cap, mut calls) = (Cap::new(6_000), 0);
        for day in 0..244 {
            let mut service = Service::honest(5_001 + day, 6_000);
            is_whole(&service.ask(&mut cap).unwrap(), 5_001 + day);
            calls += service.calls;
        }
        assert_eq!(calls, 244 + 1 + 4, "the first and four multiples of fifty");
    }

    #[test]
    fn what_is_claimed_is_believed_only_when_it_is_more() {
        let mut cap = Cap { limit: 6_000, trusted: 6_000 };
        let mut service = Service { has_more: Some(true), ..Service::honest(2_001, 1_001) };
        let error = service.ask(&mut cap).unwrap_err();
        assert_eq!(error, Misfit::EmptyClaimsMore { offset: 2_001 });
        assert_eq!(service.calls, 3, "asked on although pages were short");
        let mut service = Service { has_more: Some(true), ..Service::honest(0, 10) };
        assert_eq!(service.ask(&mut cap).unwrap_err(), Misfit::EmptyClaimsMore { offset: 0 });
    }

    #[test]
    fn a_page_that_comes_again_is_refused_even_with_columns_reordered_and_numbers_in_quotes() {
        let mut service = Service { ignores_offset: true, ..Service::honest(900, 300) };
        let error = service.ask(&mut Cap::new(300)).unwrap_err();
        assert_eq!(error, Misfit::RepeatedPage { offset: 300 });
    }

    #[test]
    fn more_rows_than_asked_for_and_more_than_can_be_paged_are_refused() {
        let mut pages = Pages::new(Cap::new(10));
        let page = Service::honest(11, 11).page(11, 0);
        assert_eq!(pages.take(page), Err(Misfit::TooManyRows { rows: 11, limit: 10 }));
        let (mut service, mut pages, mut offset) =
            (Service::honest(200_000, 10_000), Pages::new(Cap::new(10_000)), 0);
        let after = loop {
            match pages.take(service.page(10_000, offset)).unwrap() {
                After::Ask(next) => offset = next,
                other => break other,
            }
        };
        assert_eq!((after, offset), (After::TooLarge, 100_000));
    }
}
