//! Numbers, dates and times as vendors spell them. Knows bytes and formats; must not know columns nor dialects' names.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use sqep::shanghai;

use crate::dialect::TimeFormat;

/// Powers of ten that a 64-bit float holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Integers up to here are floats.
const MANTISSA_MAX: u64 = 1 << 53;
/// Digits that fit a `u64` whatever they are.
const DIGITS_MAX: u32 = 19;

/// The number `text` × 10^`shift`, rounded once: units are converted without the noise of a second rounding.
/// `None` if the text is no decimal number.
pub(crate) fn decimal(text: &[u8], shift: i32) -> Option<f64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let number = Digits::scan(digits)?;
    let exponent = number.exponent + shift;
    let value = if number.exact && number.mantissa <= MANTISSA_MAX && exponent.unsigned_abs() <= 22 {
        quick(number.mantissa, exponent)?
    } else {
        slow(digits, number.written_exponent, shift)?
    };
    Some(if negative { -value } else { value })
}

/// `1,234.56` without the commas that part its thousands; `None` if they part anything else.
pub(crate) fn ungrouped(text: &[u8]) -> Option<Vec<u8>> {
    let (sign, digits) = match text.split_first()? {
        (b'-' | b'+', rest) => (&text[..1], rest),
        _ => (&text[..0], text),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = digits.split_at(point);
    let groups: Vec<&[u8]> = whole.split(|&byte| byte == b',').collect();
    let (first, rest) = groups.split_first()?;
    let parted = (1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3);
    (parted && !rest.is_empty() && !fraction.contains(&b','))
        .then(|| [sign, groups.concat().as_slice(), fraction].concat())
}

/// The digits of a number without their point.
struct Digits {
    mantissa: u64,
    exponent: i32,
    written_exponent: i32,
    exact: bool,
}

impl Digits {
    fn scan(text: &[u8]) -> Option<Digits> {
        let (mut mantissa, mut count, mut fraction, mut pointed) = (0u64, 0u32, 0i32, false);
        for (at, &byte) in text.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                count += u32::from(count > 0 || digit > 0);
                fraction += i32::from(pointed);
            } else if byte == b'.' && !pointed {
                pointed = true;
            } else if matches!(byte, b'e' | b'E') && at > 0 {
                let written = integer(text.get(at + 1..)?)?;
                return Digits::done(mantissa, count, fraction, written, at - usize::from(pointed));
            } else {
                return None;
            }
        }
        Digits::done(mantissa, count, fraction, 0, text.len() - usize::from(pointed))
    }

    fn done(mantissa: u64, count: u32, fraction: i32, written: i32, digits: usize) -> Option<Digits> {
        (digits > 0).then_some(Digits {
            mantissa,
            exponent: written - fraction,
            written_exponent: written,
            exact: count <= DIGITS_MAX,
        })
    }
}

fn quick(mantissa: u64, exponent: i32) -> Option<f64> {
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "at most 2^53")]
    let mantissa = mantissa as f64;
    let power = POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    Some(if exponent < 0 { mantissa / power } else { mantissa * power })
}

#[cold]
fn slow(digits: &[u8], written: i32, shift: i32) -> Option<f64> {
    let text = std::str::from_utf8(digits).ok()?;
    let mantissa = text.split(['e', 'E']).next()?;
    format!("{mantissa}e{}", written + shift).parse().ok()
}

fn integer(text: &[u8]) -> Option<i32> {
    let (sign, digits) = match text.split_first()? {
        (b'-', rest) => (-1, rest),
        (b'+', rest) => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    Some(sign * i32::try_from(natural(digits)?).ok()?)
}

/// Up to nine digits.
pub(crate) fn natural(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u32, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u32::from(digit))
    })
}

/// A date, and a time of day where the format has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) date: NaiveDate,
    pub(crate) time: Option<NaiveTime>,
}

/// Reads a date, or date and time, in the first format that fits.
pub(crate) fn moment(text: &[u8], formats: &[TimeFormat]) -> Option<Moment> {
    formats.iter().find_map(|&format| in_format(text, format))
}

/// Reads a time of day in a column of its own.
pub(crate) fn clock(text: &[u8], formats: &[TimeFormat]) -> Option<NaiveTime> {
    formats.iter().find_map(|format| match format {
        TimeFormat::Hhmm if matches!(text.len(), 3 | 4) => {
            let value = natural(text)?;
            NaiveTime::from_hms_opt(value / 100, value % 100, 0)
        }
        TimeFormat::Clock => hms(text),
        _ => None,
    })
}

