//! Each rule with a row that passes and one that breaks it, and the unit alarm on known turnovers.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::sync::LazyLock;

use chrono::{NaiveDate, NaiveDateTime};
use proptest::prelude::*;
use sqep::{
    Calendar, DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Reason, Record, RefDay, Severity,
    bar::{price_limit, round},
    check::Checker,
    kind::Grid,
    unit::{Alarm, Quanta, Turnover, Verdict},
};

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A bar no rule minds.
fn day() -> DayBar {
    DayBar {
        symbol: "000001.SZ".parse().unwrap(),
        frame: date("2024-03-01"),
        open: 10.5,
        high: 10.6,
        low: 10.4,
        close: 10.55,
        vol: 100_000.0,
        amount: Some(1_053_000.0),
        adjust: Some(120.5),
        st: Some(false),
        buy_limit: Some(11.58),
        sell_limit: Some(9.48),
    }
}

fn minute(frame: &str) -> MinuteBar {
    let frame = NaiveDateTime::parse_from_str(frame, "%Y-%m-%d %H:%M:%S").unwrap();
    let DayBar { symbol, open, high, low, close, vol, amount, .. } = day();
    MinuteBar { symbol, frame, open, high, low, close, vol, amount }
}

fn reference() -> RefDay {
    let DayBar { symbol, frame, adjust, st, buy_limit, sell_limit, .. } = day();
    RefDay { symbol, frame, adjust, st, buy_limit, sell_limit }
}

fn findings<R: Record>(record: &R, kind: Kind) -> Vec<(Reason, String)> {
    static CALENDAR: LazyLock<Calendar> = LazyLock::new(Calendar::published);
    let mut checker = Checker::new(&CALENDAR);
    checker.check(record, kind).iter().map(|finding| (finding.reason, finding.field.clone())).collect()
}

fn found<R: Record>(record: &R, kind: Kind) -> Vec<Reason> {
    findings(record, kind).into_iter().map(|(reason, _)| reason).collect()
}

/// What the rules say of the good bar after `change`.
fn changed(change: impl Fn(&mut DayBar)) -> Vec<(Reason, String)> {
    let mut bar = day();
    change(&mut bar);
    findings(&bar, Kind::BarDay)
}

fn only(reason: Reason, field: &str) -> Vec<(Reason, String)> {
    vec![(reason, field.to_owned())]
}

#[test]
fn a_good_record_of_each_kind_has_no_finding() {
    assert_eq!(findings(&day(), Kind::BarDay), []);
    assert_eq!(findings(&minute("2024-03-01 09:31:00"), Kind::BarMinute(Grid::M1)), []);
    assert_eq!(findings(&reference(), Kind::RefDay), []);
}

#[test]
fn unknown_is_never_a_fault() {
    let unknown = changed(|bar| {
        (bar.amount, bar.adjust, bar.st) = (None, None, None);
        (bar.buy_limit, bar.sell_limit) = (None, None);
    });
    assert_eq!(unknown, []);
    let RefDay { symbol, frame, .. } = reference();
    let nothing = RefDay { symbol, frame, adjust: None, st: None, buy_limit: None, sell_limit: None };
    assert_eq!(findings(&nothing, Kind::RefDay), []);
}

/// Puts a number into one field.
type Setter = fn(&mut DayBar, f64);

#[test]
fn a_number_that_is_none_is_not_finite() {
    for broken in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let setters: [(&str, Setter); 9] = [
            ("open", |bar, value| bar.open = value),
            ("high", |bar, value| bar.high = value),
            ("low", |bar, value| bar.low = value),
            ("close", |bar, value| bar.close = value),
            ("vol", |bar, value| bar.vol = value),
            ("amount", |bar, value| bar.amount = Some(value)),
            ("adjust", |bar, value| bar.adjust = Some(value)),
            ("buy_limit", |bar, value| bar.buy_limit = Some(value)),
            ("sell_limit", |bar, value| bar.sell_limit = Some(value)),
        ];
        for (field, set) in setters {
            let reasons = changed(|bar| set(bar, broken));
            let reason = if field == "adjust" { Reason::AdjustNotPositive } else { Reason::NotFinite };
            assert!(reasons.contains(&(reason, field.to_owned())), "{field} {broken}: {reasons:?}");
        }
    }
}

