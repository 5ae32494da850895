//! What the ledger decides, content by content.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::time::Duration;

use proptest::prelude::*;
use sqep::{Cursors, Reason, Totals};
use sqep_csv::ledger::{Decision, Entry, Ledger, Print, Stamp, State, Tail, Terms, Why};

const MAPPING: &str = "m";

fn terms() -> Terms {
    Terms { mapping: MAPPING.to_owned(), forced_pass: None, holds_tail: false }
}

fn print(content: &[u8], place: u64) -> Print {
    Print::read(content, place).unwrap()
}

fn stamp(content: &[u8]) -> Stamp {
    Stamp { size: u64::try_from(content.len()).unwrap(), mtime: 7, ctime: 7, fresh: false }
}

/// The entry of a file of this content with `rows` rows, all of them done.
fn done(content: &[u8], rows: u64, terms: &Terms) -> Entry {
    let print = print(content, 0);
    Entry {
        stamp: stamp(content),
        bytes: print.bytes,
        hash: print.hash.clone(),
        rows,
        state: State::Done,
        tail: terms.tail(&print),
        pass: 1,
        mapping: terms.mapping.clone(),
        dialect: "sqep".to_owned(),
        verdict: None,
        totals: Totals { read: rows, appended: rows, ..Totals::default() },
    }
}

fn decide(entry: &Entry, content: &[u8], terms: &Terms) -> Decision {
    terms.decide(Some(entry), &print(content, entry.bytes))
}

#[test]
fn a_file_never_seen_is_read_from_its_first_row() {
    assert_eq!(terms().decide(None, &print(b"h\na\n", 0)), Decision::Afresh(Why::New));
}

#[test]
fn an_untouched_file_is_not_even_opened() {
    let entry = done(b"h\na\n", 1, &terms());
    assert!(terms().is_settled(&entry, stamp(b"h\na\n")));
    assert!(!terms().is_settled(&entry, Stamp { mtime: 8, ..stamp(b"h\na\n") }));
    assert!(!terms().is_settled(&entry, Stamp { ctime: 8, ..stamp(b"h\na\n") }));
    assert!(!terms().is_settled(&Entry { state: State::Part, ..entry.clone() }, stamp(b"h\na\n")));
    assert!(!terms().is_settled(&Entry { state: State::Refused, ..entry }, stamp(b"h\na\n")));
}

#[test]
fn a_file_with_a_new_date_and_the_same_content_is_done() {
    let entry = done(b"h\na\n", 1, &terms());
    assert_eq!(decide(&entry, b"h\na\n", &terms()), Decision::Same);
}

#[test]
fn a_grown_file_is_read_after_the_rows_that_are_done() {
    let entry = done(b"h\na\n", 1, &terms());
    assert_eq!(decide(&entry, b"h\na\nb\n", &terms()), Decision::After { rows: 1, why: Why::Grown });
}

#[test]
fn a_changed_or_shortened_file_is_read_from_its_first_row() {
    let entry = done(b"h\na\nb\n", 2, &terms());
    for content in [&b"h\nx\nb\n"[..], b"h\nx\nb\nc\n", b"h\na\n", b""] {
        assert_eq!(decide(&entry, content, &terms()), Decision::Afresh(Why::Changed), "{content:?}");
    }
}

#[test]
fn a_last_row_that_was_cut_short_is_read_again_when_the_file_grows() {
    let entry = done(b"h\na,12.3", 1, &terms());
    assert_eq!(decide(&entry, b"h\na,12.34\n", &terms()), Decision::After { rows: 0, why: Why::Grown });
    assert_eq!(decide(&entry, b"h\na,12.3\nb\n", &terms()), Decision::After { rows: 1, why: Why::Grown });
    assert_eq!(decide(&entry, b"h\na,12.3\r\nb\n", &terms()), Decision::After { rows: 1, why: Why::Grown });
}

#[test]
fn the_last_row_of_a_grown_compressed_file_is_read_again() {
    let packed = b"\x1f\x8bwhatever";
    let entry = done(packed, 5, &terms());
    assert_eq!(entry.tail, Tail::Torn);
    let grown = [&packed[..], b"\n more"].concat();
    assert_eq!(decide(&entry, &grown, &terms()), Decision::After { rows: 4, why: Why::Grown });
}

#[test]
fn a_line_that_a_daemon_left_for_later_is_read_when_nothing_more_will_come() {
    let (daemon, once) = (Terms { holds_tail: true, ..terms() }, terms());
    let entry = done(b"h\na\nb", 1, &daemon);
    assert_eq!(entry.tail, Tail::Held);
    assert!(daemon.is_settled(&entry, stamp(b"h\na\nb")));
    assert_eq!(decide(&entry, b"h\na\nb", &daemon), Decision::Same);
    assert!(!once.is_settled(&entry, stamp(b"h\na\nb")));
    assert_eq!(decide(&entry, b"h\na\nb", &once), Decision::After { rows: 1, why: Why::Grown });
    assert_eq!(decide(&entry, b"h\na\nbc\n", &daemon), Decision::After { rows: 1, why: Why::Grown });
}

#[test]
fn an_interrupted_file_goes_on_where_it_was_even_if_it_has_grown() {
    let entry = Entry { state: State::Part, rows: 1, tail: Tail::Closed, ..done(b"h\na\nb\n", 2, &terms()) };
    for content in [&b"h\na\nb\n"[..], b"h\na\nb\nc\n"] {
        assert_eq!(decide(&entry, content, &terms()), Decision::After { rows: 1, why: Why::Resumed });
    }
    assert_eq!(decide(&entry, b"h\nx\nb\n", &terms()), Decision::Afresh(Why::Changed));
}

