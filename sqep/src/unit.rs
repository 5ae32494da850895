//! The unit alarm: turnover over volume must lie between low and high. Knows one file (or vendor reply) and one
//! symbol at a time; must not know what a dialect is.

use crate::symbol::Class;

/// What the average price of a sound row may be of its low and of its high. Vendors round turnover, some to 32 bits: rows
/// at raw prices stay within 0.05 % beside the quanta, and prices adjusted by as little as 1 % do not.
const LOW_SLACK: f64 = 0.999;
const HIGH_SLACK: f64 = 1.001;

/// The smallest steps of a source's volume and turnover, which widen the band a row may lie in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quanta {
    /// Shares: 100 where the source counts lots or rounds to them, 1 otherwise.
    pub vol: f64,
    /// Yuan.
    pub amount: f64,
}

/// What the alarm says of the rows of one symbol in one file.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Raw prices and right units, as far as volume and turnover can tell.
    Sound,
    /// No row had what it takes: an index, or no turnover.
    Unchecked,
    /// More than 1 % of the rows lie outside: units or adjusted prices.
    Refused,
}

/// Counts rows inside and outside the band.
#[derive(Debug, Clone, Default)]
pub struct Alarm {
    checked: u64,
    failed: u64,
    lots: u64,
    thousands: u64,
    both: u64,
}

/// One row as the alarm sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turnover {
    /// Highest price, yuan.
    pub high: f64,
    /// Lowest price, yuan.
    pub low: f64,
    /// Shares.
    pub vol: f64,
    /// Yuan.
    pub amount: f64,
}

impl Turnover {
    /// Whether turnover can have come from these prices and this volume.
    pub fn plausible(self, quanta: Quanta) -> bool {
        let least = LOW_SLACK * self.low * (self.vol - quanta.vol) - quanta.amount;
        let most = HIGH_SLACK * self.high * (self.vol + quanta.vol) + quanta.amount;
        (least..=most).contains(&self.amount)
    }

    /// The unit that would explain a row outside the band: volume off by 100, turnover by 1,000.
    pub fn off_by(self, quanta: Quanta) -> Option<&'static str> {
        if self.plausible(quanta) {
            return None;
        }
        if self.off_by_lots(quanta) {
            return Some("volume is off by 100 (手 against 股)");
        }
        self.off_by_thousands(quanta).then_some("turnover is off by 1,000 (千元 against 元)")
    }

    fn off_by_lots(self, quanta: Quanta) -> bool {
        [100.0, 0.01].into_iter().any(|vol| self.scaled(vol, 1.0).plausible(quanta))
    }

    fn off_by_thousands(self, quanta: Quanta) -> bool {
        [1000.0, 0.001].into_iter().any(|amount| self.scaled(1.0, amount).plausible(quanta))
    }

    fn scaled(self, vol: f64, amount: f64) -> Turnover {
        Turnover { vol: self.vol * vol, amount: self.amount * amount, ..self }
    }
}

impl Alarm {
    /// Whether the alarm applies to securities of this class at all.
    pub fn applies(class: Class) -> bool {
        matches!(class, Class::Stock | Class::Fund)
    }

    /// Takes one row; `false` when it lies outside the band. Rows without volume and turnover say nothing.
    pub fn add(&mut self, row: Turnover, quanta: Quanta) -> bool {
        if row.vol <= 0.0 && row.amount <= 0.0 {
            return true;
        }
        self.checked += 1;
        if row.plausible(quanta) {
            return true;
        }
        self.failed += 1;
        self.lots += u64::from(row.off_by_lots(quanta));
        self.thousands += u64::from(row.off_by_thousands(quanta));
        self.both += u64::from(
            row.scaled(100.0, 1000.0).plausible(quanta) || row.scaled(0.01, 0.001).plausible(quanta),
        );
        false
    }

    /// Adds the counts of another symbol of the same file.
    pub fn merge(&mut self, other: &Alarm) {
        self.checked += other.checked;
        self.failed += other.failed;
        self.lots += other.lots;
        self.thousands += other.thousands;
        self.both += other.both;
    }

    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        match self.checked {
            0 => Verdict::Unchecked,
            checked if self.failed * 100 > checked => Verdict::Refused,
            _ => Verdict::Sound,
        }
    }

    /// Rows judged.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Rows outside the band.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// What the failures look like, for the letter: a unit that would explain most of them, else adjusted prices.
    pub fn guess(&self) -> &'static str {
        if self.lots * 2 > self.failed {
            "volume looks off by 100 (手 against 股): declare the unit of volume"
        } else if self.thousands * 2 > self.failed {
            "turnover looks off by 1,000 (千元 against 元): declare the unit of amount"
        } else if self.both * 2 > self.failed {
            "volume looks off by 100 and turnover by 1,000 (手, 千元 against 股, 元): declare both units"
        } else {
            "prices look adjusted (前复权 or 后复权): export raw prices (不复权)"
        }
    }
}
