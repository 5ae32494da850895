//! Features of one-minute bars. Knows the session they belong to and the opening auction, which is folded into the first
//! minute; must not know a formula.
//!
//! Vendors send 240 or 241 bars a day: the latter have the opening auction apart, labelled 09:30. Here it waits for 09:31
//! and is counted there, so that both give the same rows. A minute without volume has no row, as a suspended day has none.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use sqep::{Calendar, MinuteBar, Symbol};

use crate::{
    bar::{Traded, Turnover},
    kernel::Kernel,
    list::Length,
    row::Row,
    save::{Reader, Save, SnapshotError},
    series::{Facts, PushError, sessions_missed},
    snapshot::{begin, open, seal},
};

/// Label of the opening auction.
const AUCTION: (u32, u32) = (9, 30);
/// Label of the minute it belongs to.
const FIRST: (u32, u32) = (9, 31);

/// The row of a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinuteRow {
    /// End of the minute.
    pub frame: NaiveDateTime,
    /// The version of the bar it was computed of; the higher one of two.
    pub bar_version: u64,
    /// The features.
    pub row: Row,
}

/// The features of one security's minute bars, which come oldest first.
#[derive(Debug, Clone)]
pub struct MinuteFeatures {
    symbol: Symbol,
    last: Option<NaiveDateTime>,
    session: Option<Session>,
    auction: Option<Waiting>,
    kernel: Kernel,
}

/// What was traded on a day so far; the lunch break does not end it.
#[derive(Debug, Clone, Copy)]
struct Session {
    day: NaiveDate,
    turnover: Turnover,
}

/// An opening auction that waits for its minute.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    bar: Minute,
    version: u64,
    facts: Facts,
}

/// The numbers of a minute bar.
#[derive(Debug, Clone, Copy)]
struct Minute {
    frame: NaiveDateTime,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    vol: f64,
    amount: Option<f64>,
}

impl MinuteFeatures {
    /// Of a security without a past.
    pub fn new(symbol: Symbol) -> MinuteFeatures {
        MinuteFeatures { symbol, last: None, session: None, auction: None, kernel: Kernel::new() }
    }

    /// The security.
    pub fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// End of the last minute taken; an auction that waits is not taken yet.
    pub fn last(&self) -> Option<NaiveDateTime> {
        self.last
    }

    /// Takes the next bar with what is known of its day, and appends none, one or two rows: none while an auction waits or
    /// for a minute without volume, two where the minute an auction waited for never came.
    pub fn push(
        &mut self,
        bar: &MinuteBar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<MinuteRow>,
    ) -> Result<(), PushError> {
        if bar.symbol != self.symbol {
            return Err(PushError::Symbol { found: bar.symbol, wanted: self.symbol });
        }
        let bar = Minute::of(bar);
        if self.auction.is_some_and(|auction| !bar.belongs_to(&auction.bar)) {
            self.settle(calendar, rows)?;
        }
        let next = Waiting { bar, version, facts: *facts };
        let next = self.auction.map_or(next, |auction| auction.and(next));
        if next.bar.vol == 0.0 {
            self.auction = None;
            return Ok(());
        }
        if bar.frame.time() == label(AUCTION) {
            self.check(&next.bar, facts, calendar)?;
            self.auction = Some(next);
            return Ok(());
        }
        self.take(&next, calendar, rows)?;
        self.auction = None;
        Ok(())
    }

    /// Takes the auction that waits as the whole of its minute: the minute itself is known not to come.
    pub fn settle(&mut self, calendar: &Calendar, rows: &mut Vec<MinuteRow>) -> Result<(), PushError> {
        let Some(waiting) = self.auction else { return Ok(()) };
        let frame = waiting.bar.frame.date().and_time(label(FIRST));
        let bar = Minute { frame, ..waiting.bar };
        self.take(&Waiting { bar, ..waiting }, calendar, rows)?;
        self.auction = None;
        Ok(())
    }

    fn take(
        &mut self,
        next: &Waiting,
        calendar: &Calendar,
        rows: &mut Vec<MinuteRow>,
    ) -> Result<(), PushError> {
        let Waiting { bar, version, facts } = *next;
        let traded = self.check(&bar, &facts, calendar)?;
        let row =
            self.kernel.push(&traded).map_err(|source| PushError::bar(self.symbol, &bar.frame, source))?;
        self.session = Some(Session { day: bar.frame.date(), turnover: traded.session });
        self.last = Some(bar.frame);
        rows.push(MinuteRow { frame: bar.frame, bar_version: version, row });
        Ok(())
    }

