//! The trading day as QMT tells it: auction, close, after-hours, and the auction folded into the first minute. Knows wall
//! clocks and bars; must not know files nor messages.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::bar::Raw;

/// The close of a day: 15:00.
pub fn close_of(day: NaiveDate) -> NaiveDateTime {
    day.and_time(NaiveTime::MIN) + TimeDelta::hours(15)
}

/// Whether a minute is the opening auction's.
pub fn is_auction(wall: NaiveDateTime) -> bool {
    wall.time() == NaiveTime::MIN + TimeDelta::minutes(9 * 60 + 30)
}

/// Whether a minute is of after-hours trading.
pub fn is_after_hours(wall: NaiveDateTime) -> bool {
    let close = close_of(wall.date());
    wall > close && wall <= close + TimeDelta::minutes(30)
}

/// What becomes of an opening auction when the next bar comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Folded {
    /// There was none.
    Nothing,
    /// It is in this bar of 09:31.
    Into(Raw),
    /// There is no bar of 09:31: this one, made of the auction alone, goes before the next.
    Before(Raw),
}

/// Folds an auction into the bar after it. A bar without volume sets neither high nor low.
pub fn fold(auction: Option<Raw>, next: Raw) -> Folded {
    let Some(auction) = auction else { return Folded::Nothing };
    let first = auction.wall + TimeDelta::minutes(1);
    if next.wall != first {
        return Folded::Before(Raw { wall: first, ..auction });
    }
    if auction.vol == 0.0 {
        return Folded::Into(next);
    }
    if next.vol == 0.0 {
        return Folded::Into(Raw { wall: first, amount: auction.amount + next.amount, ..auction });
    }
    Folded::Into(Raw {
        open: auction.open,
        high: auction.high.max(next.high),
        low: auction.low.min(next.low),
        vol: auction.vol + next.vol,
        amount: auction.amount + next.amount,
        ..next
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(time: &str, prices: [f64; 4], vol: f64) -> Raw {
        let [open, high, low, close] = prices;
        let wall = format!("2025-01-02T{time}:00").parse().unwrap();
        let symbol = "600000.SH".parse().unwrap();
        Raw { symbol, wall, open, high, low, close, vol, amount: vol * close }
    }

    #[test]
    fn an_auction_gives_its_open_and_volume_and_a_side_without_volume_no_price() {
        let auction = bar("09:30", [10.0; 4], 500.0);
        let next = bar("09:31", [10.1, 10.3, 9.9, 10.2], 100.0);
        let Folded::Into(folded) = fold(Some(auction), next) else { panic!() };
        assert!((folded.open, folded.high, folded.low, folded.close) == (10.0, 10.3, 9.9, 10.2));
        assert!((folded.vol, folded.wall) == (600.0, next.wall));
        let stale = bar("09:30", [9.0; 4], 0.0);
        assert_eq!(fold(Some(stale), next), Folded::Into(next));
        let quiet = bar("09:31", [8.0; 4], 0.0);
        let Folded::Into(folded) = fold(Some(auction), quiet) else { panic!() };
        assert!((folded.low, folded.close, folded.wall) == (10.0, 10.0, quiet.wall));
        let later = bar("09:35", [10.1; 4], 100.0);
        assert_eq!(fold(Some(auction), later), Folded::Before(Raw { wall: next.wall, ..auction }));
        assert_eq!(fold(None, later), Folded::Nothing);
    }
}