#[test]
fn a_price_is_above_zero() {
    let unlimited = |change: fn(&mut DayBar)| {
        changed(|bar| {
            (bar.buy_limit, bar.sell_limit) = (None, None);
            change(bar);
        })
    };
    assert_eq!(unlimited(|bar| bar.low = 0.001), []);
    assert_eq!(unlimited(|bar| bar.low = 0.0), only(Reason::PriceNotPositive, "low"));
    assert_eq!(unlimited(|bar| bar.low = -0.01), only(Reason::PriceNotPositive, "low"));
    let zero = unlimited(|bar| (bar.open, bar.high, bar.low, bar.close) = (0.0, 0.0, 0.0, 0.0));
    assert_eq!(zero, only(Reason::PriceNotPositive, "open"));
    assert_eq!(unlimited(|bar| bar.sell_limit = Some(0.001)), []);
    assert_eq!(unlimited(|bar| bar.sell_limit = Some(-1.0)), only(Reason::PriceNotPositive, "sell_limit"));
    let zero_limit = changed(|bar| bar.buy_limit = Some(0.0));
    assert_eq!(zero_limit.first(), Some(&(Reason::PriceNotPositive, "buy_limit".to_owned())));
}

#[test]
fn low_and_high_enclose_open_and_close() {
    let breaks: [fn(&mut DayBar); 4] =
        [|bar| bar.open = 10.61, |bar| bar.open = 10.39, |bar| bar.close = 10.61, |bar| bar.close = 10.39];
    for change in breaks {
        assert_eq!(changed(change), only(Reason::OhlcOrder, "high"));
    }
    assert_eq!(changed(|bar| (bar.high, bar.low) = (bar.low, bar.high)), only(Reason::OhlcOrder, "high"));
    assert_eq!(changed(|bar| (bar.open, bar.high, bar.low) = (10.55, 10.55, 10.55)), [], "one price all day");
}

#[test]
fn counts_are_not_negative() {
    assert_eq!(changed(|bar| bar.vol = -1.0), only(Reason::Negative, "vol"));
    assert_eq!(changed(|bar| bar.amount = Some(-0.01)), only(Reason::Negative, "amount"));
    assert_eq!(changed(|bar| (bar.vol, bar.amount) = (0.0, Some(0.0))), [], "a quiet minute has neither");
}

#[test]
fn a_day_is_a_session() {
    assert_eq!(
        changed(|bar| bar.frame = date("2024-03-02")),
        only(Reason::NotASession, "frame"),
        "a Saturday"
    );
    assert_eq!(
        changed(|bar| bar.frame = date("2024-02-18")),
        only(Reason::NotASession, "frame"),
        "a working Sunday"
    );
    assert_eq!(
        changed(|bar| bar.frame = date("2024-02-12")),
        only(Reason::NotASession, "frame"),
        "a holiday"
    );
    assert_eq!(
        changed(|bar| bar.frame = date("1990-12-18")),
        only(Reason::NotASession, "frame"),
        "before the first"
    );
    assert_eq!(changed(|bar| bar.frame = date("1990-12-19")), []);
    assert_eq!(found(&minute("2024-03-02 09:31:00"), Kind::BarMinute(Grid::M1)), [Reason::NotASession]);
    let weekend = RefDay { frame: date("2024-03-03"), ..reference() };
    assert_eq!(found(&weekend, Kind::RefDay), [Reason::NotASession]);
}

#[test]
fn a_weekday_beyond_the_calendar_passes_and_is_counted() {
    assert_eq!(changed(|bar| bar.frame = date("2027-01-04")), only(Reason::BeyondCalendar, "frame"));
    assert_eq!(Reason::BeyondCalendar.severity(), Severity::Warn);
    assert_eq!(
        changed(|bar| bar.frame = date("2027-01-02")),
        only(Reason::NotASession, "frame"),
        "a Saturday is known"
    );
}

