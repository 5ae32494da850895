//! TDX's files of bars: records of 32 bytes without a header, `.day` with integer prices, `.lc1` and `.lc5` with floats.
//! Knows the bytes and the scale of prices; must not know files.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use sqep::{Exchange, Symbol, symbol::Class};

/// Bytes of a record.
pub const RECORD_BYTES: usize = 32;
/// The year that two-byte dates count from.
const YEAR_0: i32 = 2004;

/// A record: prices as they lie, volume in shares (of an index in lots), turnover in yuan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TdxRecord {
    /// Wall clock of Asia/Shanghai; a day bar at 00:00. `None`: digits that are no date.
    pub wall: Option<NaiveDateTime>,
    /// Open, high, low, close, yuan.
    pub prices: [f64; 4],
    /// Turnover, yuan.
    pub amount: f64,
    /// Volume.
    pub volume: u32,
}

/// Integers a yuan in `.day` files: funds, bonds and Shanghai's B shares have three decimals, all others two.
pub fn scale(symbol: Symbol) -> f64 {
    let fine = match symbol.class() {
        Class::Fund | Class::Bond => true,
        Class::BShare => symbol.exchange() == Exchange::SH,
        Class::Stock | Class::Index | Class::Other => false,
    };
    if fine { 1_000.0 } else { 100.0 }
}

/// Decimals of a price in `.lc1` and `.lc5` files, whose floats carry noise beyond them.
pub fn decimals(symbol: Symbol) -> i32 {
    if symbol.class() == Class::Stock { 2 } else { 3 }
}

impl TdxRecord {
    /// Decodes a record of a `.day` file; `None` unless there are exactly [`RECORD_BYTES`].
    pub fn day(bytes: &[u8], scale: f64) -> Option<TdxRecord> {
        let word = |at| word(bytes, at);
        let price = |at| word(at).map(|word| f64::from(word) / scale);
        let date = word(0)?;
        let wall =
            date_of(date / 10_000, date / 100 % 100, date % 100).map(|date| date.and_time(NaiveTime::MIN));
        let prices = [price(4)?, price(8)?, price(12)?, price(16)?];
        whole(bytes, TdxRecord { wall, prices, amount: float(bytes, 20)?, volume: word(24)? })
    }

    /// Decodes a record of a `.lc1` or `.lc5` file; `None` unless there are exactly [`RECORD_BYTES`].
    pub fn minute(bytes: &[u8]) -> Option<TdxRecord> {
        let date = u32::from(half(bytes, 0)?);
        let minute = u32::from(half(bytes, 2)?);
        let time = NaiveTime::from_hms_opt(minute / 60, minute % 60, 0);
        let year = u32::try_from(YEAR_0).ok()? + date / 2_048;
        let day = date_of(year, date % 2_048 / 100, date % 2_048 % 100);
        let wall = day.zip(time).map(|(day, time)| day.and_time(time));
        let prices = [float(bytes, 4)?, float(bytes, 8)?, float(bytes, 12)?, float(bytes, 16)?];
        whole(bytes, TdxRecord { wall, prices, amount: float(bytes, 20)?, volume: word(bytes, 24)? })
    }
}

fn whole(bytes: &[u8], record: TdxRecord) -> Option<TdxRecord> {
    (bytes.len() == RECORD_BYTES).then_some(record)
}

fn date_of(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn float(bytes: &[u8], at: usize) -> Option<f64> {
    Some(f64::from(f32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(first: [u8; 4], prices: [[u8; 4]; 4], amount: f32, volume: u32) -> Vec<u8> {
        let mut bytes = first.to_vec();
        bytes.extend(prices.concat());
        bytes.extend(amount.to_le_bytes());
        bytes.extend(volume.to_le_bytes());
        bytes.extend(65_536u32.to_le_bytes());
        bytes
    }

    #[test]
    fn a_day_is_integers_in_the_scale_of_its_class() {
        let prices = [693u32, 695, 688, 690].map(u32::to_le_bytes);
        let bytes = bytes(20_111_010u32.to_le_bytes(), prices, 87_013_840.0, 12_585_035);
        let stock: Symbol = "600028.SH".parse().unwrap();
        let record = TdxRecord::day(&bytes, scale(stock)).unwrap();
        assert_eq!(record.wall.unwrap().to_string(), "2011-10-10 00:00:00");
        assert_eq!((record.prices, record.volume), ([6.93, 6.95, 6.88, 6.9], 12_585_035));
        for (symbol, factor) in
            [("510300.SH", 1_000.0), ("000001.SH", 100.0), ("900901.SH", 1_000.0), ("200002.SZ", 100.0)]
        {
            assert!((scale(symbol.parse().unwrap()) - factor).abs() < 1e-9, "{symbol}");
        }
        assert_eq!(TdxRecord::day(&bytes[..31], 100.0), None);
    }

    #[test]
    fn a_minute_is_two_bytes_of_date_and_two_of_time() {
        let date = u16::try_from((2021 - YEAR_0) * 2_048 + 423).unwrap().to_le_bytes();
        let time = 571u16.to_le_bytes();
        let prices = [36.71f32, 37.02, 36.71, 36.8].map(f32::to_le_bytes);
        let bytes = bytes([date[0], date[1], time[0], time[1]], prices, 256_647.0, 7_000);
        let record = TdxRecord::minute(&bytes).unwrap();
        assert_eq!(record.wall.unwrap().to_string(), "2021-04-23 09:31:00");
        assert_eq!(record.volume, 7_000);
        let blank = TdxRecord::minute(&[0; RECORD_BYTES]).unwrap();
        assert_eq!(blank.wall, None, "month 0 is no month");
    }
}