fn in_format(text: &[u8], format: TimeFormat) -> Option<Moment> {
    match format {
        // pandas writes a column of integers with a gap in it as floats.
        TimeFormat::Compact => {
            let date = compact(text.strip_suffix(b".0").unwrap_or(text))?;
            Some(Moment { date, time: None })
        }
        TimeFormat::Dashes => Some(Moment { date: dashes(text)?, time: None }),
        TimeFormat::Slashes => Some(Moment { date: slashes(text)?, time: None }),
        TimeFormat::DashesTime => {
            let (date, time) = (text.get(..10)?, text.get(10..)?);
            Some(Moment { date: dashes(date)?, time: Some(after_date(time)?) })
        }
        TimeFormat::SlashesTime => {
            let blank = text.iter().position(|&byte| byte == b' ')?;
            Some(Moment { date: slashes(text.get(..blank)?)?, time: Some(hms(text.get(blank + 1..)?)?) })
        }
        TimeFormat::CompactTime => compact_time(text),
        TimeFormat::EpochMs => epoch_ms(text),
        TimeFormat::Hhmm | TimeFormat::Clock => None,
    }
}

fn compact(text: &[u8]) -> Option<NaiveDate> {
    if text.len() != 8 {
        return None;
    }
    let value = natural(text)?;
    ymd(value / 10_000, value / 100 % 100, value % 100)
}

fn dashes(text: &[u8]) -> Option<NaiveDate> {
    let [year @ .., b'-', m, n, b'-', d, e] = text else { return None };
    if year.len() != 4 {
        return None;
    }
    ymd(natural(year)?, natural(&[*m, *n])?, natural(&[*d, *e])?)
}

fn slashes(text: &[u8]) -> Option<NaiveDate> {
    let mut parts = text.split(|&byte| byte == b'/');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    ymd(natural(year)?, natural(month)?, natural(day)?)
}

