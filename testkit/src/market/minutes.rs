//! Minutes fitted into a day: 241 bars whose first open, highest high, lowest low, last close, volumes and turnovers
//! give the day bar back exactly. Knows one day bar at a time; must not know how it came about.
//!
//! The path of prices is drawn first, then the volumes, then the turnovers: each minute's between its low and high times
//! its volume. A day too thin for that trades in a single minute.

use chrono::{Datelike, NaiveDate, NaiveTime, TimeDelta};
use sqep::{DayBar, Exchange, MinuteBar};

use super::{
    board::{Board, board_of},
    rng::{Rng, float, whole},
};

/// Labels of a day: 09:30, 09:31 to 11:30, 13:01 to 15:00.
const LABELS: usize = 241;
/// The closing auction, labelled 15:00.
const CLOSE: usize = 240;
/// The last minute before the closing call.
const LAST_CONTINUOUS: usize = 238 - 1;
/// Fewer lots than this trade in one minute.
const THIN_LOTS: i64 = 30;

/// One minute, in ticks, shares and hundredths of a yuan.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    vol: i64,
    amount: i64,
    weight: f64,
}

/// The day in the same units.
#[derive(Debug, Clone, Copy)]
struct Day {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    vol: i64,
    amount: i64,
    /// Ticks a yuan.
    unit: i64,
    /// Turnover follows prices.
    priced: bool,
    /// Volumes come in steps of this many shares.
    lot: i64,
    /// 14:58 and 14:59 collect orders for the closing auction.
    call: bool,
}

/// The 241 one-minute bars of a day, oldest first. The same seed and bar give the same minutes.
pub fn minutes_of(seed: u64, bar: &DayBar) -> Vec<MinuteBar> {
    let day = Day::of(bar);
    let name = [seed, 4, u64::try_from(bar.symbol.get()).unwrap_or(0), day_name(bar.frame)];
    let mut rng = Rng::of(&name);
    let fitted = day.busy(&mut rng).unwrap_or_else(|| day.thin(&mut rng));
    let price = |ticks: i64| float(ticks) / float(day.unit);
    let bar_of = |(at, minute): (usize, &Minute)| MinuteBar {
        symbol: bar.symbol,
        frame: bar.frame.and_time(label(at)),
        open: price(minute.open),
        high: price(minute.high),
        low: price(minute.low),
        close: price(minute.close),
        vol: float(minute.vol),
        amount: bar.amount.map(|_| float(minute.amount) / 100.0),
    };
    fitted.iter().enumerate().map(bar_of).collect()
}

fn day_name(date: NaiveDate) -> u64 {
    u64::try_from(date.num_days_from_ce()).unwrap_or(0)
}

fn label(at: usize) -> NaiveTime {
    let lunch = if at > 120 { 90 } else { 0 };
    let minutes = i64::try_from(at).unwrap_or(0) + lunch;
    NaiveTime::from_hms_opt(9, 30, 0).unwrap_or_default() + TimeDelta::minutes(minutes)
}

/// Shenzhen closes by auction since 2006-07-01, Shanghai's shares since 2018-08-20, its funds since 2026-07-06.
fn closes_by_auction(exchange: Exchange, board: Board, date: NaiveDate) -> bool {
    let since = match (exchange, board) {
        (Exchange::SZ | Exchange::BJ, _) => (2006, 7, 1),
        (Exchange::SH, Board::Fund | Board::FundStar) => (2026, 7, 6),
        (Exchange::SH, _) => (2018, 8, 20),
    };
    (date.year(), date.month(), date.day()) >= since
}

impl Day {
    fn of(bar: &DayBar) -> Day {
        let board = board_of(bar.symbol);
        let unit = board.ticks_per_yuan();
        let ticks = |price: f64| whole(price * float(unit));
        Day {
            open: ticks(bar.open),
            high: ticks(bar.high),
            low: ticks(bar.low),
            close: ticks(bar.close),
            vol: whole(bar.vol),
            amount: whole(bar.amount.unwrap_or(0.0) * 100.0),
            unit,
            priced: board != Board::Index && bar.amount.is_some(),
            lot: if board.trades_odd_lots() { 1 } else { 100 },
            call: closes_by_auction(bar.symbol.exchange(), board, bar.frame),
        }
    }

