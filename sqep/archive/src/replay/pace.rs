//! How fast a past is given: all at once, or as the time of its frames passes, times a factor. Knows frames and the
//! clock; must not know where rows come from.

use std::{collections::VecDeque, mem, str::FromStr, time::Duration};

use chrono::NaiveDateTime;
use sqep::{Chunk, Record, record::Cell};
use tokio::time::{Instant, sleep_until};

/// How fast a past is given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Speed {
    /// As fast as it is taken.
    #[default]
    Max,
    /// So many seconds of frames a second.
    Times(f64),
}

/// A text that is no speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no speed: \"max\", or a factor above 0 such as 1x or 60x")]
pub struct SpeedError(String);

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Speed, SpeedError> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let factor = text.strip_suffix('x').and_then(|factor| factor.parse::<f64>().ok());
        match factor {
            Some(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Times(factor)),
            _ => Err(SpeedError(text.to_owned())),
        }
    }
}

/// A clock that runs a factor faster than the one on the wall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    factor: f64,
    begun: Option<(NaiveDateTime, Instant)>,
}

impl Pace {
    /// `None` where there is nothing to wait for.
    pub(super) fn of(speed: Speed) -> Option<Pace> {
        match speed {
            Speed::Max => None,
            Speed::Times(factor) => Some(Pace { factor, begun: None }),
        }
    }

    /// When a frame is due. The first one asked for is due at once.
    pub(super) fn due(&mut self, frame: NaiveDateTime) -> Instant {
        let (first, begun) = *self.begun.get_or_insert_with(|| (frame, Instant::now()));
        let passed = (frame - first).to_std().unwrap_or_default();
        // A pause longer than that is as good as for ever.
        let wait = Duration::try_from_secs_f64(passed.as_secs_f64() / self.factor).unwrap_or(Duration::MAX);
        begun.checked_add(wait).unwrap_or_else(|| begun + Duration::from_secs(u32::MAX.into()))
    }
}

/// When a record happened; a day bar at the close.
pub(super) fn moment<R: Record>(record: &R) -> Option<NaiveDateTime> {
    match record.get(1) {
        Cell::Date(date) => date.and_hms_opt(15, 0, 0),
        Cell::Minute(wall) => Some(wall),
        _ => None,
    }
}

/// Chunks in order, each handed out when it is due.
#[derive(Debug)]
pub(super) struct Shelf<R> {
    chunks: VecDeque<(Option<Instant>, Chunk<R>)>,
    /// Nothing was due when last asked.
    idle: bool,
}

impl<R> Shelf<R> {
    pub(super) const fn new() -> Shelf<R> {
        Shelf { chunks: VecDeque::new(), idle: false }
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
    }

    pub(super) fn put(&mut self, due: Option<Instant>, chunk: Chunk<R>) {
        self.chunks.push_back((due, chunk));
    }

    /// The chunk that was put last.
    pub(super) fn last(&mut self) -> Option<&mut Chunk<R>> {
        self.chunks.back_mut().map(|(_, chunk)| chunk)
    }

    /// The next chunk when it is due, and an empty one before the wait; `None`: there is none. Safe to drop.
    pub(super) async fn take(&mut self) -> Option<Chunk<R>> {
        let due = self.chunks.front()?.0;
        if let Some(due) = due.filter(|&due| due > Instant::now()) {
            if !mem::replace(&mut self.idle, true) {
                return Some(Chunk::empty("replay"));
            }
            sleep_until(due).await;
        }
        self.idle = false;
        self.chunks.pop_front().map(|(_, chunk)| chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_factor_above_zero() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("60x".parse(), Ok(Speed::Times(60.0)));
        assert_eq!("0.5x".parse(), Ok(Speed::Times(0.5)));
        for text in ["60", "0x", "-1x", "NaNx", "infx", "x", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_hour_of_frames_takes_a_minute_at_sixty_times() {
        let mut pace = Pace::of(Speed::Times(60.0)).unwrap();
        let at = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        let first = pace.due(at("2024-03-01T09:31:00"));
        assert_eq!(pace.due(at("2024-03-01T10:31:00")) - first, Duration::from_secs(60));
        assert_eq!(pace.due(at("2024-03-01T09:31:00")), first);
    }
}
