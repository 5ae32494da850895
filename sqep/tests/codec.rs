//! Payloads: exact round trips, entries of the right size, and no harm from any bytes.

use chrono::{NaiveDate, NaiveDateTime};
use proptest::prelude::*;
use sqep::{
    DayBar, DayFeature, Exchange, MinuteBar, MinuteFeature, Record, RefDay, Symbol,
    codec::{
        CodecError, Encoding, Limits, decode, decode_within, encode,
        pack::{PAYLOAD_BYTES_MAX, Packer},
    },
};

/// Any float that could pass the checks, to the bit: not NaN, not infinite.
fn float() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
}

fn option() -> impl Strategy<Value = Option<f64>> {
    proptest::option::of(float())
}

fn symbol() -> impl Strategy<Value = Symbol> {
    (0..3usize, 0..1_000_000u32)
        .prop_map(|(exchange, code)| Symbol::new(Exchange::ALL[exchange], code).expect("code"))
}

fn date() -> impl Strategy<Value = NaiveDate> {
    (0..40_000i64).prop_map(|days| NaiveDate::default() + chrono::TimeDelta::days(days))
}

fn minute() -> impl Strategy<Value = NaiveDateTime> {
    // From 1992: before, summer time leaves one hour a year out.
    (8_100..40_000i64, 0..1440i64).prop_map(|(days, minutes)| {
        NaiveDate::default().and_hms_opt(0, 0, 0).expect("midnight")
            + chrono::TimeDelta::days(days)
            + chrono::TimeDelta::minutes(minutes)
    })
}

prop_compose! {
    fn day_bar()(symbol in symbol(), frame in date(), prices in [float(), float(), float(), float(), float()],
                 rest in [option(), option(), option(), option()], st in any::<Option<bool>>()) -> DayBar {
        let ([open, high, low, close, vol], [amount, adjust, buy_limit, sell_limit]) = (prices, rest);
        DayBar { symbol, frame, open, high, low, close, vol, amount, adjust, st, buy_limit, sell_limit }
    }
}

prop_compose! {
    fn minute_bar()(symbol in symbol(), frame in minute(), prices in [float(), float(), float(), float(), float()],
                    amount in option()) -> MinuteBar {
        let [open, high, low, close, vol] = prices;
        MinuteBar { symbol, frame, open, high, low, close, vol, amount }
    }
}

prop_compose! {
    fn ref_day()(symbol in symbol(), frame in date(), rest in [option(), option(), option()],
                 st in any::<Option<bool>>()) -> RefDay {
        let [adjust, buy_limit, sell_limit] = rest;
        RefDay { symbol, frame, adjust, st, buy_limit, sell_limit }
    }
}

/// Features: any float, and null for some.
fn features() -> impl Strategy<Value = [f64; 45]> {
    proptest::collection::vec(option(), 45)
        .prop_map(|all| std::array::from_fn(|at| all[at].unwrap_or(f64::NAN)))
}

prop_compose! {
    fn day_feature()(symbol in symbol(), frame in date(), values in features(), valid in any::<bool>(),
                     set in any::<u32>(), bar_version in any::<u64>()) -> DayFeature {
        DayFeature { symbol, frame, values, valid, set, bar_version }
    }
}

prop_compose! {
    fn minute_feature()(symbol in symbol(), frame in minute(), values in features(), valid in any::<bool>(),
                        set in any::<u32>(), bar_version in any::<u64>()) -> MinuteFeature {
        MinuteFeature { symbol, frame, values, valid, set, bar_version }
    }
}

/// Equal to the bit: `==` would take -0.0 for 0.0.
fn same<R: Record>(left: &[R], right: &[R]) -> bool {
    left.len() == right.len() && format!("{left:?}") == format!("{right:?}")
}