    /// Everything in one minute, nothing before and after.
    fn thin(&self, rng: &mut Rng) -> Vec<Minute> {
        let at = 1 + usize::try_from(rng.below(230)).unwrap_or(0);
        let flat =
            |price: i64| Minute { open: price, high: price, low: price, close: price, ..Minute::default() };
        let mut minutes = vec![flat(self.open); at];
        let Day { open, high, low, close, vol, amount, .. } = *self;
        minutes.push(Minute { open, high, low, close, vol, amount, weight: 0.0 });
        minutes.resize(LABELS, flat(self.close));
        minutes
    }

    /// A path through open, high, low and close with volume along it; none if the day is too thin for one.
    fn busy(&self, rng: &mut Rng) -> Option<Vec<Minute>> {
        if self.vol < THIN_LOTS * 100 {
            return None;
        }
        let active = self.active(rng);
        let mut minutes = self.path(&active, rng);
        if self.priced && self.low < self.high {
            self.lean(&mut minutes);
        }
        self.share_out(&mut minutes, &active);
        if self.priced {
            self.balance(&mut minutes, &active)?;
        }
        self.pay(&mut minutes)?;
        Some(minutes)
    }

    /// The last minute of continuous trading.
    fn last(&self) -> usize {
        if self.call { LAST_CONTINUOUS } else { CLOSE }
    }

    /// Which minutes trade: all of them on a liquid day. The auctions always do, and so do the minutes that could hold
    /// the extremes; every one of them can have a lot.
    fn active(&self, rng: &mut Rng) -> Vec<usize> {
        let share = (float(self.vol) / 100.0 / 1_200.0).clamp(0.04, 1.0);
        let forced = [0, 60, 180, CLOSE];
        let silent = self.last() + 1..CLOSE;
        let trades = |&at: &usize| forced.contains(&at) || (!silent.contains(&at) && rng.chance(share));
        let mut active: Vec<usize> = (0..LABELS).filter(trades).collect();
        let room = usize::try_from(self.vol / 200).unwrap_or(LABELS);
        while active.len() > room.max(forced.len()) {
            let at = usize::try_from(rng.below(u32::try_from(active.len()).unwrap_or(1))).unwrap_or(0);
            if !forced.contains(&active[at]) {
                active.remove(at);
            }
        }
        active
    }

    fn path(&self, active: &[usize], rng: &mut Rng) -> Vec<Minute> {
        let inner: Vec<usize> = active.iter().copied().filter(|&at| at > 0 && at <= self.last()).collect();
        let (top, bottom) = extremes(&inner, rng);
        let anchors = self.anchors(top, bottom);
        let jitter = 1 + (self.high - self.low) / 60;
        let mut minutes = vec![Minute::default(); LABELS];
        let (mut before, mut drift) = (self.open, 0.0);
        for (at, minute) in minutes.iter_mut().enumerate() {
            let trades = active.binary_search(&at).is_ok();
            let auction = at == 0 || (self.call && at == CLOSE);
            drift = 0.8 * drift + rng.bell();
            let close = match trades {
                false => before,
                true if at == 0 => self.open,
                true if at == CLOSE => self.close,
                true => self.between(&anchors, at, drift),
            };
            let open = if auction || !trades {
                close
            } else {
                (before + step(jitter, rng)).clamp(self.low, self.high)
            };
            let reach = |rng: &mut Rng| if auction || !trades { 0 } else { step(jitter, rng).abs() };
            let high = (open.max(close) + reach(rng)).min(self.high);
            let low = (open.min(close) - reach(rng)).max(self.low);
            *minute = Minute { open, high, low, close, weight: weight(at, trades, rng), ..Minute::default() };
            before = close;
        }
        minutes[top].high = self.high;
        minutes[bottom].low = self.low;
        minutes
    }

