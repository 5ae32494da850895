//! A made-up market as tables. Knows the kit's market and which of its securities end or were renumbered; must not know
//! how a row is written.

use std::{collections::BTreeMap, sync::Arc};

use chrono::NaiveDate;
use sqep::{Calendar, Symbol, symbol::Class};

use super::{
    Row, World,
    days::Day,
    known,
    lists::{self, Listing},
    ymd,
};
use crate::market::{Market, MarketDay, Plan, Security, rng::Rng};

/// Every so many securities one is delisted, two thirds of the way through.
const DELISTED_EVERY: usize = 25;
/// Which of them.
const DELISTED_FIRST: usize = 7;

/// The market between two days; without sessions between them, a calendar and nothing else.
pub(super) fn world(seed: u64, symbols: usize, from: NaiveDate, to: NaiveDate) -> World {
    let calendar = Calendar::published();
    let days = calendar.sessions(from, to).count();
    let mut world = World { seed, ..World::default() };
    world.put_all(known("trade_cal"), lists::calendar(&calendar, from, to));
    world.put_all(known("bse_mapping"), lists::renumbered());
    let Ok(market) = Market::new(&Plan { seed, symbols, days, to }, &calendar) else { return world };
    let mut listings = listings(&market);
    let mut tables: BTreeMap<&'static str, Vec<Row>> = BTreeMap::new();
    let mut rng = Rng::of(&[seed, 20]);
    for (date, session) in market.by_session() {
        let written = ymd(date);
        let rows = session.iter().flat_map(|day| of_day(day, &mut listings, &written, &mut rng));
        for row in rows.chain(lists::limits_of_others(symbols, &written)) {
            tables.entry(row.api().name).or_default().push(row);
        }
    }
    for (api, rows) in tables {
        world.put_all(known(api), rows);
    }
    world.put_all(known("stock_basic"), [lists::stocks(listings.values()), vec![lists::gone()]].concat());
    world.put_all(known("namechange"), lists::names(listings.values()));
    world
}

/// Everything about the securities that stays over the days.
fn listings(market: &Market) -> BTreeMap<Symbol, Listing> {
    let sessions = market.sessions();
    let ends = sessions.get(sessions.len() * 2 / 3).copied();
    let former = market.securities().iter().find_map(|security| lists::former(security.symbol));
    let listing = |(at, security): (usize, &Security)| {
        let stock = security.symbol.class() == Class::Stock;
        let delisted = ends.filter(|_| stock && at % DELISTED_EVERY == DELISTED_FIRST);
        let former = former.clone().filter(|former| former.new == security.symbol);
        (security.symbol, Listing::of(security, former, delisted))
    };
    let last = sessions.last().copied().unwrap_or_default();
    let is_listed = |(_, security): &(usize, &Security)| security.listed <= last;
    market.securities().iter().enumerate().filter(is_listed).map(listing).collect()
}

fn of_day(
    day: &MarketDay,
    listings: &mut BTreeMap<Symbol, Listing>,
    date: &Arc<str>,
    rng: &mut Rng,
) -> Vec<Row> {
    let frame = day.reference.frame;
    let Some(listing) = listings.get_mut(&day.reference.symbol) else { return vec![] };
    if listing.delisted.is_some_and(|delisted| frame >= delisted) {
        return vec![];
    }
    let was_halted = std::mem::replace(&mut listing.halted, day.bar.is_none());
    listing.turn(frame, day.reference.st == Some(true));
    let code = listing.code_on(frame).clone();
    let name = listing.name();
    let class = day.reference.symbol.class();
    Day { code: &code, date, name: &name, class, market: day, was_halted }.rows(rng)
}
