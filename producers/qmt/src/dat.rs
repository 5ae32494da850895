//! QMT's K-line files: a header of 8 bytes, then records of 64. Knows the bytes; must not know files nor units of a
//! stream.

/// What every file begins with.
pub const HEADER: [u8; 8] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
/// Bytes of a record.
pub const RECORD_BYTES: usize = 64;
/// Some exports keep the turnover in 32 bits; how many times it may have run over.
const WRAPS_MAX: u32 = 64;
const WRAP: f64 = 4_294_967_296.0;
const MILLI: f64 = 1_000.0;

/// A record as it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatRecord {
    /// Seconds since 1970-01-01 UTC: the end of the minute, or 00:00 of the day in Beijing.
    pub time_s: u32,
    /// Prices × 1000: open, high, low, close.
    pub prices: [u32; 4],
    /// Volume, lots.
    pub volume: u32,
    /// Turnover, yuan.
    pub amount: u64,
    /// Open interest; of a stock a status code.
    pub open_interest: u32,
    /// Close of the bar before × 1000.
    pub pre_close: u32,
}

impl DatRecord {
    /// Decodes a record; `None` unless there are exactly [`RECORD_BYTES`].
    pub fn decode(bytes: &[u8]) -> Option<DatRecord> {
        if bytes.len() != RECORD_BYTES {
            return None;
        }
        let word =
            |at: usize| -> Option<u32> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        Some(DatRecord {
            time_s: word(0)?,
            prices: [word(4)?, word(8)?, word(12)?, word(16)?],
            volume: word(24)?,
            amount: u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?),
            open_interest: word(40)?,
            pre_close: word(52)?,
        })
    }

    /// The record's bytes, for files that are made up.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &self.time_s.to_le_bytes());
        for (at, price) in (4..).step_by(4).zip(self.prices) {
            put(at, &price.to_le_bytes());
        }
        put(24, &self.volume.to_le_bytes());
        put(28, &32_766u32.to_le_bytes());
        put(32, &self.amount.to_le_bytes());
        put(40, &self.open_interest.to_le_bytes());
        put(44, &1f32.to_le_bytes());
        put(48, &1f32.to_le_bytes());
        put(52, &self.pre_close.to_le_bytes());
        put(60, &32_767u32.to_le_bytes());
        bytes
    }

    /// Prices in yuan: open, high, low, close.
    pub fn yuan(&self) -> [f64; 4] {
        self.prices.map(|price| f64::from(price) / MILLI)
    }
}

/// The turnover that alone `fits` of those that whole multiples of 2³² make of it; `None` when nothing has to be added, or
/// when none fits or more than one does.
pub fn unwrapped(amount: f64, fits: impl Fn(f64) -> bool) -> Option<f64> {
    if amount >= WRAP || fits(amount) {
        return None;
    }
    let wrapped = |wraps: u32| amount + f64::from(wraps) * WRAP;
    let mut whole = (1..=WRAPS_MAX).map(wrapped).filter(|&amount| fits(amount));
    whole.next().filter(|_| whole.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_where_its_fields_lie() {
        // 2025-06-25 00:00 in Beijing; a turnover above 2³².
        let mut bytes = [0u8; RECORD_BYTES];
        let words: [(usize, u32); 11] = [
            (0, 1_750_780_800),
            (4, 3_419_092),
            (8, 3_459_010),
            (12, 3_417_411),
            (16, 3_455_974),
            (24, 509_384_064),
            (28, 32_766),
            (32, 1_707_000_000),
            (36, 144),
            (40, 15),
            (52, 3_420_567),
        ];
        for (at, word) in words {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let record = DatRecord::decode(&bytes).unwrap();
        assert_eq!(record.time_s, 1_750_780_800);
        assert_eq!(
            record.yuan().map(|price| format!("{price:.3}")),
            ["3419.092", "3459.010", "3417.411", "3455.974"]
        );
        assert_eq!((record.volume, record.open_interest, record.pre_close), (509_384_064, 15, 3_420_567));
        assert_eq!(record.amount, 144 * (1 << 32) + 1_707_000_000);
        assert_eq!(DatRecord::decode(&record.encode()), Some(record));
        assert_eq!(DatRecord::decode(&bytes[..63]), None);
    }

    #[test]
    fn a_turnover_is_unwrapped_only_where_that_explains_it() {
        let whole = 20_000_000_000.0;
        let near = |amount: f64| (0.9 * whole..1.1 * whole).contains(&amount);
        assert_eq!(unwrapped(whole - 4.0 * WRAP, near), Some(whole));
        assert_eq!(unwrapped(whole, near), None, "nothing to repair");
        assert_eq!(unwrapped(7.0, |_| false), None, "nothing helps");
        assert_eq!(unwrapped(WRAP + 1.0, near), None, "more than 32 bits were there");
        let wide = |amount: f64| (0.7 * whole..1.3 * whole).contains(&amount);
        assert_eq!(unwrapped(whole - 4.0 * WRAP, wide), None, "two explain it");
    }
}