    /// The fixed points of the path, in order of time.
    fn anchors(&self, top: usize, bottom: usize) -> [(usize, i64); 4] {
        let mut anchors = [(0, self.open), (top, self.high), (bottom, self.low), (CLOSE, self.close)];
        anchors.sort_unstable_by_key(|&(at, _)| at);
        anchors
    }

    /// A straight line between two fixed points, and a wobble that dies away at both.
    fn between(&self, anchors: &[(usize, i64); 4], at: usize, drift: f64) -> i64 {
        let leg = anchors
            .windows(2)
            .find(|leg| at <= leg[1].0)
            .map_or((anchors[2], anchors[3]), |leg| (leg[0], leg[1]));
        let ((from, first), (to, last)) = leg;
        let count = |steps: usize| float(i64::try_from(steps).unwrap_or(0));
        let (done, left, all) = (count(at - from), count(to - at), count((to - from).max(1)));
        let wobble = 0.06 * float(self.high - self.low) * drift * (done.min(left) / 8.0).min(1.0);
        whole(float(first) + float(last - first) * done / all + wobble).clamp(self.low, self.high)
    }

    /// Shifts weight towards the dearer or the cheaper minutes until the average price is the day's.
    fn lean(&self, minutes: &mut [Minute]) {
        let price = |minute: &Minute| float(minute.open + minute.high + minute.low + minute.close) / 4.0;
        let total: f64 = minutes.iter().map(|minute| minute.weight).sum();
        let mean = minutes.iter().map(|minute| minute.weight * price(minute)).sum::<f64>() / total;
        let target = float(self.amount * self.unit) / 100.0 / float(self.vol);
        let beyond =
            |minute: &Minute| if mean < target { price(minute) > target } else { price(minute) < target };
        let side: f64 = minutes.iter().filter(|minute| beyond(minute)).map(|minute| minute.weight).sum();
        let far = minutes.iter().filter(|minute| beyond(minute)).map(|minute| minute.weight * price(minute));
        let far = far.sum::<f64>() / side.max(f64::MIN_POSITIVE);
        let moved = (target - mean) / (far - mean);
        if side <= 0.0 || !(0.0..=1.0).contains(&moved) {
            return;
        }
        for minute in minutes.iter_mut() {
            let more = if beyond(minute) { moved * total / side } else { 0.0 };
            minute.weight *= 1.0 - moved + more;
        }
    }

    /// Hands the volume out by weight, a lot at least to every minute that trades.
    fn share_out(&self, minutes: &mut [Minute], active: &[usize]) {
        let total: f64 = minutes.iter().map(|minute| minute.weight).sum();
        let count = i64::try_from(active.len()).unwrap_or(0);
        let spare = float(self.vol - 100 * count);
        let mut left = self.vol;
        for &at in active {
            let lots = (spare * minutes[at].weight / total / float(self.lot)).floor();
            minutes[at].vol = (100 + whole(lots) * self.lot).min(left);
            left -= minutes[at].vol;
        }
        let heaviest = active.iter().copied().max_by(|&a, &b| minutes[a].vol.cmp(&minutes[b].vol));
        if let Some(at) = heaviest {
            minutes[at].vol += left;
        }
    }

    fn floor(&self, minute: &Minute) -> i64 {
        (minute.low * minute.vol * 100 + self.unit - 1).div_euclid(self.unit)
    }

    fn ceiling(&self, minute: &Minute) -> i64 {
        (minute.high * minute.vol * 100).div_euclid(self.unit)
    }

    /// Moves volume between minutes until the turnover of the day is within reach of all of them together.
    fn balance(&self, minutes: &mut [Minute], active: &[usize]) -> Option<()> {
        let most: i64 = minutes.iter().map(|minute| self.ceiling(minute)).sum();
        let least: i64 = minutes.iter().map(|minute| self.floor(minute)).sum();
        if most < self.amount {
            let to = active.iter().copied().find(|&at| minutes[at].high == self.high)?;
            self.shift(minutes, active, to, self.amount - most, |from, to| to.high - from.high);
        } else if least > self.amount {
            let to = active.iter().copied().find(|&at| minutes[at].low == self.low)?;
            self.shift(minutes, active, to, least - self.amount, |from, to| from.low - to.low);
        }
        Some(())
    }