fn round_trip<R: Record>(records: &[R], versions: Option<Vec<u64>>) -> Result<(), TestCaseError> {
    let versions = versions.map(|all| all.into_iter().cycle().take(records.len()).collect::<Vec<_>>());
    for encoding in Encoding::ALL {
        let mut payload = Vec::new();
        encode(encoding, records, versions.as_deref(), &mut payload).expect("encodes");
        let limits = Limits { records_max: 10_000, payload_bytes_max: 1 << 26 };
        let decoded = decode_within::<R>(encoding, &payload, limits).expect("decodes");
        prop_assert!(same(&decoded.records, records), "{encoding}: {:?}", decoded.records);
        let expected = versions.clone().filter(|_| !records.is_empty() || encoding == Encoding::Arrow);
        prop_assert_eq!(decoded.versions, expected);
    }
    Ok(())
}

fn versions() -> impl Strategy<Value = Option<Vec<u64>>> {
    proptest::option::of(proptest::collection::vec(any::<u64>(), 1..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn day_bars_come_back_to_the_bit(bars in proptest::collection::vec(day_bar(), 0..20), versions in versions()) {
        round_trip(&bars, versions)?;
    }

    #[test]
    fn minute_bars_come_back_to_the_bit(bars in proptest::collection::vec(minute_bar(), 0..20), versions in versions()) {
        round_trip(&bars, versions)?;
    }

    #[test]
    fn ref_days_come_back_to_the_bit(days in proptest::collection::vec(ref_day(), 0..20), versions in versions()) {
        round_trip(&days, versions)?;
    }

    #[test]
    fn day_features_come_back_to_the_bit(rows in proptest::collection::vec(day_feature(), 0..8), versions in versions()) {
        round_trip(&rows, versions)?;
    }

    #[test]
    fn minute_features_come_back_to_the_bit(
        rows in proptest::collection::vec(minute_feature(), 0..8), versions in versions()
    ) {
        round_trip(&rows, versions)?;
    }

    #[test]
    fn features_are_equal_when_their_bits_are_and_null_equals_null(
        row in day_feature(), at in 0..45usize, other in float()
    ) {
        let mut changed = row;
        changed.values[at] = f64::from_bits(0x7ff8_0000_0000_0001);
        let null = row.values[at].is_nan();
        prop_assert_eq!(changed == row, null);
        changed.values[at] = other;
        prop_assert_eq!(changed == row, !null && other.to_bits() == row.values[at].to_bits());
    }

    #[test]
    fn any_bytes_decode_or_say_why(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for encoding in Encoding::ALL {
            drop(decode::<DayBar>(encoding, &bytes));
            drop(decode::<MinuteBar>(encoding, &bytes));
            drop(decode::<DayFeature>(encoding, &bytes));
        }
    }

    /// Bytes that are almost right reach deeper than noise.
    #[test]
    fn damaged_payloads_decode_or_say_why(
        bars in proptest::collection::vec(minute_bar(), 1..5),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        for encoding in Encoding::ALL {
            let mut payload = Vec::new();
            encode(encoding, &bars, None, &mut payload).expect("encodes");
            for (at, byte) in &damage {
                let at = at.index(payload.len());
                payload[at] = *byte;
            }
            if let Some(cut) = cut {
                payload.truncate(cut.index(payload.len()));
            }
            if let Ok(decoded) = decode::<MinuteBar>(encoding, &payload) {
                prop_assert!(decoded.records.len() <= Limits::WIRE.records_max);
            }
        }
    }
}

fn bars(count: u32) -> Vec<DayBar> {
    let day = NaiveDate::from_ymd_opt(2024, 3, 1).expect("date");
    let bar = |code| DayBar {
        symbol: Symbol::new(Exchange::SZ, code).expect("code"),
        frame: day,
        open: 10.0 + f64::from(code) / 100.0,
        high: 12.5,
        low: 9.25,
        close: 11.11,
        vol: 1_234_500.0,
        amount: Some(13_579_500.25),
        adjust: Some(1.25),
        st: Some(false),
        buy_limit: None,
        sell_limit: None,
    };
    (0..count).map(bar).collect()
}

#[test]
fn entries_are_full_and_never_over_the_limit() {
    let bars = bars(20_000);
    for encoding in Encoding::ALL {
        let packed = Packer::new(encoding, PAYLOAD_BYTES_MAX).pack(&bars, None).expect("packs");
        assert_eq!(packed.iter().map(|entry| entry.records).sum::<usize>(), bars.len());
        let sizes: Vec<usize> = packed.iter().map(|entry| entry.payload.len()).collect();
        assert!(sizes.iter().all(|&size| size <= PAYLOAD_BYTES_MAX), "{encoding}: {sizes:?}");
        let full = sizes.len().saturating_sub(3);
        assert!(
            sizes[2..full].iter().all(|&size| size > PAYLOAD_BYTES_MAX * 9 / 10),
            "{encoding}: {sizes:?}"
        );
        let decoded: Vec<DayBar> = packed
            .iter()
            .flat_map(|entry| decode::<DayBar>(encoding, &entry.payload).expect("decodes").records)
            .collect();
        assert_eq!(decoded, bars, "{encoding}");
    }
}

#[test]
fn an_entry_holds_a_key_once() {
    let mut bars = bars(10);
    bars.extend(bars.clone());
    bars.swap(0, 5);
    let packed = Packer::new(Encoding::Arrow, PAYLOAD_BYTES_MAX).pack(&bars, None).expect("packs");
    assert_eq!(packed.iter().map(|entry| entry.records).collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn payloads_over_the_limits_are_refused() {
    let bars = bars(10_001);
    for encoding in Encoding::ALL {
        let mut payload = Vec::new();
        encode(encoding, &bars, None, &mut payload).expect("encodes");
        let limits = Limits { payload_bytes_max: payload.len(), ..Limits::WIRE };
        let refused = decode_within::<DayBar>(encoding, &payload, limits).expect_err("too many");
        assert!(refused.to_string().contains("10001 is over the limit of 10000"), "{encoding}: {refused}");
        let limits = Limits { payload_bytes_max: payload.len() - 1, records_max: 20_000 };
        let refused = decode_within::<DayBar>(encoding, &payload, limits).expect_err("too large");
        assert!(matches!(refused, CodecError::Limit { what: "payload bytes", .. }), "{encoding}: {refused}");
    }
}

#[test]
fn a_missing_nullable_field_is_null_and_any_other_an_error() {
    let json =
        br#"[{"symbol":2000001,"frame":"2024-03-01","open":1,"high":2,"low":1,"close":2,"vol":3,"new":[1]}]"#;
    let bar = decode::<DayBar>(Encoding::Json, json).expect("decodes").records[0];
    assert_eq!((bar.amount, bar.st, bar.close), (None, None, 2.0));
    let json = br#"[{"symbol":2000001,"frame":"2024-03-01","open":1,"high":2,"low":1,"vol":3}]"#;
    let error = decode::<DayBar>(Encoding::Json, json).expect_err("no close");
    assert!(error.to_string().contains("field \"close\" of record 1 is missing"), "{error}");
    let error = decode::<DayBar>(Encoding::Csv, b"2000001,2024-03-01,1,2,1,,3,,,,,\n").expect_err("no close");
    assert!(error.to_string().contains("field \"close\" of record 1 is missing"), "{error}");
}

#[test]
fn minutes_of_another_offset_are_the_same_instant() {
    let row = |frame: &str| {
        let json = format!(
            r#"[{{"symbol":1600000,"frame":"{frame}","open":1,"high":1,"low":1,"close":1,"vol":0}}]"#
        );
        decode::<MinuteBar>(Encoding::Json, json.as_bytes()).expect("decodes").records[0].frame
    };
    assert_eq!(row("2024-03-01T09:31:00+08:00"), row("2024-03-01T01:31:00Z"));
}
