//! The three forms of local files as one: how long a record is and which bar it tells. Knows layouts and units; must
//! not read files.

use chrono::NaiveDateTime;
use sqep::{Kind, Symbol, kind::Grid, shanghai, symbol::Class, unit::Alarm};

use crate::{
    bar::{LOT_SHARES, Raw},
    config::FileSource,
    dat::{self, DatRecord, unwrapped},
    tdx::{self, TdxRecord},
    units::{QUANTA, VolUnit},
};

/// A form of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// QMT's `.DAT`, bars of so many seconds.
    Dat(u32),
    /// TDX's `.day`.
    TdxDay,
    /// TDX's `.lc1`, or `.lc5` with five minutes a bar.
    TdxMinute(u32),
}

/// A record that was understood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded {
    /// The bar.
    pub raw: Raw,
    /// Whether its turnover had run over 32 bits.
    pub repaired: bool,
}

impl Format {
    /// The form that holds bars of a kind; `None`: there is none.
    pub fn of(source: FileSource, kind: Kind) -> Option<Format> {
        Some(match (source, kind) {
            (FileSource::Dat, Kind::BarDay) => Format::Dat(86_400),
            (FileSource::Dat, Kind::BarMinute(Grid::M1)) => Format::Dat(60),
            (FileSource::Dat, Kind::BarMinute(Grid::M5)) => Format::Dat(300),
            (FileSource::Tdx, Kind::BarDay) => Format::TdxDay,
            (FileSource::Tdx, Kind::BarMinute(Grid::M1)) => Format::TdxMinute(1),
            (FileSource::Tdx, Kind::BarMinute(Grid::M5)) => Format::TdxMinute(5),
            _ => return None,
        })
    }

    /// What every file begins with.
    pub const fn header(self) -> &'static [u8] {
        match self {
            Format::Dat(_) => &dat::HEADER,
            Format::TdxDay | Format::TdxMinute(_) => &[],
        }
    }

    /// Bytes of a record.
    pub const fn record_bytes(self) -> usize {
        match self {
            Format::Dat(_) => dat::RECORD_BYTES,
            Format::TdxDay | Format::TdxMinute(_) => tdx::RECORD_BYTES,
        }
    }

    /// The unit of a stock's volume unless the configuration says otherwise.
    pub const fn vol_unit(self) -> VolUnit {
        match self {
            Format::Dat(_) => VolUnit::Lots,
            Format::TdxDay | Format::TdxMinute(_) => VolUnit::Shares,
        }
    }

    /// Decodes a record; `None`: its time is none.
    pub fn decode(self, bytes: &[u8], symbol: Symbol, unit: VolUnit) -> Option<Decoded> {
        match self {
            Format::Dat(_) => of_dat(&DatRecord::decode(bytes)?, symbol, unit),
            Format::TdxDay => of_tdx(TdxRecord::day(bytes, tdx::scale(symbol))?, symbol, unit),
            Format::TdxMinute(_) => {
                let decoded = of_tdx(TdxRecord::minute(bytes)?, symbol, unit)?;
                Some(Decoded { raw: decoded.raw.with_decimals(tdx::decimals(symbol)), ..decoded })
            }
        }
    }
}

fn of_dat(record: &DatRecord, symbol: Symbol, unit: VolUnit) -> Option<Decoded> {
    let wall = shanghai::wall(i64::from(record.time_s) * 1_000)?;
    // Beyond 2⁵³ yuan a turnover is no turnover; the check refuses what is left of it.
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "yuan below 2⁵³ are exact")]
    let amount = record.amount as f64;
    let raw = raw(symbol, wall, record.yuan(), f64::from(record.volume) * unit.shares(), amount);
    if !Alarm::applies(symbol.class()) || raw.vol == 0.0 {
        return Some(Decoded { raw, repaired: false });
    }
    // What another unit explains as it is has not run over: a repair would hide that unit.
    let fits = |amount| Raw { amount, ..raw }.turnover().plausible(QUANTA);
    let whole = unwrapped(amount, fits).filter(|_| raw.turnover().off_by(QUANTA).is_none());
    Some(Decoded { raw: Raw { amount: whole.unwrap_or(amount), ..raw }, repaired: whole.is_some() })
}

fn of_tdx(record: TdxRecord, symbol: Symbol, unit: VolUnit) -> Option<Decoded> {
    let shares = if symbol.class() == Class::Index { LOT_SHARES } else { unit.shares() };
    let vol = f64::from(record.volume) * shares;
    Some(Decoded { raw: raw(symbol, record.wall?, record.prices, vol, record.amount), repaired: false })
}

fn raw(symbol: Symbol, wall: NaiveDateTime, prices: [f64; 4], vol: f64, amount: f64) -> Raw {
    let [open, high, low, close] = prices;
    Raw { symbol, wall, open, high, low, close, vol, amount }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of some 25 billion yuan, and what is left of it in 32 bits.
    fn wrapped(volume: u32, amount: u64) -> Decoded {
        let record = DatRecord {
            time_s: 1_750_780_800,
            prices: [50_000, 50_400, 49_600, 50_000],
            volume,
            amount: amount % (1 << 32),
            open_interest: 15,
            pre_close: 50_000,
        };
        Format::Dat(86_400).decode(&record.encode(), "600519.SH".parse().unwrap(), VolUnit::Lots).unwrap()
    }

    #[test]
    fn a_turnover_that_ran_over_is_repaired_where_the_declared_unit_explains_it() {
        let decoded = wrapped(5_000_000, 25_000_000_000);
        assert!(decoded.repaired && (decoded.raw.amount - 25e9).abs() < 1.0, "{decoded:?}");
    }

    #[test]
    fn a_volume_in_shares_is_not_explained_by_a_turnover_that_ran_over() {
        // 4,338,338 shares at 50 yuan. Read as lots they ask for 5 × 2³² more, and exactly that.
        let decoded = wrapped(4_338_338, 216_916_900);
        let fits = |amount| Raw { amount, ..decoded.raw }.turnover().plausible(QUANTA);
        assert!(unwrapped(216_916_900.0, fits).is_some(), "or this test shows nothing");
        assert!(!decoded.repaired && (decoded.raw.amount - 216_916_900.0).abs() < 1.0, "{decoded:?}");
    }
}