#[test]
fn a_factor_is_positive_and_that_of_an_index_is_one() {
    for adjust in [0.0, -1.0] {
        assert_eq!(changed(|bar| bar.adjust = Some(adjust)), only(Reason::AdjustNotPositive, "adjust"));
    }
    let index = |adjust: Option<f64>| {
        changed(|bar| (bar.symbol, bar.adjust) = ("000001.SH".parse().unwrap(), adjust))
    };
    assert_eq!(index(Some(1.0)), []);
    assert_eq!(index(None), []);
    assert_eq!(index(Some(1.5)), only(Reason::AdjustNotPositive, "adjust"));
}

#[test]
fn other_currencies_and_bonds_are_refused_for_every_kind() {
    for (text, reason) in [
        ("900901.SH", Reason::Currency),
        ("200002.SZ", Reason::Currency),
        ("201872.SZ", Reason::Currency),
        ("113050.SH", Reason::Unit),
        ("123001.SZ", Reason::Unit),
        ("204001.SH", Reason::Unit),
    ] {
        let symbol = text.parse().unwrap();
        assert_eq!(changed(|bar| bar.symbol = symbol), only(reason, "symbol"), "{text}");
        let minute = MinuteBar { symbol, ..minute("2024-03-01 15:00:00") };
        assert_eq!(found(&minute, Kind::BarMinute(Grid::M1)), [reason], "{text}");
        assert_eq!(found(&RefDay { symbol, ..reference() }, Kind::RefDay), [reason], "{text}");
    }
}

#[test]
fn a_price_outside_the_limits_warns_half_a_tick_is_forgiven() {
    assert_eq!(changed(|bar| bar.buy_limit = Some(10.6)), [], "limit-up");
    assert_eq!(changed(|bar| bar.sell_limit = Some(10.4)), [], "limit-down");
    assert_eq!(changed(|bar| bar.buy_limit = Some(10.595)), [], "half a tick");
    assert_eq!(changed(|bar| bar.buy_limit = Some(10.59)), only(Reason::OutsideLimits, "high"));
    assert_eq!(changed(|bar| bar.sell_limit = Some(10.41)), only(Reason::OutsideLimits, "low"));
    assert_eq!(Reason::OutsideLimits.severity(), Severity::Warn);
}

#[test]
fn a_record_on_a_stream_of_another_kind_does_not_fit() {
    for kind in Kind::ALL {
        let bars = [DayBar::fits(kind), MinuteBar::fits(kind), RefDay::fits(kind)];
        let fits = [bars.as_slice(), &[DayFeature::fits(kind), MinuteFeature::fits(kind)]].concat();
        assert_eq!(fits.iter().filter(|&&fits| fits).count(), 1, "{kind}");
    }
    assert_eq!(found(&minute("2024-03-01 09:31:00"), Kind::BarDay), [Reason::FrameIllegal]);
}

/// The labels of one day that a grid lets pass, as `HH:MM`.
fn legal(grid: Grid) -> Vec<String> {
    let labels = (0..24 * 60).map(|minute| format!("{:02}:{:02}", minute / 60, minute % 60));
    let passes =
        |label: &String| found(&minute(&format!("2024-03-01 {label}:00")), Kind::BarMinute(grid)).is_empty();
    labels.filter(passes).collect()
}

#[test]
fn a_day_has_241_one_minute_labels_with_the_opening_auction() {
    let labels = legal(Grid::M1);
    assert_eq!(labels.len(), 241);
    assert_eq!(labels[..2], ["09:30", "09:31"]);
    assert_eq!(labels[120..122], ["11:30", "13:01"], "no 13:00: labels are the ends of minutes");
    assert_eq!(labels[240], "15:00", "no after-hours trading");
}

