//! A point in time as an operator says it: a day, a time in Shanghai, or how long ago.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use sqep::shanghai;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Milliseconds since 1970.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl When {
    /// Milliseconds since 1970, seen from `now_ms`.
    pub(super) fn ms(self, now_ms: i64) -> u64 {
        let ms = match self {
            When::At(ms) => ms,
            When::Ago(ms) => now_ms.saturating_sub(ms),
        };
        u64::try_from(ms).unwrap_or(0)
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        let wall = |wall: NaiveDateTime| shanghai::instant_ms(wall).map(When::At);
        let time = |form: &str| NaiveDateTime::parse_from_str(text, form).ok().and_then(wall);
        let day = || text.parse::<NaiveDate>().ok().and_then(|day| wall(day.and_time(NaiveTime::MIN)));
        let instant =
            || DateTime::parse_from_rfc3339(text).ok().map(|time| When::At(time.timestamp_millis()));
        ago(text)
            .or_else(day)
            .or_else(|| time("%Y-%m-%d %H:%M"))
            .or_else(|| time("%Y-%m-%d %H:%M:%S"))
            .or_else(instant)
            .ok_or_else(|| "not like 2026-01-31, \"2026-01-31 15:00\", 90m, 12h or 7d".to_owned())
    }
}

fn ago(text: &str) -> Option<When> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms: i64 = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    Some(When::Ago(i64::from(number) * unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_a_time_and_an_age_are_points_in_time() {
        assert_eq!("1970-01-02".parse(), Ok(When::At(16 * 3_600_000)));
        assert_eq!("1970-01-02 08:00".parse(), Ok(When::At(86_400_000)));
        assert_eq!("1970-01-02T00:00:00Z".parse(), Ok(When::At(86_400_000)));
        assert_eq!("12h".parse(), Ok(When::Ago(43_200_000)));
        assert_eq!("12h".parse::<When>().map(|when| when.ms(50_000_000)), Ok(6_800_000));
        for wrong in ["", "yesterday", "-1h", "12", "2026-13-01", "元"] {
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
    }
}
