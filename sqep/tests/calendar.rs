//! The calendar: which days are sessions, and what it says where it knows nothing.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{collections::BTreeSet, fs, path::Path};

use chrono::{Datelike, NaiveDate, Weekday};
use proptest::prelude::*;
use sqep::{
    Calendar,
    calendar::{CalendarError, Day},
};
use sqep_testkit::given::data;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn the_published_calendar_reads_and_covers_its_range() {
    let calendar = Calendar::published();
    assert_eq!(calendar.first(), date("1990-12-19"));
    assert_eq!(calendar.last(), date("2026-12-31"));
    assert_eq!(calendar.len(), 8797);
    assert!(calendar.is_session(calendar.first()), "the first day of the exchange");
    assert_eq!(calendar.sessions(calendar.first(), calendar.last()).count(), calendar.len());
}

#[test]
fn each_year_has_the_sessions_it_had() {
    let calendar = Calendar::published();
    let years = [
        (1991, 255),
        (1994, 252),
        (1999, 239),
        (2002, 237),
        (2008, 246),
        (2013, 238),
        (2019, 244),
        (2020, 243),
    ];
    let late = [(2021, 243), (2022, 242), (2023, 242), (2024, 242), (2025, 243), (2026, 242)];
    for (year, sessions) in years.into_iter().chain(late) {
        let (first, last) = (date(&format!("{year}-01-01")), date(&format!("{year}-12-31")));
        assert_eq!(calendar.sessions(first, last).count(), sessions, "{year}");
    }
}

#[test]
fn no_weekend_is_a_session_not_even_a_working_one() {
    let calendar = Calendar::published();
    assert!(calendar.sessions(calendar.first(), calendar.last()).all(|day| !weekend(day)));
    // 2024-02-04, 2024-02-18 and 2025-01-26 were working days by decree.
    for working in ["2024-02-04", "2024-02-18", "2025-01-26"] {
        assert_eq!(calendar.day(date(working)), Day::Closed, "{working}");
    }
}

#[test]
fn the_exchanges_close_longer_than_the_public_holiday_says() {
    let calendar = Calendar::published();
    // New Year's Eve of 2024 was a working day of the state, not of the exchanges.
    assert_eq!(calendar.day(date("2024-02-09")), Day::Closed);
    assert_eq!(calendar.day(date("2024-02-08")), Day::Session);
    assert_eq!(calendar.day(date("2024-02-19")), Day::Session);
    // The extended holiday of 2020.
    assert_eq!(calendar.day(date("2020-01-31")), Day::Closed);
    assert_eq!(calendar.day(date("2020-02-03")), Day::Session);
}

#[test]
fn beyond_its_range_it_says_so_and_weekends_stay_closed() {
    let calendar = Calendar::published();
    assert_eq!(calendar.day(date("1990-12-18")), Day::Closed, "before the first session there is none");
    assert_eq!(calendar.day(NaiveDate::MIN), Day::Closed);
    assert_eq!(calendar.day(date("2027-01-01")), Day::Unknown, "a Friday after the last day known");
    assert_eq!(calendar.day(date("2027-01-02")), Day::Closed, "a Saturday");
    assert!(!calendar.is_session(date("2027-01-04")));
}

#[test]
fn sessions_are_cut_to_what_is_asked_and_known() {
    let calendar = Calendar::published();
    let days: Vec<NaiveDate> = calendar.sessions(date("2024-02-07"), date("2024-02-20")).collect();
    assert_eq!(days, ["2024-02-07", "2024-02-08", "2024-02-19", "2024-02-20"].map(date));
    assert_eq!(calendar.sessions(date("1980-01-01"), date("1990-12-20")).count(), 2);
    assert_eq!(calendar.sessions(date("2026-12-31"), NaiveDate::MAX).count(), 1);
    assert_eq!(calendar.sessions(date("2024-02-20"), date("2024-02-07")).count(), 0);
}

#[test]
fn a_closed_line_that_closes_nothing_is_a_mistake_in_the_file() {
    let text = include_str!("../../schemas/calendar/sse.csv");
    let (calendar, mut seen) = (Calendar::published(), BTreeSet::new());
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.contains(',')) {
        let day = date(line);
        assert!(!weekend(day), "{line} is a weekend");
        assert!(calendar.first() < day && day <= calendar.last(), "{line} is outside the calendar");
        assert!(seen.insert(day), "{line} is listed twice");
    }
    assert_eq!(seen.iter().copied().max(), Some(date("2026-10-07")));
}