#[test]
fn longer_grids_have_48_16_8_and_4_labels_and_no_auction() {
    for (grid, count, first) in
        [(Grid::M5, 48, "09:35"), (Grid::M15, 16, "09:45"), (Grid::M30, 8, "10:00"), (Grid::M60, 4, "10:30")]
    {
        let labels = legal(grid);
        assert_eq!((labels.len(), labels[0].as_str()), (count, first));
        assert!(labels.contains(&"11:30".to_owned()) && labels.contains(&"15:00".to_owned()));
    }
    assert_eq!(legal(Grid::M60), ["10:30", "11:30", "14:00", "15:00"]);
}

#[test]
fn a_label_between_minutes_is_illegal() {
    for text in ["2024-03-01 09:31:01", "2024-03-01 09:30:59", "2024-03-01 15:00:30"] {
        assert_eq!(found(&minute(text), Kind::BarMinute(Grid::M1)), [Reason::FrameIllegal], "{text}");
    }
    let mut bar = minute("2024-03-01 09:31:00");
    bar.frame += chrono::TimeDelta::milliseconds(1);
    assert_eq!(found(&bar, Kind::BarMinute(Grid::M1)), [Reason::FrameIllegal]);
}

#[test]
fn several_faults_are_all_found_and_the_next_record_starts_clean() {
    let calendar = Calendar::published();
    let mut checker = Checker::new(&calendar);
    let broken = DayBar { low: 0.0, vol: -1.0, frame: date("2024-03-02"), sell_limit: None, ..day() };
    let reasons: Vec<Reason> =
        checker.check(&broken, Kind::BarDay).iter().map(|finding| finding.reason).collect();
    assert_eq!(reasons, [Reason::PriceNotPositive, Reason::Negative, Reason::NotASession]);
    assert_eq!(checker.check(&broken, Kind::BarDay)[0].value, "0");
    assert!(checker.check(&day(), Kind::BarDay).is_empty());
}

#[test]
fn rounding_takes_binary_noise_and_nothing_else() {
    let table: [(f64, i32, f64); 6] = [
        (3_349.955_999_999_999_7, 4, 3349.956),
        (263.150_000_000_000_03, 3, 263.15),
        (595_147.000_000_000_1, 2, 595_147.0),
        (0.001, 3, 0.001),
        (1e300, 3, 1e300),
        (1e12 + 0.25, 0, 1e12),
    ];
    for (noisy, decimals, clean) in table {
        assert_eq!(round(noisy, decimals).to_bits(), clean.to_bits(), "{noisy}");
    }
}

#[test]
fn a_normalised_bar_keeps_three_decimals_and_an_index_four() {
    let noisy = DayBar { close: 10.550_400_1, vol: 100_000.4, amount: Some(1_053_000.004_9), ..day() };
    let clean = noisy.normalised();
    assert_eq!((clean.close, clean.vol, clean.amount), (10.55, 100_000.0, Some(1_053_000.0)));
    let index = DayBar { symbol: "000300.SH".parse().unwrap(), close: 10.550_412_3, ..day() };
    assert_eq!(index.normalised().close.to_bits(), 10.5504f64.to_bits());
}

#[test]
fn a_limit_that_means_none_becomes_null() {
    for none in [999_999.999, 99_999.999, 0.01, 0.0, -1.0, 105.0] {
        assert_eq!(price_limit(Some(none), 10.5), None, "{none}");
    }
    assert_eq!(price_limit(Some(11.55), 10.5), Some(11.55));
    assert_eq!(price_limit(None, 10.5), None);
    // The upper limit of a first day (+44 %) and a lower limit of −36 % are limits.
    assert_eq!(price_limit(Some(15.12), 10.5), Some(15.12));
    assert_eq!(price_limit(Some(6.72), 10.5), Some(6.72));
}