fn ymd(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

fn hms(text: &[u8]) -> Option<NaiveTime> {
    let colon = text.iter().take(3).position(|&byte| byte == b':')?;
    let hour = natural(text.get(..colon)?)?;
    let (minute, second) = match text.get(colon + 1..)? {
        [m, n] => ([*m, *n], [b'0', b'0']),
        [m, n, b':', s, t] => ([*m, *n], [*s, *t]),
        [m, n, b':', s, t, b'.', fraction @ ..] if natural(fraction) == Some(0) => ([*m, *n], [*s, *t]),
        _ => return None,
    };
    NaiveTime::from_hms_opt(hour, natural(&minute)?, natural(&second)?)
}

/// ` 09:31:00`, `T09:31:00+08:00`: Shanghai's wall clock, or said to be.
fn after_date(text: &[u8]) -> Option<NaiveTime> {
    let (b' ' | b'T', time) = text.split_first()? else { return None };
    hms(time.strip_suffix(b"+08:00").or_else(|| time.strip_suffix(b"+0800")).unwrap_or(time))
}

fn compact_time(text: &[u8]) -> Option<Moment> {
    let (stem, rest) = (text.get(..14)?, text.get(14..)?);
    if !(rest.is_empty() || rest == b"000") {
        return None;
    }
    let (date, time) = stem.split_at(8);
    let time = natural(time)?;
    let time = NaiveTime::from_hms_opt(time / 10_000, time / 100 % 100, time % 100)?;
    Some(Moment { date: compact(date)?, time: Some(time) })
}

fn epoch_ms(text: &[u8]) -> Option<Moment> {
    if !(11..=14).contains(&text.len()) {
        return None;
    }
    let (high, low) = text.split_at(text.len() - 9);
    let ms = i64::from(natural(high)?) * 1_000_000_000 + i64::from(natural(low)?);
    let wall: NaiveDateTime = shanghai::wall(ms)?;
    Some(Moment { date: wall.date(), time: Some(wall.time()) })
}

/// Minute of the day of a time without seconds.
pub(crate) fn whole_minute(time: NaiveTime) -> Option<u32> {
    (time.second() == 0 && time.nanosecond() == 0).then(|| time.hour() * 60 + time.minute())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(text: &str, shift: i32, value: f64) {
        assert_eq!(
            decimal(text.as_bytes(), shift).map(f64::to_bits),
            Some(value.to_bits()),
            "{text} shift {shift}"
        );
    }

    #[test]
    fn units_are_converted_without_noise() {
        is("525152.77", 2, 52_515_277.0);
        is("460697.377", 3, 460_697_377.0);
        is("263.15000000000003", 0, 263.150_000_000_000_03);
        is("2.53E+11", 0, 2.53e11);
        is("1e-3", 3, 1.0);
        is("-111.41", 0, -111.41);
        is(".5", 0, 0.5);
        is("5.", 0, 5.0);
        is("-0", 0, -0.0);
        is("123456789012345678901234567890", 0, 123_456_789_012_345_678_901_234_567_890.0);
    }

    #[test]
    fn what_is_no_decimal_number_is_none() {
        for text in
            ["", "-", ".", "e5", "1e", "1,234", "0x10", "nan", "inf", "1.2.3", " 1", "1 ", "--", "1e99999"]
        {
            assert_eq!(decimal(text.as_bytes(), 0), None, "{text:?}");
        }
    }

    #[test]
    fn only_thousands_are_parted_by_commas() {
        for (text, number) in [
            ("1,234.56", Some("1234.56")),
            ("-12,345,678", Some("-12345678")),
            ("1,23", None),
            ("1234,567", None),
            ("1.234,567", None),
            (",123", None),
            ("123", None),
            ("", None),
        ] {
            assert_eq!(ungrouped(text.as_bytes()).as_deref(), number.map(str::as_bytes), "{text:?}");
        }
    }

    #[test]
    fn dates_and_times_read_in_every_format() {
        let date = NaiveDate::from_ymd_opt(2025, 1, 2);
        let half_past = NaiveTime::from_hms_opt(9, 30, 0);
        for (text, format, time) in [
            ("20250102", TimeFormat::Compact, None),
            ("20250102.0", TimeFormat::Compact, None),
            ("2025-01-02", TimeFormat::Dashes, None),
            ("2025/1/2", TimeFormat::Slashes, None),
            ("2025-01-02 09:30", TimeFormat::DashesTime, half_past),
            ("2025-01-02 09:30:00", TimeFormat::DashesTime, half_past),
            ("2025-01-02T09:30:00.000+08:00", TimeFormat::DashesTime, half_past),
            ("2025/01/02 9:30", TimeFormat::SlashesTime, half_past),
            ("20250102093000", TimeFormat::CompactTime, half_past),
            ("20250102093000000", TimeFormat::CompactTime, half_past),
            ("1735781400000", TimeFormat::EpochMs, half_past),
        ] {
            let read = moment(text.as_bytes(), &[format]);
            assert_eq!(read.map(|moment| Some(moment.date)), Some(date), "{text}");
            assert_eq!(read.and_then(|moment| moment.time), time, "{text}");
        }
        for text in ["2025-13-01", "2025-02-30", "20250230", "2025-01-02 09:30:00+09:00", "2025-1-2", "", "x"]
        {
            assert_eq!(
                moment(text.as_bytes(), &[TimeFormat::Compact, TimeFormat::Dashes, TimeFormat::DashesTime]),
                None
            );
        }
    }

    proptest! {
        #[test]
        fn every_float_reads_as_the_standard_library_reads_it(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.3}")] {
                let parsed: f64 = text.parse().unwrap();
                prop_assert_eq!(decimal(text.as_bytes(), 0).map(f64::to_bits), Some(parsed.to_bits()), "{}", text);
            }
        }

        #[test]
        fn a_shift_is_the_exponent_of_the_same_text(mantissa in 0u64..1u64 << 60, point in 0usize..8, shift in 0i32..4) {
            let digits = format!("{mantissa:020}");
            let text = format!("{}.{}", &digits[..20 - point], &digits[20 - point..]);
            let parsed: f64 = format!("{text}e{shift}").parse().unwrap();
            prop_assert_eq!(decimal(text.as_bytes(), shift).map(f64::to_bits), Some(parsed.to_bits()), "{}", text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), shift in -3i32..4) {
            let _ = decimal(&bytes, shift);
            let all = [TimeFormat::Compact, TimeFormat::Dashes, TimeFormat::Slashes, TimeFormat::DashesTime,
                TimeFormat::SlashesTime, TimeFormat::CompactTime, TimeFormat::EpochMs, TimeFormat::Hhmm, TimeFormat::Clock];
            let _ = (moment(&bytes, &all), clock(&bytes, &all), ungrouped(&bytes));
        }
    }
}
