//! What a reader of the archive promises, on archives that the sink wrote: every row that is asked for, whatever becomes
//! of the files meanwhile.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{collections::BTreeMap, fs, ops::RangeInclusive, path::Path};

use chrono::{NaiveDateTime, NaiveTime};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::{metadata::PageIndexPolicy, page_index::offset_index::PageLocation},
};
use proptest::prelude::*;
use sqep::{DayBar, Kind, MinuteBar, Record, RefDay, Row, kind::Grid};
use sqep_archive::{Block, Error, Filter, Folder, Reader, Symbols, Versions};
use sqep_parquet::{Options, compact_root};

use crate::common::{date, day, minute, open, parquet_files, symbol, write, write_rows};

const DAY: Kind = Kind::BarDay;
const MINUTE: Kind = Kind::BarMinute(Grid::M1);

/// Symbol, time and version: what orders rows.
type Key = (i32, i64, u64);

fn key<R: Record>(row: &Row<R>) -> Key {
    (row.record.symbol().get(), row.record.time(), row.version)
}

fn blocks<R: Record>(mut reader: Reader<R>) -> Vec<Block<R>> {
    let mut found = Vec::new();
    while let Some(block) = reader.next().unwrap() {
        assert!(!block.rows.is_empty());
        found.push(block);
    }
    found
}

fn all<R: Record>(reader: Reader<R>) -> Vec<Row<R>> {
    blocks(reader).into_iter().flat_map(|block| block.rows).collect()
}

fn everything(root: &Path) -> Reader<DayBar> {
    Reader::open(root, DAY, Filter::default()).unwrap()
}

fn compact(root: &Path) {
    compact_root(root, Options::default()).unwrap().complete().unwrap();
}

fn midnight(day: u32) -> NaiveDateTime {
    date(day).and_time(NaiveTime::MIN)
}

fn range((first, length): (u32, u32)) -> RangeInclusive<i32> {
    symbol(first).get()..=symbol(first + length).get()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// Rows are (code, day, version); a version of a key is one row. Each batch is some of them, and a batch may be
    /// written again with another cut.
    #[test]
    fn a_reader_shows_the_rows_asked_for_and_no_other(
        rows in prop::collection::vec((0..12u32, 0..100u32, 0..9u64), 1..400),
        cuts in prop::collection::vec(12..90usize, 1..6),
        compacted in any::<bool>(),
        from in prop::option::of(0..900u32), to in prop::option::of(0..900u32),
        codes in prop::option::of(prop::collection::vec((0..12u32, 0..3u32), 0..3)),
        block_rows_max in 1..60usize,
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut sink = open(root.path(), DAY);
        let rows: Vec<(DayBar, u64)> = rows
            .iter()
            .map(|&(code, at, version)| (day(code, at * 9, u32::try_from(version).unwrap()), version))
            .collect();
        let (mut rest, mut id) = (&rows[..], 1);
        while !rest.is_empty() {
            let (now, after) = rest.split_at(cuts[usize::try_from(id).unwrap() % cuts.len()].min(rest.len()));
            write(&mut sink, (id, id), now).unwrap();
            (rest, id) = (after, id + 1);
        }
        write(&mut sink, (1, 2), &rows[..rows.len() / 2]).ok();
        if compacted {
            compact(root.path());
        }
        let symbols = codes.map_or(Symbols::ALL, |codes| Symbols::within(codes.into_iter().map(range)));
        let filter = Filter { from: from.map(midnight), to: to.map(midnight), symbols };
        let asked = |bar: &DayBar| {
            filter.symbols.contains(bar.symbol.get())
                && from.is_none_or(|from| bar.frame >= date(from))
                && to.is_none_or(|to| bar.frame <= date(to))
        };
        let mut versions: BTreeMap<(Folder, Key), DayBar> = BTreeMap::new();
        for (bar, version) in rows.iter().filter(|(bar, _)| asked(bar)) {
            let row = Row { record: *bar, version: *version, source: 0 };
            versions.insert((Folder::of(bar).unwrap(), key(&row)), *bar);
        }
        let current: BTreeMap<(Folder, i32, i64), DayBar> = versions
            .iter()
            .map(|(&(folder, (symbol, time, _)), bar)| ((folder, symbol, time), *bar))
            .collect();
        let reader = || Reader::<DayBar>::open(root.path(), DAY, filter.clone()).unwrap().block_rows_max(block_rows_max);
        let found: Vec<DayBar> = all(reader()).into_iter().map(|row| row.record).collect();
        prop_assert_eq!(found, current.into_values().collect::<Vec<_>>());
        if !compacted {
            let found: Vec<DayBar> =
                all(reader().versions(Versions::All)).into_iter().map(|row| row.record).collect();
            prop_assert_eq!(found, versions.into_values().collect::<Vec<_>>());
        }
    }

}