proptest! {
    #[test]
    fn rounding_twice_is_rounding_once(value in 0.0f64..1e9, decimals in 0i32..=4) {
        let once = round(value, decimals);
        prop_assert_eq!(round(once, decimals).to_bits(), once.to_bits());
        prop_assert!((once - value).abs() <= 0.5 / 10f64.powi(decimals) + value * f64::EPSILON);
    }

    #[test]
    fn no_float_makes_a_check_panic_or_pass_as_not_a_number(bits in prop::array::uniform6(any::<u64>())) {
        let [open, high, low, close, vol, amount] = bits.map(f64::from_bits);
        let reasons = changed(|bar| {
            (bar.open, bar.high, bar.low, bar.close) = (open, high, low, close);
            (bar.vol, bar.amount) = (vol, Some(amount));
        });
        let sound = [open, high, low, close].iter().all(|price| price.is_finite() && *price > 0.0)
            && [vol, amount].iter().all(|count| count.is_finite() && *count >= 0.0)
            && low <= open.min(close)
            && open.max(close) <= high;
        let refused = reasons.iter().any(|(reason, _)| reason.severity() == Severity::Refuse);
        prop_assert_eq!(refused, !sound);
    }
}

const TUSHARE: Quanta = Quanta { vol: 1.0, amount: 1.0 };
const LOTS: Quanta = Quanta { vol: 100.0, amount: 1.0 };

/// The row of Tushare's own documentation: 000001.SZ on 2018-07-18, 525,152.77 手 and 460,697.377 千元.
const SAMPLE: Turnover =
    Turnover { high: 8.85, low: 8.69, vol: 525_152.77 * 100.0, amount: 460_697.377 * 1000.0 };

#[test]
fn the_published_sample_row_is_plausible_in_shares_and_yuan_only() {
    assert!(SAMPLE.plausible(TUSHARE));
    let wrong = [(0.01, 1.0), (1.0, 0.001), (0.01, 0.001), (100.0, 1.0), (1.0, 1000.0), (100.0, 1000.0)];
    for (vol, amount) in wrong {
        let row = Turnover { vol: SAMPLE.vol * vol, amount: SAMPLE.amount * amount, ..SAMPLE };
        assert!(!row.plausible(TUSHARE), "volume × {vol}, turnover × {amount}");
    }
}

#[test]
fn the_band_is_a_thousandth_and_the_quanta_wide() {
    let row = |low: f64, high: f64, vol: f64, amount: f64| Turnover { high, low, vol, amount };
    let table = [
        // Exactly on the edges: 0.999 · 10 · (1000 − 1) − 1 and 1.001 · 11 · (1000 + 1) + 1.
        (row(10.0, 11.0, 1000.0, 9979.1), TUSHARE, true),
        (row(10.0, 11.0, 1000.0, 9978.9), TUSHARE, false),
        (row(10.0, 11.0, 1000.0, 11_023.0), TUSHARE, true),
        (row(10.0, 11.0, 1000.0, 11_023.2), TUSHARE, false),
        // 199 shares that a source of lots wrote as one.
        (row(10.0, 10.0, 100.0, 1990.0), LOTS, true),
        (row(10.0, 10.0, 100.0, 1990.0), TUSHARE, false),
        // Less than a lot.
        (row(10.0, 10.0, 0.0, 500.0), LOTS, true),
        // Nothing traded.
        (row(10.0, 10.0, 0.0, 0.0), TUSHARE, true),
    ];
    for (row, quanta, plausible) in table {
        assert_eq!(row.plausible(quanta), plausible, "{row:?} {quanta:?}");
    }
}

fn alarm(good: u32, bad: u32, broken: Turnover) -> Alarm {
    let mut alarm = Alarm::default();
    (0..good).for_each(|_| assert!(alarm.add(SAMPLE, TUSHARE)));
    (0..bad).for_each(|_| assert!(!alarm.add(broken, TUSHARE)));
    alarm
}