#[test]
fn a_calendar_that_does_not_read_names_the_line() {
    let broken = |text: &str| text.parse::<Calendar>().unwrap_err();
    assert_eq!(broken("last,2024-01-05"), CalendarError::Bound("first"));
    assert_eq!(broken("first,2024-01-01\n"), CalendarError::Bound("last"));
    let error = broken("first,2024-01-01\n# fine\n\nlast,soon\n");
    assert_eq!(error, CalendarError::Line { line: 4, text: "last,soon".to_owned() });
    assert!(error.to_string().starts_with("calendar line 4: \"last,soon\""));
    assert_eq!(broken("2024-13-01"), CalendarError::Line { line: 1, text: "2024-13-01".to_owned() });
    assert_eq!(
        broken("holiday,2024-01-01"),
        CalendarError::Line { line: 1, text: "holiday,2024-01-01".to_owned() }
    );
}

#[test]
fn a_calendar_of_ones_own_reads() {
    let calendar: Calendar = "# mine\nfirst,2024-01-01\n 2024-01-01 \nlast,2024-01-07".parse().unwrap();
    assert_eq!((calendar.len(), calendar.is_empty()), (4, false));
    let empty: Calendar = "first,2024-01-06\nlast,2024-01-07".parse().unwrap();
    assert!(empty.is_empty());
}

proptest! {
    #[test]
    fn a_day_is_exactly_one_of_session_closed_unknown(offset in -20_000i64..40_000) {
        let calendar = Calendar::published();
        let day = calendar.first() + chrono::TimeDelta::days(offset);
        let listed = calendar.sessions(day, day).next() == Some(day);
        prop_assert_eq!(calendar.day(day) == Day::Session, listed);
        prop_assert_eq!(calendar.day(day) == Day::Unknown, day > calendar.last() && !weekend(day));
    }
}

fn weekend(day: NaiveDate) -> bool {
    matches!(day.weekday(), Weekday::Sat | Weekday::Sun)
}

/// The days of the bars of a file whose lines hold a date in this column.
fn days_of(path: &Path, column: usize) -> Vec<NaiveDate> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = String::from_utf8_lossy(&bytes);
    let field = |line: &str| line.split(',').nth(column).map(|cell| cell.replace(['/', '-'], "-"));
    let parse = |cell: String| {
        NaiveDate::parse_from_str(&cell, "%Y-%m-%d")
            .or_else(|_| NaiveDate::parse_from_str(&cell, "%Y%m%d"))
            .ok()
    };
    text.lines().skip(1).filter_map(field).filter_map(parse).collect()
}

#[test]
fn every_day_of_the_real_indices_is_a_session_and_none_is_missing() {
    let Some(data) = data() else { return };
    let calendar = Calendar::published();
    let files = ["dialects/netease163_gbk/index_000001.csv", "baostock/bom_qmtcodes/000300.SH.csv"];
    for file in files {
        let days: BTreeSet<NaiveDate> = days_of(&data.join(file), 0).into_iter().collect();
        let (first, last) = (*days.first().unwrap(), *days.last().unwrap());
        let sessions: BTreeSet<NaiveDate> = calendar.sessions(first, last).collect();
        assert_eq!(
            days.difference(&sessions).collect::<Vec<_>>(),
            Vec::<&NaiveDate>::new(),
            "{file}: not sessions"
        );
        assert_eq!(
            sessions.difference(&days).collect::<Vec<_>>(),
            Vec::<&NaiveDate>::new(),
            "{file}: missing"
        );
    }
}

#[test]
fn it_agrees_with_the_vendors_calendar_day_by_day() {
    let Some(data) = data() else { return };
    let text = fs::read_to_string(data.join("tushare/meta/trade_cal.csv")).unwrap();
    let (calendar, mut days) = (Calendar::published(), 0);
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(calendar.is_session(date(cells[1])), cells[2] == "1", "{line}");
        days += 1;
    }
    assert!(days > 1000, "{days} days compared");
}