#[test]
fn a_second_reader_goes_on_where_the_first_one_stopped() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    let rows: Vec<_> = (0..300).map(|n| (day(n % 17, n * 3, n), u64::from(n))).collect();
    rows.chunks(70).zip(1..).for_each(|(rows, id)| write(&mut sink, (id, id), rows).unwrap());
    let whole = all(everything(root.path()));
    let mut stops = 0;
    for block_rows_max in [1, 7, 40] {
        let blocks = blocks(everything(root.path()).block_rows_max(block_rows_max));
        for stop in 1..=blocks.len() {
            let mut found: Vec<_> = blocks[..stop].iter().flat_map(|block| block.rows.clone()).collect();
            let at = &blocks[stop - 1];
            let mut second = everything(root.path()).block_rows_max(block_rows_max * 2);
            second.start_after(at.folder, at.last).unwrap();
            found.extend(all(second));
            assert!(found == whole, "stopped after block {stop} of {}", blocks.len());
            stops += 1;
        }
    }
    assert!(stops > 40, "only {stops} places to stop");
}

/// 90 files, more than a reader keeps open.
fn many_files(root: &Path) -> Vec<(DayBar, u64)> {
    let mut sink = open(root, DAY);
    let mut rows = Vec::new();
    for id in 0..90u32 {
        let of_day: Vec<_> = (0..40).map(|code| (day(code, id, id), u64::from(id))).collect();
        write(&mut sink, (id.into(), id.into()), &of_day).unwrap();
        rows.extend(of_day);
    }
    rows
}

#[test]
fn compaction_in_the_middle_of_reading_neither_hides_a_row_nor_shows_one_twice() {
    for stop in 0..6 {
        let root = tempfile::tempdir().unwrap();
        let mut rows = many_files(root.path());
        rows.sort_by_key(|(bar, _)| bar.key());
        let mut reader = everything(root.path()).block_rows_max(200);
        let mut found: Vec<(DayBar, u64)> = Vec::new();
        for _ in 0..stop {
            found.extend(reader.next().unwrap().unwrap().rows.iter().map(|row| (row.record, row.version)));
        }
        compact(root.path());
        assert_eq!(parquet_files(root.path(), DAY).len(), 1);
        found.extend(all(reader).iter().map(|row| (row.record, row.version)));
        assert!(found == rows, "stopped after {stop} blocks: {} rows of {}", found.len(), rows.len());
    }
}

#[test]
fn files_that_were_deleted_in_the_middle_of_reading_are_an_error_not_an_end() {
    let root = tempfile::tempdir().unwrap();
    many_files(root.path());
    let mut reader = everything(root.path()).block_rows_max(200);
    reader.next().unwrap().unwrap();
    for path in parquet_files(root.path(), DAY) {
        fs::remove_file(path).unwrap();
    }
    let mut ended = reader.next();
    while let Ok(Some(_)) = ended {
        ended = reader.next();
    }
    assert!(ended.unwrap_err().is_not_found());
}

#[test]
fn a_block_stays_small_whatever_the_folder_holds() {
    let root = tempfile::tempdir().unwrap();
    many_files(root.path());
    let blocks = blocks(everything(root.path()).block_rows_max(200));
    assert!(blocks.iter().all(|block| block.rows.len() <= 400), "90 files of 40 securities each");
    assert!(blocks.is_sorted_by_key(|block| (block.folder, block.last)));
    assert_eq!(blocks.iter().map(|block| block.rows.len()).sum::<usize>(), 90 * 40);
    compact(root.path());
    let blocks = self::blocks(everything(root.path()).block_rows_max(200));
    assert!(blocks.len() > 3 && blocks.iter().all(|block| block.rows.len() <= 400), "one file of many rows");
}

