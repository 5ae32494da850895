//! Every kind has its table, and what goes in comes out to the bit.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use sqep::{
    DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay,
    record::{Cell, Type},
};
use sqep_testkit::TestClickHouse;

use crate::common::{held, sink, write};

/// Floats whose last bit shows whether a store is exact.
const EXACT: [f64; 5] = [0.1 + 0.2, 263.150_000_000_000_03, 5e-324, 1.797_693_134_862_315_7e308, 1.0 / 3.0];

/// A record all of whose fields hold something, or all of whose nullable ones are null; without `susp_gap` a row of features
/// is a withdrawal, which the views leave out.
fn made<R: Record>(full: bool) -> R {
    let day: chrono::NaiveDate = if full { "2025-01-02" } else { "1991-07-01" }.parse().unwrap();
    let mut record = R::blank();
    for (at, field) in R::FIELDS.iter().enumerate() {
        let cell = match field.kind {
            _ if field.nullable && !full && field.name != "susp_gap" => Cell::Null,
            Type::Symbol => Cell::Symbol("000001.SZ".parse().unwrap()),
            Type::Date => Cell::Date(day),
            Type::Minute => Cell::Minute(day.and_hms_opt(10, 30, 0).unwrap()),
            Type::Float => Cell::Float(EXACT[at % EXACT.len()]),
            Type::Bool => Cell::Bool(full),
            Type::Integer => Cell::Integer(u64::from(u32::MAX)),
        };
        record.set(at, cell);
    }
    record
}

async fn comes_back<R: Record>(server: &TestClickHouse, kind: Kind) {
    let records = [(made::<R>(true), 7), (made::<R>(false), u64::MAX)];
    write(&mut sink::<R>(server, kind), &records).await.unwrap();
    let found = held::<R>(server, kind).unwrap();
    let expected = records.iter().map(|&(record, version)| (record.key(), (version, record))).collect();
    assert_eq!(found, expected, "{kind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_its_table_and_every_value_comes_back_to_the_bit() {
    let server = TestClickHouse::start().unwrap();
    for kind in Kind::ALL {
        match kind {
            Kind::BarDay => comes_back::<DayBar>(&server, kind).await,
            Kind::BarMinute(_) => comes_back::<MinuteBar>(&server, kind).await,
            Kind::RefDay => comes_back::<RefDay>(&server, kind).await,
            Kind::FeatureDay => comes_back::<DayFeature>(&server, kind).await,
            Kind::FeatureMinute => comes_back::<MinuteFeature>(&server, kind).await,
        }
    }
}
