//! Wall clock of Asia/Shanghai and instants. Knows that China kept summer time from 1986 to 1991 and UTC+8 since;
//! must not know what the times are for.

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Asia::Shanghai;

/// From 1992 on the offset is eight hours, always.
const FIXED_SINCE_MS: i64 = 694_224_000_000;
const OFFSET_MS: i64 = 8 * 3_600_000;

/// Milliseconds since 1970-01-01 UTC of a wall clock reading; `None` in the hour that summer time left out.
pub fn instant_ms(wall: NaiveDateTime) -> Option<i64> {
    let fixed = wall.and_utc().timestamp_millis() - OFFSET_MS;
    if fixed >= FIXED_SINCE_MS {
        return Some(fixed);
    }
    Shanghai.from_local_datetime(&wall).earliest().map(|instant| instant.timestamp_millis())
}

/// The wall clock reading at an instant; `None` beyond the range of dates.
pub fn wall(instant_ms: i64) -> Option<NaiveDateTime> {
    let utc = DateTime::from_timestamp_millis(instant_ms)?;
    if instant_ms >= FIXED_SINCE_MS {
        return utc.naive_utc().checked_add_signed(TimeDelta::milliseconds(OFFSET_MS));
    }
    Some(utc.with_timezone(&Shanghai).naive_local())
}
