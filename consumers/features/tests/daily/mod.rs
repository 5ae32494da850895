//! A world of day bars: a small market, and what the batch makes of it. Knows kinds and values; must not know the loops.

use sqep::{DayBar, DayFeature, Kind};
use sqep_features::{DayFeatures, Facts};

use crate::{
    market,
    world::{World, batch, by_day},
};

pub(crate) const BARS: Kind = Kind::BarDay;
pub(crate) const FEATURES: Kind = Kind::FeatureDay;

pub(crate) fn of(bars: &[DayBar]) -> Vec<DayFeature> {
    batch::<DayFeatures>(bars, |_| Facts::default())
}

pub(crate) async fn days() -> (World, Vec<DayBar>) {
    (World::new(BARS).await, by_day(&market::days(6, 150)))
}

/// A bar that differs from what was sent.
pub(crate) fn corrected(bar: &DayBar) -> DayBar {
    DayBar { vol: bar.vol + 100.0, amount: bar.amount.map(|amount| amount + 100.0 * bar.close), ..*bar }
}