    /// The bar as the kernel takes it, if it is newer than the last and its numbers are sound.
    fn check(&self, bar: &Minute, facts: &Facts, calendar: &Calendar) -> Result<Traded, PushError> {
        let symbol = self.symbol;
        if let Some(last) = self.last.filter(|&last| bar.frame <= last) {
            let (frame, last) = (bar.frame.to_string(), last.to_string());
            return Err(PushError::NotNewer { symbol, frame, last });
        }
        let day = bar.frame.date();
        let before = self.session.filter(|session| session.day == day);
        let traded = Traded {
            open: bar.open,
            high: bar.high,
            low: bar.low,
            close: bar.close,
            vol: bar.vol,
            factor: facts.factor(symbol),
            session: bar.added_to(before.map(|session| session.turnover)),
            rules: facts.rules(symbol),
            sessions_missed: sessions_missed(calendar, self.session.map(|session| session.day), day),
        };
        traded.check().map_err(|source| PushError::bar(symbol, &bar.frame, source))?;
        Ok(traded)
    }

    /// The state as bytes; equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = begin(Length::Minute, self.symbol);
        self.last.save(&mut out);
        self.session.save(&mut out);
        self.auction.save(&mut out);
        self.kernel.save(&mut out);
        seal(out)
    }

    /// The state that gave these bytes; it goes on with the same bits.
    pub fn restore(bytes: &[u8]) -> Result<MinuteFeatures, SnapshotError> {
        let (symbol, mut reader) = open(Length::Minute, bytes)?;
        let state = MinuteFeatures {
            symbol,
            last: Option::load(&mut reader)?,
            session: Option::load(&mut reader)?,
            auction: Option::load(&mut reader)?,
            kernel: Kernel::load(&mut reader)?,
        };
        reader.end()?;
        Ok(state)
    }
}

impl Minute {
    fn of(bar: &MinuteBar) -> Minute {
        let MinuteBar { frame, open, high, low, close, vol, amount, .. } = *bar;
        Minute { frame, open, high, low, close, vol, amount }
    }

    /// Whether this is the minute that opening auction is part of, or the auction once more.
    fn belongs_to(&self, auction: &Minute) -> bool {
        let time = self.frame.time();
        self.frame.date() == auction.frame.date() && (time == label(FIRST) || time == label(AUCTION))
    }

    /// The session so far and this bar.
    fn added_to(&self, before: Option<Turnover>) -> Turnover {
        let Minute { high, low, vol, amount, .. } = *self;
        let Some(before) = before else { return Turnover { amount, vol, low, high } };
        Turnover {
            amount: before.amount.zip(amount).map(|(before, now)| before + now),
            vol: before.vol + vol,
            low: before.low.min(low),
            high: before.high.max(high),
        }
    }
}

impl Waiting {
    /// This auction and the minute it belongs to as one bar; prices of a minute without volume are no prices, and an auction
    /// that comes again replaces the one before.
    fn and(self, minute: Waiting) -> Waiting {
        let (auction, bar) = (self.bar, minute.bar);
        let version = self.version.max(minute.version);
        if bar.frame == auction.frame {
            return minute;
        }
        if bar.vol == 0.0 {
            return Waiting { bar: Minute { frame: bar.frame, ..auction }, version, ..minute };
        }
        let bar = Minute {
            open: auction.open,
            high: auction.high.max(bar.high),
            low: auction.low.min(bar.low),
            vol: auction.vol + bar.vol,
            amount: auction.amount.zip(bar.amount).map(|(auction, bar)| auction + bar),
            ..bar
        };
        Waiting { bar, version, ..minute }
    }
}

/// The minute whose row a bar of this time goes into.
pub(crate) fn row_of(frame: NaiveDateTime) -> NaiveDateTime {
    if frame.time() == label(AUCTION) { frame.date().and_time(label(FIRST)) } else { frame }
}

/// A time of the day.
fn label((hour, minute): (u32, u32)) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or_default()
}

impl Save for Session {
    fn save(&self, out: &mut Vec<u8>) {
        let Turnover { amount, vol, low, high } = self.turnover;
        self.day.save(out);
        amount.save(out);
        [vol, low, high].save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let day = NaiveDate::load(reader)?;
        let amount = Option::load(reader)?;
        let [vol, low, high] = <[f64; 3]>::load(reader)?;
        Ok(Session { day, turnover: Turnover { amount, vol, low, high } })
    }
}

impl Save for Waiting {
    fn save(&self, out: &mut Vec<u8>) {
        let Minute { frame, open, high, low, close, vol, amount } = self.bar;
        let Facts { adjust, st, buy_limit, sell_limit } = self.facts;
        frame.save(out);
        [open, high, low, close, vol].save(out);
        amount.save(out);
        self.version.save(out);
        st.save(out);
        [adjust, buy_limit, sell_limit].save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let frame = NaiveDateTime::load(reader)?;
        let [open, high, low, close, vol] = <[f64; 5]>::load(reader)?;
        let bar = Minute { frame, open, high, low, close, vol, amount: Option::load(reader)? };
        let version = u64::load(reader)?;
        let st = Option::load(reader)?;
        let [adjust, buy_limit, sell_limit] = <[Option<f64>; 3]>::load(reader)?;
        Ok(Waiting { bar, version, facts: Facts { adjust, st, buy_limit, sell_limit } })
    }
}