    /// Takes volume from the minutes where it gains most, until `gap` hundredths of a yuan are closed.
    fn shift(
        &self,
        minutes: &mut [Minute],
        active: &[usize],
        to: usize,
        mut gap: i64,
        gain: impl Fn(&Minute, &Minute) -> i64,
    ) {
        let mut order: Vec<usize> = active.iter().copied().filter(|&at| at != to).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(gain(&minutes[at], &minutes[to])));
        for from in order {
            let ticks = gain(&minutes[from], &minutes[to]);
            if gap <= 0 || ticks <= 0 {
                return;
            }
            let needed = (gap * self.unit).div_euclid(100 * ticks * self.lot) + 1;
            let spare = (minutes[from].vol - 100) / self.lot;
            let moved = needed.min(spare) * self.lot;
            minutes[from].vol -= moved;
            minutes[to].vol += moved;
            gap -= moved * ticks * 100 / self.unit;
        }
    }

    /// Hands the turnover out: to each minute the least its volume can have cost, then the rest by what it can still take.
    fn pay(&self, minutes: &mut [Minute]) -> Option<()> {
        if !self.priced {
            self.pay_by_volume(minutes);
            return Some(());
        }
        let least: i64 = minutes.iter().map(|minute| self.floor(minute)).sum();
        let room: i64 = minutes.iter().map(|minute| self.ceiling(minute) - self.floor(minute)).sum();
        let rest = self.amount - least;
        if rest < 0 || rest > room {
            return None;
        }
        let mut left = rest;
        for minute in minutes.iter_mut() {
            let takes = i128::from(self.ceiling(minute) - self.floor(minute));
            let part = i64::try_from(takes * i128::from(rest) / i128::from(room.max(1))).unwrap_or(0);
            minute.amount = self.floor(minute) + part;
            left -= part;
        }
        for minute in minutes.iter_mut() {
            let takes = (self.ceiling(minute) - minute.amount).min(left);
            minute.amount += takes;
            left -= takes;
        }
        Some(())
    }

    fn pay_by_volume(&self, minutes: &mut [Minute]) {
        let mut left = self.amount;
        for minute in minutes.iter_mut() {
            let part = i128::from(self.amount) * i128::from(minute.vol) / i128::from(self.vol.max(1));
            minute.amount = i64::try_from(part).unwrap_or(0);
            left -= minute.amount;
        }
        if let Some(minute) = minutes.iter_mut().rev().find(|minute| minute.vol > 0) {
            minute.amount += left;
        }
    }
}

/// Two different minutes of continuous trading.
fn extremes(inner: &[usize], rng: &mut Rng) -> (usize, usize) {
    let count = u32::try_from(inner.len()).unwrap_or(2).max(2);
    let top = rng.below(count);
    let bottom = (top + 1 + rng.below(count - 1)) % i64::from(count);
    let at =
        |place: i64| usize::try_from(place).ok().and_then(|place| inner.get(place)).copied().unwrap_or(1);
    (at(top), at(bottom))
}

/// A few ticks up or down, often none.
fn step(jitter: i64, rng: &mut Rng) -> i64 {
    let wide = u32::try_from(2 * jitter + 1).unwrap_or(3);
    if rng.once_in(2) { rng.below(wide) - jitter } else { 0 }
}

/// Busy at the open and before the close, quiet around noon; the auctions take their share.
fn weight(at: usize, trades: bool, rng: &mut Rng) -> f64 {
    let base = match at {
        _ if !trades => 0.0,
        0 => 5.0,
        CLOSE => 4.0,
        1..=15 => 3.0,
        16..=45 => 1.6,
        210.. => 1.4,
        _ => 0.8,
    };
    let burst = if rng.once_in(25) { 3.0 } else { 1.0 };
    base * (0.3 + 1.4 * rng.unit()) * burst
}
