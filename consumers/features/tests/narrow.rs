//! An archive of features in 32 bits beside one of bars: `verify` holds it to what 32 bits can say, and to no less.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{path::Path, sync::Arc};

use sqep::{Batch, Calendar, DayBar, DayFeature, EntryId, Kind, Record, Row, Sink};
use sqep_features::{
    DayFeatures,
    verify::{VerifyArgs, each, verify},
};
use sqep_parquet::{Config, Floats, open};
use sqep_testkit::market::{Market, Plan};

async fn keep<R: Record>(root: &Path, kind: Kind, floats: Floats, records: &[R]) {
    let config = Config { root: root.to_owned(), floats, ..Config::default() };
    let rows: Vec<_> = records.iter().map(|&record| Row { record, version: 1, source: 0 }).collect();
    let (first, last, sources) = (EntryId::new(1, 0), EntryId::new(1, 0), ["made".into()]);
    let batch = Batch { partition: 0, first, last, rows: &rows, sources: &sources };
    open::<R>(config, kind).unwrap().write(&batch).await.unwrap();
}

/// Bars of a small market in an archive, and the features of all of them.
async fn market(root: &Path, calendar: &Arc<Calendar>) -> Vec<DayFeature> {
    let plan = Plan { seed: 5, symbols: 4, days: 150, to: "2025-12-31".parse().unwrap() };
    let market = Market::new(&plan, calendar).unwrap();
    let bars: Vec<DayBar> =
        market.securities().iter().flat_map(|security| market.days(security.symbol)).collect();
    keep(root, Kind::BarDay, Floats::F64, &bars).await;
    let mut features = Vec::new();
    each::<DayFeatures>(root, calendar, |row| {
        features.push(*row);
        Ok(())
    })
    .unwrap();
    features
}

#[tokio::test]
async fn verify_holds_32_bits_to_what_they_can_say() {
    let (root, calendar) = (tempfile::tempdir().unwrap(), Arc::new(Calendar::published()));
    let features = market(root.path(), &calendar).await;
    keep(root.path(), Kind::FeatureDay, Floats::F32, &features).await;
    let args = VerifyArgs { archive: root.path().to_owned(), features: None, day: Vec::new() };
    verify::<DayFeatures>(&args, &calendar).unwrap();
}

#[tokio::test]
async fn verify_sees_a_seventh_digit_that_is_wrong_in_32_bits() {
    let (root, calendar) = (tempfile::tempdir().unwrap(), Arc::new(Calendar::published()));
    let mut features = market(root.path(), &calendar).await;
    let row = features.iter_mut().find(|row| row.valid).unwrap();
    let value = row.values.iter_mut().find(|value| **value != 0.0).unwrap();
    *value *= 1.0 + 4e-7;
    keep(root.path(), Kind::FeatureDay, Floats::F32, &features).await;
    let args = VerifyArgs { archive: root.path().to_owned(), features: None, day: Vec::new() };
    let told = verify::<DayFeatures>(&args, &calendar).unwrap_err();
    assert!(told.to_string().starts_with("1 days differ"), "{told}");
}
