//! What the made-up market promises to everything that is fed with it.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test that cannot set up its world has failed, and what is promised here is promised to the bit"
)]

use std::collections::{BTreeMap, HashSet};

use chrono::{NaiveDate, Timelike};
use sqep::{
    Calendar, DayBar, Kind, MinuteBar, Record, Symbol,
    check::Checker,
    kind::Grid,
    record::Cell,
    symbol::Class,
    unit::{Alarm, Quanta, Turnover, Verdict},
};
use sqep_testkit::market::{
    Board, Market, Plan, PlanError, SYMBOLS_MAX, Situation, band, limits, minutes_of,
};

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn market(seed: u64, symbols: usize, days: usize, to: &str) -> Market {
    Market::new(&Plan { seed, symbols, days, to: date(to) }, &Calendar::published()).unwrap()
}

fn all_days(market: &Market) -> Vec<DayBar> {
    market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
}

/// FNV-1a over every cell of every record.
fn hash<R: Record>(mut state: u64, records: impl Iterator<Item = R>) -> u64 {
    let mut take = |value: u64| {
        for byte in value.to_le_bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for record in records {
        take(u64::try_from(record.time()).unwrap());
        take(u64::try_from(record.symbol().get()).unwrap());
        for at in 2..R::FIELDS.len() {
            take(match record.get(at) {
                Cell::Float(value) => value.to_bits(),
                Cell::Bool(value) => u64::from(value),
                Cell::Integer(value) => value,
                _ => u64::MAX,
            });
        }
    }
    state
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// A calendar of its own, so that a refreshed one does not change what is pinned.
fn weekdays() -> Calendar {
    "first,2019-01-01\nlast,2026-12-31\n".parse().unwrap()
}

#[test]
fn a_seed_gives_the_same_bars_for_ever() {
    let plan = Plan { seed: 7, symbols: 50, days: 300, to: date("2026-07-31") };
    let market = Market::new(&plan, &weekdays()).unwrap();
    assert_eq!(format!("{:016x}", hash(FNV, all_days(&market).into_iter())), "8e886e33700ccbc0");
    let minutes =
        market.securities().iter().flat_map(|security| market.minutes(security.symbol).take(241 * 5));
    assert_eq!(format!("{:016x}", hash(FNV, minutes)), "9943bbcc5a37ee29");
    assert_eq!(format!("{:016x}", hash(FNV, market.corrections(40).into_iter())), "00d6911600f357f4");
}

#[test]
fn another_seed_gives_another_market() {
    assert_ne!(all_days(&market(7, 10, 30, "2026-06-30")), all_days(&market(8, 10, 30, "2026-06-30")));
}

#[test]
fn a_larger_market_contains_the_smaller_one() {
    let small = market(3, 20, 60, "2026-06-30");
    let large = market(3, 200, 60, "2026-06-30");
    assert_eq!(all_days(&small)[..], all_days(&large)[..all_days(&small).len()]);
}

#[test]
fn a_longer_market_begins_with_the_same_days() {
    let calendar = weekdays();
    let plan = Plan { seed: 3, symbols: 100, days: 260, to: date("2026-06-30") };
    let short = Market::new(&plan, &calendar).unwrap();
    let longer = Market::new(&Plan { days: 265, to: date("2026-07-07"), ..plan }, &calendar).unwrap();
    assert_eq!(short.sessions()[..], longer.sessions()[..260]);
    for security in short.securities() {
        let days: Vec<_> = short.history(security.symbol).collect();
        let more: Vec<_> = longer.history(security.symbol).collect();
        assert_eq!(days[..], more[..days.len()], "{}", security.symbol);
    }
}

#[test]
fn the_sessions_view_and_the_symbol_view_show_the_same_days() {
    let market = market(5, 60, 40, "2026-06-30");
    let mut by_symbol = all_days(&market);
    let mut by_session: Vec<DayBar> =
        market.by_session().flat_map(|(_, days)| days.into_iter().filter_map(|day| day.bar)).collect();
    by_symbol.sort_by_key(Record::key);
    by_session.sort_by_key(Record::key);
    assert_eq!(by_symbol, by_session);
}

fn assert_sound<R: Record>(records: impl Iterator<Item = R>, kind: Kind) {
    let calendar = Calendar::published();
    let mut checker = Checker::new(&calendar);
    for record in records {
        let findings = checker.check(&record, kind);
        assert!(findings.is_empty(), "{record:?}: {findings:?}");
    }
}

#[test]
fn every_bar_passes_every_check_without_a_warning() {
    for (seed, to) in [(1, "2015-12-31"), (2, "2021-12-31"), (3, "2026-09-30")] {
        let market = market(seed, 150, 400, to);
        assert_sound(all_days(&market).into_iter(), Kind::BarDay);
        assert_sound(market.corrections(100).into_iter(), Kind::BarDay);
        let references = market.securities().iter().flat_map(|security| market.history(security.symbol));
        assert_sound(references.map(|day| day.reference), Kind::RefDay);
        let minutes =
            market.securities().iter().flat_map(|security| market.minutes(security.symbol).take(241 * 3));
        assert_sound(minutes, Kind::BarMinute(Grid::M1));
    }
}

#[test]
fn every_bar_is_already_at_the_precision_of_the_protocol() {
    let market = market(4, 100, 200, "2026-06-30");
    for bar in all_days(&market) {
        assert_eq!(bar, bar.normalised());
        for minute in minutes_of(4, &bar).into_iter().take(30) {
            assert_eq!(minute, minute.normalised());
        }
    }
}

#[test]
fn turnover_lies_between_low_and_high_times_volume() {
    let market = market(6, 300, 300, "2026-06-30");
    let nothing = Quanta { vol: 0.0, amount: 0.006 };
    for bar in all_days(&market).iter().chain(&market.corrections(300)) {
        if !Alarm::applies(bar.symbol.class()) {
            continue;
        }
        let amount = bar.amount.unwrap();
        assert!(bar.low * bar.vol - 1e-3 <= amount && amount <= bar.high * bar.vol + 1e-3, "{bar:?}");
        assert_eq!(
            amount.fract(),
            0.0,
            "whole yuan, so that a dialect in thousands of yuan loses nothing: {bar:?}"
        );
        let mut alarm = Alarm::default();
        for minute in minutes_of(6, bar).iter().take(60) {
            let MinuteBar { high, low, vol, .. } = *minute;
            alarm.add(Turnover { high, low, vol, amount: minute.amount.unwrap() }, nothing);
        }
        assert_eq!(alarm.failed(), 0, "{bar:?}");
        assert_ne!(alarm.verdict(), Verdict::Refused);
    }
}

#[test]
fn limits_are_those_of_board_and_date_around_the_ex_rights_reference_and_never_exceeded() {
    for (seed, to) in [(1, "2015-12-31"), (2, "2021-12-31"), (3, "2026-09-30")] {
        let market = market(seed, 200, 500, to);
        for security in market.securities() {
            let (mut nth, first) = (0, market.sessions()[0]);
            let unit = f64::from(i32::try_from(security.board.ticks_per_yuan()).unwrap());
            for day in market.history(security.symbol) {
                nth += u32::from(day.bar.is_some());
                let situation = Situation {
                    board: security.board,
                    date: day.reference.frame,
                    st: day.reference.st.unwrap_or(false),
                    listed: security.listed,
                    nth: if security.listed < first { 1_000 } else { nth.max(1) },
                };
                let reference = ticks(day.pre_close, unit);
                let expected = band(situation).map(|band| limits(reference, band));
                let stated = day.reference.sell_limit.zip(day.reference.buy_limit);
                assert_eq!(
                    stated.map(|(down, up)| (ticks(down, unit), ticks(up, unit))),
                    expected,
                    "{situation:?}"
                );
                if let (Some(bar), Some((down, up))) = (day.bar, stated) {
                    assert!(down <= bar.low && bar.high <= up, "{bar:?}");
                }
            }
        }
    }
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a small whole number")]
fn ticks(price: f64, unit: f64) -> i64 {
    (price * unit).round() as i64
}

#[test]
fn an_ex_date_lowers_the_price_and_raises_the_factor_by_the_same_ratio() {
    let market = market(9, 200, 500, "2026-06-30");
    let mut ex_dates = 0;
    for security in market.securities() {
        let mut before: Option<(f64, f64)> = None;
        for day in market.history(security.symbol) {
            let factor = day.reference.adjust.unwrap();
            if let Some((close, old)) = before.filter(|&(_, old)| (old - factor).abs() > f64::EPSILON) {
                ex_dates += 1;
                assert!(factor > old && day.pre_close < close, "{day:?}");
                assert!((factor / old - close / day.pre_close).abs() < 1e-3, "{day:?} after {close} {old}");
                assert!(day.bar.is_some(), "an ex-date waits for the end of a suspension");
            } else if let Some((close, _)) = before {
                assert_eq!(close, day.pre_close, "{day:?}");
            }
            let close = day.bar.map_or(day.pre_close, |bar| bar.close);
            before = Some((close, factor));
        }
    }
    assert!(ex_dates > 200, "{ex_dates}");
}

#[test]
fn minutes_add_up_to_their_day_exactly() {
    let mut kinds = BTreeMap::new();
    for (seed, to) in [(1, "2017-12-29"), (3, "2026-08-31")] {
        let market = market(seed, 120, 60, to);
        for bar in all_days(&market) {
            let minutes = minutes_of(seed, &bar);
            let traded = minutes.iter().filter(|minute| minute.vol > 0.0).count();
            *kinds.entry(traded.min(2) + usize::from(bar.vol >= 3_000.0) * 10).or_insert(0u32) += 1;
            assert_day(&bar, &minutes);
        }
    }
    assert!(kinds[&1] > 20, "thin days trade in one minute: {kinds:?}");
    let (fitted, given_up) = (kinds[&12], kinds.get(&11).copied().unwrap_or(0));
    assert!(given_up * 500 < fitted, "a path is found for nearly every other day: {kinds:?}");
}

fn assert_day(bar: &DayBar, minutes: &[MinuteBar]) {
    assert_eq!(minutes.len(), 241);
    assert!(minutes.windows(2).all(|pair| pair[0].frame < pair[1].frame));
    assert!(minutes.iter().all(|minute| minute.symbol == bar.symbol && minute.frame.date() == bar.frame));
    assert_eq!(minutes[0].open, bar.open, "{bar:?}");
    assert_eq!(minutes[240].close, bar.close, "{bar:?}");
    assert_eq!(minutes.iter().map(|minute| minute.high).fold(0.0, f64::max), bar.high, "{bar:?}");
    assert_eq!(minutes.iter().map(|minute| minute.low).fold(f64::INFINITY, f64::min), bar.low, "{bar:?}");
    assert_eq!(minutes.iter().map(|minute| minute.vol).sum::<f64>(), bar.vol, "{bar:?}");
    let cents: f64 = minutes.iter().map(|minute| (minute.amount.unwrap() * 100.0).round()).sum();
    assert_eq!(cents, bar.amount.unwrap() * 100.0, "{bar:?}");
    let auction = &minutes[0];
    assert!(auction.open == auction.close && auction.high == auction.low, "{auction:?}");
}

#[test]
fn the_closing_call_is_silent_where_and_since_it_exists() {
    let silent = |symbol: &str, to: &str| {
        let market = market(1, 60, 30, to);
        let symbol: Symbol = symbol.parse().unwrap();
        let minutes: Vec<MinuteBar> = market.minutes(symbol).collect();
        assert!(!minutes.is_empty());
        let call = |minute: &&MinuteBar| minute.frame.hour() == 14 && minute.frame.minute() >= 58;
        minutes.iter().filter(call).all(|minute| minute.vol == 0.0 && minute.high == minute.low)
    };
    assert!(silent("000001.SZ", "2016-06-30"));
    assert!(silent("600000.SH", "2026-06-30"));
    assert!(
        !silent("600000.SH", "2017-06-30"),
        "Shanghai's shares closed without an auction until 2018-08-20"
    );
    assert!(!silent("510010.SH", "2026-06-30"), "Shanghai's funds until 2026-07-06");
    assert!(silent("510010.SH", "2026-09-30"));
}

#[test]
fn the_market_has_every_habit_a_reader_must_survive() {
    let market = market(11, 400, 500, "2026-09-30");
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for security in market.securities() {
        for day in market.history(security.symbol) {
            for habit in habits(security.board, &day) {
                *seen.entry(habit).or_default() += 1;
            }
        }
    }
    let at_least = [
        ("closes at the upper limit", 500),
        ("closes at the lower limit", 200),
        ("one-price board", 100),
        ("suspended", 500),
        ("special treatment", 1_000),
        ("listed without limits", 50),
        ("odd lots", 5_000),
        ("hardly traded", 100),
        ("index", 2_000),
        ("fund", 2_000),
        ("Beijing", 2_000),
    ];
    for (habit, count) in at_least {
        assert!(seen.get(habit).copied().unwrap_or(0) >= count, "{habit}: {seen:?}");
    }
}

fn habits(board: Board, day: &sqep_testkit::market::MarketDay) -> Vec<&'static str> {
    let Some(bar) = day.bar else { return vec!["suspended"] };
    let class = bar.symbol.class();
    let rules = [
        ("closes at the upper limit", bar.buy_limit == Some(bar.close)),
        ("closes at the lower limit", bar.sell_limit == Some(bar.close)),
        ("one-price board", bar.high == bar.low && bar.buy_limit.is_some()),
        ("special treatment", bar.st == Some(true)),
        ("listed without limits", class == Class::Stock && bar.buy_limit.is_none()),
        ("odd lots", bar.vol % 100.0 != 0.0),
        ("hardly traded", bar.vol < 3_000.0),
        ("index", class == Class::Index && bar.adjust == Some(1.0) && bar.buy_limit.is_none()),
        ("fund", class == Class::Fund && bar.st.is_none()),
        ("Beijing", board == Board::Beijing),
    ];
    rules.into_iter().filter(|&(_, holds)| holds).map(|(habit, _)| habit).collect()
}

#[test]
fn corrections_are_as_many_as_asked_for_and_differ_from_what_they_correct() {
    let market = market(2, 30, 50, "2026-06-30");
    let first: BTreeMap<_, DayBar> = all_days(&market).into_iter().map(|bar| (bar.key(), bar)).collect();
    let corrections = market.corrections(100);
    assert!((90..=100).contains(&corrections.len()), "{}", corrections.len());
    let keys: HashSet<_> = corrections.iter().map(Record::key).collect();
    assert_eq!(keys.len(), corrections.len());
    for bar in &corrections {
        assert_ne!(first[&bar.key()], *bar);
    }
    assert_eq!(market.corrections(1_000_000).len(), first.len(), "no more than there are bars");
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_what_there_is() {
    let calendar = Calendar::published();
    let plan = Plan { seed: 1, symbols: 10, days: 10, to: date("2026-06-30") };
    let refused = |plan: Plan| Market::new(&plan, &calendar).unwrap_err();
    assert_eq!(refused(Plan { symbols: 0, ..plan }), PlanError::Symbols(0));
    assert_eq!(refused(Plan { symbols: SYMBOLS_MAX + 1, ..plan }), PlanError::Symbols(SYMBOLS_MAX + 1));
    assert!(matches!(refused(Plan { days: 0, ..plan }), PlanError::Days { wanted: 0, .. }));
    assert!(matches!(refused(Plan { days: 100_000, ..plan }), PlanError::Days { wanted: 100_000, .. }));
    assert!(matches!(refused(Plan { to: date("2100-01-01"), ..plan }), PlanError::Days { there: 0, .. }));
}
