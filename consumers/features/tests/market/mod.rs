//! Bars of a market made of a seed. Knows the generator; must not know features.

#![allow(dead_code, reason = "each test uses a part")]

use sqep::{Calendar, DayBar, MinuteBar, Symbol};
use sqep_features::Facts;
use sqep_testkit::market::{Market, Plan, minutes_of};

/// Seed of every market here.
const SEED: u64 = 20_240_301;

/// Day bars of so many securities, one after another.
pub(crate) fn days(symbols: usize, days: usize) -> Vec<Vec<DayBar>> {
    let plan = Plan { seed: SEED, symbols, days, to: "2025-12-31".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let securities: Vec<Symbol> = market.securities().iter().map(|security| security.symbol).collect();
    securities.into_iter().map(|symbol| market.days(symbol).collect()).collect()
}

/// One-minute bars of the last days of one security, 241 a day, and what is known of all its days.
pub(crate) fn minutes(sessions: usize) -> (Vec<MinuteBar>, Facts) {
    let days = days(1, sessions).swap_remove(0);
    let bars = days.iter().flat_map(|day| minutes_of(SEED, day)).collect();
    (bars, Facts { adjust: Some(1.5), st: Some(false), ..Facts::default() })
}