#[test]
fn another_dialect_reads_the_file_again() {
    let entry = done(b"h\na\n", 1, &terms());
    let other = Terms { mapping: "other".to_owned(), ..terms() };
    assert!(!other.is_settled(&entry, stamp(b"h\na\n")));
    assert_eq!(decide(&entry, b"h\na\n", &other), Decision::Afresh(Why::Remapped));
}

#[test]
fn force_ignores_what_was_done_before_and_minds_what_it_did_itself() {
    let forced = Terms { forced_pass: Some(1), ..terms() };
    let before = done(b"h\na\n", 1, &terms());
    assert!(!forced.is_settled(&before, stamp(b"h\na\n")));
    assert_eq!(decide(&before, b"h\na\n", &forced), Decision::Afresh(Why::Forced));
    let own = Entry { pass: 2, ..before };
    assert!(forced.is_settled(&own, stamp(b"h\na\n")));
    assert_eq!(decide(&own, b"h\na\n", &forced), Decision::Same);
}

#[test]
fn a_refused_file_is_tried_again_and_its_letter_is_known_by_content_dialect_and_reason() {
    let entry = Entry {
        state: State::Refused,
        verdict: Some(Reason::UnitsOrAdjusted),
        ..done(b"h\na\n", 1, &terms())
    };
    assert_eq!(decide(&entry, b"h\na\n", &terms()), Decision::Afresh(Why::Refused));
    assert_eq!(decide(&entry, b"h\na\nb\n", &terms()), Decision::Afresh(Why::Changed));
    assert!(entry.is_same_refusal(&entry));
    for other in [
        Entry { hash: "0".to_owned(), ..entry.clone() },
        Entry { mapping: "other".to_owned(), ..entry.clone() },
        Entry { verdict: Some(Reason::PriceBasis), ..entry.clone() },
        Entry { state: State::Done, ..entry.clone() },
    ] {
        assert!(!entry.is_same_refusal(&other), "{other:?}");
    }
}

#[test]
fn an_entry_reads_as_it_was_written_and_a_foreign_field_is_named() {
    let mut entry = done(b"h\na\n", 1, &terms());
    entry.totals.skipped.insert(Reason::Suspended, 3);
    entry.verdict = Some(Reason::PriceBasis);
    let (key, value) = entry.field("/data/a.csv").unwrap();
    let foreign = ("b.csv".to_owned(), "{}".to_owned());
    let cursors = Cursors { fields: [(key, value.unwrap()), foreign].into(), ..Cursors::default() };
    let (ledger, unread) = Ledger::read(&cursors);
    assert_eq!(ledger.get("/data/a.csv"), Some(&entry));
    assert_eq!(unread, ["b.csv"]);
}

#[test]
fn a_date_of_this_moment_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "h\na\n").unwrap();
    let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
    let soon = Stamp::of(&path, changed + Duration::from_secs(1)).unwrap();
    let later = Stamp::of(&path, changed + Duration::from_secs(9)).unwrap();
    assert!(soon.fresh && !later.fresh);
    let entry = |stamp| Entry { stamp, ..done(b"h\na\n", 1, &terms()) };
    assert!(!terms().is_settled(&entry(soon), soon));
    assert!(!terms().is_settled(&entry(soon), later));
    assert!(terms().is_settled(&entry(later), later));
    assert!(Stamp::of(folder.path(), changed).is_err());
}

proptest! {
    /// One pass of hashing finds the hash of the whole and of any beginning, however the bytes come.
    #[test]
    fn a_print_is_that_of_the_bytes(content in prop::collection::vec(any::<u8>(), 0..600), at in 0u64..700, cut in 1usize..50) {
        let pieces = Pieces { content: &content, cut };
        let print = Print::read(pieces, at).unwrap();
        let plain = Print::read(&content[..], 0).unwrap();
        prop_assert_eq!(&print.hash, &plain.hash);
        prop_assert_eq!(print.bytes, u64::try_from(content.len()).unwrap());
        prop_assert_eq!(print.last, content.last().copied());
        let place = usize::try_from(at).unwrap();
        let expected = content.get(..place).map(|before| {
            (Print::read(before, 0).unwrap().hash, content.get(place).copied())
        });
        prop_assert_eq!(print.before, expected);
    }

    /// Whatever a file was, it is read after its rows exactly when it begins with what was done.
    #[test]
    fn rows_are_left_out_only_behind_an_unchanged_beginning(
        old in prop::collection::vec(0u8..3, 0..20), new in prop::collection::vec(0u8..3, 0..20)
    ) {
        let text = |rows: &[u8]| rows.iter().flat_map(|row| [b'a' + row, b'\n']).collect::<Vec<u8>>();
        let entry = done(&text(&old), u64::try_from(old.len()).unwrap(), &terms());
        let expected = if new == old {
            Decision::Same
        } else if new.starts_with(&old) {
            Decision::After { rows: entry.rows, why: Why::Grown }
        } else {
            Decision::Afresh(Why::Changed)
        };
        prop_assert_eq!(decide(&entry, &text(&new), &terms()), expected);
    }
}

/// Bytes that come a few at a time.
struct Pieces<'a> {
    content: &'a [u8],
    cut: usize,
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.cut.min(self.content.len()).min(buffer.len());
        let (now, later) = self.content.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.content = later;
        Ok(length)
    }
}
