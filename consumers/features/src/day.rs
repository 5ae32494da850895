//! Features of day bars. Knows which day bars count and what they say of their day; must not know a formula.

use chrono::NaiveDate;
use sqep::{Calendar, DayBar, Symbol};

use crate::{
    bar::{Traded, Turnover},
    kernel::Kernel,
    list::Length,
    row::Row,
    save::{Save, SnapshotError},
    series::{Facts, PushError, sessions_missed},
    snapshot::{begin, open, seal},
};

/// The features of one security's day bars, which come oldest first.
#[derive(Debug, Clone)]
pub struct DayFeatures {
    symbol: Symbol,
    last: Option<NaiveDate>,
    kernel: Kernel,
}

impl DayFeatures {
    /// Of a security without a past.
    pub fn new(symbol: Symbol) -> DayFeatures {
        DayFeatures { symbol, last: None, kernel: Kernel::new() }
    }

    /// The security.
    pub fn symbol(&self) -> Symbol {
        self.symbol
    }

    /// Day of the last bar taken.
    pub fn last(&self) -> Option<NaiveDate> {
        self.last
    }

    /// Takes the next bar. A day without volume is a suspension: it has no row and leaves no trace.
    pub fn push(&mut self, bar: &DayBar, calendar: &Calendar) -> Result<Option<Row>, PushError> {
        let (symbol, frame) = (self.symbol, bar.frame);
        if bar.symbol != symbol {
            return Err(PushError::Symbol { found: bar.symbol, wanted: symbol });
        }
        if bar.vol == 0.0 {
            return Ok(None);
        }
        if let Some(last) = self.last.filter(|&last| frame <= last) {
            let (frame, last) = (frame.to_string(), last.to_string());
            return Err(PushError::NotNewer { symbol, frame, last });
        }
        let traded = self.traded(bar, calendar);
        let row = self.kernel.push(&traded).map_err(|source| PushError::bar(symbol, &frame, source))?;
        self.last = Some(frame);
        Ok(Some(row))
    }

    fn traded(&self, bar: &DayBar, calendar: &Calendar) -> Traded {
        let DayBar { open, high, low, close, vol, amount, .. } = *bar;
        let facts = Facts::from(bar);
        Traded {
            open,
            high,
            low,
            close,
            vol,
            factor: facts.factor(self.symbol),
            session: Turnover { amount, vol, low, high },
            rules: facts.rules(self.symbol),
            sessions_missed: sessions_missed(calendar, self.last, bar.frame),
        }
    }

    /// The state as bytes; equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = begin(Length::Day, self.symbol);
        self.last.save(&mut out);
        self.kernel.save(&mut out);
        seal(out)
    }

    /// The state that gave these bytes; it goes on with the same bits.
    pub fn restore(bytes: &[u8]) -> Result<DayFeatures, SnapshotError> {
        let (symbol, mut reader) = open(Length::Day, bytes)?;
        let last = Option::load(&mut reader)?;
        let kernel = Kernel::load(&mut reader)?;
        reader.end()?;
        Ok(DayFeatures { symbol, last, kernel })
    }
}