#[test]
fn a_block_tells_how_many_rows_are_stored_for_its_keys() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    let row = |code, version| (day(code, 3, u32::try_from(version).unwrap()), version);
    write(&mut sink, (1, 1), &[row(1, 4), row(1, 5), row(2, 5)]).unwrap();
    write(&mut sink, (1, 2), &[row(1, 5), row(2, 5)]).unwrap();
    let found = blocks(everything(root.path()));
    assert_eq!(found.iter().map(|block| (block.rows.len(), block.stored)).collect::<Vec<_>>(), [(2, 5)]);
    let found = blocks(everything(root.path()).versions(Versions::All));
    assert_eq!(found[0].rows.len(), 3, "copies of one row are one row");
}

#[test]
fn minutes_are_found_by_the_minute_and_keep_their_source() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), MINUTE);
    let row = |day, at, source| Row { record: minute(7, day, at), version: 9, source };
    let rows: Vec<_> =
        (0..3).flat_map(|day| (0..200).map(move |at| row(day, at, u16::from(at > 100)))).collect();
    write_rows(&mut sink, (1, 1), &rows).unwrap();
    let bound = |at: u32| Some(minute(7, 1, at).frame);
    let filter = Filter { from: bound(99), to: bound(102), symbols: [symbol(7)].into_iter().collect() };
    let mut reader = Reader::<MinuteBar>::open(root.path(), MINUTE, filter).unwrap();
    let block = reader.next().unwrap().unwrap();
    let found: Vec<_> =
        block.rows.iter().map(|row| (row.record, &*reader.sources()[usize::from(row.source)])).collect();
    let expected = [(99, "tushare"), (100, "tushare"), (101, "qmt"), (102, "qmt")];
    assert_eq!(found, expected.map(|(at, source)| (minute(7, 1, at), source)));
    assert_eq!(block.folder.to_string(), "date=2024-03-02");
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn what_is_no_archive_of_the_kind_is_said_to_be_none() {
    let root = tempfile::tempdir().unwrap();
    let opened = |kind| Reader::<DayBar>::open(root.path(), kind, Filter::default()).map(drop);
    assert!(matches!(opened(DAY), Err(Error::NoArchive { .. })));
    assert!(matches!(opened(MINUTE), Err(Error::Kind { .. })));
    write(&mut open(root.path(), DAY), (1, 1), &[(day(1, 1, 1), 1)]).unwrap();
    let into = root.path().join("ref_1d");
    fs::rename(root.path().join("bar_1d"), into).unwrap();
    let mut reader = Reader::<RefDay>::open(root.path(), Kind::RefDay, Filter::default()).unwrap();
    assert!(matches!(reader.next(), Err(Error::Foreign { .. })), "files of another record");
}

/// Where the values of one column of a page lie in a file, for every page of a file in order.
fn pages_of(path: &Path, column: usize) -> Vec<std::ops::Range<usize>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = ArrowReaderMetadata::load(&fs::File::open(path).unwrap(), options).unwrap();
    let index = metadata.metadata().page_index().unwrap();
    let groups = 0..metadata.metadata().num_row_groups();
    let locations =
        groups.flat_map(|group| index.offset_index(group, column).unwrap().page_locations().clone());
    let range = |page: PageLocation| {
        let begin = usize::try_from(page.offset).unwrap();
        begin..begin + usize::try_from(page.compressed_page_size).unwrap()
    };
    locations.map(range).collect()
}

#[test]
fn who_asks_for_one_security_does_not_read_the_pages_of_others() {
    let root = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..200).flat_map(|code| (0..365).map(move |at| (day(code, at, code), 1))).collect();
    write(&mut open(root.path(), DAY), (1, 1), &rows).unwrap();
    compact(root.path());
    let path = &parquet_files(root.path(), DAY)[0];
    let close = DayBar::FIELDS.iter().position(|field| field.name == "close").unwrap();
    let pages = pages_of(path, close);
    assert!(pages.len() > 3, "{} pages", pages.len());
    let mut bytes = fs::read(path).unwrap();
    pages[1..].iter().for_each(|page| bytes[page.clone()].fill(0xee));
    fs::write(path, bytes).unwrap();

    let ask = |code| {
        let filter = Filter { symbols: [symbol(code)].into_iter().collect(), ..Filter::default() };
        Reader::<DayBar>::open(root.path(), DAY, filter).unwrap().next()
    };
    assert_eq!(ask(0).unwrap().unwrap().rows.len(), 365, "its page is whole");
    assert!(matches!(ask(199), Err(Error::Parquet { .. })), "this one's is not");
}