#[test]
fn one_row_in_a_hundred_may_fail_two_refuse_the_whole() {
    let broken = Turnover { vol: SAMPLE.vol / 100.0, ..SAMPLE };
    assert_eq!(alarm(99, 1, broken).verdict(), Verdict::Sound);
    assert_eq!(alarm(98, 2, broken).verdict(), Verdict::Refused);
    assert_eq!(alarm(0, 1, broken).verdict(), Verdict::Refused);
    assert_eq!(alarm(0, 0, broken).verdict(), Verdict::Unchecked);
    let mut quiet = Alarm::default();
    assert!(quiet.add(Turnover { vol: 0.0, amount: 0.0, ..SAMPLE }, TUSHARE));
    assert_eq!(
        (quiet.verdict(), quiet.checked()),
        (Verdict::Unchecked, 0),
        "a row that says nothing is not counted"
    );
}

#[test]
fn merged_alarms_count_as_one() {
    let broken = Turnover { vol: SAMPLE.vol / 100.0, ..SAMPLE };
    let mut whole = alarm(60, 0, broken);
    whole.merge(&alarm(39, 1, broken));
    assert_eq!((whole.checked(), whole.failed(), whole.verdict()), (100, 1, Verdict::Sound));
    whole.merge(&alarm(0, 1, broken));
    assert_eq!(whole.verdict(), Verdict::Refused);
}

#[test]
fn the_letter_names_what_is_likely_wrong() {
    let lots = Turnover { vol: SAMPLE.vol / 100.0, ..SAMPLE };
    assert!(alarm(0, 10, lots).guess().contains("手"));
    let thousands = Turnover { amount: SAMPLE.amount / 1000.0, ..SAMPLE };
    assert!(alarm(0, 10, thousands).guess().contains("千元"));
    let both = Turnover { vol: SAMPLE.vol / 100.0, amount: SAMPLE.amount / 1000.0, ..SAMPLE };
    let guess = alarm(0, 10, both).guess();
    assert!(guess.contains("手") && guess.contains("千元"), "{guess}");
    let adjusted = Turnover { high: SAMPLE.high * 0.7, low: SAMPLE.low * 0.7, ..SAMPLE };
    assert!(alarm(0, 10, adjusted).guess().contains("复权"));
}

#[test]
fn the_alarm_is_for_stocks_and_funds() {
    for (text, applies) in [
        ("000001.SZ", true),
        ("920000.BJ", true),
        ("510300.SH", true),
        ("000001.SH", false),
        ("900901.SH", false),
        ("113050.SH", false),
    ] {
        let symbol: sqep::Symbol = text.parse().unwrap();
        assert_eq!(Alarm::applies(symbol.class()), applies, "{text}");
    }
}

fn feature() -> MinuteFeature {
    MinuteFeature {
        symbol: "600000.SH".parse().unwrap(),
        frame: NaiveDate::from_ymd_opt(2024, 3, 1).and_then(|day| day.and_hms_opt(9, 31, 0)).unwrap(),
        values: std::array::from_fn(|at| if at < 20 { f64::NAN } else { -1.5 }),
        set: 1,
        ..MinuteFeature::blank()
    }
}

#[test]
fn features_are_finite_or_null_of_a_minute_and_of_a_set() {
    let kind = Kind::FeatureMinute;
    assert_eq!(findings(&feature(), kind), []);
    let mut infinite = feature();
    infinite.values[7] = f64::NEG_INFINITY;
    assert_eq!(found(&infinite, kind), [Reason::NotFinite]);
    assert_eq!(found(&MinuteFeature { set: 0, ..feature() }, kind), [Reason::ValueIllegal]);
    for (hour, minute) in [(9, 30), (11, 31), (13, 0)] {
        let frame = feature().frame.date().and_hms_opt(hour, minute, 0).unwrap();
        assert_eq!(found(&MinuteFeature { frame, ..feature() }, kind), [Reason::FrameIllegal]);
    }
    let frame = NaiveDate::from_ymd_opt(2024, 3, 2).unwrap();
    let day = DayFeature { symbol: feature().symbol, frame, set: 1, ..DayFeature::blank() };
    assert_eq!(found(&day, Kind::FeatureDay), [Reason::NotASession]);
}
